"""Mamba's layer: its start, its state, padding, and what tests/test_mixers.py does not ask of every mixer."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab.mixers import mamba
from gfm_lab.mixers.mamba import Mamba, selective_scan_reference

torch.set_num_threads(1)
EXACT = dict(rtol=0, atol=1e-10)


@pytest.fixture(params=["compiled", "plain"])
def path(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(mamba, "_compiled", lambda: None)


def make(dim=6, seed=0, dtype=torch.float64, **options):
    torch.manual_seed(seed)
    layer = Mamba(dim, **{"state_size": 3, **options}).to(dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def inputs(rows=2, length=13, dim=6, seed=1):
    return torch.randn(rows, length, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(layer, x):
    """Mamba in the words of torch: grouped convolution, softplus, the definition of the scan."""
    x, z = layer.inputs(x).transpose(1, 2).chunk(2, 1)
    x = F.silu(
        F.conv1d(F.pad(x, (layer.conv_kernel - 1, 0)), layer.conv.weight, layer.conv.bias, groups=x.shape[1])
    )
    delta, B, C = layer.select(x.mT).mT.split([layer.dt_rank, layer.state_size, layer.state_size], 1)
    delta = F.softplus(layer.dt(delta.mT)).mT
    y, _ = selective_scan_reference(x, delta, -layer.A_log.exp(), B, C)
    return layer.out(((y + layer.D[:, None] * x) * F.silu(z)).mT)


@settings(max_examples=12, deadline=None)
@given(
    dim=st.integers(1, 9), states=st.integers(1, 5), kernel=st.integers(1, 6), expand=st.integers(1, 3),
    rank=st.one_of(st.none(), st.integers(1, 5)), length=st.integers(1, 80),
)  # fmt: skip
def test_equals_its_definition_with_all_gradients(dim, states, kernel, expand, rank, length):
    layer = make(dim, state_size=states, conv_kernel=kernel, expand=expand, dt_rank=rank)
    x = inputs(2, length, dim).requires_grad_()
    everything = [x, *layer.parameters()]
    expected = by_definition(layer, x)
    expected_grads = torch.autograd.grad(expected.square().sum(), everything)
    with pytest.MonkeyPatch.context() as patch:
        for _ in range(2):
            found = layer(x)
            torch.testing.assert_close(found, expected, **EXACT)
            grads = torch.autograd.grad(found.square().sum(), everything)
            torch.testing.assert_close(grads, expected_grads, rtol=1e-8, atol=1e-9)
            patch.setattr(mamba, "_compiled", lambda: None)


def test_the_one_way_interface():
    """What `Bidirectional` relies on: two projections, and `mix` between them."""
    layer, x = make(), inputs()
    assert layer.inputs.weight.shape == (24, 6) and layer.out.weight.shape == (6, 12)
    mask = torch.ones(2, 13, dtype=torch.long)
    mask[1, :4] = 0
    mixed = layer.mix(layer.inputs(x), mask)
    assert mixed.shape == (2, 13, 12) and (mixed[1, :4] == 0).all()
    assert torch.equal(layer.out(mixed), layer(x, mask))


# ---- The start ----


def test_the_papers_start():
    torch.manual_seed(0)
    layer = Mamba(512)
    assert layer.dt_rank == 32 and Mamba(100).dt_rank == 7
    torch.testing.assert_close(layer.A_log.exp(), torch.arange(1.0, 17.0).expand(1024, 16))
    assert (layer.D == 1).all()
    steps = F.softplus(layer.dt.bias)
    assert steps.min() >= 0.00099 and steps.max() <= 0.1001
    # Log-uniform: a third of them in each third of the logarithms, and their mean in the middle.
    position = (steps.log() - math.log(0.001)) / math.log(100)
    assert abs(position.mean() - 0.5) < 0.04 and abs(position.std() - 12**-0.5) < 0.02
    bound = 32**-0.5
    assert bound * 0.99 < layer.dt.weight.abs().max() <= bound
    assert abs(layer.dt.weight.std() - bound / 3**0.5) < 0.01 * bound
    spared = [name for name, p in layer.named_parameters() if getattr(p, "_no_weight_decay", False)]
    assert spared == ["A_log", "D"]


def test_initialize_starts_everything_anew():
    """Also the convolution and the projections, which a model's own small start would leave too weak."""
    torch.manual_seed(3)
    first = Mamba(8).state_dict()
    layer = make(8, state_size=16, dtype=torch.float32)
    assert not any(torch.equal(value, first[name]) for name, value in layer.state_dict().items())
    layer.initialize()
    torch.manual_seed(3)
    layer.initialize()
    again = copy.deepcopy(layer.state_dict())
    torch.manual_seed(3)
    layer.initialize()
    assert all(torch.equal(value, again[name]) for name, value in layer.state_dict().items())
    for name, value in layer.state_dict().items():
        if name not in ("A_log", "D"):
            assert value.abs().mean() == pytest.approx(first[name].abs().mean().item(), rel=0.35), name


