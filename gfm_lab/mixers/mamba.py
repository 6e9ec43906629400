"""Site 3, Mamba: a memory of fixed size, and each token decides what it writes there and how fast the rest fades.

    h[t] = exp(delta[t] A) h[t-1] + delta[t] B[t] u[t]        N numbers for each of the D channels
    y[t] = C[t] . h[t]                                        read out

The step size delta, what to write B and what to read C are computed from the token itself: that is the selection. One
definition, `selective_scan_reference`, and `selective_scan` with the same numbers by the fastest way that is there:

    mamba-ssm's kernels      on a CUDA GPU where they import and run
    compiled loops           on a CPU where numba is installed (compiled.py)
    chunks in plain torch    everywhere

`Mamba` is the layer that models use. Read in the order above. Needs torch (Gu and Dao 2023, arXiv:2312.00752).
Introduced in notebook 05.
"""

from __future__ import annotations

import importlib
import math
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Mamba", "scan_path", "selective_scan", "selective_scan_reference"]

CHUNK = 64  # time steps whose states are in memory at once, in plain torch


def selective_scan_reference(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The definition: one step after the other (Gu and Dao 2023, arXiv:2312.00752, algorithm 2).

    `unbind` cuts the time axis once. Taking `B[:, :, t]` in the loop computes the same, but its backward then writes a
    tensor of full length for each step, and its time grows with L^2.

    Args:
        u: input (B, D, L). delta: step sizes, above 0 (B, D, L). A: rates, below 0 (D, N).
        B, C: what is written and read (B, N, L). initial_state: (B, D, N), zeros if None.

    Returns:
        y (B, D, L) and the last state (B, D, N).

    Introduced in notebook 05.
    """
    h = u.new_zeros(u.shape[0], *A.shape) if initial_state is None else initial_state
    y = []
    for u_t, delta_t, B_t, C_t in zip(*(x.unbind(2) for x in (u, delta, B, C)), strict=True):
        decay = torch.exp(delta_t[:, :, None] * A)  # (B, D, N)
        h = decay * h + (delta_t * u_t)[:, :, None] * B_t[:, None, :]
        y.append((h * C_t[:, None, :]).sum(2))
    return (torch.stack(y, dim=2) if y else torch.zeros_like(u)), h


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    initial_state: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """`selective_scan_reference` by the fastest way that is there, with what surrounds it in Mamba's block.

        delta = softplus(delta + delta_bias);    y = (scan(u, delta, A, B, C) + D u) * silu(z)

    The name, the order and the shapes are those of state-spaces/mamba; `initial_state` is added. Time and memory are
    linear in L, forward and backward. It computes in float32 (float64 if an input is) whatever autocast says, since
    errors add up along the sequence; on a CPU in `torch.get_num_threads()` threads. A large delta gives a decay of
    exactly 0 without overflow. A NaN in u stays in its row and channel, from its position on; one in B or C in its row.
    `scan_path` says which code runs.

    Args:
        u, delta, z: (B, D, L), real numbers. A: (D, N). B, C: (B, N, L). D, delta_bias: (D,).
        delta_softplus: whether delta goes through softplus, after the bias.
        return_last_state: also return the state after the last step.
        initial_state: (B, D, N), zeros if None.

    Returns:
        y (B, D, L) in the dtype of u; with `return_last_state` also the state (B, D, N), float32 or float64.

    Raises:
        ValueError: shapes that do not fit, or complex numbers; it names the argument.

    Introduced in notebook 05.
    """
    _check_shapes(u, delta, A, B, C, D, z, delta_bias, initial_state)
    given = [x for x in (u, delta, A, B, C, D, z, delta_bias, initial_state) if x is not None]
    dtype = torch.float64 if any(x.dtype == torch.float64 for x in given) else torch.float32
    path = scan_path(u.device, dtype)
    # mamba-ssm's kernels begin with zeros, and give no gradient through the state that they return.
    kernels_can = initial_state is None and not (return_last_state and torch.is_grad_enabled())
    with torch.autocast(u.device.type, enabled=False):
        if path == "mamba-ssm" and kernels_can and u.numel():
            kernel = importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
            floats = [None if x is None else x.float() for x in (u, delta, A, B, C, D, z, delta_bias)]
            y = kernel(*floats, delta_softplus, return_last_state)
            return (y[0].to(u.dtype), y[1]) if return_last_state else y.to(u.dtype)
        inputs = [x.to(dtype) for x in (u, delta, A, B, C)]
        x, delta = inputs[:2]
        if delta_bias is not None:
            delta = delta + delta_bias.to(dtype)[:, None]
        if delta_softplus:
            delta = F.softplus(delta)
        inputs[1] = delta
        h = (
            u.new_zeros(u.shape[0], *A.shape, dtype=dtype)
            if initial_state is None
            else initial_state.to(dtype)
        )
        y, h = (_Compiled if path == "compiled" else _Chunked).apply(*inputs, h)
        if D is not None:
            y = y + D.to(dtype)[:, None] * x
        if z is not None:
            y = y * F.silu(z.to(dtype))
    return (y.to(u.dtype), h) if return_last_state else y.to(u.dtype)


def scan_path(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> str:
    """Which code computes a scan there: "mamba-ssm", "compiled" or "chunked". Introduced in notebook 05.

    In place of mamba-ssm it is "chunked" for a scan that begins with a state, or returns one with a gradient.
    """
    kind = torch.device(device).type
    if kind == "cuda" and dtype != torch.float64 and _kernels_run():
        return "mamba-ssm"
    return "compiled" if kind == "cpu" and _compiled() is not None else "chunked"


@lru_cache(maxsize=1)
def _compiled() -> ModuleType | None:
    """compiled.py, if numba is there and compiles; that takes some seconds, so it waits for the first scan."""
    try:
        module = importlib.import_module(".compiled", __package__)
        one = torch.ones(1, 1, 1, dtype=torch.float32).numpy()
        y = module.scan_forward(one, one, -one[0], one, one, one)[0]
        return module if abs(float(y[0, 0, 0]) - math.exp(-1) - 1) < 1e-6 else None
    except Exception:  # no numba, one that does not fit numpy, or this file copied out of its package
        return None


@lru_cache(maxsize=1)
def _kernels_run() -> bool:
    """Whether mamba-ssm's CUDA kernel, forward and backward, gives the numbers of the definition here.

    Importing is not enough: kernels are compiled against one torch and one CUDA version and may fail when called.
    """
    try:
        kernel = importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
        random = torch.Generator().manual_seed(0)
        shapes = ((1, 4, 9), (1, 4, 9), (4, 3), (1, 3, 9), (1, 3, 9))
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cuda", enabled=False):
            signs = (1, 1, -1, 1, 1)
            raw = [
                s * torch.rand(*shape, generator=random, dtype=torch.float32)
                for s, shape in zip(signs, shapes, strict=True)
            ]
            ours, theirs = ([x.to("cuda").requires_grad_() for x in raw] for _ in "12")
            expected, found = selective_scan_reference(*ours)[0], kernel(*theirs)
            pairs = [(expected, found)]
            pairs += zip(
                torch.autograd.grad(expected.square().sum(), ours),
                torch.autograd.grad(found.square().sum(), theirs),
                strict=True,
            )
            return all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in pairs)
    except Exception:
        return False


def _check_shapes(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
) -> None:
    if u.ndim != 3 or A.ndim != 2:
        raise ValueError(
            f"u must be (B, D, L) and A (D, N), not of shapes {tuple(u.shape)} and {tuple(A.shape)}"
        )
    (rows, channels, length), states = u.shape, A.shape[1]
    wanted = {
        "delta": (delta, (rows, channels, length)),
        "A": (A, (channels, states)),
        "B": (B, (rows, states, length)),
        "C": (C, (rows, states, length)),
        "D": (D, (channels,)),
        "z": (z, (rows, channels, length)),
        "delta_bias": (delta_bias, (channels,)),
        "initial_state": (initial_state, (rows, channels, states)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, but {shape} goes with u {tuple(u.shape)} (B, D, L) "
                f"and A {tuple(A.shape)} (D, N)"
            )
    for name, tensor in {"u": u, **{name: tensor for name, (tensor, _) in wanted.items()}}.items():
        if tensor is not None and not tensor.is_floating_point():
            raise ValueError(f"{name} must hold real numbers, not {tensor.dtype}")


# ---- Compiled loops ----


class _Compiled(torch.autograd.Function):
    """compiled.py as a function that torch can differentiate; channels go last, where its loops want them."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        arrays = [_channels_last(x) for x in (u, delta, A, B, C, h)]
        y, last, starts = map(
            torch.from_numpy,
            _compiled().scan_forward(*(x.numpy() for x in arrays), threads=torch.get_num_threads()),
        )
        ctx.save_for_backward(*arrays[:5], starts)
        return y.transpose(1, 2), last.transpose(1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gy: Tensor, gh: Tensor) -> tuple[Tensor, ...]:
        arrays = [*ctx.saved_tensors, _channels_last(gy), _channels_last(gh)]
        grads = _compiled().scan_backward(*(x.numpy() for x in arrays), threads=torch.get_num_threads())
        return tuple(torch.from_numpy(g).transpose(-1, -2) for g in grads)


class _CompiledConvolution(torch.autograd.Function):
    """`_short_convolution` in compiled loops."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        arrays = x.detach().contiguous(), _channels_last(weight), bias.detach().contiguous()
        ctx.save_for_backward(*arrays)
        return torch.from_numpy(
            _compiled().convolve_forward(*(t.numpy() for t in arrays), threads=torch.get_num_threads())
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, ...]:
        arrays = (*ctx.saved_tensors, gy.contiguous())
        grads = _compiled().convolve_backward(*(t.numpy() for t in arrays), threads=torch.get_num_threads())
        gx, gweight, gbias = map(torch.from_numpy, grads)
        return gx, gweight.t(), gbias


def _channels_last(x: Tensor) -> Tensor:
    """(..., D, L) -> (..., L, D), contiguous: free where the caller has transposed the other way."""
    return x.detach().transpose(-1, -2).contiguous()


# ---- Chunks in plain torch ----


class _Chunked(torch.autograd.Function):
    """The recurrence chunk by chunk. Only one chunk's states (B, D, N) a step are ever in memory: the backward starts
    from the state that was kept at each chunk's beginning and computes the others again."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        inputs = [x.permute(2, 0, 1).contiguous() for x in (u, delta, B, C)]  # time first: (L, B, D or N)
        y, starts = torch.empty_like(inputs[0]), []
        for part in _chunks(u.shape[2]):
            u_, delta_, B_, C_ = (x[part] for x in inputs)
            starts.append(h)
            states, _ = _states(u_, delta_, A, B_, h)  # (T, B, D, N)
            torch.matmul(states, C_[..., None], out=y[part][..., None])
            h = states[-1].clone()
        ctx.save_for_backward(*inputs, A, *starts)
        return y.permute(1, 2, 0), h.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gy: Tensor, gh: Tensor) -> tuple[Tensor, ...]:
        u, delta, B, C, A, *starts = ctx.saved_tensors
        with torch.autocast(u.device.type, enabled=False):
            gy = gy.permute(2, 0, 1).contiguous()
            gu, gdelta, gB, gC, gA = map(torch.empty_like, (u, delta, B, C, A))
            gA.zero_()
            for part, start in zip(reversed(_chunks(len(u))), reversed(starts), strict=True):
                u_, delta_, B_, C_, gy_ = (x[part] for x in (u, delta, B, C, gy))
                states, decay = _states(u_, delta_, A, B_, start)
                # Gradient of each state: its own y's, and what the next state passes back.
                g = gy_[..., None] * C_[:, :, None, :]
                g[-1] += gh
                _recur(decay, g, backward=True)
                gC[part] = torch.matmul(gy_[:, :, None, :], states)[:, :, 0]
                gx = torch.matmul(g, B_[..., None])[..., 0]
                gB[part] = torch.matmul((delta_ * u_)[:, :, None, :], g)[:, :, 0]
                gh = decay[0] * g[0]
                # d decay / d (delta A) = decay; what it multiplied was the state before.
                decay[1:] *= states[:-1]
                decay[0] *= start
                g *= decay
                gA += torch.einsum("tbdn,tbd->dn", g, delta_)
                gu[part] = gx * delta_
                gdelta[part] = gx * u_ + (g * A).sum(-1)
        return gu.permute(1, 2, 0), gdelta.permute(1, 2, 0), gA, gB.permute(1, 2, 0), gC.permute(1, 2, 0), gh


