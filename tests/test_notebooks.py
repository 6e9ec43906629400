"""The notebooks' machinery: one source, two notebooks, no stale output, and no stub that drifts from its solution."""

import ast
import contextlib
import io
import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import build_notebooks as builder  # noqa: E402
import build_readme  # noqa: E402
import families_table  # noqa: E402

SOURCES = builder.sources()
every_source = pytest.mark.parametrize("path", SOURCES, ids=[p.stem for p in SOURCES])

TINY = '''# %% [markdown]
# # A tiny notebook

# %% tags=["setup"]
base = 20

# %% tags=["exercise"]
class check:
    answer = staticmethod(lambda f: print(f(1)))


def my_answer(x):
    """Add the base."""
    # BEGIN SOLUTION
    return base + x
    # END SOLUTION


check.answer(my_answer)

# %%
print(base * 2)
'''


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "ROOT", tmp_path)
    monkeypatch.setattr(builder, "NOTEBOOKS", tmp_path / "notebooks")
    path = tmp_path / "notebooks" / "source" / "01_tiny.py"
    path.parent.mkdir(parents=True)
    path.write_text(TINY, encoding="utf-8")
    return path


def test_there_are_notebooks():
    assert SOURCES, "no notebook sources: every test below would pass for lack of a case"


@every_source
def test_committed_notebooks_are_those_of_the_source(path):
    assert builder.problems(path) == []


@every_source
def test_run_all_of_setup_and_stubs_says_not_attempted(path):
    """Every stub runs with its check, without other cells, and prints what the learner's notebook shows."""
    committed = {c.id: c for c in nbformat.read(builder.NOTEBOOKS / f"{path.stem}.ipynb", as_version=4).cells}
    namespace, exercises = {"__name__": "stubs"}, 0
    for cell in builder.assemble(builder.read_source(path), solved=False).cells:
        if cell.cell_type != "code" or not (builder.is_exercise(cell) or "setup" in builder.tags(cell)):
            continue
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(cell.source, f"<{path.stem}>", "exec"), namespace)
        if builder.is_exercise(cell):
            exercises += 1
            text = "".join(o.text for o in committed[cell.id].outputs if o.output_type == "stream")
            assert printed.getvalue() == text
            assert text.startswith("[not attempted yet]")
    assert exercises >= 3


