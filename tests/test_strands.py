"""Both strands: f(rc(x)) = rc(f(x)), by sharing while training and by averaging after it, and not without either."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from gfm_lab.evaluation import bits_per_masked_base
from gfm_lab.mixers import MIXERS
from gfm_lab.model import (
    GenomicConfig,
    GenomicForCausalLM,
    GenomicForMaskedLM,
    GenomicForSequenceClassification,
    GenomicModel,
)
from gfm_lab.sequence import reverse_complement
from gfm_lab.strands import ReverseComplement
from gfm_lab.tokenization import BPETokenizer, KmerTokenizer, NucleotideTokenizer

torch.set_num_threads(1)
CLOSE = dict(rtol=0, atol=1e-5)
OPTIONS = {
    "attention": {"heads": 2},
    "sliding_window": {"heads": 2, "radius": 3},
    "convolution": {"kernel": 5},
    "hyena": {"max_length": 64, "filter_width": 8},
    "mamba": {"state_size": 4},
}
TOKENIZERS = {
    "nucleotides": NucleotideTokenizer(),
    "nucleotides, [CLS] and [SEP]": NucleotideTokenizer(wrap="cls_sep"),
    "Caduceus": NucleotideTokenizer.caduceus(),
    "3-mers, overlapping": KmerTokenizer(3),
    "DNABERT-4": KmerTokenizer.dnabert(4),
    "3-mers, one after another": KmerTokenizer(3, 3),
    "Nucleotide Transformer": KmerTokenizer.nucleotide_transformer(),
}
each_mixer = pytest.mark.parametrize("mixer", MIXERS)
each_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
DNA = "ACGTTGCATGACCATTGACAAGCTTGGACTAATCGGTACGATTACAGCTAGGATCCATTG"  # 60 letters, a multiple of 3 and of 6


def config(tokenizer, mixer="attention", **fields):
    positions = "rotary" if mixer == "attention" else "none"  # attention alone does not see the order
    base = dict(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, mixer=mixer, positions=positions
    )
    base |= dict(pad_token_id=tokenizer.pad_token_id, mask_token_id=tokenizer.mask_token_id)
    return GenomicConfig(**base | dict(mixer_options=OPTIONS[mixer], initializer_range=0.3) | fields)


def made(kind, *arguments, seed=0, **more):
    torch.manual_seed(seed)
    return kind(config(*arguments, **more)).eval()


def encoded(tokenizer, text):
    return torch.tensor([tokenizer(text)["input_ids"]])


def turned(tokenizer, logits, ids):
    """Scores of one strand as those of the other: reversed between the special tokens, complements exchanged."""
    keep = torch.isin(ids[0], torch.tensor(tokenizer.all_special_ids))
    bases = (~keep).nonzero()[:, 0]
    order = torch.arange(ids.shape[1])
    order[bases] = bases.flip(0)
    complement = torch.from_numpy(tokenizer.complement_ids)
    return logits[:, order][..., complement]


# ---- What equivariance means, from text to scores ----


@each_mixer
@each_tokenizer
def test_averaged_after_training_both_strands_get_one_answer(tokenizer, mixer):
    plain = made(GenomicForMaskedLM, tokenizer, mixer)
    model = ReverseComplement(plain, tokenizer)
    there, back = encoded(tokenizer, DNA), encoded(tokenizer, reverse_complement(DNA))
    with torch.no_grad():
        expected = model(there).logits
        torch.testing.assert_close(turned(tokenizer, model(back).logits, back), expected, **CLOSE)
        difference = turned(tokenizer, plain(back).logits, back) - plain(there).logits
    assert difference.abs().max() > 1e-2  # the plain model's answers differ, so the test can fail
    assert expected.std() > 0.1


@each_mixer
@pytest.mark.parametrize("exchange", [False, True], ids=["", "exchange"])
def test_shared_while_training_too(mixer, exchange):
    for tokenizer in (t for t in TOKENIZERS.values() if t.wrap == "none"):
        more = dict(strands="shared", exchange_strands=exchange)
        model = made(
            GenomicForMaskedLM, tokenizer, mixer, **more, complement=tokenizer.complement_ids.tolist()
        )
        there, back = encoded(tokenizer, DNA), encoded(tokenizer, reverse_complement(DNA))
        with torch.no_grad():
            torch.testing.assert_close(
                turned(tokenizer, model(back).logits, back), model(there).logits, **CLOSE
            )


def test_the_average_equals_the_body_that_averages():
    """The same weights in a body with strands="averaged", where no special token stands at the ends."""
    tokenizer = NucleotideTokenizer()
    plain = made(GenomicForMaskedLM, tokenizer)
    body = made(
        GenomicForMaskedLM, tokenizer, strands="averaged", complement=tokenizer.complement_ids.tolist()
    )
    body.load_state_dict(plain.state_dict())
    ids = encoded(tokenizer, DNA)
    torch.testing.assert_close(ReverseComplement(plain, tokenizer)(ids).logits, body(ids).logits, **CLOSE)
    # Without a tokenizer the configuration knows the complements.
    known = made(GenomicForMaskedLM, tokenizer, complement=tokenizer.complement_ids.tolist())
    torch.testing.assert_close(ReverseComplement(known)(ids).logits, body(ids).logits, **CLOSE)


@settings(max_examples=25, deadline=None)
@given(
    text=st.text("ACGTN", min_size=1, max_size=30),
    pads=st.integers(0, 4),
    wrap=st.sampled_from(["none", "cls_sep"]),
)
def test_ids_are_turned_as_the_text_is(text, pads, wrap):
    tokenizer = NucleotideTokenizer(wrap=wrap, on_unknown="split")
    model = ReverseComplement(made(GenomicForMaskedLM, tokenizer), tokenizer)
    padding = torch.full((1, pads), tokenizer.pad_token_id)
    ids, other = (encoded(tokenizer, t) for t in (text, reverse_complement(text)))
    mask = torch.cat([torch.ones_like(ids), torch.zeros_like(padding)], 1)
    made_ids, origin = model.reverse_complement_ids(torch.cat([ids, padding], 1), mask)
    assert torch.equal(made_ids, torch.cat([other, padding], 1))
    assert torch.equal(origin.gather(1, origin), torch.arange(ids.shape[1] + pads)[None])  # twice is nothing
    assert tokenizer.reverse_complement_ids(ids[0].tolist()) == other[0].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_moves_nothing(side):
    tokenizer = NucleotideTokenizer(wrap="sep", padding_side=side)
    model = ReverseComplement(made(GenomicForMaskedLM, tokenizer), tokenizer)
    texts = [DNA[:40], DNA[7:30]]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits
        for row, text in enumerate(texts):
            alone = model(encoded(tokenizer, text)).logits[0]
            torch.testing.assert_close(logits[row][batch["attention_mask"][row] > 0], alone, **CLOSE)


# ---- Classifiers, bodies, other people's models ----


@pytest.mark.parametrize("pooling", ["mean", "first", "last", "attention"])
def test_a_classifier_gives_both_strands_the_same_scores(pooling):
    tokenizer = KmerTokenizer.dnabert(3)
    plain = made(GenomicForSequenceClassification, tokenizer, pooling=pooling, num_labels=3)
    model = ReverseComplement(plain, tokenizer)
    there, back = encoded(tokenizer, DNA), encoded(tokenizer, reverse_complement(DNA))
    torch.testing.assert_close(model(there).logits, model(back).logits, **CLOSE)
    torch.testing.assert_close(model(there).logits, (plain(there).logits + plain(back).logits) / 2, **CLOSE)
    assert (plain(there).logits - plain(back).logits).abs().max() > 1e-2
    labels = torch.tensor([2])
    expected = torch.nn.functional.cross_entropy(model(there).logits, labels)
    torch.testing.assert_close(model(there, labels=labels).loss, expected)


def test_a_body_gives_each_base_pair_one_vector():
    tokenizer = NucleotideTokenizer()
    plain = made(GenomicModel, tokenizer)
    model = ReverseComplement(plain, tokenizer)
    there, back = encoded(tokenizer, DNA), encoded(tokenizer, reverse_complement(DNA))
    torch.testing.assert_close(model(there).last_hidden_state, model(back).last_hidden_state.flip(1), **CLOSE)
    assert (plain(there).last_hidden_state - plain(back).last_hidden_state.flip(1)).abs().max() > 1e-2


def test_models_of_transformers():
    tokenizer = KmerTokenizer.dnabert(3)
    sizes = dict(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=2
    )
    torch.manual_seed(0)
    for kind in (transformers.BertForMaskedLM, transformers.BertForTokenClassification):
        model = ReverseComplement(
            kind(transformers.BertConfig(**sizes, intermediate_size=16)).eval(), tokenizer
        )
        there, back = encoded(tokenizer, DNA), encoded(tokenizer, reverse_complement(DNA))
        ahead, other = model(there).logits, model(back).logits
        if kind is transformers.BertForMaskedLM:
            expected = turned(tokenizer, other, back)
        else:  # classes of tokens have no complement; positions turn
            expected = torch.cat([other[:, :1], other[:, 1:-1].flip(1), other[:, -1:]], 1)
        torch.testing.assert_close(ahead, expected, **CLOSE)
    gpt = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
        )
    )
    with pytest.raises(ValueError, match="next-token scores have no average"):
        ReverseComplement(gpt, tokenizer)(there)


def test_it_can_be_scored_like_the_model():
    tokenizer = NucleotideTokenizer()
    plain = made(GenomicForMaskedLM, tokenizer)
    model = ReverseComplement(plain, tokenizer)
    positions = np.arange(0, 60, 3)
    there = bits_per_masked_base(model, tokenizer, DNA, positions=positions, window=60)
    back = bits_per_masked_base(
        model, tokenizer, reverse_complement(DNA), positions=59 - positions, window=60
    )
    np.testing.assert_allclose(there.bits, back.bits[::-1], atol=1e-5)
    labels = torch.where(torch.arange(60) % 3 == 0, encoded(tokenizer, DNA), -100)
    assert torch.isfinite(model(encoded(tokenizer, DNA), labels=labels).loss)
    assert model.config is plain.config and [*model.state_dict()] == [
        f"model.{n}" for n in plain.state_dict()
    ]


# ---- Next-token models: whole sequences only ----


@pytest.mark.parametrize("wrap", ["none", "cls_sep"])
def test_a_next_token_model_scores_whole_sequences_on_both_strands(wrap):
    tokenizer = NucleotideTokenizer(wrap=wrap)
    plain = made(GenomicForCausalLM, tokenizer, causal=True)
    model = ReverseComplement(plain, tokenizer)
    texts = [DNA[:30], DNA[5:22]]
    both = tokenizer(texts, padding=True, return_tensors="pt")
    other = tokenizer([reverse_complement(t) for t in texts], padding=True, return_tensors="pt")
    with torch.no_grad():
        scores = model.log_likelihood(**both)
        torch.testing.assert_close(scores, model.log_likelihood(**other))
        for row, text in enumerate(texts):
            by_hand = []
            for strand in (text, reverse_complement(text)):
                ids = encoded(tokenizer, strand)
                nats = plain(ids).logits[0, :-1].log_softmax(-1)[torch.arange(ids.shape[1] - 1), ids[0, 1:]]
                by_hand.append(nats[: len(text)].sum() if wrap == "cls_sep" else nats.sum())  # not the [SEP]
            torch.testing.assert_close(scores[row], sum(by_hand) / 2)
        assert abs(by_hand[0] - by_hand[1]) > 0.1
    with pytest.raises(ValueError, match="log_likelihood"):
        model(**both)
    masked = ReverseComplement(made(GenomicForMaskedLM, tokenizer), tokenizer)
    with pytest.raises(ValueError, match="does not predict the next token"):
        masked.log_likelihood(**both)


# ---- What cannot be turned says why ----


def test_refusals():
    tokenizer = NucleotideTokenizer()
    plain = made(GenomicForMaskedLM, tokenizer)
    bpe = BPETokenizer.train([DNA * 3], 12)
    with pytest.raises(
        ValueError, match=r"BPETokenizer have no reverse complement: .*tok\(reverse_complement"
    ):
        ReverseComplement(plain, bpe)
    with pytest.raises(ValueError, match="Give the model's tokenizer"):
        ReverseComplement(plain)
    shared = made(
        GenomicForMaskedLM, tokenizer, strands="shared", complement=tokenizer.complement_ids.tolist()
    )
    with pytest.raises(ValueError, match="reads both strands already"):
        ReverseComplement(shared, tokenizer)
    with pytest.raises(ValueError, match="74 tokens, the model 10"):
        ReverseComplement(plain, KmerTokenizer(3))
    model = ReverseComplement(plain, tokenizer)
    with pytest.raises(ValueError, match="give input_ids"):
        model()
    with pytest.raises(TypeError, match="how to turn inputs_embeds"):
        model(encoded(tokenizer, DNA), inputs_embeds=torch.zeros(1, 60, 16))
    with pytest.raises(ValueError, match="from 5 to 11, the vocabulary from 0 to 9"):
        model(torch.tensor([[5, 11]]))
    with pytest.raises(ValueError, match="stand inside a sequence"):
        model(torch.tensor([[5, 6, tokenizer.sep_token_id, 7]]))


def test_kmers_whose_cuts_differ_on_the_other_strand():
    tokenizer = KmerTokenizer(3, 3)
    model = ReverseComplement(made(GenomicForMaskedLM, tokenizer), tokenizer)
    model(encoded(tokenizer, DNA))  # 60 bases: 20 words
    with pytest.raises(ValueError, match="the words do not reach the end"):
        model(encoded(tokenizer, DNA[:-1]))
    overlapping = KmerTokenizer(3)  # whose cuts are everywhere
    ReverseComplement(made(GenomicForMaskedLM, overlapping), overlapping)(encoded(overlapping, DNA[:-1]))


@settings(max_examples=10, deadline=None)
@given(rows=st.integers(0, 2), length=st.integers(0, 3))
def test_short_and_empty_input(rows, length):
    tokenizer = NucleotideTokenizer()
    model = ReverseComplement(made(GenomicForMaskedLM, tokenizer), tokenizer)
    ids = torch.full((rows, length), 5)
    assert model.reverse_complement_ids(ids)[0].tolist() == [[8] * length] * rows
    if rows and length:
        assert model(ids).logits.shape == (rows, length, 10)
