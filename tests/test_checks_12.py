"""Checks of notebook 12: correct solutions pass in any style, usual mistakes get their hint, nothing raises."""

import math

import numpy as np
import pytest

from gfm_lab import checks, reverse_complement


@pytest.fixture
def check():
    return checks.start("12_practical_variants")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- VCF rows -------------------------------------------------------------------------------------------------------


def rows_by_loop(line):
    fields, found = line.split("\t"), []
    for alt in fields[4].split(","):
        if alt and all(letter in "ACGT" for letter in alt):
            found.append([fields[0], int(fields[1]) - 1, fields[3], alt])
    return found


def rows(line, shift=1, split=True, keep=False, text=False, turned=False):
    chrom, pos, _, ref, alts = line.split("\t")[:5]
    position = pos if text else int(pos) - shift
    found = [
        (chrom, position, ref, alt)
        for alt in (alts.split(",") if split else [alts])
        if keep or set(alt) <= set("ACGT,")
    ]
    return found[::-1] if turned else found


@pytest.mark.parametrize("answer", [rows_by_loop, rows])
def test_right_rows_pass(check, capsys, answer):
    status, text = run(check, "my_variants", answer, capsys)
    assert status == "ok" and "several alternatives" in text


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda line: rows(line, shift=0), "take 1 off"),
        (lambda line: rows(line, text=True), "still text"),
        (lambda line: rows(line, split=False), "one variant for each"),
        (lambda line: rows(line, keep=True), "'<DEL>' is no sequence"),
        (lambda line: rows(line, turned=True), "keep the order"),
        (lambda line: [row[:3] for row in rows(line)], "four things"),
    ],
)
def test_wrong_rows_get_a_hint(check, capsys, answer, says):
    status, text = run(check, "my_variants", answer, capsys)
    assert status == "hint" and says in text


# --- four scores ----------------------------------------------------------------------------------------------------


def scores(logits, ref):
    log_p = logits.log_softmax(-1)[5:9]
    return log_p - log_p["ACGT".index(ref)]


def scores_from_logits(logits, ref):
    """The normaliser cancels."""
    return [float(logits[5 + i] - logits[5 + "ACGT".index(ref)]) for i in range(4)]


@pytest.mark.parametrize("answer", [scores, scores_from_logits, lambda x, r: scores(x, r).numpy()])
def test_right_scores_pass(check, capsys, answer):
    assert run(check, "my_scores", answer, capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda x, r: -scores(x, r), "the sign"),
        (lambda x, r: scores(x, r) / math.log(2), "in bits"),
        (lambda x, r: scores(x, r).exp(), "take its logarithm"),
        (lambda x, r: x.softmax(-1)[5:9] - x.softmax(-1)[5 + "ACGT".index(r)], "difference of probabilities"),
        (lambda x, r: x.log_softmax(-1)[5:9], "subtract that of the reference"),
        (lambda x, r: x[:4] - x["ACGT".index(r)], "special tokens"),
        (lambda x, r: x, "four numbers"),
        (lambda x, r: scores(x, r) + 1, "should score 0"),
    ],
)
def test_wrong_scores_get_a_hint(check, capsys, answer, says):
    status, text = run(check, "my_scores", answer, capsys)
    assert status == "hint" and says in text


# --- the other strand -----------------------------------------------------------------------------------------------


def turned(position, ref, alt, length):
    return length - position - len(ref), reverse_complement(ref), reverse_complement(alt)


def turned_by_hand(position, ref, alt, length):
    pairs = dict(zip("ACGT", "TGCA", strict=True))
    other = ["".join(pairs[base] for base in reversed(allele)) for allele in (ref, alt)]
    return [length - (position + len(ref) - 1) - 1, *other]


@pytest.mark.parametrize("answer", [turned, turned_by_hand])
def test_right_turns_pass(check, capsys, answer):
    assert run(check, "my_turned", answer, capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda p, r, a, n: (n - p - len(r), r, a), "are the complements"),
        (lambda p, r, a, n: (n - p - len(r), reverse_complement(r)[::-1], reverse_complement(a)), "in reverse order"),
        (lambda p, r, a, n: (n - p - 1, reverse_complement(r), reverse_complement(a)), "right for one base"),
        (lambda p, r, a, n: (n - p, reverse_complement(r), reverse_complement(a)), "off by one"),
        (lambda p, r, a, n: (p, reverse_complement(r), reverse_complement(a)), "the other strand reads"),
        (lambda p, r, a, n: (n - p - len(r), reverse_complement(r), a), "should become"),
        (lambda p, r, a, n: (p, r), "three things"),
    ],
)  # fmt: skip
def test_wrong_turns_get_a_hint(check, capsys, answer, says):
    status, text = run(check, "my_turned", answer, capsys)
    assert status == "hint" and says in text


# --- prediction and interpretation ----------------------------------------------------------------------------------


def test_predictions(check, capsys):
    status, text = run(check, "my_prediction", ["trained head", "mutation count", "language models"], capsys)
    assert status == "ok" and "as the table below shows" in text
    status, text = run(check, "my_prediction", ["language models", "trained head", "mutation count"], capsys)
    assert status == "ok" and "noted" in text
    for wrong in (["trained head"], ["a", "b", "c"], ["trained head"] * 3):
        status, text = run(check, "my_prediction", wrong, capsys)
        assert status == "hint" and "list all three" in text


def test_interpretation(check, capsys):
    status, text = run(check, "my_interpretation", "It is pathogenic.", capsys)
    assert status == "hint"
    status, text = run(check, "my_interpretation", "word " * 40, capsys)
    assert status == "ok" and "(4)" in text


@pytest.mark.parametrize(
    "name", ["my_variants", "my_scores", "my_turned", "my_prediction", "my_interpretation"]
)
def test_stubs_are_not_attempted(check, capsys, name):
    status, _ = run(check, name, ..., capsys)
    assert status == "not attempted yet"


def test_the_checks_agree_with_the_package():
    from gfm_lab.checks.notebook_12 import ROWS
    from gfm_lab.vcf import COLUMNS

    assert len(COLUMNS) == 8 and all(len(row.split("\t")) >= 8 for row, _ in ROWS)
    assert np.isfinite([len(expected) for _, expected in ROWS]).all()
