"""Turn notebook sources into nbgrader's source notebooks, and make a course folder that nbgrader works in.

    python tools/make_nbgrader.py                                # all notebooks, into dist/nbgrader
    python tools/make_nbgrader.py 01_tokenization --output DIR   # one of them, into another folder

Each notebook becomes an assignment of its own name, from the same `notebooks/source/NN_topic.py` as the learner's
notebook. An exercise becomes two cells:

- the *answer*, with `### BEGIN SOLUTION` and `### END SOLUTION` around what nbgrader takes out; what stays is the stub
  of `tools/build_notebooks.py`, with its check, so that learners see the same hints;
- the *test*, which nbgrader hides and, on grading, puts back: it runs the check anew on the learner's answer and
  asserts that the result is "ok". A result that a learner wrote into `check.results` by hand counts for nothing.

A written answer is graded by hand (nbgrader's form grader shows it), in a single cell. Placement quizzes give advice
and no points. The folded solutions of the learner's notebook are left out.

nbgrader itself is not needed to make the folder; to use it: `pip install -c constraints.txt -e ".[classroom]"`.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import sys
import tempfile
import textwrap
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build_notebooks as builder

from gfm_lab import checks

OUTPUT = builder.ROOT / "dist" / "nbgrader"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
POINTS = {"placement": 0, "quiz": 1}
POINTS_OF_AN_EXERCISE = 2
CELL_SECONDS = 300  # the slowest single cell of the course takes well under a minute on two cores

CONFIG = '''"""Settings of nbgrader for this folder, made by tools/make_nbgrader.py. Run nbgrader from here."""

c = get_config()  # noqa: F821 (nbgrader provides it)
c.CourseDirectory.course_id = "gfm-lab"
# The stub stands in front of the solution already; in its place nothing is left.
c.ClearSolutions.code_stub = {"python": ""}
# Seconds for each cell. Some cells train for half a minute on two cores.
c.Execute.timeout = SECONDS
'''


def calls_of(code: str) -> list[tuple[str, str]]:
    """(exercise, argument) of each `check.exercise(argument)` in a cell, in order."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "check":
            found.append((node.func.attr, ", ".join(ast.unparse(argument) for argument in node.args)))
    return found


def is_written(notebook: str, exercise: str) -> bool:
    """Whether an exercise asks for text: its check only sees to it that there is some, and shows the rubric."""
    function = checks._EXERCISES.get(notebook, {}).get(exercise)
    return function is not None and "written" in function.__code__.co_names


def answer_of(code: str) -> str:
    """The solved exercise in nbgrader's form: the stub's lines, then the solution between nbgrader's markers.

    nbgrader leaves an empty line where the solution was; one empty line behind the block is taken out for it.
    """
    lines = []
    end = 0
    for match in builder.BLOCK.finditer(code):
        stub = builder.stub_of(match[0])
        indent = match["indent"]
        lines += [code[end : match.start()].rstrip("\n"), stub, f"{indent}{BEGIN}"]
        lines += [match["body"].rstrip("\n"), f"{indent}{END}"]
        end = match.end()
    rest = code[end:].removeprefix("\n")
    return "\n".join([*(part for part in lines if part), *([rest.removeprefix("\n")] if rest else [])])


def test_of(notebook: str, exercise: str, argument: str) -> str:
    """The code that grades: our check, run anew on the learner's answer, turned into an assertion."""
    return textwrap.dedent(f"""\
        # Graded here; nothing to do.
        ### BEGIN HIDDEN TESTS
        from gfm_lab import checks as _checks

        _graded = _checks.start({notebook!r})
        _graded.{exercise}({argument})
        assert _graded.results[{exercise!r}] == "ok", "{exercise}: " + _graded.results[{exercise!r}]
        ### END HIDDEN TESTS""")


def _mark(cell: NotebookNode, grade_id: str, *, solution: bool, points: int | None) -> NotebookNode:
    """Give a cell nbgrader's metadata (schema 3); `points` is None for an answer that another cell grades."""
    cell.metadata["nbgrader"] = NotebookNode(
        schema_version=3,
        grade_id=grade_id,
        grade=points is not None,
        solution=solution,
        locked=not solution,
        task=False,
        cell_type="code",
        **({} if points is None else {"points": points}),
    )
    return cell


