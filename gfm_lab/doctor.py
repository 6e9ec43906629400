"""`gfm-lab doctor`: says on one screen whether this machine can run the course.

Nothing of torch or transformers is imported at the top, so that the doctor works where they are broken.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

from gfm_lab import __version__

_WIDTH = 100
_GIB = 1 << 30


class Finding(NamedTuple):
    """One line of the doctor: "ok", "note" (can be done without) or "BROKEN" (cannot), and what to do."""

    state: str
    topic: str
    text: str
    todo: str = ""


def doctor() -> int:
    """Print what the course needs and what was found, at most 24 lines of 100 columns.

    Returns 1 if something needed is broken (each such line is followed by what to do), else 0. Nothing that
    is missing or broken makes it crash.
    """
    checks = (
        ("Python", _python),
        ("torch", _torch),
        ("transformers", _transformers),
        ("device", _device),
        ("scan", _scan),
        ("mamba-ssm", _mamba),
        ("data", _data),
        ("notebooks", _notebooks),
        ("memory", _memory),
        ("disk", _disk),
    )
    print(f"gfm-lab {__version__} doctor")
    broken = 0
    for topic, check in checks:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                finding = check()
        except Exception as fault:
            finding = Finding("BROKEN", topic, f"cannot be checked ({_reason(fault)})", _REINSTALL)
        broken += finding.state == "BROKEN"
        print(_fit(f"  {finding.state:<7} {finding.topic:<13} {finding.text}"))
        if finding.todo:
            print(_fit(f"  {'':<7} {'':<13} -> {finding.todo}"))
    if broken:
        print(
            f"{broken} broken: follow the arrow{'s' * (broken > 1)} above, then run `gfm-lab doctor` again."
        )
    else:
        print("Everything the course needs works.")
    return 1 if broken else 0


_REINSTALL = "Repair: `make lab`, or `pip install -e . -c constraints.txt`."


def _fit(line: str) -> str:
    """One line of plain ASCII (a terminal may know nothing else), cut to the width of the screen."""
    line = " ".join(line.splitlines()).encode("ascii", "replace").decode("ascii")
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 6] + " [cut]"


def _reason(fault: BaseException) -> str:
    lines = str(fault).strip().splitlines()
    return f"{type(fault).__name__}: {lines[0]}" if lines else type(fault).__name__


def _outside_range(package: str, version: str) -> str | None:
    """The range that this package asks of `package` if `version` is not in it, as pyproject.toml has it."""
    try:
        from packaging.requirements import Requirement

        for text in importlib.metadata.requires("gfm-lab") or ():
            wanted = Requirement(text)
            if wanted.name == package and wanted.marker is None:
                # A local label (2.6.0+cpu) is no part of the comparison.
                inside = wanted.specifier.contains(version.split("+")[0], prereleases=True)
                return None if inside else str(wanted.specifier)
    except Exception:
        pass  # run from a folder without being installed: no range is known, so none is broken
    return None


def _library(package: str, extra: str = "") -> Finding:
    """Import a needed library and compare its version with the range asked for."""
    try:
        module = importlib.import_module(package)
        version = str(module.__version__)
    except Exception as fault:
        return Finding("BROKEN", package, f"does not load ({_reason(fault)})", _REINSTALL)
    if wanted := _outside_range(package, version):
        return Finding("BROKEN", package, f"{version}, but the course needs {wanted}", _REINSTALL)
    return Finding("ok", package, version + extra)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if tuple(sys.version_info[:2]) < (3, 10):
        todo = "Install Python 3.10 or newer, remove `.venv` and run `make lab`."
        return Finding("BROKEN", "Python", f"{version} is too old", todo)
    return Finding("ok", "Python", version)


def _torch() -> Finding:
    finding = _library("torch")
    if finding.state == "ok":
        cuda = sys.modules["torch"].version.cuda
        return finding._replace(text=finding.text + (f", CUDA {cuda} build" if cuda else ", CPU build"))
    return finding


def _transformers() -> Finding:
    return _library("transformers")


def _device() -> Finding:
    from gfm_lab.device import ENVIRONMENT, DeviceError, describe

    try:
        facts = describe()
    except DeviceError as fault:
        return Finding("BROKEN", "device", str(fault), f"Unset {ENVIRONMENT}, or set it to auto or cpu.")
    except Exception:
        return Finding("BROKEN", "device", "unknown until torch works", "Mend torch first.")
    kind = {"cuda": "CUDA", "mps": "MPS (Apple)", "cpu": "CPU"}[facts["device"]]
    memory = f", {facts['memory'] / _GIB:.0f} GiB" if facts["memory"] else ""
    asked = f" (by {ENVIRONMENT})" if facts["asked"] else ""
    text = f"{kind}{asked}: {facts['name']}{memory}; {facts['threads']} threads, {facts['cores']} cores"
    if facts["mps"]:  # it would be faster, but its numbers are what counts
        return Finding("note", "device", text, f"MPS left out: {_cut(facts['mps'], 59)}")
    return Finding("ok", "device", text)


def _scan() -> Finding:
    """Which code computes Mamba's scan on the device that is picked."""
    try:
        from gfm_lab.device import pick_device
        from gfm_lab.mixers.mamba import scan_path

        device = pick_device()
        path = scan_path(device)
    except Exception:
        return Finding("note", "scan", "Mamba's: unknown until torch and the device work")
    if path == "mamba-ssm":
        return Finding("ok", "scan", "Mamba's: the kernels of mamba-ssm")
    if path == "compiled":
        return Finding("ok", "scan", f"Mamba's: compiled loops (numba {_version('numba')})")
    text = "Mamba's: plain torch, right but slow" + (" on a CPU" if device.type == "cpu" else "")
    todo = "For one about 6 times as fast: `pip install numba`." if device.type == "cpu" else ""
    return Finding("note", "scan", text, todo)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _mamba() -> Finding:
    from gfm_lab.device import mamba_ssm_status

    usable, reason = mamba_ssm_status()
    return Finding(
        "ok" if usable else "note", "mamba-ssm", reason if usable else f"optional, unused: {reason}"
    )


