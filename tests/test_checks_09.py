"""Checks of notebook 09: correct solutions pass in any style, usual mistakes get their hint, nothing raises."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gfm_lab import checks


@pytest.fixture
def check():
    return checks.start("09_masked_language_modeling")


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- masking ------------------------------------------------------------------------------------------------


def mask_by_arrays(ids, maskable, uniform, mask_id, words, rate=0.15):
    chosen = maskable & (uniform[0] < rate)
    other = words[(uniform[2] * len(words)).astype(int)]
    changed = np.where(uniform[1] < 0.8, mask_id, np.where(uniform[1] < 0.9, other, ids))
    return np.where(chosen, changed, ids), np.where(chosen, ids, -100)


def mask_by_a_loop(ids, maskable, uniform, mask_id, words, rate=0.15):
    shown, labels = list(ids), [-100] * len(ids)
    for i in range(len(ids)):
        if maskable[i] and uniform[0][i] < rate:
            labels[i] = ids[i]
            if uniform[1][i] < 0.8:
                shown[i] = mask_id
            elif uniform[1][i] < 0.9:
                shown[i] = words[int(uniform[2][i] * len(words))]
    return [shown, labels]


@pytest.mark.parametrize("answer", [mask_by_arrays, mask_by_a_loop])
def test_right_masks_pass(check, capsys, answer):
    status, text = run(check, "my_mask", answer, capsys)
    assert status == "ok" and "80/10/10" in text


def masks(change):
    """A right answer, spoiled: `change(shown, labels, ids, maskable, uniform, mask_id, words, rate)`."""

    def answer(ids, maskable, uniform, mask_id, words, rate=0.15):
        shown, labels = mask_by_arrays(ids, maskable, uniform, mask_id, words, rate)
        return change(shown, labels, ids, maskable, uniform, mask_id, words, rate)

    return answer


def everything_may_be_chosen(ids, maskable, uniform, mask_id, words, rate=0.15):
    return mask_by_arrays(ids, np.ones_like(maskable), uniform, mask_id, words, rate)


def in_place(ids, maskable, uniform, mask_id, words, rate=0.15):
    shown, labels = mask_by_arrays(ids, maskable, uniform, mask_id, words, rate)
    ids[:] = shown
    return ids, labels


def at_most(ids, maskable, uniform, mask_id, words, rate=0.15):
    return mask_by_arrays(ids, maskable, uniform, mask_id, words, np.nextafter(rate, 2))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda *a, **k: print(end=""), "returned None"),
        (masks(lambda s, t, *_: s), "two things"),
        (masks(lambda s, t, *_: (t, s)), "comes first"),
        (masks(lambda s, t, *_: (s[:-1], t)), "shape"),
        (masks(lambda s, t, ids, *_: (s, ids)), "every token has a label"),
        (everything_may_be_chosen, "special token got a label"),
        (masks(lambda s, t, *_: (s, np.where(t != -100, s, -100))), "what stood there before"),
        (masks(lambda s, t, ids, *_: (s, np.where(s != ids, t, -100))), "keeps its label"),
        (masks(lambda s, t, i, m, u, *_: (s, np.where(u[1] < 0.9, t, -100))), "keeps its label"),
        (
            masks(lambda s, t, i, m, u, k, w, r: (s, np.where(m & (u[0] >= r), i, -100))),
            "strictly below|85 %|label should be",
        ),
        (at_most, "strictly below"),
        (in_place, "copy first"),
        (masks(lambda s, t, i, m, u, k, *_: (np.where(t != -100, k, i), t)), "eight in ten"),
        (
            masks(lambda s, t, i, m, u, k, *_: (np.where((t != -100) & (u[1] < 0.9), k, s), t)),
            "another token",
        ),
        (
            masks(
                lambda s, t, i, m, u, k, w, r: (
                    np.where((t != -100) & (u[1] >= 0.8) & (u[1] < 0.9), w[0], s),
                    t,
                )
            ),
            "third number",
        ),
        (
            masks(lambda s, t, i, m, u, k, *_: (np.where((t != -100) & (u[1] >= 0.9), k, s), t)),
            "shown as it is",
        ),
        (masks(lambda s, t, i, *_: (np.where(t == -100, 5, s), t)), "not chosen has changed"),
    ],
)
def test_wrong_masks_get_their_hint(check, capsys, answer, hint):
    status, text = run(check, "my_mask", answer, capsys)
    assert status == "hint" and re.search(hint, text), text


# --- prediction ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [(6, 0.47, 0.27), [6, 0.469, 0.271], (6, 1 - 0.9**6, 1 - 0.9**3)])
def test_right_predictions(check, capsys, answer):
    assert run(check, "prediction", answer, capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((1, 0.47, 0.27), "how many words"),
        ((6, 0.53, 0.27), "stays hidden, with no word"),
        ((6, 0.1, 0.27), "a tenth of the words"),
        ((6, 0.6, 0.27), "counts twice"),
        ((6, 47, 0.27), "between 0 and 1"),
        ((6, 0.47, 0.47), "k = 3"),
        (0.47, "three numbers"),
    ],
)
def test_wrong_predictions(check, capsys, answer, hint):
    status, text = run(check, "prediction", answer, capsys)
    assert status == "hint" and hint in text, text


# --- bits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [lambda nats, n: nats / math.log(2) / n, lambda nats, n: np.log2(np.exp(nats)) / n]
)
def test_right_bits(check, capsys, answer):
    assert run(check, "my_bits", answer, capsys)[0] == "ok"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda nats, n: nats / math.log(2), "bits per token"),
        (lambda nats, n: nats / n, "nats per base"),
        (lambda nats, n: nats * math.log(2) / n, "multiplied by ln 2"),
        (lambda nats, n: nats / math.log(2) * n, "larger than that for one"),
        (lambda nats, n: nats / math.log(4) / n, "units of 2 bits"),
        (lambda nats, n: 3.0, "bits per masked base"),
        (lambda nats, n: print(end=""), "returned None"),
        (lambda nats, n: "2 bits", "int or float"),
    ],
)
def test_wrong_bits(check, capsys, answer, hint):
    status, text = run(check, "my_bits", answer, capsys)
    assert status == "hint" and hint in text, text


# --- the repaired score -------------------------------------------------------------------------------------


def by_indexing(logits, ids, chosen):
    return (F.cross_entropy(logits[chosen], ids[chosen]) / math.log(2)).item()


def by_labels(logits, ids, chosen):
    labels = ids.masked_fill(~chosen, -100)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten()) / math.log(2)


def by_log2(logits, ids, chosen):
    p = logits.softmax(-1).gather(-1, ids[..., None])[..., 0]
    return float(-torch.log2(p)[chosen].mean())


@pytest.mark.parametrize("answer", [by_indexing, by_labels, by_log2])
def test_right_scores(check, capsys, answer):
    assert run(check, "my_repaired", answer, capsys)[0] == "ok"


def everything(logits, ids, chosen):
    return F.cross_entropy(logits.flatten(0, 1), ids.flatten()).item()


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda *a: everything(*a) * math.log(2), "both bugs"),
        (lambda *a: everything(*a) / math.log(2), "could see"),
        (lambda *a: by_indexing(*a) * math.log(2), "in nats"),
        (lambda *a: by_indexing(*a) * math.log(2) ** 2, "divide by ln 2"),
        (lambda x, i, c: by_indexing(x, i, c) * c.sum().item() / c.numel(), "number of all bases"),
        (lambda x, i, c: by_indexing(x, i, c) * c.sum().item(), "the sum"),
        (lambda x, i, c: by_indexing(x, i, ~c), "not `~chosen`"),
        (lambda *a: 1.0, "bits per masked base"),
        (lambda *a: print(end=""), "returned None"),
    ],
)
def test_wrong_scores(check, capsys, answer, hint):
    status, text = run(check, "my_repaired", answer, capsys)
    assert status == "hint" and hint in text, text


# --- the written answer, the quiz, the stubs ----------------------------------------------------------------


def test_a_written_answer_shows_its_rubric(check, capsys):
    status, text = run(check, "interpretation", "word " * 30, capsys)
    assert status == "ok" and "(1)" in text and "copying" in text
    assert run(check, "interpretation", "too short", capsys)[0] == "hint"


def test_the_quiz_is_complete(check, capsys):
    check.questions("quiz")
    printed = capsys.readouterr().out
    assert printed.count("?") >= 4
    right = "".join("abcde"[question.answer] for question in check._questions.parts["quiz"])
    assert run(check, "quiz", right, capsys)[0] == "ok"
    assert len({*right}) > 1
    assert run(check, "quiz", "a" * len(right), capsys)[0] == "hint"


def test_stubs(check, capsys):
    for name in check.results:
        assert run(check, name, ..., capsys)[0] == "not attempted yet"
