"""metrics.py: against scikit-learn and scipy, and what intervals, paired tests and calibration promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn import metrics as sk

from gfm_lab import evaluation, metrics
from gfm_lab.metrics import (
    accuracy,
    auprc,
    auroc,
    brier,
    calibration,
    calibration_error,
    interval,
    macro_f1,
    mcc,
    paired,
    r2,
    spearman,
    with_interval,
)

TWO = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=60)
MANY = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)
REAL = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=60)
TWO_CLASSES = [auroc, auprc]
ALL = [auroc, auprc, brier, calibration_error, accuracy, mcc, macro_f1, spearman, r2]


@settings(max_examples=150, deadline=None)
@given(TWO, st.floats(0.001, 0.999))
def test_two_classes_as_scikit_learn(rows, prevalence):
    y, score = np.array([r[0] for r in rows]), np.array([r[1] for r in rows]) / 3
    if y.all() or not y.any():
        for metric in TWO_CLASSES:
            with pytest.raises(ValueError, match="only one class occurs here"):
                metric(y, score)
        return
    assert auroc(y, score) == pytest.approx(sk.roc_auc_score(y, score))
    assert auprc(y.astype(float), score) == pytest.approx(sk.average_precision_score(y, score))
    weight = np.where(y, prevalence / y.sum(), (1 - prevalence) / (~y).sum())
    expected = sk.average_precision_score(y, score, sample_weight=weight)
    assert auprc(y, score, prevalence=prevalence) == pytest.approx(expected)
    assert auprc(y, score, prevalence=y.mean()) == pytest.approx(auprc(y, score))
    two = np.stack([-score, score], 1)
    assert auroc(y, two) == auroc(y, score) and auroc(y, score[:, None]) == auroc(y, score)
    p = (score + 2) / 4
    assert brier(y, p) == pytest.approx(sk.brier_score_loss(y, p))


@settings(max_examples=150, deadline=None)
@given(MANY)
def test_classes_as_scikit_learn(rows):
    y, guess = np.array(rows).T
    assert accuracy(y, guess) == pytest.approx(sk.accuracy_score(y, guess))
    if len({*y, *guess}) > 1:
        assert mcc(y, guess) == pytest.approx(sk.matthews_corrcoef(y, guess), abs=1e-12)
    else:
        assert mcc(y, guess) == 0
    assert macro_f1(y, guess) == pytest.approx(sk.f1_score(y, guess, average="macro", zero_division=0))
    names = np.array(["donor", "acceptor", "exon", "intron"])
    for metric in (accuracy, mcc, macro_f1):
        assert metric(names[y], names[guess].tolist()) == pytest.approx(metric(y, guess))
        assert metric(y, np.eye(4)[guess]) == metric(y, guess), "(N, C) scores: the largest is the guess"


@settings(max_examples=150, deadline=None)
@given(REAL)
def test_values_as_scipy_and_scikit_learn(rows):
    y, guess = np.array(rows).T / 2
    if len(set(y)) == 1:
        for metric in (spearman, r2):
            with pytest.raises(ValueError, match="need values that differ"):
                metric(y, guess)
        return
    if len(set(guess)) > 1:
        assert spearman(y, guess) == pytest.approx(spearmanr(y, guess).statistic, abs=1e-12)
    else:
        assert spearman(y, guess) == 0
    assert r2(y, guess[:, None]) == pytest.approx(sk.r2_score(y, guess))


def test_constant_predictions_are_defined():
    y = np.array([0, 1, 1, 0, 0])
    same = np.full(5, 0.3)
    assert auroc(y, same) == 0.5
    assert auprc(y, same) == pytest.approx(0.4)
    assert auprc(y, same, prevalence=0.01) == pytest.approx(0.01)
    assert mcc(y, np.ones(5, int)) == 0 and mcc(np.ones(5, int), y) == 0
    assert spearman(y + 0.0, same) == 0
    assert r2(y, np.full(5, y.mean())) == 0
    assert with_interval("AUROC", y, same).low == 0.5


@pytest.mark.parametrize("metric", ALL)
def test_bad_input_is_named(metric):
    y, guess = np.array([0, 1, 0]), np.array([0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="3 labels but 2 predictions"):
        metric(y, guess[:2])
    with pytest.raises(ValueError, match="prediction of row 1 is nan"):
        metric(y, np.array([0, np.nan, 1]))
    with pytest.raises(ValueError, match="label of row 2 is nan"):
        metric(np.array([0, 1, np.nan]), guess)
    with pytest.raises(ValueError, match="no items"):
        metric([], [])
    with pytest.raises(ValueError, match="shape"):
        metric(y, np.zeros((3, 1, 1)))


def test_more_bad_input():
    y = np.array([0, 1, 1])
    with pytest.raises(ValueError, match="labels of two classes are 0 and 1"):
        auroc(np.array([1, 2, 2]), [1, 2, 3])
    with pytest.raises(ValueError, match="3 columns: this metric is for two classes"):
        auroc(y, np.eye(3))
    for prevalence in (0, 1, -1, 30):
        with pytest.raises(ValueError, match="share of class 1, between 0 and 1"):
            auprc(y, [1, 2, 3], prevalence=prevalence)
    with pytest.raises(ValueError, match="are these logits"):
        calibration(y, [-1, 0.5, 3])
    with pytest.raises(ValueError, match="bins is 0"):
        calibration(y, [0.1, 0.5, 0.9], bins=0)
    with pytest.raises(ValueError, match="takes classes, not scores"):
        mcc(y, [0.2, 0.7, 0.9])
    with pytest.raises(ValueError, match="name classes alike"):
        accuracy(["0", "1", "1"], y)
    with pytest.raises(ValueError, match=r"no metric 'auc'.*AUROC"):
        with_interval("auc", y, y)
    with pytest.raises(ValueError, match="resamples is 0"):
        with_interval("AUROC", y, y, resamples=0)
    with pytest.raises(ValueError, match="one name for each of the 3 items"):
        with_interval("AUROC", y, y, groups=[1, 2])
    with pytest.raises(ValueError, match="groups miss a name at row 1"):
        with_interval("AUROC", y, y, groups=np.array(["a", None, "b"], dtype=object))
    with pytest.raises(ValueError, match="groups miss a name at row 2"):
        with_interval("AUROC", y, y, groups=[1.0, 2.0, np.nan])


# ---- Intervals ----


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(120):
        y = np.repeat([0, 1], 50)
        score = rng.normal(size=100) + y * np.sqrt(2) * 0.6744898  # two normals that far apart: AUROC 0.75
        found = with_interval("auroc", y, score, resamples=200, seed=seed)
        inside += found.low <= 0.75 <= found.high
    assert 105 <= inside <= 120


def test_groups_are_drawn_whole():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    score = y + rng.normal(size=60)
    copies = np.repeat(np.arange(60), 8)
    once = with_interval("AUROC", y, score)
    naive = with_interval("AUROC", y[copies], score[copies])
    honest = with_interval("AUROC", y[copies], score[copies], groups=copies.astype(str))
    assert once.value == pytest.approx(naive.value) == pytest.approx(honest.value)
    width = [found.high - found.low for found in (once, naive, honest)]
    assert width[1] < 0.5 * width[2], "copies are no new evidence"
    assert width[2] == pytest.approx(width[0], rel=0.2)


def test_each_resample_holds_groups_and_strata_in_full():
    groups = np.array(list("aabbbccccd"))
    strata = np.array(list("xxxxxyyyyy"))
    seen = []

    def look(labels, guess):
        drawn = [groups[i] for i in guess]
        for name, size in (("a", 2), ("b", 3), ("c", 4), ("d", 1)):
            assert drawn.count(name) % size == 0
        seen.append(sorted({strata[i] for i in guess}))
        kinds = sum(drawn.count(n) / s for n, s in (("a", 2), ("b", 3)))
        assert kinds == 2, "as many groups of stratum x as there are"
        return float(len(drawn))

    interval(look, np.zeros(10), np.arange(10), groups, strata, 50)
    assert len(seen) == 50 and all(s == ["x", "y"] for s in seen)
    with pytest.raises(ValueError, match="strata and groups cross: the group of row 0"):
        interval(
            look, np.zeros(10), np.arange(10), np.array(list("aabbbccccd")), np.array(list("xyxxxyyyyy"))
        )


def test_strata_keep_a_rare_class():
    y = np.array([1] * 3 + [0] * 60)
    score = np.linspace(1, 0, 63)
    counts = []
    interval(lambda labels, _: counts.append(labels.sum()) or 0.0, y, score, strata=y, resamples=40)
    assert set(counts) == {3}
    assert np.isfinite(with_interval("AUROC", y, score, strata=y).low)


def test_one_group_and_undefined_resamples_give_no_interval():
    y = np.array([0, 1, 1, 0])
    found = with_interval("AUROC", y, y, groups=["gene"] * 4)
    assert found.value == 1 and np.isnan(found.low) and np.isnan(found.high)
    assert np.isnan(with_interval("accuracy", [1], [1]).low)
    assert np.isnan(paired("AUROC", y, y, 1 - y, groups=[1] * 4).p)
    # Two items, one of each class: half of the resamples hold one class alone; two groups likewise.
    two = with_interval("R2", [0.0, 1.0], [0.0, 1.0], groups=[0, 0])
    assert np.isnan(two.low)


def test_names_options_and_seeds():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 80)
    score = y + rng.normal(size=80)
    assert with_interval("auprc", y, score, prevalence=1 / 300).name == "AUPRC at 0.0033"
    assert with_interval("auprc", y, score, prevalence=0.1).value == auprc(y, score, prevalence=0.1)
    assert with_interval(auroc, y, score) == with_interval("AUROC", y, score)
    assert with_interval("macro_f1", y, (score > 0.5)).name == "macro F1"
    assert with_interval("AUROC", y, score, seed=1) != with_interval("AUROC", y, score, seed=2)
    found = with_interval("AUROC", y, score)
    assert str(found) == f"AUROC {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


# ---- Two models on the same items ----


def test_paired_resamples_are_the_same_for_both():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    hard = rng.normal(size=300)  # what both models find hard
    a, b = y + hard, y + hard + 0.3 * rng.normal(size=300)
    found = paired("AUROC", y, a, b)
    assert found.value == pytest.approx(auroc(y, a) - auroc(y, b))
    one, other = with_interval("AUROC", y, a), with_interval("AUROC", y, b)
    assert found.high - found.low < 0.6 * (one.high - one.low), "what both find hard cancels"
    assert one.low < other.high and other.low < one.high, "the intervals overlap all the same"
    back = paired("AUROC", y, b, a)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert back.p == found.p
    same = paired("AUROC", y, a, a)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_p_values_are_small_as_often_as_they_should_be():
    """Models that are equally good: p < 0.1 in about a tenth of the trials; p and interval agree throughout."""
    rng = np.random.default_rng(0)
    small = 0
    for seed in range(150):
        y = np.repeat([0, 1], 60)
        a, b = y + rng.normal(size=(2, 120))
        found = paired("AUROC", y, a, b, resamples=199, seed=seed)
        small += found.p < 0.1
        if found.p < 0.04:
            assert found.low > 0 or found.high < 0
    assert 5 <= small <= 28
    better = paired("R2", y + rng.normal(size=120), y + 0.0, np.zeros(120), resamples=399)
    assert better.low > 0 and better.p == pytest.approx(2 / 400)


# ---- Calibration ----


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60), st.integers(1, 12))
def test_calibration_counts_every_item_once(rows, bins):
    y, p = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    table, error, score = calibration(y, p, bins)
    assert table["items"].sum() == len(y) and (table["items"] > 0).all()
    assert (table["items"] @ table["predicted"]) == pytest.approx(p.sum(), abs=1e-9)
    assert (table["items"] @ table["observed"]) == pytest.approx(y.sum())
    assert ((table["predicted"] <= table["to"] + 1e-9) & (table["predicted"] >= table["above"] - 1e-9)).all()
    assert ((table["low"] <= table["observed"] + 1e-9) & (table["observed"] <= table["high"] + 1e-9)).all()
    assert error == pytest.approx(
        (table["items"] * (table["predicted"] - table["observed"]).abs()).sum() / len(y)
    )
    assert error == calibration_error(y, p, bins) and score == brier(y, p)


def test_calibration_tells_honest_from_boastful():
    rng = np.random.default_rng(0)
    p = rng.random(4000)
    y = rng.random(4000) < p
    honest = calibration(y, p)
    boastful = calibration(y, np.clip(3 * (p - 0.5) + 0.5, 0, 1))
    assert honest.error < 0.03 < 0.1 < boastful.error and honest.brier < boastful.brier
    inside = (honest.table["low"] < honest.table["predicted"]) & (
        honest.table["predicted"] < honest.table["high"]
    )
    assert inside.sum() >= 8
    assert calibration(np.ones(5), np.ones(5)).error == 0
    assert calibration(y, np.full(4000, y.mean())).error == pytest.approx(0, abs=1e-9)


def test_evaluation_gives_them_too():
    assert evaluation.auroc is metrics.auroc and evaluation.paired is metrics.paired
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        evaluation.nonsense  # noqa: B018
