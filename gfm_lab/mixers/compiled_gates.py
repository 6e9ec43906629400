"""Hyena's short filter and gates as compiled loops for the CPU, forward and backward; numpy arrays in and out.

    s = short filter of u (3 taps);   q = s[inner gate] * s[value];   y = s[outer gate] * (long convolution of q)

In torch each of these is a pass over memory of its own, and the long convolution wants time innermost where everything
else has channels innermost. Here a tile of some time steps goes through all of it while it is in the cache, and is
turned on the way. The FFTs between are torch's. `hyena.py` calls this where numba is installed.

Layouts: u (rows, L, 3, D) with outer gate, inner gate and value; weight (3 taps, 3, D), bias (3, D); signals of the
convolution (rows, D, L). Introduced in notebook 04.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .compiled import FAST, WORTH_THREADS, _jit, _run

__all__ = ["enter", "enter_backward", "leave", "leave_backward"]

TILE = 32  # time steps that are worked on at once


@_jit(fastmath=FAST)
def _smooth(u, weight, bias, r, t, part, out):
    """out (D,): the short filter of one part of u at time t."""
    channels = out.shape[0]
    for d in range(channels):
        out[d] = bias[part, d] + weight[2, part, d] * u[r, t, part, d]
    if t >= 1:
        for d in range(channels):
            out[d] += weight[1, part, d] * u[r, t - 1, part, d]
    if t >= 2:
        for d in range(channels):
            out[d] += weight[0, part, d] * u[r, t - 2, part, d]


@_jit(fastmath=FAST)
def _enter(u, weight, bias, q, r, first, stop):
    channels = u.shape[3]
    tile = np.empty((TILE, channels), u.dtype)
    gate = np.empty(channels, u.dtype)
    for start in range(first, stop, TILE):
        steps = min(TILE, stop - start)
        for i in range(steps):
            _smooth(u, weight, bias, r, start + i, 1, gate)
            _smooth(u, weight, bias, r, start + i, 2, tile[i])
            for d in range(channels):
                tile[i, d] *= gate[d]
        for d in range(channels):
            row = q[r, d, start : start + steps]
            for i in range(steps):
                row[i] = tile[i, d]


@_jit(fastmath=FAST)
def _leave(u, weight, bias, y, kept, out, r, first, stop):
    channels = u.shape[3]
    tile = np.empty((TILE, channels), u.dtype)
    gate = np.empty(channels, u.dtype)
    for start in range(first, stop, TILE):
        steps = min(TILE, stop - start)
        for d in range(channels):
            row = y[r, d, start : start + steps]
            for i in range(steps):
                tile[i, d] = row[i]
        for i in range(steps):
            t = start + i
            _smooth(u, weight, bias, r, t, 0, gate)
            for d in range(channels):
                kept[r, t, d] = tile[i, d]
            for d in range(channels):
                out[r, t, d] = gate[d] * tile[i, d]


@_jit(fastmath=FAST)
def _leave_backward(u, weight, bias, grad, back, r, first, stop):
    length, channels = u.shape[1], u.shape[3]
    tile = np.empty((TILE, channels), u.dtype)
    gate = np.empty(channels, u.dtype)
    for start in range(first, stop, TILE):
        steps = min(TILE, stop - start)
        for i in range(steps):
            _smooth(u, weight, bias, r, start + i, 0, gate)
            for d in range(channels):
                tile[i, d] = gate[d] * grad[r, start + i, d]
        for d in range(channels):
            row = back[r, d, length - start - steps : length - start]
            for i in range(steps):
                row[steps - 1 - i] = tile[i, d]


@_jit(fastmath=FAST)
def _enter_backward(u, weight, bias, kept, grad, back, gu, gweight, gbias, r, first, stop):
    length, channels = u.shape[1], u.shape[3]
    gs = np.empty((TILE + 2, 3, channels), u.dtype)  # gradients of the smoothed parts
    tile = np.empty((TILE + 2, channels), u.dtype)
    gate, value = np.empty(channels, u.dtype), np.empty(channels, u.dtype)
    zero = u.dtype.type(0)
    for start in range(first, stop, TILE):
        steps = min(TILE, stop - start)
        seen = min(steps + 2, length - start)  # the filter passes gradients on from two steps behind the tile
        for d in range(channels):
            row = back[r, d, length - start - seen : length - start]
            for i in range(seen):
                tile[i, d] = row[seen - 1 - i]
        for i in range(seen):
            t = start + i
            _smooth(u, weight, bias, r, t, 1, gate)
            _smooth(u, weight, bias, r, t, 2, value)
            for d in range(channels):  # few arrays in each loop: the compiler has to tell them apart
                gs[i, 0, d] = grad[r, t, d] * kept[r, t, d]
            for d in range(channels):
                gs[i, 1, d] = tile[i, d] * value[d]
            for d in range(channels):
                gs[i, 2, d] = tile[i, d] * gate[d]
        for i in range(seen, steps + 2):
            for part in range(3):
                for d in range(channels):
                    gs[i, part, d] = zero
        for part in range(3):
            for i in range(steps):
                t = start + i
                for d in range(channels):
                    gu[r, t, part, d] = (
                        weight[2, part, d] * gs[i, part, d]
                        + weight[1, part, d] * gs[i + 1, part, d]
                        + weight[0, part, d] * gs[i + 2, part, d]
                    )
                for d in range(channels):
                    gbias[part, d] += gs[i, part, d]
                for d in range(channels):
                    gweight[2, part, d] += gs[i, part, d] * u[r, t, part, d]
                if t >= 1:
                    for d in range(channels):
                        gweight[1, part, d] += gs[i, part, d] * u[r, t - 1, part, d]
                if t >= 2:
                    for d in range(channels):
                        gweight[0, part, d] += gs[i, part, d] * u[r, t - 2, part, d]


# ---- What is called ----


def _each(u: np.ndarray, threads: int, work: Callable[[int, int, int, int], None]) -> None:
    """work(worker, row, first step, step after the last) for all rows; steps are shared out among the workers."""
    rows, length = u.shape[:2]
    workers = workers_for(u, threads)
    cuts = [length * i // workers for i in range(workers + 1)]
    _run(lambda i: [work(i, r, cuts[i], cuts[i + 1]) for r in range(rows)], workers)


def workers_for(u: np.ndarray, threads: int) -> int:
    """How many threads are worth it."""
    return min(max(1, threads), -(-u.shape[1] // TILE)) if u.size >= WORTH_THREADS else 1


def enter(u: np.ndarray, weight: np.ndarray, bias: np.ndarray, threads: int = 1) -> np.ndarray:
    """q (rows, D, L): what the long convolution reads, the smoothed value times the smoothed inner gate."""
    rows, length, _, channels = u.shape
    q = np.empty((rows, channels, length), u.dtype)
    _each(u, threads, lambda i, *share: _enter(u, weight, bias, q, *share))
    return q


def leave(
    u: np.ndarray, weight: np.ndarray, bias: np.ndarray, y: np.ndarray, keep: bool, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """y (rows, D, L), the convolution's result, under the outer gate, (rows, L, D); and, to keep, y itself."""
    rows, length, _, channels = u.shape
    out = np.empty((rows, length, channels), u.dtype)
    kept = (
        np.empty_like(out) if keep else out
    )  # what is kept is written first, so that out may take its place
    _each(u, threads, lambda i, *share: _leave(u, weight, bias, y, kept, out, *share))
    return out, kept


def leave_backward(
    u: np.ndarray, weight: np.ndarray, bias: np.ndarray, grad: np.ndarray, threads: int = 1
) -> np.ndarray:
    """Gradient of y from that of `leave`'s result (rows, L, D), the last time step first: (rows, D, L)."""
    rows, length, _, channels = u.shape
    back = np.empty((rows, channels, length), u.dtype)
    _each(u, threads, lambda i, *share: _leave_backward(u, weight, bias, grad, back, *share))
    return back


def enter_backward(
    u: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    kept: np.ndarray,
    grad: np.ndarray,
    back: np.ndarray,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of u, weight and bias. kept: of `leave`. back: the gradient of q, the last time step first."""
    gu, workers = np.empty_like(u), workers_for(u, threads)
    gweight, gbias = (np.zeros((workers, *like.shape), u.dtype) for like in (weight, bias))
    _each(
        u,
        threads,
        lambda i, *share: _enter_backward(
            u, weight, bias, kept, grad, back, gu, gweight[i], gbias[i], *share
        ),
    )
    return gu, gweight.sum(0), gbias.sum(0)
