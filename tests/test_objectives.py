"""objectives.py: rates on long sequences, what may be masked and with what, one mask for one index, Trainer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM
from gfm_lab.objectives import MaskedLMCollator, NextTokenCollator, mask_tokens, run_offsets
from gfm_lab.tokenization import BPETokenizer, KmerTokenizer, NucleotideTokenizer

torch.set_num_threads(1)
LONG = "".join(np.random.default_rng(1).choice([*"ACGT"], 400_000))
NUCLEOTIDE = NucleotideTokenizer(wrap="cls_sep", on_unknown="split")
SIX = KmerTokenizer.dnabert(6)
BPE = BPETokenizer.train(LONG[:20_000], 300, wrap="cls_sep", on_unknown="split")
TOKENIZERS = {
    "nucleotide": NUCLEOTIDE,
    "hyenadna": NucleotideTokenizer.hyenadna(),  # padded on the left
    "6-mer": SIX,
    "3-mer": KmerTokenizer(3, on_unknown="split", wrap="cls"),
    "side by side": KmerTokenizer.nucleotide_transformer(),
    "bpe": BPE,
}


def example(tokenizer, sequence, **more):
    return {"input_ids": tokenizer.encode_array(sequence, add_special_tokens=True), **more}


def near(measured, expected, draws, tolerance=5):
    """Within five standard deviations of a share of independent draws."""
    return (
        abs(float(measured) - float(expected)) < tolerance * float(expected * (1 - expected) / draws) ** 0.5
    )


# ---- Rates ----


@pytest.mark.parametrize("rate", [0.15, 0.4, 1.0])
@pytest.mark.parametrize("name", ["nucleotide", "6-mer", "bpe"])
@pytest.mark.parametrize("index", [{}, {"index": 7}])
def test_rates_of_independent_masking(name, rate, index):
    tokenizer = TOKENIZERS[name]
    batch = MaskedLMCollator(tokenizer, rate=rate)([example(tokenizer, LONG, **index)])
    shown, labels = batch["input_ids"][0], batch["labels"][0]
    tokens, chosen = len(labels) - 2, labels != -100
    assert near(chosen.sum() / tokens, rate, tokens) if rate < 1 else chosen.sum() == tokens
    hidden = (shown[chosen] == tokenizer.mask_token_id).float().mean()
    same = (shown[chosen] == labels[chosen]).float().mean()
    words = len(MaskedLMCollator(tokenizer).replacements)
    by_chance = 0.1 * sum(np.bincount(labels[chosen]) / chosen.sum().item()) / words  # drawn: itself
    assert near(hidden, 0.8, chosen.sum()) and near(same, 0.1 + by_chance, chosen.sum())


@pytest.mark.parametrize(
    ("k", "offsets"), [(3, [-1, 1]), (4, [-1, 1, 2]), (5, [-2, -1, 1, 2]), (6, [-2, -1, 1, 2, 3])]
)
def test_contiguous_masking_is_dnaberts(k, offsets):
    """Centres with probability 0.15 / k, each with the paper's neighbours; the share of tokens follows."""
    assert [o for o in run_offsets(k) if o] == offsets
    tokenizer = KmerTokenizer.dnabert(k)
    ids = tokenizer.encode_array(LONG)[None].astype(np.int64)
    uniform = np.random.default_rng(0).random((3, *ids.shape))
    real = np.ones(ids.shape, bool)
    more = dict(mask_token_id=4, replacements=np.arange(5, len(tokenizer)))
    _, labels = mask_tokens(ids, real, uniform, width=k, **more)
    chosen = labels[0] != -100
    expected = set()
    for centre in np.flatnonzero(uniform[0, 0] < 0.15 / k).tolist():  # the definition, one centre at a time
        expected |= {centre} | {centre + o for o in offsets if 0 <= centre + o < ids.shape[1]}
    assert {*np.flatnonzero(chosen).tolist()} == expected
    assert abs(chosen.mean() - (1 - (1 - 0.15 / k) ** k)) < 0.003


def test_the_usual_rate_of_dnabert_is_0_025_and_masks_14_percent():
    batch = MaskedLMCollator(SIX, pattern="contiguous")([example(SIX, LONG)])
    share = (batch["labels"] != -100).float().mean().item()
    assert share == pytest.approx(1 - 0.975**6, abs=0.003) == pytest.approx(0.141, abs=0.003)


def covered_and_readable(collator):
    """Share of bases all of whose words were chosen, and of those the share that an unchanged word still shows."""
    batch = collator([example(SIX, LONG)])
    labels, shown = (batch[name][0, 1:-1].numpy() for name in ("labels", "input_ids"))
    words = np.lib.stride_tricks.sliding_window_view(np.arange(len(labels)), 6)  # the six words of each base
    covered = (labels != -100)[words].all(1)
    unchanged = ((shown == labels) & (labels != -100))[words].any(1)
    return covered.mean(), unchanged[covered].mean()


