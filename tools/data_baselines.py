#!/usr/bin/env python3
"""Recompute the baselines of the shipped tables: what simple methods reach, and so what a model must beat.

    python tools/data_baselines.py             seven to nine minutes on one core: data/baselines.json, data/README.md
    python tools/data_baselines.py lac-mpra    these tables alone; the others keep their lines

Where a number was measured on the same packages before these tables existed, it is declared here as `expected`
with a tolerance, and a value outside it makes the exit code 1: agreement shows that the tables were cut right.
Tolerances: 0.003 where the method leaves no choice; 0.01 to 0.02 where a regularisation strength was left open;
more where the drawn decoys or the test genes are other ones, as the notes say. Everything is fitted on train,
tuned on valid or by leave-one-out on train (or not at all) and scored on test. Intervals: 95 %, bootstrap over
what the table's rows share (gene, locus), else over rows; for genomes over windows of 2,000 bases.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeCV
from sklearn.preprocessing import StandardScaler

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from build_data import write  # noqa: E402
from data_human_fly import PWM_SPAN, fit_pwm, score_pwm  # noqa: E402
from data_readme import readme_text  # noqa: E402

from gfm_lab.baselines import MarkovModel, TwoSidedBackoff  # noqa: E402
from gfm_lab.data import SequenceTable, load_data  # noqa: E402
from gfm_lab.evaluation import BLOCK, bootstrap, masked_mask  # noqa: E402
from gfm_lab.metrics import with_interval  # noqa: E402
from gfm_lab.sequence_columns import gc_share, kmer_counts, one_hot_places  # noqa: E402
from gfm_lab.splits import shared_kmer_mask  # noqa: E402

DATA = ROOT / "data"
SEED = 20


@dataclass(frozen=True)
class Baseline:
    """One number. `expected` may be a number, or None; `bound` says how value and expected must compare."""

    table: str
    what: str
    measure: str
    value: float
    expected: float | None
    tolerance: float
    bound: str  # "near": |value - expected| <= tolerance; "at most": value <= expected + tolerance
    train: int
    test: int
    note: str
    low: float | None = None  # the 95 % interval; None: nothing was resampled
    high: float | None = None

    @property
    def ok(self) -> bool:
        if self.expected is None:
            return True
        if self.bound == "at most":
            return self.value <= self.expected + self.tolerance
        return abs(self.value - self.expected) <= self.tolerance


class Report:
    """Collects baselines and prints each beside what was expected."""

    def __init__(self) -> None:
        self.rows: list[Baseline] = []

    def add(
        self,
        table: str,
        what: str,
        measure: str,
        value: float,
        expected: float | None = None,
        tolerance: float = 0.0,
        *,
        bound: str = "near",
        sizes: tuple[int, int],
        note: str = "",
        interval: tuple[float, float] = (np.nan, np.nan),
    ) -> None:
        low, high = (None if np.isnan(x) else round(float(x), 4) for x in interval)
        value = round(float(value), 4)
        row = Baseline(table, what, measure, value, expected, tolerance, bound, *sizes, note, low, high)
        self.rows.append(row)
        sign = "<=" if bound == "at most" else " ="
        beside = "" if expected is None else f"  expected {sign} {expected:g} +- {tolerance:g}"
        verdict = "" if expected is None else "  ok" if row.ok else "  OUTSIDE"
        between = "" if low is None else f" [{low:.4f}, {high:.4f}]"
        print(f"{table:24s} {what:52s} {measure:12s} {row.value:8.4f}{between}{beside}{verdict}", flush=True)

    def score(
        self,
        table: str,
        what: str,
        measure: str,
        labels: np.ndarray,
        guess: np.ndarray,
        expected: float | None = None,
        tolerance: float = 0.0,
        *,
        groups: Any = None,
        options: dict[str, Any] | None = None,
        **rest: Any,
    ) -> None:
        """`measure` of a prediction of the test rows, resampled by `groups`."""
        labels, guess = np.asarray(labels), np.asarray(guess, dtype=float)
        found = with_interval(
            OTHERS.get(measure, measure), labels, guess, groups, seed=SEED, **(options or {})
        )
        self.add(table, what, measure, found.value, expected, tolerance, interval=found[2:], **rest)

    def bits(
        self, table: str, what: str, measure: str, bits: np.ndarray, *expected: Any, **rest: Any
    ) -> None:
        """Mean of (L,) bits, nan where nothing is scored, resampled by windows of contiguous bases."""
        number = np.arange(len(bits)) // BLOCK
        scored = ~np.isnan(bits)
        count = np.bincount(number, scored)
        mean = np.bincount(number, np.nan_to_num(bits)) / np.maximum(count, 1)
        value = float(bits[scored].mean())
        self.add(table, what, measure, value, *expected, interval=bootstrap(mean, count, seed=SEED), **rest)


def pearson(values: np.ndarray, guess: np.ndarray) -> float:
    return float(np.corrcoef(values, guess)[0, 1])


OTHERS = {"r": pearson, "Pearson r": pearson, "share": lambda values, _: float(np.mean(values))}


# ---------------------------------------------------------------------------------------------------------
# Features and fits


def logistic(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, c: float) -> np.ndarray:
    """Scores of the test rows: standardised features, L2 logistic regression of strength 1/c."""
    scale = StandardScaler().fit(x)
    model = LogisticRegression(C=c, max_iter=1000).fit(scale.transform(x), y)
    return model.decision_function(scale.transform(x_test))


def ridge_tuned(x: np.ndarray, y: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Predictions for all rows: standardised features, ridge fitted on train, its strength by leave-one-out there."""
    scaled = StandardScaler().fit(x[train]).transform(x)
    model = RidgeCV((1, 10, 100, 1000, 3000, 10_000, 30_000)).fit(scaled[train], y[train])
    return model.predict(scaled)


