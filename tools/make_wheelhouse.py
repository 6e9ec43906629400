"""Make a folder from which the course is installed without a network: wheels, notebooks, data, one install command.

    python tools/make_wheelhouse.py                                          # for computers like this one
    python tools/make_wheelhouse.py --systems linux-x86_64 windows-amd64 --pythons 3.11 3.12

The folder, `dist/wheelhouse`, holds `wheels/` (every package at the version of constraints.txt, and the course's own
wheel with data and checkpoints), `course/` (notebooks, slides, data, docs, templates: the files git knows),
`install.sh` and `install.ps1`, `README.md` and `SHA256SUMS`. Copy it to a USB stick or serve it on the local network.

The packages are those that the course's wheel asks for, and those that they ask for in turn, as their markers say for
each system and Python; so a folder for Windows can be made on Linux. Only wheels are taken: nothing is compiled on a
learner's laptop. `PIP_ARGS` (or --pip-args) goes to pip, as in `make setup`; on Linux it chooses the smaller CPU build
of PyTorch, see README.md. What was fetched is kept when the run is interrupted, and not fetched again.
"""

from __future__ import annotations

import argparse
import email.parser
import hashlib
import json
import os
import posixpath
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "dist" / "wheelhouse"
TEMPLATES = Path(__file__).resolve().parent / "wheelhouse"
COURSE = (
    "notebooks", "slides", "data", "docs", "templates", "README.md", "LICENSE", "LICENSE-CONTENT", "CITATION.cff",
)  # fmt: skip
CARDS = "checkpoints/**/README.md"  # the models' cards; their weights are in the wheel
LINK = re.compile(r"!?\[([^\]\[]+)\]\(([^)#\s]+)(#[^)]*)?\)")
# Downloads, measured on Linux x86-64 with Python 3.11: 0.4 GB with the CPU build of PyTorch (0.2 GB of it PyTorch).
# PyTorch's CUDA build brings 2.7 GB more, and PyPI has no other for Linux.
NEED_GB, NEED_CUDA_GB, GB = 1.0, 4.0, 1e9

# Some pins ask for a bug fix of a Python (3.11.5, say), and laptops have all of them: the oldest and the newest that
# can make a difference. No Python has got past 3.N.30 yet.
PATCHES = (0, 30)


class Problem(Exception):
    """Something the teacher has to settle; its text says what and how."""


@dataclass(frozen=True)
class System:
    """What a wheel's name and a dependency's marker say of an operating system and a processor."""

    tags: tuple[str, ...]
    markers: dict[str, str]


def _markers(sys_platform: str, platform_system: str, machine: str, os_name: str) -> dict[str, str]:
    return {
        "sys_platform": sys_platform,
        "platform_system": platform_system,
        "platform_machine": machine,
        "os_name": os_name,
    }


def _manylinux(machine: str, newest: int = 28) -> tuple[str, ...]:
    """The wheels that run with glibc 2.28 or newer (2018): pip does not unfold manylinux_2_28 into the older ones."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(newest, 4, -1)]
    return (*tags, *(f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")), f"linux_{machine}")


SYSTEMS = {
    "linux-x86_64": System(_manylinux("x86_64"), _markers("linux", "Linux", "x86_64", "posix")),
    "linux-aarch64": System(_manylinux("aarch64"), _markers("linux", "Linux", "aarch64", "posix")),
    # pip unfolds these two to older versions of macOS itself.
    "macos-arm64": System(("macosx_14_0_arm64",), _markers("darwin", "Darwin", "arm64", "posix")),
    "windows-amd64": System(("win_amd64",), _markers("win32", "Windows", "AMD64", "nt")),
}


@dataclass(frozen=True)
class Target:
    """A system and a Python version (such as "3.12") to make the folder for."""

    system: str
    python: str
    patch: int = PATCHES[-1]

    def __str__(self) -> str:
        return f"{self.system} with Python {self.python}"

    @property
    def environment(self) -> dict[str, str]:
        """The values of markers."""
        return SYSTEMS[self.system].markers | {
            "python_version": self.python,
            "python_full_version": f"{self.python}.{self.patch}",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_version": "",
            "implementation_version": f"{self.python}.{self.patch}",
        }

    @property
    def pip_options(self) -> list[str]:
        """What tells pip to choose wheels for this target, and not for the Python that runs it."""
        options = ["--implementation", "cp", "--python-version", f"{self.python}.{self.patch}"]
        return options + [f"--platform={tag}" for tag in SYSTEMS[self.system].tags]


def this_system() -> str:
    """The name in SYSTEMS of this computer. Raises Problem where there is none."""
    name = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = sysconfig.get_platform().rsplit("-", 1)[-1].lower()
    if f"{name}-{machine}" not in SYSTEMS:
        raise Problem(
            f"{name}-{machine} is no system with wheels of PyTorch; name others with --systems: {', '.join(SYSTEMS)}"
        )
    return f"{name}-{machine}"


def allowed_pythons() -> list[str]:
    """The minor versions of requires-python in pyproject.toml, as in ["3.10", "3.11"]."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', text, re.MULTILINE)
    if not found:
        raise Problem('pyproject.toml has no line requires-python = ">=3.A,<3.B"; restore it with git.')
    return [f"3.{minor}" for minor in range(int(found[1]), int(found[2]))]


