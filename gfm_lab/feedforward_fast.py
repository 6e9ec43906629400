"""The feed-forward part with its gradient written out, for training on one thread of a CPU: what `model.FeedForward`
says, faster.

    h = W1 x,    y = W2 gelu(h + b1) + b2

At course size this part is bound by memory, not by arithmetic. Here the bias comes in with the activation instead of in
a pass of its own; gelu(h + b1), the largest array of a layer, is not kept but computed again in the backward, in the
one pass over h that its derivative needs anyway; and the gradient of b1 is summed in that pass.

    gelu(v) = v Phi(v),    gelu'(v) = v phi(v) + Phi(v)

Phi is the normal distribution, by Abramowitz and Stegun 1964, "Handbook of Mathematical Functions", 7.1.26: to 1e-7.
With more threads torch's own passes share the work better, and the model takes those. Needs numba, float32. Introduced
in notebook 03.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from .mixers.compiled import C0, C1, C2, C3, C4, C5, C6, _jit
from .mixers.compiled_hyena import LANES, _lanes, _Vector

__all__ = ["LANES", "FeedForward"]

# Phi(-|v|) = exp(-v^2 / 2) (A1 t + ... + A5 t^5) with t = 1 / (1 + P |v|); the density is DENSITY exp(-v^2 / 2)
P, DENSITY = 0.3275911 / math.sqrt(2), 1 / math.sqrt(2 * math.pi)
A = tuple(a / 2 for a in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))
EXP2 = tuple(map(float, (C0, C1, C2, C3, C4, C5, C6)))  # of 2^f, -1/2 <= f <= 1/2
NUMBERS = ir.VectorType(ir.FloatType(), LANES)
WHOLE = ir.VectorType(ir.IntType(32), LANES)


def _apply(builder: Any, name: str, *vectors: _Vector) -> _Vector:
    """One of LLVM's own functions."""
    kind = ir.FunctionType(NUMBERS, [NUMBERS] * len(vectors))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32")
    return _Vector(builder, builder.call(function, [v.value for v in vectors]))


def _constant(builder: Any, x: float) -> _Vector:
    return _Vector(builder, ir.Constant(NUMBERS, [x] * LANES))


def _polynomial(x: _Vector, coefficients: tuple[float, ...]) -> _Vector:
    """The first coefficient is that of x^0."""
    *rest, last = coefficients
    y = _constant(x.builder, last)
    for c in reversed(rest):
        y = y * x + c
    return y


def _exp(builder: Any, x: _Vector) -> _Vector:
    """exp(x) for x <= 0; 0 below 1e-38, where numbers would become slow ones."""
    x = x * math.log2(math.e)
    x = _apply(builder, "maxnum", x, _constant(builder, -127.0))
    whole = _apply(builder, "nearbyint", x)
    power = builder.add(builder.fptosi(whole.value, WHOLE), ir.Constant(WHOLE, [127] * LANES))
    power = builder.bitcast(builder.shl(power, ir.Constant(WHOLE, [23] * LANES)), NUMBERS)
    return _polynomial(x - whole, EXP2) * _Vector(builder, power)


def _normal(builder: Any, v: _Vector) -> tuple[_Vector, _Vector]:
    """Phi(v) and exp(-v^2 / 2)."""
    e = _exp(builder, v * v * -0.5)
    one, zero = _constant(builder, 1.0), _constant(builder, 0.0)
    t = one / (_apply(builder, "fabs", v) * P + 1.0)
    below = t * _polynomial(t, A) * e
    positive = builder.fcmp_ordered(">", v.value, zero.value)
    return _Vector(builder, builder.select(positive, (one - below).value, below.value)), e


@intrinsic
def _gelu_16(typing, h, i, bias, j, out):
    """out[i] = gelu(h[i] + bias[j])."""

    def work(builder, h, i, bias, j, out):
        v = h[i] + bias[j]
        out[i] = v * _normal(builder, v)[0]

    return _lanes(work, h, i, bias, j, out)


@intrinsic
def _gelu_backward_16(typing, h, i, bias, j, grad, out, sums):
    """The same; grad[i] times the derivative, added to sums[j]."""

    def work(builder, h, i, bias, j, grad, out, sums):
        v = h[i] + bias[j]
        share, e = _normal(builder, v)
        out[i] = v * share
        g = grad[i] * (share + v * e * DENSITY)
        grad[i] = g
        sums[j] = sums[j] + g

    return _lanes(work, h, i, bias, j, grad, out, sums)


@_jit()
def _gelu(h, bias, out):
    """out = gelu(h + bias)."""
    step = h.shape[1] // LANES
    hs, bs, outs = h.reshape(-1, LANES), bias.reshape(-1, LANES), out.reshape(-1, LANES)
    for r in range(h.shape[0]):
        for j in range(step):
            _gelu_16(hs, r * step + j, bs, j, outs)


@_jit()
def _gelu_backward(h, bias, grad, out, sums):
    """The same; and grad times the derivative in the place of grad, its sums over the rows in `sums`."""
    step = h.shape[1] // LANES
    hs, bs, outs = h.reshape(-1, LANES), bias.reshape(-1, LANES), out.reshape(-1, LANES)
    gs, totals = grad.reshape(-1, LANES), sums.reshape(-1, LANES)
    totals[:] = 0
    for r in range(h.shape[0]):
        for j in range(step):
            _gelu_backward_16(hs, r * step + j, bs, j, gs, outs, totals)


class FeedForward(torch.autograd.Function):
    """x (..., D) -> (..., D'): W2 gelu(W1 x + b1) + b2, for weights (inner, D) and (D', inner) as in nn.Linear.

    Raises RuntimeError when a gradient of the gradient is asked for (create_graph=True).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        ctx.shape, x = x.shape, x.flatten(0, -2)
        h = x @ w1.T
        a = torch.empty_like(h)
        _gelu(h.numpy(), b1.detach().numpy(), a.numpy())
        ctx.save_for_backward(x, h, w1, b1, w2)
        return torch.addmm(b2, a, w2.T).view(*ctx.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if (
            torch.is_grad_enabled()
        ):  # create_graph=True; torch's own mark for this lets some of these pass, as zeros
            raise RuntimeError(
                "a gradient of a gradient was asked for, which the compiled feed-forward part does not have: "
                "call model.double(), which takes torch's own path"
            )
        x, h, w1, b1, w2 = ctx.saved_tensors
        grad = grad.flatten(0, -2)
        gh, a = grad @ w2, torch.empty_like(h)
        sums = torch.empty_like(b1)
        _gelu_backward(h.numpy(), b1.detach().numpy(), gh.numpy(), a.numpy(), sums.numpy())
        wanted = ctx.needs_input_grad
        return (
            (gh @ w1).view(ctx.shape) if wanted[0] else None,
            gh.T @ x if wanted[1] else None,
            sums if wanted[2] else None,
            grad.T @ a if wanted[3] else None,
            grad.sum(0) if wanted[4] else None,
        )
