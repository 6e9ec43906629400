"""The lists of what to install agree with each other, and the wheel works away from the repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import gfm_lab

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SYSTEMS = (("linux", "Linux", "x86_64"), ("darwin", "Darwin", "arm64"), ("win32", "Windows", "AMD64"))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def wanted() -> list[Requirement]:
    """What a set-up installs: the dependencies and the extras but [gpu], which compiles on the spot."""
    extras = project()["optional-dependencies"]
    return [Requirement(line) for line in project()["dependencies"] + extras["dev"] + extras["slides"]]


def constraints() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def environment(python: str, system: tuple[str, str, str]) -> dict[str, str]:
    """Marker values of a Python on a system."""
    name, platform, machine = system
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": name,
        "platform_system": platform,
        "platform_machine": machine,
        "os_name": "nt" if name == "win32" else "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


# --- one list ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("python, system", [*product(PYTHONS, SYSTEMS)])
def test_constraints_hold_one_version_in_every_range(python: str, system: tuple[str, str, str]) -> None:
    env = environment(python, system)
    pinned: dict[str, str] = {}
    for line in constraints():
        if line.marker is None or line.marker.evaluate(env):
            (pin,) = line.specifier
            assert pin.operator == "=="
            assert line.name not in pinned, f"two versions of {line.name} for {env}"
            pinned[canonicalize_name(line.name)] = pin.version
    for need in wanted():
        if need.marker is None or need.marker.evaluate(env):
            assert canonicalize_name(need.name) in pinned, f"{need.name}: run `make constraints`"
            version = pinned[canonicalize_name(need.name)]
            assert need.specifier.contains(version), f"{need} but {version} is pinned: run `make constraints`"


def test_constraints_name_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert "://" not in line
        assert line.startswith("#") or re.match(r"[a-z0-9][a-z0-9.-]*==[\w.]+( ; |$)", line), line


def test_every_package_is_listed_once() -> None:
    names = [canonicalize_name(need.name) for need in wanted()]
    names += [canonicalize_name(Requirement(line).name) for line in project()["optional-dependencies"]["gpu"]]
    assert sorted(names) == sorted(set(names))


def test_conda_environment_adds_nothing_but_python_and_pip() -> None:
    env = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [line for line in env["dependencies"] if isinstance(line, str)]
    (pip,) = (line["pip"] for line in env["dependencies"] if isinstance(line, dict))
    python = [line for line in conda if re.match(r"python\b", line)]
    assert sorted(conda) == sorted([*python, "pip"])
    assert SpecifierSet(python[0].removeprefix("python")) == SpecifierSet(project()["requires-python"])
    assert pip == ["-c constraints.txt", "-e .[dev]"]
    assert env["channels"] == ["conda-forge"]
    # Binder prefers these to environment.yml or runs them after it: the environment must need neither.
    for name in ("requirements.txt", "postBuild", "setup.py", "apt.txt", "binder", ".binder"):
        assert not (ROOT / name).exists()


def test_gpu_kernels_are_asked_for_on_linux_only() -> None:
    for line in project()["optional-dependencies"]["gpu"]:
        marker = Requirement(line).marker
        assert marker is not None
        assert [marker.evaluate(environment("3.12", system)) for system in SYSTEMS] == [True, False, False]


def test_version_and_licences_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project()["version"] == gfm_lab.__version__
    assert " AND ".join(citation["license"]) == project()["license"]
    assert [set(author) for author in citation["authors"]] == [{"name"}]  # an entity, no invented person
    assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    content = (ROOT / "LICENSE-CONTENT").read_text(encoding="utf-8")
    assert "CC-BY-4.0" in content and "Section 8 -- Interpretation" in content


# --- the wheel --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by hatchling itself: no network, no second environment."""
    folder = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_code_data_and_licences_and_nothing_else(wheel: Path) -> None:
    assert wheel.stat().st_size < 45e6  # data at most 25 MB, the rest checkpoints
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"gfm_lab", f"gfm_lab-{gfm_lab.__version__}.dist-info"}
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gfm_lab").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == code
    manifest = json.loads((ROOT / "data/manifest.json").read_text(encoding="utf-8"))
    tables = {
        f"gfm_lab/_data/{table}/{file}"
        for table, about in manifest["tables"].items()
        for file in about["files"]
    }
    data = {name for name in names if name.startswith("gfm_lab/_data/")}
    assert tables | {"gfm_lab/_data/manifest.json", "gfm_lab/_data/README.md"} <= data
    assert not [name for name in data if "/." in name or name.endswith((".fai", ".gzi"))]
    trained = {name for name in names if name.startswith("gfm_lab/_checkpoints/")}
    shipped = json.loads((ROOT / "checkpoints/manifest.json").read_text(encoding="utf-8"))
    listed = {
        name: about for part in shipped.values() if isinstance(part, dict) for name, about in part.items()
    }
    assert trained == {"gfm_lab/_checkpoints/manifest.json", "gfm_lab/_checkpoints/README.md"} | {
        f"gfm_lab/_checkpoints/{name}/{file}" for name, about in listed.items() for file in about["files"]
    }
    # Notebooks read nothing beside the package: what was measured ahead is in the wheel.
    for source in (ROOT / "notebooks" / "source").glob("*.py"):
        assert "__file__" not in source.read_text(encoding="utf-8"), (
            f"{source.name}: use gfm_lab.data.shipped_dir"
        )
    results = ROOT / "benchmarks" / "results"
    measured = {
        p.relative_to(results).as_posix() for p in results.rglob("*") if p.suffix in (".json", ".csv")
    }
    assert {name for name in names if name.startswith("gfm_lab/_results/")} == {
        f"gfm_lab/_results/{name}" for name in measured
    }
    questions = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gfm_lab").rglob("*.json")}
    assert questions and questions <= names
    info = f"gfm_lab-{gfm_lab.__version__}.dist-info"
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/LICENSE-CONTENT"} <= names
    metadata = zipfile.ZipFile(wheel).read(f"{info}/METADATA").decode()
    assert f"Requires-Python: {','.join(sorted(project()['requires-python'].split(',')))}" in metadata


