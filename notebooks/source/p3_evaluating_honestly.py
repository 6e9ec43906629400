# %% [markdown]
# # p3 · Evaluating honestly: when may I believe a score?
#
# **The question.** A paper reports AUROC 0.95 on promoters. It may have found how promoters are written. It may also have found GC content, or copies of its own training data. With models so simple that we can see through them, we learn to tell.
#
# **You will be able to**
# - compute bits, AUROC and AUPRC by hand, and say what each is blind to;
# - show how negatives, splits and duplicates make a score, with the same model throughout;
# - put an interval on any score by resampling what is independent, and compare two models on the same items;
# - ask of a published number what has to be asked.
#
# | your time | run time | needs |
# |---|---|---|
# | about 55 minutes | under 60 seconds on 2 cores, under 2 GB | p1 and p2, or their placement quizzes |
#
# New words: [glossary](../docs/glossary.md).

# %% tags=["setup", "nbval-ignore-output"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from gfm_lab import __version__, checks, load_data, plots
from gfm_lab.metrics import accuracy, auprc, auroc, calibration, mcc, paired, with_interval
from gfm_lab.sequence_baselines import baseline_table
from gfm_lab.sequence_columns import gc_share, kmer_counts
from gfm_lab.splits import leaks, split_by

plots.use_style()
threadpool_limits(1)  # sums in one order, so that the same numbers come back
check = checks.start("p3_evaluating_honestly")
print("gfm-lab", __version__)

# %% [markdown]
# ## The idea: a score is an answer to a question
#
# A number such as 0.95 belongs to a model *and* to a test. The test is four decisions, and each of them can make a poor model look good:
#
# 1. **Against what?** Negatives that differ in something easy make the task easy.
# 2. **Held out how?** Test items that have relatives in training can be remembered instead of understood.
# 3. **How many times?** A sequence that occurs twice may stand on both sides of the split.
# 4. **How sure?** A thousand items that come from a hundred genes are a hundred pieces of evidence.
#
# We need a model first. Ours counts words: how often each of the 256 4-mers occurs in a sequence, and one weight for each (logistic regression). It learns to tell 300 bases before a fly gene's start from 300 bases further upstream.

# %%
fly = load_data("fly-promoters").frame
print(fly.groupby(["split", "kind"]).size().unstack())
fly[["chrom", "strand", "label", "locus", "sequence"]].head(3)


# %%
def fit_and_score(train, test, k=4, strength=0.001):
    """P(promoter) of the test rows by a logistic regression on k-mer counts of the training rows."""
    counts = kmer_counts(train["sequence"].tolist(), k)  # (N, 4**k)
    mean, spread = counts.mean(axis=0), counts.std(axis=0) + 1e-6
    model = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    model.fit((counts - mean) / spread, train["label"])
    unseen = kmer_counts(test["sequence"].tolist(), k)
    return model.predict_proba((unseen - mean) / spread)[:, 1]


# %% tags=["nbval-ignore-output"]
train, test = fly[fly["split"] == "train"], fly[fly["split"] == "test"]
labels, p = test["label"].to_numpy(), fit_and_score(train, test)
for i in (0, 1, 2, 3):
    print(test["kind"].iloc[i], f"P(promoter) = {p[i]:.3f}")

# %% [markdown]
# The model was trained on chromosomes 2 and 3 and is tested on X. The strength of its penalty (C = 0.001) was settled before this notebook; we choose nothing on the test rows.
#
# ## Bits by hand
#
# The first measure asks for the probability itself. If the model gave probability q to what came true, its **surprise** is −log₂ q bits: 0 for certainty, 1 for a coin, and without bound for being sure and wrong. As in p2, we average.

# %% tags=["nbval-ignore-output"]
given = np.where(labels == 1, p, 1 - p)  # the probability of what came true
bits = -np.log2(given)
print("first four:", bits[:4].round(2))
print(f"mean {bits.mean():.3f} bits; the worst item {bits.max():.1f} bits; a coin 1 bit")
assert 0.73 < bits.mean() < 0.78

# %% [markdown]
# The floor of ignorance is the **entropy** of the labels: 1 bit for two equally frequent classes. The model takes away about a quarter of it. Bits reward *honest* probabilities: of all windows that were given 70 %, do 70 % come true? A **calibration** table shows it, bin by bin.

