"""Hyena's operator of order 2 as compiled loops for the CPU, forward and backward; numpy arrays in and out.

    s = short filter of u (3 taps);   q = s[inner gate] * s[value];   y = s[outer gate] * (long convolution of q)

In torch each of these is a pass over memory of its own, and its FFTs want time innermost where everything else has
channels innermost. Here signals lie in blocks of 16 channels, (rows, blocks, steps, 16), and every step is one
instruction on the 16 channels of a vector.

The convolution. A causal one of L samples wants room for 2 L, so that its end does not wrap around to its start. Here
it may wrap: sample t is first multiplied by a^t, where a^N = i. What wraps around then comes back multiplied by i, and
stands in the imaginary part; the real part is the causal convolution (the right-angle convolution: Crandall and
Pomerance 2005, "Prime Numbers", section 9.5). A complex FFT of N >= L samples does it, without padding. Forward it
leaves frequencies in a shuffled order, backward it starts from that order, and the product between does not mind.

The gradient of a convolution is a convolution that reads from the end: with both signals turned round, the same spectra
serve forward and backward. `hyena_fast.py` calls this where numba is installed. All of it is one file, because numba
keeps machine code a file and looks at the date of that file alone. Introduced in notebook 04.

The network that writes the filter (`HyenaFilter`) has its matrix products done by torch; what stands between them, the
sines, their slopes and the gradients of frequencies, is here, each in one pass.

Layouts: u (rows, L, 3, D) with outer gate, inner gate and value; weight (3 taps of the short filter, 3, D), bias
(3, D); taps of the long filter (L, D). D is a multiple of 16: `padded` sees to that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from .compiled import FAST, WORTH_THREADS, _jit, _run

__all__ = ["LANES", "Kept", "convolve", "operator", "operator_backward", "padded", "plan", "size_for"]

LANES = 16  # channels in one vector
NEAR = 256  # steps of a block that fit the nearest cache
TILE = 32  # steps that a worker takes at least


class Kept(NamedTuple):
    """What the backward needs beside the input: the convolution's result, spectra of its signal and of the filter."""

    result: np.ndarray  # (rows, blocks, L, 16)
    signal: np.ndarray  # (2, rows, blocks, N, 16): real and imaginary parts
    filters: np.ndarray  # (2, blocks, N, 16)


def size_for(length: int) -> int:
    """The smallest N >= length among 1, 2, 3 and 6 times a power of 4."""
    sizes = []
    for small in (1, 2, 3, 6):
        while small < length:
            small *= 4
        sizes.append(small)
    return min(sizes)


@lru_cache(maxsize=4)
def plan(length: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """(2, N) cosines and sines of -2 pi k / N for the FFT, and of pi k / 2 N for the turn a^k; computed in 64 bits."""
    size = size_for(length)
    k = np.arange(size)
    tables = (
        np.stack((np.cos(angle), np.sin(angle))) for angle in (-2 * np.pi / size * k, np.pi / 2 / size * k)
    )
    return tuple(table.astype(dtype) for table in tables)


# ---- Vectors of 16 channels, which numba has no type for: what is written below becomes one instruction each ----


class _Vector:
    """A vector while code is made from it: + - * / write instructions; numbers may stand on the right."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _with(self, name: str, other: _Vector | float) -> _Vector:
        if not isinstance(other, _Vector):
            other = _Vector(self.builder, ir.Constant(self.value.type, [float(other)] * LANES))
        return _Vector(
            self.builder, getattr(self.builder, name)(self.value, other.value, flags=("contract",))
        )

    def __add__(self, other: _Vector | float) -> _Vector:
        return self._with("fadd", other)

    def __sub__(self, other: _Vector | float) -> _Vector:
        return self._with("fsub", other)

    def __mul__(self, other: _Vector | float) -> _Vector:
        return self._with("fmul", other)

    def __truediv__(self, other: _Vector) -> _Vector:
        return self._with("fdiv", other)


class _Rows:
    """An array (rows, 16) while code is made: rows[i] reads a vector, rows[i] = v writes one."""

    def __init__(self, context: Any, builder: Any, kind: types.Array, array: Any) -> None:
        number = context.get_data_type(kind.dtype)
        self.builder, self.align = builder, context.get_abi_sizeof(number)
        data = context.make_array(kind)(context, builder, array).data
        self.start = builder.bitcast(data, ir.VectorType(number, LANES).as_pointer())

    def _at(self, row: Any) -> Any:
        return self.builder.gep(self.start, [row])

    def __getitem__(self, row: Any) -> _Vector:
        return _Vector(self.builder, self.builder.load(self._at(row), align=self.align))

    def __setitem__(self, row: Any, vector: _Vector) -> None:
        self.builder.store(vector.value, self._at(row), align=self.align)


def _lanes(work: Callable, *kinds: types.Type) -> tuple[Any, Callable]:
    """What numba's `intrinsic` wants: arrays reach `work` as `_Rows`, numbers as vectors, whole numbers as they are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def spread(x: Any) -> _Vector:
            vector, zero = ir.VectorType(x.type, LANES), ir.Constant(ir.IntType(32), 0)
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), x, zero)
            every = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            return _Vector(builder, builder.shuffle_vector(one, one, every))

        given = []
        for kind, x in zip(signature.args, arguments, strict=True):
            if isinstance(kind, types.Array):
                given.append(_Rows(context, builder, kind, x))
            else:
                given.append(x if isinstance(kind, types.Integer) else spread(x))
        work(builder, *given)
        return context.get_dummy_value()

    return types.void(*(types.int64 if isinstance(kind, types.Integer) else kind for kind in kinds)), generate


