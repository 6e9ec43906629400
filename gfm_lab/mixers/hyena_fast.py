"""Hyena's operator and filter with their gradients written out, for the CPU: what `hyena.py` says line by line, faster.

The operator goes through the compiled loops of compiled_hyena.py. Of the filter the matrix products stay in torch, and
what it writes comes out with channels innermost, as the loops want it. Introduced in notebook 04.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import compiled_hyena as loops

__all__ = ["Operator", "Waves"]


class Operator(torch.autograd.Function):
    """u (B, L, 3 D) -> (B, L, D): short filter, gates and long convolution of order 2.

    weight (3 D, 1, 3) and bias (3 D,) of the short filter; taps and window (L, D), whose product is the long one; skip
    (D,), one more tap at 0. keep: whether a backward may follow.
    """

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        weight: Tensor,
        bias: Tensor,
        taps: Tensor,
        window: Tensor,
        skip: Tensor,
        keep: bool,
    ) -> Tensor:
        wide, dim = torch.promote_types(u.dtype, torch.float32), len(skip)
        given = (u, weight[:, 0].T, bias, taps, window, skip)
        ctx.dtypes, ctx.dim, ctx.wide = [x.dtype for x in given], dim, wide
        u, weight, bias, taps, window, skip = (_array(x, wide) for x in given)
        u, weight, bias = (loops.padded(x.reshape(*x.shape[:-1], 3, dim)) for x in (u, weight, bias))
        taps, window, skip = map(loops.padded, (taps, window, skip))
        y, kept = loops.operator(u, weight, bias, taps, window, skip, keep, torch.get_num_threads())
        if keep:
            ctx.save_for_backward(*map(torch.from_numpy, (u, weight, bias, window, *kept)))
        return torch.from_numpy(y)[..., :dim].to(ctx.dtypes[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, weight, bias, window, *kept = (x.numpy() for x in ctx.saved_tensors)
        grad, threads = loops.padded(_array(grad, ctx.wide)), torch.get_num_threads()
        found = loops.operator_backward(u, weight, bias, window, loops.Kept(*kept), grad, threads)
        found = [torch.from_numpy(x)[..., : ctx.dim] for x in found]
        dtypes = *ctx.dtypes[:4], ctx.dtypes[5]
        gu, gweight, gbias, gtaps, gskip = (g.to(dtype) for g, dtype in zip(found, dtypes, strict=True))
        gweight = gweight.flatten(-2).T[:, None]
        return gu.flatten(-2), gweight, gbias.flatten(), gtaps, None, gskip, None


def _array(x: Tensor, dtype: torch.dtype) -> np.ndarray:
    x = x.detach()
    return (x if x.dtype == dtype else x.to(dtype)).numpy()


class Waves(torch.autograd.Function):
    """Features h (features, L) -> what `HyenaFilter` puts under its window, (L, channels).

    frequency (1, W); last (channels, W); layers: weight and bias of each layer of sines, sin(frequency (W h + b)).
    keep: whether a backward may follow.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, keep: bool, frequency: Tensor, last: Tensor, *layers: Tensor) -> Tensor:
        if not keep:
            f = frequency.T
            for weight, bias in zip(layers[::2], layers[1::2], strict=True):
                h = torch.addmm(f * bias[:, None], f * weight, h).sin_()
        else:
            waves, slopes, f = [h], [], frequency.detach()[0].numpy()
            for weight, bias in zip(layers[::2], layers[1::2], strict=True):
                slopes.append(weight @ h)  # turns into what its name says
                h = loops.sines(slopes[-1].numpy(), bias.detach().numpy(), f)
                h = torch.from_numpy(h)
                waves.append(h)
            ctx.depth = len(slopes)
            ctx.save_for_backward(frequency, last, *layers, *slopes, *waves)
        return h.T @ last.T

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        frequency, last, *rest = ctx.saved_tensors
        depth, found = ctx.depth, []
        layers, slopes, waves = rest[: 2 * depth], rest[2 * depth : 3 * depth], rest[3 * depth :]
        f, gf = frequency.detach()[0].numpy(), torch.zeros_like(frequency)
        glast, gh = (waves[-1] @ grad).T, last.T @ grad.T
        for i in reversed(range(depth)):
            weight, bias = layers[2 * i], layers[2 * i + 1]
            gb = loops.sines_backward(slopes[i].numpy(), gh.numpy())
            gw = gh @ waves[i].T
            if i:
                gh = (frequency.T * weight).T @ gh
            given = (x.detach().numpy() for x in (weight, bias))
            loops.parameters_backward(gw.numpy(), gb, *given, f, gf[0].numpy())
            found = [gw, torch.from_numpy(gb), *found]
        return None, None, gf, glast, *found
