"""evaluation.py: a model of known bits, in every window, wrapping and batch; baselines, intervals, refusals."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM, BertTokenizer, GPT2Config, GPT2LMHeadModel

from gfm_lab.baselines import MarkovModel, TwoSidedBackoff, codes_of
from gfm_lab.evaluation import (
    _tiles,
    bits_per_base,
    bits_per_masked_base,
    bootstrap,
    causal_probabilities,
    difference,
    masked_mask,
    masked_probabilities,
    score_baseline,
)
from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM
from gfm_lab.tokenization import BPETokenizer, KmerTokenizer, NucleotideTokenizer

torch.set_num_threads(1)
RNG = np.random.default_rng(5)
TRAIN = "".join(RNG.choice(list("ACGT"), 4_000, p=[0.4, 0.1, 0.2, 0.3])) + "ACGGT" * 60
DNA = "".join(RNG.choice(list("ACGT"), 900, p=[0.4, 0.1, 0.2, 0.3])) + "ACGGT" * 20
PLAIN = NucleotideTokenizer(on_unknown="split")
WRAPPED = NucleotideTokenizer.hyenadna()  # [CLS] ... [SEP]
TOKENIZERS = {"plain": PLAIN, "wrapped": WRAPPED, "end": NucleotideTokenizer.caduceus()}


class Table(torch.nn.Module):
    """A model of known answers: log P of `reach` tokens before (causal) or on either side, by a table over bases.

    Everything that is not a base (mask, special tokens, N) counts as a fifth letter. Half of the probability goes to
    tokens that are no bases.
    """

    def __init__(self, tokenizer, reach, causal, dtype=torch.float32):
        super().__init__()
        self.reach, self.causal = reach, causal
        self.config = SimpleNamespace(causal=causal, model_type="table")
        self.bases = tokenizer.convert_tokens_to_ids([*"ACGT"])
        self.others = [i for i in range(len(tokenizer.get_vocab())) if i not in self.bases]
        letters = torch.full((len(tokenizer.get_vocab()),), 4)
        letters[self.bases] = torch.arange(4)
        self.register_buffer("letters", letters)
        generator = torch.Generator().manual_seed(0)
        words = 5 ** (reach if causal else 2 * reach)
        self.table = torch.nn.Parameter(torch.randn(words, 4, generator=generator).to(dtype))
        self.dropout = torch.nn.Dropout(0.5)
        self.longest = 0

    def context(self, letters):
        """(B, T) letters 0..4 -> (B, T) the number of the context that predicts at each place."""
        padded = torch.nn.functional.pad(letters, (self.reach, self.reach), value=4)
        length = letters.shape[1]
        if self.causal:  # the scores at t are those of t + 1: the last `reach` tokens up to t
            shifts = range(1, self.reach + 1)
        else:
            shifts = [*range(self.reach), *range(self.reach + 1, 2 * self.reach + 1)]
        number = torch.zeros_like(letters)
        for shift in shifts:
            number = number * 5 + padded[:, shift : shift + length]
        return number

    def forward(self, input_ids):
        self.longest = max(self.longest, input_ids.shape[1])
        rows = self.dropout(self.table)[self.context(self.letters[input_ids])]
        logits = rows.new_full((*input_ids.shape, len(self.letters)), -torch.inf)
        logits[..., self.bases] = rows
        logits[..., self.others[0]] = rows.logsumexp(-1)
        return SimpleNamespace(logits=logits)

    def answers(self, sequence, masked=None, lead=4):
        """(L, 4) log2 P at each place of a whole sequence read at once; before it stands `lead` (4: no base)."""
        codes = torch.from_numpy(codes_of(sequence).astype(np.int64))[None]
        seen = codes if masked is None else codes.masked_fill(torch.from_numpy(masked)[None], 4)
        number = self.context(seen)
        if self.causal:  # shift by one: the first place has nothing before it
            nothing = torch.full((1, 1), 5**self.reach - 1)
            number = torch.cat([nothing, number[:, :-1]], 1)
        table = self.table.detach().double().log_softmax(-1) / math.log(2)
        return table[number[0]].numpy()


def of(log2_p, sequence):
    codes = codes_of(sequence)
    return -log2_p[np.arange(len(codes)), np.minimum(codes, 3)]


# ---- Causal ----


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_window_with_enough_overlap_gives_the_bits_of_one_pass(name, data):
    tokenizer, reach = TOKENIZERS[name], 3
    model = Table(tokenizer, reach, causal=True).train()
    length = data.draw(st.integers(2, 150))
    window = data.draw(st.integers(reach + 1, 170))
    stride = data.draw(st.integers(1, window - reach))
    size = data.draw(st.integers(1, 7))
    text = DNA[:length]
    score = bits_per_base(model, tokenizer, text, window, stride, batch_size=size, block=20)
    first = 0 if name == "wrapped" else 1  # without a token in front, nothing predicts the first base
    assert [*score.positions] == [*range(first, length)]
    assert score.bits == pytest.approx(of(model.answers(text), text)[first:], abs=1e-4)
    assert score.value == pytest.approx(score.bits.mean()) and model.training
    assert score.perplexity == pytest.approx(2**score.value)
    assert score.mass == pytest.approx(0.5, abs=1e-4)
    assert model.longest <= min(window, length) + (name == "wrapped") or length < 32


def test_too_little_overlap_is_seen_in_the_bits():
    """The test above can fail: windows without enough context give other numbers."""
    model = Table(PLAIN, 3, causal=True)
    whole = of(model.answers(DNA), DNA)[1:]
    assert np.abs(bits_per_base(model, PLAIN, DNA, 50, 48).bits - whole).max() > 0.1


@given(st.integers(1, 300), st.integers(1, 80), st.data())
def test_windows_score_every_base_once(length, window, data):
    window = min(window, length)
    right = data.draw(st.integers(0, (window - 1) // 2))
    step = data.draw(st.integers(1, window - 2 * right))
    starts, firsts, stops = _tiles(length, window, step, right)
    assert (starts >= 0).all() and (starts + window <= length).all()
    covered = [i for a, b in zip(firsts, stops, strict=True) for i in range(a, b)]
    assert covered == [*range(length)]
    left = firsts - starts
    assert (left[1:] >= window - step - right).all() and (stops <= starts + window).all()
    assert ((starts + window - stops)[:-1] == right).all()


def test_n_and_lower_case_causal():
    text = DNA[:60].lower() + "NNR" + DNA[60:100]
    model = Table(PLAIN, 3, causal=True)
    score = bits_per_base(model, PLAIN, text, 20, 10)
    assert not {60, 61, 62} & {*score.positions} and len(score.positions) == len(text) - 4
    # N is read as a token; a baseline starts anew after it.
    expected = of(model.answers(text), text)
    assert score.bits == pytest.approx(expected[score.positions], abs=1e-4)
    assert score.correct.mean() == score.accuracy


def test_accuracy_counts_the_largest_probability():
    model = Table(WRAPPED, 2, causal=True)
    score = bits_per_base(model, WRAPPED, DNA)
    assert score.correct.tolist() == (model.answers(DNA).argmax(1) == codes_of(DNA)).tolist()


# ---- Masked ----


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_joint_masks_in_windows_give_the_bits_of_one_pass(name, data):
    tokenizer, reach = TOKENIZERS[name], 2
    model = Table(tokenizer, reach, causal=False)
    length = data.draw(st.integers(1, 150))
    margin = data.draw(st.integers(reach, 8))
    window = data.draw(st.integers(2 * margin + 1, 60))
    seed = data.draw(st.integers(0, 99))
    text, mask = DNA[:length], masked_mask(length, 0.3, seed)
    if not mask.any():
        return
    score = bits_per_masked_base(
        model, tokenizer, text, "joint", 0.3, seed, window, margin=margin, batch_size=3, block=20
    )
    assert [*score.positions] == [*np.flatnonzero(mask)] and (score.masked == mask).all()
    assert score.bits == pytest.approx(of(model.answers(text, mask), text)[mask], abs=1e-4)
    assert score.mass == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_one_masked_at_a_time(name):
    tokenizer = TOKENIZERS[name]
    model = Table(tokenizer, 2, causal=False)
    expected = of(model.answers(DNA), DNA)  # the table does not hold the middle base
    whole = bits_per_masked_base(model, tokenizer, DNA, "single", sample=None, window=15)
    assert len(whole.bits) == len(DNA) and whole.bits == pytest.approx(expected, abs=1e-4)
    some = bits_per_masked_base(model, tokenizer, DNA, sample=100, seed=3, window=15)
    assert len({*some.positions}) == 100 and (np.diff(some.positions) > 0).all() and some.masked is None
    assert some.bits == pytest.approx(expected[some.positions], abs=1e-4)
    again, other = (
        bits_per_masked_base(model, tokenizer, DNA, sample=100, seed=s, window=15) for s in (3, 4)
    )
    assert (again.positions == some.positions).all() and not np.array_equal(other.positions, some.positions)
    these = bits_per_masked_base(model, tokenizer, DNA, positions=[999, 0, 7], window=15)
    assert these.positions.tolist() == [0, 7, 999]
    assert these.bits == pytest.approx(expected[[0, 7, 999]], abs=1e-4)


@pytest.mark.parametrize("protocol", ["single", "joint"])
def test_a_hidden_base_never_reaches_the_model(protocol):
    """Exchanging every hidden base for another changes what is scored, and no probability."""
    torch.manual_seed(0)
    config = GenomicConfig(vocab_size=len(PLAIN), hidden_size=16, num_hidden_layers=1, mask_token_id=4)
    model = GenomicForMaskedLM(config)
    text, mask = DNA[:80], masked_mask(80, 0.2, seed=1)
    places = np.flatnonzero(mask)
    turned = {"A": "C", "C": "G", "G": "T", "T": "A"}
    if protocol == "joint":
        other = "".join(turned[c] if m else c for c, m in zip(text, mask, strict=True))
        p, q = (masked_probabilities(model, PLAIN, t, mask, window=40) for t in (text, other))
    else:
        i = int(places[0])
        other = text[:i] + turned[text[i]] + text[i + 1 :]
        p, q = (masked_probabilities(model, PLAIN, t, positions=[i], window=40) for t in (text, other))
    assert np.array_equal(p, q, equal_nan=True) and np.isfinite(p).any()


def test_masks_are_seeded_and_have_their_rate():
    mask = masked_mask(200_000, 0.15, seed=3)
    assert mask.dtype == bool and (mask == masked_mask(200_000, 0.15, seed=3)).all()
    assert mask.mean() == pytest.approx(0.15, abs=4 * math.sqrt(0.15 * 0.85 / 200_000))
    assert (mask != masked_mask(200_000, 0.15, seed=4)).any()
    after = mask[1:][mask[:-1]].mean()  # independent: a masked neighbour changes nothing
    assert after == pytest.approx(0.15, abs=4 * math.sqrt(0.15 * 0.85 / 30_000))
    assert not masked_mask(10, 0.0).any() and masked_mask(10, 1.0).all() and len(masked_mask(0)) == 0
    with pytest.raises(ValueError, match="rate is 15"):
        masked_mask(10, 15)


# ---- Beside baselines ----


def test_a_markov_model_as_a_network_equals_the_markov_model():
    """One model in two forms has the same bits, and so a difference of 0 with an interval around it."""
    markov = MarkovModel(2).fit(TRAIN)
    model = Table(WRAPPED, 2, causal=True)
    with torch.no_grad():
        for number in range(25):
            a, b = divmod(number, 5)
            context = "".join("ACGT"[x] for x in (a, b) if x < 4)
            if a < 4 and b == 4:  # a base and then none: does not occur
                context = ""
            model.table[number] = torch.from_numpy(markov.probabilities(context + "A")[len(context)]).log()
    score = bits_per_base(model, WRAPPED, DNA, 64, 32, block=50)
    beside = score_baseline(markov, DNA, like=score)
    assert (beside.positions == score.positions).all()
    assert beside.bits == pytest.approx(score.bits, abs=1e-4) and beside.bits == pytest.approx(
        markov.bits(DNA)
    )
    assert beside.accuracy == score.accuracy
    same = difference(score, beside)
    assert same.value == pytest.approx(0, abs=1e-4) and same.low <= same.value <= same.high
    assert "baseline" in beside.settings and len(beside.per_window) == 20


@pytest.mark.parametrize("baseline", [MarkovModel(3), TwoSidedBackoff(2)], ids=repr)
@pytest.mark.parametrize("protocol", ["single", "joint"])
def test_baselines_are_scored_on_the_models_bases(baseline, protocol):
    baseline.fit(TRAIN)
    model = Table(PLAIN, 1, causal=False)
    score = bits_per_masked_base(model, PLAIN, DNA, protocol, seed=9, window=40, sample=120, block=50)
    beside = score_baseline(baseline, DNA, like=score)
    assert (beside.positions == score.positions).all() and (beside.starts == score.starts).all()
    expected = baseline.masked_bits(DNA, score.masked)[score.positions]
    assert beside.bits == pytest.approx(expected)
    gap = difference(score, beside)
    assert gap.value == pytest.approx(score.value - beside.value) and gap.low < gap.value < gap.high
    alone = score_baseline(baseline, DNA, protocol=protocol, masked=score.masked)
    assert alone.value == pytest.approx(baseline.bits_per_masked_base(DNA, score.masked))


def test_scores_of_different_things_are_not_compared():
    model = Table(PLAIN, 1, causal=False)
    single, joint, other = (
        bits_per_masked_base(model, PLAIN, DNA, p, seed=s, window=40, sample=120, block=50)
        for p, s in (("single", 1), ("joint", 1), ("joint", 2))
    )
    for a, b in ((single, joint), (joint, other)):
        with pytest.raises(ValueError, match="cannot be compared"):
            difference(a, b)
    causal = bits_per_base(Table(PLAIN, 1, causal=True), PLAIN, DNA)
    with pytest.raises(ValueError, match="cannot be compared"):
        difference(causal, single)
    wide = bits_per_masked_base(model, PLAIN, DNA, "joint", seed=1, window=40, block=100)
    with pytest.raises(ValueError, match="different windows"):
        difference(joint, wide)
    # The same places, hidden one by one or with others beside them.
    alone = bits_per_masked_base(model, PLAIN, DNA, positions=joint.positions, window=40, block=50)
    assert (alone.positions == joint.positions).all()
    with pytest.raises(ValueError, match="cannot be compared"):
        difference(alone, joint)
    markov = MarkovModel(1).fit(TRAIN)
    with pytest.raises(ValueError, match="made on 1,000 bases and this sequence has 999"):
        score_baseline(markov, DNA[1:], like=joint)
    with pytest.raises(ValueError, match="no protocol 'both'"):
        score_baseline(markov, DNA, protocol="both")
    with pytest.raises(ValueError, match="needs masked="):
        score_baseline(markov, DNA, protocol="joint")
    with pytest.raises(ValueError, match="reads both sides"):
        score_baseline(TwoSidedBackoff(1).fit(TRAIN), DNA, like=causal)


# ---- Intervals ----


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for trial in range(200):
        weights = rng.integers(50, 150, 60)
        low, high = bootstrap(rng.normal(1.9, 0.1, 60), weights, resamples=300, seed=trial)
        hits += low <= 1.9 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_bootstrap_by_hand_and_its_corners():
    values, weights = np.array([1.0, 2.0, 4.0]), np.array([1, 2, 0])
    low, high = bootstrap(values, weights, level=0.9)
    assert low == 1.0 and high == 2.0  # the third window holds no base
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap([1.5] * 9) == (1.5, 1.5)
    narrow, wide = bootstrap(values, level=0.5), bootstrap(values, level=0.99)
    assert wide[0] <= narrow[0] <= narrow[1] <= wide[1]
    assert all(map(math.isnan, bootstrap([1.0])))
    for bad in ({"values": []}, {"values": [[1.0]]}, {"values": [1, 2], "weights": [1]}):
        with pytest.raises(ValueError, match="one number each"):
            bootstrap(**bad)
    for bad in ({"weights": [0, 0]}, {"weights": [-1, 2]}, {"level": 1.0}, {"resamples": 0}):
        with pytest.raises(ValueError, match="weights must be at least 0"):
            bootstrap([1, 2], **bad)


def test_windows_hold_the_bits_of_their_bases():
    score = bits_per_base(Table(PLAIN, 1, causal=True), PLAIN, DNA, 64, 32, block=300)
    assert score.starts.tolist() == [0, 300, 600, 900] and score.weights.tolist() == [299, 300, 300, 100]
    assert score.per_window[1] == pytest.approx(score.bits[299:599].mean())
    assert np.average(score.per_window, weights=score.weights) == pytest.approx(score.value)
    assert score.low < score.value < score.high
    assert "bits per base" in str(score) and "999 bases in 4 windows" in str(score)


def test_pairing_cancels_what_both_find_hard():
    """Two models a constant apart: their intervals overlap, that of their difference has no width."""
    model = Table(PLAIN, 1, causal=True)
    score = bits_per_base(model, PLAIN, DNA, 64, 32, block=50)
    other = replace(
        score, bits=score.bits + 0.01, per_window=score.per_window + 0.01, value=score.value + 0.01
    )
    gap = difference(other, score)
    assert gap.high - gap.low < 1e-9 and gap.value == pytest.approx(0.01)
    assert score.high - score.low > 0.02


# ---- Real models ----


@pytest.mark.parametrize("tokenizer", [PLAIN, WRAPPED], ids=["plain", "wrapped"])
def test_our_models(tokenizer):
    torch.manual_seed(0)
    shape = dict(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, max_position_embeddings=64)
    shape |= dict(pad_token_id=tokenizer.pad_token_id, mask_token_id=tokenizer.mask_token_id)
    for mixer, options in (("attention", {"heads": 2}), ("sliding_window", {"heads": 2, "radius": 4})):
        config = GenomicConfig(**shape, mixer=mixer, causal=True, mixer_options=options)
        model = GenomicForCausalLM(config).train()
        score = bits_per_base(model, tokenizer, DNA[:200])
        assert 1.9 < score.value < 2.3 and score.settings["window"] == 64 - (tokenizer is WRAPPED)
        assert model.training
        text = DNA[:40]
        one = causal_probabilities(model, tokenizer, text)
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model.eval()(ids).logits[0]
        bases, ahead = tokenizer.convert_tokens_to_ids([*"ACGT"]), int(tokenizer is WRAPPED)
        expected = logits[:, bases].softmax(-1).numpy()
        assert one[5:] == pytest.approx(expected[4 + ahead : 39 + ahead], abs=1e-5)
    masked = GenomicForMaskedLM(GenomicConfig(**shape))
    for protocol in ("single", "joint"):
        assert 1.9 < bits_per_masked_base(masked, tokenizer, DNA[:200], protocol, sample=30).value < 2.3
    with pytest.raises(ValueError, match="not causal"):
        bits_per_base(masked, tokenizer, DNA)
    with pytest.raises(ValueError, match="cannot see behind a mask"):
        bits_per_masked_base(model, tokenizer, DNA)


def test_models_and_tokenizers_of_transformers(tmp_path):
    torch.manual_seed(0)
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACGTN"]))
    spaced = BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=False)
    small = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    bert = BertForMaskedLM(BertConfig(vocab_size=10, max_position_embeddings=50, **small))
    score = bits_per_masked_base(bert, spaced, DNA[:200], "joint")
    assert score.settings["window"] == 48 and 1.9 < score.value < 2.3
    gpt = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=10, n_positions=40, n_embd=16, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=3
        )
    )
    score = bits_per_base(gpt, PLAIN, DNA[:200])
    assert score.settings["window"] == 40 and 1.9 < score.value < 2.3 and 0.2 < score.mass < 0.6
    with pytest.raises(ValueError, match="not causal"):
        bits_per_base(bert, PLAIN, DNA)
    with pytest.raises(ValueError, match="cannot see behind a mask"):
        bits_per_masked_base(gpt, PLAIN, DNA)


# ---- Refusals ----


@pytest.mark.parametrize(
    "tokenizer",
    [KmerTokenizer(3), KmerTokenizer(6, 6), KmerTokenizer.dnabert(6), BPETokenizer.train(TRAIN, 12)],
    ids=["3-mers", "6-mers side by side", "dnabert", "bpe"],
)
def test_tokens_of_several_bases_are_refused(tokenizer):
    for score, causal in ((bits_per_base, True), (bits_per_masked_base, False)):
        with pytest.raises(ValueError, match="one token for each base"):
            score(Table(PLAIN, 1, causal=causal), tokenizer, DNA)


def test_bad_input_is_explained():
    causal, masked = Table(PLAIN, 1, causal=True), Table(PLAIN, 1, causal=False)
    for text in ("", "NNNN"):
        for score, model in ((bits_per_base, causal), (bits_per_masked_base, masked)):
            with pytest.raises(ValueError, match="nothing to score"):
                score(model, PLAIN, text)
    with pytest.raises(ValueError, match="nothing to score"):
        bits_per_base(causal, PLAIN, "A")  # one base, and nothing in front of it
    with pytest.raises(ValueError, match="nothing to score"):
        bits_per_masked_base(masked, PLAIN, DNA, "joint", rate=0.0)
    with pytest.raises(ValueError, match="no protocol 'both'"):
        bits_per_masked_base(masked, PLAIN, DNA, "both")
    for stride in (0, 41, 40):
        with pytest.raises(ValueError, match="from 1 to 39"):
            bits_per_base(causal, PLAIN, DNA, 40, stride)
    bits_per_base(Table(WRAPPED, 1, causal=True), WRAPPED, DNA, 40, 40)  # [CLS] stands before each window
    with pytest.raises(ValueError, match="window is 0"):
        bits_per_base(causal, PLAIN, DNA, 0)
    for margin in (-1, 20):
        with pytest.raises(ValueError, match=f"margin is {margin}"):
            bits_per_masked_base(masked, PLAIN, DNA, "joint", window=40, margin=margin)
    for places in ([1000], [-1]):
        with pytest.raises(ValueError, match=f"position {places[0]} is not"):
            bits_per_masked_base(masked, PLAIN, DNA, positions=places)
    with pytest.raises(ValueError, match="position 1 is not an A, C, G or T"):
        bits_per_masked_base(masked, PLAIN, "ANC", positions=[1])
    with pytest.raises(ValueError, match="sample is 0"):
        bits_per_masked_base(masked, PLAIN, DNA, sample=0)
    with pytest.raises(ValueError, match="one True or False"):
        masked_probabilities(masked, PLAIN, DNA, np.zeros(5, bool))
    for options in ({"batch_size": 0}, {"block": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} is 0"):
            bits_per_base(causal, PLAIN, DNA, **options)
    with torch.no_grad():
        causal.table[3] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        bits_per_base(causal, PLAIN, DNA)
    small = GenomicConfig(vocab_size=10, hidden_size=16, num_hidden_layers=1, max_position_embeddings=32)
    with pytest.raises(ValueError, match="window is 40: this model reads from 1 to 32 bases"):
        bits_per_masked_base(GenomicForMaskedLM(small), PLAIN, DNA, window=40)