# ---------------------------------------------------------------------------------------------------------
# Tables


def genomes(report: Report, name: str) -> None:
    """Markov models, causal and masked, in bits per base of the forward strand of the test region."""
    expected = {3: 1.952, 6: 1.933}
    genome = load_data(name)
    train, valid, test = (genome.split(part) for part in ("train", "valid", "test"))
    sizes = (len(train), len(test))
    known = name == "ecoli-k12"
    for order in (3, 6):
        model = MarkovModel(order).fit(train, valid, both_strands=False)
        report.bits(
            name,
            f"Markov order {order}, forward strand",
            "bits/base",
            model.bits(test),
            expected[order] if known else None,
            0.003,
            sizes=sizes,
            note="interpolated with lower orders, strength tuned on valid",
        )
    models = [MarkovModel(order).fit(train, valid) for order in ((6, 8, 10) if known else (8, 10, 12))]
    model = min(models, key=lambda m: m.bits_per_base(valid))
    report.bits(
        name,
        f"best back-off (order {model.order}), trained on both strands",
        "bits/base",
        model.bits(test),
        1.928 if known else None,
        0.003,
        sizes=sizes,
        note="order and strength tuned on valid",
    )
    if known:
        masked_bases(report, name, train, valid, test)


def masked_bases(report: Report, name: str, train: str, valid: str, test: str) -> None:
    """Both protocols, in bits per masked base; Markov models with the strength fixed at 16."""
    sizes = (len(train), len(test))
    report.bits(
        name,
        "one base masked: exact conditional of Markov-6",
        "bits/masked",
        MarkovModel(6, 16.0).fit(train).masked_bits(test),
        1.8215,
        0.003,
        sizes=sizes,
        note="protocol (a): all other bases visible; never beside causal bits",
    )
    report.bits(
        name,
        "one base masked: two-sided back-off (6, 6)",
        "bits/masked",
        TwoSidedBackoff(6).fit(train, valid).masked_bits(test),
        1.836,
        0.003,
        sizes=sizes,
        note="protocol (a); strength tuned on valid",
    )
    mask = masked_mask(len(test), 0.15, SEED)
    model = MarkovModel(5, 16.0).fit(train)
    report.bits(
        name,
        "15 % masked: Markov-5, forward-backward",
        "bits/masked",
        model.masked_bits(test, mask),
        1.893,
        0.0,
        bound="at most",
        sizes=sizes,
        note="protocol (b): independent masks; exact (checked against "
        "enumeration), and so below the earlier number",
    )
    report.bits(
        name,
        "15 % masked: Markov-5, contexts end at masked bases",
        "bits/masked",
        cut_at_masked_bases(model, test, mask),
        1.893,
        0.003,
        sizes=sizes,
        note="protocol (b): no sum over the masked neighbours; this definition was found by trying, so the "
        "agreement is no evidence",
    )
    report.bits(
        name,
        "15 % masked: two-sided back-off (6, 6)",
        "bits/masked",
        TwoSidedBackoff(6).fit(train, valid).masked_bits(test, mask),
        sizes=sizes,
        note="protocol (b); strength tuned on valid; 1.897 was measured earlier, under another mask",
    )
    # Long words tell much about masked bases, once they are smoothed strongly. Order and strength are chosen on valid,
    # outside the repeats that stand in train: valid holds three times as many of them as test.
    valid_mask = masked_mask(len(valid), 0.15, SEED)
    unique = ~shared_kmer_mask(valid, train)
    best: dict[str, tuple[float, int, float]] = {}
    for order, strength in itertools.product((6, 8, 10, 12), (128.0, 256.0, 512.0)):
        model = MarkovModel(order, strength).fit(train)
        for protocol, hidden in (("a", None), ("b", valid_mask)):
            trial = (float(np.nanmean(model.masked_bits(valid, hidden)[unique])), order, strength)
            best[protocol] = min(best.get(protocol, trial), trial)
    for protocol, hidden, what in (
        ("a", None, "one base masked: best exact conditional"),
        ("b", mask, "15 % masked: best forward-backward"),
    ):
        _, order, strength = best[protocol]
        report.bits(
            name,
            f"{what} (order {order})",
            "bits/masked",
            MarkovModel(order, strength).fit(train).masked_bits(test, hidden),
            sizes=sizes,
            note=f"protocol ({protocol}); order and strength ({strength:g}) tuned on valid under this protocol, "
            "outside repeats of train",
        )


