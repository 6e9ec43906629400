"""The set-up behind `make`: what it does, what it leaves alone, and the sentence each failure ends with.

No test downloads anything: pip is a stub, or asks a closed port of this machine.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None or os.name == "nt", reason="needs make and a POSIX shell")

BASE_PYTHON = getattr(sys, "_base_executable", None) or sys.executable
PLAIN = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")

STUB_PIP = """
import os, sys
if "--version" in sys.argv:
    print("pip 24.0 from here (python 3.11)")
    sys.exit()
with open(os.environ["PIP_CALLS"], "a") as calls:
    calls.write("\\t".join(sys.argv[1:]) + "\\n")
sys.exit(int(os.environ.get("PIP_EXIT", "0")))
"""
STUB_PROGRAM = "import sys; print('argv', sys.argv[1:])"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository of the set-up's own files, in a folder with a space and an accent."""
    folder = tmp_path / "the cours é"
    (folder / "tools").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "tools/setup_env.sh", "tools/setup_env.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def make_stub_venv(repo: Path) -> Path:
    """A real virtual environment whose pip, pytest and jupyterlab only note how they were called."""
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", str(repo / ".venv")], check=True)
    (site,) = (repo / ".venv").glob("lib/python*/site-packages")
    for name, code in {"pip": STUB_PIP, "pytest": STUB_PROGRAM, "jupyterlab": STUB_PROGRAM}.items():
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("")
        (site / name / "__main__.py").write_text(code)
    return repo / ".venv"


