"""Make the learner and the solution notebook from one percent script.

    python tools/build_notebooks.py                     # every notebook whose source changed
    python tools/build_notebooks.py 01_tokenization     # one of them, changed or not
    python tools/build_notebooks.py --check             # execute nothing: are the committed notebooks the sources'?

Maintainers edit `notebooks/source/NN_topic.py` and nothing else. In it

- a cell tagged `exercise` holds the solved exercise and its check; the lines between `# BEGIN SOLUTION` and
  `# END SOLUTION` are what the learner writes. In the learner's notebook they become `...` (or `name = ...` where
  the answer is a value), so a stub has its solution's signature by construction, and the solution is folded away in a
  cell below;
- a cell tagged `setup` holds what an exercise needs (imports, data): setup cells and stubs alone must run;
- a cell tagged `figure` only draws: JupyterLab shows its picture and folds its code;
- a cell tagged `nbval-ignore-output` prints what depends on the machine or on training; it asserts its claim itself.

Widgets leave no output behind: a view of a widget carries the random name of a model in a kernel that is gone by then,
so it would differ with every build and show nothing. The cell after a widget shows its static twin instead.

The solution notebook is executed. The learner's notebook takes the outputs of every cell it shares with it; those of
its stubs come from running the setup cells and the stubs. Both are written to a temporary name, then renamed.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import sys
import textwrap
import time
from copy import deepcopy
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
BLOCK = re.compile(
    rf"^(?P<indent>[ \t]*){BEGIN}[^\n]*\n(?P<body>.*?)^[ \t]*{END}[^\n]*$", re.MULTILINE | re.DOTALL
)


class SourceError(ValueError):
    """A notebook source that breaks a rule; the message names the file, the cell's first line and the rule."""


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def is_exercise(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and "exercise" in tags(cell)


def stub_of(code: str) -> str:
    """The exercise with its solution blocks replaced by `...`, keeping indentation and the names of value answers."""

    def blank(match: re.Match[str]) -> str:
        indent, body = match["indent"], textwrap.dedent(match["body"])
        nodes = ast.parse(body).body if not indent else []
        names = [
            t.id
            for node in nodes
            if isinstance(node, ast.Assign)
            for t in node.targets
            if isinstance(t, ast.Name)
        ]
        if names and len(names) == len(nodes):
            return "\n".join(f"{name} = ..." for name in names)
        return f"{indent}...  # your code here"

    return BLOCK.sub(blank, code)


def solution_of(code: str) -> str:
    """The exercise as solved: the same lines without the two markers."""
    return re.sub(rf"^[ \t]*({BEGIN}|{END})[^\n]*\n?", "", code, flags=re.MULTILINE)


def read_source(path: Path) -> NotebookNode:
    """Read a percent script, check the house's rules, and give every cell an id that depends on its text alone."""
    notebook = jupytext.read(path, fmt="py:percent")
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        first = (cell.source.strip().splitlines() or ["(empty cell)"])[0]
        here = f"{path.name}: cell starting with {first!r}"
        if not cell.source.strip():
            raise SourceError(f"{here}: remove the empty cell")
        if is_exercise(cell):
            if not BLOCK.search(cell.source):
                raise SourceError(f"{here} is tagged 'exercise' but has no {BEGIN} ... {END} block")
            if "check." not in cell.source:
                raise SourceError(f"{here} is an exercise without a check")
            ast.parse(stub_of(cell.source))
        elif BEGIN in cell.source or END in cell.source:
            raise SourceError(
                f"{here} has a solution marker but not the tag 'exercise', or only one of the two markers"
            )
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return notebook


def assemble(source: NotebookNode, *, solved: bool) -> NotebookNode:
    """The notebook's cells without outputs: solved, or with stubs and the solutions folded away below them."""
    cells = []
    for original in source.cells:
        cell = deepcopy(original)
        cell.metadata = NotebookNode({"tags": tags(original)} if tags(original) else {})
        if "figure" in tags(original):  # drawing code is folded away in JupyterLab; a click opens it
            cell.metadata["jupyter"] = {"source_hidden": True}
        if solved and cell.cell_type == "markdown":  # solution notebooks lie one folder deeper
            cell.source = cell.source.replace("](../", "](../../")
        if not is_exercise(cell):
            cells.append(cell)
            continue
        solution = solution_of(cell.source)
        if solved:
            cell.source = solution
            cells.append(cell)
            continue
        cell.source = stub_of(cell.source)
        folded = nbformat.v4.new_markdown_cell(
            f"<details><summary>Solution</summary>\n\n```python\n{solution}\n```\n\n</details>",
            id=f"{cell.id}-solution",
        )
        cells += [cell, folded]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata = NotebookNode(kernelspec=dict(KERNELSPEC), language_info={"name": "python"})
    notebook.nbformat_minor = 5
    return notebook


WIDGET = "application/vnd.jupyter.widget-view+json"
MEASURE = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"


def execute(notebook: NotebookNode, name: str) -> tuple[float, int]:
    """Run all cells in a fresh kernel, in the folder learners run them in.

    Returns the seconds it took and the kernel's peak memory in MiB.
    """
    notebook.cells.append(nbformat.v4.new_code_cell(MEASURE, id="measure"))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    started = time.perf_counter()
    try:
        client.execute()
    except CellExecutionError as error:
        raise SystemExit(f"{name}: a cell failed; nothing was written.\n{error}") from None
    seconds = time.perf_counter() - started
    peak = int(notebook.cells.pop().outputs[0].text)
    notebook.metadata = NotebookNode(kernelspec=dict(KERNELSPEC), language_info={"name": "python"})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                raise SystemExit(
                    f"{name}: a cell wrote to stderr; mend it, learners will worry:\n{cell.source}\n{output.text}"
                )
    return seconds, peak


def build(path: Path) -> tuple[NotebookNode, NotebookNode, dict[str, float]]:
    """Execute one source; return the learner's notebook, the solution notebook and what the run took."""
    source = read_source(path)
    solution, learner = assemble(source, solved=True), assemble(source, solved=False)
    seconds, peak = execute(solution, path.stem)
    # The stubs' outputs: only setup cells and stubs run, so an exercise can never depend on another cell.
    stubs = deepcopy(learner)
    stubs.cells = [c for c in stubs.cells if c.cell_type == "code" and (is_exercise(c) or "setup" in tags(c))]
    execute(stubs, f"{path.stem} (stubs)")
    outputs = {c.id: (c.outputs, c.execution_count) for c in solution.cells if c.cell_type == "code"}
    stub_outputs = {c.id: c.outputs for c in stubs.cells if is_exercise(c)}
    for cell in learner.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = outputs[cell.id]
            cell.outputs = deepcopy(stub_outputs.get(cell.id, cell.outputs))
    return learner, solution, {"run_seconds": round(seconds), "peak_mib": peak, "cores": os.cpu_count() or 1}


def retext(path: Path) -> tuple[NotebookNode, NotebookNode] | None:
    """The pair with new text around the committed outputs, where no code cell changed; else None."""
    source, pair = read_source(path), []
    for kind, solved in (("", False), ("solutions", True)):
        target = NOTEBOOKS / kind / f"{path.stem}.ipynb"
        if not target.exists():
            return None
        old, new = nbformat.read(target, as_version=4), assemble(source, solved=solved)
        code = [[cell for cell in _skeleton(notebook) if cell[1] == "code"] for notebook in (old, new)]
        if code[0] != code[1] or any(c.execution_count is None for c in old.cells if c.cell_type == "code"):
            return None
        ran = {cell.id: cell for cell in old.cells if cell.cell_type == "code"}
        for cell in new.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = ran[cell.id].outputs, ran[cell.id].execution_count
        new.metadata = NotebookNode(kernelspec=dict(KERNELSPEC), language_info={"name": "python"})
        pair.append(new)
    return pair[0], pair[1]


def record(name: str, measured: dict[str, float]) -> None:
    """Keep what a run took in notebooks/measured.json, from which the README's syllabus is made."""
    path = NOTEBOOKS / "measured.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[name] = measured
    temporary = path.with_name(".measured.json.tmp")
    temporary.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def write(notebook: NotebookNode, path: Path) -> None:
    nbformat.validate(notebook)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _skeleton(notebook: NotebookNode) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [(c.id, c.cell_type, c.source, tuple(tags(c))) for c in notebook.cells]


def problems(path: Path) -> list[str]:
    """What is stale about the committed pair of notebooks of one source; empty when all is well.

    The cells must be the source's, every code cell of the solution executed without an error, and every cell that
    the two notebooks share must carry the same outputs.
    """
    source = read_source(path)
    found, committed = [], {}
    for kind, solved in (("solutions", True), ("", False)):
        target = NOTEBOOKS / kind / f"{path.stem}.ipynb"
        shown = target.relative_to(ROOT)
        if not target.exists():
            found.append(f"{shown} is missing")
            continue
        notebook = committed[solved] = nbformat.read(target, as_version=4)
        if _skeleton(notebook) != _skeleton(assemble(source, solved=solved)):
            found.append(
                f"{shown} is not what {path.relative_to(ROOT)} says (if you worked in it, keep your copy under "
                f"another name and bring the original back with: git checkout {shown.as_posix()})"
            )
        if notebook.metadata.get("kernelspec") != KERNELSPEC:
            found.append(f"{shown} has another kernelspec")
        for cell in notebook.cells:
            if cell.cell_type == "code" and cell.execution_count is None:
                found.append(f"{shown}: a cell was never run: {cell.source.splitlines()[0]!r}")
            if any(o.output_type == "error" for o in cell.get("outputs", [])):
                found.append(f"{shown}: a cell ended in an error: {cell.source.splitlines()[0]!r}")
    if len(committed) == 2:
        solved_outputs = {c.id: c.outputs for c in committed[True].cells if c.cell_type == "code"}
        for cell in committed[False].cells:
            if (
                cell.cell_type == "code"
                and not is_exercise(cell)
                and cell.outputs != solved_outputs.get(cell.id)
            ):
                found.append(f"notebooks/{path.stem}.ipynb: an output differs from the solution's: {cell.id}")
    return found


def sources() -> list[Path]:
    return sorted((NOTEBOOKS / "source").glob("*.py"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Make the learner and the solution notebooks from notebooks/source."
    )
    parser.add_argument(
        "names", nargs="*", help="notebooks to build, such as 01_tokenization (default: all stale ones)"
    )
    parser.add_argument(
        "--check", action="store_true", help="execute nothing; exit 1 when a committed notebook is stale"
    )
    options = parser.parse_args(arguments)
    known = {path.stem: path for path in sources()}
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no source for {', '.join(unknown)}; known: {', '.join(known) or 'none'}")
    chosen = [known[name] for name in options.names] or list(known.values())
    try:
        stale = {path: problems(path) for path in chosen}
    except (SourceError, SyntaxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.check:
        for path, found in stale.items():
            print(f"{path.stem}: " + ("up to date" if not found else "STALE"))
            for problem in found:
                print(f"  {problem}")
        if any(stale.values()):
            print("Run `make notebooks` and commit the result.")
        return int(any(stale.values()))
    for path in chosen:
        if not options.names and not stale[path]:
            print(f"{path.stem}: up to date (name it to build it again)")
            continue
        if not options.names and (kept := retext(path)):
            write(kept[1], NOTEBOOKS / "solutions" / f"{path.stem}.ipynb")
            write(kept[0], NOTEBOOKS / f"{path.stem}.ipynb")
            print(f"{path.stem}: only text changed; outputs kept (name it to run it again)")
            continue
        print(f"{path.stem}: executing ...", flush=True)
        learner, solution, measured = build(path)
        write(solution, NOTEBOOKS / "solutions" / f"{path.stem}.ipynb")
        write(learner, NOTEBOOKS / f"{path.stem}.ipynb")
        record(path.stem, measured)
        print(
            f"{path.stem}: {measured['run_seconds']} s, {measured['peak_mib']} MiB, {len(solution.cells)} cells"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
