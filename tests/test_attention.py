"""mixers/attention.py: every way to compute attention against the definition, and against transformers' own layers."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from gfm_lab.embeddings import alibi_bias, alibi_slopes, apply_rotary, position_ids, rotary_cos_sin
from gfm_lab.mixers import MIXERS, Attention, SlidingWindowAttention, attention, build_mixer
from gfm_lab.mixers.attention import naive_attention, tiled_attention, window_mask

torch.set_num_threads(1)
POSITIONS = ("none", "rotary", "alibi")
lengths = st.integers(1, 40)
heads_and_width = st.sampled_from([(1, 6), (2, 8), (3, 12), (4, 8)])
close = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def by_definition(layer, x, mask=None):
    """What a layer should give, with the full table of who sees whom and `naive_attention`."""
    if mask is None:
        mask = torch.ones(x.shape[:2], dtype=torch.long)
    at = position_ids(mask)
    distance = at[:, :, None] - at[:, None, :]
    allowed = (mask != 0)[:, None, :].expand_as(distance)
    is_global = torch.zeros_like(mask, dtype=torch.bool)
    if isinstance(layer, SlidingWindowAttention):
        is_global = mask == 2
        allowed = allowed & ((distance.abs() <= layer.radius) | is_global[:, :, None] | is_global[:, None, :])
    if layer.causal:
        allowed = allowed & torch.ones_like(allowed).tril()
    bias = alibi_bias(at, at, alibi_slopes(layer.heads)).to(x) if layer.positions == "alibi" else None

    def attend(projection):
        q, k, v = (t.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for t in projection(x).chunk(3, -1))
        if layer.positions == "rotary":
            angles = rotary_cos_sin(at, q.shape[-1])
            q, k = apply_rotary(q, *angles), apply_rotary(k, *angles)
        return naive_attention(q, k, v, bias=bias, mask=allowed[:, None]).transpose(1, 2).flatten(2)

    y = attend(layer.qkv)
    if getattr(layer, "qkv_global", None) is not None:
        y = torch.where(is_global[..., None], attend(layer.qkv_global), y)
    return layer.out(y) * (mask != 0)[..., None]


# The functions


def test_naive_attention_by_hand():
    """Two queries, two keys, one channel: scores 0 and ln 3 give weights 1/4 and 3/4."""
    q, k = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [math.log(3)]])
    v = torch.tensor([[4.0], [8.0]])
    y, weights = naive_attention(q, k, v, return_weights=True)
    assert_close(weights, torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    assert_close(y, torch.tensor([[7.0], [6.0]]))
    assert_close(naive_attention(q, k, v, causal=True), torch.tensor([[4.0], [6.0]]))
    assert_close(
        naive_attention(q, k, v, mask=torch.tensor([[True, True], [False, False]]))[1], torch.zeros(1)
    )


shapes = st.tuples(st.integers(1, 2), st.integers(1, 3), lengths, lengths, st.integers(1, 5))


@settings(max_examples=60, deadline=None)
@given(
    shape=shapes, block=st.integers(1, 50), causal=st.booleans(), masked=st.booleans(), biased=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_tiled_equals_naive_equals_sdpa(shape, block, causal, masked, biased, seed):
    batch, heads, length, total, dim = shape
    generator = torch.Generator().manual_seed(seed)
    q, k, v, grad = (
        torch.randn(batch, heads, n, dim, generator=generator).requires_grad_()
        for n in (length, total, total, length)
    )
    mask = torch.rand(batch, 1, length, total, generator=generator) < 0.7 if masked else None
    bias = torch.randn(heads, length, total, generator=generator) if biased else None
    options = {"causal": causal, "mask": mask, "bias": bias}
    expected = naive_attention(q, k, v, **options)
    tiled = tiled_attention(q, k, v, block=block, **options)
    assert_close(tiled, expected, **close)
    wanted = torch.autograd.grad(expected, (q, k, v), grad)
    for ours, theirs in zip(torch.autograd.grad(tiled, (q, k, v), grad), wanted, strict=True):
        assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    if not (causal and length != total) and not masked:  # torch counts the causal diagonal from the other end
        fused = torch.nn.functional.scaled_dot_product_attention
        allowed = torch.ones(length, total, dtype=torch.bool).tril() if causal else None
        table = bias if allowed is None or bias is None else bias.masked_fill(~allowed, -math.inf)
        assert_close(fused(q, k, v, attn_mask=allowed if table is None else table), expected, **close)


@pytest.mark.parametrize("causal", [False, True])
def test_tiled_gradcheck(causal):
    q, k, v = (torch.randn(1, 2, n, 3, dtype=torch.double, requires_grad=True) for n in (5, 7, 7))
    mask = torch.rand(1, 1, 5, 7) < 0.7
    mask[..., 2, :] = False  # a query that sees nothing
    assert torch.autograd.gradcheck(
        lambda *t: tiled_attention(*t, block=3, causal=causal, mask=mask), (q, k, v)
    )
    assert not tiled_attention(q, k, v, block=3, mask=mask)[:, :, 2].any()


def test_tiled_keeps_large_scores_finite():
    q = torch.full((1, 1, 4, 2), 200.0)
    k = torch.cat((q, -q), dim=2)
    v = torch.randn(1, 1, 8, 2)
    y = tiled_attention(q, k, v, block=2)
    assert y.isfinite().all()
    assert_close(y, naive_attention(q, k, v))


def test_tiled_refuses():
    q = torch.randn(1, 1, 4, 2)
    with pytest.raises(ValueError, match="block must be at least 1"):
        tiled_attention(q, q, q, block=0)
    with pytest.raises(ValueError, match="no gradient for the bias"):
        tiled_attention(q, q, q, bias=torch.zeros(4, 4, requires_grad=True))


# The layers


@settings(max_examples=80, deadline=None)
@given(
    width=heads_and_width, length=lengths, causal=st.booleans(), positions=st.sampled_from(POSITIONS),
    masked=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_attention_equals_its_definition(width, length, causal, positions, masked, seed):
    torch.manual_seed(seed)
    layer = Attention(width[1], width[0], causal, positions)
    x = torch.randn(2, length, width[1])
    mask = torch.randint(0, 3, (2, length)) if masked else None  # holes too; 2 counts as 1
    y, weights = layer(x, mask, return_weights=True)
    assert_close(layer(x, mask), by_definition(layer, x, mask), **close)
    assert_close(y, by_definition(layer, x, mask), **close)
    sums = weights.sum(-1)
    real = torch.ones(2, length) if mask is None else (mask != 0).float()
    assert_close(sums, real[:, None].expand_as(sums))


@settings(max_examples=150, deadline=None)
@given(
    width=heads_and_width, length=st.integers(1, 90), radius=st.integers(0, 50), causal=st.booleans(),
    positions=st.sampled_from(POSITIONS), apart=st.booleans(), masked=st.sampled_from([None, "padding", "all kinds"]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_window_equals_its_definition(width, length, radius, causal, positions, apart, masked, seed):
    torch.manual_seed(seed)
    layer = SlidingWindowAttention(width[1], width[0], radius, causal, positions, apart)
    x = torch.randn(2, length, width[1])
    mask = None if masked is None else torch.randint(0, 2 if masked == "padding" else 3, (2, length))
    assert_close(layer(x, mask), by_definition(layer, x, mask), **close)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("positions", POSITIONS)
def test_a_wide_window_is_full_attention(causal, positions):
    full = Attention(12, 2, causal, positions)
    window = SlidingWindowAttention(12, 2, 40, causal, positions)
    window.load_state_dict(full.state_dict())
    x = torch.randn(2, 40, 12)
    assert_close(window(x), full(x), **close)


@pytest.mark.parametrize("causal", [False, True])
def test_window_mask(causal):
    expected = [[abs(i - j) <= 2 and (j <= i or not causal) for j in range(7)] for i in range(7)]
    assert window_mask(7, 2, causal).tolist() == expected
    x = torch.randn(1, 7, 8)
    layer = SlidingWindowAttention(8, 2, 2, causal)
    q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in layer.qkv(x).chunk(3, -1))
    y = naive_attention(q, k, v, mask=window_mask(7, 2, causal)).transpose(1, 2).flatten(2)
    assert_close(layer(x), layer.out(y), **close)


def kinds(orders=(False, True)):
    """Every layer to test, as functions that build it."""
    cases = []
    for name in POSITIONS:
        for causal in orders:
            order = "causal" if causal else "both"
            full = partial(Attention, 12, 2, causal, name)
            cases.append(pytest.param(full, id=f"full-{name}-{order}"))
            for apart in (False, True):
                window = partial(SlidingWindowAttention, 12, 2, 3, causal, name, apart)
                cases.append(
                    pytest.param(window, id=f"window-{name}-{order}-{'apart' if apart else 'shared'}")
                )
    return cases


@pytest.mark.parametrize("build", kinds())
def test_causality(build):
    layer = build()
    x = torch.randn(1, 30, 12)
    mask = torch.ones(1, 30, dtype=torch.long)
    mask[0, 2] = 2
    other = x.clone()
    other[:, 21] += 1
    for given_mask in (None, mask):
        changed = (layer(x, given_mask) - layer(other, given_mask)).abs().amax(-1)[0] > 1e-6
        assert changed[21]
        assert changed[:21].any() == (not layer.causal)


@pytest.mark.parametrize("build", kinds())
def test_padding_moves_nothing(build):
    layer = build()
    x, noise = torch.randn(1, 11, 12), torch.randn(1, 5, 12)
    tokens = torch.ones(1, 11, dtype=torch.long)
    tokens[0, 1] = 2
    padding = torch.zeros(1, 5, dtype=torch.long)
    alone = layer(x, tokens)
    for order in ([noise, x], [x, noise], [noise, x, noise], [x[:, :4], noise, x[:, 4:]]):
        mask = torch.cat([padding if part is noise else tokens[:, : part.shape[1]] for part in order], 1)
        if len(order) == 3 and order[1] is noise:
            mask = torch.cat((tokens[:, :4], padding, tokens[:, 4:]), 1)
        y = layer(torch.cat(order, 1), mask)
        assert_close(y[:, mask[0] != 0], alone, **close)
        assert not y[:, mask[0] == 0].any()


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("build", kinds())
def test_a_row_of_padding_gives_zeros_and_finite_gradients(build):
    layer = build()
    x = torch.randn(2, 9, 12, requires_grad=True)
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1] = 0
    with torch.autograd.detect_anomaly(check_nan=True):
        y = layer(x, mask)
        y.square().sum().backward()
    assert not y[1].any() and y[0].any()
    assert x.grad.isfinite().all() and not x.grad[1].any()
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)


@pytest.mark.parametrize("build", kinds(orders=[True]))
@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_steps_equal_one_pass(build, padding):
    layer = build()
    x = torch.randn(2, 20, 12)
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[:, 4] = 2
    if padding == "left":
        mask[1, :3] = 0
    if padding == "right":  # of the first call: the row goes on after a gap
        mask[1, 6:9] = 0
    expected = layer(x, mask)
    for cuts in ([9, *range(10, 21)], [9, 12, 20], [20]):
        state, start, parts = {}, 0, []
        for stop in cuts:
            plain = start > 0 and stop - start == 1  # single steps come without a mask
            parts.append(layer(x[:, start:stop], None if plain else mask[:, start:stop], state))
            start = stop
        assert_close(torch.cat(parts, 1), expected, **close)


@pytest.mark.parametrize("build", kinds(orders=[True]))
def test_the_state_can_be_reordered(build):
    """Beam search: rows of the state are chosen anew by indexing every tensor along the batch."""
    layer = build()
    x = torch.randn(3, 8, 12)
    rows = torch.tensor([2, 0, 0])
    state = {}
    layer(x[:, :7], None, state)
    assert all(value.shape[0] == 3 for value in state.values())
    state.update({name: value[rows] for name, value in state.items()})
    chosen = torch.cat((x[rows, :7], x[:, 7:]), 1)
    assert_close(layer(x[:, 7:], None, state), layer(chosen)[:, 7:], **close)


def test_the_windows_state_does_not_grow():
    layer = SlidingWindowAttention(12, 2, 5, causal=True)
    state, mask = {}, torch.ones(1, 30, dtype=torch.long)
    mask[0, 0] = 2
    x = torch.randn(1, 300, 12)
    first = layer(x[:, :30], mask, state)
    sizes = {name: tuple(value.shape) for name, value in state.items()}
    assert sizes["keys"] == (1, 2, 6, 6)  # five neighbours and the global token
    rest = layer(x[:, 30:], None, state)
    assert {name: tuple(value.shape) for name, value in state.items()} == sizes
    whole = torch.cat((mask, torch.ones(1, 270, dtype=torch.long)), 1)
    assert_close(torch.cat((first, rest), 1), layer(x, whole), **close)


@pytest.mark.parametrize("build", kinds())
def test_gradients(build):
    layer = build().double()
    x = torch.randn(1, 6, 12, dtype=torch.double, requires_grad=True)
    mask = torch.tensor([[0, 1, 2, 1, 1, 0]])
    assert torch.autograd.gradcheck(lambda t: layer(t, mask), (x,), fast_mode=True)
    layer(x, mask).square().sum().backward()
    assert all(p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("build", kinds())
def test_lengths_zero_and_one_and_dtypes(build):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        layer = build().to(dtype)
        empty = layer(torch.zeros(2, 0, 12, dtype=dtype), torch.ones(2, 0))
        assert empty.shape == (2, 0, 12) and empty.dtype == dtype
        x = torch.randn(2, 9, 12).to(dtype)
        y = layer(x, torch.tensor([[1] * 9, [0] * 5 + [1] * 4]))
        assert y.dtype == dtype and y.isfinite().all()
        assert_close(y[0].double(), by_definition(layer.double(), x.double())[0], atol=0.02, rtol=0)
    one = build()
    x = torch.randn(2, 1, 12)
    assert_close(one(x), by_definition(one, x), **close)


class Largest(TorchDispatchMode):
    """Counts the elements of the largest tensor that any operation makes, forward and backward."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                stored = min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())
                self.elements = max(self.elements, stored)
        return out


