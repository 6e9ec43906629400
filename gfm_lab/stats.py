"""What a training run costs the machine: tokens a second, memory, arithmetic, and how much of the machine that uses.

    fraction used = FLOPs per token x tokens per second / FLOPs per second of a large matrix product on this machine

A FLOP is one addition or multiplication of two numbers. Counted are those that the model's definition asks for, forward
and backward, not what is computed twice to save memory. Matrix products, attention and FFTs are counted by watching one
training step; a selective scan runs in loops that cannot be watched, so its share is put in by a formula. Everything
else (norms, activations, gates, shifted products of a few taps, the optimizer) is left out: little arithmetic, though
not little time. `pretrain(..., stats=True)` writes all of it to run.json. Introduced in notebook 07.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from gfm_lab.mixers import Mamba, hyena, scan_path

__all__ = ["count_flops", "matmul_speed", "scan_flops", "stats_of", "stats_text"]

aten = torch.ops.aten


def count_flops(
    model: nn.Module, batch: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
) -> dict[str, float]:
    """FLOPs per token of one forward and backward: "products", "fft" and "scan"; their sum is "all".

    model: whatever returns an output with `loss` for `batch`, which holds `input_ids` (B, L) and labels, on the model's
    device. dtype: what autocast computes in. The gradients are removed afterwards; tokens that are padding count too.
    A causal attention counts as if every token saw all others, the usual convention. Introduced in notebook 07.
    """
    tokens = batch["input_ids"].numel()
    watching = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    with watching as counter, autocast_to(model, dtype), _watched():
        model(**batch).loss.backward()
    model.zero_grad(set_to_none=True)
    seen = counter.get_flop_counts().get("Global", {})
    fft = sum(flops for op, flops in seen.items() if op in FFTS)
    scans = [module for module in model.modules() if isinstance(module, Mamba)]
    # Chunks in plain torch are partly matrix products, which were counted: they are the scan's.
    watched = sum(CHUNKED * m.channels * m.state_size for m in scans) if _chunked(model) else 0
    found = {
        "products": (sum(seen.values()) - fft) / tokens - watched,
        "fft": fft / tokens,
        "scan": float(sum(scan_flops(m.channels, m.state_size) for m in scans)),
    }
    return {**found, "all": sum(found.values())}


@contextmanager
def _watched() -> Iterator[None]:
    """Hyena by its definition in torch, whose FFTs are seen; those of its compiled loops are not."""
    fast = hyena._fast
    hyena._fast = lambda: None
    try:
        yield
    finally:
        hyena._fast = fast


def scan_flops(channels: int, states: int) -> int:
    """FLOPs per token of a selective scan, forward and backward: 27 for each of channels x states numbers.

    Forward 9: delta A and its exponential, delta u B (2), decay h and the sum (2), C h and its sum (2), and one for
    what falls on a channel. Backward counts twice the forward, as for a matrix product. Introduced in notebook 07.
    """
    return 27 * channels * states


def matmul_speed(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    size: int | None = None,
    seconds: float = 0.3,
) -> float:
    """FLOPs per second of a product of two square matrices here, the best of several, with torch's present threads.

    size: rows (None: 1,024 on a CPU, 8,192 on a GPU). seconds: how long to try, at least three products. The best,
    since whatever else runs on the machine can only slow it down. Introduced in notebook 07.
    """
    device = torch.device(device)
    size = size or (8192 if device.type == "cuda" else 1024)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in "ab")
    best, until, rounds = math.inf, time.perf_counter() + seconds, 0
    with torch.inference_mode():
        while rounds < 4 or time.perf_counter() < until:  # the first one also pays for setting up
            wait(device)
            start = time.perf_counter()
            a @ b
            wait(device)
            best, rounds = min(best, time.perf_counter() - start) if rounds else best, rounds + 1
    return 2 * size**3 / best


def stats_of(
    flops: Mapping[str, float],
    speed: float,
    tokens_per_second: float,
    peak_memory_mib: float | None,
    processes: int = 1,
) -> dict[str, Any]:
    """What run.json says under "stats": the numbers that `stats_text` prints.

    flops: of `count_flops`. speed: of `matmul_speed`, of one process. tokens_per_second: of all processes together.
    """
    return {
        "tokens_per_second": tokens_per_second,
        "peak_memory_mib": peak_memory_mib,
        "flops_per_token": {name: round(value) for name, value in flops.items()},
        "matmul_flops_per_second": round(speed),
        "fraction_of_matmul_speed": round(flops["all"] * tokens_per_second / (speed * processes), 4),
    }


def stats_text(stats: Mapping[str, Any]) -> str:
    """The statistics of a run in three lines. Introduced in notebook 07."""
    flops, memory = stats["flops_per_token"], stats["peak_memory_mib"]
    parts = [f"{_short(flops[name])} {text}" for name, text in PARTS.items() if flops[name]]
    return (
        f"{stats['tokens_per_second']:,.0f} tokens/s, peak memory "
        + ("not known" if memory is None else f"{memory:,.0f} MiB")
        + f"\n{_short(flops['all'])}FLOPs a token, forward and backward: {', '.join(parts)}"
        + f"\n{stats['fraction_of_matmul_speed']:.1%} of the speed of a large matrix product here "
        + f"({_short(stats['matmul_flops_per_second'])}FLOPs/s)"
    )


PARTS = {"products": "in matrix products and attention", "fft": "in FFTs", "scan": "in scans"}


def _short(value: float) -> str:
    """12,345,678 -> '12.3 M'."""
    step = min(max(int(math.log10(max(value, 1)) // 3), 0), 5)
    return f"{value / 1000**step:.3g} {' kMGTP'[step]}".rstrip() + ("" if step else " ")


# ---- How operations are counted ----


def autocast_to(model: nn.Module, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast as in training: none for float32."""
    kind = next(model.parameters()).device.type
    return nullcontext() if dtype == torch.float32 else torch.autocast(kind, dtype)


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def _chunked(model: nn.Module) -> bool:
    return scan_path(next(model.parameters()).device) == "chunked"


def _attention(query: Any, key: Any, value: Any, *others: Any, out_shape: Any = None, **options: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    grad: Any, query: Any, key: Any, value: Any, *others: Any, out_shape: Any = None, **options: Any
) -> int:
    """Twice the forward: that the kernels compute the scores once more is not the model's arithmetic."""
    return 2 * sdpa_flop_count(query, key, value)


def _fft(shape: Any, dim: Any, *others: Any, out_shape: Any = None, **options: Any) -> int:
    """A real FFT of n numbers: 2.5 n log2 n, half of a complex one's (Cooley and Tukey with radix 2)."""
    shape = max(shape, out_shape, key=lambda s: s[dim[-1]])  # of its two sides, the one with n real numbers
    return int(2.5 * math.prod(shape) * math.log2(max(2, shape[dim[-1]])))


def _complex_fft(shape: Any, dim: Any, *others: Any, **options: Any) -> int:
    return int(5 * math.prod(shape) * math.log2(max(2, math.prod(shape[d] for d in dim))))


CHUNKED = (
    10  # FLOPs a number of the state that plain torch's chunks spend in matrix products, forward and backward
)
FFTS = {aten._fft_r2c: _fft, aten._fft_c2r: _fft, aten._fft_c2c: _complex_fft}
_KERNELS = [
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
]
FORMULAS = {
    **FFTS,
    **{getattr(aten, name): _attention for name in _KERNELS},
    **{getattr(aten, f"{name}_backward"): _attention_backward for name in _KERNELS},
}
