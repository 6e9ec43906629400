"""Checks of notebook 08: correct solutions pass in any style, usual mistakes get their hint, nothing raises."""

import pytest
import torch

from gfm_lab import checks
from gfm_lab.heads import Pool

torch.set_num_threads(1)
SHAPES = {
    "language model": (3, 75, 20),
    "classification": (3, 3),
    "regression": (3, 1),
    "embedding": (3, 128),
}


@pytest.fixture
def check():
    return checks.start("08_output_heads")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- right answers, written in different ways -----------------------------------------------------------------------


def mean_by_fill(hidden, mask):
    real = mask[..., None] != 0
    return hidden.masked_fill(~real, 0).sum(1) / real.sum(1).clamp(min=1)


def mean_by_where(hidden, mask):
    kept = torch.where(mask.bool()[..., None], hidden, torch.zeros(()))
    return kept.sum(dim=1) / torch.clamp(mask.sum(dim=1, keepdim=True), min=1)


def mean_by_rows(hidden, mask):
    rows = [h[m == 1] for h, m in zip(hidden, mask, strict=True)]
    return torch.stack([r.mean(0) if len(r) else torch.zeros(hidden.shape[2]) for r in rows])


def mean_by_package(hidden, mask):
    return Pool("mean", hidden.shape[2])(hidden, mask)


def vectors_of(pool):
    def vectors(model, ids, mask):
        return pool(model.base_model(ids, attention_mask=mask).last_hidden_state, mask)

    return vectors


def vectors_from_hidden_states(model, ids, mask):
    states = model.base_model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
    return mean_by_fill(states[-1], mask)


def vectors_by_body(model, ids, mask):
    return mean_by_where(model.body(input_ids=ids, attention_mask=mask)[0], mask)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("shapes", SHAPES),
        (
            "shapes",
            {name: list(shape) for name, shape in SHAPES.items()} | {"embedding": torch.Size([3, 128])},
        ),
        *(("masked_mean", f) for f in (mean_by_fill, mean_by_where, mean_by_rows, mean_by_package)),
        *(("vectors", vectors_of(f)) for f in (mean_by_fill, mean_by_where, mean_by_rows)),
        ("vectors", vectors_from_hidden_states),
        ("vectors", vectors_by_body),
    ],
)
def test_right_answers_pass(check, name, answer, capsys):
    status, printed = run(check, name, answer, capsys)
    assert status == checks.OK, printed


# --- the usual mistakes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"language model": (3, 75, 128)}, "what goes in"),
        ({"language model": (3, 20)}, "the positions stay"),
        ({"classification": (3, 75, 3)}, "where have the positions gone"),
        ({"regression": (3,)}, "last axis"),
        ({"embedding": (3, 20)}, "body's channels"),
        ({"embedding": (128,)}, "how many sequences"),
        ({"regression": 1}, "a tuple of whole numbers"),
        ({"regression": ...}, "a tuple of whole numbers"),
    ],
)
def test_wrong_shapes_get_their_hint(check, change, hint, capsys):
    status, printed = run(check, "shapes", SHAPES | change, capsys)
    assert status == checks.HINT and hint in printed


def test_missing_heads_are_named(check, capsys):
    status, printed = run(check, "shapes", {"regression": (3, 1)}, capsys)
    assert status == checks.HINT and "language model, classification, embedding" in printed
    status, printed = run(check, "shapes", [(3, 1)], capsys)
    assert status == checks.HINT and "Mapping" in printed


def plain_mean(hidden, mask):
    return hidden.mean(1)


def divided_by_all(hidden, mask):
    return (hidden * mask[..., None]).mean(1)


def only_a_sum(hidden, mask):
    return (hidden * mask[..., None]).sum(1)


def divided_by_the_batch(hidden, mask):
    return (hidden * mask[..., None]).sum(1) / mask.sum()


def times_zero(hidden, mask):
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def no_clamp(hidden, mask):
    real = mask[..., None] != 0
    return hidden.masked_fill(~real, 0).sum(1) / real.sum(1)


def in_place(hidden, mask):
    return hidden.masked_fill_(mask[..., None] == 0, 0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def over_channels(hidden, mask):
    return hidden.mean(2)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (plain_mean, "the mask was not used"),
        (divided_by_all, "still divide by all positions"),
        (only_a_sum, "this is the sum"),
        (divided_by_the_batch, "whole batch"),
        (times_zero, "0 times NaN"),
        (no_clamp, "divide by at least 1"),
        (in_place, "changed the hidden states"),
        (over_channels, "should have the shape"),
        (lambda hidden, mask: print(end=""), "is a `return` missing"),
        (lambda hidden, mask: 2 * mean_by_fill(hidden, mask), "differs from the mean"),
        (lambda hidden, mask: hidden @ mask, "your code raised"),
    ],
)
def test_wrong_means_get_their_hint(check, answer, hint, capsys):
    status, printed = run(check, "masked_mean", answer, capsys)
    assert status == checks.HINT and hint in printed, printed


def states(model, ids, mask):
    return model.base_model(ids, attention_mask=mask).last_hidden_state


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda model, ids, mask: model(ids, attention_mask=mask).logits.mean(1), "scores of the 9 tokens"),
        (
            lambda model, ids, mask: mean_by_fill(model(ids, attention_mask=mask).logits, mask),
            "scores of the 9",
        ),
        (lambda model, ids, mask: states(model, ids, mask), "vectors of every position"),
        (lambda model, ids, mask: states(model, ids, mask).mean(1), "padding is averaged in"),
        (lambda model, ids, mask: states(model, ids, mask)[:, -1], "last column"),
        (lambda model, ids, mask: states(model, ids, mask)[:, 0], "first column"),
        (lambda model, ids, mask: mean_by_fill(states(model, ids, None), mask), "without attention_mask"),
        (lambda model, ids, mask: states(model, ids, None).mean(1), "without attention_mask"),
        (
            lambda model, ids, mask: mean_by_fill(
                model.base_model(ids, attention_mask=mask, output_hidden_states=True).hidden_states[0], mask
            ),
            "is the embedding",
        ),
        (lambda model, ids, mask: 2 * mean_by_fill(states(model, ids, mask), mask), "differs from the mean"),
        (lambda model, ids, mask: print(end=""), "is a `return` missing"),
    ],
)
def test_wrong_vectors_get_their_hint(check, answer, hint, capsys):
    status, printed = run(check, "vectors", answer, capsys)
    assert status == checks.HINT and hint in printed, printed


def test_a_written_answer_gets_the_rubric(check, capsys):
    status, printed = run(check, "interpretation", "too short", capsys)
    assert status == checks.HINT
    status, printed = run(check, "interpretation", "word " * 30, capsys)
    assert status == checks.OK and "(4)" in printed and "random weights" in printed


@pytest.mark.parametrize("name", ["shapes", "masked_mean", "vectors", "interpretation", "quiz"])
def test_stubs_are_not_attempted(check, name, capsys):
    status, _ = run(check, name, ..., capsys)
    assert status == checks.TODO
