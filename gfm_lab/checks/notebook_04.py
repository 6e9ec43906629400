"""The exercises of notebook 04, convolution and Hyena."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gfm_lab.checks import Hint, exercise, need, written

exercise_04 = exercise("04_convolution_and_hyena")

CLOSE = 1e-5
SIZES = [(8, 3), (5, 5), (1, 1), (12, 1), (6, 9), (9, 8), (31, 31), (50, 7)]  # samples, taps


@exercise_04
def prediction(answer: Any) -> str:
    """Four factors when L doubles: direct sum, FFT, parameters of an explicit filter, of an implicit one."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 4:
        raise Hint(
            "give four numbers: (time of the direct sum, time by FFT, explicit parameters, implicit ones)"
        )
    why = (
        "the direct sum: L outputs, and each adds up to L products. How many is that at 2 L?",
        "the FFT: about L log L steps; the logarithm hardly moves, so what is left?",
        "an explicit filter stores one number for each place it reaches, and it is as long as the sequence",
        "an implicit filter stores a network from a place to a tap: does the network know how many places there are?",
    )
    for given, low, high, hint in zip(answer, (4, 2, 2, 1), (4, 2.5, 2, 1), why, strict=True):
        if not isinstance(given, (int, float)) or not low <= given <= high:
            raise Hint(hint)
    return "4, about 2, 2 and 1; the table further down measures the first two"


def direct(u: Tensor, k: Tensor) -> Tensor:
    """y[t] = sum over s <= t of k[s] u[t - s], from the definition."""
    y = torch.zeros_like(u)
    for t in range(len(u)):
        for s in range(min(t + 1, len(k))):
            y[t] += k[s] * u[t - s]
    return y


def _same(got: Tensor, expected: Tensor) -> bool:
    return got.shape == expected.shape and torch.allclose(got.to(expected), expected, rtol=CLOSE, atol=CLOSE)


def _vector(got: Any, length: int, case: str) -> Tensor:
    if isinstance(got, (list, tuple)):
        got = torch.tensor([float(value) for value in got])
    need(got, Tensor, "the result")
    if torch.is_complex(got):
        raise Hint("the result is complex: rfft goes with irfft, which returns real numbers")
    if got.ndim != 1:
        raise Hint(f"{case}, the result should have the shape ({length},), not {tuple(got.shape)}")
    return got


def _try(answer: Callable[[Tensor, Tensor], Any], u: Tensor, k: Tensor) -> Any:
    """The answer's result; the inputs must stay what they were."""
    given_u, given_k = u.clone(), k.clone()
    got = answer(given_u, given_k)
    if not torch.equal(given_u, u) or not torch.equal(given_k, k):
        raise Hint("your function changed its inputs: work on copies")
    return got


