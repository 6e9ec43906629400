"""Checks of notebook 00: correct answers pass in any style, usual mistakes get their hint, nothing raises."""

import math

import numpy as np
import pytest
import torch

from gfm_lab import checks
from gfm_lab.checks import quiz

NAME = "00_anatomy"
SHAPES = [(1, 88, 128), (1, 88, 128), (1, 88, 10)]


@pytest.fixture
def check():
    return checks.start(NAME)


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- right answers, written in different ways -----------------------------------------------------------------------


def information_by_where(p):
    return 2 + (p * np.log2(np.where(p > 0, p, 1))).sum(axis=1)


def information_by_nan_sum(p):
    return 2 + np.nansum(p * np.log2(p), axis=-1)


def information_by_loops(p):
    return [2 + sum(x * math.log2(x) for x in row if x > 0) for row in p]


def information_in_torch(p):
    return 2 - torch.special.entr(torch.from_numpy(p)).sum(-1) / math.log(2)


def hidden_logits(model, tokenizer, sequence, i, hide=True):
    ids = torch.tensor([tokenizer(sequence)["input_ids"]])
    if hide:
        ids[0, i] = tokenizer.mask_token_id
    return model(input_ids=ids).logits[0, i]


def tokens(tokenizer, sequence, i, base):
    return tokenizer.convert_tokens_to_ids([sequence[i], base])


def score_by_logits(model, tokenizer, sequence, i, base):
    logits = hidden_logits(model, tokenizer, sequence, i)
    old, new = tokens(tokenizer, sequence, i, base)
    return (logits[new] - logits[old]).item() / math.log(2)


def score_over_all_tokens(model, tokenizer, sequence, i, base):
    p = hidden_logits(model, tokenizer, sequence, i).softmax(-1)
    old, new = tokens(tokenizer, sequence, i, base)
    return torch.log2(p[new]) - torch.log2(p[old])


def score_over_four_bases(model, tokenizer, sequence, i, base):
    p = hidden_logits(model, tokenizer, sequence, i)[5:9].softmax(-1).numpy()
    return np.log2(p["ACGT".index(base)] / p["ACGT".index(sequence[i])])


def score_by_positional_call(model, tokenizer, sequence, i, base):
    ids = tokenizer(sequence)["input_ids"]
    ids[i] = 4
    log_p = model(torch.tensor([ids])).logits.log_softmax(-1)[0, i]
    old, new = tokens(tokenizer, sequence, i, base)
    return float(log_p[new] - log_p[old]) / math.log(2)


