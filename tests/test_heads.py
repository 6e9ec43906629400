"""heads.py: pooling against its definition without padding, heads against transformers' own, losses against torch's."""

import ast
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import gfm_lab.heads
from gfm_lab.heads import (
    POOLINGS,
    ClassificationHead,
    EmbeddingHead,
    LMHead,
    Pool,
    RegressionHead,
    sequence_loss,
    token_loss,
)

torch.set_num_threads(1)
D = 6


def test_it_needs_torch_alone():
    """A site's file can be copied into another project and works there."""
    with open(gfm_lab.heads.__file__, encoding="utf-8") as file:
        nodes = list(ast.walk(ast.parse(file.read())))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert "torch" in modules and {name.split(".")[0] for name in modules} == {"__future__", "torch"}


def pool(how, dim=D):
    torch.manual_seed(0)
    made = Pool(how, dim).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


@pytest.mark.parametrize("how", POOLINGS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_padding_never_counts(how, data):
    """A row padded with anything, on any side, pools as the row alone; a row of padding alone gives zeros."""
    lengths = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=4))
    total = max([*lengths, 1]) + data.draw(st.integers(0, 3))
    filler = data.draw(st.sampled_from([0.0, 1e6, -1e6, math.nan, math.inf]))
    marks = data.draw(st.sampled_from([torch.long, torch.bool, torch.float32]))
    head = pool(how)
    x, mask = (
        torch.full((len(lengths), total, D), filler, dtype=torch.float64),
        torch.zeros(len(lengths), total),
    )
    alone = []
    for row, length in enumerate(lengths):
        start = data.draw(st.integers(0, total - length))
        alone.append(torch.randn(1, length, D, dtype=torch.float64))
        x[row, start : start + length] = alone[-1]
        mask[row, start : start + length] = 1
    pooled = head(x, mask.to(marks))
    for row, only in enumerate(alone):
        torch.testing.assert_close(pooled[row], head(only)[0], rtol=0, atol=1e-12)
        assert only.shape[1] or (pooled[row] == 0).all()


def test_what_each_pooling_is():
    x = torch.randn(2, 5, D, dtype=torch.float64)
    assert torch.equal(pool("first")(x), x[:, 0]) and torch.equal(pool("last")(x), x[:, -1])
    torch.testing.assert_close(pool("mean")(x), x.mean(1))
    assert torch.equal(pool("max")(x), x.amax(1)) and torch.equal(pool("max")(-x), -x.amin(1))
    attention = pool("attention")
    weights = ((x @ attention.query.weight[0]) / math.sqrt(D)).softmax(1)
    torch.testing.assert_close(attention(x), torch.einsum("bl,bld->bd", weights, x))


def test_global_tokens_count_as_tokens():
    x, mask = torch.randn(1, 4, D, dtype=torch.float64), torch.tensor([[2, 1, 1, 0]])
    for how in POOLINGS:
        torch.testing.assert_close(pool(how)(x, mask), pool(how)(x[:, :3]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_long_mean_does_not_overflow(dtype):
    """100,000 vectors of 8 sum to more than float16 can hold; their mean is 8."""
    assert (Pool("mean", 2)(torch.full((1, 100_000, 2), 8.0, dtype=dtype)) == 8).all()


@pytest.mark.parametrize("how", POOLINGS)
def test_gradients_reach_tokens_and_not_padding(how):
    x = torch.randn(2, 5, D, requires_grad=True)
    mask = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 0, 0]])
    Pool(how, D)(x, mask).square().sum().backward()
    assert torch.isfinite(x.grad).all() and (x.grad[mask == 0] == 0).all() and (x.grad[mask == 1] != 0).any()


@pytest.mark.parametrize(
    "make", [lambda p: Pool(p, D), lambda p: ClassificationHead(D, 2, p), lambda p: RegressionHead(D, 1, p)]
)
def test_an_unknown_pooling_lists_the_known(make):
    with pytest.raises(ValueError, match=r"median.*first, last, mean, max, attention"):
        make("median")


def test_lm_head_equals_berts():
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertLMPredictionHead

    theirs = BertLMPredictionHead(BertConfig(vocab_size=11, hidden_size=D, layer_norm_eps=1e-7)).eval()
    ours = LMHead(D, 11, transform="bert", bias=True, eps=1e-7)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
        ours.transform[0].load_state_dict(theirs.transform.dense.state_dict())
        ours.transform[2].load_state_dict(theirs.transform.LayerNorm.state_dict())
        ours.decoder.load_state_dict(theirs.decoder.state_dict())
    x = torch.randn(2, 3, D)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"gpt.*none, bert"):
        LMHead(D, 11, transform="gpt")