def _chunks(length: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK)]


def _states(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """All states of a chunk after state h, and the decays, both (T, B, D, N)."""
    decay = torch.exp(delta[..., None] * A)
    x = (delta * u)[..., None] * B[:, :, None, :]
    x[0].addcmul_(decay[0], h)
    _recur(decay, x)
    return x, decay


def _recur(decay: Tensor, x: Tensor, backward: bool = False) -> None:
    """In place x[t] += decay[t] x[t-1] for t = 1, 2, ...; backward x[t] += decay[t+1] x[t+1] for t = T-2, T-3, ...

    A CPU goes step by step. A GPU would wait between so many small steps: it doubles its reach log2(T) times, as
    Hillis and Steele's parallel scan does (1986, doi:10.1145/7902.7903).
    """
    length = len(x)
    if x.device.type == "cpu":
        steps, decays = x.unbind(0), decay.unbind(0)
        if backward:
            for t in range(length - 2, -1, -1):
                steps[t].addcmul_(decays[t + 1], steps[t + 1])
        else:
            for t in range(1, length):
                steps[t].addcmul_(decays[t], steps[t - 1])
        return
    # a[t]: what is left of the state `reach` steps before. A flip copies, so x is written back.
    a, y = (torch.cat([decay[:1], decay[1:].flip(0)]), x.flip(0)) if backward else (decay.clone(), x)
    reach = 1
    while reach < length:
        y[reach:] += a[reach:] * y[:-reach]
        a[reach:] = a[reach:] * a[:-reach]
        reach *= 2
    if backward:
        x.copy_(y.flip(0))


# ---- The layer ----


def _short_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """silu of the sum of K shifted products: x (B, K - 1 + L, D), weight (D, K) -> (B, L, D).

    The same as `F.conv1d` with D groups, which on a CPU takes longer, forward and backward.
    """
    dtype = torch.promote_types(x.dtype, weight.dtype)
    if x.device.type == "cpu" and _compiled() is not None:
        inner = torch.promote_types(dtype, torch.float32)
        return _CompiledConvolution.apply(x.to(inner), weight.to(inner), bias.to(inner)).to(dtype)
    length, x = x.shape[1] - weight.shape[1] + 1, x.to(dtype)
    y = bias.to(dtype)
    for k, column in enumerate(weight.to(dtype).unbind(1)):
        y = torch.addcmul(y, x[:, k : k + length], column)
    return F.silu(y)


class Mamba(nn.Module):
    """Mamba's block: a short convolution, the selective scan, and a gate (Gu and Dao 2023, arXiv:2312.00752, fig. 3).

        x, z = inputs(x);  x = silu(conv(x));  delta, B, C = select(x)
        y = out(selective_scan(x, softplus(dt(delta)), A, B, C, D) * silu(z))

    Args:
        dim: width. state_size: N, numbers that each channel remembers. conv_kernel: K, tokens the convolution sees.
        expand: channels inside, D = expand * dim. dt_rank: width of what delta is made from (None: dim / 16, rounded
            up). causal: only True; `build_mixer(..., causal=False)` runs two of them, one from each end.

    `initialize` gives A, D and the step sizes their starting values, as in the paper's code: A = -(1 .. N) in every
    channel, D = 1, step sizes log-uniform between 0.001 and 0.1. A and D are not meant to decay.

    Raises:
        ValueError: a size below 1, or causal=False.

    Introduced in notebook 05.
    """

    def __init__(
        self,
        dim: int,
        state_size: int = 16,
        conv_kernel: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        causal: bool = True,
    ) -> None:
        super().__init__()
        dt_rank = -(-dim // 16) if dt_rank is None else dt_rank
        sizes = dict(dim=dim, state_size=state_size, conv_kernel=conv_kernel, expand=expand, dt_rank=dt_rank)
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, not {size!r}")
        if not causal:
            raise ValueError(
                "Mamba reads in one direction: build_mixer('mamba', dim, causal=False) makes two of them, one from "
                "each end"
            )
        self.dim, self.state_size, self.conv_kernel, self.dt_rank = dim, state_size, conv_kernel, dt_rank
        channels = self.channels = expand * dim
        self.inputs = nn.Linear(dim, 2 * channels, bias=False)
        self.conv = nn.Conv1d(
            channels, channels, conv_kernel, groups=channels
        )  # holds the weights: see `_convolve`
        self.select = nn.Linear(channels, dt_rank + 2 * state_size, bias=False)
        self.dt = nn.Linear(dt_rank, channels)
        self.A_log = nn.Parameter(torch.empty(channels, state_size))
        self.D = nn.Parameter(torch.empty(channels))
        self.out = nn.Linear(channels, dim, bias=False)
        self.A_log._no_weight_decay = self.D._no_weight_decay = True  # type: ignore[attr-defined]
        self.initialize()

    @torch.no_grad()
    def initialize(self) -> None:
        """The starting values of the paper's code: A, D and the step sizes as above, all else as torch starts layers.

        That includes the convolution: with weights as small as a Transformer's, what it hands to the scan would vanish.
        """
        for layer in (self.inputs, self.conv, self.select, self.out):
            if layer is not None:  # `Bidirectional` gives its second one no inputs and no out of its own
                layer.reset_parameters()
        rates = torch.arange(1, self.state_size + 1, device=self.A_log.device, dtype=torch.float32)
        self.A_log.copy_(rates.log().expand_as(self.A_log))
        self.D.fill_(1.0)
        self.dt.weight.uniform_(-(self.dt_rank**-0.5), self.dt_rank**-0.5)
        low, high = math.log(0.001), math.log(0.1)
        steps = torch.rand(self.channels, device=self.dt.bias.device) * (high - low) + low
        steps = steps.exp().clamp(min=1e-4)
        self.dt.bias.copy_(steps + (-torch.expm1(-steps)).log())  # softplus of this is steps

    def forward(
        self, x: Tensor, mask: Tensor | None = None, state: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Mix x (B, L, dim) over its positions.

        Args:
            x: the input.
            mask: (B, L), 0 at padding, on either side (output zero, and nothing of it enters the state).
            state: None, or a dict, empty at first: "conv" (B, K - 1, D), what the convolution still sees, and "scan"
                (B, D, N). Its size does not depend on how much was read.

        Raises:
            ValueError: shapes that do not fit, or a state that another layer has filled.
        """
        if x.ndim != 3 or x.shape[2] != self.dim:
            raise ValueError(f"x must be (B, L, {self.dim}), not {tuple(x.shape)}")
        return self.out(self.mix(self.inputs(x), mask, state))

    def mix(self, u: Tensor, mask: Tensor | None = None, state: dict[str, Tensor] | None = None) -> Tensor:
        """What stands between `inputs` and `out`: (B, L, 2 D) -> (B, L, D), zero at padding."""
        rows, length, _ = u.shape
        if mask is not None and mask.shape != (rows, length):
            raise ValueError(f"the mask has shape {tuple(mask.shape)}, the input {(rows, length)}")
        self._check_state(state, rows)
        padding = None if mask is None or bool((mask != 0).all()) else (mask == 0)[..., None]  # (B, L, 1)
        x, z = u.chunk(2, dim=-1)
        if padding is not None:
            x = x.masked_fill(padding, 0.0)
        x = self._convolve(x, padding, state)
        if padding is not None:
            x = x.masked_fill(padding, 0.0)
        delta, B, C = self.select(x).split([self.dt_rank, self.state_size, self.state_size], dim=-1)
        delta = F.softplus(self.dt(delta).to(torch.promote_types(u.dtype, torch.float32)))
        if padding is not None:
            delta = delta.masked_fill(padding, 0.0)  # decay 1, nothing written: the state stands still
        A = -torch.exp(self.A_log.to(delta.dtype))
        first = None if state is None else state.get("scan")
        x, delta, B, C, gate = (t.transpose(1, 2) for t in (x, delta, B, C, z))
        y = selective_scan(
            x, delta, A, B, C, self.D, gate, return_last_state=state is not None, initial_state=first
        )
        if state is not None:
            y, state["scan"] = y
        y = y.transpose(1, 2)
        return y if padding is None else y.masked_fill(padding, 0.0)

    def _convolve(self, x: Tensor, padding: Tensor | None, state: dict[str, Tensor] | None) -> Tensor:
        """The causal convolution along time, each channel by itself, and silu."""
        rows, length, channels = x.shape
        reach = self.conv_kernel - 1
        before = x.new_zeros(rows, reach, channels) if not state else state["conv"].to(x.dtype)
        seen = torch.cat([before, x], dim=1)  # (B, K - 1 + L, D)
        if state is not None:
            last = torch.arange(reach, device=x.device)
            end = x.new_full((rows, 1), length, dtype=torch.long)
            if padding is not None:
                # What was before belongs next to the first token, and what is kept are the columns up to the last one.
                real, columns = ~padding[..., 0], torch.arange(1, length + 1, device=x.device)
                start = (real.cumsum(1) == 0).sum(1, keepdim=True)  # all columns, in a row of padding
                seen = seen.scatter(1, (start + last)[..., None].expand(-1, -1, channels), before)
                end = torch.where(start < length, (columns * real).amax(1, keepdim=True), end)
            keep = end + last
            state["conv"] = seen.gather(1, keep[..., None].expand(rows, -1, channels))
        return _short_convolution(seen, self.conv.weight[:, 0], self.conv.bias)

    def _check_state(self, state: dict[str, Tensor] | None, rows: int) -> None:
        if not state:
            return
        wanted = {
            "conv": (rows, self.conv_kernel - 1, self.channels),
            "scan": (rows, self.channels, self.state_size),
        }
        found = {name: tuple(value.shape) for name, value in state.items() if isinstance(value, Tensor)}
        if found != wanted or len(state) != len(wanted):
            raise ValueError(
                f"this state is not of this layer and batch: it holds {found or list(state)}, the layer "
                f"keeps {wanted}; begin with an empty dict"
            )