def _four(builder: Any, first: Any, step: Any) -> list[Any]:
    rows = [first]
    for _ in range(3):
        rows.append(builder.add(rows[-1], step))
    return rows


@intrinsic
def _cut_in_4(typing, re, im, first, step, c1, s1, c2, s2, c3, s3):
    """Four samples of a longer FFT become one of each of four FFTs a quarter as long; c, s: their turns."""

    def work(builder, re, im, first, step, c1, s1, c2, s2, c3, s3):
        at = _four(builder, first, step)
        (a0, a1, a2, a3), (b0, b1, b2, b3) = ([x[i] for i in at] for x in (re, im))
        p, q, r, s = a0 + a2, a0 - a2, a1 + a3, a1 - a3
        t, u, v, w = b0 + b2, b0 - b2, b1 + b3, b1 - b3
        re[at[0]], im[at[0]] = p + r, t + v
        for i, x, y, c, sine in (
            (1, q + w, u - s, c1, s1),
            (2, p - r, t - v, c2, s2),
            (3, q - w, u + s, c3, s3),
        ):
            re[at[i]], im[at[i]] = x * c - y * sine, x * sine + y * c

    return _lanes(work, re, im, first, step, c1, s1, c2, s2, c3, s3)


@intrinsic
def _join_4(typing, re, im, first, step, c1, s1, c2, s2, c3, s3):
    """`_cut_in_4` undone, times 4."""

    def work(builder, re, im, first, step, c1, s1, c2, s2, c3, s3):
        at = _four(builder, first, step)
        x, y = [re[at[0]]], [im[at[0]]]
        for i, c, s in ((1, c1, s1), (2, c2, s2), (3, c3, s3)):
            a, b = re[at[i]], im[at[i]]
            x.append(a * c + b * s)
            y.append(b * c - a * s)
        p, q, r, s = x[0] + x[2], x[0] - x[2], x[1] + x[3], x[1] - x[3]
        t, u, v, w = y[0] + y[2], y[0] - y[2], y[1] + y[3], y[1] - y[3]
        for i, real, imaginary in (
            (0, p + r, t + v),
            (1, q - w, u + s),
            (2, p - r, t - v),
            (3, q + w, u - s),
        ):
            re[at[i]], im[at[i]] = real, imaginary

    return _lanes(work, re, im, first, step, c1, s1, c2, s2, c3, s3)


@intrinsic
def _cut_in_3(typing, re, im, first, step, half, root, c1, s1, c2, s2):
    """As `_cut_in_4`, in three; half: 1/2, root: sin(pi / 3)."""

    def work(builder, re, im, first, step, half, root, c1, s1, c2, s2):
        at = _four(builder, first, step)[:3]
        (a0, a1, a2), (b0, b1, b2) = ([x[i] for i in at] for x in (re, im))
        p, q, r, s = a1 + a2, (a1 - a2) * root, b1 + b2, (b1 - b2) * root
        re[at[0]], im[at[0]] = a0 + p, b0 + r
        u, v = a0 - p * half, b0 - r * half
        for i, x, y, c, sine in ((1, u + s, v - q, c1, s1), (2, u - s, v + q, c2, s2)):
            re[at[i]], im[at[i]] = x * c - y * sine, x * sine + y * c

    return _lanes(work, re, im, first, step, half, root, c1, s1, c2, s2)


@intrinsic
def _join_3(typing, re, im, first, step, half, root, c1, s1, c2, s2):
    """`_cut_in_3` undone, times 3."""

    def work(builder, re, im, first, step, half, root, c1, s1, c2, s2):
        at = _four(builder, first, step)[:3]
        (a0, a1, a2), (b0, b1, b2) = ([x[i] for i in at] for x in (re, im))
        a1, b1 = a1 * c1 + b1 * s1, b1 * c1 - a1 * s1
        a2, b2 = a2 * c2 + b2 * s2, b2 * c2 - a2 * s2
        p, q, r, s = a1 + a2, (a1 - a2) * root, b1 + b2, (b1 - b2) * root
        u, v = a0 - p * half, b0 - r * half
        for i, x, y in ((0, a0 + p, b0 + r), (1, u - s, v + q), (2, u + s, v - q)):
            re[at[i]], im[at[i]] = x, y

    return _lanes(work, re, im, first, step, half, root, c1, s1, c2, s2)


