"""The folder that installs without a network: made from two fake packages, and installed from, in a few seconds."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import make_wheelhouse as maker  # noqa: E402

PYTHON = f"3.{sys.version_info[1]}"
HERE = maker.Target("linux-x86_64", PYTHON)
WINDOWS = maker.Target("windows-amd64", "3.12")


def wheel(folder, name, version, needs=(), tag="py3-none-any", script=""):
    """A wheel with one module and, with `script`, a command gfm-lab that runs it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"def main():\n    {script or 'pass'}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\ngfm-lab = {name}:main\n"
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


@pytest.fixture
def shop(tmp_path):
    """An index with two packages, one of them for Linux and Windows apart, and a course that needs both."""
    index = tmp_path / "index"
    wheel(index, "beta", "2.0")
    wheel(index, "alpha", "1.0", ["beta>=1"], "py3-none-manylinux_2_17_x86_64")
    wheel(index, "alpha", "1.0", ["beta>=1"], "py3-none-win_amd64")
    wheel(index, "winonly", "3.0", (), "py3-none-win_amd64")
    script = "import sys, alpha, beta; print('doctor:', sys.argv[1:])"
    needs = ["alpha", "winonly; sys_platform == 'win32'", "gamma; extra == 'dev'"]
    course = wheel(tmp_path / "built", "gfm_lab", "0.1.0", needs, script=script)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(
        "# Tested.\nalpha==1.0\nbeta==2.0\nwinonly==3.0 ; sys_platform == 'win32'\n", encoding="utf-8"
    )
    pip_args = ["--no-index", f"--find-links={index}"]
    return {"course": course, "constraints": constraints, "pip_args": pip_args, "files": [Path("LICENSE")]}


def names(folder):
    return sorted(path.name for path in (folder / "wheels").iterdir())


def test_each_system_gets_its_own_wheels(tmp_path, shop):
    out = tmp_path / "dist" / "wheelhouse"
    made = maker.make(out, [HERE, WINDOWS], **shop)
    assert names(out) == [
        "alpha-1.0-py3-none-manylinux_2_17_x86_64.whl",
        "alpha-1.0-py3-none-win_amd64.whl",
        "beta-2.0-py3-none-any.whl",
        "gfm_lab-0.1.0-py3-none-any.whl",
        "winonly-3.0-py3-none-win_amd64.whl",
    ]
    assert made["wheels"] == 5 and made["files"] == len([p for p in out.rglob("*") if p.is_file()]) - 1
    assert sorted(path.name for path in out.parent.iterdir()) == ["wheelhouse"]  # nothing half done beside it
    first = (out / "SHA256SUMS").read_bytes()
    maker.make(out, [HERE, WINDOWS], **shop)
    assert (out / "SHA256SUMS").read_bytes() == first
    for file in ("install.sh", "install.ps1", "README.md"):
        text = (out / file).read_text(encoding="utf-8")
        assert "3.12" in text and not re.search(r"@[A-Z_]+@", text), file
    settings = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    assert settings["pythons"] == list(dict.fromkeys([PYTHON, "3.12"])) and settings["need_gb"] == 3


def test_old_and_new_bug_fix_releases_both_find_their_pin(tmp_path, shop):
    """Debian's Python 3.11.2 once met a folder that held the wheels of 3.11.9 alone."""
    wheel(tmp_path / "index", "beta", "1.5")
    text = (
        shop["constraints"]
        .read_text(encoding="utf-8")
        .replace(
            "beta==2.0\n",
            f"beta==1.5 ; python_full_version < '{PYTHON}.5'\nbeta==2.0 ; python_full_version >= '{PYTHON}.5'\n",
        )
    )
    shop["constraints"].write_text(text, encoding="utf-8")
    maker.make(tmp_path / "out", [HERE], **shop)
    assert [name for name in names(tmp_path / "out") if name.startswith("beta")] == [
        "beta-1.5-py3-none-any.whl",
        "beta-2.0-py3-none-any.whl",
    ]