def test_drawn_per_word_80_10_10_leaves_half_of_the_hidden_bases_readable():
    """1 - 0.9**6 = 0.469: one of six words stays in half of the runs. Drawn per run it is one run in ten."""
    covered, readable = covered_and_readable(MaskedLMCollator(SIX, pattern="contiguous"))
    assert covered > 0.02 and readable == pytest.approx(1 - 0.9**6, abs=0.02)
    covered, readable = covered_and_readable(MaskedLMCollator(SIX, pattern="contiguous", together=True))
    assert covered > 0.02 and readable == pytest.approx(0.1, abs=0.015)
    covered, _ = covered_and_readable(MaskedLMCollator(SIX))  # 0.15**6: about one base in 88,000
    assert covered < 1e-4


def test_together_draws_once_for_each_stretch():
    batch = MaskedLMCollator(SIX, pattern="contiguous", together=True)([example(SIX, LONG)])
    shown, labels = batch["input_ids"][0].numpy(), batch["labels"][0].numpy()
    chosen = labels != -100
    kind = np.where(shown == SIX.mask_token_id, 0, np.where(shown == labels, 2, 1))[chosen]
    stretch = np.cumsum(np.diff(chosen.astype(int), prepend=0) == 1)[chosen]
    # A random word may be the word itself, 1 in 4,096: no stretch mixes [MASK] with others.
    masked = np.bincount(stretch, kind == 0) / np.maximum(np.bincount(stretch), 1)
    assert {*np.unique(masked)} == {0.0, 1.0}
    stretches = len(np.unique(stretch))
    assert near(masked.sum() / stretches, 0.8, stretches)


def test_all_parts_of_replace():
    for replace, kind in (((1, 0, 0), "mask"), ((0, 1, 0), "other"), ((0, 0, 1), "same")):
        batch = MaskedLMCollator(NUCLEOTIDE, replace=replace)([example(NUCLEOTIDE, LONG[:20_000])])
        chosen = batch["labels"] != -100
        shown, labels = batch["input_ids"][chosen], batch["labels"][chosen]
        if kind == "mask":
            assert (shown == NUCLEOTIDE.mask_token_id).all()
        elif kind == "same":
            assert torch.equal(shown, labels)
        else:  # each of the four bases, the same one included
            assert np.allclose(np.bincount(shown, minlength=9)[5:9] / len(shown), 0.25, atol=0.03)
            assert (shown == labels).float().mean().item() == pytest.approx(0.25, abs=0.03)


# ---- What may be masked, and what replaces it ----


def test_transformers_draws_special_tokens_as_replacements_and_ours_never():
    """Of the ten entries of NucleotideTokenizer five are special and one is N: six of ten replacements are no base."""
    tokenizer = NucleotideTokenizer()
    theirs = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=0.5, mask_replace_prob=0, random_replace_prob=1, seed=0
    )
    ours = MaskedLMCollator(tokenizer, rate=0.5, replace=(0, 1, 0))
    shares = []
    for collator in (theirs, ours):
        batch = collator([{"input_ids": tokenizer.encode_array(LONG[:20_000]).tolist()}])
        shown = batch["input_ids"][batch["labels"] != -100]
        shares.append(((shown < 5) | (shown > 8)).float().mean().item())
    assert shares[0] == pytest.approx(0.6, abs=0.03) and shares[1] == 0
    assert MaskedLMCollator(tokenizer).replacements.tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_replacements_are_whole_words_of_acgt(name):
    tokenizer = TOKENIZERS[name]
    tokens = tokenizer.convert_ids_to_tokens(MaskedLMCollator(tokenizer).replacements.tolist())
    assert {*"".join(tokens)} == {*"ACGT"}
    k = getattr(tokenizer, "k", None)
    assert len(tokens) == 4**k if k else len(tokens) == len(tokenizer) - 6