@exercise_04
def causal_convolution(answer: Any) -> str:
    """`answer(u, k) -> y`: the causal convolution by its definition; u (L,), k (K,), y (L,)."""
    generator = torch.Generator().manual_seed(1)
    for length, taps in SIZES:
        u, k = (torch.randn(n, generator=generator) for n in (length, taps))
        case = f"with {length} samples and {taps} taps"
        expected = direct(u, k)
        got = _vector(_try(answer, u, k), length, case)
        if _same(got, expected):
            continue
        full = direct(F.pad(u, (0, taps - 1)), k)
        if len(got) == length + taps - 1 and _same(got, full):
            raise Hint(
                f"{case}, you returned all {len(got)} sums: one output for each sample, so the first {length}"
            )
        if len(got) != length:
            raise Hint(
                f"{case}, the result has {len(got)} values: it should have one for each sample, {length}"
            )
        if _same(got, direct(u, k.flip(0))):
            raise Hint(
                f"{case}, the filter is turned round: k[0] belongs to the sample at t itself, k[1] to the one before"
            )
        if _same(got, direct(u.flip(0), k).flip(0)):
            raise Hint(
                f"{case}, you looked ahead: y[t] sums k[s] u[t - s], so further taps meet earlier samples"
            )
        if _same(got, full[taps // 2 : taps // 2 + length]) or _same(got, full[taps - 1 :]):
            raise Hint(f"{case}, y[0] knows samples after it: the filter ends at t, it is not centred there")
        if _same(got, _circular(u, k)):
            raise Hint(f"{case}, u[t - s] with a negative index counts from the end: stop at s = t")
        if length > 1 and _same(got[1:], expected[1:]):
            raise Hint(f"{case}, y[0] should be k[0] u[0] = {expected[0]:.3f}, you returned {got[0]:.3f}")
        raise Hint(
            f"{case}, the largest difference from the definition is {(got - expected).abs().max():.3g}"
        )
    return f"{len(SIZES)} sizes, among them one tap, one sample, and more taps than samples"


def _circular(u: Tensor, k: Tensor) -> Tensor:
    """What an FFT of length L makes of u and k: the end wraps around to the start."""
    wrapped = torch.zeros_like(u)
    for s in range(len(k)):
        wrapped += k[s] * u.roll(s)
    return wrapped


@exercise_04
def fft_repaired(answer: Any) -> str:
    """`answer(u, k) -> y`: the causal convolution by FFT, without the wrap-around; u (L,), k (K,), y (L,)."""
    generator = torch.Generator().manual_seed(2)
    for length, taps in SIZES:
        u, k = (torch.randn(n, generator=generator) for n in (length, taps))
        case = f"with {length} samples and {taps} taps"
        got, expected = _vector(_try(answer, u, k), length, case), direct(u, k)
        if _same(got, expected):
            continue
        if _same(got, _circular(u, k[:length])) or _same(got, _circular(u, k)):
            raise Hint(
                f"{case}, the end of the result still lands on its start: both FFTs need more room, n = ?"
            )
        full = direct(F.pad(u, (0, taps - 1)), k)
        if len(got) >= length + taps - 1 and _same(got[: len(full)], full):
            raise Hint(f"{case}, right so far, and {len(got)} values long: keep the first {length}")
        if len(got) == length and _same(got, F.pad(full, (0, len(full)))[-length - len(full) :][:length]):
            raise Hint(f"{case}, you cut at the wrong end: the first {length} values are the causal ones")
        if len(got) != length:
            raise Hint(f"{case}, the result has {len(got)} values, not {length}. Pass n to irfft as well")
        if _same(got[taps:], expected[taps:]) and length > taps:
            raise Hint(
                f"{case}, only the first places are wrong: something still wraps around. Is n large enough?"
            )
        if length > 1 and _same(got, full[-length:]):
            raise Hint(f"{case}, you cut at the wrong end: the first {length} values are the causal ones")
        raise Hint(
            f"{case}, the largest difference is {(got - expected).abs().max():.3g}; a full result has "
            f"{length + taps - 1} values, and n must be at least that"
        )
    return f"{len(SIZES)} sizes: equal to the direct sum, nothing wraps around"


# ---- A property test, tested ----


def _padded_fft(k: Tensor) -> Callable[[Tensor], Tensor]:
    def layer(u: Tensor) -> Tensor:
        n = len(u) + len(k)
        return torch.fft.irfft(torch.fft.rfft(u, n=n) * torch.fft.rfft(k, n=n), n=n)[: len(u)]

    return layer


def _reads_ahead_at(place: int, from_place: int, size: float = 1.0) -> Callable[[Tensor], Tensor]:
    def layer(u: Tensor) -> Tensor:
        y = u.cumsum(0)
        y[place] = y[place] + size * u[from_place]
        return y

    return layer


def _gated_leak(u: Tensor) -> Tensor:
    return u + 0.5 * u * u.roll(-1) * (torch.arange(len(u)) < len(u) - 1)


def _layers(length: int) -> list[tuple[str, bool, Callable[[Tensor], Tensor]]]:
    """What the learner's test has to judge: a description, whether it is causal, the layer."""
    k = torch.randn(length, dtype=torch.double, generator=torch.Generator().manual_seed(3))
    middle = length // 2
    return [
        ("the identity", True, lambda u: u.clone()),
        ("a running sum", True, lambda u: u.cumsum(0)),
        ("an FFT convolution with room for its end", True, _padded_fft(k)),
        ("the same with large values", True, lambda u: 1e3 * _padded_fft(k)(u)),
        ("a gated running sum", True, lambda u: u.sin() * (u * u).cumsum(0)),
        ("a shift by one into the past", True, lambda u: F.pad(u, (1, 0))[: len(u)]),
        ("a layer that always answers 0", True, torch.zeros_like),
        ("a running sum from the other end", False, lambda u: u.flip(0).cumsum(0).flip(0)),
        ("a shift by one into the future", False, lambda u: F.pad(u, (0, 1))[1:]),
        ("the mean of all positions added to each", False, lambda u: u + u.mean()),
        ("an FFT convolution that wraps around", False, lambda u: _circular(u, k)),
        ("a layer whose position 0 alone sees the last one", False, _reads_ahead_at(0, length - 1)),
        ("a layer whose last position but one sees the last", False, _reads_ahead_at(length - 2, length - 1)),
        ("a layer in whose middle one position sees the next", False, _reads_ahead_at(middle, middle + 1)),
        ("a layer with a leak a thousandth of its signal", False, _reads_ahead_at(middle, length - 1, 1e-3)),
        ("a layer that multiplies each value by the next one", False, _gated_leak),
    ]


@exercise_04
def causality_test(answer: Any) -> str:
    """`answer(layer, length) -> bool`: does no output of `layer`, (L,) to (L,) in float64, depend on later inputs?"""
    count = 0
    for length in (6, 17):
        for what, causal, layer in _layers(length):
            torch.manual_seed(count)
            verdict = answer(layer, length)
            if verdict is None:
                raise Hint("your function returned None; return True or False")
            if isinstance(verdict, Tensor) and verdict.numel() == 1:
                verdict = verdict.item()
            if verdict not in (True, False):
                raise Hint(f"return True or False, not {type(verdict).__name__}")
            if bool(verdict) != causal:
                raise Hint(_judged(what, length, causal))
            count += 1
    return f"{count} layers judged rightly, among them leaks at a single place and the noise of an FFT"


def _judged(what: str, length: int, causal: bool) -> str:
    if not causal:
        hints = {
            "multiplies": "on zeros or ones a product hides: start from random values",
            "thousandth": "your tolerance is too wide: FFT noise in float64 is near 1e-14",
            "alone": "change the last input too, and compare all outputs before it",
            "last position but one": "change the last input alone, and look at the output just before it",
            "one position sees": "try a cut at every place, not one",
        }
        more = next(
            (text for key, text in hints.items() if key in what), "change the future, compare the past"
        )
        return f"{what} (length {length}) passed your test, and it does look ahead: {more}"
    if "FFT" in what or "large" in what:
        return (
            f"{what} (length {length}) is causal and failed: an FFT leaves rounding noise everywhere. Allow for it, "
            f"with torch.allclose or in proportion to the outputs"
        )
    return (
        f"{what} (length {length}) is causal, and your test says that it is not: an output may depend on the inputs "
        f"up to its own position, that one included"
    )


@exercise_04
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "one million is what the model can see; nothing shows what it uses",
        "an intervention is asked for: change or shuffle the distant bases, and see by how much the predictions move",
        "the control is the same model with less context, trained alike, and a baseline on the same region",
        "a gain in bits can come from repeats and composition nearby; enhancers need labelled enhancers and an "
        "honest split",
    )