@every_source
def test_stub_and_solution_share_every_signature(path):
    for cell in builder.read_source(path).cells:
        if not builder.is_exercise(cell):
            continue
        stub, solution = ast.parse(builder.stub_of(cell.source)), ast.parse(builder.solution_of(cell.source))
        signatures = [
            [(n.name, ast.dump(n.args)) for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
            for tree in (stub, solution)
        ]
        assert signatures[0] == signatures[1]
        names = [
            {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets}
            for tree in (stub, solution)
        ]
        assert names[0] == names[1]
        assert builder.stub_of(cell.source) != builder.solution_of(cell.source)


@every_source
def test_solutions_pass_their_checks(path):
    solved = nbformat.read(builder.NOTEBOOKS / "solutions" / f"{path.stem}.ipynb", as_version=4)
    for cell in filter(builder.is_exercise, solved.cells):
        assert "".join(o.get("text", "") for o in cell.outputs).startswith("\x1b[32m[ok]\x1b[0m "), (
            cell.source
        )


@every_source
def test_committed_outputs_name_no_machine(path):
    """No absolute path, warning or progress bar; every figure has a description."""
    notebook = nbformat.read(builder.NOTEBOOKS / "solutions" / f"{path.stem}.ipynb", as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
            assert not re.search(
                r"(?<![\w./])/(home|root|tmp|usr|work|opt|Users)/|[A-Z]:\\|Warning|\d+%\|", text
            ), text
            if "image/png" in output.get("data", {}):
                assert len(output.metadata["image/png"]["alt"]) > 40


@every_source
def test_house_pattern(path):
    """Header, short cells, take-aways, quiz, map, reading; the stated minutes and run time are the measured ones."""
    cells = builder.read_source(path).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    for heading in (
        "**The question.**",
        "You will be able to",
        "Take-aways",
        "Quiz",
        "Further reading",
        "Hint 1",
        "Hint 2",
    ):
        assert heading in text, heading
    assert sum(builder.is_exercise(c) for c in cells) >= 3
    assert "plots.anatomy(" in cells[-2].source
    stated = re.search(r"\| about (\d+) minutes \| under (\d+) seconds", text)
    assert stated, "the header table must say `about N minutes | under M seconds`"
    run = build_readme.measured()[path.stem]
    assert int(stated[1]) == build_readme.learner_minutes(path)
    assert run["run_seconds"] < int(stated[2]) <= 90
    assert run["peak_mib"] < 4096
    shown = [c for c in cells if c.cell_type == "code" and "figure" not in builder.tags(c)]
    lines = sorted(len(c.source.splitlines()) for c in shown)
    assert lines[len(lines) // 2] <= 10
    assert lines[-1] <= 24


def test_readme_tables_are_fresh():
    assert build_readme.main(["--check"]) == 0
    assert families_table.main(["--check"]) == 0


# --- the builder itself ---------------------------------------------------------------------------------------------


def test_stub_keeps_indentation_and_names_of_values():
    code = "def f(x):\n    # BEGIN SOLUTION\n    y = x\n    return y\n    # END SOLUTION\n\n\ncheck.f(f)"
    assert builder.stub_of(code) == "def f(x):\n    ...  # your code here\n\n\ncheck.f(f)"
    assert (
        builder.stub_of("# BEGIN SOLUTION\nfirst = 1\nsecond = {2}\n# END SOLUTION")
        == "first = ...\nsecond = ..."
    )
    assert builder.solution_of(code) == "def f(x):\n    y = x\n    return y\n\n\ncheck.f(f)"


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ('# %% tags=["exercise"]\ncheck.f(1)\n', "has no # BEGIN SOLUTION"),
        ('# %% tags=["exercise"]\n# BEGIN SOLUTION\na = 1\n# END SOLUTION\n', "without a check"),
        ("# %%\n# BEGIN SOLUTION\na = 1\n# END SOLUTION\ncheck.f(a)\n", "not the tag 'exercise'"),
        ("# %%\n# BEGIN SOLUTION\na = 1\n", "only one of the two markers"),
    ],
)
def test_rules_of_the_source_are_enforced_by_name(tiny, cell, complaint):
    tiny.write_text(TINY + "\n" + cell, encoding="utf-8")
    with pytest.raises(builder.SourceError, match=re.escape(complaint)) as error:
        builder.read_source(tiny)
    assert "01_tiny.py" in str(error.value)


def test_ids_depend_on_the_text_alone_and_are_unique(tiny):
    ids = [c.id for c in builder.read_source(tiny).cells]
    tiny.write_text("# %%\nprint('first')\n\n" + TINY + "\n# %%\nprint(base * 2)\n", encoding="utf-8")
    longer = [c.id for c in builder.read_source(tiny).cells]
    assert longer[1 : 1 + len(ids)] == ids
    assert len(set(longer)) == len(longer)


def test_build_executes_once_and_gives_stubs_their_own_output(tiny):
    assert builder.main(["01_tiny"]) == 0
    learner = nbformat.read(builder.NOTEBOOKS / "01_tiny.ipynb", as_version=4)
    solution = nbformat.read(builder.NOTEBOOKS / "solutions" / "01_tiny.ipynb", as_version=4)
    printed = [[o.text for c in n.cells for o in c.get("outputs", [])] for n in (learner, solution)]
    assert printed == [["None\n", "40\n"], ["21\n", "40\n"]]
    assert "return base + x" not in "".join(c.source for c in learner.cells if c.cell_type == "code")
    assert learner.metadata.kernelspec.name == "python3"
    assert builder.problems(tiny) == []
    before = (builder.NOTEBOOKS / "01_tiny.ipynb").read_bytes()
    assert builder.main(["01_tiny"]) == 0
    assert (builder.NOTEBOOKS / "01_tiny.ipynb").read_bytes() == before

    tiny.write_text(TINY.replace("base * 2", "base * 3"), encoding="utf-8")
    assert builder.main(["--check"]) == 1
    tiny.write_text(TINY.replace("base * 2", "base / 0"), encoding="utf-8")
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        builder.main(["01_tiny"])
    assert (builder.NOTEBOOKS / "01_tiny.ipynb").read_bytes() == before, (
        "a failed build must leave the old notebook"
    )


def test_a_widget_leaves_no_output_and_the_cell_keeps_what_it_printed(tiny):
    """The view of a widget carries a random name: the committed notebook must be the same after every build."""
    cell = "\n# %%\nimport ipywidgets\n\nprint('opened')\nipywidgets.IntSlider(description='k')\n"
    tiny.write_text(TINY + cell, encoding="utf-8")
    assert builder.main(["01_tiny"]) == 0
    for folder in ("", "solutions"):
        target = builder.NOTEBOOKS / folder / "01_tiny.ipynb"
        notebook = nbformat.read(target, as_version=4)
        (output,) = notebook.cells[-1].outputs
        assert output.output_type == "stream" and output.text == "opened\n"
        assert "widget" not in target.read_text(encoding="utf-8").replace("ipywidgets", "")
    before = target.read_bytes()
    assert builder.main(["01_tiny"]) == 0
    assert target.read_bytes() == before


def test_changed_text_keeps_outputs_and_changed_code_does_not(tiny, monkeypatch):
    assert builder.main(["01_tiny"]) == 0
    before = nbformat.read(builder.NOTEBOOKS / "01_tiny.ipynb", as_version=4)
    build = builder.build
    monkeypatch.setattr(builder, "build", lambda path: pytest.fail("executed again"))
    tiny.write_text(TINY.replace("A tiny notebook", "Another title"), encoding="utf-8")
    assert builder.problems(tiny) != []
    assert builder.main([]) == 0
    assert builder.problems(tiny) == []
    after = nbformat.read(builder.NOTEBOOKS / "01_tiny.ipynb", as_version=4)
    assert "Another title" in after.cells[0].source
    assert after.metadata == before.metadata
    assert [c.get("outputs") for c in after.cells] == [c.get("outputs") for c in before.cells]

    monkeypatch.setattr(builder, "build", build)
    tiny.write_text(TINY.replace("base * 2", "base * 3"), encoding="utf-8")
    assert builder.main([]) == 0
    assert builder.problems(tiny) == []
    (output,) = nbformat.read(builder.NOTEBOOKS / "01_tiny.ipynb", as_version=4).cells[-1].outputs
    assert output.text == "60\n"


def test_a_tampered_output_is_noticed(tiny):
    assert builder.main(["01_tiny"]) == 0
    target = builder.NOTEBOOKS / "01_tiny.ipynb"
    target.write_text(target.read_text(encoding="utf-8").replace("40\\n", "41\\n"), encoding="utf-8")
    assert any("output differs" in problem for problem in builder.problems(tiny))


def test_unknown_notebook_names_the_known_ones(tiny, capsys):
    with pytest.raises(SystemExit):
        builder.main(["02_nothing"])
    assert "01_tiny" in capsys.readouterr().err
