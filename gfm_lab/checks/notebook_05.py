"""The exercises of notebook 05, state spaces and Mamba."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gfm_lab.checks import Hint, exercise, need, written

exercise_05 = exercise("05_state_spaces_and_mamba")

CLOSE = 1e-5


def _same(got: Any, expected: Tensor) -> bool:
    """True for a tensor (or what can become one) of the same shape and values, within 1e-5 of the largest."""
    got = torch.as_tensor(got, dtype=expected.dtype)
    if got.shape != expected.shape:
        return False
    scale = max(1.0, float(expected.abs().max()))
    return bool(((got - expected).abs() <= CLOSE * scale).all())


@exercise_05
def combine(answer: Any) -> str:
    """`answer(first, second) -> (a, b)`: the step h -> a h + b that does `first`, then `second`."""
    generator = torch.Generator().manual_seed(5)
    shapes = [(), (3,), (4, 2), (1, 5, 2)]
    for shape in shapes:
        first, second, third = (
            tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
            for _ in range(3)
        )
        got = _pair(answer(_copy(first), _copy(second)))
        right = (second[0] * first[0], second[0] * first[1] + second[1])
        if not all(_same(g, r) for g, r in zip(got, right, strict=True)):
            raise Hint(_which_combination(got, first, second))
        bracketed = _pair(answer(_pair(answer(_copy(first), _copy(second))), _copy(third)))
        other = _pair(answer(_copy(first), _pair(answer(_copy(second), _copy(third)))))
        if not all(_same(g, torch.as_tensor(o)) for g, o in zip(bracketed, other, strict=True)):
            raise Hint("(1, 2), 3 and 1, (2, 3) differ: combining must not depend on the brackets")
    h = 2.0
    for a, b in ((0.5, 1.0), (0.0, 3.0), (-1.0, 0.25)):
        h = a * h + b
    a, b = _pair(answer(_pair(answer((0.5, 1.0), (0.0, 3.0))), (-1.0, 0.25)))
    if not math.isclose(float(a) * 2.0 + float(b), h, abs_tol=1e-9):
        raise Hint("with plain numbers, and an a of zero among them, the three steps do not give the same h")
    return f"numbers and tensors of {len(shapes)} shapes; brackets do not matter, and the order of the steps does"


def _copy(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return pair[0].clone(), pair[1].clone()


def _pair(got: Any) -> tuple[Any, Any]:
    if got is None:
        raise Hint("your function returned None; return a pair (a, b)")
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Hint("return two things, a and b: the step that does both")
    return got[0], got[1]


def _which_combination(
    got: tuple[Any, Any], first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> str:
    (a1, b1), (a2, b2) = first, second
    if not _same(got[0], a2 * a1):
        if _same(got[0], a1 + a2):
            return "a is the factor of h after both steps: h times a1, then times a2. Factors multiply"
        return "a should be what multiplies h after both steps"
    wrong = {
        "that is `second` followed by `first`: here `first` acts first, so its b passes through the second step": a1
        * b2
        + b1,
        "b1 was there before the second step, which multiplies everything it finds by a2": b1 + b2,
        "the second step's own b2 is missing: a2 (a1 h + b1) + b2": a2 * b1,
        "b1 enters after a1 has acted: only a2 multiplies it": a2 * a1 * b1 + b2,
    }
    for hint, value in wrong.items():
        if _same(got[1], value):
            return hint
    return "a is right; b should be what is left of both steps when h is 0"


@exercise_05
def repaired_scan(answer: Any) -> str:
    """`answer(u, delta, A_log, B, C, mask) -> (y, h)`: one sequence; padding leaves the state unmoved."""
    generator = torch.Generator().manual_seed(6)
    masks = {
        "padding behind": [1, 1, 1, 1, 0, 0, 0],  # first: only here both mistakes show
        "no padding": [1] * 7,
        "padding in front": [0, 0, 1, 1, 1],
        "padding on both sides": [0, 1, 1, 0],
        "one token": [1],
    }
    for name, mask in masks.items():
        u, delta, A_log, B, C = _system(len(mask), 3, 4, generator)
        keep = torch.tensor(mask)
        got = answer(u.clone(), delta.clone(), A_log.clone(), B.clone(), C.clone(), keep.clone())
        if got is None:
            raise Hint("your function returned None; return y and the last state")
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Hint("return two things: y (L, D) and the last state (D, N)")
        y, h = got
        need(y, Tensor, "y")
        need(h, Tensor, "the last state")
        if y.shape == A_log.shape and h.shape == u.shape and y.shape != h.shape:
            raise Hint("y comes first, the last state second")
        for what, value, shape in (("y", y, u.shape), ("the last state", h, A_log.shape)):
            if value.shape != shape:
                raise Hint(f"{name}: {what} should have the shape {tuple(shape)}, not {tuple(value.shape)}")
        tokens = keep.bool()
        right_y, right_h = _scan(u, delta * keep[:, None], -A_log.exp(), B, C)
        if _same(y[tokens], right_y[tokens]) and _same(h, right_h):
            continue
        raise Hint(
            f"{name}: {_which_scan(y[tokens], h, (u, delta, A_log, B, C), keep, right_y[tokens], right_h)}"
        )
    return f"{len(masks)} masks: the state fades, and neither padding nor its place moves it"


def _system(length: int, dim: int, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    u, raw = torch.randn(2, length, dim, generator=generator)
    A_log = torch.randn(dim, size, generator=generator) / 2
    B, C = torch.randn(2, length, size, generator=generator)
    return u, torch.nn.functional.softplus(raw), A_log, B, C


def _scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    h, y = torch.zeros_like(A), []
    for t in range(len(u)):
        h = torch.exp(delta[t, :, None] * A) * h + (delta[t] * u[t])[:, None] * B[t]
        y.append((h * C[t]).sum(-1))
    return torch.stack(y), h


def _which_scan(
    y: Tensor, h: Tensor, system: tuple[Tensor, ...], mask: Tensor, right_y: Tensor, right_h: Tensor
) -> str:
    u, delta, A_log, B, C = system
    m, tokens = mask[:, None], mask.bool()
    if torch.isnan(h).any() or torch.isinf(h).any():
        return "the state is not finite. Does it fade, or grow?"
    growing, fading = torch.exp(A_log), -torch.exp(A_log)
    tries = {
        "nothing has changed yet: both bugs are still there": (u * m, delta, growing, B, C),
        "one bug found: the padding no longer moves the state. The other: with delta > 0, is exp(delta A) below 1?": (
            u,
            delta * m,
            growing,
            B,
            C,
        ),
        "one bug found: the state fades now. The other: at padding it still does, because delta is not zero there": (
            u * m,
            delta,
            fading,
            B,
            C,
        ),
        "the padding's input enters the state: the mask is not used": (u, delta, fading, B, C),
        "A is the negative exponential of A_log, not its negative": (u, delta * m, -A_log, B, C),
        "A_log is a logarithm: take its exponential": (u, delta * m, A_log, B, C),
    }
    for hint, inputs in tries.items():
        wrong_y, wrong_h = _scan(*inputs)
        if _same(y, wrong_y[tokens]) and _same(h, wrong_h):
            return hint
    if _same(y, right_y):
        return "y is right at the tokens, the last state is not: padding behind them has moved it"
    if _same(h, right_h):
        return "the last state is right, y is not: at step t it is the sum over n of h[:, n] C[t, n]"
    return "y and the last state differ from those of the tokens alone"


@exercise_05
def prediction(answer: Any) -> str:
    """Four factors when L doubles: backward by index, backward by unbind, attention's cache, Mamba's state."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 4:
        raise Hint(
            "give four numbers: (loop over a[:, t], loop over unbind, attention's cache, Mamba's state)"
        )
    why = (
        "a[:, t]: its backward writes a gradient of the size of all of a, mostly zeros, at each of L steps",
        "unbind: the L pieces of the gradient are put together once, at the end",
        "the cache holds a key and a value for every token read",
        "how many numbers are in h, and does L occur among them?",
    )
    for given, expected, hint in zip(answer, (4, 2, 2, 1), why, strict=True):
        if given != expected:
            raise Hint(hint)
    return "quadratic, linear, linear, constant; now measure"


@exercise_05
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "a control is missing: ATG elsewhere (out of frame, inside genes, on DNA without genes) or shuffled "
        "positions, with a test",
        "delta is made from the last few bases, so the same word gives nearly the same delta anywhere: compare "
        "within the same word",
        "one gene, one layer and one channel of many is an anecdote, and picking the best of many needs a "
        "correction; all test genes, a random-weights twin",
        "a large delta says that the state is rewritten there, not that the model uses it or knows genes: change "
        "the base, or clamp delta, and see whether the predictions suffer",
    )