@intrinsic
def _two(typing, re, im, first):
    """An FFT of two samples, its own inverse but for a factor of 2."""

    def work(builder, re, im, first):
        second = builder.add(first, ir.Constant(first.type, 1))
        a, b, c, d = re[first], re[second], im[first], im[second]
        re[first], re[second], im[first], im[second] = a + b, a - b, c + d, c - d

    return _lanes(work, re, im, first)


@intrinsic
def _turn(typing, signal, i, re, im, j, c, s):
    """Row i of a real signal, times a^j, into row j of the real and imaginary parts."""

    def work(builder, signal, i, re, im, j, c, s):
        re[j], im[j] = signal[i] * c, signal[i] * s

    return _lanes(work, signal, i, re, im, j, c, s)


@intrinsic
def _turn_back(typing, re, im, j, signal, i, c, s):
    """The real part of row j times a^-j, into row i of a real signal."""

    def work(builder, re, im, j, signal, i, c, s):
        signal[i] = re[j] * c + im[j] * s

    return _lanes(work, re, im, j, signal, i, c, s)


@intrinsic
def _turn_tap(typing, taps, i, window, k, re, im, j, c, s):
    """As `_turn`, for row i of the taps times row k of the window."""

    def work(builder, taps, i, window, k, re, im, j, c, s):
        tap = taps[i] * window[k]
        re[j], im[j] = tap * c, tap * s

    return _lanes(work, taps, i, window, k, re, im, j, c, s)


@intrinsic
def _turn_back_tap(typing, re, im, j, gtaps, window, i, c, s):
    """As `_turn_back`, times row i of the window and added to that of gtaps."""

    def work(builder, re, im, j, gtaps, window, i, c, s):
        gtaps[i] = gtaps[i] + (re[j] * c + im[j] * s) * window[i]

    return _lanes(work, re, im, j, gtaps, window, i, c, s)


@intrinsic
def _add(typing, x, i, y, j):
    """x[i] += y[j]."""

    def work(builder, x, i, y, j):
        x[i] = x[i] + y[j]

    return _lanes(work, x, i, y, j)


@intrinsic
def _times(typing, re, im, i, re2, im2, j, re3, im3, k, scale):
    def work(builder, re, im, i, re2, im2, j, re3, im3, k, scale):
        a, b, c, d = re[i] * scale, im[i] * scale, re2[j], im2[j]
        re3[k], im3[k] = a * c - b * d, a * d + b * c

    return _lanes(work, re, im, i, re2, im2, j, re3, im3, k, scale)


# In what follows u, weight and bias are arrays of rows of 16, and `now` is the row of the outer gate at this step;
# inner gate and value stand `blocks` and 2 blocks further, so do their weights. `before` and `earlier` are the rows one
# and two steps back; where there is none, they are `now`, and w1 and w0 rows of zeros.


class _Short:
    """The short filter while code is made: part 0, 1 or 2 of u -> the smoothed vector."""

    def __init__(self, builder, u, weight, bias, now, before, earlier, w2, w1, w0, b, blocks) -> None:
        self.builder, self.u, self.weight, self.bias = builder, u, weight, bias
        self.rows, self.taps, self.b, self.blocks = (now, before, earlier), (w2, w1, w0), b, blocks

    def shifted(self, row: Any, part: int) -> Any:
        for _ in range(part):
            row = self.builder.add(row, self.blocks)
        return row

    def __getitem__(self, part: int) -> _Vector:
        y = self.bias[self.shifted(self.b, part)]
        for row, tap in zip(self.rows, self.taps, strict=True):
            y = y + self.weight[self.shifted(tap, part)] * self.u[self.shifted(row, part)]
        return y


@intrinsic
def _gate_in(typing, u, weight, bias, now, before, earlier, w2, w1, w0, b, blocks, q, to):
    """q[to] = inner gate * value."""

    def work(builder, *given):
        short, (q, to) = _Short(builder, *given[:11]), given[11:]
        q[to] = short[1] * short[2]

    return _lanes(work, u, weight, bias, now, before, earlier, w2, w1, w0, b, blocks, q, to)


@intrinsic
def _gate_out(typing, u, weight, bias, now, before, earlier, w2, w1, w0, b, blocks, x, i, out, to):
    """out[to] = outer gate * x[i]."""

    def work(builder, *given):
        short, (x, i, out, to) = _Short(builder, *given[:11]), given[11:]
        out[to] = short[0] * x[i]

    return _lanes(work, u, weight, bias, now, before, earlier, w2, w1, w0, b, blocks, x, i, out, to)


