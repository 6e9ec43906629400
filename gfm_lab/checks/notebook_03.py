"""The exercises of notebook 03, attention."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gfm_lab.checks import Hint, exercise, need, written

exercise_03 = exercise("03_attention")

CLOSE = 1e-5


def _same(got: Any, expected: Tensor) -> bool:
    """True for a tensor (or what can become one) of the same shape and values within 1e-5 of the largest."""
    got = torch.as_tensor(got)
    return got.shape == expected.shape and torch.allclose(got.to(expected), expected, rtol=CLOSE, atol=CLOSE)


def _tensor(got: Any, shape: tuple[int, ...], what: str) -> Tensor:
    need(got, Tensor, what)
    if tuple(got.shape) != shape:
        raise Hint(f"{what} should have the shape {shape}, not {tuple(got.shape)}")
    if torch.isnan(got).any():
        raise Hint(f"{what} holds NaN: a softmax over nothing but -inf gives that, and so does inf - inf")
    return got


def _softmax(scores: Tensor) -> Tensor:
    return scores.softmax(-1)


@exercise_03
def attention(answer: Any) -> str:
    """`answer(q, k, v) -> (output, weights)`: scaled dot-product attention; q (L, d), k and v (S, d)."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(4, 4, 2), (5, 3, 8), (1, 6, 4), (7, 7, 7), (3, 9, 1), (6, 1, 16)]
    for queries, keys, width in shapes:
        q, k, v = (3 * torch.randn(n, width, generator=generator) for n in (queries, keys, keys))
        got = answer(q.clone(), k.clone(), v.clone())
        if got is None:
            raise Hint("your function returned None; return two things: the output and the weights")
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Hint("return two things: the output and the weights")
        case = f"with {queries} queries, {keys} keys and width {width}"
        expected = _softmax(q @ k.T / math.sqrt(width))
        if isinstance(got[0], Tensor) and _same(got[0], expected):
            raise Hint("the output comes first, the weights second")
        weights = _tensor(got[1], (queries, keys), f"{case}, the weights")
        if not _same(weights, expected):
            raise Hint(_what_is_wrong(weights, q, k, case))
        output = _tensor(got[0], (queries, width), f"{case}, the output")
        if not _same(output, expected @ v):
            raise Hint(
                f"{case}, the weights are right; the output should be their weighted sum of the values"
            )
    return f"{len(shapes)} shapes, among them one query, one key, and more keys than queries"


def _what_is_wrong(weights: Tensor, q: Tensor, k: Tensor, case: str) -> str:
    width, dots = q.shape[-1], q @ k.T
    if _same(weights, dots / math.sqrt(width)):
        return "these are the scaled scores; the softmax is missing"
    if _same(weights, _softmax(dots)):
        return f"{case}, the scores were not divided by the square root of {width}"
    if _same(weights, _softmax(dots / width)):
        return f"{case}, you divided by {width}: divide by its square root"
    if _same(weights, _softmax(dots * math.sqrt(width))):
        return "you multiplied by the square root: divide"
    if _same(weights, (dots / math.sqrt(width)).softmax(0)):
        return (
            f"{case}, the columns of your weights sum to 1: a query shares itself out over the keys, "
            "so each row should. Which axis does the softmax run along?"
        )
    if not _same(weights.sum(-1), torch.ones(len(weights))):
        return f"{case}, the rows of your weights do not sum to 1"
    return f"{case}, the weights differ from softmax(q @ k.T / sqrt({width})) by up to " + (
        f"{(weights - _softmax(dots / math.sqrt(width))).abs().max():.3g}"
    )


