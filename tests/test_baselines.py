"""baselines.py against definitions written out over text: counting words, and enumerating every filling of the gaps."""

import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gfm_lab.baselines
from gfm_lab.baselines import MASKED_STRENGTHS, STRENGTHS, MarkovModel, TwoSidedBackoff, codes_of
from gfm_lab.data import load_data
from gfm_lab.evaluation import masked_mask
from gfm_lab.sequence import SequenceError, reverse_complement

BASELINES = Path(__file__).resolve().parent.parent / "data" / "baselines.json"
RNG = np.random.default_rng(5)
TEXT = "".join(RNG.choice(list("ACGT"), 3_000, p=[0.4, 0.1, 0.2, 0.3])) + "ACGGT" * 60
VALID = "".join(RNG.choice(list("ACGT"), 600, p=[0.4, 0.1, 0.2, 0.3])) + "ACGGT" * 12

dna = st.text("ACGT", max_size=40)
messy = st.text("ACGTacgtNnR", max_size=40)


# ---- The definitions, slowly ----


def runs(text):
    return re.findall("[ACGT]+", text.upper())


def occurrences(texts, both_strands):
    """How often each word occurs, of any length up to 9, not across anything but A, C, G, T."""
    found = {}
    for text in texts:
        for run in [*runs(text), *(runs(reverse_complement(text)) if both_strands else [])]:
            for start in range(len(run)):
                for stop in range(start + 1, min(start + 9, len(run)) + 1):
                    found[run[start:stop]] = found.get(run[start:stop], 0) + 1
    return found


def slow_next(found, context, strength):
    """{base: P(base | context)}, backing off one base at a time."""
    below = slow_next(found, context[1:], strength) if context else dict.fromkeys("ACGT", 0.25)
    seen = {base: found.get(context + base, 0) for base in "ACGT"}
    total = sum(seen.values())
    return {base: (seen[base] + strength * below[base]) / (total + strength) for base in "ACGT"}


def slow_chance(found, text, order, strength):
    """P(text), each run of bases on its own."""
    chance = 1.0
    for run in runs(text):
        for i, base in enumerate(run):
            chance *= slow_next(found, run[max(0, i - order) : i], strength)[base]
    return chance


def slow_masked(found, text, masked, order, strength):
    """{place: [P(A), P(C), P(G), P(T)]} at each masked base, from every filling of all masked bases."""
    text = text.upper()
    places = [i for i in np.flatnonzero(masked) if text[i] in "ACGT"]
    out = {i: np.zeros(4) for i in places}
    for filling in itertools.product("ACGT", repeat=len(places)):
        letters = list(text)
        for i, letter in zip(places, filling, strict=True):
            letters[i] = letter
        chance = slow_chance(found, "".join(letters), order, strength)
        for i, letter in zip(places, filling, strict=True):
            out[i]["ACGT".index(letter)] += chance
    return {i: p / p.sum() for i, p in out.items()}


def slow_two_sided(texts, both_strands, text, hidden, place, reach, strength):
    """P(base at `place` | what is visible in a row on either side)."""
    strands = [run for t in texts for run in runs(t)]
    strands += [run for t in texts for run in runs(reverse_complement(t))] if both_strands else []
    shown = "".join("N" if h else c for h, c in zip(hidden, text.upper(), strict=True))
    left = re.search("[ACGT]*$", shown[:place])[0][-reach:] if reach else ""
    right = re.match("[ACGT]*", shown[place + 1 :])[0][:reach]
    p = np.full(4, 0.25)
    for k in range(max(len(left), len(right)) + 1):
        a, b = left[len(left) - min(k, len(left)) :], right[:k]
        seen = np.array([sum(len(re.findall(f"(?={a}{x}{b})", run)) for run in strands) for x in "ACGT"])
        p = (seen + strength * p) / (seen.sum() + strength)
    return p


# ---- Markov models, from left to right ----