def test_on_the_meta_device_and_parameters():
    with torch.device("meta"):
        layer = Mamba(128)
    assert all(p.is_meta for p in layer.parameters())
    inner, rank, states = 256, 8, 16
    expected = 128 * 2 * inner + inner * 4 + inner + inner * (rank + 2 * states)
    expected += rank * inner + inner + inner * states + inner + inner * 128
    assert sum(p.numel() for p in layer.parameters()) == expected


# ---- State and padding ----


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_prefill_padded_on_any_side_and_continued(data):
    """Rows of different length, padding before and behind in every piece: the state is that of the tokens alone."""
    layer = make(conv_kernel=data.draw(st.integers(1, 5)))
    rows = data.draw(st.integers(1, 3))
    streams = inputs(rows, 40, seed=5)
    whole = layer(streams)
    read, state = [0] * rows, {}
    for _ in range(data.draw(st.integers(1, 4))):
        width = data.draw(st.integers(0, 9))
        taken = [data.draw(st.integers(0, width)) for _ in range(rows)]
        left = [data.draw(st.integers(0, width - n)) for n in taken]
        x, mask = (
            torch.full((rows, width, 6), 77.0, dtype=torch.float64),
            torch.zeros(rows, width, dtype=torch.long),
        )
        for r in range(rows):
            x[r, left[r] : left[r] + taken[r]] = streams[r, read[r] : read[r] + taken[r]]
            mask[r, left[r] : left[r] + taken[r]] = 1
        y = layer(x, mask, state)
        assert (y[mask == 0] == 0).all()
        for r in range(rows):
            torch.testing.assert_close(
                y[r, left[r] : left[r] + taken[r]], whole[r, read[r] : read[r] + taken[r]], **EXACT
            )
            read[r] += taken[r]
        assert {name: value.shape for name, value in state.items()} == {
            "conv": (rows, layer.conv_kernel - 1, 12), "scan": (rows, 12, 3),
        }  # fmt: skip
    for r in range(rows):  # as if each row had been read alone
        alone = {}
        layer(streams[r : r + 1, : read[r]], None, alone)
        torch.testing.assert_close(state["scan"][r : r + 1], alone["scan"], **EXACT)
        torch.testing.assert_close(state["conv"][r : r + 1], alone["conv"], **EXACT)


def test_a_token_at_a_time_for_any_time_keeps_the_same_size(path):
    layer = make(dtype=torch.float32).eval()
    x = inputs(3, 150).float()
    state, outputs = {}, []
    with torch.no_grad():
        whole = layer(x)
        for t in range(150):
            outputs.append(layer(x[:, t : t + 1], None, state))
            assert sum(value.numel() for value in state.values()) == 3 * (3 * 12 + 12 * 3)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=1e-4, atol=1e-5)