@intrinsic
def _gates_backward(
    typing, u, weight, bias, now, before, earlier, w2, w1, w0, b, blocks, grad, g, result, i, back, j, gs, to
):
    """Gradients of the smoothed outer gate, inner gate and value into rows of gs."""

    def work(builder, *given):
        short, (grad, g, result, i, back, j, gs, to) = _Short(builder, *given[:11]), given[11:]
        gs[to] = grad[g] * result[i]
        gs[short.shifted(to, 1)] = back[j] * short[2]
        gs[short.shifted(to, 2)] = back[j] * short[1]

    return _lanes(
        work,
        u,
        weight,
        bias,
        now,
        before,
        earlier,
        w2,
        w1,
        w0,
        b,
        blocks,
        grad,
        g,
        result,
        i,
        back,
        j,
        gs,
        to,
    )


@intrinsic
def _short_backward(
    typing, gs, i0, i1, i2, weight, b, step, u, now, before, earlier, gu, sums, first, second
):
    """Gradients of one row of u, of its three taps and its bias, from those of the smoothed rows from now on.

    sums: rows of gradients of taps 0, 1, 2 and of the bias, `step` apart. first, second: 0 where there is no row
    before or earlier, else 1.
    """

    def work(builder, gs, i0, i1, i2, weight, b, step, u, now, before, earlier, gu, sums, first, second):
        rows = _four(builder, b, step)
        g0, g1, g2, x = gs[i0], gs[i1], gs[i2], u[now]
        gu[now] = weight[rows[2]] * g0 + weight[rows[1]] * g1 + weight[rows[0]] * g2
        sums[rows[0]] = sums[rows[0]] + g0 * u[earlier] * second
        sums[rows[1]] = sums[rows[1]] + g0 * u[before] * first
        sums[rows[2]] = sums[rows[2]] + g0 * x
        sums[rows[3]] = sums[rows[3]] + g0

    return _lanes(work, gs, i0, i1, i2, weight, b, step, u, now, before, earlier, gu, sums, first, second)


# ---- FFT of the rows from `first` on, in place ----


@_jit()
def _cut(re, im, first, rows, n, table):
    """One stage: every FFT of n samples becomes four, or three, shorter ones."""
    stride = table.shape[1] // n
    three = n == 3 or n == 6
    m = n // 3 if three else n // 4
    half, root = re.dtype.type(0.5), re.dtype.type(np.sqrt(0.75))
    for start in range(first, first + rows, n):
        for j in range(m):
            c1, s1 = table[0, j * stride], table[1, j * stride]
            c2, s2 = table[0, 2 * j * stride], table[1, 2 * j * stride]
            if three:
                _cut_in_3(re, im, start + j, m, half, root, c1, s1, c2, s2)
            else:
                c3, s3 = table[0, 3 * j * stride], table[1, 3 * j * stride]
                _cut_in_4(re, im, start + j, m, c1, s1, c2, s2, c3, s3)


@_jit()
def _join(re, im, first, rows, n, table):
    stride = table.shape[1] // n
    three = n == 3 or n == 6
    m = n // 3 if three else n // 4
    half, root = re.dtype.type(0.5), re.dtype.type(np.sqrt(0.75))
    for start in range(first, first + rows, n):
        for j in range(m):
            c1, s1 = table[0, j * stride], table[1, j * stride]
            c2, s2 = table[0, 2 * j * stride], table[1, 2 * j * stride]
            if three:
                _join_3(re, im, start + j, m, half, root, c1, s1, c2, s2)
            else:
                c3, s3 = table[0, 3 * j * stride], table[1, 3 * j * stride]
                _join_4(re, im, start + j, m, c1, s1, c2, s2, c3, s3)


@_jit()
def _forward(re, im, first, n, table):
    """Samples -> frequencies, in the shuffled order. A piece is cut only when those before it are at their end."""
    near = n
    while near > NEAR:
        near //= 4
    for at in range(0, n, near):
        size = n
        while size > near:
            if at % size == 0:
                _cut(re, im, first + at, size, size, table)
            size //= 4
        while size > 2:
            _cut(re, im, first + at, near, size, table)
            size //= 3 if size == 3 or size == 6 else 4
        if size == 2:
            for i in range(first + at, first + at + near, 2):
                _two(re, im, i)