@settings(max_examples=60, deadline=None)
@given(st.lists(messy, min_size=1, max_size=3), messy, st.integers(0, 4), st.booleans())
def test_causal_probabilities_are_the_definition(texts, text, order, both):
    texts = [*texts, "ACGTT"]
    model = MarkovModel(order, 2.5).fit(texts, both_strands=both)
    p, bits, found = model.probabilities(text), model.bits(text), occurrences(texts, both)
    assert p.shape == (len(text), 4) and bits.shape == (len(text),)
    for i, letter in enumerate(text.upper()):
        if letter not in "ACGT":
            assert np.isnan(p[i]).all() and np.isnan(bits[i])
            continue
        context = re.search("[ACGT]*$", text.upper()[:i])[0][-order:] if order else ""
        expected = slow_next(found, context, 2.5)
        assert p[i] == pytest.approx([expected[base] for base in "ACGT"], rel=1e-5)
        assert p[i].sum() == pytest.approx(1, abs=1e-5)
        assert bits[i] == pytest.approx(-math.log2(expected[letter]), abs=1e-4)


def test_order_0_costs_the_entropy_of_the_base_frequencies():
    share = np.bincount(codes_of(TEXT)) / len(TEXT)
    model = MarkovModel(0, 1e-6).fit(TEXT, both_strands=False)
    assert model.bits_per_base(TEXT) == pytest.approx(-(share * np.log2(share)).sum(), abs=1e-5)
    # Nothing around a base says anything about it, so both protocols agree with it, base by base.
    mask = masked_mask(len(TEXT), 0.3, seed=1)
    assert model.masked_bits(TEXT) == pytest.approx(model.bits(TEXT), abs=1e-5)
    assert model.masked_bits(TEXT, mask)[mask] == pytest.approx(model.bits(TEXT)[mask], abs=1e-5)


def test_the_highest_order_counts_words_of_13():
    model = MarkovModel(12, 3.0).fit(TEXT, both_strands=False)
    at = TEXT.index("ACGGTACGGTACGG") + 12
    p, context = np.full(4, 0.25), TEXT[at - 12 : at]
    for k in range(13):
        seen = np.array([len(re.findall(f"(?={context[12 - k :]}{x})", TEXT)) for x in "ACGT"])
        p = (seen + 3.0 * p) / (seen.sum() + 3.0)
    assert model.probabilities(TEXT)[at] == pytest.approx(p, rel=1e-5)


def test_both_strands_count_alike():
    other = reverse_complement(TEXT)
    a, b = (MarkovModel(4, 8.0).fit(t).probabilities(VALID) for t in (TEXT, other))
    assert (a == b).all()
    one_strand = MarkovModel(4, 8.0).fit(TEXT, both_strands=False).probabilities(VALID)
    assert np.abs(a - one_strand).max() > 0.01
    order_0 = MarkovModel(0).fit(TEXT).probabilities("A")[0]
    assert order_0[0] == pytest.approx(order_0[3]) and order_0[1] == pytest.approx(order_0[2])


def test_a_sample_scores_the_entropy_rate_of_its_model():
    model = MarkovModel(2, 1.0).fit(TEXT * 3, both_strands=False)
    sample = model.sample(60_000, seed=3)
    assert set(sample) == set("ACGT") and len(sample) == 60_000
    assert sample[:500] == model.sample(500, seed=3) != model.sample(500, seed=4)
    pairs = ["".join(pair) for pair in itertools.product("ACGT", repeat=2)]
    p = np.stack([model.probabilities(pair + "A")[2] for pair in pairs])  # (16, 4) P(next | two before)
    step = np.zeros((16, 16))
    for i, pair in enumerate(pairs):
        for x, base in enumerate("ACGT"):
            step[i, pairs.index(pair[1] + base)] = p[i, x]
    stationary = np.linalg.matrix_power(step, 200)[0]
    rate = -(stationary @ (p * np.log2(p)).sum(axis=1))
    bits = model.bits(sample)
    assert bits.mean() == pytest.approx(rate, abs=4 * bits.std() / math.sqrt(len(bits)))
    # Any other model needs more, by definition of the entropy.
    assert MarkovModel(1).fit(TEXT * 3, both_strands=False).bits_per_base(sample) > rate + 0.005


