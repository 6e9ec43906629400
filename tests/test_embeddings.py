"""embeddings.py: tables, positions and the k-mer sum against their definitions and against transformers' own."""

import itertools
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from gfm_lab.embeddings import (
    Embedding,
    KmerSum,
    alibi_bias,
    alibi_slopes,
    apply_rotary,
    one_hot_lookup,
    position_ids,
    rotary_cos_sin,
    sinusoidal_positions,
)

torch.set_num_threads(1)
PAD, MASK, A, C, G, T, N = 0, 4, 5, 6, 7, 8, 9
masks = st.lists(st.lists(st.integers(0, 2), min_size=7, max_size=7), min_size=1, max_size=3).map(
    torch.tensor
)
contiguous = st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 4))  # padding, tokens, padding


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_lookup_is_a_one_hot_product():
    weight = torch.randn(64, 128)
    ids = torch.randint(0, 64, (2, 32))
    assert one_hot_lookup(weight, ids).shape == (2, 32, 128)
    assert_close(one_hot_lookup(weight, ids), weight[ids])
    embedding = Embedding(64, 128)
    assert_close(embedding(ids), one_hot_lookup(embedding.token.weight, ids))


@given(mask=masks, offset=st.integers(0, 9))
def test_positions_count_tokens(mask, offset):
    positions = position_ids(mask, offset)
    for row, where in zip(mask.tolist(), positions.tolist(), strict=True):
        tokens = [p for m, p in zip(row, where, strict=True) if m]
        assert tokens == list(range(offset, offset + len(tokens)))
        last = offset + max(len(tokens) - 1, 0)
        assert all(offset <= p <= last for p in where)  # padding too stays within the table
    assert torch.equal(position_ids(mask, torch.full((len(mask),), offset)), positions)