RIGHT = [
    ("shapes", SHAPES),
    ("shapes", tuple(torch.Size(shape) for shape in SHAPES)),
    ("shapes", [[1, 88, 128], [1, 88, 128], [1, 88, 10]]),
    ("information", information_by_where),
    ("information", information_by_nan_sum),
    ("information", information_by_loops),
    ("information", information_in_torch),
    ("score", score_by_logits),
    ("score", score_over_all_tokens),
    ("score", score_over_four_bases),
    ("score", score_by_positional_call),
    ("interpretation", "word " * 30),
    ("quiz", "acbba"),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_every_correct_answer_passes(check, capsys, name, answer):
    status, text = run(check, name, answer, capsys)
    assert status == checks.OK, text
    assert text.startswith("[ok]")


# --- usual mistakes -------------------------------------------------------------------------------------------------


def with_shape(number, shape):
    return [shape if i == number else right for i, right in enumerate(SHAPES, start=1)]


def nan_at_zero(p):
    return 2 + (p * np.log2(p)).sum(axis=-1)


def in_nats(p):
    return information_by_where(p) * math.log(2)


def entropy_alone(p):
    return 2 - information_by_where(p)


def wrong_sign(p):
    return 4 - information_by_where(p)


def over_positions(p):
    return 2 + (p * np.log2(np.where(p > 0, p, 1))).sum(axis=0)


def one_number(p):
    return information_by_where(p).mean()


def one_row_each(p):
    return information_by_where(p)[:, None]


def in_place(p):
    p[p == 0] = 1e-9
    return information_by_where(p)


def half(p):
    return information_by_where(p) / 2


def scored(hide=True, sign=1, nats=False, ratio=False, token=None, everything=False):
    """A scoring function with one mistake."""

    def score(model, tokenizer, sequence, i, base):
        old, new = tokens(tokenizer, sequence, i, base)
        ids = torch.tensor([tokenizer(sequence)["input_ids"]])
        if hide:
            ids[0, slice(None) if everything else i] = {None: 4, "new": new}.get(token, token)
        logits = model(input_ids=ids).logits[0, i]
        value = sign * (logits[new] - logits[old]).item() / math.log(2)
        return 2**value if ratio else value * (math.log(2) if nats else 1)

    return score


WRONG = [
    ("shapes", with_shape(1, (88, 128)), "the first axis is 1"),
    ("shapes", with_shape(1, (1, 128, 88)), "positions come before channels"),
    ("shapes", with_shape(1, (1, 88, 10)), "before it, a position has a vector"),
    ("shapes", with_shape(2, (1, 128)), "Every position keeps its own"),
    ("shapes", with_shape(2, (6, 88, 128)), "the shape is (1, 88, 128)"),
    ("shapes", with_shape(3, (1, 88, 4)), "more tokens than A, C, G and T"),
    ("shapes", with_shape(3, (1, 88, 128)), "turns each vector into scores"),
    ("shapes", with_shape(3, ...), "still open"),
    ("shapes", with_shape(3, "10"), "tuple of whole numbers"),
    ("shapes", SHAPES[:2], "three shapes"),
    ("information", nan_at_zero, "you get nan"),
    ("information", in_nats, "natural logarithm"),
    ("information", entropy_alone, "that is the entropy"),
    ("information", wrong_sign, "mind the sign"),
    ("information", over_positions, "over the four bases, the last axis"),
    ("information", one_number, "a single number"),
    ("information", one_row_each, "the shape (7,), not (7, 1)"),
    ("information", in_place, "changed the probabilities"),
    ("information", half, "bits of information, you return"),
    ("information", lambda p: None if len(p) else 0, "a `return` missing"),
    ("information", lambda p: "two" * len(p), "not a str"),
    ("score", scored(hide=False), "still visible"),
    ("score", scored(token=0), "token 0 is [PAD]"),
    ("score", scored(token="new"), "you put the new base in"),
    ("score", scored(sign=-1), "new minus old"),
    ("score", scored(nats=True), "in nats"),
    ("score", scored(ratio=True), "the ratio itself"),
    ("score", scored(everything=True), "hid the whole sequence"),
    ("score", lambda *args: 99.0 + len(args), "you return +104.00"),
    ("score", lambda *args: [].clear(), "a `return` missing"),
    ("score", lambda *args: [len(args)], "not a list"),
    ("interpretation", "It has not.", "3 words so far"),
    ("quiz", "acbbc", "4 of 5 right"),
]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_usual_mistakes_get_their_hint(check, capsys, name, answer, hint):
    status, text = run(check, name, answer, capsys)
    assert status == checks.HINT, text
    assert text.startswith("[hint]") and hint in text


def test_the_notebooks_bug_is_told_apart_from_its_repair(check, capsys):
    """The broken function of the exercise, character by character the repaired one but for the hidden base."""
    _, text = run(check, "score", scored(hide=False), capsys)
    assert "Hide it first" in text
    assert run(check, "score", scored(), capsys)[0] == checks.OK


def test_a_crash_in_the_answer_is_a_hint(check, capsys):
    status, text = run(check, "score", lambda model, tokenizer, sequence, i, base: sequence[i + 1000], capsys)
    assert status == checks.HINT and "your code raised IndexError" in text


def test_the_quiz_is_about_this_notebooks_model():
    """Facts that the questions state, against the model they are about."""
    text = " ".join(c.why + c.text for q in quiz.load(NAME).parts["quiz"] for c in q.choices)
    assert "ten numbers in place of 128" in text
    from gfm_lab import NucleotideTokenizer

    assert len(NucleotideTokenizer()) == 10