# %% tags=["nbval-ignore-output"]
honest = calibration(labels, p, bins=5)
assert honest.error < 0.05
print(f"expected calibration error {honest.error:.3f}")
honest.table.round(2)

# %% [markdown]
# *Predicted* and *observed* agree to a few hundredths. (Always saying "50 %" would agree as well, so this never stands alone.) The scores that follow look at ranks only: had we squared every probability, they would stay, and the calibration would be gone.
#
# ## AUROC by hand
#
# Sort by score, and ask: **how often does a promoter score above a non-promoter?** That is the AUROC, the area under the receiver operating characteristic. All pairs of a positive and a negative are compared; ties count half.

# %%
some = pd.DataFrame({"label": [1, 0, 1, 1, 0, 0], "score": [0.9, 0.8, 0.7, 0.4, 0.4, 0.1]})
wins = []
for positive in some.loc[some["label"] == 1, "score"]:
    for negative in some.loc[some["label"] == 0, "score"]:
        wins.append(1.0 if positive > negative else 0.5 if positive == negative else 0.0)
print("pairs", wins, f"mean {np.mean(wins):.3f}")
assert np.isclose(np.mean(wins), auroc(some["label"], some["score"]))

# %% [markdown]
# ### Exercise 1 · write AUROC
#
# Pairs are easy to read but slow: 2,032 positives and 2,032 negatives make four million. Write `my_auroc(labels, score)` for numpy arrays, with pairs (numpy compares all of them at once) or with ranks.
#
# <details><summary>Hint 1</summary><code>score[labels == 1][:, None] &gt; score[labels == 0][None, :]</code> is the table of all pairs.</details>
# <details><summary>Hint 2</summary>Add half of the table with <code>==</code> in place of <code>&gt;</code>, then take the mean.</details>


# %% tags=["exercise"]
def my_auroc(labels, score):
    """Share of (positive, negative) pairs in which the positive scores higher; ties count half."""
    # BEGIN SOLUTION
    positive, negative = score[labels == 1][:, None], score[labels == 0][None, :]
    return ((positive > negative) + 0.5 * (positive == negative)).mean()
    # END SOLUTION


check.my_auroc(my_auroc)

# %% [markdown]
# The package has the same. The brackets are a 95 % interval; the last lab shows how it is made.

# %% tags=["nbval-ignore-output"]
print(with_interval("AUROC", labels, p, groups=test["locus"]))
print("guessing:", auroc(labels, np.zeros(len(labels))))
assert abs(auroc(labels, p) - 0.818) < 0.01

# %% [markdown]
# ## AUPRC by hand
#
# AUROC does not know how rare promoters are. Walk down the sorted list instead. At each positive, note the **precision**: the share of positives among everything above. Their mean is the **average precision**, or AUPRC. (For tied scores, precision is taken at the end of the tie.)

# %%
ranked = some.assign(score=[0.9, 0.8, 0.7, 0.5, 0.4, 0.1]).sort_values("score", ascending=False)
ranked["positives so far"] = ranked["label"].cumsum()
ranked["precision"] = ranked["positives so far"] / np.arange(1, len(ranked) + 1)
by_hand = ranked.loc[ranked["label"] == 1, "precision"].mean()
assert np.isclose(by_hand, auprc(ranked["label"], ranked["score"]))
print(ranked.round(2).to_string(index=False), f"\naverage precision {by_hand:.3f}")

# %% tags=["figure", "nbval-ignore-output"]
order = np.argsort(-p)
hits, misses = np.cumsum(labels[order] == 1), np.cumsum(labels[order] == 0)
recall, fallout = hits / hits[-1], misses / misses[-1]
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4))
for value, name in ((1, "promoter"), (0, "upstream")):
    left.hist(p[labels == value], bins=30, alpha=0.6, label=name)