def test_plain_lm_head_is_one_linear_map():
    head = LMHead(D, 11)
    x = torch.randn(2, 3, D)
    assert torch.equal(head(x), x @ head.decoder.weight.T) and head.decoder.bias is None


def test_heads_of_whole_sequences():
    x, mask = torch.randn(3, 7, D), torch.tensor([[1] * 7, [0] * 3 + [1] * 4, [1] + [0] * 6])
    mean = Pool("mean", D)(x, mask)
    head = ClassificationHead(D, 4, dropout=0.5).eval()
    torch.testing.assert_close(head(x, mask), head.classifier(mean))
    assert not torch.equal(head.train()(x, mask), head(x, mask))  # dropout, in training only
    head = RegressionHead(D, 2)
    torch.testing.assert_close(head(x, mask), head.regressor(mean))
    torch.testing.assert_close(EmbeddingHead(D)(x, mask), mean)
    torch.testing.assert_close(EmbeddingHead(D, normalize=True)(x, mask).norm(dim=1), torch.ones(3))


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 3), length=st.integers(1, 6), share=st.floats(0, 1), seed=st.integers(0, 9))
def test_token_loss_is_torchs_mean_over_what_is_labelled(rows, length, share, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, length, 5, generator=generator)
    labels = torch.randint(0, 5, (rows, length), generator=generator)
    labels[torch.rand(rows, length, generator=generator) < share] = -100
    loss = token_loss(logits, labels)
    if (labels == -100).all():
        assert loss == 0  # and not NaN, as torch's mean would be
    else:
        torch.testing.assert_close(loss, F.cross_entropy(logits.flatten(0, 1), labels.flatten()))
    torch.testing.assert_close(token_loss(logits, labels, 7) * 7, loss * (labels != -100).sum())


@pytest.mark.parametrize("label", [5, 6, -1, -99, 10**6])
def test_a_label_out_of_range_is_named(label):
    labels = torch.zeros(2, 3, dtype=torch.long)
    labels[1, 2] = label
    with pytest.raises(ValueError, match=rf"label {label} at \[1, 2\] is outside 0 to 4.*-100"):
        token_loss(torch.zeros(2, 3, 5), labels)


def test_labels_of_another_shape():
    with pytest.raises(ValueError, match=r"\(2, 4\), the logits need \(2, 3\)"):
        token_loss(torch.zeros(2, 3, 5), torch.zeros(2, 4, dtype=torch.long))


def test_sequence_loss_is_what_transformers_computes():
    from transformers.loss.loss_utils import ForSequenceClassificationLoss

    class Config:
        problem_type = None
        num_labels = 1

    logits, one = torch.randn(4, 3), torch.randn(4, 1)
    for scores, labels, classes in (
        (logits, torch.tensor([0, 2, 1, 1]), 3),
        (logits, torch.randint(0, 2, (4, 3)).float(), 3),
        (one, torch.randn(4), 1),
    ):
        Config.problem_type, Config.num_labels = None, classes
        expected = ForSequenceClassificationLoss(labels, scores, Config)
        torch.testing.assert_close(sequence_loss(scores, labels), expected)
        torch.testing.assert_close(sequence_loss(scores, labels, Config.problem_type), expected)
    # Regression on a column of targets is not the mean over all pairs that broadcasting (B, 1) with (B,) would give.
    target = torch.randn(4)
    torch.testing.assert_close(sequence_loss(one, target), (one[:, 0] - target).square().mean())


@pytest.mark.parametrize(
    ("labels", "problem", "message"),
    [
        (torch.tensor([0, 3]), None, "label 3 at .* outside 0 to 2"),
        (torch.tensor([[0.0, 1.0, 2.0]] * 2), None, "between 0.0 and 2.0.*0 or 1"),
        (torch.zeros(3, dtype=torch.long), None, r"shape \(3,\).*needs \(2,\)"),
        (torch.zeros(2), "regression", r"shape \(2,\).*needs \(2, 3\)"),
        (torch.zeros(2, 3), "ranking", "unknown problem 'ranking'"),
    ],
)
def test_labels_of_sequences_are_checked(labels, problem, message):
    with pytest.raises(ValueError, match=message):
        sequence_loss(torch.zeros(2, 3), labels, problem)
