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
TO_BITS = 1 / math.log(2)
SHAPES = [(4,), (4,), (64, 4), "error", (5, 20, 4)]


@pytest.fixture
def check():
    return checks.start(NAME)


def run(check, name, answer, capsys):
    getattr(check, name)(answer)
    return check.results[name], capsys.readouterr().out


# --- right answers, written in different ways -----------------------------------------------------------------------


def step_plain(model, optimizer, context, target):
    loss = F.cross_entropy(model(context), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item() / math.log(2)


def step_cleared_at_the_end(model, optimizer, context, target):
    loss = F.nll_loss(model(context).log_softmax(-1), target)
    loss.backward()
    optimizer.step()
    model.zero_grad()
    return loss / math.log(2)


def step_cleared_by_hand(model, optimizer, context, target):
    for parameter in model.parameters():
        parameter.grad = None
    log_p = model(context).log_softmax(-1)
    surprise = -log_p[torch.arange(len(target)), target].mean()
    surprise.backward()
    optimizer.step()
    return np.log2(np.e) * surprise.detach().numpy()


def step_in_bits_throughout(model, optimizer, context, target):
    loss = F.cross_entropy(model(context), target) / math.log(2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def step_on_probabilities(model, optimizer, context, target):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(context).softmax(-1).log(), target)  # their logarithms are logits
    loss.backward()
    optimizer.step()
    return loss.detach()[None] / math.log(2)


RIGHT = [
    ("shapes", SHAPES),
    ("shapes", [[4], 4, (64, 4), " Error", torch.Size([5, 20, 4])]),
    ("step", step_plain),
    ("step", step_cleared_at_the_end),
    ("step", step_cleared_by_hand),
    ("step", step_in_bits_throughout),
    ("step", step_on_probabilities),
    ("interpretation", "word " * 30),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_every_correct_answer_passes(check, capsys, name, answer):
    status, text = run(check, name, answer, capsys)
    assert status == checks.OK, text
    assert text.startswith("[ok]")


# --- usual mistakes -------------------------------------------------------------------------------------------------


def step_with(softmax=False, clear=True, move=True, unit=TO_BITS, late=False, scale=1.0):
    def step(model, optimizer, context, target):
        logits = model(context)
        loss = F.cross_entropy(logits.softmax(-1) if softmax else logits, target)
        if clear and not late:
            optimizer.zero_grad()
        (scale * loss).backward()
        if late:
            optimizer.zero_grad()
        if move:
            optimizer.step()
        return loss.item() * unit

    return step


def after_the_step(model, optimizer, context, target):
    step_plain(model, optimizer, context, target)
    return F.cross_entropy(model(context), target).item() / math.log(2)


def uphill(model, optimizer, context, target):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(context), target)
    (-loss).backward()
    optimizer.step()
    return loss.item() / math.log(2)


def per_row(model, optimizer, context, target):
    step_plain(model, optimizer, context, target)
    return F.cross_entropy(model(context), target, reduction="none") / math.log(2)


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
    ("step", step_with(softmax=True, clear=False, unit=1), "where the broken step sends them"),
    ("step", step_with(softmax=True, clear=False), "where the broken step sends them"),
    ("step", step_with(softmax=True, clear=False, scale=TO_BITS), "where the broken step sends them"),
    ("step", step_with(clear=False), "still holds those of the steps before"),
    ("step", step_with(clear=False, scale=TO_BITS), "still holds those of the steps before"),
    ("step", step_with(softmax=True), "how many times is a softmax taken"),
    ("step", step_with(move=False), "no weight has moved"),
    ("step", step_with(late=True), "no weight has moved"),
    ("step", step_with(unit=1), "in nats still"),
    ("step", step_with(unit=math.log(2)), "you multiplied"),
    ("step", after_the_step, "the one before the weights move"),
    ("step", uphill, "not those of a correct loop"),
    ("step", per_row, "not a tensor of the shape (24,)"),
    ("step", lambda *_: [].clear(), "a `return` missing"),
    ("step", lambda *_: "two", "not a str"),
    ("interpretation", "It overfits.", "2 words so far"),
]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_usual_mistakes_get_their_hint(check, capsys, name, answer, hint):
    status, text = run(check, name, answer, capsys)
    assert status == checks.HINT, text
    assert text.startswith("[hint]") and hint in text


def test_a_crash_in_the_answer_is_a_hint(check, capsys):
    status, text = run(check, "step", lambda model, optimizer, context, target: context @ model, capsys)
    assert status == checks.HINT and "your code raised TypeError" in text


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
