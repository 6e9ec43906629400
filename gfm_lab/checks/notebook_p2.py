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


def _bits(logits: Tensor, target: Tensor) -> float:
    return float(F.cross_entropy(logits.double(), target)) / math.log(2)


@exercise_p2
def bits(answer: Any) -> str:
    """`answer(logits, target) -> bits`: the mean surprise in bits; logits (N, classes), target (N,)."""
    generator = torch.Generator().manual_seed(1)
    cases = [(5, 4, 1.0), (4, 4, 2.0), (1, 4, 1.0), (300, 4, 3.0), (6, 7, 1.0), (50, 4, 400.0)]
    for count, classes, size in cases:
        logits = size * torch.randn(count, classes, generator=generator)
        target = torch.randint(classes, (count,), generator=generator)
        kept = logits.clone()
        value = _number(answer(logits, target.clone()), "the mean surprise")
        if not torch.equal(logits, kept):
            raise Hint("your function changed the logits it was given: write x = x - y instead of x -= y")
        right = _bits(kept, target)
        if math.isclose(value, right, rel_tol=1e-4, abs_tol=1e-5):
            continue
        raise Hint(f"for {count} rows of {classes} logits{_size(size)}, {_why(value, kept, target, right)}")
    return f"{len(cases)} cases, among them a single row, seven classes, and logits up to about a thousand"


def _size(size: float) -> str:
    return " of several hundred" if size > 100 else ""


def _why(value: float, logits: Tensor, target: Tensor, right: float) -> str:
    if not math.isfinite(value):
        return (
            f"you got {value}: exp of a large logit is infinite, and log of a vanished probability too. Subtract each "
            "row's largest logit, and take the logarithm of the sum before any division"
        )
    rows = torch.arange(len(target))
    same: Callable[[float], bool] = lambda other: math.isclose(value, other, rel_tol=1e-4, abs_tol=1e-5)  # noqa: E731
    if same(right * math.log(2)):
        return "that is the mean in nats, from the natural logarithm: divide by ln 2"
    if same(right * math.log(2) ** 2):
        return "nats become bits by dividing by ln 2; you multiplied"
    if same(-right) or same(-right * math.log(2)):
        return "the sign is wrong: surprise is minus the logarithm of a probability, so never negative"
    if same(right * len(target)) or same(right * len(target) * math.log(2)):
        return "that is the sum over the rows: take the mean"
    if same(float(-logits.double().log_softmax(0)[rows, target].mean()) / math.log(2)):
        return "your softmax runs over the wrong axis: each row, dim=1, should sum to 1"
    if same(float(-logits.double().log_softmax(1).mean()) / math.log(2)):
        return "you averaged over all classes: only the probability of the target counts"
    if same(_bits(logits.softmax(1), target)):
        return "a softmax was taken twice: F.cross_entropy expects logits, and does its own"
    return f"the mean of -log2(p) is {right:.4f} bits, you returned {value:.4f}"


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


def _reference(*, softmax: bool = False, clear: bool = True) -> Callable[..., float]:
    def step(model: nn.Module, optimizer: torch.optim.Optimizer, context: Tensor, target: Tensor) -> float:
        logits = model(context)
        loss = F.cross_entropy(logits.softmax(-1) if softmax else logits, target)
        if clear:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


@exercise_p2
def step(answer: Any) -> str:
    """`answer(model, optimizer, context, target) -> loss`: one training step, with the weights changed in place."""
    steps = 4
    got, weights = _train(answer, steps)
    losses = [_number(loss, "the loss") for loss in got]
    expected, right = _train(_reference(), steps)

    def close(a: Tensor, b: Tensor) -> bool:
        return torch.allclose(a, b, rtol=1e-4, atol=1e-6)

    if torch.equal(weights, _Table().table.weight):
        raise Hint(
            "after four steps no weight has moved: clear the gradients before backward(), and call optimizer.step() "
            "after it"
        )
    if close(weights, right):
        if not torch.allclose(torch.tensor(losses), torch.tensor(expected), rtol=1e-4):
            if torch.allclose(torch.tensor(losses) * math.log(2), torch.tensor(expected), rtol=1e-4):
                raise Hint("the weights are right; the exercise asks for the loss in nats, you returned bits")
            raise Hint(
                f"the weights are right; the loss of step 1 should be {expected[0]:.4f}, the one before the "
                f"weights move, you returned {losses[0]:.4f}"
            )
        return f"{steps} steps on {steps} batches: the same losses and the same weights as a correct loop"
    both = _train(_reference(softmax=True, clear=False), steps)[1]
    if close(weights, both):
        raise Hint("nothing has changed yet: both mistakes are still there")
    if close(weights, _train(_reference(clear=False), steps)[1]):
        raise Hint(
            "one mistake found: the loss is right. But the gradient of each step still holds those of the steps before"
        )
    if close(weights, _train(_reference(softmax=True), steps)[1]):
        raise Hint(
            "one mistake found: gradients are cleared. But the loss of a sure and right model is not yet 0: "
            "how many times is a softmax taken?"
        )
    raise Hint("after four steps the weights are not those of a correct loop: compare with `train` above")


@exercise_p2
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "1.78 is the training curve; on bases it was not trained on the same model ends above 2 bits, worse than "
        "guessing",
        "why: about 12 training bases for each of 4,096 contexts, so the table remembers them",
        "keep the step where the validation curve is lowest, near step 400",
        "report test bits of that model, measured once, beside 2 bits and a table counted on the same bases",
    )