@_jit()
def _backward(re, im, first, n, table):
    """Frequencies in the shuffled order -> samples, times n."""
    near = n
    while near > NEAR:
        near //= 4
    odd = n  # 1, 2, 3 or 6
    while odd % 4 == 0:
        odd //= 4
    for at in range(0, n, near):
        size = 1
        if odd % 2 == 0:
            size = 2
            for i in range(first + at, first + at + near, 2):
                _two(re, im, i)
        if odd % 3 == 0:
            size *= 3
            _join(re, im, first + at, near, size, table)
        while size < near:
            size *= 4
            _join(re, im, first + at, near, size, table)
        end = at + near
        while size < n:
            size *= 4
            if end % size == 0:
                _join(re, im, first + end - size, size, size, table)


@_jit()
def _multiply(re, im, i, re2, im2, j, re3, im3, k, n):
    """Spectra from rows i and j, times 1 / n, into row k and those after it."""
    scale = re.dtype.type(1) / re.dtype.type(n)
    for step in range(n):
        _times(re, im, i + step, re2, im2, j + step, re3, im3, k + step, scale)


# ---- Gates and the short filter; weight has a fourth tap of zeros, for steps before the first ----


@_jit()
def _enter(u, weight, bias, q, r, first, stop):
    """q: what the long convolution reads."""
    _, length, _, channels = u.shape
    blocks = channels // LANES
    us, ws, bs, qs = (
        u.reshape(-1, LANES),
        weight.reshape(-1, LANES),
        bias.reshape(-1, LANES),
        q.reshape(-1, LANES),
    )
    step = 3 * blocks
    for t in range(first, stop):
        w1, w0 = step if t >= 1 else 3 * step, 0 if t >= 2 else 3 * step
        for b in range(blocks):
            now = (r * length + t) * step + b
            before, earlier = now - step if t >= 1 else now, now - 2 * step if t >= 2 else now
            to = (r * blocks + b) * length + t
            _gate_in(us, ws, bs, now, before, earlier, 2 * step + b, w1 + b, w0 + b, b, blocks, qs, to)


@_jit()
def _leave(u, weight, bias, result, out, r, first, stop):
    """out (rows, L, D): the convolution's result under the outer gate."""
    _, length, _, channels = u.shape
    blocks = channels // LANES
    us, ws, bs = u.reshape(-1, LANES), weight.reshape(-1, LANES), bias.reshape(-1, LANES)
    results, outs, step = result.reshape(-1, LANES), out.reshape(-1, LANES), 3 * blocks
    for t in range(first, stop):
        w1, w0 = step if t >= 1 else 3 * step, 0 if t >= 2 else 3 * step
        for b in range(blocks):
            now = (r * length + t) * step + b
            before, earlier = now - step if t >= 1 else now, now - 2 * step if t >= 2 else now
            i, to = (r * blocks + b) * length + t, (r * length + t) * blocks + b
            w2 = 2 * step + b
            _gate_out(us, ws, bs, now, before, earlier, w2, w1 + b, w0 + b, b, blocks, results, i, outs, to)


@_jit()
def _leave_backward(u, weight, bias, grad, back, r, first, stop):
    """back: gradient of the convolution's result, the last step first."""
    _, length, _, channels = u.shape
    blocks = channels // LANES
    us, ws, bs = u.reshape(-1, LANES), weight.reshape(-1, LANES), bias.reshape(-1, LANES)
    grads, backs, step = grad.reshape(-1, LANES), back.reshape(-1, LANES), 3 * blocks
    for t in range(first, stop):
        w1, w0 = step if t >= 1 else 3 * step, 0 if t >= 2 else 3 * step
        for b in range(blocks):
            now = (r * length + t) * step + b
            before, earlier = now - step if t >= 1 else now, now - 2 * step if t >= 2 else now
            i, to = (r * length + t) * blocks + b, (r * blocks + b + 1) * length - 1 - t
            w2 = 2 * step + b
            _gate_out(us, ws, bs, now, before, earlier, w2, w1 + b, w0 + b, b, blocks, grads, i, backs, to)