def cut_at_masked_bases(model: MarkovModel, test: str, mask: np.ndarray) -> np.ndarray:
    """(L,) bits of masked bases where a context ends at the next masked base, as if an N stood there."""
    letters, places = np.array(list(test)), np.flatnonzero(mask)
    number, bits = np.arange(len(places)), np.full(len(test), np.nan)
    for group in range(2 * model.order + 2):  # bases of a group are too far apart to see each other
        mine = number % (2 * model.order + 2) == group
        text = letters.copy()
        text[places[~mine]] = "N"
        bits[places[mine]] = model.masked_bits("".join(text))[places[mine]]
    return bits


def species(report: Report) -> None:
    table = load_data("species-panel")
    train, test = table.split("train"), table.split("test")
    sizes = (len(train), len(test))
    gc, gc_test = gc_share(train.sequences), gc_share(test.sequences)
    model = QuadraticDiscriminantAnalysis().fit(gc, train.labels)
    report.score(
        "species-panel",
        "GC content (one Gaussian a species)",
        "accuracy",
        test.labels,
        model.predict(gc_test),
        sizes=sizes,
        note="chance 0.1",
    )
    scores = logistic(kmer_counts(train.sequences, 4), train.labels, kmer_counts(test.sequences, 4), 0.01)
    report.score(
        "species-panel",
        "4-mer logistic",
        "accuracy",
        test.labels,
        scores.argmax(axis=1),
        sizes=sizes,
        note="C = 0.01",
    )


FLANK = 100  # bases on either side whose 3-mers are counted, apart for the two sides


def flanks(table: SequenceTable, site: str) -> np.ndarray:
    """(N, 128) 3-mer counts of the bases before and after the stretch the PWM reads."""
    a, b = PWM_SPAN[site]
    middle = len(table.sequences[0]) // 2
    left = [s[middle - FLANK : a] for s in table.sequences]
    right = [s[b : middle + FLANK] for s in table.sequences]
    return np.hstack([kmer_counts(left, 3), kmer_counts(right, 3)])