def test_the_strength_is_the_best_one_on_valid():
    for order in (0, 3, 6):
        tried = {s: MarkovModel(order, s).fit(TEXT).bits_per_base(VALID) for s in STRENGTHS}
        model = MarkovModel(order).fit(TEXT, VALID)
        assert tried[model.strength] == pytest.approx(min(tried.values()), abs=1e-6)
        assert model.bits_per_base(VALID) == pytest.approx(min(tried.values()), abs=1e-6)
    assert MarkovModel(3).fit(TEXT).strength == 16
    assert MarkovModel(3, 5.0).fit(TEXT, VALID).strength == 5


# ---- Masked bases: exact conditionals ----


@settings(max_examples=40, deadline=None)
@given(st.text("ACGTacgN", max_size=14), st.integers(0, 3), st.booleans())
def test_one_masked_base_against_enumeration(text, order, both):
    model = MarkovModel(order, 2.0).fit(TEXT[:60], both_strands=both)
    p, bits = model.masked_probabilities(text), model.masked_bits(text)
    found = occurrences([TEXT[:60]], both)
    for i, letter in enumerate(text.upper()):
        if letter == "N":
            assert np.isnan(p[i]).all() and np.isnan(bits[i])
            continue
        expected = slow_masked(found, text, np.arange(len(text)) == i, order, 2.0)[i]
        assert p[i] == pytest.approx(expected, rel=1e-4)
        assert bits[i] == pytest.approx(-math.log2(expected["ACGT".index(letter)]), abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.text("ACGTacgN", max_size=12), st.integers(0, 3), st.sets(st.integers(0, 11), max_size=5))
def test_bases_masked_together_against_enumeration(text, order, places):
    masked = np.isin(np.arange(len(text)), [*places])
    model = MarkovModel(order, 2.0).fit(TEXT[:60])
    p, bits = model.masked_probabilities(text, masked), model.masked_bits(text, masked)
    expected = slow_masked(occurrences([TEXT[:60]], True), text, masked, order, 2.0)
    scored = np.flatnonzero(~np.isnan(p[:, 0]))
    assert [*scored] == sorted(expected) and (np.isnan(bits) == np.isnan(p[:, 0])).all()
    for i, q in expected.items():
        assert p[i] == pytest.approx(q, rel=1e-4)


def test_a_run_of_masked_bases_longer_than_the_order():
    masked = np.zeros(13, dtype=bool)
    masked[4:10] = True
    p = MarkovModel(2, 1.0).fit(TEXT[:300]).masked_probabilities(TEXT[50:63], masked)
    expected = slow_masked(occurrences([TEXT[:300]], True), TEXT[50:63], masked, 2, 1.0)
    for i in range(4, 10):
        assert p[i] == pytest.approx(expected[i], rel=1e-4)


def test_one_lone_mask_is_protocol_a():
    """Masks farther apart than the order do not see each other: both protocols agree."""
    model = MarkovModel(5).fit(TEXT)
    masked = np.arange(len(VALID)) % 11 == 3
    alone, together = model.masked_bits(VALID), model.masked_bits(VALID, masked)
    assert together[masked] == pytest.approx(alone[masked], abs=1e-5)
    assert np.isnan(together[~masked]).all()
    assert model.bits_per_masked_base(VALID, masked) == pytest.approx(alone[masked].mean(), abs=1e-5)


def test_work_in_groups_changes_nothing(monkeypatch):
    model, masked = MarkovModel(4).fit(TEXT), masked_mask(len(VALID), 0.3, seed=2)
    whole = model.masked_bits(VALID, masked)
    monkeypatch.setattr(gfm_lab.baselines, "GROUP", 500)
    assert np.array_equal(model.masked_bits(VALID, masked), whole, equal_nan=True)
    monkeypatch.setattr(gfm_lab.baselines, "LARGEST", 500)
    with pytest.raises(ValueError, match="too many bases are masked within 4 of each other"):
        model.masked_bits(VALID, masked)


