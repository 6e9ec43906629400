"""Checks of notebook 06: correct solutions pass in any style, usual mistakes get their hint, nothing raises."""

import re

import pytest
import torch

from gfm_lab import checks


@pytest.fixture
def check():
    return checks.start("06_both_strands")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


def expect(check, name, answer, hint, capsys):
    status, text = run(check, name, answer, capsys)
    assert status == "hint" and re.search(hint, text), text


# --- the other strand -------------------------------------------------------------------------------------------------


def strand_by_a_loop(ids, complement):
    rows = [[complement[i] for i in reversed(row.tolist())] for row in ids]
    return torch.tensor(rows, dtype=ids.dtype).reshape(ids.shape)


@pytest.mark.parametrize(
    "answer",
    [
        lambda i, c: c[i].flip(1),
        lambda i, c: c[i.flip(-1)],
        lambda i, c: c[torch.fliplr(i)],
        strand_by_a_loop,
    ],
)
def test_right_strands_pass(check, capsys, answer):
    status, text = run(check, "other_strand", answer, capsys)
    assert status == "ok" and "two tables" in text


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda i, c: c[i], "not read from the other end"),
        (lambda i, c: i.flip(1), "letters of this strand"),
        (lambda i, c: c[i].flip(0), "sequences of the batch"),
        (lambda i, c: c[i].flip((0, 1)), "only positions are flipped"),
        (lambda i, c: torch.where((i > 4) & (i < 9), 13 - i, i).flip(1), "not for Caduceus' table"),
        (lambda i, c: c[i].flip(1) + 1, "the other strand is"),
        (lambda i, c: c[i].flip(1)[0], r"shape \(2, 9\)"),
        (lambda i, c: c[i].flip(1).tolist(), "should be a Tensor"),
        (lambda i, c: i.copy_(c[i].flip(1)), "changed the ids"),
        (lambda i, c: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_wrong_strands_get_their_hint(check, capsys, answer, hint):
    expect(check, "other_strand", answer, hint, capsys)


# --- turning answers back ---------------------------------------------------------------------------------------------


def turned_by_a_matrix(back, complement):
    exchange = torch.eye(len(complement))[complement]
    return (back.flip(1) @ exchange.T).to(back)


@pytest.mark.parametrize(
    "answer",
    [
        lambda b, c: b.flip(1)[..., c],
        lambda b, c: b[..., c].flip(-2),
        lambda b, c: torch.stack([b[:, :, j] for j in c], -1).flip(1),
        turned_by_a_matrix,
    ],
)
def test_right_turns_pass(check, capsys, answer):
    assert run(check, "turned_back", answer, capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda b, c: b.flip(1), "letters not"),
        (lambda b, c: b[..., c], "positions not"),
        (lambda b, c: b.flip((1, 2)), "reverses all ids"),
        (lambda b, c: b, "nothing is turned"),
        (lambda b, c: b.flip(0)[..., c], "sequences of the batch"),
        (lambda b, c: b.flip(1)[..., c] * 2, "mirrored position"),
        (lambda b, c: b.flip(1)[..., c][..., :4], "shape"),
    ],
)
def test_wrong_turns_get_their_hint(check, capsys, answer, hint):
    expect(check, "turned_back", answer, hint, capsys)


# --- the average ------------------------------------------------------------------------------------------------------


def average(model, ids, complement):
    back = model(complement[ids].flip(1)).logits
    return (model(ids).logits + back.flip(1)[..., complement]) / 2


def average_in_one_batch(model, ids, complement):
    there, back = model(torch.cat([ids, complement[ids.flip(1)]])).logits.chunk(2)
    return torch.stack([there, back[..., complement].flip(1)]).mean(0)


@pytest.mark.parametrize("answer", [average, average_in_one_batch])
def test_right_averages_pass(check, capsys, answer):
    assert run(check, "average", answer, capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda m, i, c: (m(i).logits + m(c[i]).logits[..., c]) / 2, "never read the other strand"),
        (lambda m, i, c: m(i).logits, "never read the other strand"),
        (lambda m, i, c: 2 * average(m, i, c), "the sum of both"),
        (lambda m, i, c: (m(i).logits + m(c[i].flip(1)).logits.flip(1)) / 2, "letters not"),
        (lambda m, i, c: (m(i).logits + m(c[i].flip(1)).logits[..., c]) / 2, "positions not"),
        (lambda m, i, c: m(c[i].flip(1)).logits, "the right strand is read"),
        (lambda m, i, c: average(m, i, c)[0], "shape"),
    ],
)
def test_wrong_averages_get_their_hint(check, capsys, answer, hint):
    expect(check, "average", answer, hint, capsys)


# --- numbers and texts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.05, 0.2, 0.35, 0.75])
def test_predictions_pass_and_say_how_near(check, capsys, share):
    status, text = run(check, "prediction", share, capsys)
    assert status == "ok" and (("near what comes" in text) == (0.1 <= share <= 0.35))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (0, "nothing ties"),
        (0.9, "avoid each other"),
        (20, "between 0 and 1"),
        ("a fifth", "one number"),
        (True, "one"),
    ],
)
def test_impossible_predictions_get_their_hint(check, capsys, answer, hint):
    expect(check, "prediction", answer, hint, capsys)


def test_the_written_answer_has_a_rubric(check, capsys):
    status, text = run(check, "interpretation", "word " * 30, capsys)
    assert status == "ok" and "equal cost" in text and "augmentation" in text
    assert run(check, "interpretation", "too short", capsys)[0] == "hint"


def test_stubs_are_not_attempted(check, capsys):
    for name in ("other_strand", "turned_back", "prediction", "average", "interpretation", "quiz"):
        assert run(check, name, ..., capsys)[0] == "not attempted yet"
    assert run(check, "quiz", "adbaad", capsys)[0] == "ok"
