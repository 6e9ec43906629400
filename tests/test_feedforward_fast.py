"""The compiled feed-forward part against torch's own: values, gradients, and where it must keep out of the way."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gfm_lab import model
from gfm_lab.model import FeedForward

pytest.importorskip("numba")
from gfm_lab import feedforward_fast as fast

torch.set_num_threads(1)


def weights(dim, inner, scale=1.0):
    torch.manual_seed(0)
    part = FeedForward(dim, inner)
    with torch.no_grad():
        part.up.weight.mul_(scale)
        part.up.bias.normal_()
    return part


def by_torch(part, x):
    return F.linear(F.gelu(F.linear(x, part.up.weight, part.up.bias)), part.down.weight, part.down.bias)


@pytest.fixture
def calls(monkeypatch):
    """Rows that went through the compiled path."""
    found, real = [], fast.FeedForward.apply
    monkeypatch.setattr(
        fast.FeedForward, "apply", lambda x, *given: (found.append(x.shape), real(x, *given))[1]
    )
    return found


@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 20),
    st.integers(1, 4),
    st.sampled_from([0.1, 1, 30]),
)
@example(1, 1, 1, 1, 1)
@settings(max_examples=25, deadline=None)
def test_values_and_gradients_are_those_of_torch(rows, length, dim, blocks, scale):
    part = weights(dim, 16 * blocks, scale)
    x = torch.randn(rows, length, dim, requires_grad=True)
    inputs, g = (x, *part.parameters()), torch.randn(rows, length, dim)
    ours, plain = part(x), by_torch(part, x)
    assert type(ours.grad_fn).__name__ == "FeedForwardBackward"
    for a, b in zip(
        (ours, *torch.autograd.grad(ours, inputs, g)),
        (plain, *torch.autograd.grad(plain, inputs, g)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-6 * max(1, b.abs().max().item()))


def test_gelu_itself():
    x = torch.linspace(-20, 20, 16 * 1_000).view(-1, 16)
    out, grad, sums, zero = torch.empty_like(x), torch.ones_like(x), torch.empty(16), torch.zeros(16)
    wide = x.double().requires_grad_()
    expected = F.gelu(wide)
    (slope,) = torch.autograd.grad(expected.sum(), wide)
    fast._gelu(x.numpy(), zero.numpy(), out.numpy())
    torch.testing.assert_close(out.double(), expected.detach(), rtol=3e-7, atol=1e-6)
    again = torch.empty_like(x)
    fast._gelu_backward(x.numpy(), zero.numpy(), grad.numpy(), again.numpy(), sums.numpy())
    assert torch.equal(again, out)  # what the backward computes again is what the forward had
    torch.testing.assert_close(grad.double(), slope, rtol=3e-7, atol=1e-6)
    torch.testing.assert_close(sums, grad.sum(0), rtol=1e-5, atol=1e-4)
    assert (out[x < -13.4] == 0).all()  # subnormal numbers would slow down whatever reads them


def test_what_is_no_number_is_not_hidden():
    x = torch.tensor([torch.nan, torch.inf, 1e20, -1e20, 0.0]).repeat_interleave(16).view(5, 16)
    out = torch.empty_like(x)
    fast._gelu(x.numpy(), torch.zeros(16).numpy(), out.numpy())
    assert out[0].isnan().all() and (out[1] == torch.inf).all() and (out[2] == 1e20).all()
    assert (out[3:] == 0).all()


def test_frozen_weights_get_no_gradient(calls):
    part, x = weights(8, 16), torch.randn(1, 5, 8, requires_grad=True)
    part.requires_grad_(False)
    part.down.weight.requires_grad_(True)
    expected = torch.autograd.grad(by_torch(part, x).sum(), (x, part.down.weight))
    found = torch.autograd.grad(part(x).sum(), (x, part.down.weight))
    assert calls
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_it_keeps_out_of_the_way(calls):
    """Scores without a gradient, other kinds of numbers, and layers that someone looks into are torch's, exactly."""
    part, x = weights(8, 16), torch.randn(2, 5, 8)
    with torch.no_grad():
        assert torch.equal(part(x), by_torch(part, x))
    assert torch.equal(part.requires_grad_(False)(x), by_torch(part, x))
    part.requires_grad_(True)
    torch.set_num_threads(2)
    try:
        assert torch.equal(part(x), by_torch(part, x))  # two threads gain more from passes that they share
    finally:
        torch.set_num_threads(1)
    assert torch.equal(part.double()(x.double()), by_torch(part, x.double()))
    part.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert part(x).dtype == torch.bfloat16
    assert part(x[:0]).shape == (0, 5, 8)
    assert (
        FeedForward(8, 12)(x).shape == FeedForward(8, 16, bias="down")(x).shape == x.shape
    )  # not whole vectors, no bias
    assert (
        FeedForward(8, 16, kind="gelu_tanh")(x).shape == FeedForward(8, 16, kind="geglu")(x).shape == x.shape
    )
    seen = []
    handle = part.up.register_forward_hook(lambda module, given, out: seen.append(out.shape))
    part(x)
    handle.remove()
    assert seen == [(2, 5, 16)]
    part.down = torch.nn.Sequential(part.down)  # as LoRA wraps it
    part(x)
    assert not calls
    part.down = part.down[0]
    part(x)
    assert calls == [(2, 5, 8)]


def test_a_gradient_of_a_gradient_is_left_to_torch(calls):
    """As docs/troubleshooting.md says: refused in 32 bits, there in 64."""
    part, x = weights(3, 16), torch.randn(1, 2, 3, requires_grad=True)
    # Of the first score, torch's own mark would make no error, and leave this part out.
    for score in (lambda y: y.sum(), lambda y: y.square().sum()):
        with pytest.raises(RuntimeError, match=r"model\.double"):
            torch.autograd.grad(score(part(x)), x, create_graph=True)
    assert len(calls) == 2
    part, x = part.double(), x.detach().double().requires_grad_()
    assert torch.autograd.gradgradcheck(part, x)
    assert len(calls) == 2


def test_without_numba_it_is_torch(monkeypatch):
    part, x = weights(8, 16), torch.randn(2, 5, 8)
    monkeypatch.setattr(model, "_fast_feedforward", lambda: None)
    assert torch.equal(part(x), by_torch(part, x))