def largest(function, length):
    x = torch.randn(1, length, 16, requires_grad=True)
    with Largest() as count:
        function(x).sum().backward()
    return count.elements


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("with_global", [False, True])
def test_the_window_is_linear_in_memory(causal, with_global):
    layer = SlidingWindowAttention(16, 2, 32, causal)

    def run(x):
        mask = torch.ones(x.shape[:2], dtype=torch.long)
        mask[:, :2] += int(with_global)
        return layer(x, mask)

    small, large = largest(run, 512), largest(run, 2048)
    assert large <= 4.05 * small
    assert large < 2048 * 2048 / 8


def test_the_full_layer_and_the_tiles_are_linear_in_memory_and_the_definition_is_not():
    def split(x):
        return x[:, None], x[:, None], x[:, None]

    def tiled(x):
        return tiled_attention(*split(x), block=128)

    def naive(x):
        return naive_attention(*split(x))

    for run in (tiled, Attention(16, 2), Attention(16, 2, causal=True, positions="rotary")):
        assert largest(run, 2048) <= max(4.05 * largest(run, 512), 128 * 128)
    assert largest(naive, 1024) == 1024 * 1024


@pytest.mark.parametrize("padding", ["none", "right"])
def test_causal_attention_needs_no_table(padding):
    """Nothing of size L x L is made when the order alone says who sees whom."""
    layer = Attention(16, 2, causal=True)
    mask = torch.ones(1, 1024, dtype=torch.long)
    mask[0, 1000:] = padding == "none"
    assert largest(lambda x: layer(x, mask), 1024) < 1024 * 1024 / 8