def read_pins(path: Path, environment: dict[str, str]) -> dict[str, str]:
    """{package: version} of the lines of a constraints file that apply in an environment.

    Raises:
        Problem: a line is no `name==version`, with file and line number.
    """
    pins = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            pin = Requirement(line)
            (version,) = (part for part in pin.specifier if part.operator == "==")
        except ValueError:
            raise Problem(f"{path.name}, line {number}: {line!r} is no pin such as numpy==2.4.6") from None
        if pin.marker is None or pin.marker.evaluate(environment):
            pins[canonicalize_name(pin.name)] = version.version
    return pins


def at_every_patch(target: Target, constraints: Path) -> list[Target]:
    """The target with its oldest and its newest bug-fix release, or one of them where the pins are the same."""
    both = [replace(target, patch=patch) for patch in PATCHES]
    same = read_pins(constraints, both[0].environment) == read_pins(constraints, both[1].environment)
    return both[1:] if same else both


def requirements_of(wheel: Path) -> list[Requirement]:
    """What a wheel asks for (Requires-Dist), extras' markers included."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
        metadata = email.parser.Parser().parsestr(archive.read(name).decode("utf-8"))
    return [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]


def needed(
    requirements: Iterable[Requirement], environment: dict[str, str], extras: Iterable[str]
) -> list[Requirement]:
    """The requirements whose markers hold in an environment, with one of these extras or without any."""
    every = [environment | {"extra": extra} for extra in ("", *extras)]
    return [r for r in requirements if r.marker is None or any(r.marker.evaluate(env) for env in every)]


def fetch(
    target: Target,
    course: Path,
    extras: Sequence[str],
    constraints: Path,
    folder: Path,
    pip_args: Sequence[str],
) -> list[Path]:
    """Bring the wheels of everything the course's wheel needs on one target into `folder`, level by level.

    Returns the paths of the wheels. Raises Problem where a package is not pinned, or has no wheel for the target.
    """
    pins = read_pins(constraints, target.environment)
    done: dict[str, set[str]] = {}  # package -> extras that were followed
    wheels: dict[str, Path] = {}
    asked_by: dict[str, str] = {}
    level = [(r, "the course") for r in needed(requirements_of(course), target.environment, extras)]
    while level:
        fresh = []
        for requirement, parent in level:
            name = canonicalize_name(requirement.name)
            asked_by.setdefault(name, parent)
            if name in done and requirement.extras <= done[name]:
                continue
            done[name] = done.get(name, set()) | requirement.extras
            if name not in pins:
                raise Problem(
                    f"{parent} needs {requirement.name}, and {constraints.name} has no version of it for {target}; "
                    "run `make constraints`, then `make test`"
                )
            if not requirement.specifier.contains(pins[name], prereleases=True):
                raise Problem(
                    f"{parent} needs {requirement}, and {constraints.name} pins {pins[name]}: run `make constraints`"
                )
            fresh.append(name)
        missing = [n for n in dict.fromkeys(fresh) if n not in wheels]
        if missing:
            _download([f"{n}=={pins[n]}" for n in missing], target, folder, pip_args, asked_by)
            wheels |= {n: _wheel_of(n, pins[n], folder) for n in missing}
        level = [
            (r, n)
            for n in dict.fromkeys(fresh)
            for r in needed(requirements_of(wheels[n]), target.environment, done[n])
        ]
    return list(wheels.values())


def _download(
    pins: Sequence[str], target: Target, folder: Path, pip_args: Sequence[str], asked_by: dict[str, str]
) -> None:
    """pip download of these pins, without what they need; its fault becomes a sentence that names the package."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), *target.pip_options, *pip_args, *pins]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode == 0:
        return
    found = re.search(r"No matching distribution found for (\S+)", ran.stderr)
    if found:
        name = canonicalize_name(re.split(r"[=<>!~]", found[1])[0])
        raise Problem(
            f"there is no wheel of {found[1]} for {target} (needed by {asked_by.get(name, 'the course')}): leave this "
            "system or Python out, or name a package index that has one with PIP_ARGS"
        )
    if "No space left" in ran.stderr:
        raise Problem(f"the disk of {folder} is full: free some space and run the same command again")
    last = [line for line in ran.stderr.splitlines() if line.strip()][-3:]
    raise Problem(f"pip could not fetch the wheels for {target}: {' '.join(last)}")