@pytest.mark.parametrize("model", [MarkovModel(3), TwoSidedBackoff(2)], ids=repr)
def test_masked_bases_are_not_looked_at(model):
    model.fit(TEXT)
    masked = masked_mask(len(VALID), 0.3, seed=4)
    other = "".join("ACGT"["TGCA".index(c)] if m else c for c, m in zip(VALID, masked, strict=True))
    p, q = model.masked_probabilities(VALID, masked), model.masked_probabilities(other, masked)
    assert np.array_equal(p, q, equal_nan=True)
    assert p[masked].sum(axis=1) == pytest.approx(np.ones(masked.sum()))
    assert not np.array_equal(model.masked_bits(VALID, masked), model.masked_bits(other, masked))


@pytest.mark.parametrize("masked", [None, masked_mask(len(VALID), 0.15, seed=8)], ids=["a", "b"])
def test_the_strength_can_be_chosen_for_masked_bases(masked):
    tried = {s: MarkovModel(6, s).fit(TEXT).bits_per_masked_base(VALID, masked) for s in MASKED_STRENGTHS}
    protocol = "single" if masked is None else "joint"
    model = MarkovModel(6).fit(TEXT, VALID, protocol=protocol, masked=masked)
    assert tried[model.strength] == min(tried.values()) == model.bits_per_masked_base(VALID, masked)
    for wrong in ({"protocol": "both"}, {"protocol": "joint"}, {"masked": np.ones(len(VALID), bool)}):
        with pytest.raises(ValueError, match="protocol is"):
            MarkovModel(1).fit(TEXT, VALID, **wrong)


# ---- Two sides ----


@settings(max_examples=40, deadline=None)
@given(
    st.lists(messy, max_size=2),
    st.text("ACGTacgN", max_size=12),
    st.integers(0, 2),
    st.booleans(),
    st.none() | st.sets(st.integers(0, 11), max_size=6),
)
def test_two_sides_are_the_definition(texts, text, reach, both, places):
    texts = [*texts, TEXT[:80]]
    model = TwoSidedBackoff(reach, 2.0).fit(texts, both_strands=both)
    masked = None if places is None else np.isin(np.arange(len(text)), [*places])
    p, bits = model.masked_probabilities(text, masked), model.masked_bits(text, masked)
    for i, letter in enumerate(text.upper()):
        if letter == "N" or (masked is not None and not masked[i]):
            assert np.isnan(p[i]).all() and np.isnan(bits[i])
            continue
        hidden = np.zeros(len(text), bool) if masked is None else masked
        expected = slow_two_sided(texts, both, text, hidden, i, reach, 2.0)
        assert p[i] == pytest.approx(expected)
        assert bits[i] == pytest.approx(-math.log2(expected["ACGT".index(letter)]))


def test_two_sides_are_the_same_from_the_other_strand():
    model, masked = TwoSidedBackoff(3).fit(TEXT), masked_mask(len(VALID), 0.2, seed=6)
    other = reverse_complement(VALID)
    for mask, turned in ((None, None), (masked, masked[::-1])):
        p, q = model.masked_probabilities(VALID, mask), model.masked_probabilities(other, turned)
        assert p == pytest.approx(q[::-1, ::-1], nan_ok=True)


@pytest.mark.parametrize("masked", [None, masked_mask(len(VALID), 0.15, seed=8)], ids=["a", "b"])
def test_two_sides_choose_the_strength_on_valid(masked):
    tried = {s: TwoSidedBackoff(3, s).fit(TEXT).bits_per_masked_base(VALID, masked) for s in STRENGTHS}
    model = TwoSidedBackoff(3).fit(TEXT, VALID, masked=masked)
    assert tried[model.strength] == min(tried.values())


# ---- On a real genome ----