left.set(xlabel="P(promoter)", ylabel="windows", title="two classes, one score")
left.legend()
middle.plot(fallout, recall)
middle.plot([0, 1], [0, 1], linestyle=":", color="grey")
middle.set(xlabel="false positive rate", ylabel="recall", title=f"AUROC {auroc(labels, p):.3f}")
for share in (0.5, 0.1, 0.01):
    precision = recall * share / (recall * share + fallout * (1 - share))
    name = f"prevalence {share:g}: {auprc(labels, p, prevalence=share):.2f}"
    right.plot(recall[20:], precision[20:], label=name)
right.set(xlabel="recall", ylabel="precision", ylim=(0, 1.4), title="AUPRC at three prevalences")
right.set_yticks([0, 0.5, 1])
right.legend(fontsize=9, loc="upper right")
plots.show(
    figure,
    """
    Left: the scores of promoters and upstream windows, two overlapping hills. Middle: recall against
    the false positive rate, a curve above the dotted diagonal of guessing. Right: precision against
    recall if half, a tenth or a hundredth of the windows were promoters: the curve sinks to the floor.
""",
)

# %% [markdown]
# ## A score has a prevalence
#
# Our test holds one negative a positive. A genome does not: it holds many. The curves on the right weight each negative as often as it would occur, which AUPRC allows without new data: `auprc(..., prevalence=...)`.
#
# ### Exercise 2 · predict before you run
#
# A splice-site model has AUROC 0.95. At the threshold where it finds 80 % of the donors, it also takes 5 % of the other GTs for donors. Within genes, one GT in 300 is a donor (299 others for each). Predict (a) its precision in a test with as many donors as others, (b) its precision within genes, (c) its AUROC within genes.
#
# <details><summary>Hint 1</summary>Count: of 300 donors and 300 others, how many are called? Of 1 donor and 299 others?</details>
# <details><summary>Hint 2</summary>AUROC compares one positive with one negative. Does it matter how many of each there are?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_prediction = {"balanced": 0.8 / (0.8 + 0.05), "genes": 0.8 / (0.8 + 0.05 * 299), "auroc": 0.95}
# END SOLUTION
check.prediction(my_prediction)

# %% [markdown]
# Accuracy fares worse: at 1 in 300, *never* saying donor is right 99.7 % of the time. Matthews' correlation (MCC) gives such a model 0.

# %% tags=["nbval-ignore-output"]
rare = np.array([1] + [0] * 299)
never = np.zeros(300, int)
print(f"never: accuracy {accuracy(rare, never):.3f}, MCC {mcc(rare, never):.1f}")
for share in (0.5, 0.01):
    options = {} if share == 0.5 else {"prevalence": share}
    found = with_interval("AUPRC", labels, p, groups=test["locus"], **options)
    print(f"{found}   guessing {share}")
assert 0.04 < found.value < 0.12 and found.name == "AUPRC at 0.01"

# %% [markdown]
# ## Lab 1: against what?
#
# Human promoters are often **CpG islands**: much richer in G and C than the rest of the genome. Our table has two kinds of negatives: windows from random places, and windows matched to each promoter by their share of G and C. We score GC content alone, a model with no parameter at all, and our 4-mers.

# %% tags=["nbval-ignore-output"]
human = load_data("human-promoters").frame
human["gc"] = gc_share(human["sequence"].tolist())[:, 0]
rows = []
for kind in ("random", "gc_matched"):
    task = human[human["kind"].isin(["promoter", kind])]
    seen, held = task[task["split"] == "train"], task[task["split"] == "test"]
    for name, score in (("GC alone", held["gc"]), ("4-mers", fit_and_score(seen, held))):
        found = with_interval("AUROC", held["label"], score, groups=held["gene"])
        rows.append((kind, name, *found[1:]))
negatives = pd.DataFrame(rows, columns=["negatives", "model", "AUROC", "low", "high"])
gc_random, _, gc_matched, words_matched = negatives["AUROC"]
assert gc_random > 0.85 and gc_matched < 0.52 and 0.7 < words_matched < 0.8
negatives.round(3)

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(8, 3.6))
for kind, style in (("promoter", "-"), ("random", "--"), ("gc_matched", ":")):
    part = human.loc[human["kind"] == kind, "gc"]
    height, edges = np.histogram(part, bins=30, range=(0.2, 0.9), density=True)
    axis.plot((edges[1:] + edges[:-1]) / 2, height, style, label=kind, linewidth=2)
