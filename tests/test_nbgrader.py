"""nbgrader takes the same sources: the conversion, and, where nbgrader is installed, its whole chain."""

import ast
import csv
import functools
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from gfm_lab.checks import quiz

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import build_notebooks as builder  # noqa: E402
import make_nbgrader as maker  # noqa: E402

from gfm_lab import checks  # noqa: E402

SOURCES = builder.sources()
every_source = pytest.mark.parametrize("path", SOURCES, ids=[p.stem for p in SOURCES])
NAME = "p2_pytorch_for_biologists"  # the shortest notebook


convert = functools.cache(maker.convert)  # the tests below only read what it returns


def marked(notebook):
    return [cell for cell in notebook.cells if "nbgrader" in cell.metadata]


def released(code):
    """What nbgrader's learners get: the lines of the solution replaced by an empty one, hidden tests left out."""
    code = re.sub(
        r"^([ \t]*)### BEGIN SOLUTION\n.*?### END SOLUTION", r"\1", code, flags=re.MULTILINE | re.DOTALL
    )
    return re.sub(r"### BEGIN HIDDEN TESTS\n.*### END HIDDEN TESTS", "", code, flags=re.DOTALL)


def without_empty_lines(code):
    return [line for line in code.splitlines() if line.strip()]


@every_source
def test_every_exercise_is_graded_once(path):
    notebook = convert(path)
    nbformat.validate(notebook)
    ids = [cell.metadata.nbgrader.grade_id for cell in marked(notebook)]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[a-z0-9_-]+", grade_id) for grade_id in ids)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    points = {
        c.metadata.nbgrader.grade_id: c.metadata.nbgrader.points
        for c in marked(notebook)
        if c.metadata.nbgrader.grade
    }
    assert set(points) == set(checks.start(path.stem).results) - {"placement"}
    assert all(value > 0 for value in points.values())
    for cell in marked(notebook):
        about = cell.metadata.nbgrader
        assert about.schema_version == 3 and about.cell_type == cell.cell_type == "code"
        assert about.locked != about.solution  # a test may not be edited, an answer must be


@every_source
def test_learners_get_our_stubs_and_no_solution(path):
    learner = [c for c in builder.assemble(builder.read_source(path), solved=False).cells]
    stubs = [cell.source for cell in learner if builder.is_exercise(cell)]
    solved = builder.assemble(builder.read_source(path), solved=True).cells
    answers = [c for c in marked(convert(path)) if c.metadata.nbgrader.solution]
    assert len(answers) == len(stubs)
    for cell, stub in zip(answers, stubs, strict=True):
        assert without_empty_lines(released(cell.source)) == without_empty_lines(stub)
    # With the markers left out, the answers are the solutions: behind the stub, which does nothing.
    for cell, ours in zip(answers, [c for c in solved if builder.is_exercise(c)], strict=True):
        lines = without_empty_lines(cell.source)
        inside = lines[
            next(i for i, x in enumerate(lines) if "BEGIN SOLUTION" in x) + 1 : next(
                i for i, x in enumerate(lines) if "END SOLUTION" in x
            )
        ]
        assert inside and "\n".join(inside) in "\n".join(without_empty_lines(ours.source))
    shown = "\n".join(released(cell.source) for cell in convert(path).cells)
    assert "SOLUTION" not in shown and "<summary>Solution" not in shown


def run(code, names):
    exec(compile(ast.parse(code), "<cell>", "exec"), names)


def test_a_test_grades_the_answer_and_not_what_the_learner_wrote_down(capsys):
    tests = {
        c.metadata.nbgrader.grade_id: c.source
        for c in marked(convert(builder.NOTEBOOKS / "source" / f"{NAME}.py"))
    }
    right = [(4,), (4,), (64, 4), "error", (5, 20, 4)]
    run(tests["shapes"], {"my_shapes": right})
    with pytest.raises(AssertionError, match="hint"):
        run(tests["shapes"], {"my_shapes": right[::-1]})
    claimed = checks.start(NAME)
    claimed.results["shapes"] = "ok"
    with pytest.raises(AssertionError, match="not attempted yet"):
        run(tests["shapes"], {"my_shapes": ..., "check": claimed})
    with pytest.raises(NameError):  # a cell that a learner deleted
        run(tests["shapes"], {})


def test_written_answers_are_graded_by_hand():
    by_hand = {}
    for path in SOURCES:
        cells = [
            c.metadata.nbgrader
            for c in marked(convert(path))
            if c.metadata.nbgrader.grade and c.metadata.nbgrader.solution
        ]
        by_hand[path.stem] = [about.grade_id for about in cells]
    assert by_hand[NAME] == ["interpretation"] and by_hand["p3_evaluating_honestly"] == ["judgement"]
    assert all(by_hand.values())  # every notebook has one