@_jit()
def _enter_backward(u, weight, bias, result, grad, back, gu, sums, r, first, stop):
    """Gradients of u; and sums (4, 3, D), to which those of the taps and of the bias are added."""
    _, length, _, channels = u.shape
    blocks = channels // LANES
    us, ws, bs, gus = (
        u.reshape(-1, LANES),
        weight.reshape(-1, LANES),
        bias.reshape(-1, LANES),
        gu.reshape(-1, LANES),
    )
    results, grads, backs = result.reshape(-1, LANES), grad.reshape(-1, LANES), back.reshape(-1, LANES)
    gs, total, step = np.empty((3 * 3 * blocks, LANES), u.dtype), sums.reshape(-1, LANES), 3 * blocks
    one, zero = u.dtype.type(1), u.dtype.type(0)
    # The short filter passes gradients on from two steps behind: gs holds three steps, each in the place of t % 3.
    for t in range(first, min(stop + 2, length) + 2):
        there = (t % 3) * step
        if t >= min(stop + 2, length):
            gs[there : there + step] = 0
        else:
            w1, w0 = step if t >= 1 else 3 * step, 0 if t >= 2 else 3 * step
            for b in range(blocks):
                now = (r * length + t) * step + b
                before, earlier = now - step if t >= 1 else now, now - 2 * step if t >= 2 else now
                i, g = (r * blocks + b) * length + t, (r * length + t) * blocks + b
                j, w2 = (r * blocks + b + 1) * length - 1 - t, 2 * step + b
                _gates_backward(
                    us, ws, bs, now, before, earlier, w2, w1 + b, w0 + b, b, blocks,
                    grads, g, results, i, backs, j, gs, there + b,
                )  # fmt: skip
        t -= 2
        if t < first or t >= stop:
            continue
        i0, i1, i2 = (t % 3) * step, ((t + 1) % 3) * step, ((t + 2) % 3) * step
        c1, c0 = one if t >= 1 else zero, one if t >= 2 else zero
        for b in range(step):
            now = (r * length + t) * step + b
            before, earlier = now - step if t >= 1 else now, now - 2 * step if t >= 2 else now
            _short_backward(
                gs, i0 + b, i1 + b, i2 + b, ws, b, step, us, now, before, earlier, gus, total, c1, c0
            )


# ---- The long convolution of one block ----


@_jit()
def _transform(signal, at, length, re, im, to, table, turns):
    """Spectrum of rows `at` and after of a real signal, into rows `to` and after."""
    size = table.shape[1]
    for t in range(length):
        _turn(signal, at + t, re, im, to + t, turns[0, t], turns[1, t])
    re[to + length : to + size] = 0
    im[to + length : to + size] = 0
    _forward(re, im, to, size, table)


@_jit()
def _transform_taps(taps, window, skip, b, length, re, im, to, table, turns):
    """The same, of block b of taps * window; the skip is one more tap at 0."""
    size, blocks = table.shape[1], skip.shape[0]
    step = blocks if window.shape[0] == taps.shape[0] else 0
    for t in range(length):
        _turn_tap(taps, t * blocks + b, window, t * step + b, re, im, to + t, turns[0, t], turns[1, t])
    _add(re, to, skip, b)  # a^0 is 1
    re[to + length : to + size] = 0
    im[to + length : to + size] = 0
    _forward(re, im, to, size, table)


@_jit()
def _return(re, im, signal, at, length, table, turns):
    """The signal of the spectrum in the work space, into rows `at` and after."""
    _backward(re, im, 0, table.shape[1], table)
    for t in range(length):
        _turn_back(re, im, t, signal, at + t, turns[0, t], turns[1, t])


@_jit()
def _return_taps(re, im, gtaps, window, gskip, b, length, table, turns):
    """The same for gradients of the taps, the last first; they are added to what is there."""
    blocks = gskip.shape[0]
    _backward(re, im, 0, table.shape[1], table)
    for t in range(length):
        _turn_back_tap(re, im, t, gtaps, window, (length - 1 - t) * blocks + b, turns[0, t], turns[1, t])
    _turn_back(re, im, length - 1, re, length - 1, turns[0, length - 1], turns[1, length - 1])
    _add(gskip, b, re, length - 1)


@_jit()
def _convolve(taps, window, skip, q, result, signal, filters, keep, start, step, table, turns):
    """q -> result, both (rows, blocks, L, 16), for every `step`-th block."""
    rows, blocks, length, _ = q.shape
    size = table.shape[1]
    source, to, skip = q.reshape(-1, LANES), result.reshape(-1, LANES), skip.reshape(-1, LANES)
    taps, window = taps.reshape(-1, LANES), window.reshape(-1, LANES)
    re, im = np.empty((size, LANES), q.dtype), np.empty((size, LANES), q.dtype)
    fre, fim = filters[0].reshape(-1, LANES), filters[1].reshape(-1, LANES)
    sre, sim = signal[0].reshape(-1, LANES), signal[1].reshape(-1, LANES)
    for b in range(start, blocks, step):
        f = b * size if keep else 0
        _transform_taps(taps, window, skip, b, length, fre, fim, f, table, turns)
        for r in range(rows):
            at, s = (r * blocks + b) * length, (r * blocks + b) * size if keep else 0
            _transform(source, at, length, sre, sim, s, table, turns)
            _multiply(sre, sim, s, fre, fim, f, re, im, 0, size)
            _return(re, im, to, at, length, table, turns)


