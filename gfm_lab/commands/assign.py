"""`gfm-lab assign`: exercises whose numbers are each learner's own, and their grading.

How the numbers are drawn, what is secret and what grading guards against: `gfm_lab/assignments.py`.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import secrets
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "assign", "read_roster"]

COLUMN = "learner"


def add_arguments(commands: Any) -> None:
    """Add `assign` and its actions to the commands of `gfm-lab`. Imports nothing heavy."""
    assign = commands.add_parser(
        "assign",
        help="for teachers: exercises with each learner's own numbers, and their grading",
        description="Exercises whose numbers follow from a secret course key and the learner's id, so that neither the "
        "public solutions nor a neighbour's answers fit. The key stays with the teacher.",
        allow_abbrev=False,
    )
    actions = assign.add_subparsers(dest="action", required=True, metavar="ACTION")
    key = actions.add_parser("key", help="make a course key", allow_abbrev=False)
    key.add_argument("output", type=Path, metavar="FILE", help="the file to write; keep it to yourself")
    listed = actions.add_parser("list", help="the notebooks and their exercises", allow_abbrev=False)
    make = actions.add_parser("make", help="the exercises of notebooks, as notebooks", allow_abbrev=False)
    answers = actions.add_parser("answers", help="the answers of one learner", allow_abbrev=False)
    grade = actions.add_parser(
        "grade",
        help="grade what was handed in (runs learners' code: see the description)",
        description="Grades notebooks and prints a table; --output writes it as CSV, one row an exercise. It RUNS THE "
        "LEARNERS' CODE: in a process of its own and for a limited time, but with your account's rights. Grade work "
        "of strangers in a container, or in an account that owns nothing.",
        allow_abbrev=False,
    )
    for part in (make, answers):
        part.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", help="such as 01_tokenization")
        one = part.add_mutually_exclusive_group(required=True)
        one.add_argument("--learner", metavar="ID", help="whose: letters, digits and . _ @ -")
        if part is make:
            one.add_argument("--roster", type=Path, metavar="FILE", help="a CSV with a column 'learner'")
    make.add_argument(
        "--output", type=Path, metavar="PATH", required=True,
        help="the file to write for one notebook and learner, else a folder: PATH/LEARNER/NOTEBOOK.ipynb",
    )  # fmt: skip
    make.add_argument("--force", action="store_true", help="replace files that exist")
    grade.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="notebooks, or folders of them")
    grade.add_argument("--roster", type=Path, metavar="FILE", help="names who handed in nothing")
    grade.add_argument("--output", type=Path, metavar="FILE", help="the CSV to write")
    grade.add_argument("--force", action="store_true", help="replace the CSV if it exists")
    grade.add_argument(
        "--seconds", type=float, default=120.0, metavar="N", help="time for each notebook (default: 120)"
    )
    for part in (make, answers, grade):
        part.add_argument(
            "--key", type=Path, required=True, metavar="FILE", help="the file with the course key"
        )
    for part in (key, listed, make, answers, grade):
        part.set_defaults(debug=False)


def assign(args: argparse.Namespace) -> None:
    {"key": _key, "list": _list, "make": _make, "answers": _answers, "grade": _grade}[args.action](args)


def _write(path: Path, text: str, *, force: bool = False, private: bool = False) -> None:
    """Write a file whole or not at all. Raises FileExistsError unless `force`."""
    if path.exists() and not force:
        raise FileExistsError(
            f"{path} is there already: choose another name" + ("" if private else ", or --force")
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, half = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # readable by its owner alone
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as part:
            part.write(text)
        if not private:
            os.umask(mask := os.umask(0o077))  # the only way to read it
            os.chmod(half, 0o666 & ~mask)  # as any new file: grades are for those whom the account lets read
        os.replace(half, path)
    except BaseException:
        os.unlink(half)
        raise


def _key(args: argparse.Namespace) -> None:
    _write(args.output, secrets.token_hex(32) + "\n", private=True)
    print(
        f"{args.output} holds the course key. Keep a copy where learners cannot read it: without it nothing can be "
        "graded, and with it anybody can work out every learner's answers."
    )


def _list(args: argparse.Namespace) -> None:
    from gfm_lab import assignments

    for notebook in assignments.notebooks():
        names = [f"{t.name} ({t.points})" for t in assignments.templates(notebook).values()]
        print(f"{notebook:28} {', '.join(names)}")


def read_roster(path: Path) -> list[str]:
    """The learners of a CSV file with a column `learner`, in order.

    Raises ValueError that names file, line and value: no such column, no id, an id that cannot be a file's name, or
    one that occurs twice (in capitals or not: some disks cannot tell).
    """
    from gfm_lab.assignments import check_learner

    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a mark in front
    except UnicodeDecodeError as fault:
        line = path.read_bytes()[: fault.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: not UTF-8; save it from the spreadsheet as 'CSV UTF-8'"
        ) from None
    header = text.partition("\n")[0]
    # Where a comma stands in decimal numbers, spreadsheets put semicolons between columns.
    rows = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in header and "," not in header else ",")
    names = [name.strip() for name in rows.fieldnames or []]
    if COLUMN not in names:
        raise ValueError(f"{path}, line 1: no column {COLUMN!r}, only {', '.join(names) or 'nothing'}")
    rows.fieldnames = names
    found: dict[str, int] = {}
    learners = []
    for row in rows:
        learner = (row[COLUMN] or "").strip()
        if not any((value or "").strip() for value in row.values() if isinstance(value, str)):
            continue  # an empty line
        try:
            check_learner(learner)
        except ValueError as fault:
            raise ValueError(f"{path}, line {rows.line_num}: {fault}") from None
        if learner.lower() in found:
            raise ValueError(
                f"{path}, line {rows.line_num}: {learner!r} stands in line {found[learner.lower()]} already"
            )
        found[learner.lower()] = rows.line_num
        learners.append(learner)
    if not learners:
        raise ValueError(f"{path}: no learner below the header")
    return learners


def _make(args: argparse.Namespace) -> None:
    import nbformat

    from gfm_lab import assignments

    key = assignments.read_key(args.key)
    learners = read_roster(args.roster) if args.roster else [assignments.check_learner(args.learner)]
    for notebook in args.notebooks:
        assignments.templates(notebook)  # all names are known before anything is written
    single = not args.roster and len(args.notebooks) == 1
    if single and args.output.suffix != ".ipynb":
        raise ValueError(f"{args.output} should end in .ipynb")
    targets = {
        (learner, notebook): args.output if single else args.output / learner / f"{notebook}.ipynb"
        for learner in learners
        for notebook in args.notebooks
    }
    if there := [path for path in targets.values() if path.exists() and not args.force]:
        raise FileExistsError(f"{there[0]} is there already: it may be somebody's work (--force replaces it)")
    for (learner, notebook), path in targets.items():
        made = assignments.make_notebook(notebook, learner, key)
        _write(path, nbformat.writes(made) + "\n", force=args.force)
    print(
        f"{len(targets)} notebook{'s' * (len(targets) > 1)} for {len(learners)} learner{'s' * (len(learners) > 1)}"
    )


def _answers(args: argparse.Namespace) -> None:
    from gfm_lab import assignments

    key, learner = assignments.read_key(args.key), assignments.check_learner(args.learner)
    for notebook in args.notebooks:
        for name, about in assignments.templates(notebook).items():
            variant = assignments.exercise(about, learner, key)
            if isinstance(variant, assignments.Value):
                print(f"{notebook} {name} = {variant.answer!r}")
            for call in variant.calls if isinstance(variant, assignments.Function) else ():
                print(f"{notebook} {name}({', '.join(map(repr, call))}) = {variant.reference(*call)!r}")


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"there is no {path}: name notebooks, or the folder that holds them")
    if not found:
        raise ValueError(f"no notebook in {', '.join(map(str, paths))}")
    return found


def _grade(args: argparse.Namespace) -> None:
    from gfm_lab import assignments

    key = assignments.read_key(args.key)
    roster = read_roster(args.roster) if args.roster else []
    if args.seconds <= 0:
        raise ValueError(f"--seconds must be above 0, not {args.seconds:g}")
    files = _files(args.paths)
    if args.output and args.output.exists() and not args.force:
        raise FileExistsError(f"{args.output} is there already: choose another name, or --force")
    results: list[assignments.Result] = []
    first: dict[tuple[str, str], str] = {}
    for number, path in enumerate(files, start=1):
        print(f"{number} of {len(files)}: {path}", file=sys.stderr, flush=True)
        try:
            graded = assignments.grade(path, key, args.seconds)
        except KeyboardInterrupt:  # what was graded so far is kept, under a name that says that it is not all
            if args.output:
                part = args.output.with_name(f"{args.output.stem}.partial{args.output.suffix}")
                _write_results(part, results, force=True)
                print(f"stopped; {number - 1} of {len(files)} files stand in {part}", file=sys.stderr)
            raise
        except Exception as fault:  # one strange file must not cost the others their grades
            note = assignments.printable(f"{type(fault).__name__}: {fault}")
            graded = [assignments.Result(assignments.printable(path), note=note)]
        for result in graded:
            notes = [result.note] if result.note else []
            whose = (result.learner, result.notebook)
            if result.learner and first.setdefault(whose, result.file) != result.file:
                notes.append(f"handed in twice: {first[whose]} as well")
            if roster and result.learner and result.learner not in roster:
                notes.append("not in the roster")
            results.append(assignments.Result(**(asdict(result) | {"note": "; ".join(notes)})))
    heard = {result.learner for result in results}
    results += [
        assignments.Result("", learner, note="handed in nothing")
        for learner in roster
        if learner not in heard
    ]
    if args.output:
        _write_results(args.output, results, force=args.force)
    _summary(results)


def _write_results(path: Path, results: list[Any], *, force: bool) -> None:
    """One row an exercise, under the names of `assignments.Result`."""
    from gfm_lab import assignments

    text = io.StringIO()
    table = csv.DictWriter(text, [f.name for f in fields(assignments.Result)], lineterminator="\n")
    table.writeheader()
    table.writerows(_safe(asdict(result)) for result in results)
    _write(path, text.getvalue(), force=force)


def _safe(row: dict[str, Any]) -> dict[str, Any]:
    """Texts that a spreadsheet would take for a formula get an apostrophe in front: learners wrote some of them."""
    return {k: f"'{v}" if isinstance(v, str) and v[:1] in ("=", "+", "-", "@") else v for k, v in row.items()}


def _summary(results: list[Any]) -> None:
    totals: dict[tuple[str, str, str], list[Any]] = {}
    for result in results:
        totals.setdefault((result.file, result.learner or result.file, result.notebook), []).append(result)
    for (_, whose, notebook), own in totals.items():
        right = f"{sum(r.points for r in own):3} of {sum(r.of for r in own):3}" if notebook else " " * 10
        bad = [f"{r.exercise or 'file'}: {r.note or r.result}" for r in own if r.result != "right"]
        print(f"{whose:24} {notebook:28} {right}  {' | '.join(bad)}".rstrip())