axis.set(xlabel="share of G and C in 600 bases", ylabel="density", title="human chr20 and chrX")
axis.legend()
plots.show(
    figure,
    """
    Distributions of GC content. Promoters lie mostly between 0.5 and 0.8; random windows around
    0.4, so that one threshold nearly separates the two; GC-matched windows lie on the promoters.
""",
)

# %% [markdown]
# Against random windows, GC alone scores nearly 0.9, and the 4-mers add little. Against matched windows, GC is worth almost nothing, and what is left is what the words know beyond it. Neither number is wrong. They answer different questions, and the first is "is this GC-rich?".
#
# Negatives can also be *false*. In the raw fly table each negative lies 1,700 to 2,000 bases upstream of a start, and genes are dense there: is it free of other promoters?

# %%
raw = load_data("fly-promoters", cleaned=False).frame
raw = raw[raw["split"] != "other"]
near = raw.loc[raw["label"] == 0, "near_start"] == 1
print(f"{near.mean():.0%} of {len(near):,} negatives lie within 500 bases of another start")

# %% [markdown]
# Cleaning drops these pairs. Which half of the gain comes from cleaner *training*, which from a cleaner *test*? We try all four combinations, each on chromosome X.

# %% tags=["nbval-ignore-output"]
rows = []
for trained, seen in (("raw", raw[raw["split"] == "train"]), ("cleaned", train)):
    for tested, held in (("raw", raw[raw["split"] == "test"]), ("cleaned", test)):
        score = fit_and_score(seen, held)
        found = with_interval("AUROC", held["label"], score, groups=held["locus"])
        rows.append((trained, tested, len(held), *found[1:]))
four = pd.DataFrame(rows, columns=["trained on", "tested on", "rows", "AUROC", "low", "high"])
assert (four["AUROC"][[1, 3]] > four["AUROC"][[0, 2]].max() + 0.025).all()
four.round(3)

# %% [markdown]
# Nearly all of the gain is in the test: the same model meets fewer negatives that are promoters. A higher number, and no better model. So a score on cleaned data may not stand beside one on raw data, even when both say "fly promoters".
#
# ## Lab 2: held out how?
#
# Logistic regression on 4-mers has 257 parameters and can hardly remember 12,000 windows. A large network can. To see what that does, we build a model that does *nothing but remember*: for each test window it finds the training promoter and the training negative that share most 12-mers with it. Its score is the difference.


# %%
def words(sequences, k=12):
    """(N, 4**k) sparse matrix: how often each k-mer stands in each sequence (of one length, ACGT)."""
    letters = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(len(sequences), -1)
    codes = np.searchsorted([65, 67, 71, 84], letters)  # A, C, G, T as 0 to 3
    last = codes.shape[1] - k + 1
    number = sum(codes[:, i : i + last] * 4 ** (k - 1 - i) for i in range(k))  # (N, last)
    place = np.repeat(np.arange(len(number)), last), number.ravel()
    return csr_array((np.ones(number.size, np.float32), place), shape=(len(number), 4**k))


# %%
def remember(table, known, label, seen, held):
    """The most 12-mers shared with a promoter of the training rows, minus the same for negatives."""
    best = {}
    for value in (0, 1):
        rows = np.flatnonzero(seen & (label == value))
        shared = known[held] @ known[rows].T  # (test rows, training rows of one class)
        best[value] = shared.max(axis=1).toarray().ravel()
    return best[1] - best[0]


# %% [markdown]
# Three splits of the same windows of chromosomes 2L and X, all with about half in training: **random** rows, whole **chromosomes**, and **homology**: windows that share a stretch (a fifth of their 16-mers, also through others) stay together. `split_by` makes them.

# %%
two = fly[fly["chrom"].isin(["chr2L", "chrX"])].reset_index(drop=True)
sequences, label = two["sequence"].tolist(), two["label"].to_numpy()
parts = {"train": 0.51, "test": 0.49}  # as many as chromosome 2L has
splits = {
    "random": split_by("random", sequences, fractions=parts, seed=0),
    "chromosome": np.where(two["chrom"] == "chrX", "test", "train"),
    "homology": split_by("homology", sequences, fractions=parts, seed=0),
}
pd.DataFrame(splits).apply(pd.Series.value_counts)