def test_gradients_flow_through_the_state(path):
    """A long sequence may be trained piece by piece: the state carries gradients to what came before."""
    layer, x = make(), inputs(2, 30).requires_grad_()
    expected = torch.autograd.grad(layer(x)[:, 20:].square().sum(), [x, *layer.parameters()])
    state = {}
    layer(x[:, :20], None, state)
    found = torch.autograd.grad(layer(x[:, 20:], None, state).square().sum(), [x, *layer.parameters()])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    assert (expected[0][:, :20] != 0).any()


def test_a_state_of_another_layer_is_refused():
    layer, x = make(), inputs()
    for other, rows in ((make(state_size=4), 2), (make(conv_kernel=3), 2), (make(expand=1), 2), (layer, 3)):
        state = {}
        other(inputs(rows), None, state)
        before = {name: value.clone() for name, value in state.items()}
        with pytest.raises(ValueError, match=r"not of this layer and batch: it holds .*keeps .*empty dict"):
            layer(x, None, state)
        assert state.keys() == before.keys() and all(torch.equal(state[k], before[k]) for k in before)
    with pytest.raises(ValueError, match="keys"):
        layer(x, None, {"keys": torch.zeros(2, 1), "values": torch.zeros(2, 1)})
    with pytest.raises(ValueError, match="state"):
        layer(x, None, {"scan": torch.zeros(2, 12, 3)})


# ---- Numbers ----


def test_nan_reaches_what_comes_after_it_and_no_other_row(path):
    for dtype in (torch.float32, torch.float64):
        layer, x = make(dtype=dtype), inputs(3, 80).to(dtype)
        clean = layer(x)
        x[1, 50] = torch.nan
        y = layer(x)
        assert y[1, 50:].isnan().all()
        assert torch.equal(y[1, :50], clean[1, :50]) and torch.equal(y[[0, 2]], clean[[0, 2]])


def test_large_activations_stay_finite(path):
    layer = make(dtype=torch.float32)
    x = (1e4 * inputs(2, 70)).float().requires_grad_()
    y = layer(x)
    y.div(1e8).sum().backward()
    assert torch.isfinite(y).all() and torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_layers_keep_their_state_exact(path, dtype):
    """Their activations are coarse, the state is not: rounding it at every step would add up."""
    layer = make(dtype=dtype)
    state = {}
    y = layer(inputs().to(dtype), None, state)
    assert y.dtype == dtype and state["conv"].dtype == dtype and state["scan"].dtype == torch.float32
    again = layer(inputs(length=2).to(dtype), None, state)
    assert torch.isfinite(again).all()


def test_under_autocast(path):
    """Matrix products in bfloat16, the scan in float32; parameters and gradients stay float32."""
    layer, x = make(dtype=torch.float32), inputs(2, 70).float()
    expected = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        y.float().square().sum().backward()
    assert y.dtype == torch.bfloat16
    assert (y - expected).abs().max() < 0.05 * expected.abs().max()
    assert all(p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all() for p in layer.parameters())


# ---- Bad input ----


def test_options_and_shapes_are_checked():
    with pytest.raises(ValueError, match=r"one direction: build_mixer\('mamba', dim, causal=False\)"):
        Mamba(8, causal=False)
    for name in ("dim", "state_size", "conv_kernel", "expand", "dt_rank"):
        for value in (0, -1, 1.5):
            with pytest.raises(ValueError, match=f"{name} must be a whole number from 1 on, not {value}"):
                Mamba(**{"dim": 8, name: value})
    layer = make()
    with pytest.raises(ValueError, match=r"x must be \(B, L, 6\), not \(2, 6\)"):
        layer(torch.zeros(2, 6))
    with pytest.raises(ValueError, match=r"mask has shape \(2, 12\), the input \(2, 13\)"):
        layer(inputs(), torch.ones(2, 12))
