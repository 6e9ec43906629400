"""mixers/hyena.py: the FFT is the sum, the filter is HyenaDNA's, the operator is the matrix product it stands for.

That the whole gives HyenaDNA's numbers is in test_pretrained.py.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab.mixers import Hyena, build_mixer, fft_convolution
from gfm_lab.mixers.hyena import HyenaFilter, fast_size

torch.set_num_threads(1)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def toeplitz(k):
    """(..., L) -> (..., L, L), lower triangular: row t holds k[t], k[t - 1], ..., k[0]."""
    length = k.shape[-1]
    lag = torch.arange(length)[:, None] - torch.arange(length)
    return torch.where(lag >= 0, k[..., lag.clamp(min=0)], 0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 90), st.integers(1, 3), st.sampled_from([torch.float32, torch.float64])
)
def test_fft_is_direct_sum_is_matrix_product(length, taps, channels, dtype):
    u, k = random(2, channels, length, dtype=dtype), random(channels, taps, seed=1, dtype=dtype)
    y = fft_convolution(u, k)
    within = dict(rtol=0, atol=1e-10 if dtype == torch.float64 else 1e-5 * math.sqrt(length) + 1e-5)
    direct = torch.zeros_like(u)
    for t in range(length):
        for s in range(min(t + 1, taps)):
            direct[..., t] += k[..., s] * u[..., t - s]
    torch.testing.assert_close(y, direct, **within)
    full = F.pad(k, (0, max(0, length - taps)))[..., :length]
    torch.testing.assert_close(y, (toeplitz(full) @ u[..., None])[..., 0], **within)
    for row in range(channels):  # and as numpy has it
        np.testing.assert_allclose(y[0, row], np.convolve(u[0, row], k[row])[:length], atol=within["atol"])


@pytest.mark.parametrize("length", [5, 64, 243])
def test_float32_to_1e_5(length):
    u, k = random(2, 3, length, dtype=torch.float32), random(3, length, seed=1, dtype=torch.float32)
    exact = fft_convolution(u.double(), k.double())
    assert (fft_convolution(u, k) - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_nothing_wraps_around():
    """A filter of ones and one impulse at the end: without padding it would come out at the start."""
    u = torch.zeros(64, dtype=torch.float64)
    u[-1] = 1
    y = fft_convolution(u, torch.ones(64, dtype=torch.float64))
    assert y[:-1].abs().max() < 1e-12 and abs(y[-1] - 1) < 1e-12


def test_gradients_of_the_fft_path():
    u, k = random(2, 3, 9).requires_grad_(), random(3, 9, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(fft_convolution, (u, k))


def test_corners_of_the_convolution():
    assert fft_convolution(torch.zeros(2, 0), torch.zeros(2, 0)).shape == (2, 0)
    assert fft_convolution(torch.zeros(0, 3, 5), torch.ones(3, 5)).shape == (0, 3, 5)
    assert torch.equal(fft_convolution(torch.ones(2, 4), torch.zeros(2, 0)), torch.zeros(2, 4))
    assert fft_convolution(torch.ones(2, 4).half(), torch.ones(2, 4).half()).dtype == torch.float16
    torch.testing.assert_close(
        fft_convolution(torch.ones(1, 1) * 3, torch.ones(1, 1) * 2), torch.full((1, 1), 6.0)
    )
    u = torch.zeros(2, 8)
    u[0, 5] = torch.nan
    assert fft_convolution(u, torch.ones(8))[0].isnan().all()  # as the docstring warns
    assert fft_convolution(u, torch.ones(8))[1].isfinite().all()


@given(st.integers(1, 3_000_000))
def test_a_fast_size_is_enough_and_has_small_factors(least):
    size = fast_size(least)
    assert least <= size <= max(2, 1.2 * least + 1) and size % 2 == 0
    for factor in (2, 3, 5):
        while size % factor == 0:
            size //= factor
    assert size == 1


def test_the_filter_line_by_line():
    """Positions in shares of the longest length, sines with one shared frequency, a window per channel."""
    torch.manual_seed(0)
    f = HyenaFilter(6, 50, width=8, features=7, inner=1, frequency=10.0).double()
    with torch.no_grad():
        f.frequency.add_(torch.rand(1, 8))
    t = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
    bands = torch.tensor([1e-4, 1 + 0.5e-4, 2.0], dtype=torch.float64)  # three, evenly from 1e-4 to 2
    angle = 2 * math.pi * torch.arange(50, dtype=torch.float64)[:, None] / 50 * bands
    h = torch.cat([t, angle.cos(), -angle.sin()], 1)
    for layer in f.layers:
        h = torch.sin(f.frequency * layer(h))
    rates = torch.linspace(math.log(0.01) / 1.5, math.log(0.01) / 0.3, 6, dtype=torch.float64)
    expected = (f.last(h) * (torch.exp(-t * rates.abs()) + 0.05)).T
    torch.testing.assert_close(f(50), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        f(20), expected[:, :20], rtol=0, atol=1e-9
    )  # shorter input: the same filter, cut
    assert sum(p.numel() for n, p in f.named_parameters() if "frequency" in n) == 8


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_operator_is_a_product_of_matrices_that_the_data_write(order):
    """y = D_0 H_n D_n ...: diagonal matrices of gates between Toeplitz matrices of filters (Poli et al. 2023)."""
    torch.manual_seed(order)
    mixer, length, d = Hyena(4, 16, order=order, filter_width=8).double().eval(), 16, 4
    x = random(1, length, d)
    u = mixer.inputs(x).transpose(1, 2)
    u = F.conv1d(F.pad(u, (2, 0)), mixer.short.weight, mixer.short.bias, groups=u.shape[1])
    *gates, v = u[0].split(d)
    taps, skips = mixer.filter(length).reshape(order - 1, d, length), mixer.skip.reshape(order - 1, d)
    eye = torch.eye(length, dtype=torch.float64)
    for channel in range(d):
        matrix = eye
        for i, gate in enumerate(reversed(gates[1:])):
            matrix = (toeplitz(taps[i, channel]) + skips[i, channel] * eye) @ gate[channel].diag() @ matrix
        matrix = gates[0][channel].diag() @ matrix
        expected = matrix @ v[channel]
        found = mixer.mix(mixer.inputs(x))[0, :, channel]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_sixteen_bit_weights_draw_the_filter_of_32():
    torch.manual_seed(0)
    mixer = Hyena(8, 64).bfloat16()
    wide = Hyena(8, 64)
    wide.load_state_dict({n: p.float() for n, p in mixer.state_dict().items()})
    # Angles reach 30, where float32 has steps of 2e-6, and the two paths round them in another order.
    torch.testing.assert_close(mixer.filter(64), wide.filter(64), rtol=0, atol=2e-5)
    exact = wide.filter(64)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(wide.filter(64), exact, rtol=0, atol=0)
    assert (mixer.filter(64) - exact.bfloat16()).abs().max() > 1e-4  # sixteen bits would have shown


def test_a_prefill_padded_on_the_right_goes_on_as_one_without():
    torch.manual_seed(0)
    mixer = Hyena(4, 32).double().eval()
    x, more = random(2, 6, 4), random(2, 3, 4, seed=2)
    padded, plain = {}, {}
    mask = torch.tensor([[1] * 6 + [0] * 6] * 2)
    mixer(torch.cat([x, 9 * torch.ones_like(x)], 1), mask, padded)
    mixer(x, None, plain)
    torch.testing.assert_close(mixer(more, None, padded), mixer(more, None, plain), rtol=0, atol=1e-9)


def test_bad_input():
    mixer = Hyena(4, 16)
    with pytest.raises(ValueError, match=r"17 tokens.*max_length 16"):
        mixer(torch.zeros(1, 17, 4))
    state = {}
    mixer(torch.zeros(1, 12, 4), None, state)
    with pytest.raises(ValueError, match=r"17 tokens.*max_length 16"):
        mixer(torch.zeros(1, 5, 4), None, state)
    with pytest.raises(ValueError, match="another model's"):
        mixer(torch.zeros(2, 1, 4), None, state)
    with pytest.raises(ValueError, match="another model's"):
        mixer(torch.zeros(1, 1, 4), None, {"keys": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"expected \(B, L, 4\)"):
        mixer(torch.zeros(1, 3, 5))
    with pytest.raises(ValueError, match="mask has shape"):
        mixer(torch.zeros(1, 3, 4), torch.ones(1, 2))
    with pytest.raises(ValueError, match="order must be at least 2"):
        Hyena(4, 16, order=1)
    for features in (1, 4):
        with pytest.raises(ValueError, match="filter_features must be odd"):
            Hyena(4, 16, filter_features=features)
    with pytest.raises(ValueError, match="max_length must be at least 1"):
        Hyena(4, 0)
    with pytest.raises(ValueError, match="causal=False"):
        Hyena(4, 16, causal=False)
    with pytest.raises(ValueError, match="missing option 'max_length'"):
        build_mixer("hyena", 4)