sequences = st.lists(st.text("ACGTN", min_size=0, max_size=40), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from([*TOKENIZERS]),
    texts=sequences,
    rate=st.sampled_from([0.15, 0.5, 1.0]),
    together=st.booleans(),
    how=st.sampled_from(["list", "array", "tensor"]),
    given_mask=st.booleans(),
)
def test_shapes_padding_and_labels(name, texts, rate, together, how, given_mask):
    tokenizer = TOKENIZERS[name]
    overlapping = getattr(tokenizer, "stride", 1) < getattr(tokenizer, "k", 1)
    collators = [MaskedLMCollator(tokenizer, rate, together=together), NextTokenCollator(tokenizer)]
    if overlapping:
        collators.append(MaskedLMCollator(tokenizer, rate, "contiguous", together=together))
    rows = [tokenizer.encode_array(text, add_special_tokens=True) for text in texts]
    convert = {"list": lambda x: x.tolist(), "array": np.asarray, "tensor": torch.from_numpy}[how]
    examples = [{"input_ids": convert(row)} for row in rows]
    for row, one in zip(rows, examples, strict=True):
        if given_mask:
            one["attention_mask"] = convert(np.ones(len(row), np.int64))
    real = {i for token, i in tokenizer.get_vocab().items() if {*token} <= {*"ACGT"}}
    for collator in collators:
        batch = collator(examples)
        assert {*batch} == {"input_ids", "attention_mask", "labels"}
        assert {value.dtype for value in batch.values()} == {torch.int64}
        assert {tuple(value.shape) for value in batch.values()} == {(len(rows), max(map(len, rows)))}
        for row, shown, mask, labels in zip(rows, *(batch[name].numpy() for name in batch), strict=True):
            pad = len(shown) - len(row)
            inside = slice(pad, None) if tokenizer.padding_side == "left" else slice(0, len(row))
            assert mask.sum() == mask[inside].sum() == len(row)
            assert (labels[mask == 0] == -100).all() and (shown[mask == 0] == tokenizer.pad_token_id).all()
            shown, labels, is_real = shown[inside], labels[inside], np.isin(row, [*real])
            assert (labels[~is_real] == -100).all()  # neither special tokens nor N
            chosen = labels != -100
            assert (labels[chosen] == row[chosen]).all() and (shown[~chosen] == row[~chosen]).all()
            if isinstance(collator, NextTokenCollator):
                assert (chosen == is_real).all() and (shown == row).all()
            else:
                assert np.isin(shown[chosen], [*real, tokenizer.mask_token_id]).all()
                assert rate < 1 or collator.width > 1 or (chosen == is_real).all()


def test_a_special_tokens_mask_is_kept():
    ids = NUCLEOTIDE.encode_array("ACGT" * 10)
    special = np.arange(40) % 2
    batch = MaskedLMCollator(NUCLEOTIDE, rate=1.0)([{"input_ids": ids, "special_tokens_mask": special}])
    assert ((batch["labels"][0] == -100).numpy() == special.astype(bool)).all()
    batch = NextTokenCollator(NUCLEOTIDE)([{"input_ids": ids, "special_tokens_mask": special}])
    assert ((batch["labels"][0] == -100).numpy() == special.astype(bool)).all()


def test_the_examples_are_not_changed():
    ids = NUCLEOTIDE.encode_array("ACGT" * 10).astype(np.int64)
    kept = ids.copy()
    MaskedLMCollator(NUCLEOTIDE, rate=1.0)([{"input_ids": ids}])
    assert (ids == kept).all()


# ---- The same index, the same mask ----


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text("ACGT", min_size=6, max_size=60), min_size=2, max_size=5),
    name=st.sampled_from(["nucleotide", "hyenadna", "6-mer"]),
    seed=st.sampled_from([0, 1, 2**40]),
    start=st.sampled_from([0, 5, 2**50]),
)
def test_masks_follow_seed_and_index_alone(texts, name, seed, start):
    """Whatever else stands in the batch, its order, its padding, and what the collator has drawn before."""
    tokenizer = TOKENIZERS[name]
    pattern = "contiguous" if name == "6-mer" else "independent"
    examples = [example(tokenizer, text, index=start + i) for i, text in enumerate(texts)]

    def collator():
        return MaskedLMCollator(tokenizer, 0.4, pattern, seed=seed)

    used = collator()
    used([example(tokenizer, "ACGTACGT")])
    together, backwards = used(examples), collator()(examples[::-1])
    for i, one in enumerate(examples):
        alone = collator()([one])
        for batch, row in ((together, i), (backwards, len(texts) - 1 - i)):
            real = batch["attention_mask"][row] == 1
            for key in ("input_ids", "labels"):
                assert torch.equal(batch[key][row][real], alone[key][0])


def test_other_indices_and_seeds_give_unrelated_masks():
    text = LONG[:20_000]

    def chosen(seed, index):
        batch = MaskedLMCollator(NUCLEOTIDE, seed=seed)([example(NUCLEOTIDE, text, index=index)])
        return (batch["labels"][0, 1:-1] != -100).numpy()

    masks = [chosen(0, 0), chosen(0, 1), chosen(1, 0), chosen(1, 1), chosen(0, 2)]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert (one & other).mean() == pytest.approx(0.15**2, abs=0.006)
        for lag in (1, 2, 3):  # nor are neighbours related
            assert (one[lag:] & one[:-lag]).mean() == pytest.approx(0.15**2, abs=0.006)
    # Over many indices each place is masked as often as any other.
    batch = MaskedLMCollator(NUCLEOTIDE)([example(NUCLEOTIDE, text[:50], index=i) for i in range(4000)])
    shares = (batch["labels"][:, 1:-1] != -100).float().mean(0)
    assert (shares - 0.15).abs().max() < 5 * np.sqrt(0.15 * 0.85 / 4000)


