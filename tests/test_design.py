"""Guided design: no search leaves its ball, each finds a known optimum, Metropolis samples what it says it samples."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gfm_lab.generation
from gfm_lab.design import (
    distances,
    guided_design,
    log_likelihood,
    log_odds,
    metropolis,
    random_mutants,
    substitution_scores,
)
from gfm_lab.generation import generate
from gfm_lab.model import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM
from gfm_lab.searches import propose, space_of
from gfm_lab.sequence import SequenceError
from gfm_lab.tokenization import NucleotideTokenizer

torch.set_num_threads(1)
METHODS = ("genetic", "mcmc", "gradient", "gumbel")
every_method = pytest.mark.parametrize("method", METHODS)
WILD = "ACGTTGCAACGT"


class Additive:
    """One weight a base and place: its optimum within a distance is known. `bend` makes it convex, not linear."""

    def __init__(self, length=12, seed=0, bend=0.0):
        self.weights = torch.from_numpy(np.random.default_rng(seed).normal(size=(length, 4))).float()
        self.bend = bend

    def forward(self, hot):
        linear = (hot * self.weights).sum((1, 2))
        return linear + self.bend * linear**2

    def predict(self, sequences):
        codes = np.array([["ACGT".index(b) for b in s] for s in sequences])
        with torch.no_grad():
            return self.forward(torch.eye(4)[torch.from_numpy(codes)]).numpy()


class Numbers:
    """A predictor that gives what it is told to."""

    def __init__(self, answer):
        self.predict = answer


def training(length=12, count=40, seed=5):
    random = np.random.default_rng(seed)
    return ["".join(random.choice([*"ACGT"], length)) for _ in range(count)], random.normal(size=count)


def best_additive(oracle, wild, distance, positions):
    """The largest value within the distance: the best gain of each place, the largest `distance` of them."""
    here = [oracle.weights[i, "ACGT".index(b)].item() for i, b in enumerate(wild)]
    gains = sorted((oracle.weights[i].max().item() - here[i] for i in positions), reverse=True)
    return sum(here) + sum(g for g in gains[:distance] if g > 0)


# ---- The ball ----


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_design_and_no_baseline_leaves_the_ball(data):
    wild = data.draw(st.text("ACGT", min_size=4, max_size=9))
    positions = data.draw(st.sets(st.integers(0, len(wild) - 1), min_size=2))
    distance = data.draw(st.integers(1, len(positions)))
    method = data.draw(st.sampled_from(METHODS))
    seed = data.draw(st.integers(0, 5))
    result = guided_design(
        wild, Additive(len(wild), seed), Additive(len(wild), seed + 1), distance=distance, n=4, method=method,
        positions=sorted(positions), train=training(len(wild)), rounds=6, population=12, seed=seed,
    )  # fmt: skip
    assert len(set(result.sequences)) == 4 and wild not in result.sequences
    frame = result.frame
    for name in ("designs", "random mutants", "random best by oracle"):
        for sequence, told in frame.loc[frame["set"] == name, ["sequence", "distance"]].to_numpy():
            changed = {i for i, (a, b) in enumerate(zip(sequence, wild, strict=True)) if a != b}
            assert changed <= positions and 1 <= len(changed) == told <= distance
    mutations = [frame.loc[frame["set"] == s, "distance"].tolist() for s in ("designs", "random mutants")]
    assert mutations[0] == mutations[1]


@every_method
def test_the_optimum_of_an_additive_oracle_is_found(method):
    oracle, positions = Additive(), [0, 1, 2, 4, 5, 7, 8, 11]
    result = guided_design(
        WILD, oracle, Additive(seed=1), distance=3, n=5, method=method, positions=positions, train=training(),
        temperature=0.05, rounds=80, population=60,
    )  # fmt: skip
    found = result.frame["oracle"][result.frame["set"] == "designs"].max()
    assert found == pytest.approx(best_additive(oracle, WILD, 3, positions), abs=1e-4)
    # And the n best of all, in their order: by enumeration of the ball.
    if method == "genetic":
        ball = []
        for places in itertools.combinations(positions, 3):
            for letters in itertools.product("ACGT", repeat=3):
                text = [*WILD]
                for place, letter in zip(places, letters, strict=True):
                    text[place] = letter
                ball.append("".join(text))
        ball = sorted(set(ball) - {WILD})
        best = np.sort(oracle.predict(ball))[::-1][:5]
        np.testing.assert_allclose(oracle.predict(result.sequences), best, atol=1e-5)


@every_method
def test_seed_decides_and_batch_size_does_not(method):
    def run(seed, batch_size):
        return guided_design(
            WILD, Additive(), Additive(seed=1), distance=4, n=6, method=method, train=training(), rounds=4,
            population=10, seed=seed, batch_size=batch_size,
        ).frame  # fmt: skip

    assert run(3, 512).equals(run(3, 512))
    assert run(3, 512)["sequence"].equals(run(3, 7)["sequence"])
    assert not run(3, 512)["sequence"].equals(run(4, 512)["sequence"])


def test_designs_are_apart():
    result = guided_design(
        WILD,
        Additive(),
        Additive(seed=1),
        distance=6,
        n=8,
        apart=4,
        train=training(),
        rounds=40,
        population=60,
    )
    far = distances(result.sequences, result.sequences)
    assert far[~np.eye(8, dtype=bool)].min() >= 4
    with pytest.raises(ValueError, match=r"only .* of them differ from each other in 12 bases"):
        guided_design(
            WILD, Additive(), Additive(seed=1), distance=2, n=8, apart=12, train=training(), rounds=2
        )


# ---- Metropolis ----


def everything_within(wild, distance):
    texts = ("".join(t) for t in itertools.product("ACGT", repeat=len(wild)))
    return [t for t in texts if sum(a != b for a, b in zip(t, wild, strict=True)) <= distance]


@pytest.mark.parametrize("distance", [1, 2, 3])
def test_metropolis_draws_in_proportion_to_the_prior(distance):
    """Independent chains on a ball small enough to count, by chi-square: the wild type is not favoured either."""
    from scipy.stats import chisquare

    space = everything_within("ACG", distance)
    log_p = dict(zip(space, np.random.default_rng(2).normal(size=len(space)), strict=True))
    p = np.exp([log_p[s] for s in space])
    drawn = metropolis(
        lambda texts: np.array([log_p[s] for s in texts]),
        "ACG",
        distance=distance,
        chains=6000,
        steps=60,
        seed=1,
    )
    counts = [drawn.count(s) for s in space]
    assert chisquare(counts, 6000 * p / p.sum()).pvalue > 0.01
    assert chisquare(counts).pvalue < 1e-6  # and such a test can fail


@pytest.mark.parametrize("distance", [1, 2, 3])
def test_proposals_are_symmetric(distance):
    """Each step is as likely as its reverse, counted over many draws from every state of a small ball."""
    space = space_of("AC" if distance < 3 else "ACG", min(distance, 2 if distance < 3 else 3), None)
    length = len(space.wild)
    states = np.array(list(itertools.product(range(4), repeat=length)), dtype=np.uint8)
    states = states[(states != space.wild).sum(1) <= space.distance]
    number = {row.tobytes(): i for i, row in enumerate(states)}
    counts = np.zeros((len(states), len(states)))
    random, draws = np.random.default_rng(0), 4000
    for i, row in enumerate(states):
        for new in propose(np.tile(row, (draws, 1)), space, random):
            counts[i, number[new.tobytes()]] += 1
    noise = np.sqrt(counts + counts.T + 1)
    np.fill_diagonal(counts, 0)
    assert (np.abs(counts - counts.T) / noise).max() < 4.5
    assert (counts.sum(1) > 0).all()


def test_a_prior_pulls_the_designs_and_is_weighed_by_temperature():
    oracle = Additive()

    def prior(texts):  # dislikes T
        return -5.0 * np.array([s.count("T") for s in texts])

    def letters(temperature, method):
        result = guided_design(
            WILD, oracle, Additive(seed=1), distance=6, n=10, method=method, prior=prior, temperature=temperature,
            train=training(), rounds=60, population=40,
        )  # fmt: skip
        return np.mean([s.count("T") for s in result.sequences])

    for method in ("genetic", "gradient"):
        assert letters(1.0, method) < letters(1e-6, method)


# ---- The gradient ----


def test_substitution_scores_are_finite_differences_of_a_linear_oracle():
    oracle, texts = Additive(), [WILD, WILD[::-1]]
    got = substitution_scores(oracle, texts)
    assert got.shape == (2, len(WILD), 4)
    for row, text in enumerate(texts):
        for i, base in itertools.product(range(len(WILD)), "ACGT"):
            changed = text[:i] + base + text[i + 1 :]
            true = oracle.predict([changed])[0] - oracle.predict([text])[0]
            assert got[row, i, "ACGT".index(base)] == pytest.approx(true, abs=1e-5)


def test_substitution_scores_are_first_order_only():
    bent, flat = Additive(bend=0.5), Additive()
    text = [WILD]
    slope = 1 + 2 * 0.5 * flat.predict(text)[0]  # the chain rule
    np.testing.assert_allclose(
        substitution_scores(bent, text), slope * substitution_scores(flat, text), rtol=1e-4, atol=1e-5
    )


def test_the_oracle_is_left_as_it_was():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.line = torch.nn.Linear(4 * len(WILD), 1)

        def forward(self, hot):
            return self.line(hot.flatten(1))[:, 0]

        def predict(self, texts):
            codes = torch.tensor([["ACGT".index(b) for b in s] for s in texts])
            with torch.no_grad():
                return self(torch.eye(4)[codes]).numpy()

    net = Net()
    for method in ("gradient", "gumbel"):
        guided_design(
            WILD, net, Additive(), distance=2, n=3, method=method, train=training(), rounds=3, population=5
        )
    assert all(p.grad is None for p in net.parameters())


class TwoClasses:
    """Probabilities (N, 2): the logistic of an additive score."""

    def __init__(self, seed=0):
        self.score = Additive(seed=seed)

    def forward(self, hot):
        score = self.score.forward(hot)
        return torch.stack([-score, score], 1).div(2).log_softmax(1)

    def predict(self, sequences):
        p = 1 / (1 + np.exp(-self.score.predict(sequences)))
        return np.stack([1 - p, p], 1)


def test_log_odds_of_a_classifier():
    wrapped, texts = log_odds(TwoClasses()), training()[0]
    np.testing.assert_allclose(wrapped.predict(texts), Additive().predict(texts), rtol=1e-4)
    np.testing.assert_allclose(
        log_odds(TwoClasses(), 0).predict(texts), -Additive().predict(texts), rtol=1e-4
    )
    slopes = substitution_scores(wrapped, texts[:2])
    np.testing.assert_allclose(slopes, substitution_scores(Additive(), texts[:2]), atol=1e-5)
    with pytest.raises(ValueError, match="no class 2"):
        log_odds(TwoClasses(), 2).predict(texts)
    oracle = TwoClasses()
    for judge in (oracle, log_odds(oracle)):
        with pytest.raises(ValueError, match="the judge is the oracle"):
            guided_design(**(GOOD | dict(oracle=log_odds(oracle), judge=judge)))


# ---- What is reported ----


def test_table_by_hand():
    oracle, judge = Additive(), Additive(seed=1)
    sequences, values = training()
    result = guided_design(WILD, oracle, judge, distance=3, n=7, train=(sequences, values), rounds=5)
    table, frame = result.table(), result.frame
    mine = frame[frame["set"] == "designs"]
    texts = mine["sequence"].tolist()
    assert table.loc["designs", "oracle"] == pytest.approx(oracle.predict(texts).mean())
    assert table.loc["designs", "judge"] == pytest.approx(judge.predict(texts).mean())
    assert table.loc["designs", "gap"] == pytest.approx((oracle.predict(texts) - judge.predict(texts)).mean())
    assert (
        table.loc["designs", "judge_low"] < table.loc["designs", "judge"] < table.loc["designs", "judge_high"]
    )
    pairs = [sum(a != b for a, b in zip(x, y, strict=True)) for x, y in itertools.combinations(texts, 2)]
    assert table.loc["designs", "diversity"] == pytest.approx(np.mean(pairs))
    near = [min(sum(a != b for a, b in zip(x, y, strict=True)) for y in sequences) for x in texts]
    assert mine["nearest"].tolist() == near
    best = [sequences[i] for i in np.argsort(-values)[:7]]
    assert frame.loc[frame["set"] == "training best", "sequence"].tolist() == best
    assert table.loc["training best", "nearest"] == 0
    assert math.isnan(table.loc["wild type", "agreement"]) and table.loc["wild type", "n"] == 1
    # The screen of random mutants is by the oracle, from as many as the search scored.
    screened = frame.loc[frame["set"] == "random best by oracle", "oracle"]
    assert screened.is_monotonic_decreasing and result.calls >= 7
    gain = result.gain()
    assert gain["value"] == pytest.approx(
        table.loc["designs", "judge"] - table.loc["random mutants", "judge"]
    )
    assert gain["low"] < gain["value"] < gain["high"]
    with pytest.raises(ValueError, match="no set 'nobody': choose one of designs"):
        result.gain("nobody")


def test_every_sequence_is_scored_once():
    asked = []

    class Counting(Additive):
        def predict(self, sequences):
            asked.extend(sequences)
            return super().predict(sequences)

    result = guided_design(
        WILD, Counting(), Additive(seed=1), distance=2, n=5, method="mcmc", train=training(), rounds=30
    )
    baselines = len(result.frame) + result.calls + 5 + len(training()[0]) + 2
    assert len(asked) <= result.calls + baselines


def test_random_mutants_have_the_mutations_asked_for_and_differ():
    mutants = random_mutants(WILD, [1] * 36 + [4] * 20, seed=2)
    assert len(set(mutants)) == 56
    assert distances(mutants, [WILD])[:, 0].tolist() == [1] * 36 + [4] * 20
    assert mutants == random_mutants(WILD, [1] * 36 + [4] * 20, seed=2)
    with pytest.raises(ValueError, match="no 37 different mutants with 1 mutations"):
        random_mutants(WILD, [1] * 37)


def test_random_mutants_are_uniform():
    from scipy.stats import chisquare

    counts = dict.fromkeys(everything_within("ACG", 1), 0)
    del counts["ACG"]
    for seed in range(900):
        counts[random_mutants("ACG", [1], seed=seed)[0]] += 1
    assert chisquare(list(counts.values())).pvalue > 0.01


# ---- A language model as prior ----


def tiny(kind=GenomicForCausalLM, vocab=10):
    torch.manual_seed(0)
    model = kind(
        GenomicConfig(
            vocab_size=vocab, hidden_size=16, num_hidden_layers=1, positions="none", max_position_embeddings=None,
            causal=kind is GenomicForCausalLM, mixer="convolution", mixer_options={"kernel": 3, "dilation": 1},
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return model.eval()


def test_log_likelihood_is_what_generate_draws_from():
    """All texts of three bases have probabilities that sum to 1, and drawn ones come in that proportion."""
    from scipy.stats import chisquare

    model, tokenizer = tiny(), NucleotideTokenizer()
    texts = ["".join(t) for t in itertools.product("ACGT", repeat=3)]
    for before in ("", "ACCA"):
        p = np.exp(log_likelihood(model, tokenizer, texts, before=before))
        assert p.sum() == pytest.approx(1, abs=1e-5)
        drawn = generate(model, tokenizer, 3, prompt=before, n=3000, seed=1, batch_size=1000)
        keep = p > 2e-3
        counts = np.array([drawn.count(t) for t in texts])
        rest = np.append(counts[keep], counts[~keep].sum()), np.append(p[keep], p[~keep].sum())
        assert chisquare(rest[0], rest[1] / rest[1].sum() * 3000).pvalue > 0.01


def test_log_likelihood_counts_what_stands_behind_and_obeys_the_control():
    tokenizer = NucleotideTokenizer(controls=("ecoli", "fly"))
    model = tiny(vocab=12)
    joint = log_likelihood(model, tokenizer, ["ACG", "TTT"], after="GA", control="fly")
    whole = log_likelihood(model, tokenizer, ["ACGGA", "TTTGA"], control="fly", batch_size=1)
    np.testing.assert_allclose(joint, whole, atol=1e-5)
    assert (
        np.abs(joint - log_likelihood(model, tokenizer, ["ACG", "TTT"], after="GA", control="ecoli")).max()
        > 1e-4
    )
    texts = ["".join(t) for t in itertools.product("ACGT", repeat=2)]
    assert np.exp(log_likelihood(model, tokenizer, texts, control="fly")).sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="does not predict the next base"):
        log_likelihood(tiny(GenomicForMaskedLM), NucleotideTokenizer(), ["ACG"])


# ---- Bad input ----

GOOD = dict(
    wild_type=WILD, oracle=Additive(), judge=Additive(seed=1), distance=3, train=training(), n=5, rounds=2
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(judge=None), "no judge: .* errors included"),
        (dict(judge=GOOD["oracle"]), "the judge is the oracle"),
        (dict(wild_type="ACGTNACGTACG"), "position 5: found 'N'"),
        (dict(wild_type="ACGTUACGTACG"), "RNA"),
        (dict(wild_type=""), "empty"),
        (dict(distance=0), "distance is 0: it must be a whole number from 1 to the 12 bases"),
        (dict(distance=13), "distance is 13"),
        (dict(distance=3, positions=[4, 5]), "distance is 3: .* the 2 bases that may change"),
        (dict(distance=2.5), "distance is 2.5"),
        (dict(positions=[3, 3, 4, 5]), "different indices"),
        (dict(positions=[3, 4, 12]), "position 12 lies outside"),
        (dict(positions=[-1, 4, 5]), "position -1 lies outside"),
        (dict(n=7, distance=1, positions=[3, 5]), "n is 7, but only 6 sequences lie within 1"),
        (dict(n=0), "n is 0"),
        (dict(method="magic"), "no method 'magic': choose one of genetic"),
        (dict(temperature=0), "temperature is 0"),
        (dict(rounds=0), "rounds is 0"),
        (dict(train=None), "no train"),
        (dict(train=(["ACG"], [1.0])), "3 bases and the wild type 12"),
        (dict(train=(["ACG"], [1.0, 2.0])), "1 sequences and 2 values"),
        (dict(oracle=Additive(length=9)), "the oracle cannot read the wild type; perhaps .* another length"),
        (dict(judge=Additive(length=9)), "the judge cannot read the wild type"),
        (dict(judge=object()), "no method predict"),
        (dict(oracle=Numbers(lambda s: np.zeros((len(s), 2)))), r"shape \(1, 2\) for 1 sequences"),
        (dict(oracle=Numbers(lambda s: np.full(len(s), np.nan))), "not finite"),
        (dict(oracle=Numbers(lambda s: np.zeros(len(s))), method="gradient"), "has no forward"),
    ],
)  # fmt: skip
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        guided_design(**(GOOD | change))


def test_a_wrong_letter_has_its_position():
    with pytest.raises(SequenceError) as error:
        guided_design(**(GOOD | dict(wild_type="ACGTACGTACGN")))
    assert error.value.position == 12


def test_a_predictor_says_its_length():
    short = Additive()
    short.length = 75
    with pytest.raises(ValueError, match="another length than the wild type's 12 bases: it reads 75"):
        guided_design(**(GOOD | dict(judge=short)))


def test_a_forward_without_gradient_is_named():
    class Cut(Additive):
        def forward(self, hot):
            return super().forward(hot).detach()

    with pytest.raises(ValueError, match="forward has no gradient"):
        guided_design(**(GOOD | dict(oracle=Cut(), method="gumbel")))


def test_generation_passes_design_on():
    assert gfm_lab.generation.guided_design is guided_design
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gfm_lab.generation.nothing  # noqa: B018
