"""`gfm-lab progress`: which exercises a learner has attempted and solved, read from the saved notebooks themselves.

A check prints `[ok] name: ...`, `[hint] name: ...` or `[not attempted yet] name: ...` below its cell; the last such
line of an exercise counts. Nothing is run, and nothing but the notebooks is read: what was not saved does not show.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from gfm_lab import checks

__all__ = ["progress", "read_progress"]

START = re.compile(r"""checks\.start\(\s*["']([^"']+)["']\s*\)""")
COLOUR = re.compile(r"\x1b\[[\d;]*m")
LINE = re.compile(rf"^\[({'|'.join((checks.OK, checks.HINT, checks.TODO))})\] (\w+): ", re.MULTILINE)
MARKS = {checks.OK: "■", checks.HINT: "▨", checks.TODO: "□"}


def read_progress(path: str | Path) -> dict[str, str] | None:
    """{exercise: "ok", "hint" or "not attempted yet"} of a saved notebook, in the order of the course.

    None for a notebook without exercises of this course. Raises ValueError if the file is not a notebook, or belongs to
    a newer or older version of the course (exercises of an unknown notebook). Introduced in notebook 00.
    """
    path = Path(path)
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        text = ["".join(cell["source"]) for cell in code]
        printed = [
            "".join("".join(out.get("text", "")) for out in cell["outputs"] if out["output_type"] == "stream")
            for cell in code
        ]
    except (IsADirectoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(
            f"{path} is not a notebook, or was cut off: open it in JupyterLab and save it again"
        ) from None
    name = next((found[1] for found in map(START.search, text) if found), None)
    if name is None:
        return None
    try:
        results = dict(checks.start(name).results)
    except ValueError:
        raise ValueError(
            f"{path} has exercises of {name!r}, which this version of the course does not know: update the course"
        ) from None
    for output in printed:
        found = LINE.findall(COLOUR.sub("", output))
        results |= {exercise: status for status, exercise in found if exercise in results}
    return results


def progress(args: argparse.Namespace) -> None:
    found: dict[Path, dict[str, str]] = {}
    faults = []
    for path in _notebooks(args.paths):
        try:
            results = read_progress(path)
        except ValueError as fault:  # one broken file must not hide the rest of a class
            faults.append(str(fault))
            continue
        if results is not None:
            found[path] = results
    if found:
        _show(found, args.json)
    if faults:
        raise ValueError("; ".join(faults))
    if not found:
        raise ValueError(
            f"no notebook of the course in {', '.join(map(str, args.paths))}: name the folder with your notebooks"
        )


def _show(found: dict[Path, dict[str, str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({str(path): results for path, results in found.items()}, indent=1))
        return
    total: dict[str, int] = dict.fromkeys(MARKS, 0)
    many = (
        len({path.parent for path in found}) > 1
    )  # a class: whose notebook it is stands in the folder's name
    names = {path: f"{path.parent.name}/{path.stem}" if many else path.stem for path in found}
    wide = max(map(len, names.values()))
    for path, results in found.items():
        marks = "".join(MARKS[status] for status in results.values())
        for status in results.values():
            total[status] += 1
        print(f"{names[path]:{wide}}  {_count(results)}  {marks:10}  {_next(results)}".rstrip())
    every = sum(total.values())
    print(
        f"\n{total[checks.OK]} of {every} solved, {total[checks.HINT]} with a hint, "
        f"{total[checks.TODO]} not attempted. Read from the notebooks as they were last saved."
    )


def _notebooks(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(path.glob("*.ipynb"))
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"there is no {path}: name your notebooks, or the folder that holds them")
    return found


def _count(results: dict[str, Any]) -> str:
    return f"{sum(status == checks.OK for status in results.values()):2} of {len(results):2}"


def _next(results: dict[str, Any]) -> str:
    """What to look at: the exercises that got a hint, else the first that is open."""
    hints = [name for name, status in results.items() if status == checks.HINT]
    if hints:
        return f"hint: {', '.join(hints)}"
    return next((f"next: {name}" for name, status in results.items() if status == checks.TODO), "done")