@exercise_03
def causal_weights(answer: Any) -> str:
    """`answer(scores) -> weights`: the softmax of row i over the columns 0 to i, zero elsewhere; (L, L)."""
    generator = torch.Generator().manual_seed(2)
    sizes = (1, 2, 3, 5, 8, 13)
    for size in sizes:
        scores = 2 * torch.randn(size, size, generator=generator)
        kept = scores.clone()
        got = answer(scores)
        need(got, Tensor, "the result")
        if not torch.equal(scores, kept):
            raise Hint(
                "your function changed the scores it was given: masked_fill, without the last _, copies"
            )
        if got.shape == kept.shape and torch.isnan(got[0]).any():
            raise Hint("row 0 is NaN: a position must see at least itself, so the diagonal stays visible")
        weights = _tensor(got, (size, size), f"for {size} positions, the result")
        expected = torch.zeros_like(kept)
        for i in range(size):
            expected[i, : i + 1] = kept[i, : i + 1].softmax(-1)
        if _same(weights, expected):
            continue
        future = weights.triu(1)
        if _same(weights, kept.softmax(-1).tril()):
            raise Hint(
                f"for {size} positions, row 0 sums to {weights[0].sum():.2f}: you hid the future after the softmax, "
                "which had already given it its share. Hide it before"
            )
        if _same(weights, kept.tril().softmax(-1)):
            raise Hint(
                "a score of 0 is not 'hidden': exp(0) is 1, and the future still gets weight. Which score has exp = 0?"
            )
        if size > 1 and float(weights.tril(-1).abs().max()) < CLOSE < float(future.abs().max()):
            raise Hint(
                "the wrong half: position i may see the columns j <= i, so the upper triangle is what to hide"
            )
        if float(future.abs().max()) > CLOSE:
            i, j = divmod(int(future.abs().argmax()), size)
            raise Hint(f"position {i} gives position {j}, its future, a weight of {weights[i, j]:.3f}")
        if not _same(weights.sum(-1), torch.ones(size)):
            raise Hint("no weight on the future, but the rows do not sum to 1")
        raise Hint(
            f"for {size} positions, row {size - 1} should be {_row(expected[-1])}, not {_row(weights[-1])}"
        )
    return "1 to 13 positions: rows sum to 1, nothing looks ahead, the past keeps its proportions"


def _row(values: Tensor) -> str:
    shown = ", ".join(f"{float(value):.2f}" for value in values[:5])
    return f"[{shown}{', ...' if len(values) > 5 else ''}]"


@exercise_03
def repaired(answer: Any) -> str:
    """`answer(q, k, v, mask) -> output`: attention that ignores the keys where mask is 0; one sequence."""
    generator = torch.Generator().manual_seed(3)
    cases = [(6, 3, 4), (9, 8, 8), (5, 1, 3), (12, 12, 4)]
    for length, real, width in cases:
        q, k, v = (2 * torch.randn(length, width, generator=generator) for _ in range(3))
        mask = (torch.randperm(length, generator=generator) < real).long()
        got = _tensor(answer(q.clone(), k.clone(), v.clone(), mask.clone()), (length, width), "the output")
        scores, visible = q @ k.T / math.sqrt(width), mask.bool()
        hidden = scores.masked_fill(~visible, -math.inf)
        rows = visible  # what stands at padding itself does not matter
        if torch.allclose(got[rows], (hidden.softmax(-1) @ v)[rows], rtol=CLOSE, atol=CLOSE):
            continue
        case = f"{real} real tokens of {length}"
        wrong = {
            "nothing has changed yet: both bugs are still there": scores.softmax(0) * mask @ v,
            "one bug found: each row now is a proper softmax. The other: what did padding get from it, "
            "before the mask took it away?": scores.softmax(-1) * mask @ v,
            "one bug found: padding is hidden before the softmax. The other: along which axis should the "
            "weights sum to 1?": scores.masked_fill(~visible, -1e9).softmax(0) @ v,
            "a score of 0 still gets a weight, because exp(0) = 1: hide with -inf": (scores * mask).softmax(
                -1
            )
            @ v,
            "the padding is not hidden at all": scores.softmax(-1) @ v,
        }
        for hint, output in wrong.items():
            if torch.allclose(got, output, rtol=CLOSE, atol=CLOSE):
                raise Hint(f"{case}: {hint}")
        query = scores.masked_fill(~visible[:, None], torch.finfo(scores.dtype).min).softmax(-1) @ v
        if torch.allclose(got[rows], query[rows], rtol=CLOSE, atol=CLOSE):
            raise Hint(f"{case}: you hid the rows (who asks); hide the columns (who is looked at)")
        raise Hint(f"{case}: the output differs from attention over the real tokens alone")
    return f"{len(cases)} masks: padded or not, a real token gets the same output"


@exercise_03
def interpretation(answer: Any) -> str:
    """A written answer, with its rubric."""
    return written(
        answer,
        "the map shows where one layer's vectors were mixed, not what the output depended on",
        "one picked sequence, head and layer is an anecdote: all test sequences, and a model with random "
        "weights beside it",
        "an intervention is asked for: change the bright bases, and as many others, and compare the "
        "predictions",
        "even a bright spot that matters shows what the model uses, not what the cell uses",
    )


