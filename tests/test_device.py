"""device.py: which device, which precision; a GPU is played by the CPU, a faulty one by a faulty operation."""

import contextlib
import re
import sys
import types

import pytest
import torch
import torch.nn.functional as F

from gfm_lab import device


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """No choice made outside, and nothing remembered from another test."""
    monkeypatch.delenv("GFM_LAB_DEVICE", raising=False)
    device._difference.cache_clear()
    device.bfloat16_speed.cache_clear()
    yield
    device._difference.cache_clear()


def on_cpu(monkeypatch, *kinds):
    """Let the CPU stand in for these GPUs: they are listed, and tensors meant for them lie in memory."""

    def here(make):
        def made(*args, device=None, **kwargs):
            return make(*args, **kwargs)

        return made

    if "cuda" in kinds:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    if "mps" in kinds:
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    real = torch.Tensor.to
    monkeypatch.setattr(torch, "ones", here(torch.ones))
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, to, *args: self if str(to) in kinds else real(self, to, *args)
    )


# ---- Which device ----


def test_pick_device_and_facts():
    picked = device.pick_device()
    assert torch.ones(2, device=picked).sum().item() == 2
    assert device.pick_device("auto") == picked and device.pick_device("cpu") == torch.device("cpu")
    facts = device.describe()
    assert facts["device"] == picked.type and facts["threads"] == torch.get_num_threads()
    assert facts["cores"] >= 1 and facts["asked"] is None
    assert (facts["memory"] is None) == (picked.type != "cuda")


def test_a_gpu_that_is_listed_but_fails_is_not_picked(monkeypatch):
    real = torch.ones

    def ones(*size, device=None, **kwargs):
        if device in ("cuda", "mps"):
            raise RuntimeError("no kernel image is available for execution on the device\nmore")
        return real(*size, device=device, **kwargs)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", ones)
    assert device.pick_device().type == "cpu"
    assert device.mps_status() == (
        False,
        "RuntimeError: no kernel image is available for execution on the device",
    )
    for asked in ("cuda", "mps"):
        with pytest.raises(device.DeviceError, match=f"'{asked}' was asked for but .*no kernel image"):
            device.pick_device(asked)