def test_a_missing_wheel_names_package_system_and_who_needs_it(tmp_path, shop):
    mac = maker.Target("macos-arm64", "3.12")
    with pytest.raises(
        maker.Problem, match=r"no wheel of alpha==1\.0 for macos-arm64 with Python 3\.12.*the course"
    ):
        maker.make(tmp_path / "out", [mac], **shop)
    assert not (tmp_path / "out").exists()
    with pytest.raises(maker.Problem, match=r"the course needs gamma, and constraints\.txt has no version"):
        maker.make(tmp_path / "out", [HERE], extras=["dev"], **shop)
    text = shop["constraints"].read_text(encoding="utf-8")
    shop["constraints"].write_text(text.replace("beta==2.0", "beta==0.5"), encoding="utf-8")
    with pytest.raises(maker.Problem, match=r"alpha needs beta>=1, and constraints\.txt pins 0\.5"):
        maker.make(tmp_path / "out", [HERE], **shop)
    shop["constraints"].write_text(text + "delta>=1\n", encoding="utf-8")
    with pytest.raises(maker.Problem, match=r"line 5: 'delta>=1' is no pin"):
        maker.make(tmp_path / "out", [HERE], **shop)


def test_a_second_run_with_other_pip_arguments_takes_their_wheels(tmp_path, shop):
    """The first run fetched the large build and stopped; the second asks for the small one."""
    with pytest.raises(maker.Problem, match="gamma"):
        maker.make(tmp_path / "out", [HERE], extras=["dev"], **shop)
    text = shop["constraints"].read_text(encoding="utf-8")
    shop["constraints"].write_text(text.replace("beta==2.0", "beta==9.0"), encoding="utf-8")
    with pytest.raises(maker.Problem, match="no wheel of beta"):  # alpha has been fetched
        maker.make(tmp_path / "out", [HERE], **shop)
    shop["constraints"].write_text(text, encoding="utf-8")
    small = tmp_path / "small"
    wheel(small, "alpha", "1.0+cpu", ["beta>=1"])
    wheel(small, "beta", "2.0")
    maker.make(tmp_path / "out", [HERE], **shop | {"pip_args": ["--no-index", f"--find-links={small}"]})
    assert [name for name in names(tmp_path / "out") if name.startswith("alpha")] == [
        "alpha-1.0+cpu-py3-none-any.whl"
    ]


def test_a_full_disk_and_a_folder_of_others(tmp_path, shop, monkeypatch):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(maker.Problem, match="holds other files"):
        maker.make(tmp_path / "thesis", [HERE], **shop)
    (tmp_path / "thesis" / "SHA256SUMS").write_text("", encoding="utf-8")  # as beside any download
    with pytest.raises(maker.Problem, match="holds other files"):
        maker.make(tmp_path / "thesis", [HERE], **shop)
    full = type("usage", (), {"free": 1e8})
    monkeypatch.setattr(maker.shutil, "disk_usage", lambda path: full)
    with pytest.raises(maker.Problem, match=r"may need 1 GB and the disk of .* has 0\.1 GB free"):
        maker.make(tmp_path / "out", [HERE], **shop)


def test_the_course_that_learners_get():
    files = maker.course_files()
    assert {Path("README.md"), Path("notebooks/00_anatomy.ipynb"), Path("data/manifest.json")} <= set(files)
    assert not [
        f for f in files if f.suffix == ".py" and f.parts[0] == "notebooks"
    ]  # the makers' sources stay
    assert not [f for f in files if "node_modules" in f.parts or ".git" in f.parts]