# %%
def both_models(table, splits):
    """AUROC of the two models under each split, intervals by locus."""
    label, known, rows = table["label"].to_numpy(), words(table["sequence"].tolist()), []
    for name, part in splits.items():
        seen, held = part == "train", part == "test"
        guesses = {
            "4-mers": fit_and_score(table[seen], table[held]),
            "memory": remember(table, known, label, seen, held),
        }
        for model, score in guesses.items():
            found = with_interval("AUROC", label[held], score, groups=table["locus"][held])
            rows.append((name, model, *found[1:]))
    return pd.DataFrame(rows, columns=["split", "model", "AUROC", "low", "high"])


# %% tags=["nbval-ignore-output"]
by_split = both_models(two, splits)
memory = by_split.loc[by_split["model"] == "memory", "AUROC"].to_numpy()
assert memory[0] > memory[1:].max() + 0.04 and np.ptp(by_split["AUROC"][::2]) < 0.02
by_split.round(3)

# %% [markdown]
# The 4-mers do not care: they have too few parameters to remember anything. The memory model has 0.64 under random rows, because fly genes often have several starts and the windows before them overlap; under chromosomes and homology it has little more than a coin. **A small model cannot show the leak of a split; a large one can live on it.** So we judge large models by the strictest split that the question allows.
#
# ## Lab 3: how many times?
#
# Annotations repeat themselves. The source of this table has a record for each *transcript*, and transcripts share starts: 26,454 records hold 17,286 distinct sequences. Our table keeps one each and counts the `records`. Here they are again, all of them, as they would come from a file that nobody has looked at.

# %%
copies = two.loc[np.repeat(two.index, two["records"])].reset_index(drop=True)
rng = np.random.default_rng(0)
careless = np.where(rng.random(len(copies)) < 0.51, "train", "test")
found = leaks(copies["sequence"].tolist(), careless)
leaked = found.loc[found["split"] == "test", "row"].nunique()
print(f"{len(copies):,} rows of {len(two):,} sequences")
print(
    f"{leaked / (careless == 'test').sum():.0%} of the random test rows stand in training as well"
)

# %% tags=["nbval-ignore-output"]
by_copy = both_models(
    copies,
    {
        "random rows": careless,
        "equal DNA together": split_by("random", copies["sequence"].tolist(), fractions=parts),
        "chromosome": np.where(copies["chrom"] == "chrX", "test", "train"),
    },
)
assert by_copy["AUROC"][1] > by_copy["AUROC"][0] + 0.02 and by_copy["AUROC"][5] < 0.6
by_copy.round(3)

# %% tags=["figure", "nbval-ignore-output"]
both = pd.concat([by_split.assign(rows="each sequence once"), by_copy.assign(rows="all records")])
both = both.reset_index(drop=True)
figure, axis = plt.subplots(figsize=(9, 4.2))
for offset, (model, color) in zip((-0.12, 0.12), (("4-mers", "#0072B2"), ("memory", "#D55E00"))):
    part = both[both["model"] == model].reset_index(drop=True)
    error = np.abs(part[["low", "high"]].to_numpy().T - part["AUROC"].to_numpy())
    place = np.arange(len(part))[::-1] + offset
    axis.errorbar(part["AUROC"], place, xerr=error, fmt="o", color=color, label=model, capsize=3)
axis.set_yticks(np.arange(len(part))[::-1], part["rows"] + ", " + part["split"])
axis.axvline(0.5, color="grey", linestyle=":")
axis.set(xlabel="AUROC, 95 % by locus", title="one task, two models, six ways to split")
axis.legend()
plots.show(
    figure,
    """
    AUROC with intervals for six ways to split the fly windows. The 4-mer model stays near 0.8 in all.
    The memory model lies near 0.57 under chromosomes, at 0.64 for random rows of distinct
    sequences, and near 0.88 for random rows of all records, where it beats the 4-mers.
""",
)

