"""Checks of notebook p1: right answers pass, the usual slips with coordinates and strands get their own hint."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab import checks, reverse_complement
from gfm_lab.checks import notebook_p1


@pytest.fixture
def check():
    return checks.start("p1_dna_for_engineers")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


def vcf(read, start, stop, strand, i, base):
    if strand == "+":
        return start + i + 1, read[i], base
    return stop - i, reverse_complement(read[i]), reverse_complement(base)


def vcf_by_the_forward_text(read, start, stop, strand, i, base):
    """Another way to the same: turn both texts around and look where they differ."""
    after = read[:i] + base + read[i + 1 :]
    if strand == "-":
        read, after = reverse_complement(read), reverse_complement(after)
    at = next(k for k, (a, b) in enumerate(zip(read, after, strict=True)) if a != b)
    return [start + at + 1, read[at], after[at]]


RIGHT = [
    ("prediction", (48, 1)),
    ("prediction", [48.05, 1]),
    ("prediction", (40, 1)),
    ("vcf", vcf),
    ("vcf", vcf_by_the_forward_text),
    ("interpretation", "word " * 30),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_every_correct_answer_passes(check, capsys, name, answer):
    status, text = run(check, name, answer, capsys)
    assert status == checks.OK, text
    assert text.startswith(f"[ok] {name}: ")


def both_bugs(read, start, stop, strand, i, base):
    return (start + i if strand == "+" else stop - 1 - i), read[i], base


def counts_from_0(*case):
    pos, ref, alt = vcf(*case)
    return pos - 1, ref, alt


def gene_letters(read, start, stop, strand, i, base):
    return vcf(read, start, stop, strand, i, base)[0], read[i], base


def from_the_left(read, start, stop, strand, i, base):
    _, ref, alt = vcf(read, start, stop, strand, i, base)
    return start + i + 1, ref, alt


def swapped(*case):
    pos, ref, alt = vcf(*case)
    return pos, alt, ref


def always_turned(read, start, stop, strand, i, base):
    pos, _, _ = vcf(read, start, stop, strand, i, base)
    return pos, reverse_complement(read[i]), reverse_complement(base)


def too_far_on_minus(read, start, stop, strand, i, base):
    pos, ref, alt = vcf(read, start, stop, strand, i, base)
    return pos + (strand == "-"), ref, alt


def nowhere(*case):
    _, ref, alt = vcf(*case)
    return -7, ref, alt


def forgets_return(*case):
    _ = vcf(*case)


WRONG = [
    ("prediction", 48, "two numbers"),
    ("prediction", ("48", "1"), "not text"),
    ("prediction", (16, 1), "how many of the 64"),
    ("prediction", (341, 1), "among 64"),
    ("prediction", (3, 1), "3 of 64"),
    ("prediction", (48, 0), "where the gene ends"),
    ("prediction", (48, 48), "how many can there be"),
    ("vcf", both_bugs, "POS counts from 1"),
    ("vcf", counts_from_0, "POS counts from 1"),
    ("vcf", gene_letters, "on which strand are REF and ALT written"),
    ("vcf", from_the_left, "right end"),
    ("vcf", swapped, "swapped"),
    ("vcf", always_turned, "letters of `read` and `base` themselves"),
    ("vcf", too_far_on_minus, "one too large"),
    ("vcf", nowhere, "expected POS"),
    ("vcf", forgets_return, "`return` missing"),
    ("vcf", lambda *case: 3, "three things"),
    ("vcf", lambda read: 3, "TypeError"),
    ("interpretation", "it depends", "sentences"),
]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_usual_mistakes_get_their_hint(check, capsys, name, answer, hint):
    status, text = run(check, name, answer, capsys)
    assert status == checks.HINT
    assert hint in text


def test_half_repaired_on_the_reverse_strand_is_told_so():
    """The check meets the forward strand first; these hints are for who has mended one bug there."""
    case = ("ACGT" * 2, 10, 18, "-", 2, "T")
    genome = "C" * 10 + reverse_complement(case[0])
    for answer, hint in ((both_bugs, "both bugs"), (counts_from_0, "one bug found: the letters")):
        with pytest.raises(checks.Hint, match=hint):
            notebook_p1._compare(answer(*case), genome, *case)


@given(st.text("ACGT", min_size=1, max_size=50), st.data())
@settings(max_examples=200, deadline=None)
def test_the_record_changes_the_forward_strand_as_it_should(genome, data):
    """What the check calls right is right: apply it to the genome, cut the text again, and base i has changed."""
    start = data.draw(st.integers(0, len(genome) - 1))
    stop = data.draw(st.integers(start + 1, len(genome)))
    strand = data.draw(st.sampled_from("+-"))
    read = genome[start:stop] if strand == "+" else reverse_complement(genome[start:stop])
    i = data.draw(st.integers(0, len(read) - 1))
    base = data.draw(st.sampled_from([b for b in "ACGT" if b != read[i]]))
    pos, ref, alt = vcf(read, start, stop, strand, i, base)
    notebook_p1._compare((pos, ref, alt), genome, read, start, stop, strand, i, base)
    assert genome[pos - 1] == ref
    changed = genome[: pos - 1] + alt + genome[pos:]
    again = changed[start:stop] if strand == "+" else reverse_complement(changed[start:stop])
    assert again == read[:i] + base + read[i + 1 :]
    with pytest.raises(checks.Hint):
        notebook_p1._compare((pos + 1, ref, alt), genome, read, start, stop, strand, i, base)


def test_order_of_the_notebook(check):
    assert list(check.results) == ["placement", "prediction", "vcf", "interpretation", "quiz"]