def test_without_index_draws_are_new_and_repeatable():
    examples = [example(NUCLEOTIDE, LONG[:500])]
    one, two = MaskedLMCollator(NUCLEOTIDE, seed=3), MaskedLMCollator(NUCLEOTIDE, seed=3)
    first, second = one(examples)["labels"], one(examples)["labels"]
    assert not torch.equal(first, second)
    assert torch.equal(first, two(examples)["labels"]) and torch.equal(second, two(examples)["labels"])


# ---- In transformers ----


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


@pytest.mark.parametrize("objective", ["masked", "next token"])
def test_trainer_takes_them(objective, tmp_path):
    """One kind of base repeated is learned at once: from log 4 = 1.39 nats to nearly none."""
    masked = objective == "masked"
    torch.manual_seed(0)
    sizes = dict(vocab_size=10, hidden_size=16, num_hidden_layers=1, intermediate_size=32)
    config = GenomicConfig(**sizes, mixer="attention", positions="rotary", causal=not masked)
    model = (GenomicForMaskedLM if masked else GenomicForCausalLM)(config)
    seen = []

    class Spy(MaskedLMCollator if masked else NextTokenCollator):
        def __call__(self, examples):
            seen.extend(examples)
            return super().__call__(examples)

    arguments = TrainingArguments(
        tmp_path,
        max_steps=30,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    rows = Rows([example(NUCLEOTIDE, "A" * (20 + i % 5), index=i) for i in range(64)])
    trainer = Trainer(model, arguments, data_collator=Spy(NUCLEOTIDE), train_dataset=rows)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] > 1 and losses[-1] < 0.1
    assert all("index" in one for one in seen)  # because of remove_unused_columns=False


# ---- Bad input ----


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(rate=0), "rate.*above 0.*not 0"),
        (dict(rate=15), "rate.*not 15"),
        (dict(pattern="span"), "'independent' or 'contiguous', not 'span'"),
        (dict(replace=(0.8, 0.1)), "three numbers"),
        (dict(replace=(0.8, 0.3, -0.1)), "sum to 1"),
        (dict(seed=-1), "seed"),
        (dict(pattern="contiguous"), "NucleotideTokenizer do not overlap.*independent"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        MaskedLMCollator(NUCLEOTIDE, **settings)


@pytest.mark.parametrize("tokenizer", [BPE, KmerTokenizer(6, stride=6)], ids=["bpe", "side by side"])
def test_contiguous_needs_words_that_overlap(tokenizer):
    with pytest.raises(ValueError, match="do not overlap"):
        MaskedLMCollator(tokenizer, pattern="contiguous")
    assert MaskedLMCollator(KmerTokenizer(6, stride=4), pattern="contiguous").width == 2


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "at least one example"),
        (
            [{"input_ids": [5, 6]}, {"input_ids": [5, 10]}],
            "token id 10 in example 1.*0 to 9.*another tokenizer",
        ),
        ([{"input_ids": [5, -100]}], "token id -100"),
        ([{"input_ids": [[5, 6]]}], "example 0.*one dimension"),
        ([{"input_ids": [0.5]}], "whole numbers"),
        ([{"input_ids": [5, 6], "attention_mask": [1]}], r"2 input_ids, but attention_mask of shape \(1,\)"),
        (
            [{"input_ids": [5], "attention_mask": [1]}, {"input_ids": [5]}],
            "1 of 2 examples have attention_mask",
        ),
        ([{"input_ids": [5], "index": 0}, {"input_ids": [5]}], "1 of 2 examples have an index"),
        ([{"input_ids": [5], "index": -1}], "index.*not -1"),
    ],
)
def test_bad_examples(examples, message):
    with pytest.raises(ValueError, match=message):
        MaskedLMCollator(NUCLEOTIDE)(examples)


def test_tokenizers_that_cannot_be_masked():
    class Words:
        mask_token_id, pad_token_id, all_special_ids, padding_side = 0, 1, (0, 1), "right"

        def get_vocab(self):
            return {"[MASK]": 0, "[PAD]": 1, "hello": 2}

    with pytest.raises(ValueError, match="no token of this Words is spelled with A, C, G and T"):
        MaskedLMCollator(Words())
    with pytest.raises(ValueError, match="no token of this Words"):
        NextTokenCollator(Words())
    Words.mask_token_id = None
    with pytest.raises(ValueError, match="Words has no mask token"):
        MaskedLMCollator(Words())
