"""labelled.py: metrics, intervals and linear models against their definitions and scikit-learn."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, r2_score, roc_auc_score

from gfm_lab import labelled
from gfm_lab.labelled import kmer_counts, linear_models, measure
from gfm_lab.sequence_baselines import STRENGTHS

ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=4, max_size=40)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_metrics_are_those_of_scikit_learn(rows):
    labels, score = np.array(rows).T
    two = (labels > 0).astype(int)
    p = np.stack([1 - score / 5, score / 5], 1)
    if len(set(two)) == 2:
        found = {m.name: m.value for m in measure(two, p, 2, resamples=2)}
        assert found["AUROC"] == pytest.approx(roc_auc_score(two, score))
        assert found["AUPRC"] == pytest.approx(average_precision_score(two, score))
    else:
        with pytest.raises(ValueError, match="only one class"):
            measure(two, p, 2)
    three = np.eye(3)[score % 3]
    found = {m.name: m.value for m in measure(labels, three, 3, resamples=2)}
    assert found["accuracy"] == pytest.approx((labels == score % 3).mean())
    assert found["macro F1"] == pytest.approx(f1_score(labels, score % 3, average="macro", zero_division=0))
    values = labels + 0.5
    if not np.ptp(values):
        with pytest.raises(ValueError, match="need values that differ"):
            measure(values, score * 0.3, None)
        return
    found = {m.name: m.value for m in measure(values, score * 0.3, None, resamples=2)}
    assert found["R2"] == pytest.approx(r2_score(values, score * 0.3))
    if np.ptp(score):
        assert found["Spearman"] == pytest.approx(spearmanr(values, score).statistic)
    else:
        assert found["Spearman"] == 0


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(100):
        y = rng.normal(size=60)
        low, high = labelled.interval(lambda a, b: float(a.mean()), y, y, seed=seed, resamples=200)
        inside += low <= 0 <= high
    assert 85 <= inside <= 100


def test_rows_of_a_group_count_once():
    rng = np.random.default_rng(0)
    y, guess = rng.normal(size=40), rng.normal(size=40)
    once = measure(y, y + guess, None, resamples=300)[0]
    ten = np.repeat(np.arange(40), 10)
    naive = measure(y[ten], (y + guess)[ten], None, resamples=300)[0]
    grouped = measure(y[ten], (y + guess)[ten], None, groups=ten, resamples=300)[0]
    assert grouped.value == naive.value == pytest.approx(once.value)
    assert naive.high - naive.low < 0.5 * (grouped.high - grouped.low), "copies are no new evidence"
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low, rel=0.2)
    assert measure(y, guess, None, seed=3) == measure(y, guess, None, seed=3)
    with pytest.raises(ValueError, match="40 labels but 39 predictions"):
        measure(y, guess[:-1], None)


def sequences_with(rng, count, place):
    """Random sequences of 24 bases; those of class 1 hold TATAAT, anywhere or at one place."""
    labels = rng.integers(0, 2, count)
    out = []
    for label in labels:
        letters = rng.choice([*"ACGT"], 24)
        if label:
            at = rng.integers(0, 19) if place is None else place
            letters[at : at + 6] = [*"TATAAT"]
        out.append("".join(letters))
    return out, labels


def test_linear_models_find_what_they_can_see():
    rng = np.random.default_rng(0)
    anywhere = {n: sequences_with(rng, 300, None) for n in ("train", "valid", "test")}
    counts, places = linear_models(anywhere["train"], anywhere["valid"], [anywhere["test"][0]], 2)
    auc = [
        measure(anywhere["test"][1], model.guesses[0], 2, resamples=2)[0].value for model in (counts, places)
    ]
    assert counts.name == "logistic, k-mer counts" and places.name == "logistic, bases by place"
    assert auc[0] > 0.95 and auc[0] > auc[1] + 0.1, "k-mer counts find a word wherever it stands"
    assert "k=" in counts.chosen and "AUROC" in counts.chosen and "on valid" in counts.chosen
    assert len(counts.guesses) == 1 and np.allclose(counts.guesses[0].sum(1), 1)

    # The same word everywhere, but in class 1 at place 9: only the second model can tell.
    def moved(count):
        sequences, labels = sequences_with(rng, count, 9)
        return [s if y else s[:3] + "TATAAT" + s[9:] for s, y in zip(sequences, labels, strict=True)], labels

    at9 = [moved(300) for _ in range(3)]
    counts, places = linear_models(at9[0], at9[1], [at9[2][0]], 2)
    auc = [measure(at9[2][1], model.guesses[0], 2, resamples=2)[0].value for model in (counts, places)]
    assert auc[1] > 0.99 and auc[0] < 0.9


def test_linear_models_are_tuned_on_valid_alone():
    rng = np.random.default_rng(1)
    train, valid, test = (sequences_with(rng, 60, None) for _ in range(3))
    model = linear_models(train, valid, [valid[0], test[0]], 2)[0]
    best = 0.0
    for k, c in itertools.product(labelled.KS, STRENGTHS):
        x, v = (kmer_counts(part[0], k) for part in (train, valid))
        mean, spread = x.mean(0), x.std(0) + 1e-6
        fit = LogisticRegression(C=c, max_iter=200, tol=1e-3).fit((x - mean) / spread, train[1])
        best = max(best, roc_auc_score(valid[1], fit.predict_proba((v - mean) / spread)[:, 1]))
    assert measure(valid[1], model.guesses[0], 2, resamples=2)[0].value == pytest.approx(best)
    again = linear_models(train, valid, [test[0]], 2)[0]
    np.testing.assert_array_equal(again.guesses[0], model.guesses[1])


def test_linear_models_of_values_and_lengths():
    rng = np.random.default_rng(0)
    parts = [(["".join(rng.choice([*"ACGT"], rng.integers(20, 40))) for _ in range(150)],) for _ in range(3)]
    parts = [(s, np.array([x.count("G") - x.count("A") for x in s], float)) for (s,) in parts]
    models = linear_models(parts[0], parts[1], [parts[2][0]], None)
    assert [model.name for model in models] == ["ridge, k-mer counts"], (
        "places mean nothing where lengths differ"
    )
    assert measure(parts[2][1], models[0].guesses[0], None, resamples=2)[0].value > 0.95
    assert len(linear_models(([*"ACGT"], np.arange(4.0)), ([*"AC"], np.arange(2.0)), [["G"]], None)) == 2
