"""Checks of primer p2: correct answers pass in any style, usual mistakes get their hint, nothing raises."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gfm_lab import checks
from gfm_lab.checks import quiz

NAME = "p2_pytorch_for_biologists"
SOURCE = Path(__file__).resolve().parent.parent / "notebooks" / "source" / f"{NAME}.py"
SHAPES = [(4,), (4,), (64, 4), "error", (5, 20, 4)]


@pytest.fixture
def check():
    return checks.start(NAME)


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- right answers, written in different ways -----------------------------------------------------------------------


def bits_by_hand(logits, target):
    logits = logits - logits.max(dim=1, keepdim=True).values
    log_p = logits - logits.exp().sum(dim=1, keepdim=True).log()
    return -log_p[torch.arange(len(target)), target].mean() / math.log(2)


def bits_by_loops(logits, target):
    total = 0.0
    for row, right in zip(logits.tolist(), target.tolist(), strict=True):
        largest = max(row)
        total += largest + math.log(sum(math.exp(x - largest) for x in row)) - row[right]
    return total / len(target) / math.log(2)


def bits_in_numpy(logits, target):
    x = logits.double().numpy()
    p = np.logaddexp.reduce(x, axis=1) - x[np.arange(len(x)), target.numpy()]
    return p.mean() / np.log(2)


def bits_by_log_softmax(logits, target):
    return F.nll_loss(logits.log_softmax(-1), target)[None] / math.log(2)


def step_plain(model, optimizer, context, target):
    loss = F.cross_entropy(model(context), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def step_cleared_at_the_end(model, optimizer, context, target):
    loss = F.nll_loss(model(context).log_softmax(-1), target)
    loss.backward()
    optimizer.step()
    model.zero_grad()
    return loss


def step_cleared_by_hand(model, optimizer, context, target):
    for parameter in model.parameters():
        parameter.grad = None
    logits = model(context)
    loss = (logits.logsumexp(1) - logits[torch.arange(len(target)), target]).mean()
    loss.backward()
    optimizer.step()
    return np.float32(loss.item())


RIGHT = [
    ("shapes", SHAPES),
    ("shapes", (4, torch.Size([4]), [64, 4], " Error", (5, 20, 4))),
    ("bits", bits_by_hand),
    ("bits", bits_by_loops),
    ("bits", bits_in_numpy),
    ("bits", bits_by_log_softmax),
    ("step", step_plain),
    ("step", step_cleared_at_the_end),
    ("step", step_cleared_by_hand),
    ("interpretation", "word " * 30),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_every_correct_answer_passes(check, capsys, name, answer):
    status, text = run(check, name, answer, capsys)
    assert status == checks.OK, text
    assert text.startswith("[ok]")


# --- usual mistakes -------------------------------------------------------------------------------------------------


def picked(log_p, target):
    return log_p[torch.arange(len(target)), target]


def overflows(logits, target):
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -picked(p.log2(), target).mean()


def in_nats(logits, target):
    return F.cross_entropy(logits, target)


def multiplied(logits, target):
    return F.cross_entropy(logits, target) * math.log(2)


def negative(logits, target):
    return -bits_by_hand(logits, target)


def summed(logits, target):
    return bits_by_hand(logits, target) * len(target)


def wrong_axis(logits, target):
    return -picked(logits.log_softmax(0), target).mean() / math.log(2)


def all_classes(logits, target):
    return -logits.log_softmax(1).mean() / math.log(2)


def twice(logits, target):
    return F.cross_entropy(logits.softmax(1), target) / math.log(2)


def per_row(logits, target):
    return -picked(logits.log_softmax(1), target) / math.log(2)


def in_place(logits, target):
    logits -= logits.max(dim=1, keepdim=True).values
    return bits_by_hand(logits, target)


def step_with(softmax=False, clear=True, move=True, log2=False, late=False):
    def step(model, optimizer, context, target):
        logits = model(context)
        loss = F.cross_entropy(logits.softmax(-1) if softmax else logits, target)
        if clear and not late:
            optimizer.zero_grad()
        loss.backward()
        if late:
            optimizer.zero_grad()
        if move:
            optimizer.step()
        return loss.item() / (math.log(2) if log2 else 1)

    return step


def after_the_step(model, optimizer, context, target):
    step_plain(model, optimizer, context, target)
    return F.cross_entropy(model(context), target).item()


def uphill(model, optimizer, context, target):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(context), target)
    (-loss).backward()
    optimizer.step()
    return loss.item()


def with_shape(number, shape):
    return [shape if i == number else right for i, right in enumerate(SHAPES, start=1)]


WRONG = [
    ("shapes", with_shape(1, (1, 4)), "result 1"),
    ("shapes", with_shape(2, (64,)), "dim=0 is the axis of the 64 contexts"),
    ("shapes", with_shape(3, "error"), "the row is repeated 64 times"),
    ("shapes", with_shape(4, (64, 4)), "4 meets 64"),
    ("shapes", with_shape(5, (5, 20)), "the row's axis comes last"),
    ("shapes", with_shape(5, ...), "still open"),
    ("shapes", with_shape(5, 2.0), "tuple of whole numbers"),
    ("shapes", SHAPES[:4], "a list of five"),
    ("bits", overflows, "Subtract each row's largest"),
    ("bits", in_nats, "in nats"),
    ("bits", multiplied, "you multiplied"),
    ("bits", negative, "the sign is wrong"),
    ("bits", summed, "take the mean"),
    ("bits", wrong_axis, "the wrong axis"),
    ("bits", all_classes, "only the probability of the target"),
    ("bits", twice, "taken twice"),
    ("bits", per_row, "not a tensor of the shape (5,)"),
    ("bits", in_place, "changed the logits"),
    ("bits", lambda logits, target: [].clear(), "a `return` missing"),
    ("bits", lambda logits, target: "two", "not a str"),
    ("bits", lambda logits, target: 2.0 + 0 * target[0], "you returned 2.0000"),
    ("step", step_with(softmax=True, clear=False), "both mistakes are still there"),
    ("step", step_with(clear=False), "still holds those of the steps before"),
    ("step", step_with(softmax=True), "how many times is a softmax taken"),
    ("step", step_with(move=False), "no weight has moved"),
    ("step", step_with(late=True), "no weight has moved"),
    ("step", step_with(log2=True), "you returned bits"),
    ("step", after_the_step, "the one before the weights move"),
    ("step", uphill, "not those of a correct loop"),
    ("step", lambda *_: [].clear(), "a `return` missing"),
    ("interpretation", "It overfits.", "2 words so far"),
]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_usual_mistakes_get_their_hint(check, capsys, name, answer, hint):
    status, text = run(check, name, answer, capsys)
    assert status == checks.HINT, text
    assert text.startswith("[hint]") and hint in text


def test_a_crash_in_the_answer_is_a_hint(check, capsys):
    status, text = run(check, "bits", lambda logits, target: logits @ target, capsys)
    assert status == checks.HINT and "your code raised RuntimeError" in text


# --- the questions, against the facts they ask for --------------------------------------------------------------------


def right_choice(part, number):
    question = quiz.load(NAME).parts[part][number - 1]
    return question.choices[question.answer].text


def test_numbers_in_the_questions_are_right():
    x = torch.zeros(8, 100, 64)
    assert right_choice("placement", 1) == str(tuple(x.mean(dim=1).shape))
    assert right_choice("placement", 2).startswith(str(tuple((torch.zeros(32, 4) - torch.zeros(4)).shape)))
    softmax = torch.tensor([2.0, 0, 0, 0]).softmax(0)
    assert right_choice("placement", 3) == ", ".join(f"{p:.2f}" for p in softmax)
    assert right_choice("placement", 4) == f"{-math.log2(1 / 4):.0f} bits per base"
    assert right_choice("quiz", 2) == f"{-(math.log2(1 / 2) + math.log2(1 / 8)) / 2:.0f} bits"


def test_sections_of_the_placement_quiz_are_headings_of_the_notebook():
    headings = re.findall(r"^# #{2,} (.+)$", SOURCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {question.section for question in quiz.load(NAME).parts["placement"]} <= set(headings)