def splice_sites(report: Report) -> None:
    table = load_data("human-splice-sites")
    name = "human-splice-sites"
    for site, at, motif in (("donor", 200, "GT"), ("acceptor", 198, "AG")):
        real = table.where(table.frame["kind"] == site)
        reads = np.array([s[at : at + 2] == motif for s in real.sequences])
        report.score(
            name,
            f"{site}s that read {motif}",
            "share",
            reads,
            reads,
            0.99,
            0.01,
            groups=real.frame["gene"],
            sizes=(0, len(real)),
        )
        mine = table.where(table.frame["site"] == site)
        a, b = PWM_SPAN[site]
        pwm = fit_pwm([s[a:b] for s in real.split("train").sequences])
        for decoy in ("random_decoy", "matched_decoy"):
            task = mine.where(mine.frame["kind"].isin([site, decoy]))
            train, test = task.split("train"), task.split("test")
            sizes = (len(train), len(test))
            pwm_train, pwm_test = (
                score_pwm(pwm, [s[a:b] for s in t.sequences])[:, None] for t in (train, test)
            )
            flank_train, flank_test = flanks(train, site), flanks(test, site)
            both = logistic(
                np.hstack([flank_train, pwm_train]), train.labels, np.hstack([flank_test, pwm_test]), 0.1
            )
            y, genes = test.labels, test.frame["gene"]
            how = f"3-mers of {FLANK} bases on either side, logistic, C = 0.1"
            if decoy == "random_decoy":
                one, hundred = (0.982, 0.575) if site == "donor" else (0.974, 0.456)
                report.score(name, f"{site} / random: PWM", "AUROC", y, pwm_test, groups=genes, sizes=sizes)
                report.score(
                    name,
                    f"{site} / random: PWM + 3-mers",
                    "AUPRC",
                    y,
                    both,
                    one,
                    0.02,
                    groups=genes,
                    sizes=sizes,
                    note=how + "; 1:1",
                )
                for odds, value in ((100, hundred), (300, None)):
                    report.score(
                        name,
                        f"{site} / random: PWM + 3-mers, 1:{odds}",
                        "AUPRC",
                        y,
                        both,
                        value,
                        0.15,
                        groups=genes,
                        options={"prevalence": 1 / (odds + 1)},
                        sizes=sizes,
                        note="decoys weighted; rests on the few decoys that score highest, and on which "
                        "genes are tested, hence the wide tolerance",
                    )
            else:
                known = site == "donor"
                report.score(
                    name,
                    f"{site} / matched: PWM",
                    "AUROC",
                    y,
                    pwm_test,
                    0.625 if known else None,
                    0.0,
                    groups=genes,
                    bound="at most",
                    sizes=sizes,
                    note="0.5 is a perfect match"
                    + ("; the earlier 0.625 was on other decoys" if known else ""),
                )
                for what, score, value in (
                    ("3-mers", logistic(flank_train, train.labels, flank_test, 0.1), 0.839),
                    ("PWM + 3-mers", both, 0.851),
                ):
                    report.score(
                        name,
                        f"{site} / matched: {what}",
                        "AUROC",
                        y,
                        score,
                        value if known else None,
                        0.03,
                        groups=genes,
                        sizes=sizes,
                        note=how,
                    )


def human_promoters(report: Report) -> None:
    table = load_data("human-promoters")
    for kind, gc_expected in (("random", 0.92), ("gc_matched", None)):
        task = table.where(table.frame["kind"].isin(["promoter", kind]))
        train, test = task.split("train"), task.split("test")
        sizes = (len(train), len(test))
        gc = gc_share(task.sequences)
        report.score(
            "human-promoters",
            f"{kind} negatives: GC content, all rows",
            "AUROC",
            task.labels,
            gc,
            gc_expected,
            0.03,
            groups=task.frame["gene"],
            sizes=(0, len(task)),
            note="nothing is fitted, so all rows can be used",
        )
        report.score(
            "human-promoters",
            f"{kind} negatives: GC content",
            "AUROC",
            test.labels,
            gc_share(test.sequences),
            groups=test.frame["gene"],
            sizes=sizes,
        )
        for k in (3, 4):
            scores = logistic(
                kmer_counts(train.sequences, k), train.labels, kmer_counts(test.sequences, k), 0.001
            )
            report.score(
                "human-promoters",
                f"{kind} negatives: {k}-mer logistic",
                "AUROC",
                test.labels,
                scores,
                groups=test.frame["gene"],
                sizes=sizes,
                note="C = 0.001",
            )