def test_order_of_preference(monkeypatch):
    on_cpu(monkeypatch, "mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.pick_device().type == "mps"
    on_cpu(monkeypatch, "cuda", "mps")
    assert device.pick_device().type == "cuda"


def test_environment_variable_and_argument(monkeypatch):
    on_cpu(monkeypatch, "cuda")
    assert device.pick_device().type == "cuda"
    monkeypatch.setenv("GFM_LAB_DEVICE", " CPU ")
    assert device.pick_device().type == "cpu" and device.pick_device("auto").type == "cpu"
    assert device.describe()["asked"] == " CPU "
    assert device.pick_device("cuda:0") == torch.device("cuda:0"), "the argument comes first"
    for unset in ("", "auto"):
        monkeypatch.setenv("GFM_LAB_DEVICE", unset)
        assert device.pick_device().type == "cuda"


@pytest.mark.parametrize(
    "asked, says",
    [
        ("gpu", "there is no device 'gpu'.*auto, cuda, mps, cpu"),
        ("meta", "there is no device 'meta'"),
        ("cuda", "cannot be used: .*choose auto or cpu"),
        ("mps", "cannot be used: no Apple GPU"),
    ],
)
def test_a_device_that_is_not_there(monkeypatch, asked, says):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(device.DeviceError, match=says) as raised:
        device.pick_device(asked)
    assert "environment" not in str(raised.value)
    monkeypatch.setenv("GFM_LAB_DEVICE", asked)
    for use in (device.pick_device, device.describe, device.precision_of, device.autocast):
        with pytest.raises(device.DeviceError, match="environment variable GFM_LAB_DEVICE"):
            use()


# ---- MPS: only with the CPU's numbers ----


def test_mps_that_agrees_is_used_and_checked_once(monkeypatch):
    on_cpu(monkeypatch, "mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    runs = []
    real = device.small_model
    monkeypatch.setattr(device, "small_model", lambda where: runs.append(where) or real(where))
    with torch.inference_mode():  # wherever it is called from
        assert device.mps_status() == (True, "agrees with the CPU")
    assert device.pick_device().type == "mps" and runs == ["cpu", "mps"]
    assert device.describe()["mps"] is None


def second_time(real, fault):
    """`real` the first time round (on the CPU), and with a fault afterwards (on the GPU it plays)."""
    calls = []

    def operation(*args, **kwargs):
        calls.append(1)
        out = real(*args, **kwargs)
        return out if len(calls) <= operation.right else fault(out)

    operation.right = 0
    return operation


class WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * 1.01


def last_row_lost(x):
    return torch.cat([x[:-1], x[-1:] * 0])


@pytest.mark.parametrize(
    "where, name, calls, fault, says",
    [
        (torch.Tensor, "cumsum", 1, lambda x: x - 1, "running sum"),
        (F, "embedding", 2, last_row_lost, "embedding"),
        (F, "layer_norm", 1, lambda x: x * 1.002, "layer norm"),
        (F, "linear", 4, lambda x: x + 0.02, "linear"),
        (F, "scaled_dot_product_attention", 1, last_row_lost, "attention"),
        (F, "gelu", 1, lambda x: x.relu(), "GELU"),
        (torch.fft, "irfft", 1, lambda x: x.roll(1, -1), "FFT convolution"),
        (F, "cross_entropy", 1, lambda x: x * 1.5, "loss"),
        (F, "gelu", 1, WrongBackward.apply, r"gradient \(first FFN|gradient \(table"),
        (F, "scaled_dot_product_attention", 1, WrongBackward.apply, r"gradient \("),
        (F, "layer_norm", 1, lambda x: x * float("nan"), "layer norm: numbers that are not finite"),
    ],
)
def test_an_mps_operation_that_is_wrong_is_found(monkeypatch, where, name, calls, fault, says):
    on_cpu(monkeypatch, "mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    operation = second_time(getattr(where, name), fault)
    operation.right = calls  # so many calls belong to the pass on the CPU
    monkeypatch.setattr(where, name, lambda *args, **kwargs: operation(*args, **kwargs))
    usable, reason = device.mps_status()
    assert not usable
    assert re.search(says, reason), reason
    assert len(reason) <= 59 and "\n" not in reason, "it has to fit on the doctor's line"
    assert device.pick_device().type == "cpu"
    assert device.describe()["mps"] == reason
    with pytest.raises(device.DeviceError, match="'mps' was asked for but cannot be used"):
        device.pick_device("mps")


def test_an_mps_operation_that_is_missing(monkeypatch):
    on_cpu(monkeypatch, "mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def missing(*args, **kwargs):
        raise NotImplementedError("The operator 'aten::_fft_r2c' is not implemented for MPS")

    monkeypatch.setattr(torch.fft, "rfft", missing)
    assert device.mps_status()[1].startswith("NotImplementedError: The operator 'aten::_fft_r2c'")
    assert device.pick_device().type == "cpu"


def test_small_model_is_the_same_every_time_and_every_gradient_counts():
    first, second = device.small_model("cpu"), device.small_model("cpu")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.isfinite(x).all() and x.abs().max() > 0 for x in first.values())
    torch.set_default_dtype(torch.float64)
    try:
        third = device.small_model("cpu")
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(first[name], third[name]) for name in first)


# ---- Precision ----


def play_card(monkeypatch, bf16):
    on_cpu(monkeypatch, "cuda")
    monkeypatch.setattr(torch.cuda, "device", lambda index: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Tesla T4")
    # A card without bfloat16 is said to support it if emulation counts.
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or bf16
    )


def test_precision_on_cuda(monkeypatch):
    play_card(monkeypatch, bf16=True)
    assert device.precision_of() == device.precision_of("cuda") == torch.bfloat16
    assert device.precision_of("cuda", "float32") == torch.float32
    play_card(monkeypatch, bf16=False)
    assert device.precision_of("cuda") == torch.float32
    with pytest.raises(ValueError, match="Tesla T4 does not compute in bfloat16: choose float32"):
        device.precision_of("cuda", "bf16")


@pytest.mark.parametrize(
    "speed, expected",
    [(6.0, torch.bfloat16), (1.5, torch.bfloat16), (1.4, torch.float32), (0.02, torch.float32)],
)
def test_precision_on_a_cpu_follows_the_measurement(monkeypatch, speed, expected):
    monkeypatch.setattr(device, "bfloat16_speed", lambda: speed)
    assert device.precision_of("cpu") == expected
    assert device.precision_of("cpu", "fp32") == device.precision_of("cpu", torch.float32) == torch.float32
    assert device.precision_of("cpu", "bf16") == device.precision_of("cpu", torch.bfloat16) == torch.bfloat16


def test_precision_on_mps_is_float32_unless_asked_for(monkeypatch):
    on_cpu(monkeypatch, "mps")
    monkeypatch.setattr(device, "bfloat16_speed", lambda: 9.0)
    assert device.precision_of("mps") == torch.float32
    assert device.precision_of("mps", "bfloat16") == torch.bfloat16


def test_bfloat16_is_measured_once(monkeypatch):
    speed = device.bfloat16_speed()
    assert 0 < speed < 1000
    monkeypatch.setattr(device.time, "perf_counter", lambda: pytest.fail("measured again"))
    assert device.bfloat16_speed() == speed


def test_unknown_precision():
    for wrong in ("float16", torch.float16, "fast"):
        with pytest.raises(ValueError, match="is not offered: choose auto, float32 or bfloat16"):
            device.precision_of("cpu", wrong)
        with pytest.raises(ValueError, match="is not offered"):
            device.autocast("cpu", wrong)


def test_autocast():
    a = torch.randn(4, 4)
    with device.autocast("cpu", "bfloat16"):
        assert (a @ a).dtype == torch.bfloat16
        assert F.cross_entropy(a @ a, torch.arange(4)).dtype == torch.float32
        with device.autocast("cpu", "float32"):
            assert (a @ a).dtype == torch.float32
    with device.autocast("cpu", "auto"):
        assert (a @ a).dtype == device.precision_of("cpu")
    with device.autocast():
        pass


# ---- mamba-ssm ----


def play_cuda(monkeypatch, scan=None):
    """Let the CPU stand in for a CUDA GPU, and `scan` for mamba-ssm's kernel (None: not installed)."""
    real = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *size, device=None: real(*size))
    monkeypatch.setattr(device, "pick_device", lambda: torch.device("cuda"))
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.selective_scan_interface"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    if scan is not None:
        for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.selective_scan_interface"):
            module = types.ModuleType(name)
            module.__path__ = []
            monkeypatch.setitem(sys.modules, name, module)
        sys.modules["mamba_ssm.ops.selective_scan_interface"].selective_scan_fn = scan
        sys.modules["mamba_ssm"].__version__ = "9.9"
    else:
        monkeypatch.setitem(sys.modules, "mamba_ssm", None)


def reference_scan(u, delta, a, b, c):
    """The selective scan as its paper defines it (arXiv:2312.00752, eq. 2), in the kernel's layout."""
    h = torch.zeros(*u.shape[:2], a.shape[1])
    out = []
    for t in range(u.shape[2]):
        step = delta[:, :, t, None]
        h = torch.exp(step * a) * h + step * b[:, None, :, t] * u[:, :, t, None]
        out.append((h * c[:, None, :, t]).sum(-1))
    return torch.stack(out, -1)


def test_mamba_ssm_that_computes_right_is_usable(monkeypatch):
    play_cuda(monkeypatch, reference_scan)
    assert device.mamba_ssm_status() == (True, "selective scan runs (mamba-ssm 9.9)")


def test_mamba_ssm_that_is_absent_broken_or_wrong_is_not(monkeypatch):
    def breaks(*args):
        raise RuntimeError("CUDA error: no kernel image\ndetails")

    def wrong(u, *args):
        return u * 0

    for scan, says in (
        (None, "not installed"),
        (breaks, "RuntimeError: CUDA error: no kernel image"),
        (wrong, "wrong"),
    ):
        with monkeypatch.context() as patch:
            play_cuda(patch, scan)
            usable, reason = device.mamba_ssm_status()
            assert not usable and says in reason and "\n" not in reason


def test_mamba_ssm_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    usable, reason = device.mamba_ssm_status()
    assert not usable and "torch" in reason