def make(repo: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    plain = {name: os.environ[name] for name in PLAIN if name in os.environ}
    plain["PIP_CALLS"] = str(repo / "pip-calls.txt")
    return subprocess.run(
        [str(MAKE), *arguments], cwd=repo, env={**plain, **env}, capture_output=True, text=True, timeout=120
    )


def pip_calls(repo: Path) -> list[list[str]]:
    path = repo / "pip-calls.txt"
    return [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """The last line that is not make's own; checks that the command failed."""
    assert result.returncode != 0
    lines = [
        line for line in result.stderr.splitlines() if line and not re.match(r"g?make(\[\d+\])?: ", line)
    ]
    return lines[-1]


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def fake_python(folder: Path, name: str, version: tuple[int, int, int]) -> None:
    """A Python that reports another version."""
    patch = folder.parent / f"{name}.py"
    patch.write_text(
        "import runpy, sys\n"
        f"sys.version_info = {(*version, 'final', 0)}\n"
        "sys.argv = [a for a in sys.argv[1:] if a != '-I']\n"
        "if sys.argv[0] == '-c': exec(sys.argv[1])\n"
        "else: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    program(folder, name, f'#!/bin/sh\nexec "{BASE_PYTHON}" "{patch}" "$@"\n')


# --- which Python -----------------------------------------------------------------------------------------------------


def test_without_any_python(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    text = sentence(make(repo, "setup", PATH=str(tmp_path / "empty")))
    assert "no Python 3 was found" in text and "install Python 3.12" in text


def test_python_given_that_does_not_exist(repo: Path) -> None:
    text = sentence(make(repo, "setup", "PYTHON=python9.9"))
    assert "PYTHON=python9.9" in text and "PYTHON=python3.12" in text


def test_python_that_does_not_run(repo: Path, tmp_path: Path) -> None:
    broken = program(tmp_path / "bin", "python3", "#!/bin/sh\nexit 1\n")
    assert "does not run" in sentence(make(repo, "setup", f"PYTHON={broken}"))
    assert "no Python 3 was found" in sentence(make(repo, "setup", PATH=str(broken.parent)))


@pytest.mark.parametrize(
    "version, word", [((3, 8, 18), "3.8.18"), ((3, 15, 0), "newer than PyTorch supports")]
)
def test_python_too_old_or_too_new(
    repo: Path, tmp_path: Path, version: tuple[int, int, int], word: str
) -> None:
    fake_python(tmp_path / "bin", "python3", version)
    for arguments in (["setup"], ["setup", f"PYTHON={tmp_path / 'bin' / 'python3'}"], ["test"], ["lab"]):
        text = sentence(make(repo, *arguments, PATH=str(tmp_path / "bin")))
        assert word in text and "needs Python 3.10 to 3.14" in text and "PYTHON=python3.12" in text
    assert not (repo / ".venv").exists()


def test_a_suitable_python_is_found_behind_an_old_one(repo: Path, tmp_path: Path) -> None:
    fake_python(tmp_path / "bin", "python3", (3, 9, 1))
    program(tmp_path / "bin", "python3.11", f'#!/bin/sh\nexec "{BASE_PYTHON}" "$@"\n')
    (repo / ".venv").mkdir()
    (repo / ".venv" / "mine.txt").write_text("not an environment")
    # It got past the version, to the folder that it must not touch.
    text = sentence(make(repo, "setup", PATH=str(tmp_path / "bin")))
    assert ".venv exists and is not a Python environment" in text and "VENV=" in text
    assert (repo / ".venv" / "mine.txt").exists()


def test_the_script_can_be_read_by_python_36() -> None:
    tree = ast.parse((ROOT / "tools/setup_env.py").read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "__future__" not in imported  # 3.6 lacks annotations there
    assert imported <= set(sys.stdlib_module_names)


# --- doing nothing twice ----------------------------------------------------------------------------------------------


def test_pip_runs_once_and_again_only_when_something_changed(repo: Path) -> None:
    make_stub_venv(repo)
    first = make(repo, "setup", 'PIP_ARGS=--find-links "a b"')
    assert first.returncode == 0 and "ready" in first.stdout
    (call,) = pip_calls(repo)
    joined = " ".join(call)
    assert joined.startswith("install") and "-c constraints.txt" in joined and joined.endswith("-e .[dev]")
    assert call[call.index("--find-links") + 1] == "a b"

    for arguments in (["setup"], ["test"], ["setup", f"PYTHON={BASE_PYTHON}"]):
        again = make(repo, *arguments, PIP_NO_INDEX="1", PIP_EXIT="1")
        assert again.returncode == 0, again.stderr
        assert "ready" in again.stdout
    assert len(pip_calls(repo)) == 1

    with (repo / "constraints.txt").open("a") as handle:
        handle.write("# changed\n")
    assert make(repo, "setup").returncode == 0
    assert len(pip_calls(repo)) == 2


def test_an_interrupted_installation_is_taken_up_again(repo: Path) -> None:
    make_stub_venv(repo)
    text = sentence(make(repo, "setup", PIP_EXIT="2"))
    assert "exit code 2" in text and "run the same command again" in text
    assert make(repo, "setup").returncode == 0
    assert len(pip_calls(repo)) == 2
    assert make(repo, "setup", PIP_EXIT="1").returncode == 0
    assert len(pip_calls(repo)) == 2


def test_a_moved_environment_is_made_anew_and_offline_says_so(repo: Path) -> None:
    make_stub_venv(repo)
    assert make(repo, "setup").returncode == 0
    moved = repo.with_name("moved here")
    repo.rename(moved)
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        result = make(moved, "setup", PIP_CONFIG_FILE=os.devnull, PIP_INDEX_URL=index, PIP_RETRIES="0")
    assert "was moved or copied from" in result.stdout and "Creating .venv" in result.stdout
    text = sentence(result)
    assert "could not reach its package index" in text and "connect to the internet" in text
    # The stubs are gone, so this is a new environment, with its real pip.
    assert not list((moved / ".venv").glob("lib/python*/site-packages/jupyterlab"))
    assert list((moved / ".venv").glob("lib/python*/site-packages/pip-*.dist-info"))


def test_an_environment_elsewhere_that_is_not_ours_is_never_removed(repo: Path, tmp_path: Path) -> None:
    other = tmp_path / "someone's"
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", str(other)], check=True)
    before = sorted(other.rglob("*"))
    text = sentence(make(repo, "setup", f"VENV={other}"))
    assert "was not made by this course" in text and "VENV=" in text
    assert [path for path in before if not path.exists()] == []


# --- disk, permissions, the module itself -----------------------------------------------------------------------------


@pytest.fixture
def setup_env(repo: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/setup_env.py as a module that works on the scratch repository."""
    for name in ("VENV", "PYTHON", "PIP_ARGS"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("setup_env", repo / "tools/setup_env.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def set_free(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, int(gigabytes * 1e9)))


def test_too_little_disk(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    set_free(monkeypatch, 1.25)
    assert setup_env.main([]) == 1
    text = capsys.readouterr().err.splitlines()[-1]
    assert "needs 3 GB" in text and "1.2 GB free" in text and "free some space" in text and "VENV=" in text


@pytest.mark.parametrize(
    "platform, pip_args, warned", [("linux", "", True), ("linux", "-v", False), ("darwin", "", False)]
)
def test_disk_that_holds_the_cpu_build_only(
    setup_env: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    platform: str,
    pip_args: str,
    warned: bool,
) -> None:
    set_free(monkeypatch, 5)
    monkeypatch.setattr(sys, "platform", platform)
    setup_env.check_disk(setup_env.venv_path(), [pip_args] if pip_args else [])
    assert ("CUDA" in capsys.readouterr().out) == warned


def test_disk_is_not_asked_for_what_is_already_there(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = Path(setup_env.venv_path(), "lib", "python3.11", "site-packages", "torch")
    torch.mkdir(parents=True)
    (torch / "version.py").touch()
    set_free(monkeypatch, 0.1)
    setup_env.check_disk(setup_env.venv_path(), [])


@pytest.mark.parametrize("code", ["EACCES", "EROFS"])
def test_read_only_folder(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, code: str
) -> None:
    def refuse(path: str, **_: object) -> None:
        raise OSError(getattr(setup_env.errno, code), "refused", path)

    monkeypatch.setattr(os, "makedirs", refuse)
    assert setup_env.main([]) == 1
    text = capsys.readouterr().err.splitlines()[-1]
    assert ".venv" in text and "cannot be written" in text and "folder of your own" in text


def test_python_without_ensurepip(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    lacking = program(tmp_path / "bin", "python3", "#!/bin/sh\nexit 1\n")
    monkeypatch.setattr(sys, "_base_executable", str(lacking), raising=False)
    set_free(monkeypatch, 50)
    assert setup_env.main([]) == 1
    text = capsys.readouterr().err.splitlines()[-1]
    assert f"sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv" in text


def test_machines_without_a_pytorch(setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(setup_env.platform, "machine", lambda: "arm64")
    setup_env.check_machine([])
    monkeypatch.setattr(setup_env.platform, "machine", lambda: "x86_64")
    setup_env.check_machine(["--index-url", "elsewhere"])
    with pytest.raises(setup_env.Problem, match="Intel"):
        setup_env.check_machine([])


@pytest.mark.parametrize(
    "log, says",
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk is full",
        ),
        ("ERROR: [Errno 13] Permission denied: '/x'", "VENV="),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        (
            "<pip._vendor...>: Failed to establish: [Errno -3] Temporary failure in name resolution",
            "connect to the",
        ),
        (
            "Retrying after ProxyError('Cannot connect to proxy.')\nNo matching distribution found for torch",
            "HTTPS_PROXY",
        ),
        ("ERROR: ResolutionImpossible: for help visit", "make constraints"),
        ("ERROR: No matching distribution found for torch<2.14,>=2.6", "no torch<2.14,>=2.6 for this Python"),
        ("something new", "exit code 7"),
    ],
)
def test_each_failure_of_pip_has_its_sentence(setup_env: ModuleType, log: str, says: str) -> None:
    text = setup_env.explain(log, 7, "log")
    assert says in text
    assert text.endswith(".") and "\n" not in text


def test_damage_is_found_and_leftovers_swept(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / "venv"
    site = venv / "lib" / "python3.11" / "site-packages"
    for name in ("whole", "missing", "short"):
        (site / f"{name}-1.dist-info").mkdir(parents=True)
        (site / f"{name}-1.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
        )
        (site / f"{name}-1.dist-info" / "RECORD").write_text(
            f"{name}.py,sha256=x,10\n{name}.cpython-311.pyc,,\n"
        )
        (site / f"{name}.py").write_text("0123456789")
    (site / "missing.py").unlink()
    (site / "short.py").write_text("012")
    (site / "~orch").mkdir()
    (site / "torn-1.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(site)])
    assert setup_env.damaged() == ["missing", "short"]
    setup_env.sweep(str(venv))
    assert not (site / "~orch").exists() and not (site / "torn-1.dist-info").exists()
    assert (site / "whole.py").exists() and (site / "whole-1.dist-info").exists()


# --- the Makefile -----------------------------------------------------------------------------------------------------


def targets() -> set[str]:
    line = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line
    return set(line.group(1).split())


def test_help_lists_every_target_and_is_the_default(repo: Path) -> None:
    shown = make(repo, "help").stdout
    assert set(re.findall(r"^  make ([a-z-]+) ", shown, re.MULTILINE)) == targets()
    assert make(repo).stdout == shown
    assert {"lab", "test", "test-all", "notebooks", "slides", "data", "bench", "help"} <= targets()


def test_lab_opens_the_first_notebook_on_this_computer_only(repo: Path) -> None:
    make_stub_venv(repo)
    assert "run 'make notebooks' first" in sentence(make(repo, "lab"))
    (repo / "notebooks").mkdir()
    for name in ("p1_primer", "02_later", "01_first"):
        (repo / "notebooks" / f"{name}.ipynb").touch()
    (opened,) = re.findall(
        r"^argv (.*)$", make(repo, "lab", "ARGS=--allow-root --port 9999").stdout, re.MULTILINE
    )
    argv = ast.literal_eval(opened)
    assert "--ip=127.0.0.1" in argv and "--LabApp.default_url=/lab/tree/notebooks/01_first.ipynb" in argv
    assert argv[-2:] == ["--port", "9999"]
    assert not [
        word for word in argv if "token" in word or "password" in word
    ]  # Jupyter's own token stays on


def test_lab_as_root_says_what_to_do(repo: Path, tmp_path: Path) -> None:
    make_stub_venv(repo)
    (repo / "notebooks").mkdir()
    (repo / "notebooks" / "01_first.ipynb").touch()
    program(tmp_path / "bin", "id", "#!/bin/sh\necho 0\n")
    result = make(repo, "lab", PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert "make lab ARGS=--allow-root" in sentence(result)


def test_arguments_reach_pytest_unbroken(repo: Path) -> None:
    make_stub_venv(repo)
    for target in ("test", "test-all"):
        (called,) = re.findall(r"^argv (.*)$", make(repo, target, "ARGS=-k 'a or b'").stdout, re.MULTILINE)
        assert ast.literal_eval(called)[-2:] == ["-k", "a or b"]


@pytest.mark.parametrize(
    "page, needed", [("README.md", {"lab", "test"}), ("CONTRIBUTING.md", {"notebooks", "test"})]
)
def test_commands_on_the_pages_exist(page: str, needed: set[str]) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, re.DOTALL) + re.findall(
        r"`(make [^`]+)`", text
    )
    named = {
        word for block in blocks for word in re.findall(r"^\s*(?:\$ )?make ([a-z-]+)", block, re.MULTILINE)
    }
    assert named <= targets()
    assert needed <= named
