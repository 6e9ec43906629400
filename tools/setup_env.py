"""Make the course's environment, or leave it alone when it is up to date.

    make setup                     # through tools/setup_env.sh, which finds a Python
    python tools/setup_env.py      # the same, with this Python

It creates a virtual environment (VENV, default `.venv`), installs the package with its `dev` extra at the versions of
constraints.txt, checks that every installed file is there, and notes in the environment what it was made from. A second
run compares that note and does nothing. What was interrupted is repaired; an environment that was moved, or whose
Python is gone, is made anew. Whatever goes wrong ends in one sentence that says what to do, and exit code 1.

Standard library only, and written for Python 3.6, so that an old Python can say that it is too old.
"""

import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from typing import Dict, Iterator, List, Optional, Tuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NOTE = (
    "gfm-lab-setup.json"  # in the environment: what it was made from, and whether the set-up ran to its end
)
LOG = "gfm-lab-pip.log"
LOCK = ".gfm-lab.lock"
GB = 1e9
# Measured on Linux x86-64 with Python 3.11: the environment takes 2.0 GB with the CPU build of PyTorch, pip's downloads
# 0.4 GB. The CUDA build that pip takes by default on Linux adds 2.7 GB of downloads (installed: 5 GB, an estimate).
NEED_GB = 3
NEED_CUDA_GB = 10
AGAIN = "run the same command again"


class Problem(Exception):
    """Something the user has to settle; its text is the one sentence that says how."""


def say(text: str, error: bool = False) -> None:
    """Print a line, also where the terminal's encoding lacks a letter of it (a path with an accent, say)."""
    stream = sys.stderr if error else sys.stdout
    encoding = stream.encoding or "ascii"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def read_bytes(*path: str) -> bytes:
    with open(os.path.join(ROOT, *path), "rb") as handle:
        return handle.read()


def version_range() -> Tuple[Tuple[int, ...], Tuple[int, ...]]:
    """(lowest, first too new) Python versions, read from requires-python of pyproject.toml."""
    found = re.search(
        rb'^requires-python = ">=([\d.]+),<([\d.]+)"', read_bytes("pyproject.toml"), re.MULTILINE
    )
    if not found:
        raise Problem('pyproject.toml has no line requires-python = ">=A.B,<C.D"; restore it with git.')
    low, high = (tuple(int(part) for part in text.decode().split(".")) for text in found.groups())
    return low, high