# Bad input


def test_bad_options():
    with pytest.raises(
        ValueError, match="5 heads do not divide the width 12: choose one of 1, 2, 3, 4, 6, 12"
    ):
        Attention(12, 5)
    with pytest.raises(
        ValueError, match="'learned' is unknown to attention: choose one of none, rotary, alibi"
    ):
        Attention(12, 2, positions="learned")
    with pytest.raises(ValueError, match="the head width 3 must be even"):
        SlidingWindowAttention(12, 4, 3, positions="rotary")
    with pytest.raises(ValueError, match="0 or more, not -1"):
        SlidingWindowAttention(12, 4, -1)


def test_bad_calls():
    x = torch.randn(2, 5, 12)
    for layer in (Attention(12, 2), SlidingWindowAttention(12, 2, 3)):
        with pytest.raises(ValueError, match=r"\(batch, length, 12\), not \(2, 5, 11\)"):
            layer(x[..., :11])
        with pytest.raises(ValueError, match=r"mask must have shape \(2, 5\), as x has, not \(2, 4\)"):
            layer(x, torch.ones(2, 4))
        with pytest.raises(ValueError, match="needs causal=True"):
            layer(x, None, {})
    for layer in (Attention(12, 2, True), SlidingWindowAttention(12, 2, 3, True)):
        state = {}
        layer(x, None, state)
        with pytest.raises(ValueError, match="state holds 2 rows, x has 1"):
            layer(x[:1, :1], None, state)
        with pytest.raises(ValueError, match="mask of the new tokens only"):
            layer(x[:, :1], torch.ones(2, 6), state)
    with pytest.raises(ValueError, match="in the first call"):
        layer(x[:, :1], torch.full((2, 1), 2), state)


