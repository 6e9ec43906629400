"""`gfm-lab new` makes a project that runs at once and passes its own test."""

import os
import subprocess
import sys

import pytest

from gfm_lab import cli
from gfm_lab.commands.new import FILES


def test_a_new_project_passes_its_own_test(tmp_path, capsys):
    folder = tmp_path / "deep" / "my-project"
    assert cli.main(["new", str(folder)]) == 0
    assert "python project.py --small" in capsys.readouterr().out
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("# my-project\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=folder, capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS="1"),
    )  # fmt: skip
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    assert cli.main(["new", str(tmp_path / "mine")]) == 0  # an empty folder may be filled
    (tmp_path / "mine" / "project.py").write_text("my work")
    assert cli.main(["new", str(tmp_path / "mine")]) == 2
    assert "choose another name" in capsys.readouterr().err
    assert (tmp_path / "mine" / "project.py").read_text() == "my work"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]  # no half-made folder is left


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("sequence\tvalue\nACGT\t1\n", "lacks the column label"),
        ("sequence\tlabel\nACGT\t1\n", "must be 0 and 1"),
    ],
)
def test_a_faulty_table_is_named(tmp_path, monkeypatch, table, message):
    from gfm_lab.starter import project

    (tmp_path / "t.tsv").write_text(table)
    monkeypatch.setattr(project, "TABLE", str(tmp_path / "t.tsv"))
    with pytest.raises(SystemExit, match=message):
        project.labelled(small=False)