# %% [markdown]
# With careless rows a model that understands nothing beats the honest one. (The 4-mers move a little too: starts with many records now count more often.) This is a common way to publish a wrong number, and an easy one to prevent: search for copies *before* splitting, on both strands, as `leaks` does. `near_leaks` finds copies with mutations as well; its report for all tables of this course stands in `data/README.md`.
#
# ## Lab 4: how sure?
#
# Our test rows are a sample. Another sample would have given another number. The **bootstrap** imitates that: draw as many items as there are, *with replacement*, score them, and repeat. The middle 95 % of the scores are the interval.

# %% tags=["nbval-ignore-output"]
part = splits["chromosome"]
held = two[part == "test"]
label, score = held["label"].to_numpy(), fit_and_score(two[part == "train"], held)
rng, values = np.random.default_rng(0), []
for _ in range(500):
    drawn = rng.integers(0, len(label), len(label))
    values.append(auroc(label[drawn], score[drawn]))
low, high = np.quantile(values, [0.025, 0.975])
print(f"AUROC {auroc(label, score):.3f} [{low:.3f}, {high:.3f}], items")
assert np.allclose(with_interval("AUROC", label, score, resamples=500)[2:], (low, high))

# %% [markdown]
# This treats each row as new evidence. It is not: starts of one gene overlap, a promoter and its upstream window come from one place, and in the table of all records, copies are copies. What is independent is the **locus**, a stretch of genome, so whole loci are drawn, with all of their rows. On the full records, the difference shows.

# %% tags=["nbval-ignore-output"]
many = copies[copies["chrom"] == "chrX"]
label_many = many["label"].to_numpy()
score_many = fit_and_score(copies[copies["chrom"] == "chr2L"], many)
for name, groups in (("items", None), ("loci", many["locus"])):
    found = with_interval("AUROC", label_many, score_many, groups=groups)
    print(f"{name:6s}{found}, width {found.high - found.low:.3f}")
print(f"{len(many):,} rows, {many['locus'].nunique():,} loci")
assert found.high - found.low > 0.025  # loci; items: 0.021

# %% [markdown]
# ### Exercise 3 · a bug to find
#
# A colleague's bootstrap over loci. It runs, and its interval has no width at all. That is the first mistake; there are two more.


# %%
def broken_interval(labels, score, loci, resamples=500, seed=0):
    rng, values = np.random.default_rng(seed), []
    names = np.unique(loci)
    for _ in range(resamples):
        drawn = rng.choice(names, len(names), replace=False)
        rows = np.isin(loci, drawn)
        values.append(auroc(labels[rows], score[rows]))
    return min(values), max(values)


# %% tags=["nbval-ignore-output"]
loci_many = many["locus"].to_numpy()
print("{:.3f} to {:.3f}".format(*broken_interval(label_many, score_many, loci_many, resamples=3)))

# %% [markdown]
# Write it right, with the same arguments.
#
# <details><summary>Hint 1</summary>If a locus is drawn twice, how often are its rows in <code>np.isin(loci, drawn)</code>?</details>
# <details><summary>Hint 2</summary>Collect the rows of each locus once, <code>[np.flatnonzero(loci == name) for name in names]</code>; in each round, <code>np.concatenate</code> those that were drawn. What do min and max do as resamples grow?</details>


# %% tags=["exercise"]
def my_interval(labels, score, loci, resamples=500, seed=0):
    """The interval (low, high) that holds 95 % of the AUROCs of loci drawn with replacement."""
    # BEGIN SOLUTION
    rng, values = np.random.default_rng(seed), []
    rows_of = [np.flatnonzero(loci == name) for name in np.unique(loci)]
    for _ in range(resamples):
        drawn = rng.integers(0, len(rows_of), len(rows_of))
        rows = np.concatenate([rows_of[i] for i in drawn])
        values.append(auroc(labels[rows], score[rows]))
    return np.quantile(values, [0.025, 0.975])
    # END SOLUTION


check.my_interval(my_interval)

# %% [markdown]
# ### Two models, the same items
#
# Are 5-mers better than 4-mers? Their intervals overlap. But both were scored on the same windows, and what makes a window hard is hard for both. A **paired** bootstrap scores both models in each resample and looks at the *difference*.

# %% tags=["nbval-ignore-output"]
five = fit_and_score(train, test, k=5)
for name, guess in (("4-mers", p), ("5-mers", five)):
    print(name, with_interval("AUROC", labels, guess, groups=test["locus"]))