def _wheel_of(name: str, version: str, folder: Path) -> Path:
    """The wheel of a package in a folder; a local label, as in 2.13.0+cpu, is no part of the comparison."""
    for path in folder.glob("*.whl"):
        found, has, _, _ = parse_wheel_filename(path.name)
        if found == name and str(has).split("+")[0] == version.split("+")[0]:
            return path
    raise Problem(f"pip fetched {name} {version}, but its wheel is not in {folder}")


def build_wheel(folder: Path) -> Path:
    """The course's own wheel, with data and checkpoints inside."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ran.returncode:
        raise Problem(f"the course's wheel could not be built (run `make setup` first): {ran.stderr.strip()}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def course_files(root: Path = ROOT) -> list[Path]:
    """The files a learner gets, relative to the repository: what git knows; in a download without .git, all files."""
    git = shutil.which("git")
    if git and (root / ".git").exists():
        listed = subprocess.run(
            [git, "-C", str(root), "ls-files", "-z", "--", *COURSE, f":(glob){CARDS}"],
            capture_output=True,
            check=True,
        ).stdout.decode("utf-8")
        files = [Path(name) for name in listed.split("\0") if name]
    else:
        left_out = {"__pycache__", "node_modules"}
        files = [
            path.relative_to(root)
            for top in COURSE
            for path in ([root / top] if (root / top).is_file() else (root / top).rglob("*"))
            if path.is_file()
        ]
        files += [path.relative_to(root) for path in root.glob(CARDS)]
        files = [f for f in files if not any(p in left_out or p.startswith(".") for p in f.parts)]
    return sorted(f for f in files if (root / f).is_file() and f.parts[:2] != ("notebooks", "source"))


def within(text: str, page: Path, files: Sequence[Path]) -> str:
    """A page of Markdown whose links to what learners do not get (the guide with its answers) are plain words."""
    there = {path.as_posix() for file in files for path in (file, *file.parents)}

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(page.parent.as_posix(), found[2]))
        return found[0] if ":" in found[2] or target in there else found[1]

    return LINK.sub(link, text)


def check_disk(folder: Path, targets: Sequence[Target], pip_args: Sequence[str]) -> None:
    """Raise Problem when the disk cannot take the wheels."""
    folder.mkdir(parents=True, exist_ok=True)
    cuda = [t for t in targets if t.system.startswith("linux") and not pip_args]
    need = sum(NEED_CUDA_GB if target in cuda else NEED_GB for target in targets)
    free = shutil.disk_usage(folder).free / GB
    if free < need:
        raise Problem(
            f"the folder may need {need:.0f} GB and the disk of {folder} has {free:.1f} GB free; free some space, name "
            "another disk with --output, or take fewer systems and Pythons"
        )


def file_sum(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_sums(folder: Path) -> int:
    """SHA256SUMS over every other file of a folder, in the form of `sha256sum`; returns how many files."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = [f"{file_sum(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8", newline="\n")
    return len(files)


def make(
    output: Path,
    targets: Sequence[Target],
    *,
    course: Path,
    files: Sequence[Path],
    constraints: Path = ROOT / "constraints.txt",
    extras: Sequence[str] = (),
    pip_args: Sequence[str] = (),
) -> dict[str, int]:
    """Make the folder `output`; returns {"files": ..., "wheels": ..., "bytes": ...}.

    `course` is the course's wheel, `files` the course's files relative to the repository. All is made in a folder
    beside `output`, which is replaced at the end; where the run fails, `output` stays as it was.

    Raises:
        Problem: no wheel for a target, a full disk, or `output` is a folder that this tool did not make.
    """
    ours = all((output / name).is_file() for name in ("SHA256SUMS", "settings.json", "install.py"))
    if output.exists() and any(output.iterdir()) and not ours:
        raise Problem(f"{output} holds other files: name a new folder with --output")
    half = output.with_name(f".{output.name}.part")
    # One folder a target: what an interrupted run brought in is not fetched again, unless PIP_ARGS now say to take
    # other wheels of the same version, as the CPU build of PyTorch.
    kept = half / f"fetched-{hashlib.sha256(shlex.join(pip_args).encode()).hexdigest()[:8]}"
    check_disk(half, targets, pip_args)
    wheels: dict[str, Path] = {}
    for target in targets:
        print(f"Fetching wheels for {target} ...", flush=True)
        folder = kept / f"{target.system}-{target.python}"
        folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, Path] = {}
        for same in at_every_patch(target, constraints):
            found |= {p.name: p for p in fetch(same, course, extras, constraints, folder, pip_args)}
        print(
            f"  {len(found)} wheels, {sum(p.stat().st_size for p in found.values()) / 1e6:,.0f} MB",
            flush=True,
        )
        wheels |= found
    made = half / "wheelhouse"
    if made.exists():
        shutil.rmtree(made)
    (made / "wheels").mkdir(parents=True)
    for path in (course, *wheels.values()):
        shutil.copyfile(path, made / "wheels" / path.name)
    for path in files:
        (made / "course" / path).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = within((ROOT / path).read_text(encoding="utf-8"), path, files)
            (made / "course" / path).write_text(text, encoding="utf-8", newline="\n")
        else:
            shutil.copyfile(ROOT / path, made / "course" / path)
    shutil.copyfile(constraints, made / "constraints.txt")
    pythons = list(dict.fromkeys(target.python for target in targets))
    need = 10 if any(name.startswith("nvidia_") for name in wheels) else 3  # as in tools/setup_env.py
    settings = {"pythons": pythons, "wheel": course.name, "extras": list(extras), "need_gb": need}
    (made / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8", newline="\n")
    words = {
        "@PYTHONS@": " ".join(pythons),
        "@SYSTEMS@": ", ".join(dict.fromkeys(target.system for target in targets)),
        "@NEED_GB@": str(need),
    }
    for path in sorted(p for p in TEMPLATES.iterdir() if p.is_file()):
        text = path.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        (made / path.name).write_text(text, encoding="utf-8", newline="\n")
    count = write_sums(made)
    size = sum(p.stat().st_size for p in made.rglob("*") if p.is_file())
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.exists():
        shutil.rmtree(output)
    os.replace(made, output)
    shutil.rmtree(half)
    return {"files": count, "wheels": len(wheels) + 1, "bytes": size}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make a folder that installs the course without a network.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the folder (default: dist/wheelhouse)")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, help="default: this computer's")
    parser.add_argument("--pythons", nargs="+", metavar="3.N", help="default: this Python's version")
    parser.add_argument("--extras", nargs="+", default=[], metavar="NAME", help="such as dev or classroom")
    parser.add_argument("--pip-args", default=os.environ.get("PIP_ARGS", ""), help="default: PIP_ARGS")
    options = parser.parse_args(arguments)
    try:
        systems = options.systems or [this_system()]
        pythons = options.pythons or [f"3.{sys.version_info[1]}"]
        known = allowed_pythons()
        if wrong := [python for python in pythons if python not in known]:
            raise Problem(f"the course does not run on Python {wrong[0]}; it runs on {', '.join(known)}")
        targets = [Target(system, python) for system in systems for python in pythons]
        with tempfile.TemporaryDirectory() as built:
            made = make(
                options.output.resolve(),
                targets,
                course=build_wheel(Path(built)),
                files=course_files(),
                extras=options.extras,
                pip_args=shlex.split(options.pip_args),
            )
    except (Problem, OSError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    shown = os.path.relpath(options.output)
    print(f"{shown}: {made['files']} files, {made['wheels']} wheels, {made['bytes'] / 1e6:,.0f} MB.")
    print(
        f"Copy the folder; on a laptop without network: sh {Path(shown).name}/install.sh (its README.md has more)."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