def _data() -> Finding:
    todo = "Get the files back: `git restore data`, or install the package again."
    try:
        from gfm_lab.data import verify_all
    except ImportError as fault:
        return Finding("BROKEN", "data", f"cannot be verified ({_reason(fault)})", _REINSTALL)
    try:
        tables = verify_all()
    except Exception as fault:
        return Finding("BROKEN", "data", f"cannot be verified ({_reason(fault)})", todo)
    problems = [f"{name}: {problem}" for name, problem in tables.items() if problem]
    if not tables:
        return Finding("BROKEN", "data", "no tables found", todo)
    if problems:
        more = f" (and {len(problems) - 1} more of {len(tables)})" if len(problems) > 1 else ""
        text = problems[0] if len(problems[0]) <= 55 else problems[0][:52] + "..."
        return Finding("BROKEN", "data", text + more, todo)
    return Finding("ok", "data", f"{len(tables)} tables, every checksum right")


def _notebooks() -> Finding:
    found, missing = [], []
    for package in ("jupyterlab", "nbval"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if "jupyterlab" in missing:
        return Finding("BROKEN", "notebooks", "jupyterlab is not installed", _REINSTALL)
    if missing:
        return Finding("note", "notebooks", f"{found[0]}; nbval (optional, for the tests) is not installed")
    return Finding("ok", "notebooks", ", ".join(found))


def _memory() -> Finding:
    import psutil

    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    try:  # in a container (Binder, Docker) the machine's numbers are not ours
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        free = max(0, min(free, limit - int((group / "memory.current").read_text())))
        total = min(total, limit)
    except (OSError, ValueError):
        pass
    text = f"{free / _GIB:.1f} GiB free of {total / _GIB:.1f}"
    if free < 2 * _GIB:
        return Finding(
            "note", "memory", text + ", which is little", "Close programs: a notebook may take 2 GiB."
        )
    return Finding("ok", "memory", text)


def _disk() -> Finding:
    text = f"{(free := shutil.disk_usage(Path.cwd()).free) / _GIB:.1f} GiB free here"
    if free < _GIB // 2:
        return Finding("note", "disk", text + ", which is little", "Free some space before training a model.")
    return Finding("ok", "disk", text)