difference = paired("AUROC", labels, five, p, groups=test["locus"])
print("5-mers minus 4-mers", difference)
assert 0.01 < difference.value < 0.03 and difference.low > 0

# %% [markdown]
# The interval of the difference leaves 0 out: overlapping intervals were no reason to call the models equal. The p value is that of *one* comparison. Whoever tries twenty models and reports the best has to say twenty, and whoever chose k by looking at these numbers has used up this test set.
#
# All of this in one call: `baseline_table` fits every baseline that suits a data set, makes each choice on the *valid* rows alone, and scores them on test with intervals. Any model we train later has to stand beside such a table.

# %% tags=["nbval-ignore-output"]
matched = human[human["kind"] != "random"]
pairs = [matched[matched["split"] == name] for name in ("train", "valid", "test")]
table = baseline_table(
    *((part["sequence"].tolist(), part["label"].to_numpy()) for part in pairs),
    task="classification",
    groups=pairs[2]["gene"],
    baselines=["GC content", "k-mers", "k-mers in position bins"],
)
assert table["value"][0] == 0.5 and table["value"][4] > table["value"][2] > 0.65
table.round(3)

# %% [markdown]
# Counting words in a few stretches of the window beats counting them anywhere: *where* a word stands matters at a start. The validation scores in the last column are higher: the valid rows chose the settings, and they come from another part of the genome. Only test is reported.
#
# ### Exercise 4 · interpret
#
# From an abstract (invented, but not by much): "Our 100 M-parameter model predicts promoters with AUROC 0.97 ± 0.002 (five seeds) on 10,000 sequences, half promoters of all annotated transcripts and half random genomic windows, split 80/20 at random." In four or five sentences: what might the number mean, and what would you ask for?
#
# <details><summary>Hint 1</summary>Go through the four questions at the top of this notebook, one after the other.</details>
# <details><summary>Hint 2</summary>What do five seeds vary? Which model without parameters should stand beside it?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_judgement = """Random windows differ from promoters in GC content, so GC alone and a k-mer model belong beside
it, on matched negatives too. Transcripts share starts, so copies and overlaps cross a random split: search them and
hold out chromosomes or families. Five seeds vary the training, not the test: resample loci instead. And at 1:1 the
number says nothing of a genome; I would ask for AUPRC at the natural share of promoters."""
# END SOLUTION
check.judgement(my_judgement)

# %% [markdown]
# ## Take-aways
#
# - A score belongs to a model *and* a test: negatives, split, duplicates, independent units.
# - AUROC is blind to prevalence, AUPRC is not, bits ask for honest probabilities. Each stands beside its floor: 0.5, the prevalence, the entropy.
# - The easiest difference between positives and negatives is what a model learns first. Score it alone.
# - Cleaning a test raises the score of the same model. Never compare across tests.
# - A random split rewards memory; small models do not show it, large ones do.
# - Resample what is independent; compare models paired, on the same items.
#
# From here on, every score in this course carries its baseline and its interval.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "daadba"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are
#
# We judged what comes out of site 4, the head. The sites in front of it begin with notebook 00.

# %% tags=["figure"]
plots.show(
    plots.anatomy(4, {4: "classify"}),
    """
    The five sites of a genomic model, from tokenizer to objective. Number 4, the head, is filled
    in: its answers are what this notebook scored.
""",
)

# %% [markdown]
# ## Further reading
#
# - Whalen, Schreiber, Noble and Pollard (2022), pitfalls of machine learning in genomics: dependent examples, confounding, leakage. [doi:10.1038/s41576-021-00434-9](https://doi.org/10.1038/s41576-021-00434-9)
# - Saito and Rehmsmeier (2015), precision and recall where positives are rare. [doi:10.1371/journal.pone.0118432](https://doi.org/10.1371/journal.pone.0118432)
# - Efron (1979), the bootstrap. [doi:10.1214/aos/1176344552](https://doi.org/10.1214/aos/1176344552)
# - Kapoor and Narayanan (2023), leakage across seventeen fields. [doi:10.1016/j.patter.2023.100804](https://doi.org/10.1016/j.patter.2023.100804)
#
# Next: notebook 01, what a model sees of DNA.