def test_the_recorded_baselines_come_out():
    """Numbers of data/baselines.json, with the settings it names: region split, seed 20."""
    recorded = json.loads(BASELINES.read_text(encoding="utf-8"))
    recorded = {b["what"]: b["value"] for b in recorded["baselines"] if b["table"] == "ecoli-k12"}
    genome = load_data("ecoli-k12")
    train, valid, test = (genome.split(part) for part in ("train", "valid", "test"))
    causal = MarkovModel(3).fit(train, valid, both_strands=False)
    assert causal.bits_per_base(test) == pytest.approx(recorded["Markov order 3, forward strand"], abs=2e-4)
    alone = MarkovModel(6, 16.0).fit(train).bits_per_masked_base(test)
    assert alone == pytest.approx(recorded["one base masked: exact conditional of Markov-6"], abs=2e-4)
    together = MarkovModel(5, 16.0).fit(train)
    value = together.bits_per_masked_base(test, masked_mask(len(test), 0.15, recorded_seed()))
    assert value == pytest.approx(recorded["15 % masked: Markov-5, forward-backward"], abs=1e-3)
    assert alone < value < causal.bits_per_base(test)  # the more is visible, the fewer bits


def recorded_seed():
    return json.loads(BASELINES.read_text(encoding="utf-8"))["seed"]


# ---- Corners ----


def test_short_and_empty_sequences():
    for model in (MarkovModel(8).fit("ACGTA"), TwoSidedBackoff(4).fit(["AC", "", "G"])):
        assert model.masked_bits("").shape == (0,)
        assert model.masked_bits("", np.zeros(0, bool)).shape == (0,)
        assert np.isfinite(model.masked_bits("AC")).all()
        assert np.isfinite(model.masked_bits("AC", np.array([True, True]))).all()
        assert np.isnan(model.masked_bits("NRn")).all()
        for text in ("", "NNN"):
            with pytest.raises(ValueError, match="nothing to score"):
                model.bits_per_masked_base(text)
    model = MarkovModel(8).fit("ACGTA")
    assert model.bits("").shape == (0,) and np.isfinite(model.bits("ACG")).all()
    with pytest.raises(ValueError, match="nothing to score"):
        model.bits_per_base("NNN")
    assert model.sample(0, seed=1) == ""


def test_rare_letters_cost_finite_bits():
    """A letter that training never saw, after a context it saw always: improbable, never impossible."""
    bits = MarkovModel(10, 1.0).fit("A" * 100_000, both_strands=False).bits("A" * 20 + "C")
    assert 50 < bits[-1] <= 100 and np.isfinite(bits).all()


@pytest.mark.parametrize("kind", [MarkovModel, TwoSidedBackoff])
def test_bad_input_is_explained(kind):
    model = kind(2)
    with pytest.raises(RuntimeError, match="call fit"):
        model.masked_bits("ACGT")
    for texts in ([], "", "NNN", ["", "N"]):
        with pytest.raises(ValueError, match="nothing to fit on"):
            model.fit(texts)
    with pytest.raises(ValueError, match="nothing to tune on"):
        model.fit(TEXT, "NN")
    with pytest.raises(SequenceError, match=r"'1', position 3.*'U'.*write T for U"):
        model.fit(["ACGT", "ACUG"])
    with pytest.raises(TypeError, match="sequence 1 is of type int"):
        model.fit(["ACGT", 7])
    model.fit(TEXT)
    with pytest.raises(SequenceError, match="position 2"):
        model.masked_bits("A*")
    for mask in (np.zeros(3, bool), np.zeros(4), [0, 1, 0, 1]):
        with pytest.raises(ValueError, match="one True or False for each of the 4 bases"):
            model.masked_bits("ACGT", mask)
    for size in (-1, 13, 2.0, True):
        with pytest.raises(ValueError, match="must be a whole number from 0"):
            kind(size)
    for strength in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="strength is"):
            kind(2, strength)
    with pytest.raises(ValueError, match="length is -1"):
        MarkovModel(1).fit(TEXT).sample(-1, seed=0)
    assert "strength=16.0" in repr(model)


def test_anything_with_a_sequence_can_be_counted():
    class Piece:
        sequence = TEXT

    assert (MarkovModel(2).fit([Piece()]).bits(VALID) == MarkovModel(2).fit(TEXT).bits(VALID)).all()
