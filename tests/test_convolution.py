"""mixers/convolution.py: the sum it says, the reach it says, and a state that forgets what lies beyond."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab.mixers import Convolution, receptive_field
from gfm_lab.mixers.convolution import latest, shifted_sum
from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicModel

torch.set_num_threads(1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 12), st.integers(1, 4))
def test_shifted_products_are_a_depthwise_conv1d(kernel, dilation, length, channels):
    generator = torch.Generator().manual_seed(kernel * 100 + length)
    reach = (kernel - 1) * dilation
    v = torch.randn(2, length + reach, channels, generator=generator, dtype=torch.float64)
    weight = torch.randn(channels, kernel, generator=generator, dtype=torch.float64)
    y = shifted_sum(v, weight, dilation)
    assert y.shape == (2, length, channels)
    if length:
        expected = F.conv1d(v.transpose(1, 2), weight[:, None], dilation=dilation, groups=channels)
        torch.testing.assert_close(y, expected.transpose(1, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_the_whole_mixer_against_torch_s_layers(causal):
    torch.manual_seed(0)
    mixer = Convolution(6, kernel=5, dilation=3, expand=2, causal=causal).double()
    x = torch.randn(2, 30, 6, dtype=torch.float64)
    v, gate = mixer.inputs(x).chunk(2, dim=-1)
    sides = (12, 0) if causal else (6, 6)
    y = F.conv1d(F.pad(v.transpose(1, 2), sides), mixer.weight[:, None], mixer.bias, dilation=3, groups=12)
    expected = mixer.out(y.transpose(1, 2) * F.silu(gate))
    torch.testing.assert_close(mixer(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "dilation", "layers", "expected"),
    [
        (7, 1, 1, 7),
        (3, 1, 4, 9),
        (3, [1, 2, 4, 8], 1, 31),
        ([3, 5], [1, 10], 1, 43),
        (1, 5, 3, 1),
        (7, 1, 0, 1),
    ],
)
def test_receptive_field(kernel, dilation, layers, expected):
    assert receptive_field(kernel, dilation, layers) == expected


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_receptive_field_is_what_a_gradient_finds(data):
    """In a body without anything else between positions: the farthest input that moves an output, and no farther."""
    depth, causal = data.draw(st.integers(1, 3)), data.draw(st.booleans())
    kernel = data.draw(st.sampled_from([3, 5]))
    dilation = data.draw(st.lists(st.integers(1, 4), min_size=depth, max_size=depth))
    config = GenomicConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=depth, positions="none", causal=causal, mixer="convolution",
        mixer_options={"kernel": kernel, "dilation": dilation}, initializer_range=0.5, max_position_embeddings=None,
    )  # fmt: skip
    torch.manual_seed(depth)
    model, field = GenomicModel(config).double().eval(), receptive_field(kernel, dilation)
    middle = field + 2
    x = torch.randn(1, 2 * middle + 1, 8, dtype=torch.float64, requires_grad=True)
    model(inputs_embeds=x).last_hidden_state[0, middle].square().sum().backward()
    touched = x.grad[0].abs().amax(-1).nonzero().flatten()
    assert touched[-1] - touched[0] + 1 == field
    assert touched[-1] == (middle if causal else middle + field // 2)


def test_its_state_has_one_size_at_any_length():
    mixer, state = Convolution(4, kernel=4, dilation=5).eval(), {}
    for length in (1, 3, 50):
        mixer(torch.randn(2, length, 4), None, state)
        assert state["values"].shape == (2, 15, 4)


def test_latest_skips_padding_wherever_it_stands():
    values = torch.arange(7.0)[None, :, None]  # two kept values, then five new ones
    mask = torch.tensor([[1, 0, 1, 1, 0]])
    assert latest(values, mask, 3).flatten().tolist() == [2, 4, 5]
    assert latest(values, torch.zeros(1, 5), 2).flatten().tolist() == [0, 1]
    assert latest(values, None, 2).flatten().tolist() == [5, 6]


def test_a_prefill_padded_on_the_right_goes_on_as_one_without():
    torch.manual_seed(0)
    mixer = Convolution(4, kernel=3, dilation=2).double().eval()
    x, more = torch.randn(1, 6, 4, dtype=torch.float64), torch.randn(1, 3, 4, dtype=torch.float64)
    padded, plain = {}, {}
    mixer(torch.cat([x, 9 * torch.ones_like(x)], 1), torch.tensor([[1] * 6 + [0] * 6]), padded)
    mixer(x, None, plain)
    torch.testing.assert_close(mixer(more, None, padded), mixer(more, None, plain), rtol=0, atol=1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match="kernel must be odd, not 4"):
        Convolution(4, kernel=4, causal=False)
    for options in ({"kernel": 0}, {"dilation": 0}, {"expand": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            Convolution(4, **options)
    with pytest.raises(ValueError, match=r"3 and 2 layers"):
        receptive_field([3, 3, 3], [1, 2])
    with pytest.raises(ValueError, match="at least 1"):
        receptive_field(3, [1, 0])
    mixer = Convolution(4, causal=False)
    with pytest.raises(ValueError, match="a state needs causal=True"):
        mixer(torch.zeros(1, 3, 4), None, {})
    with pytest.raises(ValueError, match=r"expected \(B, L, 4\)"):
        mixer(torch.zeros(1, 3, 5))
    with pytest.raises(ValueError, match="mask has shape"):
        mixer(torch.zeros(1, 3, 4), torch.ones(1, 2))
    state = {}
    Convolution(4, kernel=3)(torch.zeros(1, 3, 4), None, state)
    with pytest.raises(ValueError, match="another model's"):
        Convolution(4, kernel=5)(torch.zeros(1, 1, 4), None, state)
    with pytest.raises(ValueError, match="another model's"):
        Convolution(4, kernel=5)(torch.zeros(1, 1, 4), None, {"keys": torch.zeros(1)})


def test_nan_stays_within_reach():
    mixer = Convolution(4, kernel=3, dilation=2).eval()
    x = torch.zeros(2, 12, 4)
    x[0, 5] = torch.nan
    bad = mixer(x).isnan().any(-1)
    assert bad[0].nonzero().flatten().tolist() == [5, 7, 9] and not bad[1].any()


def test_a_causal_model_of_it_generates_from_a_state():
    config = GenomicConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=2, positions="none", causal=True, mixer="convolution",
        mixer_options={"kernel": 3, "dilation": [1, 3]}, max_position_embeddings=None,
    )  # fmt: skip
    model = GenomicForCausalLM(config).eval()
    out = model(torch.randint(5, 9, (2, 40)), use_cache=True)
    assert [layer["values"].shape[1] for layer in out.past_key_values] == [2, 6]