def test_build_mixer():
    layer = build_mixer("sliding_window", 12, heads=2, radius=3, causal=True)
    assert isinstance(layer, SlidingWindowAttention) and layer.causal and layer.radius == 3
    with pytest.raises(
        ValueError, match=r"unknown mixer 'atention': .*attention.*did you mean 'attention'\?"
    ):
        build_mixer("atention", 12)
    with pytest.raises(
        ValueError, match=r"unknown option 'width' of mixer 'attention': its options are heads, causal"
    ):
        build_mixer("attention", 12, heads=2, width=3)
    with pytest.raises(ValueError, match="missing option 'radius'"):
        build_mixer("sliding_window", 12, heads=2)
    assert MIXERS["attention"] is Attention


# Against transformers


def join(fused, *parts):
    """Copy separate projections into one."""
    with torch.no_grad():
        fused.weight.copy_(torch.cat([part.weight for part in parts]))
        fused.bias.copy_(torch.cat([part.bias for part in parts]))


def identity_out(layer):
    """transformers' self-attention modules end before the output projection."""
    with torch.no_grad():
        layer.out.weight.copy_(torch.eye(layer.dim))
        layer.out.bias.zero_()
    return layer.eval()


def padded(length=23):
    mask = torch.ones(2, length, dtype=torch.long)
    mask[0, 17:] = 0
    return torch.randn(2, length, 24), mask