def test_no_link_leads_to_what_learners_do_not_get():
    files, left = maker.course_files(), []
    assert Path("checkpoints/README.md") in files  # the cards, not the weights, which are in the wheel
    assert not [f for f in files if f.suffix == ".safetensors"]
    for page in (f for f in files if f.suffix == ".md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        cut = maker.within(text, page, files)
        left += [found[1] for found in maker.LINK.finditer(text) if found[0] not in cut]
        for target in (found[2] for found in maker.LINK.finditer(cut) if ":" not in found[2]):
            path = (ROOT / page.parent / target).resolve().relative_to(ROOT)
            assert any(path in (f, *f.parents) for f in files), f"{page}: {target}"
    assert "INSTRUCTOR.md" in left  # answers
    some = [Path("README.md"), Path("docs/a.md")]
    text = "[a](docs/a.md#b), [one](../x.md), [`c`](https://c.org/d), [d](#e), ![p](p.svg)"
    assert maker.within(text, some[0], some) == "[a](docs/a.md#b), one, [`c`](https://c.org/d), [d](#e), p"
    assert (
        maker.within("[back](../README.md) [here](../docs)", some[1], some)
        == "[back](../README.md) [here](../docs)"
    )


def test_a_download_without_git_gives_the_same_kinds_of_files(tmp_path):
    for name in ("README.md", "notebooks/a.ipynb", "notebooks/source/a.py", "slides/node_modules/x.js",
                 "notebooks/.ipynb_checkpoints/a.ipynb", "tests/test_a.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    found = [path.as_posix() for path in maker.course_files(tmp_path)]
    assert found == ["README.md", "notebooks/a.ipynb"]


@pytest.mark.parametrize("system", maker.SYSTEMS)
@pytest.mark.parametrize("python", maker.allowed_pythons())
def test_the_constraints_of_the_course_pin_what_its_packages_need_everywhere(system, python):
    """The direct dependencies; what these need in turn only a download knows."""
    target = maker.Target(system, python)
    pins = maker.read_pins(ROOT / "constraints.txt", target.environment)
    wanted = [Requirement(text) for text in importlib.metadata.requires("gfm-lab")]
    for need in maker.needed(wanted, target.environment, []):
        assert need.specifier.contains(pins[canonicalize_name(need.name)])
    assert "dev" not in {need.name for need in maker.needed(wanted, target.environment, [])}


posix = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.uname().machine != "x86_64",
    reason="the fake packages are for Linux on x86-64",
)


def install(folder, target, **env):
    clean = {"HOME": str(target.parent), "PATH": os.environ["PATH"], "PYTHON": sys.executable}
    # An index that must not be asked: who asks it gets an error.
    clean |= {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_FIND_LINKS": "/nowhere"}
    return subprocess.run(
        ["sh", str(folder / "install.sh"), *([str(target)] if target.name != "gfm-course" else [])],
        env=clean | env,
        capture_output=True,
        text=True,
    )


@posix
@pytest.mark.slow
def test_install_from_the_folder_without_an_index(tmp_path, shop):
    out = tmp_path / "stick" / "wheelhouse"
    maker.make(out, [HERE], **shop)
    home = tmp_path / "home"
    home.mkdir()
    ran = install(out, home / "gfm-course")
    assert ran.returncode == 0, ran.stderr
    assert "doctor: ['doctor']" in ran.stdout and "1 files copied, 0 there already" in ran.stdout
    course = home / "gfm-course"
    assert (course / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    (course / "LICENSE").write_text("my work", encoding="utf-8")
    again = install(out, course)
    assert again.returncode == 0 and "0 files copied, 1 there already and kept" in again.stdout
    assert (course / "LICENSE").read_text(encoding="utf-8") == "my work"
    # As Debian leaves an environment when its package python3.N-venv is missing: with Python, without pip.
    for pip in (course / ".venv").glob("lib/*/site-packages/pip*"):
        shutil.rmtree(pip)
    mended = install(out, course)
    assert mended.returncode == 0 and "doctor: ['doctor']" in mended.stdout, mended.stderr


@posix
def test_damage_is_found_before_anything_is_installed(tmp_path, shop):
    out = tmp_path / "wheelhouse"
    maker.make(out, [HERE], **shop)
    path = out / "wheels" / "beta-2.0-py3-none-any.whl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    ran = install(out, tmp_path / "target")
    assert ran.returncode == 1 and "wheels/beta-2.0-py3-none-any.whl was damaged" in ran.stderr
    path.unlink()
    ran = install(out, tmp_path / "target")
    assert ran.returncode == 1 and "wheels/beta-2.0-py3-none-any.whl is missing" in ran.stderr
    for name, complaint in (("SHA256SUMS", "is missing or damaged"), ("settings.json", "was damaged")):
        text = (out / name).read_bytes()
        (out / name).write_bytes(b"{" if name == "settings.json" else b"\xff")
        ran = install(out, tmp_path / "target")
        assert ran.returncode == 1 and f"error: {name} {complaint}" in ran.stderr
        (out / name).write_bytes(text)
    assert not (tmp_path / "target").exists()


@posix
def test_a_python_that_the_folder_is_not_for(tmp_path, shop):
    out = tmp_path / "wheelhouse"
    other = "3.10" if PYTHON != "3.10" else "3.12"
    maker.make(out, [maker.Target("linux-x86_64", other)], **shop)
    ran = install(out, tmp_path / "target")
    assert ran.returncode == 1 and f"is none of: {other}" in ran.stderr
    # No such Python on PATH at all: the message says what to do.
    (tmp_path / "empty").mkdir()
    for tool in ("sh", "dirname"):
        (tmp_path / "empty" / tool).symlink_to(shutil.which(tool))
    ran = install(out, tmp_path / "target", PYTHON="", PATH=str(tmp_path / "empty"))
    assert ran.returncode == 1 and "No Python of the versions" in ran.stderr and "--pythons" in ran.stderr


def test_a_python_the_course_does_not_know(capsys):
    assert maker.main(["--pythons", "3.8"]) == 1
    assert "does not run on Python 3.8" in capsys.readouterr().err
