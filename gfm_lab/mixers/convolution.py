"""Gated, dilated convolutions: each position reads a fixed pattern of neighbours, the same everywhere.

    x -> two projections:  values v and gates g        y = out( convolve(v) * silu(g) )

The convolution is depthwise: each channel has its own filter of `kernel` taps, `dilation` positions apart; the
projections mix the channels. Layers whose dilation doubles reach far with few taps (WaveNet: van den Oord et al. 2016,
arXiv:1609.03499); the gate lets the content of a position decide what passes (Dauphin et al. 2017, arXiv:1612.08083).
Causal, or centred on the position.

Read in this order: `receptive_field`, `shifted_sum`, `Convolution`. Needs torch alone. Introduced in notebook 04.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Convolution", "receptive_field"]


def receptive_field(kernel: int | Sequence[int], dilation: int | Sequence[int] = 1, layers: int = 1) -> int:
    """How many input positions one output of stacked convolutions can see: 1 + the sum of (kernel - 1) * dilation.

    Args:
        kernel, dilation: of every layer, or a list with one value a layer; lists must be of one length.
        layers: how many, where neither is a list.

    Raises:
        ValueError: a value below 1, or lists of different lengths.

    Introduced in notebook 04.
    """
    lists = [value for value in (kernel, dilation) if not isinstance(value, int)]
    if len({len(value) for value in lists}) > 1:
        raise ValueError(
            f"kernel and dilation list {' and '.join(str(len(v)) for v in lists)} layers: give one length"
        )
    depth = len(lists[0]) if lists else layers
    kernels, dilations = ([v] * depth if isinstance(v, int) else [*v] for v in (kernel, dilation))
    if depth < 0 or any(value < 1 for value in (*kernels, *dilations)):
        raise ValueError(
            f"kernel {kernel} and dilation {dilation} must be at least 1, layers {layers} at least 0"
        )
    return 1 + sum((k - 1) * d for k, d in zip(kernels, dilations, strict=True))


def shifted_sum(v: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """Depthwise convolution as a sum of shifted products: y[t] = sum over i of weight[:, i] * v[t + i * dilation].

    Args:
        v: (B, L + (K - 1) * dilation, E), with the neighbours outside already in front or behind.
        weight: (E, K), one filter a channel; its last tap meets the latest position.

    Returns:
        (B, L, E). For few taps faster on a CPU than conv1d with one group a channel, forward and backward.

    Introduced in notebook 04.
    """
    taps = weight.shape[1]
    length = v.shape[1] - (taps - 1) * dilation
    y = v[:, :length] * weight[:, 0]
    for i in range(1, taps):
        y = torch.addcmul(y, v[:, i * dilation : i * dilation + length], weight[:, i])
    return y


class Convolution(nn.Module):
    """A gated convolution of few taps. x (B, L, D) -> y (B, L, D).

    Args:
        dim: width D. kernel: taps of each filter, odd where it is not causal. dilation: positions between two taps.
        expand: width inside, in multiples of D.
        causal: True: a position sees itself and what stands (kernel - 1) * dilation before it; False: as far on
            either side as half of that.

    Its state is the last (kernel - 1) * dilation values, whatever the length of the sequence.

    Raises:
        ValueError: kernel or dilation below 1, an even kernel that is not causal, input that does not fit.

    Introduced in notebook 04.
    """

    def __init__(
        self, dim: int, kernel: int = 7, dilation: int = 1, expand: float = 1, causal: bool = True
    ) -> None:
        super().__init__()
        if kernel < 1 or dilation < 1 or expand <= 0:
            raise ValueError(
                f"kernel ({kernel}) and dilation ({dilation}) must be at least 1, expand ({expand}) above 0"
            )
        if not causal and kernel % 2 == 0:
            raise ValueError(
                f"a centred filter has a middle: kernel must be odd, not {kernel}, where causal=False"
            )
        self.dim, self.inner, self.kernel, self.dilation = dim, round(expand * dim), kernel, dilation
        self.causal = causal
        self.inputs = nn.Linear(dim, 2 * self.inner)
        self.weight = nn.Parameter(torch.empty(self.inner, kernel))
        self.bias = nn.Parameter(torch.empty(self.inner))
        self.out = nn.Linear(self.inner, dim)
        self.initialize()

    def initialize(self) -> None:
        """Taps as torch starts those of a Conv1d: uniform within 1 / sqrt(kernel)."""
        nn.init.uniform_(self.weight, -(self.kernel**-0.5), self.kernel**-0.5)
        nn.init.zeros_(self.bias)

    @property
    def reach(self) -> int:
        """How far the outermost two taps are apart."""
        return (self.kernel - 1) * self.dilation

    def forward(
        self, x: Tensor, mask: Tensor | None = None, state: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Args: x (B, L, D); mask (B, L), 0 at padding; state: None, or a dict, empty at first, then what was kept."""
        self._check(x, mask, state)
        v, gate = self.inputs(x).chunk(2, dim=-1)
        if mask is not None:
            v = v * (mask != 0)[..., None].to(v.dtype)
        if self.causal:
            past = state["values"].to(v.dtype) if state else v.new_zeros(v.shape[0], self.reach, self.inner)
            v = torch.cat((past, v), dim=1)
        else:
            v = F.pad(v, (0, 0, self.reach // 2, self.reach // 2))
        if state is not None:
            state["values"] = latest(v, mask, self.reach)
        y = shifted_sum(v, self.weight.to(v.dtype), self.dilation) + self.bias.to(v.dtype)
        return self.out(y * F.silu(gate))

    def _check(self, x: Tensor, mask: Tensor | None, state: dict[str, Tensor] | None) -> None:
        if x.ndim != 3 or x.shape[-1] != self.dim:
            raise ValueError(f"x has shape {tuple(x.shape)}: expected (B, L, {self.dim})")
        if mask is not None and mask.shape != x.shape[:2]:
            raise ValueError(f"the mask has shape {tuple(mask.shape)}, x {tuple(x.shape)}: expected (B, L)")
        if state is not None and not self.causal:
            raise ValueError(
                "a state needs causal=True: without it, new tokens would change what old ones saw"
            )
        expected = (x.shape[0], self.reach, self.inner)
        if state and ("values" not in state or state["values"].shape != expected):
            found = {name: tuple(value.shape) for name, value in state.items()}
            raise ValueError(
                f"the state holds {found}, this convolution keeps 'values' {expected}: another model's?"
            )


def latest(values: Tensor, mask: Tensor | None, count: int) -> Tensor:
    """The last `count` of values (B, P + L, E) that are no padding; mask (B, L), None or 0 at padding of the last L."""
    if mask is None:
        return values[:, values.shape[1] - count :]
    real = F.pad(mask != 0, (values.shape[1] - mask.shape[1], 0), value=True)
    order = real.long().argsort(dim=1, stable=True)[
        :, values.shape[1] - count :
    ]  # padding first, then in order
    return values.gather(1, order[..., None].expand(-1, -1, values.shape[2]))
