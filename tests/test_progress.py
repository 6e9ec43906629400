"""`gfm-lab progress` reads what the checks printed, from saved notebooks."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from gfm_lab import cli
from gfm_lab.commands.progress import read_progress

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
NAME = "01_tokenization"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_the_learners_are_open_and_the_solutions_done(path):
    learner, solved = read_progress(path), read_progress(NOTEBOOKS / "solutions" / path.name)
    assert list(learner) == list(solved) and len(learner) >= 3
    assert set(learner.values()) == {"not attempted yet"} and set(solved.values()) == {"ok"}


@pytest.fixture
def half(tmp_path):
    """A notebook with one exercise solved, one wrong and later mended, one wrong, the rest open."""
    notebook = nbformat.read(NOTEBOOKS / f"{NAME}.ipynb", as_version=4)
    names = list(read_progress(NOTEBOOKS / f"{NAME}.ipynb"))
    lines = [
        f"[ok] {names[0]}: fine",
        f"[hint] {names[1]}: no",
        f"\x1b[1;93m[hint]\x1b[0m {names[2]}: no",
        f"\x1b[32m[ok]\x1b[0m {names[1]}: yes",  # as in a notebook
    ]
    lines += [
        "[ok] somebody_elses: not of this notebook",
        f"printed [ok] {names[3]}: in the middle of a line",
    ]
    cells = [nbformat.v4.new_output("stream", text=f"{line}\n{NAME}  ...\n") for line in lines]
    notebook.cells.append(nbformat.v4.new_code_cell("again", outputs=cells))
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    return tmp_path / "mine.ipynb", names


def test_the_last_word_counts(half, capsys):
    path, names = half
    assert cli.main(["progress", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)[str(path)]
    assert [found[n] for n in names[:4]] == ["ok", "ok", "hint", "not attempted yet"]
    assert cli.main(["progress", str(path.parent)]) == 0
    out = capsys.readouterr().out
    assert f"hint: {names[2]}" in out and f"2 of {len(names)} solved, 1 with a hint" in out


def test_what_is_no_notebook_of_the_course(tmp_path, capsys, monkeypatch):
    assert cli.main(["progress", str(tmp_path)]) == 2
    assert "no notebook of the course" in capsys.readouterr().err
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), tmp_path / "own.ipynb"
    )
    assert read_progress(tmp_path / "own.ipynb") is None
    shutil.copy(NOTEBOOKS / f"{NAME}.ipynb", tmp_path)
    assert cli.main(["progress", str(tmp_path)]) == 0 and "own" not in capsys.readouterr().out
    text = (tmp_path / f"{NAME}.ipynb").read_text(encoding="utf-8")
    (tmp_path / "cut.ipynb").write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(ValueError, match="cut off"):
        read_progress(tmp_path / "cut.ipynb")
    (tmp_path / "cut.ipynb").write_text(
        text.replace(f'start(\\"{NAME}', 'start(\\"99_later'), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="99_later"):
        read_progress(tmp_path / "cut.ipynb")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["progress"]) == 2
    assert "there is no notebooks" in capsys.readouterr().err


def test_a_class_is_told_apart_by_its_folders(tmp_path, capsys):
    for learner in ("ada", "bo"):
        (tmp_path / learner).mkdir()
        shutil.copy(NOTEBOOKS / f"{NAME}.ipynb", tmp_path / learner)
    assert cli.main(["progress", str(tmp_path / "ada"), str(tmp_path / "bo")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == [f"ada/{NAME}", f"bo/{NAME}"]
    (tmp_path / "bo" / "cut.ipynb").write_text("{", encoding="utf-8")  # costs nobody else a line
    assert cli.main(["progress", str(tmp_path / "ada"), str(tmp_path / "bo")]) == 2
    told = capsys.readouterr()
    assert told.out.splitlines()[:2] == lines[:2] and "cut.ipynb is not a notebook" in told.err
    assert cli.main(["progress", str(tmp_path / "bo"), "--json"]) == 2
    assert list(json.loads(capsys.readouterr().out)) == [str(tmp_path / "bo" / f"{NAME}.ipynb")]
    assert cli.main(["progress", str(tmp_path / "ada")]) == 0
    assert capsys.readouterr().out.startswith(NAME)
