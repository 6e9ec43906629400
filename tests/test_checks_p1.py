"""Checks of notebook p1: right answers pass, the usual slips with coordinates and strands get their own hint."""

import pytest

from gfm_lab import checks, load_data, reverse_complement
from gfm_lab.checks import notebook_p1


@pytest.fixture
def check():
    return checks.start("p1_dna_for_engineers")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


RIGHT = [
    ("prediction", (48, 1)),
    ("prediction", [48.05, 1]),
    ("prediction", (40, 1)),
    ("record", (366_354, "T", "G")),
    ("record", [366354, "t", "g"]),
    ("interpretation", "word " * 30),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_every_correct_answer_passes(check, capsys, name, answer):
    status, text = run(check, name, answer, capsys)
    assert status == checks.OK, text
    assert text.startswith(f"[ok] {name}: ")


WRONG = [
    ("prediction", 48, "two numbers"),
    ("prediction", ("48", "1"), "not text"),
    ("prediction", (16, 1), "how many of the 64"),
    ("prediction", (341, 1), "among 64"),
    ("prediction", (3, 1), "3 of 64"),
    ("prediction", (48, 0), "where the gene ends"),
    ("prediction", (48, 48), "how many can there be"),
    ("record", (366_353, "A", "C"), "both bugs"),
    ("record", (366_354, "A", "C"), "one bug found: POS 366,354"),
    ("record", (366_353, "T", "G"), "one bug found: the letters"),
    ("record", (366_355, "T", "G"), "one too large"),
    ("record", (366_407, "T", "G"), "right end"),
    ("record", (366_408, "T", "G"), "right end"),
    ("record", (366_354, "G", "T"), "swapped"),
    ("record", (366_354, "T", "C"), "partners"),
    ("record", (366_200, "T", "G"), "POS 366,200 is not"),
    ("record", ("366354", "T", "G"), "whole number"),
    ("record", (True, "T", "G"), "whole number"),
    ("record", (366_354, "T"), "three things"),
    ("record", 366_354, "three things"),
    ("interpretation", "it depends", "sentences"),
]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_usual_mistakes_get_their_hint(check, capsys, name, answer, hint):
    status, text = run(check, name, answer, capsys)
    assert status == checks.HINT
    assert hint in text


def test_the_record_changes_the_promoter_as_it_should(check, capsys):
    """What the check calls right is right: applied to the chromosome, it makes base 64 of the promoter a C."""
    genome, (start, stop) = load_data("ecoli-k12").sequence, (notebook_p1.LAC_START, notebook_p1.LAC_STOP)
    right = []
    for pos in range(start, stop + 2):
        for ref, alt in ((ref, alt) for ref in "ACGT" for alt in "ACGT" if ref != alt):
            if run(check, "record", (pos, ref, alt), capsys)[0] == checks.OK:
                right.append((pos, ref, alt))
    ((pos, ref, alt),) = right
    assert genome[pos - 1] == ref
    before = reverse_complement(genome[start:stop])
    after = reverse_complement((genome[: pos - 1] + alt + genome[pos:])[start:stop])
    assert [(i, a, b) for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [
        (64, "A", "C")
    ]
    lac = load_data("lac-mpra").frame
    assert lac.loc[lac.mutations == 0, "sequence"].tolist() == [before]


def test_order_of_the_notebook(check):
    assert list(check.results) == ["placement", "prediction", "record", "interpretation", "quiz"]
