"""Hyena: long convolutions whose filters a small network writes, and gates that make them depend on the data.

    x -> three projections, each smoothed by a filter of 3 taps:  gates g1, g2 and values v      (order 2)
    y = out( g1 * (h conv (g2 * v) + skip * (g2 * v)) )

The filter h is as long as the sequence, and yet has few parameters: a network of sines reads the position t and answers
h(t), under a window that decays. The convolution is made by FFT in L log L steps. Order N has N gates and N - 1 long
filters (Poli et al. 2023, arXiv:2302.10866; HyenaDNA: Nguyen et al. 2023, arXiv:2306.15794).

Read in this order: `fft_convolution`, `HyenaFilter`, `Hyena`. Needs torch alone. Introduced in notebook 04.
"""

from __future__ import annotations

import importlib
import math
from contextlib import nullcontext
from functools import lru_cache
from itertools import pairwise
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Hyena", "HyenaFilter", "fft_convolution"]

KEPT = 1 << 20  # numbers of a window that is kept for the next layer: 4 MB in float32


def fft_convolution(u: Tensor, k: Tensor) -> Tensor:
    """Causal convolution along the last axis: y[t] = sum over s <= t of k[s] u[t - s], in L log L steps.

    Args:
        u: the signal, (..., L). k: the filter, (..., K), broadcast against u; taps beyond L have no effect.

    Returns:
        (..., L) in the dtype of `u`; 16-bit input is computed in 32 bits. Equal to the direct sum, and to the product
        with the lower triangular Toeplitz matrix of k. One value that is not finite reaches every position.

    Introduced in notebook 04.
    """
    length = u.shape[-1]
    k = k[..., :length]
    wide = torch.promote_types(torch.promote_types(u.dtype, k.dtype), torch.float32)
    if u.numel() == 0 or k.shape[-1] == 0:  # no sample or no tap: zeros of the broadcast shape
        return u * k.sum(-1, keepdim=True).to(u.dtype)
    size = fast_size(
        length + k.shape[-1] - 1
    )  # room for the whole result: else its end wraps around to the start
    spectrum = torch.fft.rfft(u.to(wide), n=size) * torch.fft.rfft(k.to(wide), n=size)
    return torch.fft.irfft(spectrum, n=size)[..., :length].to(u.dtype)


def fast_size(least: int) -> int:
    """The smallest even length from `least` on whose only prime factors are 2, 3 and 5: there an FFT is fast."""
    best = 1 << max(least - 1, 1).bit_length()
    for odd in (3, 5, 9, 15, 25, 27, 45, 75, 81, 125, 135):
        size = 2 * odd
        while size < least:
            size *= 2
        best = min(best, size)
    return best


@lru_cache(maxsize=1)
def _fast() -> ModuleType | None:
    """hyena_fast.py, if numba is there; it takes a second to import, so it waits for the first call."""
    try:
        return importlib.import_module(".hyena_fast", __package__)
    except Exception:  # no numba, one that does not fit numpy, or this file copied out of its package
        return None