def dotted(version: Tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def check_python(version: Tuple[int, ...], executable: str) -> None:
    """Raise Problem unless the course runs on this Python version."""
    low, high = version_range()
    newest = (high[0], high[1] - 1)
    wanted = f"the course needs Python {dotted(low)} to {dotted(newest)}"
    cure = f"install Python 3.12 and {AGAIN}, or name one you have with PYTHON=python3.12"
    if version[:2] < low:
        raise Problem(f"{executable} is Python {dotted(version)} and {wanted}; {cure}.")
    if version[:2] >= high:
        raise Problem(
            f"{executable} is Python {dotted(version)}, newer than PyTorch supports, and {wanted}; {cure}."
        )


def check_machine(pip_args: List[str]) -> None:
    """Raise Problem on machines for which PyTorch publishes no build (arguments for pip may name another source)."""
    if pip_args:
        return
    if sys.maxsize < 2**32:
        raise Problem(
            f"this is a 32-bit Python, for which PyTorch has no build; install a 64-bit Python and {AGAIN}."
        )
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        raise Problem(
            "PyTorch has no build for Intel Macs, nor for an Intel Python on Apple silicon; on Apple silicon install "
            "an arm64 Python and name it with PYTHON=, on an Intel Mac use Binder or a Linux machine (see README.md)."
        )


def venv_path() -> str:
    venv = os.environ.get("VENV") or ".venv"
    if venv.startswith("~"):  # some shells do not expand it after `VENV=`, and a folder named ~ helps nobody
        raise Problem(f"write VENV={venv} out in full: VENV=$HOME/...")
    return os.path.join(ROOT, venv)


def venv_python(venv: str) -> str:
    return (
        os.path.join(venv, "Scripts", "python.exe")
        if os.name == "nt"
        else os.path.join(venv, "bin", "python")
    )


def shown(path: str) -> str:
    """The path as the user would write it: relative to the repository where it lies inside."""
    relative = os.path.relpath(path, ROOT)
    return path if relative.startswith("..") else relative


def make_key(version: str, venv: str) -> str:
    """One hash over all that an environment depends on; where it differs, pip has to run."""
    digest = hashlib.sha256()
    for part in (version, os.path.realpath(venv), os.path.realpath(ROOT)):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    digest.update(read_bytes("pyproject.toml") + b"\0" + read_bytes("constraints.txt"))
    return digest.hexdigest()


def read_note(venv: str) -> Dict[str, str]:
    """What the last set-up noted; {} when there was none."""
    try:
        with open(os.path.join(venv, NOTE), encoding="utf-8") as handle:
            note = json.load(handle)
        return note if isinstance(note, dict) else {}
    except (OSError, ValueError):
        return {}


def write_note(venv: str, **note: str) -> None:
    path = os.path.join(venv, NOTE)
    with open(path + ".part", "w", encoding="utf-8") as handle:
        json.dump(dict(note, venv=os.path.realpath(venv)), handle)
    os.replace(path + ".part", path)


def ask(python: str) -> Optional[Tuple[str, str]]:
    """(version, base prefix) of a Python, or None when it does not run."""
    code = "import sys; print('%d.%d.%d' % sys.version_info[:3]); print(sys.base_prefix)"
    try:
        out = subprocess.check_output(
            [python, "-I", "-c", code], stderr=subprocess.DEVNULL, universal_newlines=True
        )
        version, prefix = out.splitlines()
        return version, os.path.realpath(prefix)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None


def up_to_date(venv: str, version: str) -> bool:
    note = read_note(venv)
    return note.get("state") == "complete" and note.get("key") == make_key(version, venv)


def why_remake(venv: str, asked_for: Optional[Tuple[str, str]]) -> Optional[str]:
    """Why the environment in this folder cannot be kept; None when it can."""
    note = read_note(venv)
    if not os.path.exists(os.path.join(venv, "pyvenv.cfg")) or note.get("state") == "creating":
        return "was not finished"
    # An environment holds its own path in every script, and the path of its Python: neither may change.
    if note.get("venv", os.path.realpath(venv)) != os.path.realpath(venv):
        return "was moved or copied from " + note["venv"]
    made_by = ask(venv_python(venv))
    if made_by is None:
        return "has lost its Python"
    if asked_for and asked_for != made_by:
        return f"was made by Python {made_by[0]} of {made_by[1]}, not by the one in PYTHON="
    try:
        check_python(tuple(int(part) for part in made_by[0].split(".")), "its Python")
    except Problem:
        return f"holds Python {made_by[0]}"
    if subprocess.call([venv_python(venv), "-I", "-c", "import pip"], stderr=subprocess.DEVNULL):
        return "has no pip"
    return None


def check_disk(venv: str, pip_args: List[str]) -> None:
    """Raise Problem when the disk cannot take the environment; warn when it may not take PyTorch with CUDA."""
    if glob.glob(os.path.join(venv, "lib*", "**", "torch", "version.py"), recursive=True):
        return  # the large part is there
    place = venv
    while not os.path.exists(place):
        place = os.path.dirname(place)
    free = shutil.disk_usage(place).free / GB
    if free < NEED_GB:
        raise Problem(
            f"the environment needs {NEED_GB} GB and the disk of {place} has {free:.1f} GB free; free some space, or "
            f"put the environment on another disk with VENV=/other/disk/gfm-lab, and {AGAIN}."
        )
    cuda = sys.platform.startswith("linux") and not pip_args
    if cuda and free < NEED_CUDA_GB:
        say(
            f"Note: on Linux pip takes PyTorch with CUDA unless told otherwise; with it the set-up needs about "
            f"{NEED_CUDA_GB} GB, and {free:.1f} GB are free. README.md says how to choose the smaller CPU build "
            f"(PIP_ARGS=)."
        )


def clear(folder: str) -> None:
    """Empty a folder but keep the lock that this process holds in it."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name == LOCK:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


@contextlib.contextmanager
def lock(venv: str) -> Iterator[None]:
    """Only one set-up at a time in one environment; a second `make` waits. The lock dies with its process."""
    os.makedirs(venv, exist_ok=True)
    with open(os.path.join(venv, LOCK), "w") as handle:
        try:
            import fcntl
        except ImportError:  # Windows: no lock
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                say("Another set-up is at work in this environment: waiting for it.")
                fcntl.flock(handle, fcntl.LOCK_EX)
            # else a file system without locks (some network disks): go on without one
        yield


def create(venv: str) -> None:
    """A new virtual environment, made by the Python that runs this script (or by the one behind it)."""
    python = getattr(sys, "_base_executable", None) or sys.executable
    code = "import venv, ensurepip"
    if subprocess.call([python, "-I", "-c", code], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
        package = "python{}.{}-venv".format(*sys.version_info[:2])
        raise Problem(
            f"{python} came without the module venv or ensurepip; install it (Debian and Ubuntu: sudo apt install "
            f"{package}) and {AGAIN}, or name another Python with PYTHON=."
        )
    say(f"Creating {shown(venv)} with Python {dotted(tuple(sys.version_info[:3]))} ({python}).")
    write_note(venv, state="creating")
    if subprocess.call([python, "-I", "-m", "venv", venv], env=child_environment()):
        raise Problem(
            f"{python} -m venv failed (its message is above); name another Python with PYTHON= and {AGAIN}."
        )


def child_environment() -> Dict[str, str]:
    """The environment for pip: without what would lead it out of the virtual environment."""
    env = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PIP_ARGS", "PIP_TARGET", "PIP_PREFIX")
    }
    env.update(PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    return env


def run_pip(venv: str, arguments: List[str]) -> None:
    """pip with its own progress display; when it fails, its log says which sentence the user gets."""
    log = os.path.join(venv, LOG)
    if os.path.exists(log):
        os.remove(log)
    command = [venv_python(venv), "-I", "-m", "pip", "install", "--no-input", *arguments]
    # A variable, not --log: the second pip that installs the build tools writes into the same log then.
    code = subprocess.call(command, cwd=ROOT, env=dict(child_environment(), PIP_LOG=log))
    if code:
        text = ""
        if os.path.exists(log):
            with open(log, encoding="utf-8", errors="replace") as handle:
                text = handle.read()
        raise Problem(explain(text, code, log))


def explain(log: str, code: int, path: str) -> str:
    """From pip's log to one sentence that says what to do."""

    def has(pattern: str) -> bool:
        return re.search(pattern, log) is not None

    if has(r"No space left on device|Errno 28|not enough space on the disk"):
        temporary = os.environ.get("TMPDIR") or "the system's folder for them"
        return (
            f"the disk is full: the environment needs {NEED_GB} GB, with PyTorch's CUDA build about {NEED_CUDA_GB} GB; "
            f"free some space, also where temporary files go ({temporary}), and {AGAIN}."
        )
    if has(r"Errno 13|Errno 30|Permission denied|Read-only file system"):
        return f"pip may not write into a folder named above; make it yours, or choose another with VENV=, and {AGAIN}."
    if has(r"CERTIFICATE_VERIFY_FAILED|SSLError"):
        return (
            "pip does not trust the certificate of its package index; on a network with its own certificate set "
            f"PIP_CERT to that certificate's file and {AGAIN}."
        )
    if has(
        r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|NameResolutionError|ConnectionResetError"
        r"|Temporary failure in name resolution|Name or service not known|nodename nor servname|getaddrinfo failed"
        r"|Network is unreachable|Connection refused|IncompleteRead|Max retries exceeded"
    ):
        return (
            "pip could not reach its package index; connect to the internet (behind a proxy: set HTTPS_PROXY) and "
            f"{AGAIN}; what was downloaded is kept, and once set up the course works offline."
        )
    if has(r"ResolutionImpossible|conflicting dependencies"):
        return (
            "pyproject.toml and constraints.txt contradict each other; take both from one commit (git checkout), or, "
            "after changing a dependency, remake constraints.txt with `make constraints`."
        )
    missing = re.findall(r"No matching distribution found for ([^\s;(]+)", log)
    if missing:
        return (
            f"the package index has no {missing[-1]} for this Python and system; check that pip may use its index "
            "(PIP_NO_INDEX, PIP_INDEX_URL) and that this is Linux, Windows or macOS 14 or newer, then name another "
            "Python with PYTHON=python3.12."
        )
    return f"pip stopped with exit code {code}; read its message above (in full: {shown(path)}), settle it and {AGAIN}."


def sweep(venv: str) -> None:
    """Remove what an interrupted pip left behind: half-removed packages, and metadata that names no package."""
    for folder in glob.glob(os.path.join(venv, "lib*", "python*", "site-packages")):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            unfinished = name.endswith(".dist-info") and not os.path.exists(os.path.join(path, "METADATA"))
            if (name.startswith("~") or unfinished) and os.path.isdir(path):
                shutil.rmtree(path)


def damaged() -> List[str]:
    """Names of the packages, in the Python that runs this, of which a file is missing or has another size."""
    from importlib import metadata

    names = set()
    for package in metadata.distributions():
        for file in package.files or []:
            try:
                size = os.stat(str(file.locate())).st_size
            except OSError:
                size = -1
            expected = getattr(file, "size", None)
            if file.suffix != ".pyc" and (size < 0 or (expected is not None and expected != size)):
                names.add(package.metadata["Name"])
    return sorted(names)


def find_damaged(venv: str) -> List[str]:
    """`damaged()`, asked of the environment's own Python; the course itself was installed a moment ago."""
    command = [venv_python(venv), "-I", os.path.abspath(__file__), "--damaged"]
    return [
        name
        for name in subprocess.check_output(command, universal_newlines=True).split()
        if name != "gfm-lab"
    ]


def install(venv: str, pip_args: List[str]) -> None:
    """pip install of the course at the tested versions, then repair of files that an earlier interruption broke."""
    constraints = ["-c", "constraints.txt"]
    sweep(venv)
    version = subprocess.check_output(
        [venv_python(venv), "-I", "-m", "pip", "--version"], universal_newlines=True
    )
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < (
        21,
        3,
    ):  # too old for `-e` without a setup.py
        run_pip(venv, ["--upgrade", "pip", *pip_args])
    run_pip(venv, [*constraints, *pip_args, "-e", ".[dev]"])
    broken = find_damaged(venv)
    if broken:
        say("Repairing packages with missing files: {}.".format(", ".join(broken)))
        run_pip(venv, [*constraints, *pip_args, "--force-reinstall", "--no-deps", *broken])
        if find_damaged(venv):
            raise Problem(f"files are still missing in {shown(venv)}; remove that folder and {AGAIN}.")


def set_up() -> None:
    """Bring the environment up to date. Raises Problem, or OSError where a folder cannot be written."""
    venv = venv_path()
    pip_args = shlex.split(os.environ.get("PIP_ARGS") or "")
    check_python(tuple(sys.version_info[:3]), sys.executable)
    asked_for = None
    if os.environ.get("PYTHON"):
        asked_for = (dotted(tuple(sys.version_info[:3])), os.path.realpath(sys.base_prefix))
    started = time.time()

    existing = os.path.isdir(venv) and set(os.listdir(venv)) - {LOCK}
    if (existing and not {"pyvenv.cfg", NOTE} & set(existing)) or os.path.isfile(venv):
        raise Problem(
            f"{shown(venv)} exists and is not a Python environment; choose another folder with VENV=."
        )
    if existing and asked_for is None:
        made_by = ask(venv_python(venv))
        if made_by and up_to_date(venv, made_by[0]):
            say(f"Environment {shown(venv)} is ready.")
            return
    check_machine(pip_args)
    with lock(venv):
        reason = why_remake(venv, asked_for) if existing else None
        made_by = None if reason else ask(venv_python(venv))
        if made_by and up_to_date(
            venv, made_by[0]
        ):  # PYTHON= named its own Python, or another process has finished
            say(f"Environment {shown(venv)} is ready.")
            return
        if reason:
            say(f"Environment {shown(venv)} {reason}: making it anew.")
            # Remade without asking: only what this script made, or what lies in this repository under its own name.
            if not read_note(venv) and not os.path.realpath(venv).startswith(os.path.realpath(ROOT) + os.sep):
                raise Problem(
                    f"{shown(venv)} was not made by this course; remove it, or choose another folder with VENV=."
                )
            clear(venv)
        check_disk(venv, pip_args)
        if made_by is None:
            create(venv)
            made_by = ask(venv_python(venv))
            if made_by is None:
                raise Problem(
                    f"the new environment's Python does not run; name another Python with PYTHON= and {AGAIN}."
                )
        say(
            f"Installing the course into {shown(venv)} at the versions of constraints.txt (the first time: minutes)."
        )
        write_note(venv, state="installing")
        install(venv, pip_args)
        write_note(venv, state="complete", key=make_key(made_by[0], venv))
    say(f"Environment {shown(venv)} is ready: Python {made_by[0]}, {time.time() - started:.0f} s.")


def main(arguments: List[str]) -> int:
    try:
        if arguments == ["--usable"]:
            check_python(tuple(sys.version_info[:3]), sys.executable)
        elif arguments == ["--check"]:  # run by the environment's own Python
            if not up_to_date(venv_path(), dotted(tuple(sys.version_info[:3]))):
                return 1
            say(f"Environment {shown(venv_path())} is ready.")
        elif arguments == ["--damaged"]:
            say("\n".join(damaged()))
        elif arguments:
            raise Problem(
                "setup_env.py takes no arguments; set the variables PYTHON, VENV and PIP_ARGS instead."
            )
        else:
            set_up()
    except Problem as problem:
        say(f"\nset-up stopped: {problem}", error=True)
        return 1
    except KeyboardInterrupt:
        say(f"\nset-up interrupted: {AGAIN} to go on.", error=True)
        return 130
    except subprocess.CalledProcessError as error:
        say(f"\nset-up stopped: {error}; remove the folder {shown(venv_path())} and {AGAIN}.", error=True)
        return 1
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC):
            raise
        where = error.filename or "a file"
        reason = (
            "the disk is full; free some space"
            if error.errno == errno.ENOSPC
            else "this folder cannot be written; copy the course to a folder of your own, or choose one with VENV=,"
        )
        say(f"\nset-up stopped: {where}: {reason} and {AGAIN}.", error=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