def test_the_folder_is_the_same_every_time_and_keeps_what_is_not_ours(tmp_path, capsys):
    folder = tmp_path / "course"
    assert maker.main([NAME, "--output", str(folder)]) == 0
    first = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert set(map(str, first)) == {"nbgrader_config.py", os.path.join("source", NAME, f"{NAME}.ipynb")}
    (folder / "gradebook.db").write_bytes(b"grades")
    assert maker.main([NAME, "--output", str(folder)]) == 0
    again = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert again == first | {Path("gradebook.db"): b"grades"}
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine", encoding="utf-8")
    assert maker.main([NAME, "--output", str(tmp_path / "thesis")]) == 1
    assert "holds other files" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]
    (tmp_path / "thesis" / "nbgrader_config.py").write_text("# another course\n", encoding="utf-8")
    assert maker.main([NAME, "--output", str(tmp_path / "thesis")]) == 1
    assert (tmp_path / "thesis" / "nbgrader_config.py").read_text(encoding="utf-8") == "# another course\n"


def test_an_exercise_whose_check_nobody_wrote(tmp_path):
    path = tmp_path / f"{NAME}.py"
    path.write_text(
        '# %% tags=["exercise"]\n# BEGIN SOLUTION\nx = 1\n# END SOLUTION\ncheck.nobody(x)\n', encoding="utf-8"
    )
    with pytest.raises(builder.SourceError, match="exactly one check of this notebook, and has 0"):
        maker.convert(path)


SMALL = (
    (
        '''# %% tags=["setup"]
from gfm_lab import checks

check = checks.start("NAME")

# %% tags=["exercise"]
# BEGIN SOLUTION
my_shapes = [(4,), (4,), (64, 4), "error", (5, 20, 4)]
# END SOLUTION
check.shapes(my_shapes)

# %% tags=["exercise"]
# BEGIN SOLUTION
my_text = """'''
        + "word " * 30
        + '''"""
# END SOLUTION
check.interpretation(my_text)

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "KEY"
# END SOLUTION
check.quiz(quiz_answers)
'''
    )
    .replace("NAME", NAME)
    .replace("KEY", "".join(quiz.LETTERS[q.answer] for q in quiz.load(NAME).parts["quiz"]))
)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("nbgrader") is None,
    reason='nbgrader is not installed: pip install -c constraints.txt -e ".[classroom]"',
)
def test_the_chain_of_nbgrader_gives_the_points(tmp_path):
    source = tmp_path / f"{NAME}.py"
    source.write_text(SMALL, encoding="utf-8")
    folder = tmp_path / "course"
    maker.make_course(folder, [source])
    bin_folder = str(Path(sys.executable).parent)
    # nbgrader calls alembic by its name: the environment's programs must be on PATH.
    env = dict(os.environ, PATH=bin_folder + os.pathsep + os.environ["PATH"], IPYTHONDIR=str(tmp_path / "ip"))

    def nbgrader(*arguments):
        ran = subprocess.run(
            [sys.executable, "-m", "nbgrader", *arguments],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr

    nbgrader("generate_assignment", NAME)
    file = Path(NAME) / f"{NAME}.ipynb"
    solved = nbformat.read(folder / "source" / file, as_version=4)
    answers = {c.metadata.nbgrader.grade_id: c.source for c in marked(solved) if c.metadata.nbgrader.solution}
    handed_in = {"all": set(answers), "half": {"shapes-answer"}, "none": set()}
    for learner, chosen in handed_in.items():
        notebook = nbformat.read(folder / "release" / file, as_version=4)
        assert not [c for c in notebook.cells if "SOLUTION" in c.source or "TESTS" in c.source]
        for cell in marked(notebook):
            if cell.metadata.nbgrader.grade_id in chosen:
                cell.source = answers[cell.metadata.nbgrader.grade_id]
        (folder / "submitted" / learner / NAME).mkdir(parents=True)
        nbformat.write(notebook, folder / "submitted" / learner / file)
    nbgrader("autograde", NAME)
    nbgrader("generate_feedback", NAME)
    nbgrader("export")
    with open(folder / "grades.csv", encoding="utf-8", newline="") as handle:
        rows = {row["student_id"]: row for row in csv.DictReader(handle)}
    # The text (2 points) waits for a person; shapes give 2, the quiz 1.
    assert {learner: float(row["score"]) for learner, row in rows.items()} == {"all": 3, "half": 2, "none": 0}
    assert {float(row["max_score"]) for row in rows.values()} == {5}
    for learner in handed_in:
        assert (folder / "feedback" / learner / NAME / f"{NAME}.html").stat().st_size > 1000