@exercise_03
def online_step(answer: Any) -> str:
    """`answer(largest, total, result, scores, values) -> (largest, total, result)`: one tile of one row."""
    generator = torch.Generator().manual_seed(4)
    cases = [(12, 4, 3, 1.0), (10, 3, 1, 3.0), (6, 6, 2, 1.0), (5, 1, 4, 2.0), (9, 2, 2, 200.0)]
    for count, tile, width, size in cases:
        scores = size * torch.randn(count, generator=generator)
        values = torch.randn(count, width, generator=generator)
        largest, total, result = torch.tensor(-math.inf), torch.tensor(0.0), torch.zeros(width)
        for start in range(0, count, tile):
            stop = min(start + tile, count)
            before = (largest, total.clone(), result.clone())
            got = answer(
                largest.clone(), total.clone(), result.clone(), scores[start:stop], values[start:stop]
            )
            if got is None:
                raise Hint("your function returned None; return the new largest, total and result")
            if not isinstance(got, (tuple, list)) or len(got) != 3:
                raise Hint("return three things: the new largest, total and result")
            seen = scores[:stop]
            right = (seen.max(), (seen - seen.max()).exp().sum(), (seen - seen.max()).exp() @ values[:stop])
            case = f"tile {start // tile + 1} of {-(-count // tile)}"
            if not all(_same(g, r) for g, r in zip(got, right, strict=True)):
                raise Hint(_which_step(got, right, before, scores[start:stop], values[start:stop], case))
            largest, total, result = (torch.as_tensor(g) for g in got)
        if not _same(result / total, scores.softmax(0) @ values):
            raise Hint(
                "the steps are right one by one, but result / total is not the attention of the whole row"
            )
    return f"{len(cases)} rows in tiles of 1 to 6, with scores up to several hundred: equal to the softmax of the row"


def _which_step(
    got: Any, right: tuple[Tensor, ...], before: tuple[Tensor, ...], scores: Tensor, values: Tensor, case: str
) -> str:
    _, total, result = before
    if any(torch.isnan(torch.as_tensor(g)).any() for g in got):
        return f"{case}: there is NaN in it. Subtract the largest score before exp, in every term"
    if not _same(got[0], right[0]):
        if _same(got[0], scores.max()):
            return (
                f"{case}: the largest of this tile, but a larger one came before: keep the larger of the two"
            )
        return f"{case}: largest should be {float(right[0]):.3f}, the largest score seen so far"
    new = torch.exp(scores - right[0])
    if not _same(got[1], right[1]):
        if _same(got[1], total + new.sum()):
            return (
                f"{case}: the old total was summed under the old maximum: "
                "multiply it by exp(old largest - new largest)"
            )
        if _same(got[1], new.sum()):
            return f"{case}: the total of the earlier tiles is lost: add to it"
        return f"{case}: total should be {float(right[1]):.4f}, you returned {float(torch.as_tensor(got[1])):.4f}"
    if torch.as_tensor(got[2]).shape == right[2].shape and _same(got[2], right[2] / right[1]):
        return f"{case}: do not divide by the total yet; that is done once, after the last tile"
    if _same(got[2], result + new @ values):
        return f"{case}: the total is rescaled, the result is not: both were summed under the old maximum"
    return f"{case}: result should be the sum of exp(score - largest) x value over all scores seen so far"


@exercise_03
def prediction(answer: Any) -> str:
    """(time, memory) when L doubles: of naive, tiled and windowed attention, six factors."""
    if (
        isinstance(answer, (tuple, list))
        and len(answer) == 3
        and all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in answer)
    ):
        answer = [value for pair in answer for value in pair]
    if not isinstance(answer, (tuple, list)) or len(answer) != 6:
        raise Hint(
            "give six numbers: (naive time, naive memory, tiled time, tiled memory, window time, window memory)"
        )
    right = (4, 4, 4, 2, 2, 2)
    why = (
        "naive, time: how many query-key pairs are there at length L, and at 2 L?",
        "naive, memory: it keeps one weight for each pair",
        "tiled, time: it visits every pair too, tile by tile; only where the scores live is different",
        "tiled, memory: between tiles it keeps the output and two numbers for each query, and no pairs",
        "window, time: each query meets 2 r + 1 keys, whatever L is",
        "window, memory: each query keeps 2 r + 1 weights, whatever L is",
    )
    for given, expected, hint in zip(answer, right, why, strict=True):
        if given != expected:
            raise Hint(hint)
    return (
        "full attention quadruples, tiling saves the memory but not the work, the window doubles; now measure"
    )