def convert(path: Path) -> NotebookNode:
    """The nbgrader source notebook of one of our sources, without outputs.

    Raises:
        SourceError: an exercise cell without exactly one check, or a check that nobody wrote.
    """
    name = path.stem
    known = checks.start(name).results
    cells: list[NotebookNode] = []
    for original in builder.read_source(path).cells:
        cell = deepcopy(original)
        cell.metadata = NotebookNode({"tags": builder.tags(original)} if builder.tags(original) else {})
        if "figure" in builder.tags(original):
            cell.metadata["jupyter"] = {"source_hidden": True}
        cells.append(cell)
        if not builder.is_exercise(cell):
            continue
        calls = [call for call in calls_of(cell.source) if call[0] in known]
        if len(calls) != 1:
            raise builder.SourceError(
                f"{path.name}: the exercise starting with {cell.source.splitlines()[0]!r} needs exactly one "
                f"check of this notebook, and has {len(calls)}"
            )
        (exercise, argument) = calls[0]
        cell.source = answer_of(cell.source)
        points = POINTS.get(exercise, POINTS_OF_AN_EXERCISE)
        if is_written(name, exercise):
            _mark(cell, exercise, solution=True, points=points)
            continue
        _mark(cell, f"{exercise}-answer", solution=True, points=None)
        if points:
            test = nbformat.v4.new_code_cell(test_of(name, exercise, argument), id=f"{cell.id}-test")
            cells.append(_mark(test, exercise, solution=False, points=points))
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata = NotebookNode(kernelspec=dict(builder.KERNELSPEC), language_info={"name": "python"})
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return notebook


def make_course(output: Path, paths: list[Path]) -> list[tuple[str, int, int]]:
    """Write nbgrader_config.py and source/NAME/NAME.ipynb for each source below `output`.

    Only these files are made anew: a gradebook, submissions and feedback in the same folder stay. Returns (name,
    graded cells, points) of each assignment.

    Raises:
        FileExistsError: `output` holds files, but no course folder that this tool made.
    """
    config = output / "nbgrader_config.py"
    ours = config.is_file() and Path(__file__).name in config.read_text(encoding="utf-8", errors="replace")
    if output.exists() and any(output.iterdir()) and not ours:
        raise FileExistsError(f"{output} holds other files: name a new folder with --output")
    converted = {
        path.stem: convert(path) for path in paths
    }  # all or nothing: a fault is told before we write
    (output / "source").mkdir(parents=True, exist_ok=True)
    made = []
    for name, notebook in converted.items():
        with tempfile.TemporaryDirectory(dir=output, prefix=".part-") as temporary:
            folder = Path(temporary) / name
            folder.mkdir()
            (folder / f"{name}.ipynb").write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
            final = output / "source" / name
            if final.exists():
                shutil.rmtree(final)
            os.replace(folder, final)
        grades = [c.metadata.nbgrader for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")]
        made.append((name, len(grades), sum(grade.points for grade in grades)))
    part = output / ".nbgrader_config.py.tmp"
    part.write_text(CONFIG.replace("SECONDS", str(CELL_SECONDS)), encoding="utf-8")
    os.replace(part, config)
    return made


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make a course folder for nbgrader from notebooks/source.")
    parser.add_argument("names", nargs="*", help="notebooks, such as 01_tokenization (default: all)")
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="the folder to make (default: dist/nbgrader)"
    )
    options = parser.parse_args(arguments)
    known = {path.stem: path for path in builder.sources()}
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no source for {', '.join(unknown)}; known: {', '.join(known)}")
    try:
        made = make_course(options.output, [known[name] for name in options.names] or list(known.values()))
    except (builder.SourceError, OSError, SyntaxError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    for name, graded, points in made:
        print(f"{name}: {graded} graded cells, {points} points")
    shown = os.path.relpath(options.output)
    print(
        f"\n{shown} is a course folder of nbgrader. With nbgrader installed:\n"
        f"  cd {shown}\n"
        f"  nbgrader generate_assignment {made[0][0]}    # the learners' version, in release/\n"
        f"  nbgrader autograde {made[0][0]}              # what lies in submitted/LEARNER/{made[0][0]}/\n"
        f"  nbgrader generate_feedback {made[0][0]}\n"
        f"  nbgrader export                              # grades.csv"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
