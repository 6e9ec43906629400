"""sequence_baselines.py and sequence_columns.py: columns by definition, choices on valid alone, what each can see."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from gfm_lab import baselines, sequence_baselines
from gfm_lab.metrics import auroc, r2, spearman
from gfm_lab.sequence import reverse_complement
from gfm_lab.sequence_baselines import (
    BASELINES,
    PENALTIES,
    baseline_table,
    fit_baseline,
    fits,
    fitting_baselines,
    score_table,
)
from gfm_lab.sequence_columns import (
    best_match,
    find_motif,
    gc_share,
    kmer_counts,
    one_hot_places,
    position_kmers,
    position_pairs,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Matrices of this size take longer with several threads, many times longer on a busy machine."""
    with threadpool_limits(1):
        yield


LINEAR = [name for name in BASELINES if name != "small CNN"]


# ---- Columns ----


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("ACGTNacgt", max_size=30), min_size=1, max_size=4), st.integers(1, 4))
def test_kmer_counts(sequences, k):
    words = ["".join(word) for word in itertools.product("ACGT", repeat=k)]
    expected = [[sum(s[i : i + k].upper() == w for i in range(len(s))) for w in words] for s in sequences]
    assert kmer_counts(sequences, k).tolist() == expected


def test_kmer_counts_of_many_sequences():
    sequences = ["ACGT"[i % 4] * 5 for i in range(3000)]  # more than one part
    assert (kmer_counts(sequences, 2)[np.arange(3000), [0, 5, 10, 15] * 750] == 4).all()


def test_one_hot_places():
    assert one_hot_places(["AC", "nT"]).tolist() == [[1, 0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]]
    with pytest.raises(ValueError, match="differ in length"):
        one_hot_places(["A", "AC"])


@pytest.mark.parametrize("rows", [30, 200])  # fewer rows than columns, and more
def test_ridge_is_scikit_learns(rows):
    rng = np.random.default_rng(0)
    x, y, new = (
        rng.normal(size=(rows, 64)).astype(np.float32),
        rng.normal(size=rows) + 3,
        rng.normal(size=(5, 64)),
    )
    x -= x.mean(0)
    for (strength, predict), alpha in zip(fits(x, y, None), PENALTIES, strict=True):
        assert strength == f"alpha={alpha:g}"
        np.testing.assert_allclose(predict(new), Ridge(alpha).fit(x, y).predict(new), rtol=1e-3, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 9), st.randoms(use_true_random=False))
def test_position_kmers_are_counts_of_the_stretches(k, bins, extra, random):
    sequences = ["".join(random.choices("ACGTN", k=5 * bins + extra)) for _ in range(3)]
    found = position_kmers(sequences, k, bins)
    assert found.shape == (3, bins * 4**k)
    edges = np.linspace(0, len(sequences[0]), bins + 1).astype(int)
    for i in range(bins):
        part = kmer_counts([s[edges[i] : edges[i + 1]] for s in sequences], k)
        np.testing.assert_array_equal(found[:, i * 4**k : (i + 1) * 4**k], part)


def test_position_pairs():
    found = position_pairs(["ACG", "acg", "TTT"], 2)
    assert found.shape == (3, 12 + 2 * 16 + 16) and (found[0] == found[1]).all()
    assert found.sum(1).tolist() == [6, 6, 6], "three bases, two neighbours, one pair two apart"
    wanted = one_hot_places(["ACG"]).reshape(3, 4)
    apart_two = np.outer(wanted[0], wanted[2]).ravel()
    assert (found[0, 44:] == apart_two).all()
    assert position_pairs(["ACG"], 99).shape == (1, 60)