@_jit()
def _convolve_backward(back, window, signal, filters, gtaps, gskip, start, step, table, turns):
    """Gradients of q in the place of that of the result, the last step first; those of taps and skip are added up."""
    rows, blocks, length, _ = back.shape
    size = table.shape[1]
    fre, fim = filters[0].reshape(-1, LANES), filters[1].reshape(-1, LANES)
    sre, sim = signal[0].reshape(-1, LANES), signal[1].reshape(-1, LANES)
    signals, gtaps, gskip = back.reshape(-1, LANES), gtaps.reshape(-1, LANES), gskip.reshape(-1, LANES)
    window = window.reshape(-1, LANES)
    bre, bim = np.empty((size, LANES), back.dtype), np.empty((size, LANES), back.dtype)
    re, im = np.empty((size, LANES), back.dtype), np.empty((size, LANES), back.dtype)
    for b in range(start, blocks, step):
        for r in range(rows):
            at, s = (r * blocks + b) * length, (r * blocks + b) * size
            _transform(signals, at, length, bre, bim, 0, table, turns)
            _multiply(sre, sim, s, bre, bim, 0, re, im, 0, size)
            _return_taps(re, im, gtaps, window, gskip, b, length, table, turns)
            _multiply(fre, fim, b * size, bre, bim, 0, re, im, 0, size)
            _return(re, im, signals, at, length, table, turns)


# ---- The layers of sines: wave = sin(a), a = frequency * (z + bias), one unit a row ----

# pi / 2 in three parts, the first two of so few bits that their products with whole numbers are exact.
HALF_PI_1, HALF_PI_2, HALF_PI_3 = (
    np.float32(1.5703125),
    np.float32(4.837512969970703e-4),
    np.float32(7.549789955e-8),
)
PER_HALF_PI, HALF, ONE = np.float32(2 / np.pi), np.float32(0.5), np.float32(1)
# sin r and cos r for |r| <= pi / 4, to 1e-7 (coefficients of the Cephes library, S. Moshier).
S1, S2, S3 = np.float32(-1.6666654611e-1), np.float32(8.3321608736e-3), np.float32(-1.9515295891e-4)
K1, K2, K3 = (
    np.float32(4.166664568298827e-2),
    np.float32(-1.388731625493765e-3),
    np.float32(2.443315711809948e-5),
)


def _sin_cos(x):
    raise NotImplementedError("compiled code only")


@overload(_sin_cos)
def _sin_cos_of(x):
    """sin x and cos x; in float32 to 1e-7 while |x| is below 30,000."""

    def polynomial(x):
        k = np.floor(x * PER_HALF_PI + HALF)
        r = ((x - k * HALF_PI_1) - k * HALF_PI_2) - k * HALF_PI_3
        z, quarter = r * r, np.int32(k)
        s = r + r * z * (S1 + z * (S2 + z * S3))
        c = ONE - HALF * z + z * z * (K1 + z * (K2 + z * K3))
        odd = (quarter & np.int32(1)) != 0
        a, b = c if odd else s, s if odd else c
        a = -a if (quarter & np.int32(2)) != 0 else a
        b = -b if ((quarter + np.int32(1)) & np.int32(2)) != 0 else b
        return a, b

    def library(x):
        return np.sin(x), np.cos(x)

    return polynomial if x == types.float32 else library


@_jit(fastmath={"contract", "nsz"})  # another order of sums would undo the three parts
def _sines(z, bias, frequency, wave):
    for i in range(z.shape[0]):
        for t in range(z.shape[1]):
            wave[i, t], z[i, t] = _sin_cos(frequency[i] * (z[i, t] + bias[i]))


@_jit(fastmath=FAST)
def _sines_backward(slope, grad, sums):
    for i in range(grad.shape[0]):
        total = grad.dtype.type(0)
        for t in range(grad.shape[1]):
            g = grad[i, t] * slope[i, t]
            grad[i, t] = g
            total += g
        sums[i] = total


@_jit()
def _parameters_backward(gweight, gbias, weight, bias, frequency, gfrequency):
    for i in range(weight.shape[0]):
        total = gbias[i] * bias[i]
        for j in range(weight.shape[1]):
            total += gweight[i, j] * weight[i, j]
            gweight[i, j] *= frequency[i]
        gfrequency[i] += total
        gbias[i] *= frequency[i]


# ---- What is called ----