AWAY = """
import os, sys
target, repository, *packages = sys.argv[1:]
sys.path[:0] = [target]
sys.path += packages  # the dependencies, without the .pth file that leads to the repository
opened = []
sys.addaudithook(lambda event, args: opened.append(os.fspath(args[0])) if event == "open" and isinstance(
    args[0], (str, os.PathLike)) else None)
import gfm_lab
genome = gfm_lab.load_data("ecoli-k12")
gfm_lab.load_model("ecoli-attention-mlm")
from gfm_lab.data import shipped_dir
assert (shipped_dir("results") / "heads.json").is_file() and list(shipped_dir("recordings").glob("caduceus_ps_*"))
inside = lambda path, folder: os.path.realpath(path).startswith(folder + os.sep)
assert inside(gfm_lab.__file__, target), gfm_lab.__file__
assert [p for p in opened if inside(p, os.path.join(target, "gfm_lab", "_data"))], "no shipped table was read"
assert [p for p in opened if inside(p, os.path.join(target, "gfm_lab", "_checkpoints"))], "no checkpoint was read"
strangers = [p for p in opened if inside(p, repository) and not any(inside(p, q) for q in packages)]
assert not strangers, strangers
print(len(genome))
"""


def test_wheel_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--target",
        str(target),
    ]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    (tmp_path / "empty").mkdir()
    packages = [os.path.realpath(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")]
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", AWAY, os.path.realpath(target), str(ROOT), *packages],
        cwd=tmp_path / "empty",
        env={name: value for name, value in os.environ.items() if not name.startswith("GFM_LAB")},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) == 4_641_652  # U00096.3


def test_an_editable_installation_reads_the_data_of_the_repository(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["editable"])
    names = zipfile.ZipFile(path).namelist()
    assert [name for name in names if name.endswith(".pth")]
    assert not [name for name in names if name.startswith("gfm_lab/")]
