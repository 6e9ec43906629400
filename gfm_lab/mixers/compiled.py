"""The selective scan as compiled loops for the CPU, float32 or float64, forward and backward; numpy arrays in and out.

    h[t] = exp(delta[t] A) h[t-1] + delta[t] u[t] B[t],      y[t] = sum over n of h[t, n] C[t, n]

What makes it fast: channels lie innermost in memory, so that one instruction computes 8 or 16 of them; time is cut into
chunks of 64, whose numbers stay in the processor's cache while all N states pass over them; 2^x is a short polynomial;
and the backward keeps one state a chunk and computes the others again, as Mamba's CUDA kernel does (Gu and Dao 2023,
arXiv:2312.00752, section 3.3.2). `mamba.py` calls this where numba is installed; nothing else depends on it.

Needs numba. The first call compiles (some seconds); numba keeps the machine code beside this file, or in the user's
cache where this folder cannot be written. Introduced in notebook 05.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

__all__ = ["CHUNK", "convolve_backward", "convolve_forward", "scan_backward", "scan_forward"]

CHUNK = 64  # time steps that are worked on at once
CHANNELS = 256  # channels that are: with CHUNK, what fits a level-2 cache
WORTH_THREADS = 1 << 18  # below so many numbers u a thread costs more than it saves
LOG2_E, LN_2 = 1.4426950408889634, 0.6931471805599453

# Sums may be taken in another order, which vector instructions need. That no number is NaN may not be assumed.
FAST = {"reassoc", "contract", "nsz", "arcp"}


def _jit(**options: Any) -> Callable[[Callable], Callable]:
    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        except RuntimeError:  # no folder to keep the machine code in: compile in every process
            return numba.njit(nogil=True, error_model="numpy", **options)(function)

    return decorate


# ---- 2^x ----


@intrinsic
def _bits_as_float(typingctx, bits):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


# Chebyshev fit of 2^f over -1/2 <= f <= 1/2, relative error 2e-9. The first is 1, so that 2^0 is exactly 1.
C0, C1, C2, C3, C4, C5, C6 = (
    np.float32(c)
    for c in (1.0, 0.693147206, 0.240226466, 0.0555032899, 0.00961851956, 0.00133998651, 0.000153375811)
)
HALF, LOWEST, HIGHEST, ZERO = np.float32(0.5), np.float32(-126), np.float32(128), np.float32(0)


def _exp2(x):
    raise NotImplementedError("compiled code only")


@overload(_exp2)
def _exp2_of(x):
    """2^x to 1e-7 (float32); exactly 0 below -126, infinite from 127.5 on, NaN for NaN."""

    def polynomial(x):
        x = HIGHEST if x > HIGHEST else x
        whole = np.floor(x + HALF)
        f = x - whole
        fraction = C0 + f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * (C5 + f * C6)))))
        power = _bits_as_float((np.int32(whole) + np.int32(127)) << np.int32(23))
        return ZERO if x < LOWEST else fraction * power

    def library(x):
        return np.exp2(x)

    return polynomial if x == types.float32 else library


# ---- The loops: all rows and channels of what they are given, channels last. Indices count from a plain 0, so that the
#      compiler knows them not to be negative, without which it makes no vector instructions. ----


@_jit(fastmath=FAST)
def _forward(u, delta, A2, B, C, h, y, starts):
    """Fills y (rows, L, D) and starts (rows, chunks, N, D); h (rows, N, D) goes from the first state to the last."""
    rows, length, channels = u.shape
    x = np.empty((CHUNK, channels), u.dtype)
    for r in range(rows):
        for c in range(starts.shape[1]):
            first = c * CHUNK
            steps = min(CHUNK, length - first)
            for i in range(steps):
                t = first + i
                for d in range(channels):
                    x[i, d] = delta[r, t, d] * u[r, t, d]
                    y[r, t, d] = 0
            for n in range(A2.shape[0]):
                for d in range(channels):
                    starts[r, c, n, d] = h[r, n, d]
                for i in range(steps):
                    t = first + i
                    write, read = B[r, t, n], C[r, t, n]
                    for d in range(channels):
                        state = _exp2(delta[r, t, d] * A2[n, d]) * h[r, n, d] + x[i, d] * write
                        h[r, n, d] = state
                        y[r, t, d] += state * read


@_jit(fastmath=FAST)
def _backward(u, delta, A2, B, C, starts, gy, gh, gu, gdelta, gA, gB, gC):
    """Fills gu and gdelta (rows, L, D); adds to gA (N, D) and to gB and gC (rows, L, N); gh (rows, N, D) goes from the
    last state's gradient to the first state's."""
    rows, length, channels = u.shape
    x, gx = np.empty((CHUNK, channels), u.dtype), np.empty((CHUNK, channels), u.dtype)
    gdecay, kept = np.empty((CHUNK, channels), u.dtype), np.empty((CHUNK, channels), u.dtype)
    h = np.empty(channels, u.dtype)
    zero, ln2 = u.dtype.type(0), u.dtype.type(LN_2)  # a plain 0 would be summed to in float64
    for r in range(rows):
        for c in range(starts.shape[1] - 1, -1, -1):
            first = c * CHUNK
            steps = min(CHUNK, length - first)
            for i in range(steps):
                t = first + i
                for d in range(channels):
                    x[i, d] = delta[r, t, d] * u[r, t, d]
                    gx[i, d] = 0
                    gdecay[i, d] = 0
            for n in range(A2.shape[0]):
                # Forward again, from the state that was kept.
                for d in range(channels):
                    h[d] = starts[r, c, n, d]
                for i in range(steps):
                    t = first + i
                    write, total = B[r, t, n], zero
                    for d in range(channels):
                        left = _exp2(delta[r, t, d] * A2[n, d]) * h[d]
                        kept[i, d] = left
                        state = left + x[i, d] * write
                        h[d] = state
                        total += state * gy[r, t, d]
                    gC[r, t, n] += total
                # Backward: gh is the gradient of the state after step t, from all steps behind it.
                for i in range(steps - 1, -1, -1):
                    t = first + i
                    write, read, total = B[r, t, n], C[r, t, n], zero
                    for d in range(channels):
                        g = gh[r, n, d] + gy[r, t, d] * read
                        total += g * x[i, d]
                        gx[i, d] += g * write
                        through = g * kept[i, d]
                        gdecay[i, d] += through * A2[n, d]  # still in units of log2(e)
                        gA[n, d] += through * delta[r, t, d]
                        gh[r, n, d] = g * _exp2(delta[r, t, d] * A2[n, d])
                    gB[r, t, n] += total
            for i in range(steps):
                t = first + i
                for d in range(channels):
                    gu[r, t, d] = gx[i, d] * delta[r, t, d]
                    gdelta[r, t, d] = gx[i, d] * u[r, t, d] + gdecay[i, d] * ln2


@_jit(fastmath=FAST)
def _convolve(x, weight, bias, y):
    """Fills y (rows, L, D): silu of the convolution of x (rows, K - 1 + L, D) with weight (K, D)."""
    rows, length, channels = y.shape
    one, minus = x.dtype.type(1), x.dtype.type(-LOG2_E)
    for r in range(rows):
        for t in range(length):
            for d in range(channels):
                y[r, t, d] = bias[d]
            for k in range(weight.shape[0]):
                for d in range(channels):
                    y[r, t, d] += weight[k, d] * x[r, t + k, d]
            for d in range(channels):
                y[r, t, d] = y[r, t, d] / (one + _exp2(minus * y[r, t, d]))


@_jit(fastmath=FAST)
def _convolve_backward(x, weight, bias, gy, gx, gweight, gbias):
    """Adds to gx (rows, K - 1 + L, D), gweight (K, D) and gbias (D)."""
    rows, length, channels = gy.shape
    one, minus = x.dtype.type(1), x.dtype.type(-LOG2_E)
    g = np.empty(channels, x.dtype)
    for r in range(rows):
        for t in range(length):
            for d in range(channels):
                g[d] = bias[d]
            for k in range(weight.shape[0]):
                for d in range(channels):
                    g[d] += weight[k, d] * x[r, t + k, d]
            for d in range(channels):
                gate = one / (one + _exp2(minus * g[d]))
                g[d] = gy[r, t, d] * gate * (one + g[d] * (one - gate))
                gbias[d] += g[d]
            for k in range(weight.shape[0]):
                for d in range(channels):
                    gx[r, t + k, d] += weight[k, d] * g[d]
                    gweight[k, d] += x[r, t + k, d] * g[d]


# ---- What is called ----


def _share(rows: int, length: int, channels: int, threads: int) -> list[list[tuple[slice, slice]]]:
    """For each worker its blocks of rows and channels: rows are shared out, or channels where rows are few."""
    workers = max(1, threads) if rows * length * channels >= WORTH_THREADS else 1
    by_rows = workers if rows >= workers else 1
    by_channels = min(workers // by_rows, -(-channels // 32))
    pieces = by_channels * -(-channels // (CHANNELS * by_channels)) if channels > CHANNELS else by_channels
    cuts = [slice(rows * i // by_rows, rows * (i + 1) // by_rows) for i in range(by_rows)]
    blocks = [slice(channels * i // pieces, channels * (i + 1) // pieces) for i in range(pieces)]
    return [[(cut, block) for block in blocks[j::by_channels]] for cut in cuts for j in range(by_channels)]


def _run(work: Callable[[int], None], workers: int) -> None:
    """work(0), work(1), ... side by side: compiled code holds no lock."""
    if workers == 1:
        work(0)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))


def _whole(*arrays: np.ndarray) -> list[np.ndarray]:
    """Contiguous ones; those that are, themselves."""
    return [np.ascontiguousarray(array) for array in arrays]


def _room(view: np.ndarray) -> np.ndarray:
    """Where a loop may write what belongs into this view: there, if it is contiguous."""
    return view if view.flags.c_contiguous else np.empty(view.shape, view.dtype)


def _write(view: np.ndarray, part: np.ndarray) -> None:
    if part is not view:
        view[...] = part


def scan_forward(
    u: np.ndarray,
    delta: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    h: np.ndarray,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scan of arrays of one dtype, float32 or float64, with channels last.

    Args:
        u, delta: (rows, L, D). A: (N, D). B, C: (rows, L, N). h: the first state (rows, N, D).
        threads: workers, at most.

    Returns:
        y (rows, L, D), the last state (rows, N, D), and what the backward wants: the states at the chunks' starts.
    """
    rows, length, channels = u.shape
    y, last = np.empty(u.shape, u.dtype), np.empty(h.shape, u.dtype)
    starts = np.empty((rows, -(-length // CHUNK), *A.shape), u.dtype)
    A2 = A * u.dtype.type(LOG2_E)
    shares = _share(rows, length, channels, threads)

    def work(i: int) -> None:
        for r, d in shares[i]:
            inputs = _whole(u[r, :, d], delta[r, :, d], A2[:, d], B[r], C[r])
            views = y[r, :, d], starts[r, ..., d]
            state, parts = h[r, :, d].copy(), [_room(view) for view in views]
            _forward(*inputs, state, *parts)
            last[r, :, d] = state
            for view, part in zip(views, parts, strict=True):
                _write(view, part)

    _run(work, len(shares))
    return y, last, starts


def scan_backward(
    u: np.ndarray,
    delta: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    starts: np.ndarray,
    gy: np.ndarray,
    gh: np.ndarray,
    threads: int = 1,
) -> tuple[np.ndarray, ...]:
    """Gradients of u, delta, A, B, C and the first state, from those of y and of the last state; shapes as above."""
    rows, length, channels = u.shape
    shares = _share(rows, length, channels, threads)
    gu, gdelta, gfirst = (np.empty(like.shape, u.dtype) for like in (u, delta, gh))
    # Sums to which several workers add are kept apart until the end.
    gA = np.zeros((len(shares), *A.shape), u.dtype)
    gB, gC = (np.zeros((len(shares), *B.shape), u.dtype) for _ in "BC")
    A2 = A * u.dtype.type(LOG2_E)

    def work(i: int) -> None:
        for r, d in shares[i]:
            inputs = _whole(u[r, :, d], delta[r, :, d], A2[:, d], B[r], C[r])
            inputs += _whole(starts[r, ..., d], gy[r, :, d])
            state, a = gh[r, :, d].copy(), np.zeros_like(inputs[2])
            views = gu[r, :, d], gdelta[r, :, d]
            parts = [_room(view) for view in views]
            _backward(*inputs, state, *parts, a, gB[i][r], gC[i][r])
            gA[i][:, d] += a
            gfirst[r, :, d] = state
            for view, part in zip(views, parts, strict=True):
                _write(view, part)

    _run(work, len(shares))
    return gu, gdelta, gA.sum(0), gB.sum(0), gC.sum(0), gfirst


def convolve_forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, threads: int = 1) -> np.ndarray:
    """Mamba's short convolution and silu: x (rows, K - 1 + L, D), weight (K, D), bias (D) -> (rows, L, D)."""
    rows, length, channels = x.shape
    y = np.empty((rows, length - len(weight) + 1, channels), x.dtype)
    shares = _share(rows, length, channels, threads)

    def work(i: int) -> None:
        for r, d in shares[i]:
            view = y[r, :, d]
            part = _room(view)
            _convolve(*_whole(x[r, :, d], weight[:, d], bias[d]), part)
            _write(view, part)

    _run(work, len(shares))
    return y


def convolve_backward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, gy: np.ndarray, threads: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of x, weight and bias from that of y; shapes as above."""
    shares = _share(*x.shape, threads)
    gx = np.empty_like(x)
    gweight, gbias = (np.zeros((len(shares), *like.shape), x.dtype) for like in (weight, bias))

    def work(i: int) -> None:
        for r, d in shares[i]:
            inputs = _whole(x[r, :, d], weight[:, d], bias[d], gy[r, :, d])
            part, w, b = (np.zeros_like(like) for like in inputs[:3])
            _convolve_backward(*inputs, part, w, b)
            gx[r, :, d] = part
            gweight[i][:, d] += w
            gbias[i][d] += b

    _run(work, len(shares))
    return gx, gweight.sum(0), gbias.sum(0)