def test_equals_bert():
    from transformers.models.bert.modeling_bert import BertConfig, BertSelfAttention

    config = BertConfig(hidden_size=24, num_attention_heads=3)
    config._attn_implementation = "eager"
    theirs, ours = BertSelfAttention(config).eval(), identity_out(Attention(24, 3))
    join(ours.qkv, theirs.query, theirs.key, theirs.value)
    x, mask = padded()
    hidden = torch.where(mask == 0, torch.finfo(torch.float).min, 0.0)[:, None, None]
    expected, weights = theirs(x, hidden)
    assert_close(ours(x, mask)[mask == 1], expected[mask == 1], **close)
    assert_close(ours(x, mask, return_weights=True)[1][1], weights[1], **close)


def test_equals_gpt2():
    from transformers.models.gpt2.modeling_gpt2 import GPT2Attention, GPT2Config

    config = GPT2Config(n_embd=24, n_head=3)
    config._attn_implementation = "sdpa"
    theirs, ours = GPT2Attention(config, layer_idx=0).eval(), Attention(24, 3, causal=True).eval()
    with torch.no_grad():  # GPT-2 keeps its weights transposed
        for mine, other in ((ours.qkv, theirs.c_attn), (ours.out, theirs.c_proj)):
            mine.weight.copy_(other.weight.T)
            mine.bias.copy_(torch.nn.init.normal_(other.bias))
    x, _ = padded()
    assert_close(ours(x), theirs(x)[0], **close)