def sines(z: np.ndarray, bias: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Waves (W, L) of z (W, L); z turns into their slopes, the cosines. bias and frequency (W,)."""
    wave = np.empty_like(z)
    _sines(z, bias, frequency, wave)
    return wave


def sines_backward(slope: np.ndarray, grad: np.ndarray) -> np.ndarray:
    """grad (W, L), of the waves, turns into that of the angles; returns its sums (W,)."""
    sums = np.empty(len(grad), grad.dtype)
    _sines_backward(slope, grad, sums)
    return sums


def parameters_backward(
    gweight: np.ndarray,
    gbias: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    frequency: np.ndarray,
    gfrequency: np.ndarray,
) -> None:
    """Gradients by frequency * weight and frequency * bias turn into those by weight and bias; that of the frequency is
    added to gfrequency."""
    _parameters_backward(gweight, gbias, weight, bias, frequency, gfrequency)


def padded(x: np.ndarray) -> np.ndarray:
    """The last axis filled up with zeros to a multiple of 16; contiguous."""
    more = -x.shape[-1] % LANES
    return np.ascontiguousarray(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, more)]) if more else x)


def operator(
    u: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    taps: np.ndarray,
    window: np.ndarray,
    skip: np.ndarray,
    keep: bool,
    threads: int = 1,
) -> tuple[np.ndarray, Kept | None]:
    """y (rows, L, D), and what the backward needs, if it is to be kept.

    The filter is taps * window, both (L, D), and skip (D,) one more tap at 0. Where nothing is kept the window may be
    (1, D).
    """
    rows, length, _, channels = u.shape
    blocks, size = channels // LANES, size_for(length)
    tables = plan(length, u.dtype)
    weight = _four_taps(weight)
    q = np.empty((rows, blocks, length, LANES), u.dtype)
    _each(u, threads, lambda i, *share: _enter(u, weight, bias, q, *share))
    workers = _workers(u, threads, blocks)
    if keep:
        result = np.empty_like(q)
        room = [tuple(np.empty((2, *some, blocks, size, LANES), u.dtype) for some in ((rows,), ()))] * workers
    else:  # the room of one row and one block a worker
        result = q
        room = [tuple(np.empty((2, size, LANES), u.dtype) for _ in "sf") for _ in range(workers)]
    given = taps, window, skip, q, result
    _run(lambda i: _convolve(*given, *room[i], keep, i, workers, *tables), workers)
    y = np.empty((rows, length, channels), u.dtype)
    _each(u, threads, lambda i, *share: _leave(u, weight, bias, result, y, *share))
    return y, Kept(result, *room[0]) if keep else None


def operator_backward(
    u: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    window: np.ndarray,
    kept: Kept,
    grad: np.ndarray,
    threads: int = 1,
) -> tuple[np.ndarray, ...]:
    """Gradients of u, weight, bias, taps and skip, from that of y."""
    _, length, _, channels = u.shape
    blocks, tables = channels // LANES, plan(length, u.dtype)
    weight = _four_taps(weight)
    back = np.empty_like(kept.result)
    _each(u, threads, lambda i, *share: _leave_backward(u, weight, bias, grad, back, *share))
    gtaps, gskip = np.zeros((length, channels), u.dtype), np.zeros(channels, u.dtype)
    workers = _workers(u, threads, blocks)
    given = back, window, kept.signal, kept.filters, gtaps, gskip
    _run(lambda i: _convolve_backward(*given, i, workers, *tables), workers)
    gu = np.empty_like(u)
    sums = np.zeros((_workers(u, threads, -(-length // TILE)), 4, 3, channels), u.dtype)
    given = u, weight, bias, kept.result, grad, back, gu
    _each(u, threads, lambda i, *share: _enter_backward(*given, sums[i], *share))
    total = sums[0] if len(sums) == 1 else sums.sum(0)
    return gu, total[:3], total[3], gtaps, gskip


def convolve(signal: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Causal convolution of signal (rows, L, D) with taps (L, D): what the operator does between its gates."""
    rows, length, channels = signal.shape
    signal, taps = padded(signal), padded(taps)
    q = np.ascontiguousarray(signal.reshape(rows, length, -1, LANES).transpose(0, 2, 1, 3))
    room = [np.empty((2, size_for(length), LANES), q.dtype) for _ in "sf"]
    none = np.zeros(taps.shape[1], q.dtype)
    _convolve(taps, np.ones_like(taps), none, q, q, *room, False, 0, 1, *plan(length, q.dtype))
    return q.transpose(0, 2, 1, 3).reshape(rows, length, -1)[..., :channels]


def _four_taps(weight: np.ndarray) -> np.ndarray:
    """The short filter's three taps, and zeros: for steps before the first."""
    more = np.zeros((4, *weight.shape[1:]), weight.dtype)
    more[:3] = weight
    return more


def _each(u: np.ndarray, threads: int, work: Callable[[int, int, int, int], None]) -> None:
    """work(worker, row, first step, step after the last) for all rows; steps are shared out among the workers."""
    rows, length = u.shape[:2]
    workers = _workers(u, threads, -(-length // TILE))
    cuts = [length * i // workers for i in range(workers + 1)]
    _run(lambda i: [work(i, r, cuts[i], cuts[i + 1]) for r in range(rows)], workers)


def _workers(u: np.ndarray, threads: int, parts: int) -> int:
    """How many threads are worth it, if the work has so many parts."""
    return min(max(1, threads), parts) if u.size >= WORTH_THREADS else 1
