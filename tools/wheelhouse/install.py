"""Install the course from the folder this file lies in. install.sh and install.ps1 find a Python and start it.

    python install.py [FOLDER]      # FOLDER: where the course goes (default: gfm-course in your home)

It checks every file against SHA256SUMS, copies the course's files to FOLDER (a file that is there already is kept: it
may be your work), makes the environment FOLDER/.venv, installs the wheels without a network, and runs `gfm-lab doctor`.
It can be run again. Standard library only.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


class Problem(Exception):
    """Something the learner has to settle; its text is the one sentence that says how."""


def read(name):
    """The text of a file of this folder. Raises Problem if it is not there, or no text."""
    try:
        with open(os.path.join(HERE, name), encoding="utf-8") as handle:
            return handle.read()
    except (OSError, UnicodeDecodeError):
        raise Problem(f"{name} is missing or damaged: copy the whole folder again.") from None


def check_sums():
    """Every file of SHA256SUMS is there and whole; returns how many. Raises Problem with the file's name."""
    lines = [line.split("  ", 1) for line in read("SHA256SUMS").splitlines()]
    if not lines or any(len(line) != 2 for line in lines):
        raise Problem("SHA256SUMS was damaged on the way: copy the folder again.")
    for wanted, name in lines:
        path = os.path.join(HERE, *name.split("/"))
        digest = hashlib.sha256()
        try:
            with open(path, "rb") as handle:
                for block in iter(lambda: handle.read(1 << 20), b""):
                    digest.update(block)
        except OSError:
            raise Problem(f"{name} is missing: copy the whole folder again.") from None
        if digest.hexdigest() != wanted:
            raise Problem(f"{name} was damaged on the way: copy the folder again.")
    return len(lines)


def check_disk(folder, need):
    place = folder
    while not os.path.exists(place):
        place, below = os.path.dirname(place), place
        if place == below:  # a drive that is not there
            raise Problem(f"there is no {place}: name another folder behind the command.")
    free = shutil.disk_usage(place).free / 1e9
    if free < need and not os.path.exists(os.path.join(folder, ".venv")):
        raise Problem(
            f"the course needs {need} GB and the disk of {place} has {free:.1f} GB free: free some space, or name a "
            "folder on another disk behind the command."
        )


def copy_course(folder):
    """Copy what is not there yet; returns (copied, kept)."""
    copied = kept = 0
    source = os.path.join(HERE, "course")
    for root, _, names in os.walk(source):
        target = os.path.join(folder, os.path.relpath(root, source))
        os.makedirs(target, exist_ok=True)
        for name in names:
            final = os.path.join(target, name)
            if os.path.exists(final):
                kept += 1
                continue
            shutil.copyfile(os.path.join(root, name), final + ".part")
            os.replace(final + ".part", final)
            copied += 1
    return copied, kept


def install(folder, wheel, extras):
    """The environment and its wheels; returns its Python. pip may use neither a network nor its own settings."""
    venv = os.path.join(folder, ".venv")
    python = os.path.join(venv, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
    clean = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith("PIP_") and k not in ("PYTHONHOME", "PYTHONPATH")
    }
    # Without pip it was left half made: by an interruption, or for want of Debian's package python3.N-venv.
    with open(os.devnull, "wb") as nowhere:
        ready = os.path.exists(python) and not subprocess.call(
            [python, "-I", "-m", "pip", "--version"], env=clean, stdout=nowhere, stderr=nowhere
        )
    if not ready and subprocess.call([sys.executable, "-m", "venv", venv], env=clean):
        raise Problem(
            f"{sys.executable} could not make an environment (its message is above). Debian and Ubuntu need the "
            "package python{}.{}-venv.".format(*sys.version_info[:2])
        )
    command = [
        python,
        "-I",
        "-m",
        "pip",
        "--isolated",
        "install",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command += [
        "--no-index",
        "--find-links",
        os.path.join(HERE, "wheels"),
        "-c",
        os.path.join(HERE, "constraints.txt"),
    ]
    command += [os.path.join(HERE, "wheels", wheel) + (f"[{','.join(extras)}]" if extras else "")]
    log = os.path.join(folder, "install.log")
    with open(log, "wb") as handle:
        failed = subprocess.call(
            command, env=dict(clean, PIP_CONFIG_FILE=os.devnull), stdout=handle, stderr=handle
        )
    if failed:
        with open(log, encoding="utf-8", errors="replace") as handle:
            lines = [line.strip() for line in handle if "ERROR" in line]
        raise Problem(
            "pip could not install the wheels: {} ({} has it all).".format(" ".join(lines[-2:]), log)
        )
    return python


def main():
    try:
        settings = json.loads(read("settings.json"))
    except ValueError:
        raise Problem("settings.json was damaged on the way: copy the folder again.") from None
    version = "{}.{}".format(*sys.version_info[:2])
    if version not in settings["pythons"]:
        raise Problem(f"this folder is for Python {', '.join(settings['pythons'])}, and this is {version}.")
    home = os.path.join(os.path.expanduser("~"), "gfm-course")
    folder = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else home
    print("Checking the files ...", flush=True)
    print(f"  {check_sums()} files are whole.")
    check_disk(folder, settings["need_gb"])
    copied, kept = copy_course(folder)
    print(f"{folder}: {copied} files copied, {kept} there already and kept.", flush=True)
    print("Installing; this takes some minutes ...", flush=True)
    python = install(folder, settings["wheel"], settings["extras"])
    tool = os.path.join(os.path.dirname(python), "gfm-lab" + (".exe" if os.name == "nt" else ""))
    broken = subprocess.call([tool, "doctor"], cwd=folder)
    start = [
        os.path.relpath(python, folder),
        "-m",
        "jupyterlab",
        "--ip=127.0.0.1",
        "notebooks/00_anatomy.ipynb",
    ]
    print('\nStart the course with:\n  cd "{}"\n  {}'.format(folder, " ".join(start)))
    return broken


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(1)
