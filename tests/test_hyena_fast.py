"""Hyena's compiled path against the operator written out in torch: values and gradients, whatever the shape."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gfm_lab.mixers import Hyena, hyena

pytest.importorskip("numba")
torch.set_num_threads(1)


def both_paths(rows, length, channels, dtype=torch.float64, threads=1, mask=None):
    """(y, gradients) of one Hyena by the compiled loops and by torch's own gradient."""
    torch.manual_seed(0)
    mixer = Hyena(channels, max_length=length + 3, filter_width=6).to(dtype)
    x, g = (torch.randn(rows, length, channels, dtype=dtype) for _ in "xg")
    found = []
    with pytest.MonkeyPatch.context() as patch:
        torch.set_num_threads(threads)
        for compiled in (True, False):
            if not compiled:
                patch.setattr(hyena, "_fast", lambda: None)
            mixer.zero_grad()
            x = x.detach().requires_grad_()
            y = mixer(x, mask)
            y.backward(g)
            found.append([y.detach(), x.grad, *(p.grad.clone() for p in mixer.parameters())])
        torch.set_num_threads(1)
    return found


@given(st.integers(1, 3), st.integers(1, 100), st.integers(1, 40))
@example(1, 1, 1)
@example(2, 32, 16)  # one tile of time, one block of channels
@example(2, 33, 17)  # and one more
@example(1, 1_100, 3)  # an FFT in pieces
@settings(max_examples=25, deadline=None)
def test_compiled_loops_and_torch_agree(rows, length, channels):
    ours, plain = both_paths(rows, length, channels)
    assert len(ours) > 8
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_they_agree_in_float32_and_on_two_threads(monkeypatch):
    from gfm_lab.mixers import compiled_hyena

    monkeypatch.setattr(compiled_hyena, "WORTH_THREADS", 1)
    for a, b in zip(*both_paths(2, 201, 16, torch.float32, threads=2), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * max(1, b.abs().max().item()))


def test_sines_in_float32_are_exact_to_the_last_digits():
    from gfm_lab.mixers import compiled_hyena as loops

    random = np.random.default_rng(0)
    for reach in (1, 100, 30_000):
        z = random.uniform(-reach, reach, (8, 2_000)).astype(np.float32)
        angle = z.astype(np.float64)
        wave = loops.sines(z, np.zeros(8, np.float32), np.ones(8, np.float32))
        np.testing.assert_allclose(wave, np.sin(angle), rtol=0, atol=2e-7)
        np.testing.assert_allclose(z, np.cos(angle), rtol=0, atol=2e-7)
    z = np.full((1, 16), np.nan, np.float32)
    assert np.isnan(loops.sines(z, np.zeros(1, np.float32), np.ones(1, np.float32))).all()


def test_gradients_of_a_filter_whose_frequency_is_zero():
    """Where sin(f z) is 0 for all z, its slope in f is not."""
    torch.manual_seed(0)
    mixer = Hyena(16, 20, filter_width=4).double()
    with torch.no_grad():
        mixer.filter.frequency[0, :2] = 0
    assert torch.autograd.gradcheck(lambda f: (mixer.filter(20), f)[0], mixer.filter.frequency)
    mixer.filter(20).sum().backward()
    assert (mixer.filter.frequency.grad[0, :2] != 0).all()


def test_a_mask_of_ones_is_no_mask_and_padding_takes_the_other_path():
    mask = torch.ones(2, 20, dtype=torch.long)
    for a, b in zip(both_paths(2, 20, 4, mask=mask)[0], both_paths(2, 20, 4)[0], strict=True):
        assert torch.equal(a, b)
    mask[0, :5] = 0
    for a, b in zip(*both_paths(2, 20, 4, mask=mask), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_sixteen_bits_in_sixteen_bits_out_and_gradients_of_that_kind():
    mixer = Hyena(8, max_length=40)
    x = torch.randn(2, 40, 8, requires_grad=True)
    expected = mixer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = mixer(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert {p.grad.dtype for p in mixer.parameters()} == {torch.float32}
    torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=0.05)


def test_nothing_is_kept_where_no_gradient_is_wanted():
    mixer, x = Hyena(8, max_length=40), torch.randn(1, 40, 8)
    shapes = []
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(
            torch.autograd.function.FunctionCtx, "save_for_backward", lambda ctx, *x: shapes.append(x)
        )
        quiet = mixer(x)
    assert not quiet.requires_grad and shapes == []
    torch.testing.assert_close(quiet, mixer(x))


def test_one_value_that_is_no_number_is_not_hidden():
    x = torch.zeros(1, 30, 4)
    x[0, 10, 2] = torch.nan
    assert torch.isnan(Hyena(4, max_length=30)(x)).any()


@given(st.integers(1, 3_000))
@settings(deadline=None)
def test_a_transform_has_room_and_little_more(length):
    from gfm_lab.mixers.compiled_hyena import size_for

    size = size_for(length)
    assert length <= size < max(2, 1.5 * length)
    while size % 4 == 0:
        size //= 4
    assert size in (1, 2, 3, 6)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 7, 12, 24, 25, 97, 256, 257, 600, 1_024, 1_025, 2_000])
def test_what_wraps_around_stays_out_of_the_result(length):
    from gfm_lab.mixers.compiled_hyena import convolve

    random = np.random.default_rng(length)
    x, taps = random.standard_normal((2, length, 17)), random.standard_normal((length, 17))
    y = convolve(x, taps)
    for row in range(2):
        for d in (0, 15, 16):
            direct = np.convolve(x[row, :, d], taps[:, d])[:length]
            np.testing.assert_allclose(y[row, :, d], direct, rtol=0, atol=1e-11 * length)
    single = convolve(x.astype(np.float32), taps.astype(np.float32))
    np.testing.assert_allclose(single, y, rtol=0, atol=1e-5 * np.abs(y).max())
