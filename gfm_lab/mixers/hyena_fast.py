"""Hyena's operator and filter with their gradients written out, for the CPU: what `hyena.py` says line by line, faster.

The operator goes through the compiled loops of compiled_hyena.py. The filter stays in torch: fewer passes over memory,
and its taps come out with channels innermost, as the loops want them. Introduced in notebook 04.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import compiled_hyena as loops

__all__ = ["Operator", "Taps"]


class Operator(torch.autograd.Function):
    """u (B, L, 3 D) -> (B, L, D): short filter, gates and long convolution of order 2.

    weight (3 D, 1, 3) and bias (3 D,) of the short filter, taps (D, L) of the long one, skip (D,), one more tap
    at 0. keep: whether a backward may follow.
    """

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, weight: Tensor, bias: Tensor, taps: Tensor, skip: Tensor, keep: bool
    ) -> Tensor:
        wide, dim = torch.promote_types(u.dtype, torch.float32), len(skip)
        given = (u, weight[:, 0].T, bias, taps.T, skip)
        ctx.dtypes, ctx.dim, ctx.wide = [x.dtype for x in given], dim, wide
        u, weight, bias, taps, skip = (x.detach().to(wide).numpy() for x in given)
        u, weight, bias = (loops.padded(x.reshape(*x.shape[:-1], 3, dim)) for x in (u, weight, bias))
        threads = torch.get_num_threads()
        y, kept = loops.operator(u, weight, bias, loops.padded(taps), loops.padded(skip), keep, threads)
        if keep:
            ctx.save_for_backward(*map(torch.from_numpy, (u, weight, bias, *kept)))
        return torch.from_numpy(y)[..., :dim].to(ctx.dtypes[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, weight, bias, *kept = (x.numpy() for x in ctx.saved_tensors)
        grad = loops.padded(grad.to(ctx.wide).numpy())
        found = loops.operator_backward(u, weight, bias, loops.Kept(*kept), grad, torch.get_num_threads())
        found = (*found, found[-1][0])  # the skip is a tap at 0
        found = [torch.from_numpy(x)[..., : ctx.dim] for x in found]
        gu, gweight, gbias, gtaps, gskip = (g.to(dtype) for g, dtype in zip(found, ctx.dtypes, strict=True))
        return gu.flatten(-2), gweight.flatten(-2).T[:, None], gbias.flatten(), gtaps.T, gskip, None


class Taps(torch.autograd.Function):
    """Features h (features, L) -> taps (channels, L) of `HyenaFilter`, under the window (L, channels).

    frequency (1, W); last (channels, W); layers: weight and bias of each layer of sines, sin(frequency (W h + b)).
    keep: whether a backward may follow.
    """

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, window: Tensor, keep: bool, frequency: Tensor, last: Tensor, *layers: Tensor
    ) -> Tensor:
        f, waves, angles = frequency.T, [h], []
        for weight, bias in zip(layers[::2], layers[1::2], strict=True):
            angle = torch.addmm(f * bias[:, None], f * weight, h)
            h = angle.sin() if keep else angle.sin_()
            if keep:
                angles.append(angle)
                waves.append(h)
        if keep:
            ctx.depth = len(angles)
            ctx.save_for_backward(window, frequency, last, *layers, *angles, *waves)
        return (h.T @ last.T).mul_(window).T

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        window, frequency, last, *rest = ctx.saved_tensors
        layers, angles, waves = (
            rest[: 2 * ctx.depth],
            rest[2 * ctx.depth : 3 * ctx.depth],
            rest[3 * ctx.depth :],
        )
        f, gf, found = frequency.T, torch.zeros_like(frequency.T), []
        grad = grad.T * window  # (L, channels)
        glast, gh = (waves[-1] @ grad).T, last.T @ grad.T
        for i in reversed(range(ctx.depth)):
            weight, bias = layers[2 * i], layers[2 * i + 1][:, None]
            gz = angles[i].cos().mul_(gh)  # of the angles
            gw, gb = gz @ waves[i].T, gz.sum(1, keepdim=True)
            gf += (gw * weight).sum(1, keepdim=True) + gb * bias
            found = [f * gw, (f * gb)[:, 0], *found]
            if i:
                gh = (f * weight).T @ gz
        return None, None, None, gf.T, glast, *found
