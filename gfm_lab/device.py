"""Where a model runs: the device, the precision it computes in, and whether what it offers really works.

Nothing is believed because a library says so: a GPU has to give the right sum, Apple's MPS has to give the CPU's
numbers on a small model, bfloat16 on a CPU has to be faster, Mamba's CUDA kernels have to compute a scan.
torch is imported inside the functions, so that this module loads on a machine where torch is broken.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ENVIRONMENT = "GFM_LAB_DEVICE"
KINDS = ("cuda", "mps", "cpu")  # the order of preference
_TOLERANCE = 1e-3  # largest difference between MPS and CPU, as a share of the largest number compared
_WORTH_IT = 1.5  # how much faster than float32 a CPU's bfloat16 has to be


class DeviceError(RuntimeError):
    """The device that was asked for does not exist here or does not work; the message says why and what to do."""


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """Where to compute: the one asked for, else the best that works: a CUDA GPU, then Apple's MPS, then the CPU.

    A GPU counts only if a small sum on it succeeds: a driver older than the installed torch, or a card that this
    build has no code for, is found here and not in the middle of a notebook. MPS counts only after `mps_status`.

    Args:
        device: "cpu", "cuda", "cuda:1" or "mps"; "auto" or None: $GFM_LAB_DEVICE if that is set, else the best.

    Raises:
        DeviceError: the one asked for is unknown, absent or does not work. None is asked for: never.
        ImportError: torch is not installed or does not load.

    Introduced in notebook 09.
    """
    import torch

    asked, by = (None, "") if device is None or str(device) == "auto" else (str(device), "")
    if asked is None and os.environ.get(ENVIRONMENT, "auto") not in ("", "auto"):
        asked, by = os.environ[ENVIRONMENT].strip().lower(), f" (by the environment variable {ENVIRONMENT})"
    if asked is None:
        return torch.device(next(kind for kind in KINDS if _status(kind)[0]))
    try:
        picked = torch.device(asked)
    except RuntimeError:
        picked = None
    if picked is None or picked.type not in KINDS:
        raise DeviceError(
            f"there is no device {asked!r}{by}: choose one of auto, {', '.join(KINDS)}, cuda:1 ..."
        )
    usable, reason = _status(asked)
    if not usable:
        raise DeviceError(
            f"device {asked!r} was asked for{by} but cannot be used: {reason}; choose auto or cpu"
        )
    return picked


def _status(device: str) -> tuple[bool, str]:
    """Whether "cuda", "cuda:1", "mps" or "cpu" can be used, and why not."""
    import torch

    if device.startswith("mps"):
        return mps_status()
    if device.startswith("cuda"):
        try:
            if not torch.cuda.is_available():
                build = (
                    "this torch is a build without CUDA" if torch.version.cuda is None else "no GPU was found"
                )
                return False, build
            if torch.ones(2, device=device).sum().item() != 2:
                return False, "a sum on it is wrong"
        except Exception as fault:
            return False, _first_line(fault)
    return True, "works"


def _first_line(fault: BaseException) -> str:
    lines = str(fault).strip().splitlines()
    return f"{type(fault).__name__}: {lines[0] if lines else 'no message'}"


# ---- Apple's MPS: only if it gives the CPU's numbers ----


def mps_status() -> tuple[bool, str]:
    """Whether Apple's MPS computes what the CPU computes, and why it is not used otherwise. Never raises.

    MPS kernels have been wrong without an error (masks, strided inputs, sums along an axis), and a model trained on
    such a kernel looks like a model that does not learn. So a small model's outputs, loss and gradients are computed
    on both and compared, once a process.
    """
    try:
        import torch

        if not torch.backends.mps.is_available():
            return False, "no Apple GPU"
        if torch.ones(2, device="mps").sum().item() != 2:
            return False, "a sum on it is wrong"
        problem = _difference("mps")
    except Exception as fault:
        return False, _first_line(fault)
    return (False, problem) if problem else (True, "agrees with the CPU")


@lru_cache(maxsize=4)
def _difference(device: str) -> str:
    """Where the small model's numbers on `device` differ from the CPU's, in a few words; empty if they agree."""
    import torch

    with torch.inference_mode(False), torch.enable_grad():  # wherever we are called from
        expected, found = small_model("cpu"), small_model(device)
    for name, right in expected.items():
        ours = found[name].detach().cpu()
        if not torch.isfinite(ours).all():
            return f"{name}: numbers that are not finite"
        off = ((ours - right.detach()).abs().max() / right.detach().abs().max().clamp_min(1e-12)).item()
        if off > _TOLERANCE:
            return f"{name} is off by {off:.1e} ({_TOLERANCE:.0e} allowed)"
    return ""


def small_model(device: str | torch.device) -> dict[str, Tensor]:
    """One forward and backward pass through what the course's models are made of, on the same random numbers.

    Returns name -> result, stage by stage: running sums (positions), embedding, layer norm, linear, attention with
    padding, GELU, FFT convolution, loss with ignored labels, and the gradient of each parameter.
    """
    import torch
    import torch.nn.functional as F

    rows, length, width, heads, vocabulary = 3, 37, 32, 4, 11
    random = torch.Generator().manual_seed(0)  # drawn on the CPU: the same numbers on every device

    def parameter(*shape: int) -> Tensor:
        numbers = torch.randn(*shape, generator=random, dtype=torch.float32)
        return (numbers / math.sqrt(shape[-1])).to(device).requires_grad_()

    table, places = parameter(vocabulary, width), parameter(length + 1, width)
    qkv, inner, outer = parameter(3 * width, width), parameter(2 * width, width), parameter(width, 2 * width)
    scale, filters = parameter(width), parameter(width, length)
    ids = torch.randint(0, vocabulary, (rows, length), generator=random).to(device)
    real = (torch.arange(length)[None] < torch.tensor([[length], [length - 9], [5]])).to(device)  # (B, L)

    found: dict[str, Tensor] = {}
    positions = found["running sum"] = real.long().cumsum(1)
    x = found["embedding"] = F.embedding(ids, table) + F.embedding(positions, places)
    h = found["layer norm"] = F.layer_norm(x, (width,), weight=1 + scale)
    h = found["linear"] = F.linear(h, qkv)
    q, k, v = h.view(rows, length, 3, heads, width // heads).permute(
        2, 0, 3, 1, 4
    )  # each (B, H, L, D), strided
    h = F.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None, :])
    found["attention"] = h
    x = x + h.transpose(1, 2).reshape(rows, length, width)
    h = found["GELU"] = F.gelu(F.linear(x, inner))
    x = x + F.linear(h, outer)
    spectrum = torch.fft.rfft(x.transpose(1, 2), n=2 * length) * torch.fft.rfft(filters, n=2 * length)
    x = x + torch.fft.irfft(spectrum, n=2 * length)[..., :length].transpose(1, 2)
    found["FFT convolution"] = x
    logits = F.linear(x, table)
    labels = ids.masked_fill(~real, -100)
    loss = found["loss"] = F.cross_entropy(
        logits.reshape(-1, vocabulary), labels.reshape(-1), ignore_index=-100
    )
    loss.backward()
    parameters = {
        "table": table,
        "positions": places,
        "attention": qkv,
        "first FFN": inner,
        "second FFN": outer,
    }
    for name, tensor in {**parameters, "norm": scale, "filter": filters}.items():
        found[f"gradient ({name})"] = tensor.grad
    return {name: tensor.float() for name, tensor in found.items()}


# ---- Precision ----


def precision_of(
    device: str | torch.device | None = None, precision: str | torch.dtype = "auto"
) -> torch.dtype:
    """The precision to compute in: torch.bfloat16 where it pays and is safe, else torch.float32.

    "auto" is bfloat16 on CUDA cards that compute in it (not on those that only emulate it), and on a CPU where a
    short measurement (once a process) finds it at least 1.5 times as fast as float32; float32 on MPS. Weights stay
    float32 either way: see `autocast`. As "auto" is measured on a CPU, a run that is resumed should keep the
    precision it began with.

    Args:
        device: as for `pick_device`.
        precision: "auto", "float32" or "bfloat16" ("fp32", "bf16"), or one of the two as a torch.dtype.

    Raises:
        ValueError: another precision, or bfloat16 on a card that has none.
        DeviceError: as `pick_device`.

    Introduced in notebook 09.
    """
    import torch

    names = {"fp32": "float32", "bf16": "bfloat16"}
    wanted = str(precision).removeprefix("torch.").lower()
    wanted = names.get(wanted, wanted)
    if wanted not in ("auto", "float32", "bfloat16"):
        raise ValueError(
            f"precision {wanted!r} is not offered: choose auto, float32 or bfloat16 (float16 would need a scaled loss)"
        )
    if wanted == "float32":
        return torch.float32
    device = pick_device(device)
    if device.type == "cuda":
        with torch.cuda.device(device):
            has = torch.cuda.is_bf16_supported(including_emulation=False)
        if wanted == "bfloat16" and not has:
            raise ValueError(
                f"{torch.cuda.get_device_name(device)} does not compute in bfloat16: choose float32"
            )
    else:
        has = device.type == "cpu" and wanted == "auto" and bfloat16_speed() >= _WORTH_IT
    return torch.bfloat16 if has or wanted == "bfloat16" else torch.float32


@lru_cache(maxsize=1)
def bfloat16_speed() -> float:
    """How many times as fast as float32 a matrix product in bfloat16 is on this CPU; measured once a process.

    About 1/3 to 1/100 on processors without instructions for it, 2 to 8 on those with AMX or its like. Takes some
    hundredths of a second; each precision counts by its best of five, taken in turns.
    """
    import torch

    best = {torch.float32: math.inf, torch.bfloat16: math.inf}
    random = torch.Generator().manual_seed(0)
    tokens, weights = (torch.randn(n, 256, generator=random, dtype=torch.float32) for n in (1024, 512))
    with torch.inference_mode():
        for turn in range(5):
            for dtype in best:
                a, b = tokens.to(dtype), weights.to(dtype)
                start = time.perf_counter()
                a @ b.T
                seconds = time.perf_counter() - start
                if turn:  # the first one also pays for setting up
                    best[dtype] = min(best[dtype], seconds)
    return best[torch.float32] / best[torch.bfloat16]


def autocast(
    device: str | torch.device | None = None, precision: str | torch.dtype = "auto"
) -> AbstractContextManager[Any]:
    """A context in which matrix products run in the chosen precision, and sums, norms and the loss in float32.

    `with autocast(): loss = model(**batch).loss`. In float32 it does nothing, and undoes an autocast around it.

    Args and errors as for `precision_of`. Introduced in notebook 09.
    """
    import torch

    device = pick_device(device)
    dtype = precision_of(device, precision)
    # The dtype is given even where nothing is cast: torch would warn about its own default for some devices.
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


# ---- What there is ----


def describe() -> dict[str, Any]:
    """Facts about the machine as torch sees it.

    Keys: `device` ("cuda", "mps" or "cpu"), `name` (GPU or processor), `memory` (bytes of GPU memory, or
    None), `threads` (that torch uses on the CPU), `cores` (of the machine), `cuda_build` (CUDA version that
    torch was built with, or None), `bfloat16` (whether a CUDA GPU computes in it, else None), `asked` (the
    value of $GFM_LAB_DEVICE, or None), `mps` (why an Apple GPU that is there is not used, or None).

    Raises:
        DeviceError: $GFM_LAB_DEVICE asks for a device that cannot be used.
        ImportError: torch is not installed or does not load.
    """
    import torch

    device = pick_device()
    facts: dict[str, Any] = {
        "device": device.type,
        "name": platform.processor() or platform.machine(),
        "memory": None,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 1,
        "cuda_build": torch.version.cuda,
        "bfloat16": None,
        "asked": os.environ.get(ENVIRONMENT) or None,
        "mps": None,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {"name": properties.name, "memory": properties.total_memory}
        facts["bfloat16"] = precision_of(device) == torch.bfloat16
    if device.type != "mps" and torch.backends.mps.is_available():
        usable, reason = mps_status()
        facts["mps"] = None if usable else reason
    return facts


def mamba_ssm_status() -> tuple[bool, str]:
    """Whether mamba-ssm's CUDA selective scan imports *and* runs here, and why not. Never raises.

    Importing is not enough: its kernels are compiled against one torch and one CUDA version and may fail at
    the first call, so a scan over four steps is run and compared with the definition (Gu and Dao 2023,
    arXiv:2312.00752, eq. 2). Without mamba-ssm the course uses its own code, which is slower.
    """
    try:
        import torch

        if pick_device().type != "cuda":
            return False, "needs a CUDA GPU that works; none was found"
        try:
            from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
        except ModuleNotFoundError as fault:
            if (fault.name or "").split(".")[0] == "mamba_ssm":
                return False, "not installed; see README.md, extra [gpu]"
            raise
        u = torch.ones(1, 2, 4, device="cuda")  # (batch, channels, length)
        a = -torch.ones(2, 3, device="cuda")  # (channels, states)
        bc = torch.ones(1, 3, 4, device="cuda")  # (batch, states, length)
        y = selective_scan_fn(u, u, a, bc, bc)
        # With ones everywhere each of the three states goes h <- h / e + 1, and y is their sum.
        h, expected = 0.0, []
        for _ in range(4):
            h = h * math.exp(-1) + 1
            expected.append(3 * h)
        if not torch.allclose(y.float().cpu(), torch.tensor(expected).expand(1, 2, 4), atol=1e-3):
            return False, "its selective scan runs but gives wrong numbers; reinstall it"
    except Exception as fault:
        lines = str(fault).splitlines()
        return False, f"{type(fault).__name__}: {lines[0] if lines else 'no message'}"
    return True, f"selective scan runs (mamba-ssm {getattr(sys.modules['mamba_ssm'], '__version__', '?')})"
