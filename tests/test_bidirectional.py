"""Bidirectional: two one-way mixers, one for each direction. What all mixers share is tested in test_mixers.py."""

import copy

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gfm_lab.mixers import MIXERS, Attention, build_mixer
from gfm_lab.mixers.bidirectional import Bidirectional

torch.set_num_threads(1)
D, L = 6, 11
EXACT = dict(rtol=0, atol=1e-10)


class LeakySum(nn.Module):
    """The simplest mixer that reads one way: h[t] = decay * h[t - 1] + u[t]; padding leaves h as it is."""

    causal = True

    def __init__(self, dim=D, inner=2 * D):
        super().__init__()
        self.inputs, self.out = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.decay = nn.Parameter(torch.linspace(-1, 1, inner))

    def mix(self, u, mask=None, state=None):
        h, seen = torch.zeros_like(u[:, 0]), []
        real = torch.ones(u.shape[:2]) if mask is None else (mask != 0).to(u)
        for t in range(u.shape[1]):
            new = self.decay.sigmoid() * h + u[:, t]
            h = torch.where(real[:, t, None] > 0, new, h)
            seen.append(h * real[:, t, None])
        return torch.stack(seen, 1)

    def forward(self, x, mask=None, state=None):
        return self.out(self.mix(self.inputs(x), mask, state))


ONE_WAY = {"leaky-sum": lambda: LeakySum()}
if "hyena" in MIXERS:
    ONE_WAY["hyena"] = lambda: build_mixer("hyena", D, max_length=32, filter_width=8, causal=True)
if "mamba" in MIXERS:
    ONE_WAY["mamba"] = lambda: build_mixer("mamba", D, state_size=4, causal=True)
each_mixer = pytest.mark.parametrize("name", ONE_WAY)


def one_way(name, seed):
    torch.manual_seed(seed)
    mixer = ONE_WAY[name]().double().eval()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return mixer


def pair(name):
    return one_way(name, 0), one_way(name, 1)


def inputs(rows=2, length=L, seed=5):
    return torch.randn(rows, length, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each_mixer
@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 20))
def test_is_the_sum_of_two_readings_with_one_projection(name, length):
    ahead, back = pair(name)
    twin = copy.deepcopy(back)  # a complete mixer for the way back, with the projections of the way ahead
    twin.inputs, twin.out = ahead.inputs, ahead.out
    x = inputs(length=length)
    bias = 0 if ahead.out.bias is None else ahead.out.bias
    expected = ahead(x) + twin(x.flip(1)).flip(1) - bias  # two complete mixers count the bias twice
    torch.testing.assert_close(Bidirectional(ahead, back)(x), expected, **EXACT)


@each_mixer
def test_none_is_causal(name):
    """Each half looks one way only; together every position sees every other."""
    ahead, back = pair(name)
    mixer, x = Bidirectional(ahead, back), inputs()
    assert mixer.causal is False

    def moved(function, at):
        other = x.clone()
        other[:, at] += inputs(seed=6)[:, at]
        return (function(other) - function(x)).abs().amax((0, 2)) > 1e-8

    def only_ahead(x):
        return ahead.out(ahead.mix(ahead.inputs(x)))

    for at in range(L):
        assert moved(mixer, at).all()
        assert not moved(only_ahead, at)[:at].any()


@each_mixer
def test_with_the_same_weights_both_ways_a_flipped_input_gives_a_flipped_output(name):
    ahead, other = pair(name)
    x = inputs()
    same = Bidirectional(copy.deepcopy(ahead), copy.deepcopy(ahead))
    torch.testing.assert_close(same(x.flip(1)), same(x).flip(1), **EXACT)
    mixer = Bidirectional(ahead, other)
    assert (mixer(x.flip(1)) - mixer(x).flip(1)).abs().max() > 1e-3  # in general the directions differ


@each_mixer
@settings(max_examples=15, deadline=None)
@given(left=st.integers(0, 4), right=st.integers(0, 4), length=st.integers(1, 8))
def test_padding_on_either_side_moves_nothing(name, left, right, length):
    mixer = Bidirectional(*pair(name))
    total = left + length + right
    mask = torch.zeros(2, total, dtype=torch.long)
    mask[:, left : left + length] = 1
    x = torch.where(mask[..., None] > 0, inputs(length=total), 100.0)
    y = mixer(x, mask)[:, left : left + length]
    torch.testing.assert_close(y, mixer(x[:, left : left + length]), **EXACT)


@each_mixer
def test_nothing_is_stored_twice(name, tmp_path):
    ahead, back = pair(name)
    one = sum(p.numel() for p in ahead.parameters())
    shared = sum(p.numel() for part in (ahead.inputs, ahead.out) for p in part.parameters())
    mixer = Bidirectional(ahead, back)
    assert sum(p.numel() for p in mixer.parameters()) == 2 * one - shared
    x = inputs()
    # save_file refuses tensors that share memory.
    safetensors.torch.save_file(mixer.state_dict(), tmp_path / "mixer.safetensors")
    again = Bidirectional(*(one_way(name, seed) for seed in (7, 8)))
    again.load_state_dict(safetensors.torch.load_file(tmp_path / "mixer.safetensors"))
    assert torch.equal(again(x), mixer(x))
    mixer(x).square().sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in mixer.parameters())


def test_refusals_say_why():
    with pytest.raises(ValueError, match="a state needs a causal mixer"):
        Bidirectional(LeakySum(), LeakySum())(inputs().float(), None, {})
    with pytest.raises(ValueError, match=r"ahead is a Attention: it has no inputs, mix"):
        Bidirectional(Attention(D, 2, causal=True), LeakySum())
    both = Bidirectional(LeakySum(), LeakySum())
    both.inputs = both.mix = both.out = nn.Identity()
    with pytest.raises(ValueError, match="back is a Bidirectional: it already sees both sides"):
        Bidirectional(LeakySum(), both)
    same = LeakySum()
    with pytest.raises(ValueError, match="the same object"):
        Bidirectional(same, same)
    with pytest.raises(ValueError, match=r"decay is \(12,\) in one and \(8,\) in the other"):
        Bidirectional(LeakySum(), LeakySum(inner=8))


@pytest.mark.parametrize(
    "name", [n for n in ONE_WAY if n in MIXERS] or [pytest.param("", marks=pytest.mark.skip)]
)
def test_build_mixer_makes_one_where_a_one_way_mixer_shall_see_both_sides(name):
    options = {"hyena": dict(max_length=32), "mamba": dict(state_size=4)}[name]
    both = build_mixer(name, D, causal=False, **options)
    assert isinstance(both, Bidirectional) and type(both.ahead) is type(both.back) is MIXERS[name]
    assert not isinstance(build_mixer(name, D, causal=True, **options), Bidirectional)
    pointers = [p.data_ptr() for p in both.parameters()]
    assert len(pointers) == len({*pointers})
