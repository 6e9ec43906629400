"""`gfm-lab new PROJECT`: a folder with a script that goes from DNA to a report, its test and a README."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import gfm_lab.starter

__all__ = ["new"]

FILES = ("README.md", "project.py", "test_project.py")


def new(args: argparse.Namespace) -> None:
    folder: Path = args.project
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already, and not empty: choose another name")
    if not folder.name:
        raise ValueError("name the new project's folder, such as my-project")
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = Path(gfm_lab.starter.__file__).parent
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as made:
        part = Path(made) / "project"
        part.mkdir()
        for name in FILES:
            shutil.copyfile(source / name, part / name)
        readme = part / "README.md"
        text = readme.read_text(encoding="utf-8").replace("# PROJECT", f"# {folder.name}", 1)
        readme.write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        os.replace(part, folder)
    print(f"{folder} holds {', '.join(FILES)}. Start with:\n  cd {folder}\n  python project.py --small")