@pytest.mark.parametrize("dim", [8, 7])
def test_sinusoids(dim):
    table = sinusoidal_positions(50, dim)
    assert table.shape == (50, dim) and sinusoidal_positions(0, dim).shape == (0, dim)
    for p, channel in itertools.product((0, 1, 17, 49), range(dim)):
        angle = torch.tensor(p / 10000 ** (2 * (channel // 2) / dim))
        assert_close(table[p, channel], angle.cos() if channel % 2 else angle.sin())


def test_products_of_sinusoids_depend_on_the_distance():
    table = sinusoidal_positions(50, 8)
    products = table @ table.T
    for distance in (1, 5, 20):
        along = products.diagonal(distance)
        assert_close(along, along[:1].expand_as(along), atol=1e-4, rtol=0)


def test_rotary_equals_transformers_esm():
    from transformers.models.esm.modeling_esm import EsmConfig, EsmRotaryEmbedding, apply_rotary_pos_emb

    q, k = torch.randn(2, 4, 30, 16), torch.randn(2, 4, 30, 16)
    positions = torch.randint(0, 2000, (2, 30))
    reference = EsmRotaryEmbedding(
        EsmConfig(hidden_size=64, num_attention_heads=4, vocab_size=9, pad_token_id=1)
    )
    expected = apply_rotary_pos_emb(q, k, *reference(q, positions))
    cos, sin = rotary_cos_sin(positions, 16)
    assert_close((apply_rotary(q, cos, sin), apply_rotary(k, cos, sin)), expected, atol=1e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(shift=st.integers(0, 300), base=st.sampled_from([100.0, 10000.0]))
def test_rotary_knows_only_distances(shift, base):
    q, k = torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    here, there = rotary_cos_sin(torch.arange(12), 8, base), rotary_cos_sin(torch.arange(12) + shift, 8, base)
    scores = apply_rotary(q, *here) @ apply_rotary(k, *here).mT
    shifted = apply_rotary(q, *there) @ apply_rotary(k, *there).mT
    assert_close(shifted, scores, atol=2e-3, rtol=0)
    assert_close(apply_rotary(q, *there).norm(dim=-1), q.norm(dim=-1))
    with pytest.raises(ValueError, match="even, not 7"):
        rotary_cos_sin(torch.arange(3), 7)


@pytest.mark.parametrize("heads", [1, 2, 3, 8, 12, 16, 20])
def test_alibi_slopes_equal_bloom(heads):
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    expected = build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1]  # slope * position 1
    assert_close(alibi_slopes(heads), expected)
    bias = alibi_bias(torch.arange(5), torch.arange(7), alibi_slopes(heads))
    assert bias.shape == (heads, 5, 7)
    assert_close(bias[:, 1, 4], -3 * expected)
    assert_close(bias[:, 4, 1], -3 * expected)
    batched = alibi_bias(torch.arange(5).expand(2, -1), torch.arange(7).expand(2, -1), alibi_slopes(heads))
    assert torch.equal(batched, bias.expand(2, -1, -1, -1))


def test_alibi_slopes_of_the_paper():
    assert alibi_slopes(8).tolist() == [2.0**-n for n in range(1, 9)]
    with pytest.raises(ValueError, match="at least 1"):
        alibi_slopes(0)


# k-mer sum


def kmer_sum_by_hand(module, ids, mask):
    """The definition: for each token, every word of 1 to k bases that ends there and holds nothing but bases."""
    out = torch.zeros(*ids.shape, module.tables[0].weight.shape[1])
    code = {base: i for i, base in enumerate(module.base_ids)}
    for b, t in itertools.product(*map(range, ids.shape)):
        for n in range(1, module.k + 1):
            word = ids[b, t - n + 1 : t + 1].tolist() if t - n + 1 >= 0 else []
            there = mask[b, t - n + 1 : t + 1].bool().all() if word else False
            if len(word) == n and there and all(w in code for w in word):
                number = 0
                for w in word:
                    number = number * 4 + code[w]
                out[b, t] += module.tables[n - 1].weight[number]
    return out


rows = st.lists(
    st.tuples(st.sampled_from([PAD, MASK, A, C, G, T, N]), st.sampled_from([0, 1, 1, 1])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(row=rows, k=st.integers(1, 4))
def test_kmer_sum_equals_its_definition(row, k):
    module = KmerSum(10, 4, k)
    ids, mask = torch.tensor(row).T[:, None]
    assert_close(module(ids, mask), kmer_sum_by_hand(module, ids, mask))
    assert_close(module(ids), kmer_sum_by_hand(module, ids, torch.ones_like(ids)))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), k=st.integers(1, 5))
def test_kmer_sum_in_steps(data, k):
    module = KmerSum(10, 4, k)
    ids = torch.tensor(data.draw(st.lists(st.sampled_from([MASK, A, C, G, T]), min_size=1, max_size=12)))[
        None
    ]
    cuts = sorted(data.draw(st.sets(st.integers(1, ids.shape[1]), max_size=4)) | {0, ids.shape[1]})
    state = {}
    parts = [module(ids[:, a:b], None, state) for a, b in itertools.pairwise(cuts)]
    assert_close(torch.cat(parts, 1), module(ids))


def test_kmer_sum_goes_on_after_padding_on_the_right():
    module = KmerSum(10, 4, 3)
    state = {}
    module(torch.tensor([[A, C, G], [T, PAD, PAD]]), torch.tensor([[1, 1, 1], [1, 0, 0]]), state)
    step = module(torch.tensor([[T], [C]]), None, state)
    assert_close(step[0, 0], module(torch.tensor([[A, C, G, T]]))[0, -1])
    assert_close(step[1, 0], module(torch.tensor([[T, C]]))[0, -1])


def test_a_masked_base_leaks_through_no_kmer():
    """The vectors of a masked sequence are the same whatever the base under the mask was."""
    embedding = Embedding(10, 8, kmer_sum=4)
    hidden = []
    for base in (A, C, G, T):
        ids = torch.tensor([[A, G, base, T, T, C, A]])
        ids[0, 2] = MASK
        hidden.append(embedding(ids))
    assert all(torch.equal(h, hidden[0]) for h in hidden)
    # and its neighbours get less than they would with a base there
    whole = embedding(torch.tensor([[A, G, C, T, T, C, A]]))
    assert (whole - hidden[0])[0].abs().sum(-1).gt(0).tolist() == [
        False,
        False,
        True,
        True,
        True,
        True,
        False,
    ]


def test_kmer_sum_sees_no_future():
    embedding = Embedding(10, 8, kmer_sum=3)
    ids = torch.randint(A, T + 1, (1, 20))
    other = ids.clone()
    other[0, 12:] = (ids[0, 12:] - A + 1) % 4 + A
    assert torch.equal(embedding(ids)[:, :12], embedding(other)[:, :12])
    assert not torch.equal(embedding(ids)[:, 12:], embedding(other)[:, 12:])


def flanks_by_hand(module, ids, mask):
    """Words that end right before each token, and, read from the end, words that start right after it."""
    one_side = KmerSum(10, 4, module.k)
    before, after = torch.zeros(*ids.shape, 4), torch.zeros(*ids.shape, 4)
    one_side.tables = module.tables
    before[:, 1:] = kmer_sum_by_hand(one_side, ids, mask)[:, :-1]
    one_side.tables = module.after
    after[:, :-1] = kmer_sum_by_hand(one_side, ids.flip(1), mask.flip(1)).flip(1)[:, 1:]
    return before + after


@settings(max_examples=60, deadline=None)
@given(row=rows, k=st.integers(1, 4))
def test_flanks_equal_their_definition(row, k):
    module = KmerSum(10, 4, k, flanks=True)
    ids, mask = torch.tensor(row).T[:, None]
    assert_close(module(ids, mask), flanks_by_hand(module, ids, mask))
    assert_close(module(ids), flanks_by_hand(module, ids, torch.ones_like(ids)))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), k=st.integers(1, 5))
def test_flanks_never_hold_the_base_itself_and_always_see_its_neighbours(data, k):
    module = KmerSum(10, 4, k, flanks=True)
    row = data.draw(st.lists(st.sampled_from([A, C, G, T]), min_size=2, max_size=14))
    at = data.draw(st.integers(0, len(row) - 1))
    vectors = []
    for token in (A, C, G, T, MASK):
        changed = [*row]
        changed[at] = token
        vectors.append(module(torch.tensor([changed]))[0])
    assert all(torch.equal(v[at], vectors[0][at]) for v in vectors)
    beside = at + 1 if at == 0 else at - 1
    assert all(not torch.equal(v[beside], vectors[0][beside]) for v in vectors[1:])


def test_flanks_need_both_sides():
    with pytest.raises(ValueError, match="kmer_flanks reads the bases on both sides"):
        KmerSum(10, 4, 2, flanks=True)(torch.tensor([[A, C]]), None, {})
    with pytest.raises(ValueError, match="set kmer_sum"):
        Embedding(10, 4, kmer_flanks=True)


def test_kmer_sum_refuses():
    with pytest.raises(ValueError, match="1 to 8"):
        KmerSum(10, 4, 9)
    with pytest.raises(ValueError, match="four different ids below vocab_size 8"):
        KmerSum(8, 4, 3)
    with pytest.raises(ValueError, match="needs state"):
        Embedding(10, 4, kmer_sum=2)(torch.tensor([[A]]), offset=3)
    with pytest.raises(ValueError, match="needs input_ids"):
        Embedding(10, 4, kmer_sum=2)(inputs_embeds=torch.zeros(1, 3, 4))


# The module, against transformers


def copy(ours, theirs):
    """transformers' weights into our module; returns ours."""
    with torch.no_grad():
        for parameter in theirs.parameters():
            nn.init.normal_(parameter)
        ours.token.weight.copy_(theirs.word_embeddings.weight)
        if ours.position is not None:
            ours.position.weight.copy_(theirs.position_embeddings.weight)
        if ours.token_type is not None:
            ours.token_type.weight.copy_(theirs.token_type_embeddings.weight)
        if ours.norm is not None:
            ours.norm.load_state_dict(theirs.LayerNorm.state_dict())
    return ours.eval()


def test_equals_bert():
    from transformers.models.bert.modeling_bert import BertConfig, BertEmbeddings

    theirs = BertEmbeddings(BertConfig(vocab_size=20, hidden_size=12, max_position_embeddings=16)).eval()
    ours = copy(
        Embedding(
            20, 12, positions="learned", max_position_embeddings=16, token_types=2, embedding_norm=True
        ),
        theirs,
    )
    ids = torch.randint(0, 20, (3, 16))
    assert_close(ours(ids), theirs(ids), atol=1e-6, rtol=0)
    assert_close(ours(ids[:, 5:9], offset=5), theirs(ids)[:, 5:9], atol=1e-6, rtol=0)


@pytest.mark.parametrize("token_dropout", [True, False])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_equals_esm(token_dropout, positions):
    from transformers.models.esm.modeling_esm import EsmConfig, EsmEmbeddings

    config = EsmConfig(
        vocab_size=20, hidden_size=12, max_position_embeddings=18, pad_token_id=1, mask_token_id=4,
        num_attention_heads=2, token_dropout=token_dropout,
        position_embedding_type="absolute" if positions == "learned" else "rotary",
    )  # fmt: skip
    theirs = EsmEmbeddings(config).eval()
    ours = Embedding(
        20, 12, positions=positions, max_position_embeddings=18, position_offset=2, pad_token_id=1,
        token_dropout=token_dropout, mask_token_id=4,
    )  # fmt: skip
    copy(ours, theirs)
    ids = torch.randint(5, 20, (3, 16))
    ids[:, 3:6] = 4
    ids[1, 10:] = 1
    ids[2, :7] = 1
    mask = (ids != 1).long()
    expected = theirs(ids, mask)
    if token_dropout:  # padding too
        assert_close(ours(ids, mask), expected, atol=1e-6, rtol=0)
        assert not ours(ids, mask)[mask == 0].any()
    assert_close(ours(ids, mask)[mask == 1], expected[mask == 1], atol=1e-6, rtol=0)
    assert_close(ours(ids[:1]), theirs(ids[:1]), atol=1e-6, rtol=0)


def test_token_dropout_of_a_row_of_masks_or_padding_is_finite():
    embedding = Embedding(10, 4, token_dropout=True, mask_token_id=MASK)
    ids = torch.tensor([[MASK, MASK], [PAD, PAD]])
    assert not embedding(ids, torch.tensor([[1, 1], [0, 0]])).any()


@settings(max_examples=40, deadline=None)
@given(shape=contiguous, positions=st.sampled_from(["none", "learned", "sinusoidal", "rotary", "alibi"]))
def test_padding_moves_nothing(shape, positions):
    before, length, after = shape
    embedding = Embedding(
        10, 8, positions=positions, max_position_embeddings=8, kmer_sum=3, embedding_norm=True, token_types=1,
        token_dropout=True, mask_token_id=MASK,
    )  # fmt: skip
    ids = torch.randint(MASK, T + 1, (1, length))
    padded = torch.cat((ids.new_full((1, before), PAD), ids, ids.new_full((1, after), PAD)), 1)
    mask = torch.tensor([[0] * before + [1] * length + [0] * after])
    assert_close(embedding(padded, mask)[:, before : before + length], embedding(ids))


def test_positions_add_as_they_should():
    ids = torch.randint(A, T + 1, (2, 9))
    plain = Embedding(10, 8)
    for positions, added in (
        ("sinusoidal", sinusoidal_positions(9, 8)),
        ("rotary", torch.zeros(9, 8)),
        ("alibi", torch.zeros(9, 8)),
    ):
        embedding = Embedding(10, 8, positions=positions)
        embedding.load_state_dict(plain.state_dict())
        assert_close(embedding(ids), plain(ids) + added)
    per_row = Embedding(10, 8, positions="sinusoidal")
    step = per_row(ids, offset=torch.tensor([3, 7])) - per_row.token(ids)
    assert_close(step[1], sinusoidal_positions(16, 8)[7:], atol=1e-6, rtol=0)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_too_long_says_both_lengths(positions):
    embedding = Embedding(10, 4, positions=positions, max_position_embeddings=18, position_offset=2)
    ids = torch.full((2, 17), A)
    with pytest.raises(ValueError, match=r"17 tokens .* than the 16 that"):
        embedding(ids)
    mask = torch.ones_like(ids)
    mask[:, :1] = 0
    assert embedding(ids, mask).shape == (2, 17, 4)  # 16 tokens: padding does not count
    with pytest.raises(ValueError, match=r"17 tokens .* than the 16 that"):
        embedding(ids[:, :1], offset=torch.tensor([3, 16]))


def test_bad_input():
    with pytest.raises(ValueError, match=r"input_ids\[1, 2\] is 10, outside 0 to 9"):
        Embedding(10, 4)(torch.tensor([[A, A, A], [A, A, 10]]))
    with pytest.raises(ValueError, match="whole numbers"):
        Embedding(10, 4)(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="exactly one"):
        Embedding(10, 4)()
    with pytest.raises(ValueError, match=r"mask has shape \(1, 2\)"):
        Embedding(10, 4)(torch.tensor([[A, A, A]]), torch.ones(1, 2))
    with pytest.raises(ValueError, match="learned, sinusoidal, rotary, alibi"):
        Embedding(10, 4, positions="absolute")
    with pytest.raises(ValueError, match="needs mask_token_id"):
        Embedding(10, 4, token_dropout=True)
    with pytest.raises(ValueError, match="max_position_embeddings"):
        Embedding(10, 4, positions="learned")


@pytest.mark.parametrize("positions", ["none", "learned", "sinusoidal"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_and_length_zero(positions, dtype):
    embedding = Embedding(
        10, 8, positions=positions, max_position_embeddings=9, kmer_sum=2, embedding_norm=True,
        token_dropout=True, mask_token_id=MASK,
    ).to(dtype)  # fmt: skip
    for length in (0, 1, 9):
        x = embedding(torch.full((2, length), A), torch.ones(2, length, dtype=torch.long))
        assert x.shape == (2, length, 8) and x.dtype == dtype and x.isfinite().all()


def test_gradients_reach_every_table():
    embedding = Embedding(
        10, 8, positions="learned", max_position_embeddings=9, kmer_sum=2, embedding_norm=True, token_types=2
    )
    embedding(torch.tensor([[A, C, G, T]])).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in embedding.parameters())


def test_imports_torch_and_nothing_of_ours():
    program = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("gfm_lab.") and name != "gfm_lab.embeddings":
            raise ModuleNotFoundError(name)
        if name.split(".")[0] in ("transformers", "tokenizers"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import gfm_lab.embeddings as e, torch
print(e.Embedding(10, 4, positions="sinusoidal", kmer_sum=2)(torch.tensor([[5, 6]])).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "torch.Size([1, 2, 4])" in done.stdout, done.stderr