def fly_promoters(report: Report) -> None:
    expected = {True: {4: 0.816, 5: 0.831, 6: 0.840}, False: {4: 0.778, 5: 0.794, 6: 0.801}}
    for cleaned in (True, False):
        table = load_data("fly-promoters", cleaned=cleaned)
        train, test = table.split("train"), table.split("test")
        form = "cleaned" if cleaned else "as-is"
        sizes = (len(train), len(test))
        report.score(
            "fly-promoters",
            f"{form}: GC content",
            "AUROC",
            test.labels,
            -gc_share(test.sequences),
            groups=test.frame["locus"],
            sizes=sizes,
            note="less GC counts as promoter",
        )
        for k in (4, 5, 6):
            x, x_test = kmer_counts(train.sequences, k), kmer_counts(test.sequences, k)
            scores = logistic(x, train.labels, x_test, 0.001)
            report.score(
                "fly-promoters",
                f"{form}: {k}-mer logistic",
                "AUROC",
                test.labels,
                scores,
                expected[cleaned][k],
                0.01,
                groups=test.frame["locus"],
                sizes=sizes,
                note="standardised counts, C = 0.001",
            )


def lac(report: Report) -> None:
    table = load_data("lac-mpra")
    train, test = table.split("train"), table.split("test")
    sizes = (len(train), len(test))
    model = LinearRegression().fit(one_hot_places(train.sequences).astype(float), train.labels)
    guess = model.predict(one_hot_places(test.sequences))
    report.score(
        "lac-mpra",
        "additive (one weight a base and position)",
        "R2",
        test.labels,
        guess,
        0.301,
        0.003,
        sizes=sizes,
        note="no noise ceiling can be estimated: most variants have one read",
    )
    report.score(
        "lac-mpra",
        "minus the number of mutations",
        "Spearman",
        test.labels,
        -test.frame["mutations"],
        0.185,
        0.003,
        sizes=(0, len(test)),
        note="zero-shot: nothing is fitted",
    )


def splice_mpra(report: Report) -> None:
    table = load_data("splice-mpra")
    frame = table.frame
    both = frame.dropna(subset=["y_replicate"])
    report.score(
        "splice-mpra",
        "replicates agree: Pearson r",
        "r",
        both["y"],
        both["y_replicate"],
        0.795,
        0.003,
        sizes=(0, len(both)),
        note="a ceiling of about this, if both are equally noisy",
    )
    for site in ("GT", "GC"):
        part = both[both["site"] == site]
        report.score(
            "splice-mpra",
            f"replicates agree, {site} sites: Pearson r",
            "r",
            part["y"],
            part["y_replicate"],
            sizes=(0, len(part)),
        )
    single = one_hot_places(table.sequences).astype(float)
    a, b = np.triu_indices(single.shape[1], 1)
    pairs = np.hstack([single, single[:, a] * single[:, b]])
    pairs = pairs[:, pairs.std(axis=0) > 0]
    y = table.labels
    for by, known in (("split", True), ("split_block", False)):
        train, test = (frame[by] == "train").to_numpy(), (frame[by] == "test").to_numpy()
        sizes = (int(train.sum()), int(test.sum()))
        which = "supplied split" if known else "block split"
        guess = LinearRegression().fit(single[train], y[train]).predict(single[test])
        report.score(
            "splice-mpra",
            f"{which}: additive",
            "R2",
            y[test],
            guess,
            0.190 if known else None,
            0.003,
            sizes=sizes,
        )
        guess = Ridge(1.0).fit(pairs[train], y[train]).predict(pairs[test])
        report.score(
            "splice-mpra",
            f"{which}: pairwise ridge",
            "R2",
            y[test],
            guess,
            0.476 if known else None,
            0.003,
            sizes=sizes,
            note="alpha = 1",
        )
        for site in ("GT", "GC") if known else ():
            here = (frame["site"][test] == site).to_numpy()
            report.score(
                "splice-mpra",
                f"{which}: pairwise ridge, {site} sites",
                "Pearson r",
                y[test][here],
                guess[here],
                sizes=(sizes[0], int(here.sum())),
            )
    human = load_data("human-splice-sites").split("train")
    start, stop = PWM_SPAN["donor"]
    pwm = fit_pwm([s[start:stop] for s in human.where(human.frame["kind"] == "donor").sequences])
    score = score_pwm(pwm, table.sequences)
    report.score(
        "splice-mpra",
        "human donor PWM, all sites",
        "Spearman",
        y,
        score,
        0.18,
        0.015,
        sizes=(0, len(table)),
        note="zero-shot: fitted on training donors of human-splice-sites",
    )
    gt = (frame["site"] == "GT").to_numpy()
    report.score(
        "splice-mpra",
        "human donor PWM, GT sites",
        "Spearman",
        y[gt],
        score[gt],
        0.33,
        0.015,
        sizes=(0, int(gt.sum())),
        note="zero-shot",
    )