@lru_cache(maxsize=2)  # every layer asks for the same
def _positions(
    length: int, max_length: int, features: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """What `HyenaFilter.positions` returns."""
    with torch.inference_mode(False):  # what was made in that mode could not be used outside of it
        at = dict(device=device, dtype=dtype)
        t = torch.linspace(0, 1, max_length, **at)[:length, None]
        bands = torch.linspace(1e-4, (features - 1) // 2 - 1, (features - 1) // 2, **at)
        angle = 2 * math.pi / max_length * torch.arange(length, **at)[:, None] * bands
        return t.clone(), torch.cat((t, angle.cos(), -angle.sin()), dim=1)


@lru_cache(maxsize=2)
def _window(length: int, max_length: int, channels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What `HyenaFilter.window` returns."""
    with torch.inference_mode(False):
        t = _positions(length, max_length, 3, device, dtype)[0]
        return torch.exp(-t * _rates(channels, device, dtype).abs()).add_(0.05)


def _rates(channels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What `HyenaFilter.rates` returns."""
    return torch.linspace(math.log(0.01) / 1.5, math.log(0.01) / 0.3, channels, device=device, dtype=dtype)


class HyenaFilter(nn.Module):
    """Writes the taps of long filters: position t -> features -> a network of sines -> window; (channels, L).

    Args:
        channels: filters to write.
        max_length: of the sequence; times are counted in shares of it.
        width: of the network. inner: its hidden layers beside the first.
        features: odd; t itself, and cosines and sines of (features - 1) / 2 frequencies.
        frequency: where the trainable frequencies of the sines start: one for each unit, shared by all layers.

    The window exp(-t |rate|) + 0.05 gives each channel its own reach: rates from ln(0.01) / 1.5 to ln(0.01) / 0.3.
    All of it is computed in 32 bits at least: at a frequency of 10, sixteen bits would draw another filter.

    Raises:
        ValueError: features even or below 3; a length beyond max_length.

    Introduced in notebook 04.
    """

    def __init__(
        self,
        channels: int,
        max_length: int,
        width: int = 64,
        features: int = 5,
        inner: int = 2,
        frequency: float = 10.0,
    ) -> None:
        super().__init__()
        if features < 3 or features % 2 == 0:
            raise ValueError(
                f"filter_features must be odd and at least 3 (t, cosines, sines), not {features}"
            )
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, not {max_length}")
        self.channels, self.max_length, self.features = channels, max_length, features
        sizes = [features, *[width] * (inner + 1)]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.frequency = nn.Parameter(torch.full((1, width), float(frequency)))
        self.last = nn.Linear(width, channels, bias=False)

    def positions(self, length: int) -> tuple[Tensor, Tensor]:
        """Times t (L, 1), of which max_length - 1 make 1, and their features (L, features)."""
        return _positions(length, self.max_length, self.features, *self._kind())

    def rates(self) -> Tensor:
        """(channels,): how fast the window of each decays."""
        return _rates(self.channels, *self._kind())

    def window(self, length: int) -> Tensor:
        """(L, channels): exp(-t |rate|) + 0.05. A short one is the same object again, as every layer asks for it."""
        make = _window if length * self.channels <= KEPT else _window.__wrapped__
        return make(length, self.max_length, self.channels, *self._kind())

    def _kind(self) -> tuple[torch.device, torch.dtype]:
        weight = self.last.weight
        return weight.device, torch.promote_types(weight.dtype, torch.float32)

    def forward(self, length: int) -> Tensor:
        return self.waves(length).T * self.window(length).T

    def waves(self, length: int) -> Tensor:
        """What the network writes before the window, (L, channels)."""
        if length > self.max_length:
            raise ValueError(
                f"the input has {length:,} tokens, but this Hyena filter was made for max_length {self.max_length:,}: "
                f"cut the input, or build the model with a larger max_length"
            )
        h = self.positions(length)[1].T  # time innermost: (features, L)
        fast = _fast() if h.device.type == "cpu" and h.dtype == self.last.weight.dtype else None
        mixed = torch.is_autocast_enabled(h.device.type)
        with torch.autocast(h.device.type, enabled=False) if mixed else nullcontext():
            # In training torch's own passes make better use of several threads.
            if fast is not None and (torch.get_num_threads() == 1 or not torch.is_grad_enabled()):
                layers = [p for layer in self.layers for p in (layer.weight, layer.bias)]
                keep = torch.is_grad_enabled()  # in there it never is
                return fast.Waves.apply(h, keep, self.frequency, self.last.weight, *layers)
            frequency = self.frequency.to(h.dtype).T
            # sin(frequency * (W h + b)), with the frequency multiplied in where that is cheap.
            for layer in self.layers:
                weight, bias = layer.weight.to(h.dtype), layer.bias.to(h.dtype)[:, None]
                h = torch.sin(torch.addmm(frequency * bias, frequency * weight, h))
            return h.T @ self.last.weight.to(h.dtype).T


class Hyena(nn.Module):
    """The Hyena operator, causal: gates, a short filter and order - 1 long ones. x (B, L, D) -> y (B, L, D).

    It has no state of constant size: to continue a sequence it keeps all that was read and computes it again.

    Args:
        dim: width D. max_length: the longest input, padding counted.
        order: 2 or more: the number of gates; there is one long filter less.
        filter_width, filter_features, filter_inner, filter_frequency: as in `HyenaFilter`.
        causal: True. For the other kind, `build_mixer` puts two of these into `Bidirectional`.

    Raises:
        ValueError: order below 2, input beyond max_length or of another width, a state that does not fit.

    Introduced in notebook 04.
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        order: int = 2,
        filter_width: int = 64,
        filter_features: int = 5,
        filter_inner: int = 2,
        filter_frequency: float = 10.0,
        causal: bool = True,
    ) -> None:
        super().__init__()
        if order < 2:
            raise ValueError(f"order must be at least 2 (two gates, one long filter), not {order}")
        if not causal:
            raise ValueError(
                "Hyena reads from left to right: for both sides use build_mixer('hyena', causal=False)"
            )
        self.dim, self.order, self.max_length, self.causal = dim, order, max_length, causal
        self.inputs = nn.Linear(dim, (order + 1) * dim)
        self.short = nn.Conv1d((order + 1) * dim, (order + 1) * dim, 3, groups=(order + 1) * dim)
        self.filter = HyenaFilter(
            (order - 1) * dim, max_length, filter_width, filter_features, filter_inner, filter_frequency
        )
        self.skip = nn.Parameter(torch.empty((order - 1) * dim))
        self.out = nn.Linear(dim, dim)
        self.initialize()

    def initialize(self) -> None:
        """Filters start as torch starts linear layers (a smaller start writes flat ones), skips as standard normal."""
        for layer in (*self.filter.layers, self.filter.last, self.short):
            layer.reset_parameters()
        nn.init.normal_(self.skip)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, state: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Args: x (B, L, D); mask (B, L), 0 at padding; state: None, or a dict, empty at first, that keeps all read."""
        if x.ndim != 3 or x.shape[-1] != self.dim:
            raise ValueError(f"x has shape {tuple(x.shape)}: expected (B, L, {self.dim})")
        if mask is not None and mask.shape != x.shape[:2]:
            raise ValueError(f"the mask has shape {tuple(mask.shape)}, x {tuple(x.shape)}: expected (B, L)")
        return self.out(self.mix(self.inputs(x), mask, state))

    def mix(self, u: Tensor, mask: Tensor | None = None, state: dict[str, Tensor] | None = None) -> Tensor:
        """All between the projections: (B, L, (order + 1) D) -> (B, L, D). Padding is silent: it is set to 0."""
        new = u.shape[1]
        if mask is not None:
            u = u * (mask != 0)[..., None].to(u.dtype)
        if state is not None:
            u, mask = self._remember(u, mask, state)
        on_cpu = u.device.type == "cpu" and u.numel() > 0
        if on_cpu and mask is not None and bool((mask != 0).all()):
            mask = None
        if self.order == 2 and on_cpu and mask is None and _fast() is not None:
            taps, window = self.filter.waves(u.shape[1]), self.filter.window(u.shape[1])
            keep, short = torch.is_grad_enabled(), self.short
            if not keep:  # a million steps long, it should not wait in memory until the end
                taps, window = taps.mul_(window), window.new_ones(1, self.dim)
            y = _fast().Operator.apply(u, short.weight, short.bias, taps, window, self.skip, keep)
            return y[:, u.shape[1] - new :]
        *gates, v = self._smooth(u, mask).split(self.dim, dim=1)
        taps = self.filter(u.shape[1]).reshape(self.order - 1, self.dim, -1)
        skips = self.skip.reshape(self.order - 1, self.dim, 1).to(u.dtype)
        for gate, k, skip in zip(reversed(gates[1:]), taps, skips, strict=True):
            v = v * gate
            v = fft_convolution(v, k) + skip * v
        return (v * gates[0]).transpose(1, 2)[:, u.shape[1] - new :]

    def _smooth(self, u: Tensor, mask: Tensor | None) -> Tensor:
        """The short causal filter, as three shifted products: (B, L, C) -> (B, C, L)."""
        u, w = u.transpose(1, 2), self.short.weight.to(u.dtype)[:, 0]
        before, length = F.pad(u, (2, 0)), u.shape[2]
        y = self.short.bias.to(u.dtype)[:, None] + u * w[:, 2:]
        y = y + before[..., 1 : 1 + length] * w[:, 1:2] + before[..., :length] * w[:, :1]
        return y if mask is None else y * (mask != 0)[:, None].to(y.dtype)

    def _remember(self, u: Tensor, mask: Tensor | None, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What was read before, padding moved to its front, and then u; and the mask of both."""
        real = u.new_ones(u.shape[:2], dtype=torch.bool) if mask is None else mask != 0
        if state:
            there = state.get("inputs")
            if there is None or (there.shape[0], there.shape[2]) != (u.shape[0], u.shape[2]):
                found = {name: tuple(value.shape) for name, value in state.items()}
                raise ValueError(
                    f"the state holds {found}, this Hyena keeps 'inputs' ({u.shape[0]}, ..., {u.shape[2]}): "
                    f"another model's, or another batch's?"
                )
            u, real = torch.cat((there.to(u.dtype), u), 1), torch.cat((state["real"], real), 1)
        # Padding to the front in what is kept, so that distances between tokens stay what they are.
        order = real.long().argsort(dim=1, stable=True)
        state["inputs"] = u.gather(1, order[..., None].expand_as(u))
        state["real"] = real.gather(1, order)
        return u, real.long()
