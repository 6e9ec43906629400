"""The exercises of primer p2, PyTorch for biologists."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfm_lab.checks import Hint, exercise, written

exercise_p2 = exercise("p2_pytorch_for_biologists")


@exercise_p2
def shapes(answer: Any) -> str:
    """Five shapes of results, each a tuple of whole numbers or "error"."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 5:
        raise Hint('give a list of five: a tuple such as (64, 4) for each shape, or "error"')
    right = ((4,), (4,), (64, 4), "error", (5, 20, 4))
    why = (
        "one index into an axis removes that axis: what is left of (64, 4)?",
        "dim=0 is the axis of the 64 contexts; the sum runs over it and removes it",
        "(64, 4) / (4,): aligned from the right, 4 meets 4, and the row is repeated 64 times",
        "(64, 4) / (64,): aligned from the right, 4 meets 64, and neither is 1",
        "every number in ids picks a row of four: the shape of ids stays, and the row's axis comes last",
    )
    for number, (given, expected, hint) in enumerate(zip(answer, right, why, strict=True), start=1):
        if _shape(given, number) != expected:
            raise Hint(f"result {number}: {hint}")
    return (
        "note the third: it runs, but it divides by how often each *base* occurs. A wrong axis is only sometimes "
        "an error, so keepdim=True is worth its letters"
    )


def _shape(given: Any, number: int) -> tuple[int, ...] | str:
    if given is Ellipsis:
        raise Hint(f"result {number} is still open")
    if isinstance(given, str):
        return given.strip().lower()
    if type(given) is int:  # (4) in place of (4,): Python's trap, not the learner's
        return (given,)
    if isinstance(given, (tuple, list)) and all(type(size) is int for size in given):
        return tuple(given)
    raise Hint(f'result {number}: a shape is a tuple of whole numbers, such as (64, 4), or "error"')


def _number(got: Any, what: str) -> float:
    if got is None:
        raise Hint("your function returned None; is a `return` missing?")
    try:
        got = got.detach() if isinstance(got, Tensor) else got
        size = got.numel() if isinstance(got, Tensor) else 1
        if size != 1:
            raise Hint(f"return one number, {what}, not a tensor of the shape {tuple(got.shape)}")
        return float(got)
    except (TypeError, ValueError):
        raise Hint(f"return one number, {what}, not a {type(got).__name__}") from None


class _Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(16, 4)
        with torch.no_grad():
            self.table.weight.copy_(torch.linspace(-1, 1, 64).sin().mul(2).view(16, 4))

    def forward(self, context: Tensor) -> Tensor:
        return self.table(context)


def _train(step: Callable[..., Any], steps: int) -> tuple[list[Any], Tensor]:
    """The losses and the final weights of a few steps of plain gradient descent."""
    model, generator = _Table(), torch.Generator().manual_seed(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(steps):
        context = torch.randint(16, (24,), generator=generator)
        target = torch.randint(4, (24,), generator=generator)
        losses.append(step(model, optimizer, context, target))
    return losses, model.table.weight.detach()


def _reference(scale: float, *, softmax: bool = False, clear: bool = True) -> Callable[..., float]:
    """A training step with none, one or both of the mistakes that spoil the weights; it returns bits."""

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, context: Tensor, target: Tensor) -> float:
        logits = model(context)
        loss = F.cross_entropy(logits.softmax(-1) if softmax else logits, target)
        if clear:
            optimizer.zero_grad()
        (loss * scale).backward()
        optimizer.step()
        return loss.item() / math.log(2)

    return step


@exercise_p2
def step(answer: Any) -> str:
    """`answer(model, optimizer, context, target) -> bits`: one training step, with the weights changed in place."""
    steps = 4
    got, weights = _train(answer, steps)
    losses = [_number(loss, "the loss") for loss in got]
    if torch.equal(weights, _Table().table.weight):
        raise Hint(
            "after four steps no weight has moved: clear the gradients before backward(), and call optimizer.step() "
            "after it"
        )

    def same_as(**mistakes: bool) -> list[float] | None:
        """The losses of a reference that ends at the answer's weights, if there is one."""
        for scale in (1.0, 1 / math.log(2)):  # backward() from nats or from bits: both are right
            expected, end = _train(_reference(scale, **mistakes), steps)
            if torch.allclose(weights, end, rtol=1e-4, atol=1e-6):
                return expected
        return None

    if expected := same_as():
        return f"{steps} steps on {steps} batches: {_loss(losses, expected)}"
    if same_as(softmax=True, clear=False):
        raise Hint(
            "the weights still go where the broken step sends them: look at what F.cross_entropy is given, and at "
            "what stands in .grad before backward()"
        )
    if same_as(clear=False):
        raise Hint(
            "one softmax too many is gone. But each step's gradient still holds those of the steps before"
        )
    if same_as(softmax=True):
        raise Hint(
            "gradients are cleared now. But how many times is a softmax taken? F.cross_entropy takes one itself"
        )
    raise Hint("after four steps the weights are not those of a correct loop: compare with `train` above")


def _loss(losses: list[float], expected: list[float]) -> str:
    """The weights are right: are the returned losses the bits before each step?"""
    ratio = torch.tensor(losses) / torch.tensor(expected)

    def all_are(value: float) -> bool:
        return bool(torch.allclose(ratio, torch.tensor(value), rtol=1e-4))

    if all_are(1.0):
        return "the same bits and the same weights as a correct loop"
    if all_are(math.log(2)):
        raise Hint("the weights are right; the loss is in nats still: divide it by ln 2 to get bits")
    if all_are(math.log(2) ** 2):
        raise Hint("the weights are right; but nats become bits by dividing by ln 2, and you multiplied")
    raise Hint(
        f"the weights are right; the loss of step 1 should be {expected[0]:.4f} bits, the one before the weights "
        f"move, you returned {losses[0]:.4f}"
    )


@exercise_p2
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "1.74 is the training curve; on bases it was not trained on the same model ends above 2 bits, worse than "
        "guessing",
        "why: about 12 training bases for each of 4,096 contexts, so the model remembers them",
        "keep the step where the validation curve is lowest, near step 60",
        "report test bits of that model, measured once, beside 2 bits and a counted table",
    )