def arabidopsis(report: Report) -> None:
    name = "arabidopsis-expression"
    table = load_data(name)
    frame, y, seqs = table.frame, table.labels, table.sequences
    train, test = ((frame["split"] == part).to_numpy() for part in ("train", "test"))
    sizes = (int(train.sum()), int(test.sum()))
    joined = frame[["y", "y_6866"]]
    report.score(
        name,
        "the two experiments agree: Spearman",
        "Spearman",
        joined["y_6866"],
        joined["y"],
        sizes=(0, len(frame)),
    )
    report.score(
        name,
        "gene length alone",
        "Spearman",
        y[test],
        frame["length"][test],
        0.270,
        0.005,
        sizes=(0, sizes[1]),
        note="longer genes have higher y",
    )
    upstream, transcribed = [s[:1000] for s in seqs], [s[1000:] for s in seqs]
    edges = np.linspace(0, 1500, 8).astype(int)
    bins = np.hstack([kmer_counts([s[a:b] for s in seqs], 3) for a, b in itertools.pairwise(edges)])
    up, down = kmer_counts(upstream, 4), kmer_counts(transcribed, 4)
    guesses = {}
    for what, x, value in (
        ("upstream 1 kb, 4-mer ridge", up, 0.131),
        ("first 500 transcribed bases, 4-mer ridge", down, 0.483),
        ("both, 4-mer ridge", np.hstack([up, down]), 0.455),
        ("3-mers in 7 position bins, ridge", bins, 0.512),
    ):
        guesses[what] = ridge_tuned(x, y, train)
        report.score(
            name,
            what,
            "Spearman",
            y[test],
            guesses[what][test],
            value,
            0.02,
            sizes=sizes,
            note="strength by leave-one-out on train",
        )
    guess = guesses["3-mers in 7 position bins, ridge"]
    report.score(
        name,
        "test genes with a training paralog",
        "share",
        frame["paralog"][test],
        frame["paralog"][test],
        0.32,
        0.005,
        sizes=(0, sizes[1]),
    )
    for flag, group in ((1, "with a training paralog"), (0, "without")):
        rows = test & (frame["paralog"] == flag).to_numpy()
        report.score(
            name,
            f"3-mers in 7 bins, genes {group}",
            "Spearman",
            y[rows],
            guess[rows],
            sizes=(sizes[0], int(rows.sum())),
        )