def test_gc_share():
    assert gc_share(["GGCC", "atGC", "NN"]).ravel().tolist() == [1, 0.5, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ACGTN", max_size=15), min_size=1, max_size=4), st.integers(1, 6), st.booleans())
def test_best_match_by_definition(sequences, width, both):
    pwm = np.random.default_rng(width).normal(size=(width, 4))

    def score(window):
        return sum(pwm[i]["ACGT".index(c)] if c != "N" else pwm[i].min() for i, c in enumerate(window))

    scores, matches = best_match(sequences, pwm, both)
    for sequence, found, match in zip(sequences, scores, matches, strict=True):
        sequence = sequence.ljust(width, "N")
        strands = [sequence, reverse_complement(sequence)] if both else [sequence]
        windows = [s[i : i + width] for s in strands for i in range(len(s) - width + 1)]
        best = max(map(score, windows))
        assert found == pytest.approx(best, abs=1e-4)
        text = "".join("ACGTN"[code] for code in match)
        assert score(text) == pytest.approx(best, abs=1e-4) and text in windows


def dna(rng, count, length, word=None, place=None, p=None):
    """Sequences, and labels: those of class 1 hold `word`, anywhere or at one place."""
    labels, out = rng.integers(0, 2, count), []
    for label in labels:
        letters = rng.choice([*"ACGT"], length, p=p)
        if label and word:
            at = rng.integers(0, length - len(word) + 1) if place is None else place
            letters[at : at + len(word)] = [*word]
        out.append("".join(letters))
    return out, labels


def test_a_planted_motif_is_found_on_either_strand():
    rng = np.random.default_rng(0)
    sequences, labels = dna(rng, 600, 60, "CCAATCGT")
    turned = [reverse_complement(s) if rng.random() < 0.5 else s for s in sequences]
    pwm = find_motif(turned, labels == 1, 8, True)
    read = "".join("ACGT"[i] for i in pwm.argmax(1))
    assert any("CAATC" in text for text in (read, reverse_complement(read)))
    both, one = (best_match(turned, pwm, strands)[0] for strands in (True, False))
    assert auroc(labels, both) > 0.95 > auroc(labels, one) + 0.05


# ---- What each baseline sees ----


def test_each_baseline_finds_what_it_can_see_and_no_more():
    rng = np.random.default_rng(1)
    anywhere = [dna(rng, n, 60, "TATAATGC") for n in (500, 300, 300)]
    table = baseline_table(*anywhere, "classification", baselines=LINEAR, resamples=50)
    auc = table[table["metric"] == "AUROC"].set_index("baseline")["value"]
    assert auc["k-mers"] > 0.9 and auc["PWM scan"] > 0.95
    assert auc["GC content"] < 0.75 and auc["additive"] < 0.7

    def moved(n):  # the word in both classes, but only in class 1 at place 40
        sequences, labels = dna(rng, n, 60, "TATAATGC", 40)
        return [
            s if y else s[:20] + "TATAATGC" + s[28:] for s, y in zip(sequences, labels, strict=True)
        ], labels

    table = baseline_table(
        *[moved(n) for n in (500, 300, 300)], "classification", baselines=LINEAR, resamples=50
    )
    auc = table[table["metric"] == "AUROC"].set_index("baseline")["value"]
    assert min(auc["additive"], auc["k-mers in position bins"], auc["pairwise"]) > 0.97
    assert max(auc["k-mers"], auc["GC content"], auc["PWM scan"]) < 0.7


def test_pairs_beat_single_places_where_places_depend_on_each_other():
    rng = np.random.default_rng(2)

    def part(n):
        sequences = ["".join(rng.choice([*"ACGT"], 8)) for _ in range(n)]
        return sequences, np.array([float(s[1] == s[5]) + 0.2 * rng.normal() for s in sequences])

    splits = [part(n) for n in (1500, 300, 300)]
    table = baseline_table(
        *splits, "regression", metrics=("R2",), baselines=["additive", "pairwise"], resamples=50
    )
    value = table.set_index("baseline")["value"]
    assert value["additive"] < 0.05 and value["pairwise"] > 0.7


def test_known_sites_give_the_motif():
    rng = np.random.default_rng(3)
    splits = [dna(rng, n, 50, "CCAATCAG") for n in (60, 60, 400)]
    known = fit_baseline(
        "PWM scan", splits[0], splits[1], "classification", sites=["CCAATCAG"] * 9 + ["CCAATCAC"]
    )
    assert auroc(splits[2][1], known.predict(splits[2][0])) > 0.97 and "10 sites, one strand" in known.chosen
    with pytest.raises(ValueError, match="differ in length"):
        fit_baseline("PWM scan", splits[0], splits[1], "classification", sites=["CCAAT", "CCA"])


# ---- The table ----


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(5)
    return [dna(rng, n, 40, "TATAATGC") for n in (120, 80, 80)]


def test_the_table_of_all_baselines_that_fit(small):
    table = baseline_table(*small, "classification", groups=np.arange(80) // 2, prevalence=0.01, resamples=40)
    assert list(table.columns) == ["baseline", "metric", "value", "low", "high", "chosen"]
    assert list(dict.fromkeys(table["baseline"])) == list(BASELINES) == fitting_baselines(small[0][0])
    assert table["metric"].tolist() == ["AUROC", "AUPRC", "AUPRC at 0.01"] * len(BASELINES)
    assert ((table["low"] <= table["value"] + 0.05) & (table["value"] <= table["high"] + 0.05)).all()
    assert (table["low"] < table["high"]).all() and table["chosen"].str.contains("on valid").all()
    again = baseline_table(*small, "classification", baselines=["GC content", "small CNN"], resamples=40)
    pd.testing.assert_frame_equal(
        again, baseline_table(*small, "classification", baselines=["GC content", "small CNN"], resamples=40)
    )


def test_choices_are_made_on_valid_and_test_changes_none(small):
    train, valid, test = small
    shuffled = (test[0], np.random.default_rng(0).permutation(test[1]))
    one, other = (
        baseline_table(train, valid, t, "classification", baselines=LINEAR, resamples=20)
        for t in (test, shuffled)
    )
    assert (one["chosen"] == other["chosen"]).all()
    fit = fit_baseline("k-mers", train, valid, "classification", metric="MCC")
    assert "MCC" in fit.chosen and fit.predict(test[0]).shape == (80, 2)
    best = fit_baseline("k-mers", train, valid, "classification")
    for k in sequence_baselines.KS:
        assert fit_baseline("k-mers", train, valid, "classification", ks=(k,)).valid <= best.valid
    lowest = fit_baseline("k-mers", train, valid, "classification", metric="Brier")
    for k in sequence_baselines.KS:
        assert (
            fit_baseline("k-mers", train, valid, "classification", metric="Brier", ks=(k,)).valid
            >= lowest.valid
        )


def test_several_classes_and_values(small):
    rng = np.random.default_rng(7)
    shares = ([0.4, 0.1, 0.1, 0.4], [0.25] * 4, [0.1, 0.4, 0.4, 0.1])

    def part(n):
        labels = rng.integers(0, 3, n)
        return ["".join(rng.choice([*"ACGT"], rng.integers(50, 90), p=shares[y])) for y in labels], labels

    splits = [part(n) for n in (240, 120, 120)]
    table = baseline_table(*splits, "classification", resamples=30)
    assert set(table["metric"]) == {"accuracy", "MCC"}
    assert set(table["baseline"]) == {"GC content", "k-mers", "PWM scan"}, (
        "places mean nothing where lengths differ"
    )
    assert table.set_index(["baseline", "metric"]).loc[("GC content", "accuracy"), "value"] > 0.8
    values = [(s, gc_share(s).ravel() + 1) for s, _ in splits]
    table = baseline_table(*values, "regression", baselines=["GC content", "k-mers"], resamples=30)
    assert set(table["metric"]) == {"Spearman", "R2"} and table["value"].min() > 0.9


def test_values_that_are_mostly_equal_and_test_rows_of_another_length(small):
    train, valid, test = small
    rare = [(s, (y * (np.arange(len(y)) % 5 == 0)).astype(float)) for s, y in small]
    table = baseline_table(*rare, "regression", baselines=["PWM scan"], resamples=20)
    assert np.isfinite(table["value"]).all()
    longer = (["A" + s for s in test[0]], test[1])
    table = baseline_table(train, valid, longer, "classification", resamples=20)
    assert set(table["baseline"]) == {"GC content", "k-mers", "PWM scan"}


def test_score_table_is_for_other_models_too(small):
    labels = small[2][1]
    score = labels + np.random.default_rng(0).normal(size=80)
    table = score_table({"mine": score, "guess": np.zeros(80)}, labels, "classification", resamples=30)
    assert table["value"].tolist()[0] == auroc(labels, score) and table["value"].tolist()[2] == 0.5
    values = score_table({"mine": score}, score**3, "regression", resamples=30)["value"].tolist()
    assert values == [spearman(score**3, score), r2(score**3, score)]
    assert baselines.baseline_table is baseline_table


# ---- Bad input ----


def test_bad_input_is_named(small):
    train, valid, test = small
    three = (train[0], train[1] + (np.arange(120) % 7 == 0))
    with pytest.raises(ValueError, match="class 2 is absent from valid"):
        baseline_table(three, valid, test, "classification")
    with pytest.raises(ValueError, match="class 0 is absent from train"):
        baseline_table((train[0], train[1] + 1), valid, test, "classification")
    with pytest.raises(ValueError, match="every label of test is 1"):
        baseline_table(train, valid, (test[0], np.ones(80, int)), "classification")
    with pytest.raises(ValueError, match="no class numbers"):
        baseline_table(train, valid, (test[0], test[1] + 0.5), "classification")
    with pytest.raises(ValueError, match="label of row 3 of valid is nan"):
        fit_baseline(
            "k-mers", train, (valid[0], np.where(np.arange(80) == 3, np.nan, valid[1])), "regression"
        )
    with pytest.raises(ValueError, match="test has 80 sequences but 79 labels"):
        baseline_table(train, valid, (test[0], test[1][1:]), "classification")
    with pytest.raises(ValueError, match="train has 1 items: at least two"):
        baseline_table((["ACGT"], [1]), valid, test, "classification")
    with pytest.raises(ValueError, match="sequence 0 of test is empty"):
        baseline_table(train, valid, (["", *test[0][1:]], test[1]), "classification")
    with pytest.raises(ValueError, match="no task 'ranking'"):
        baseline_table(*small, "ranking")
    with pytest.raises(ValueError, match="no baseline 'GPT'"):
        baseline_table(*small, "classification", baselines=["GPT"])
    with pytest.raises(ValueError, match="no metric 'auc'"):
        baseline_table(*small, "classification", metrics=["auc"])
    with pytest.raises(ValueError, match="one name for each of the 80 items"):
        baseline_table(*small, "classification", groups=[1, 2], baselines=["GC content"])


@pytest.mark.parametrize("name", ["k-mers in position bins", "additive", "pairwise", "small CNN"])
def test_places_need_one_length(small, name):
    train, valid, _ = small
    longer = ([s + "A" * (i % 2) for i, s in enumerate(train[0])], train[1])
    with pytest.raises(ValueError, match="length"):
        fit_baseline(name, longer, valid, "classification")


def test_too_short_or_too_long_is_said():
    rng = np.random.default_rng(0)
    short, long = ([dna(rng, 10, n)[0] for _ in range(2)] for n in (5, 700))
    y = np.arange(10) % 2
    for name, sequences in (("PWM scan", short), ("k-mers in position bins", short), ("pairwise", long)):
        with pytest.raises(ValueError, match="bases"):
            fit_baseline(name, (sequences[0], y), (sequences[1], y), "classification")
    assert fitting_baselines(short[0]) == ["GC content", "k-mers", "additive", "pairwise"]
    assert "additive" not in fitting_baselines(long[0])
