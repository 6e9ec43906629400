"""Where a model runs: the device, what it offers, and whether the CUDA kernels of Mamba really work.

torch is imported inside the functions, so that this module loads on a machine where torch is broken.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def pick_device() -> torch.device:
    """The best device that works: a CUDA GPU, then Apple's MPS, then the CPU.

    A GPU counts only if a small sum on it succeeds: a driver older than the installed torch, or a card that
    this build has no code for, is found here and not in the middle of a notebook.

    Raises:
        ImportError: torch is not installed or does not load.
    """
    import torch

    for kind, backend in (("cuda", torch.cuda), ("mps", torch.backends.mps)):
        try:
            if backend.is_available() and torch.ones(2, device=kind).sum().item() == 2:
                return torch.device(kind)
        except Exception:
            continue  # for whatever reason it fails, it is not the device to pick
    return torch.device("cpu")


def describe() -> dict[str, Any]:
    """Facts about the machine as torch sees it.

    Keys: `device` ("cuda", "mps" or "cpu"), `name` (GPU or processor), `memory` (bytes of GPU memory, or
    None), `threads` (that torch uses on the CPU), `cores` (of the machine), `cuda_build` (CUDA version that
    torch was built with, or None), `bfloat16` (whether a CUDA GPU computes in it, else None).

    Raises:
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
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {"name": properties.name, "memory": properties.total_memory}
        facts["bfloat16"] = torch.cuda.is_bf16_supported()
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