def test_equals_esm_rotary():
    from transformers.models.esm.modeling_esm import EsmConfig, EsmRotaryEmbedding, EsmSelfAttention

    config = EsmConfig(
        hidden_size=24, num_attention_heads=3, position_embedding_type="rotary", vocab_size=9, pad_token_id=1
    )
    config._attn_implementation = "eager"
    theirs, ours = EsmSelfAttention(config).eval(), identity_out(Attention(24, 3, positions="rotary"))
    join(ours.qkv, theirs.query, theirs.key, theirs.value)
    x, mask = padded()
    hidden = torch.where(mask == 0, torch.finfo(torch.float).min, 0.0)[:, None, None]
    angles = EsmRotaryEmbedding(config)(x, torch.arange(23)[None])
    expected = theirs(x, hidden, position_embeddings=angles)[0]
    assert_close(ours(x, mask)[mask == 1], expected[mask == 1], **close)


@pytest.mark.parametrize("with_global", [False, True])
@pytest.mark.parametrize("length", [16, 64])
def test_equals_longformer(with_global, length):
    from transformers.models.longformer.modeling_longformer import LongformerConfig, LongformerSelfAttention

    config = LongformerConfig(hidden_size=24, num_attention_heads=3, attention_window=[8])
    theirs = LongformerSelfAttention(config, 0).eval()
    ours = identity_out(SlidingWindowAttention(24, 3, 4, global_projections=True))
    join(ours.qkv, theirs.query, theirs.key, theirs.value)
    join(ours.qkv_global, theirs.query_global, theirs.key_global, theirs.value_global)
    x = torch.randn(3, length, 24)
    mask = torch.ones(3, length, dtype=torch.long)
    mask[1, 11:] = 0
    if with_global:
        mask[0, [0, 9]] = 2
        mask[1, 3] = 2
    expected = theirs(
        x,
        attention_mask=(mask - 1) * 10000.0,
        is_index_masked=mask == 0,
        is_index_global_attn=mask == 2,
        is_global_attn=with_global,
    )[0]
    assert_close(ours(x, mask)[mask != 0], expected[mask != 0], **close)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_training_in_bfloat16_on_a_cpu_takes_the_definition_and_gives_the_kernel_s_numbers(
    causal, padded, monkeypatch
):
    torch.manual_seed(0)
    mixer = Attention(32, heads=4, positions="rotary", causal=causal)
    x = torch.randn(2, 24, 32)
    mask = torch.ones(2, 24, dtype=torch.long)
    mask[1, 17:] = 0
    mask = mask if padded else None
    expected = mixer(x, mask)
    target = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * target).sum(), mixer.qkv.weight)[0]

    def fail(*_, **__):
        raise AssertionError("the kernel was called")

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", fail)
    with torch.autocast("cpu", torch.bfloat16):
        y = mixer(x, mask)
    found = torch.autograd.grad((y.float() * target).sum(), mixer.qkv.weight)[0]
    # bfloat16 keeps 8 bits: errors of a few times 2**-8 of the scale.
    assert (y - expected).abs().max() < 0.03 * expected.abs().max()
    assert (found - wanted).abs().max() < 0.03 * wanted.abs().max()
    with (
        torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(AssertionError, match="kernel"),
    ):
        mixer(x, mask)  # without a backward pass the kernel is the faster one
