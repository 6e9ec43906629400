"""Checks of notebook 10: correct solutions pass in any style, usual mistakes get their hint, nothing raises."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gfm_lab import checks


@pytest.fixture
def check():
    return checks.start("10_autoregressive_modeling")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- bits -----------------------------------------------------------------------------------------------------------


def bits_by_indexing(logits, ids, mask):
    real = mask[:, 1:]
    bits = F.cross_entropy(logits[:, :-1][real], ids[:, 1:][real]).item() / math.log(2)
    return bits, 2**bits


def bits_by_labels(logits, ids, mask):
    labels = ids.masked_fill(~mask, -100)[:, 1:]
    nats = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten())
    return [nats / math.log(2), nats.exp()]  # tensors, as a list


def bits_by_a_loop(logits, ids, mask):
    costs = []
    for row in range(len(ids)):
        for t in range(1, ids.shape[1]):
            if mask[row, t]:
                costs.append(-math.log2(logits[row, t - 1].softmax(-1)[ids[row, t]].item()))
    return np.mean(costs), 2 ** np.mean(costs)


@pytest.mark.parametrize("answer", [bits_by_indexing, bits_by_labels, bits_by_a_loop])
def test_right_bits_pass(check, capsys, answer):
    status, text = run(check, "my_bits", answer, capsys)
    assert status == "ok" and "shifted once" in text


BITS = 1 / math.log(2)


def bits_of(logits, labels, real, scale=BITS):
    bits = F.cross_entropy(logits[real], labels[real]).item() * scale
    return bits, 2**bits


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda logits, ids, mask: bits_by_indexing(logits, ids, mask)[0], "two numbers"),
        (lambda logits, ids, mask: bits_of(logits[:, :-1], ids[:, 1:], mask[:, 1:], 1), "nats"),
        (
            lambda logits, ids, mask: bits_of(logits[:, :-1], ids[:, 1:], mask[:, 1:], math.log(2)),
            "multiplied",
        ),
        (lambda logits, ids, mask: bits_of(logits, ids, mask), "no shift"),
        (lambda logits, ids, mask: bits_of(logits[:, 1:], ids[:, :-1], mask[:, :-1]), "wrong side"),
        (lambda logits, ids, mask: bits_of(logits[:, :-2], ids[:, 2:], mask[:, 2:]), "shifted twice"),
        (
            lambda logits, ids, mask: bits_of(logits[:, :-1], ids[:, 1:], torch.ones_like(mask[:, 1:])),
            "padding is scored",
        ),
        (
            lambda logits, ids, mask: bits_of(logits[:, :-1], ids[:, 1:], mask[:, :-1]),
            "belongs to the labels",
        ),
        (
            lambda logits, ids, mask: (
                bits_by_indexing(logits, ids, mask)[0],
                math.exp(bits_by_indexing(logits, ids, mask)[0]),
            ),
            "e to the power of bits",
        ),
        (lambda logits, ids, mask: (bits_by_indexing(logits, ids, mask)[0], 4.0), "perplexity of"),
        (lambda logits, ids, mask: (7.0, 2**7.0), "not 7.0000"),
    ],
)
def test_wrong_bits_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "my_bits", answer, capsys)
    assert status == "hint" and re.search(hint, text), text


# --- prediction and filing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [(1.39, 8.32, 3.81), [math.log(4), math.log(4096), 2**1.93]])
def test_right_prediction(check, capsys, answer):
    assert run(check, "prediction", answer, capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((1.39, 8.32), "three numbers"),
        ((8.32, 8.32, 3.81), "last five letters"),
        ((0, 8.32, 3.81), "the last one is new"),
        ((2.0, 8.32, 3.81), "right in bits"),
        ((0.7, 8.32, 3.81), "four words are left"),
        ((1.39, 12, 3.81), "12 is right in bits"),
        ((1.39, 5, 3.81), "4\\*\\*6 words"),
        ((1.39, 8.32, 6.89), "powers of 2"),
        ((1.39, 8.32, 1.93), "two to the power"),
        ((1.39, "x", 3.81), "should be"),
    ],
)
def test_wrong_predictions_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "prediction", answer, capsys)
    assert status == "hint" and re.search(hint, text), text


FILING = {
    "decoder-only": True,
    "Transformer": False,
    "predicts the next token": True,
    "keeps keys and values while it writes": False,
}


def test_filing(check, capsys):
    assert run(check, "filing", FILING, capsys)[0] == "ok"
    for name in FILING:
        status, text = run(check, "filing", FILING | {name: not FILING[name]}, capsys)
        assert status == "hint" and f"{name}:" in text
    for wrong, hint in (
        ({}, "four keys"),
        ([True], "four keys"),
        (FILING | {"Transformer": "no"}, "True or False"),
    ):
        status, text = run(check, "filing", wrong, capsys)
        assert status == "hint" and hint in text


# --- the loss -------------------------------------------------------------------------------------------------------


def loss_by_labels(model, ids, mask):
    return model(input_ids=ids, labels=ids.masked_fill(~mask, -100)).loss


def loss_by_hand(model, ids, mask):
    logits = model(input_ids=ids, attention_mask=mask.long()).logits
    real = mask[:, 1:]
    return F.cross_entropy(logits[:, :-1][real], ids[:, 1:][real]).item()


@pytest.mark.parametrize("answer", [loss_by_labels, loss_by_hand])
def test_right_losses_pass(check, capsys, answer):
    status, text = run(check, "my_loss", answer, capsys)
    assert status == "ok" and "one shift" in text


def in_place(model, ids, mask):
    ids[~mask] = -100
    return model(input_ids=ids.clamp_min(0), labels=ids).loss


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda model, ids, mask: model(input_ids=ids[:, :-1], labels=ids[:, 1:]).loss, "shifted twice"),
        (
            lambda model, ids, mask: (
                model(input_ids=ids[:, :-1], labels=ids.masked_fill(~mask, -100)[:, 1:]).loss
            ),
            "still shifted twice",
        ),
        (lambda model, ids, mask: model(input_ids=ids, labels=ids).loss, "padding is scored"),
        (
            lambda model, ids, mask: F.cross_entropy(model(input_ids=ids).logits[mask], ids[mask]),
            "without any shift",
        ),
        (lambda model, ids, mask: loss_by_labels(model, ids, mask) / math.log(2), "stays in nats"),
        (lambda model, ids, mask: model(input_ids=ids).loss, "returned None"),
        (lambda model, ids, mask: 0.5, "not 0.5000"),
        (in_place, "changed the ids"),
    ],
)
def test_wrong_losses_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "my_loss", answer, capsys)
    assert status == "hint" and re.search(hint, text), text


# --- sampling -------------------------------------------------------------------------------------------------------


def probabilities_by_sorting(scores, temperature=1.0, top_k=None):
    scaled = np.asarray(scores) / temperature
    p = np.exp(scaled - scaled.max())
    if top_k is not None:
        p[scaled < np.sort(scaled)[-top_k]] = 0
    return p / p.sum()


def probabilities_by_torch(scores, temperature=1.0, top_k=None):
    scores = torch.tensor(scores) / temperature
    if top_k:
        kept = torch.full_like(scores, -math.inf)
        best = scores.topk(top_k).indices
        kept[best] = scores[best]
        scores = kept
    return scores.softmax(-1)


@pytest.mark.parametrize("answer", [probabilities_by_sorting, probabilities_by_torch])
def test_right_probabilities_pass(check, capsys, answer):
    status, text = run(check, "my_probabilities", answer, capsys)
    assert status == "ok" and "temperature first" in text


def not_renormalised(scores, temperature=1.0, top_k=None):
    p = probabilities_by_sorting(scores, temperature)
    return np.where(probabilities_by_sorting(scores, temperature, top_k) > 0, p, 0)


def overflowing(scores, temperature=1.0, top_k=None):
    with np.errstate(over="ignore", invalid="ignore"):
        p = np.exp(np.asarray(scores) / temperature)
        if top_k is not None:
            p[p < np.sort(p)[-top_k]] = 0
        return p / p.sum()


def smallest(scores, temperature=1.0, top_k=None):
    keep = probabilities_by_sorting(-np.asarray(scores), temperature, top_k) > 0
    p = np.where(keep, probabilities_by_sorting(scores, temperature), 0)
    return p / p.sum()


def changed(scores, temperature=1.0, top_k=None):
    scores /= temperature * 3
    return probabilities_by_sorting(scores * 3, 1.0, top_k)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda s, t=1.0, k=None: probabilities_by_sorting(s, 1 / t, k), "divided by the temperature"),
        (lambda s, t=1.0, k=None: probabilities_by_sorting(s, 1.0, k), "temperature has no effect"),
        (lambda s, t=1.0, k=None: probabilities_by_sorting(s, t), "top_k has no effect"),
        (
            lambda s, t=1.0, k=None: probabilities_by_sorting(s, t, k and min(4, k + 1)),
            "choices are left|no effect",
        ),
        (lambda s, t=1.0, k=None: probabilities_by_sorting(s, t, k)[:2], "return 4 probabilities"),
        (lambda s, t=1.0, k=None: np.exp(np.asarray(s) / t), "sum to"),
        (lambda s, t=1.0, k=None: np.full(len(s), 1 / len(s)), "give"),
        (not_renormalised, "sum to 1 again"),
        (overflowing, "subtract the largest"),
        (smallest, "k smallest"),
        (changed, "changed the scores"),
    ],
)
def test_wrong_probabilities_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "my_probabilities", answer, capsys)
    assert status == "hint" and re.search(hint, text), text


# --- the rest -------------------------------------------------------------------------------------------------------


def test_interpretation_shows_its_rubric(check, capsys):
    letter = (
        "Markov DNA passes these tests too, and function has to be measured in cells beside controls. " * 3
    )
    status, text = run(check, "interpretation", letter, capsys)
    assert status == "ok" and "baseline is missing" in text
    assert run(check, "interpretation", "Nice.", capsys)[0] == "hint"


def test_stubs_and_strange_answers_never_raise(check, capsys):
    def stub(*arguments): ...

    for name in ("my_bits", "my_loss", "my_probabilities"):
        assert run(check, name, stub, capsys)[0] == "not attempted yet"
        for answer in (lambda *a: 1 / 0, lambda *a: "text", 3):
            assert run(check, name, answer, capsys)[0] == "hint"
    for name in ("prediction", "filing", "interpretation"):
        assert run(check, name, ..., capsys)[0] == "not attempted yet"


def test_quiz(check, capsys):
    assert run(check, "quiz", "bccaca", capsys)[0] == "ok"
    assert run(check, "quiz", "aaaaaa", capsys)[0] == "hint"