def yeast_ars(report: Report) -> None:
    name = "yeast-ars"
    table = load_data(name)
    x, y = one_hot_places(table.sequences), table.labels
    for by, which in (("split", "random split"), ("split_block", "block split")):
        train, test = (table.frame[by] == "train").to_numpy(), (table.frame[by] == "test").to_numpy()
        sizes, groups = (int(train.sum()), int(test.sum())), table.frame["group"][test]
        fewer = -table.frame["mutations"][test]
        report.score(
            name,
            f"{which}: minus the number of mutations",
            "AUROC",
            y[test],
            fewer,
            groups=groups,
            sizes=(0, sizes[1]),
            note="zero-shot: nothing is fitted",
        )
        report.score(
            name,
            f"{which}: additive logistic (one weight a base and position)",
            "AUROC",
            y[test],
            logistic(x[train], y[train], x[test], 0.01),
            groups=groups,
            sizes=sizes,
            note="standardised, C = 0.01",
        )


LINKED = 20_000  # bases: variants nearer than that are resampled together


def thousand_genomes(report: Report) -> None:
    """Common (AF above 5 %) against rare (below 1 %) single-base variants: what is known without any model."""
    name = "thousand-genomes-chr20"
    table = load_data(name)
    frame = table.frame
    frame = frame[(frame["kind"] == "snv") & ((frame["af"] > 0.05) | (frame["af"] < 0.01))]
    common = (frame["af"] > 0.05).to_numpy()
    context = [table.sequence[i - 1 : i + 2] for i in frame["start"]]
    cpg = np.array(
        [
            (c[1:] == "CG" and alt == "T") or (c[:2] == "CG" and alt == "A")
            for c, alt in zip(context, frame["alt"], strict=True)
        ]
    )
    kinds = pd.get_dummies(pd.Series(context) + ">" + frame["alt"].to_numpy()).to_numpy(dtype=np.float32)
    train, test = ((frame["split"] == part).to_numpy() for part in ("train", "test"))
    sizes, blocks = (int(train.sum()), int(test.sum())), frame["position"][test] // LINKED
    for what, score, fitted, note in (
        ("position", frame["position"][test], False, "nothing is fitted: further along counts as common"),
        ("not a CpG transition", ~cpg[test], False, "nothing is fitted"),
        (
            "trinucleotide and alternative",
            logistic(kinds[train], common[train], kinds[test], 0.01),
            True,
            "logistic, standardised, C = 0.01",
        ),
    ):
        report.score(
            name,
            f"common against rare SNVs: {what}",
            "AUROC",
            common[test],
            score,
            groups=blocks,
            sizes=sizes if fitted else (0, sizes[1]),
            note=note,
        )


TABLES = {
    "ecoli-k12": genomes,
    "human-chr20": genomes,
    "species-panel": species,
    "human-splice-sites": splice_sites,
    "human-promoters": human_promoters,
    "fly-promoters": fly_promoters,
    "lac-mpra": lac,
    "splice-mpra": splice_mpra,
    "arabidopsis-expression": arabidopsis,
    "yeast-ars": yeast_ars,
    "thousand-genomes-chr20": thousand_genomes,
}


def main(names: list[str]) -> int:
    """Compute all, or the named tables; exit code 1 when a number lies outside its tolerance, 2 for a wrong name."""
    if unknown := [name for name in names if name not in TABLES]:
        print(
            f"there is no table {unknown[0]!r} with baselines; there are {', '.join(TABLES)}", file=sys.stderr
        )
        return 2
    warnings.simplefilter("error", RuntimeWarning)
    report, path = Report(), DATA / "baselines.json"
    started = time.perf_counter()
    for name in names or TABLES:
        TABLES[name](report, name) if TABLES[name] is genomes else TABLES[name](report)
    rows = [{**asdict(row), "ok": row.ok} for row in report.rows]
    if names:
        others = json.loads(path.read_text(encoding="utf-8"))["baselines"]
        rows += [row for row in others if row["table"] not in names]
        rows.sort(key=lambda row: [*TABLES].index(row["table"]))
    result = {"seed": SEED, "baselines": rows}
    write(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    manifest = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))
    write(DATA / "README.md", readme_text(manifest, result))
    outside = [row for row in report.rows if not row.ok]
    print(
        f"{len(report.rows)} numbers, {len(outside)} outside tolerance, {time.perf_counter() - started:.0f} s"
    )
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
