# %% [markdown]
# # 13 · Practical design: write DNA that does something
#
# **The question.** A model that has learned what DNA does can be asked the other way round: which DNA does what I want? It always has an answer. How do we search for one, and how do we find out, before we pay for synthesis, whether we found a better promoter or only an error of our model?
#
# **You will be able to**
# - show how a search fools the predictor it climbs, and why that predictor's own score is no result;
# - set up a judge: other items, another architecture, and know what it cannot see;
# - write DNA on demand with a control token, and judge it from outside;
# - design promoters and replication origins by genetic search, Metropolis sampling and gradients, within a stated distance of the wild type;
# - report designs beside random mutants, the best training items and a design by hand;
# - plan the plate that a wet lab would measure.
#
# | your time | run time | needs |
# |---|---|---|
# | about 85 minutes | under 90 seconds on 2 cores, under 2 GB | notebooks p3, 08 and 10 |
#
# New words: [glossary](../docs/glossary.md).

# %% tags=["setup", "nbval-ignore-output"]
import time
from functools import partial
from importlib.metadata import version

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from gfm_lab import checks, load_data, load_model, plots, reverse_complement
from gfm_lab.design import distances, guided_design, log_likelihood, log_odds, random_mutants
from gfm_lab.metrics import with_interval
from gfm_lab.predictors import train_predictor

plots.use_style()
torch.set_num_threads(1)
check = checks.start("13_practical_design")
for package in ("gfm-lab", "torch"):
    print(f"{package:14s}{version(package)}")

# %% [markdown]
# ## The idea: a search with somebody outside
#
# There are two ways to write. We can **sample**: a language model draws DNA of a kind it has seen, and a control token names the kind. Or we can **climb**: a predictor, the *oracle*, scores a sequence, and a search changes letters until the score is high. The second can aim at something nobody has seen yet. That is its strength, and its danger.

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(12, 3.1))
boxes = {
    "wild type": (0, plots.FAINT),
    "search": (2.6, plots.PALETTE[0]),
    "designs": (5.2, plots.FAINT),
    "judge": (7.8, plots.PALETTE[1]),
    "laboratory": (10.4, plots.PALETTE[2]),
}
for name, (x, color) in boxes.items():
    axis.add_patch(plt.Rectangle((x, 0), 1.7, 0.9, facecolor=color, edgecolor=plots.INK))
    ink = plots.INK if color == plots.FAINT else "white"
    axis.text(x + 0.85, 0.45, name, ha="center", va="center", color=ink, weight="bold")
axis.add_patch(plt.Rectangle((2.6, 1.7), 1.7, 0.9, facecolor="#999999", edgecolor=plots.INK))
axis.text(3.45, 2.15, "oracle", ha="center", va="center", color="white", weight="bold")
arrow = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.5}
for x in (1.7, 4.3, 6.9, 9.5):
    axis.annotate("", (x + 0.88, 0.45), (x + 0.04, 0.45), arrowprops=arrow)
axis.annotate("", (3.0, 1.66), (3.0, 0.94), arrowprops=arrow)
axis.annotate("", (3.9, 0.94), (3.9, 1.66), arrowprops=arrow)
axis.text(4.5, 2.15, "thousands of questions: the search finds its errors", va="center")
axis.text(8.65, -0.35, "asked once, at the end", ha="center", va="center")
axis.text(11.25, -0.35, "has the last word", ha="center", va="center")
axis.set(xlim=(-0.2, 12.4), ylim=(-0.7, 2.8))
axis.axis("off")
plots.show(
    figure,
    """
    Five boxes in a row: wild type, search, designs, judge, laboratory. Above the search stands
    the oracle; arrows go up and down between them, for the search asks it thousands of times
    and finds its errors. The judge is asked once, at the end; the laboratory has the last word.
""",
)

# %% [markdown]
# ## The trap, first
#
# Our example is the promoter of the *lac* operon of *E. coli*: 75 bases with a binding site of the activator CRP and the two boxes of RNA polymerase, −35 and −10. Kinney and colleagues (2010) mutated each base with about 12 % chance, sorted the cells by brightness into ten bins, and read the promoters of each bin. The label y is the mean bin, **0 (dark) to 9 (bright)**. Most variants have one read, so a single y is rough.

# %%
lac = load_data("lac-mpra")
valid, test = lac.split("valid"), lac.split("test")
wild = lac.frame.loc[lac.frame["mutations"] == 0, "sequence"].iloc[0]
sites = {"CRP site": "TGTGAGTTAGCTCACT", "−35 box": "TTTACA", "−10 box": "TATGTT"}


def halves(table, seed=0):
    """Two tables that share no row: a coin for each."""
    heads = np.random.default_rng(seed).random(len(table)) < 0.5
    return table.where(heads), table.where(~heads)


ours, theirs = halves(lac.split("train"))
our_valid, their_valid = halves(valid)

# %%
print(wild, f"{len(wild)} bases")
for name, site in sites.items():
    print(f"{name:10s}{site:18s}bases {wild.index(site)} to {wild.index(site) + len(site) - 1}")
print(f"training half {len(ours):,}, the other half {len(theirs):,}, test {len(test):,}")

# %% [markdown]
# We give ourselves one half of the training variants, and lock the other half away. On ours we train the oracle, a small fully connected network (`train_predictor`, seconds).


# %% tags=["nbval-ignore-output"]
def pair(table):
    return table.sequences, table.labels


start = time.perf_counter()
small = dict(kind="mlp", task="regression", epochs=4, batch_size=128)
oracle = train_predictor(pair(ours), pair(our_valid), **small)
print(f"{time.perf_counter() - start:.0f} seconds")
print("on the test split:", with_interval("R2", test.labels, oracle.predict(test.sequences)))

# %% [markdown]
# A decent predictor of rough labels. Now design in eight lines: try all single substitutions, take the one that the oracle likes best, and again, twenty times.


# %%
def climb(predict, start, steps=20):
    """Greedy ascent: the path of the best single substitutions."""
    path = [start]
    for _ in range(steps):
        now = path[-1]
        around = [now[:i] + b + now[i + 1 :] for i in range(len(now)) for b in "ACGT"]
        path.append(around[int(predict(around).argmax())])
    return path


# %% tags=["nbval-ignore-output"]
path = climb(oracle.predict, wild)
promised = oracle.predict(path)
for step in (0, 1, 3, 6, 20):
    print(f"{step:2d} substitutions: the oracle promises {promised[step]:5.2f}")
assert promised[20] > 12

# %% [markdown]
# A triumph: the promise more than doubles. One could stop here, and reports do. But look at the scale: the assay has bins 0 to 9, and **no promoter can have a mean bin above 9**. The oracle was trained on variants with about nine random mutations. Twenty chosen ones are nowhere near those, and there it only extrapolates.
#
# One more experiment shows how little such a promise means. We *shuffle* the labels, so that there is nothing to learn, train a second oracle, and run the same climb.

# %% tags=["nbval-ignore-output"]
shuffled = np.random.default_rng(1).permutation(ours.labels)
nonsense = train_predictor((ours.sequences, shuffled), pair(our_valid), patience=None, **small)
print("on the test split:", with_interval("R2", test.labels, nonsense.predict(test.sequences)))
empty_path = climb(nonsense.predict, wild)
empty_promise = nonsense.predict(empty_path)
print(f"it promises {empty_promise[0]:.2f} for the wild type, {empty_promise[-1]:.2f} at the end")
assert empty_promise[-1] > empty_promise[0] + 2

# %% [markdown]
# **An oracle that knows nothing promises an improvement too.** The search maximises a number; whatever the number's errors are, it finds the largest. In machine learning this is an adversarial example, in statistics the winner's curse, in economics Goodhart's law. So the score that was climbed is never a result.
#
# ## A judge
#
# We need somebody whom the search has never asked. The judge is trained on the *other half* of the variants, and it is another architecture, a convolutional network, so that it has other blind spots.

# %% tags=["nbval-ignore-output"]
start = time.perf_counter()
shape = dict(width=32, kernel=9, layers=1, bins=0, pool=1)
judge = train_predictor(
    pair(theirs),
    pair(their_valid),
    kind="cnn",
    task="regression",
    epochs=3,
    batch_size=128,
    **shape,
)
print(f"{time.perf_counter() - start:.0f} seconds")

# %% tags=["nbval-ignore-output"]
from gfm_lab.sequence_baselines import fit_baseline

additive = fit_baseline("additive", pair(ours), pair(our_valid), "regression", metric="R2")
scores = {"additive, our half": additive.predict(test.sequences)}
scores |= {"oracle (MLP), our half": oracle.predict(test.sequences)}
scores |= {"judge (CNN), other half": judge.predict(test.sequences)}
scores |= {"shuffled labels": nonsense.predict(test.sequences)}
for name, guess in scores.items():
    print(f"{name:26s}{with_interval('R2', test.labels, guess)}")

# %% [markdown]
# Oracle and judge know the test split equally well, above the additive baseline. (0 would be to guess the mean. The split is random among variants of one promoter: interpolation.)
#
# ### Exercise 1 · predict
#
# What will the judge say about the two paths after 20 substitutions? For each path choose two words: is the judge's score `"higher"` or `"lower"` than its score of the wild type, and does the judge give `"more"` or `"less"` than the path's own oracle promised?
#
# <details><summary>Hint 1</summary>The first oracle knows something about promoters, and its errors are its own. The second knows nothing: to the judge its path is a row of random mutations.</details>
# <details><summary>Hint 2</summary>Most random mutations harm a promoter. And a promise was the largest of thousands of rough numbers: which way are its errors?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_prediction = {"real labels": ("higher", "less"), "shuffled labels": ("lower", "less")}
# END SOLUTION
check.prediction(my_prediction)

# %% tags=["figure", "nbval-ignore-output"]
walks = [random_mutants(wild, [k] * 50, seed=k) for k in range(1, 21)]
walk = [judge.predict([wild])[0], *(judge.predict(texts).mean() for texts in walks)]
figure, axes = plt.subplots(1, 2, figsize=(12, 4), sharey=True)
shown = (
    (axes[0], "oracle trained on real labels", path, promised),
    (axes[1], "oracle trained on shuffled labels", empty_path, empty_promise),
)
for axis, title, texts, said in shown:
    axis.axhline(9, color=plots.INK, linestyle="--", linewidth=1)
    axis.text(20, 9.2, "the assay's last bin", ha="right", fontsize=10)
    axis.plot(said, color="#999999", marker=".", label="promise of the oracle")
    axis.plot(judge.predict(texts), color=plots.PALETTE[1], marker=".", label="judge")
    axis.plot(walk, color=plots.INK, linestyle=":", label="judge, random mutations")
    axis.set(title=title, xlabel="substitutions")
axes[0].set(ylabel="mean bin, predicted")
axes[0].legend(fontsize=10)
plots.show(
    figure,
    """
    Predicted mean bin against the number of substitutions. Left, an oracle of real labels: its
    promise climbs steadily to about twice the wild type's score, far above the assay's last
    bin; the judge's score climbs at first and then flattens. Right, an oracle of shuffled
    labels: its promise climbs as well, the judge's score falls with that of random mutations.
""",
)

# %% tags=["nbval-ignore-output"]
verdict, empty_verdict = judge.predict(path), judge.predict(empty_path)
for step in (0, 3, 6, 20):
    print(
        f"{step:2d} substitutions: real labels {promised[step]:5.2f} promised, judge "
        f"{verdict[step]:5.2f};  shuffled {empty_promise[step]:5.2f}, judge {empty_verdict[step]:5.2f}"
    )
assert verdict[20] < promised[20] and verdict[6] > verdict[0] + 1
assert empty_verdict[20] < verdict[0] < empty_promise[20] + 4

# %% [markdown]
# The judge separates them. On the left part of the climb is real (the judge, who shares no data with the oracle, sees it too), and it is made in the first few substitutions; what comes later is mostly promise. On the right nothing is real.
#
# But the judge passes 9 as well, so it extrapolates too. How far may we believe it? Ask it about *measured* promoters: test variants, grouped by what the judge predicts.

# %% tags=["nbval-ignore-output"]
from gfm_lab.evaluation import bootstrap

predicted, rows = judge.predict(test.sequences), {}
for low, high in ((3, 5), (5, 7), (7, 8), (8, 9), (9, 20)):
    chosen = (predicted >= low) & (predicted < high)
    mean, ends = test.labels[chosen].mean(), bootstrap(test.labels[chosen])
    measured = f"{mean:.2f} [{ends[0]:.2f}, {ends[1]:.2f}]"
    rows[f"{low} to {high}"] = [chosen.sum(), predicted[chosen].mean().round(2), measured]
assert test.labels[predicted >= 9].mean() < predicted[predicted >= 9].mean()
pd.DataFrame(rows, index=["variants", "judge, mean", "measured, mean"]).T

# %% [markdown]
# In the middle the judge is right. At its top, above 9, the measured mean stays lower: even without a search, whoever picks the highest predictions picks errors too. So **we read the judge as a rank, not as a bin**, and a design it puts at 11 as "at the top of the assay, if anything".
#
# There is one more witness, and it is no model. Each substitution of the climb occurs in hundreds of test variants. What was *measured* with it, and without?


# %%
def measured_effect(at, new, old):
    """Mean label of test variants with base `new` at `at`, minus those with `old`; 95 % interval."""
    here = np.array([text[at] for text in test.sequences])
    a, b = test.labels[here == new], test.labels[here == old]
    half = 1.96 * np.sqrt(a.var() / len(a) + b.var() / len(b))
    return a.mean() - b.mean(), half, len(a)


def element(at):
    for name, site in sites.items():
        if 0 <= at - wild.index(site) < len(site):
            return name
    return "between"


# %% tags=["nbval-ignore-output"]
rows = []
for before, after, step in zip(path[:6], path[1:7], np.diff(promised)):
    at = next(i for i in range(len(wild)) if before[i] != after[i])
    effect, half, count = measured_effect(at, after[at], before[at])
    measured = f"{effect:+.2f} [{effect - half:+.2f}, {effect + half:+.2f}]"
    rows.append([f"{before[at]}{at}{after[at]}", element(at), f"{step:+.2f}", measured, count])
others = [measured_effect(i, b, wild[i])[0] for i in range(75) for b in "ACGT" if b != wild[i]]
print(f"the mean substitution, of all {len(others)}: {np.mean(others):+.2f} measured")
columns = ["step", "where", "promised", "measured on test", "variants"]
pd.DataFrame(rows, columns=columns).set_index("step")

# %% [markdown]
# This is the most honest table of the notebook. The oracle has never read of a −35 box, and yet one of its first steps turns `TTTACA` into `TTGACA`, the consensus of *E. coli*; another, in the CRP site, makes `TCACT` into `TCACA`, the other half of CRP's palindrome; a third brings the −10 box nearer to its consensus `TATAAT`. All three are confirmed by measurement. Other promises of half a bin and more meet measurements whose interval holds 0. (An average effect over other variants, not the effect in this very sequence; and the promises come one on top of another.)
#
# ## Sampling on demand: conditional generation
#
# Before we search better, the other way to write. `species-mamba-ar` (notebook 10) was trained on ten species, a **control token** with the species' name in front of each window. While writing we choose the token. Does the DNA come from where we asked?
#
# The trap waits here as well: the writer could judge itself. Its likelihood under each of the ten tokens names a species for every text. So we also train a judge outside: a linear classifier on 4-mers, on windows that the writer has never read.

# %% tags=["nbval-ignore-output"]
from gfm_lab import MarkovModel, generate, markov_dna
from gfm_lab.sequence_columns import kmer_counts
from gfm_lab.training import SPECIES

start = time.perf_counter()
writer, tokenizer = load_model("species-mamba-ar")
written = {
    name: generate(writer, tokenizer, 150, n=12, control=token) for name, token in SPECIES.items()
}
asked = np.repeat(list(written), 12)
texts = [text for part in written.values() for text in part]
print(f"{len(texts)} texts of 150 bases in {time.perf_counter() - start:.0f} seconds")

# %% [markdown]
# The panel's windows are split by region. The writer read the training part; the judge gets the validation part and half of the test part; the other half tells us how good the judge is on real DNA. The baseline is a Markov model for each species: it counted words in the training part, and writes too.

# %% tags=["nbval-ignore-output"]
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

panel = load_data("species-panel")
held_out = panel.split("test")
even = np.arange(len(held_out)) % 2 == 0
seen = pd.concat([panel.split("valid").frame, held_out.where(even).frame])
real = held_out.where(~even).frame.groupby("species").head(40)


def four_mers(texts):
    return np.sqrt(kmer_counts(texts, 4))


outside = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(
    four_mers([text[:150] for text in seen["sequence"]]), seen["species"]
)

# %% tags=["nbval-ignore-output"]
counted = {}
for order in (1, 3, 5):
    counted[order] = []
    for species, rows in panel.split("train").frame.groupby("species")["sequence"]:
        model = MarkovModel(order).fit("N".join(rows[:-50]), "N".join(rows[-50:]))
        counted[order] += [(species, text) for text in markov_dna(model, 150, 40)]


def own_guess(texts):
    """The species under whose token the writer finds each text likeliest."""
    columns = [log_likelihood(writer, tokenizer, texts, control=c) for c in SPECIES.values()]
    return np.array(list(SPECIES))[np.argmax(columns, axis=0)]


# %% tags=["nbval-ignore-output"]
real_texts = [text[:150] for text in real["sequence"]]
table = {"real windows": (real["species"].to_numpy(), outside.predict(four_mers(real_texts)))}
table["species-mamba-ar"] = (asked, outside.predict(four_mers(texts)))
for order, rows in counted.items():
    names, made = zip(*rows)
    table[f"Markov, order {order}"] = (np.array(names), outside.predict(four_mers(made)))
table["species-mamba-ar, judged by itself"] = (asked[::3], own_guess(texts[::3]))
some = slice(None, None, 10)
table["real windows, judged by the writer"] = (
    real["species"].to_numpy()[some],
    own_guess(real_texts[some]),
)
for name, (truth, guess) in table.items():
    print(f"{name:36s}{with_interval('accuracy', truth, guess, strata=truth)}")
print("chance                              accuracy 0.100")
assert with_interval("accuracy", *table["species-mamba-ar"]).low > 0.2

# %% [markdown]
# Read it with care; it is not quite the story one expects. **Control works**: the writer's texts are recognised several times as often as chance. But texts of Markov models of order 3 and 5, which cannot even keep a reading frame, are recognised at least as often as *real* windows are. A judge of 4-mers rewards what is typical, and real windows are not always typical: genes, repeats and spacers differ. So "recognised as often as real DNA" is reached by counting words.
#
# And the writer as its own judge? It recognises its texts more often than the outside judge does. Before we call that vanity, look at the last row: it also recognises *real* windows which it has never read that well. As a classifier it is simply better than 4-mers. Only this row, the same judge on real data, tells the two apart; without it the number above it would have been a trap.
#
# Note what cannot be asked. There is no token for "a promoter in bin 9", for no such label stood in the training text. Control reaches what was labelled, and stays where the training data are. For anything else we climb.
#
# ## Guided design
#
# `guided_design` does what our loop did, better, and does not let us forget anything: it wants the judge and the training data, and returns designs beside their baselines. First a **genetic search**: 200 sequences; the better ones mate (each base from either parent), children mutate, the best 200 survive. All stay within 6 mutations of the wild type.

# %% tags=["nbval-ignore-output"]
result = guided_design(
    wild, oracle, judge, distance=6, n=50, method="genetic", train=pair(ours), seed=0
)


def show(table):
    """The columns to read, each mean with its 95 % interval over sequences."""
    text = table[["n"]].copy()
    for name in ("oracle", "judge"):
        ends = table[[f"{name}_low", f"{name}_high"]].to_numpy()
        ends = [f" [{a:.1f}, {b:.1f}]" if np.isfinite(a) else "" for a, b in ends]
        text[name] = [f"{v:.2f}{e}" for v, e in zip(table[name], ends)]
    rest = table[["gap", "diversity", "distance", "nearest"]]
    return text.join(rest.map(lambda v: "" if np.isnan(v) else f"{v:.1f}"))


show(result.table())

# %% [markdown]
# Read it from below. *Training best*: the brightest measured variants; most have one read in bin 9, and part of that is luck, which the judge takes off. *Random best by oracle*: as many random mutants as the search scored, and the 50 that the oracle likes most. It is the control for "any search would do". *Random mutants*: as many mutations as the designs have, nothing chosen. The **designs** are above all of these for the judge, and the **gap** of oracle and judge is the largest of all rows: the curse, in numbers. `diversity` is the mean distance of two designs, `nearest` the distance to the closest training variant.
#
# Which search? Four of them, the roles of oracle and judge exchanged, and the oracle of shuffled labels.

# %% tags=["nbval-ignore-output"]
setting = dict(distance=6, n=50, train=pair(ours), temperature=0.1)
rounds = dict(mcmc=150, gradient=60, gumbel=80)
runs = {
    m: guided_design(wild, oracle, judge, method=m, rounds=k, **setting)
    for m, k in rounds.items()
}
runs = {"genetic": result, **runs}
runs["genetic, roles exchanged"] = guided_design(wild, judge, oracle, **setting)
runs["genetic, shuffled labels"] = guided_design(wild, nonsense, judge, **setting)
rows = {}
for name, run in runs.items():
    line, gain = run.table().loc["designs"], run.gain()
    over = f"{gain['value']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}]"
    rows[name] = [f"{run.calls:,}", *line[["oracle", "judge", "gap", "diversity"]].round(2), over]
assert runs["genetic"].gain()["low"] > 3 and runs["genetic, shuffled labels"].gain()["high"] < 1
columns = ["scored", "oracle", "judge", "gap", "diversity", "judge: over random mutants"]
pd.DataFrame(rows, index=columns).T

# %% [markdown]
# All four searches arrive at about the same place, bins above random mutants in the judge's eyes, and exchanging the roles changes nothing of that. The search with the highest promise is not the judge's favourite: samplers that promise less are judged as well, and are more diverse. The oracle of shuffled labels ends no higher than random mutants. (The intervals are over sequences. They do not hold the error of the one judge, which all these designs share.)
#
# ### By hand, once more
#
# A biologist needs no network for this. The consensus of the −35 box is `TTGACA`, of the −10 box `TATAAT`, and CRP likes the palindrome `TGTGA…TCACA`. Four substitutions:

# %% tags=["nbval-ignore-output"]
by_hand = wild.replace("TTTACA", "TTGACA").replace("TATGTT", "TATAAT")
with_crp = by_hand.replace("GCTCACT", "GCTCACA")
rows = {"wild type": wild, "−35 and −10 consensus": by_hand, "and CRP": with_crp}
rows = {
    name: [distances([text], [wild])[0, 0], *(p.predict([text])[0] for p in (oracle, judge))]
    for name, text in rows.items()
}
rows["designs, genetic (mean of 50)"] = [6, *result.table().loc["designs", ["oracle", "judge"]]]
pd.DataFrame(rows, index=["mutations", "oracle", "judge"]).T.round(2)

# %% [markdown]
# A textbook's four substitutions stand at least as high with the judge as the mean of fifty designs with six; only the oracle prefers its own. Some of the four the search has found by itself, which is worth something: nobody told it. But both predictors extrapolate here, and one sequence has no interval over sequences, so we claim no victory for the hand. What we cannot claim either is that the machine beats the expert. That row belongs in every report.
#
# ## The gradient, and what it is worth
#
# Genetic search and Metropolis only ask for scores. But the oracle is a differentiable function, so one backward pass answers more: how would the score change if this base were *slightly* another? The slope at each letter, minus the slope at the letter that stands there, ranks all 225 substitutions at once. For a linear predictor it is exact. For our two?

# %% tags=["figure", "nbval-ignore-output"]
from gfm_lab.design import substitution_scores

steps = [wild[:i] + b + wild[i + 1 :] for i in range(75) for b in "ACGT"]
other = np.array([[b != base for b in "ACGT"] for base in wild])
first, true = {}, {}
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
for axis, (name, model) in zip(axes, {"oracle, MLP": oracle, "judge, CNN": judge}.items()):
    first[name] = substitution_scores(model, [wild])[0][other]  # (225,)
    change = model.predict(steps) - model.predict([wild])[0]
    true[name] = change.reshape(75, 4)[other]
    axis.axline((0, 0), slope=1, color="#999999", linewidth=1)
    axis.scatter(first[name], true[name], s=14, color=plots.PALETTE[0])
    axis.set(title=name, xlabel="first order: one backward pass")
axes[0].set(ylabel="true change: 225 predictions")
plots.show(
    figure,
    """
    The true change of the score for all 225 substitutions of the wild type, against the
    first-order guess from one gradient, for the oracle (left) and the judge (right). The points
    follow the diagonal, with a bend: the largest gains are smaller than guessed.
""",
)

# %% tags=["nbval-ignore-output"]
for name in first:
    print(f"{name:12s}{with_interval('Spearman', true[name], first[name])}, 225 substitutions")

# %% [markdown]
# In rank the guess is good here, where the networks have data; the size of the largest gains it overstates, and a step later it is another slope. So it may propose, and should not decide: `method="gradient"` lets the gradient propose and true scores accept, and `method="gumbel"` relaxes letters to mixtures, climbs, and hardens them again (Gumbel-softmax; the letters are hard forwards and soft backwards).
#
# ### Exercise 2 · substitution scores
#
# Write it. `forward` takes one-hot letters (N, L, 4), as a torch tensor, and returns (N,) scores. Return (N, L, 4): the first-order change of the score for each substitution, 0 at the letter that stands.
#
# <details><summary>Hint 1</summary>Make a copy of <code>hot</code> that requires a gradient; <code>torch.autograd.grad(forward(x).sum(), x)[0]</code> is the slope at each letter. Rows do not mix, so the sum is harmless.</details>
# <details><summary>Hint 2</summary>The slope at the letter that stands: multiply by <code>hot</code> and sum over the last axis, with <code>keepdim=True</code>. A substitution adds one letter and takes one away.</details>


# %% tags=["exercise"]
def my_scores(forward, hot):
    """(N, L, 4) first-order change of forward(hot) for each substitution."""
    # BEGIN SOLUTION
    x = hot.clone().requires_grad_()
    (slope,) = torch.autograd.grad(forward(x).sum(), x)
    return slope - (slope * hot).sum(-1, keepdim=True)
    # END SOLUTION


check.my_scores(my_scores)

# %% [markdown]
# ## A language model as prior
#
# The searches left the region where the oracle has data. An old remedy: stay where DNA is plausible. A language model gives each sequence a probability $p(x)$, and **Metropolis sampling** draws from
#
# $$\pi(x) \propto p(x) \, e^{\,\text{oracle}(x)/T}$$
#
# within the ball around the wild type. Propose a random change. Take it if π grows; if π falls, take it with probability $\pi_{\text{new}}/\pi_{\text{old}}$. After enough steps the chain's states are samples of π (not maxima), and T says how much oracle one nat of plausibility is worth.
#
# ### Exercise 3 · the Metropolis rule
#
# `now` and `then` are (N,) objectives, already in the unit of the oracle; `chance` (N,) are uniform random numbers between 0 and 1. Return (N,) booleans: which chains take their step?
#
# <details><summary>Hint 1</summary>π is the exponential of objective/T, so the ratio is the exponential of a difference.</details>
# <details><summary>Hint 2</summary>Take the step if <code>chance</code> is below the ratio. A step upwards has a ratio above 1, so it needs no case of its own.</details>


# %% tags=["exercise"]
def my_accept(now, then, temperature, chance):
    """(N,) bool: which of the proposed steps are taken."""
    # BEGIN SOLUTION
    return chance < np.exp((then - now) / temperature)
    # END SOLUTION


check.my_accept(my_accept)

# %% [markdown]
# Our prior is `ecoli-conv-ar`, which reads the promoter with its genomic neighbours on either side. (The wild type stands in its training DNA, so the prior knows it: it pulls home for a bad reason as well as for a good one.) First: does it know anything here? Then designs with up to 12 mutations, with and without it.

# %% tags=["nbval-ignore-output"]
reader, its_tokenizer = load_model("ecoli-conv-ar")
strand = reverse_complement(load_data("ecoli-k12").sequence)
at = strand.index(wild)
flanks = dict(before=strand[at - 48 : at], after=strand[at + 75 : at + 91])
prior = partial(log_likelihood, reader, its_tokenizer, **flanks)

mutants = random_mutants(wild, [6] * 150)
plausible = prior([wild])[0] - prior(mutants)
print(f"wild type over 150 mutants with 6 mutations: {plausible.mean():+.2f} nats "
      "[{:+.2f}, {:+.2f}]".format(*bootstrap(plausible)))  # fmt: skip
some = test.where(np.arange(len(test)) % 20 == 0)
print(with_interval("Spearman", some.labels, prior(some.sequences)), "with the measured bin")
print(with_interval("Spearman", some.labels, -some.frame["mutations"]), "minus the mutations")

# %% tags=["nbval-ignore-output"]
rows = {}
chains = dict(distance=12, n=16, population=16, rounds=100, train=pair(ours), method="mcmc")
for name, with_prior in (("no prior", None), ("with prior", prior)):
    run = guided_design(wild, oracle, judge, prior=with_prior, temperature=0.3, **chains)
    for kind in ("designs", "random mutants")[: 2 - (with_prior is not None)]:
        line = run.table().loc[kind]
        kept = run.frame.loc[run.frame["set"] == kind, "sequence"].tolist()
        judged = f"{line['judge']:.2f} [{line['judge_low']:.2f}, {line['judge_high']:.2f}]"
        nats = prior(kept) - prior([wild])[0]
        nats = f"{nats.mean():+.1f} [{{:+.1f}}, {{:+.1f}}]".format(*bootstrap(nats))
        more = line[["gap", "diversity", "distance"]].round(1)
        rows[f"{kind}, {name}" if kind == "designs" else kind] = [
            line["oracle"].round(2),
            judged,
            *more,
            nats,
        ]
columns = ["oracle", "judge", "gap", "diversity", "distance", "nats over the wild type"]
pd.DataFrame(rows, index=columns).T

# %% [markdown]
# The prior knows this region: random mutants are less plausible to it than the wild type. But it knows nothing of *strength*: its rank correlation with the measured bin is about 0, and counting mutations does better. So it does what it can. The designs become more plausible, **to the prior**, and the judge sees no difference. A prior has to earn its place before the judge; this one does not. (It has read one genome, and few of its bases are promoters. With thousands of relatives of the sequence to learn from, it might.)
#
# ## A second task: replication origins
#
# ARS1 is a stretch of yeast where replication starts. In `yeast-ars` its bases 22 to 149 were mutated (about 8 % each), and cells with a working origin kept their plasmid. The label is 1 where a variant's share of the reads grew. Now oracle and judge are classifiers, and we climb the **log-odds**. Variants that are near each other stay in one half.

# %% tags=["nbval-ignore-output"]
ars = load_data("yeast-ars")
origin = "".join(max("ACGT", key=column.count) for column in zip(*ars.sequences[:5000]))
ars_test = ars.split("test")


def group_halves(table):
    odd = table.frame["group"].to_numpy() % 2 == 1
    return table.where(odd), table.where(~odd)


(our_ars, their_ars), (our_held, their_held) = (
    group_halves(ars.split(s)) for s in ("train", "valid")
)
start = time.perf_counter()
ars_mlp = train_predictor(pair(our_ars), pair(our_held), kind="mlp", epochs=3, batch_size=128)
ars_cnn = train_predictor(
    pair(their_ars), pair(their_held), kind="cnn", epochs=2, batch_size=128,
    width=32, kernel=11, layers=1, bins=0, pool=2,
)  # fmt: skip
print(f"{time.perf_counter() - start:.0f} seconds")

# %% tags=["nbval-ignore-output"]
few = our_ars.where(np.arange(len(our_ars)) % 4 == 0)
ars_additive = fit_baseline("additive", pair(few), pair(our_held), "classification")
scores = {"minus the number of mutations": -ars_test.frame["mutations"].to_numpy()}
scores |= {"additive, a quarter of our half": ars_additive.predict(ars_test.sequences)[:, 1]}
scores |= {"oracle (MLP)": ars_mlp.predict(ars_test.sequences)[:, 1]}
scores |= {"judge (CNN)": ars_cnn.predict(ars_test.sequences)[:, 1]}
for name, guess in scores.items():
    print(f"{name:33s}{with_interval('AUROC', ars_test.labels, guess, ars_test.frame['group'])}")
ars_oracle, ars_judge = log_odds(ars_mlp), log_odds(ars_cnn)

# %% tags=["nbval-ignore-output"]
known = our_ars.sequences, our_ars.frame["y"].to_numpy()
space = dict(positions=range(22, 150), train=known, method="gradient")
better = guided_design(origin, ars_oracle, ars_judge, distance=4, n=20, rounds=30, **space)
show(better.table())

# %% [markdown]
# The gain over the wild type is small, the random screen gets most of it, and what would it mean? The wild type works already, and the assay asked only *whether* an origin works. A label of yes and no cannot say "better than the wild type". The first question of a design is what the assay can tell.
#
# So we turn the question round, to one with a known answer: **rescue**. We take test variants that did not work and that the oracle calls dead, and allow two substitutions. The search is not told the wild type; its ball lies around the broken variant. The baselines: two random substitutions, and two of the variant's own mutations reverted at random.

# %% tags=["nbval-ignore-output"]
broken = ars_test.where(
    (ars_test.labels == 0)
    & (ars_test.frame["mutations"] <= 12)
    & (ars_oracle.predict(ars_test.sequences) < -2)
).sequences[:20]
random, made = (
    np.random.default_rng(0),
    {"broken": broken, "designed": [], "reverted at random": []},
)
made["mutated at random"] = [
    random_mutants(text, [2], range(22, 150), seed)[0] for seed, text in enumerate(broken)
]
for text in broken:
    run = guided_design(
        text, ars_oracle, ars_judge, distance=2, n=1, rounds=8, population=30, **space
    )
    made["designed"] += run.sequences
    wrong = random.permutation([i for i in range(22, 150) if text[i] != origin[i]])[:2]
    fixed = [origin[i] if i in wrong else base for i, base in enumerate(text)]
    made["reverted at random"].append("".join(fixed))
made["all reverted: the wild type"] = [origin] * 2

# %% tags=["nbval-ignore-output"]
for name, texts in made.items():
    o, j = ars_oracle.predict(texts), ars_judge.predict(texts)
    print(
        f"{name:29s}oracle {o.mean():+.2f}   judge {j.mean():+.2f} [{{:+.2f}}, {{:+.2f}}]".format(
            *bootstrap(j)
        )
    )
changed = [
    (i, new == home)
    for old_text, new_text in zip(broken, made["designed"])
    for i, (old, new, home) in enumerate(zip(old_text, new_text, origin))
    if old != new
]
back = np.array([home for _, home in changed], dtype=float)
print(
    f"{back.mean():.0%} [{{:.0%}}, {{:.0%}}] of {len(back)} changes restore the wild type;".format(
        *bootstrap(back)
    )
)
mutations = np.mean([sum(a != b for a, b in zip(text[22:], origin[22:])) for text in broken])
print(f"by chance {mutations / (3 * 128):.1%}, with {mutations:.1f} of 128 bases mutated")
assert bootstrap(back)[0] > 0.3

# %% tags=["figure", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(12, 3.2))
core = origin.index("AAACATAAAA")
axis.axvspan(core - 1.5, core + 9.5, color=plots.FAINT, label="ACS, the core of the origin")
for value, label, color in (
    (True, "restores the wild type", plots.PALETTE[2]),
    (False, "another base", "#999999"),
):
    places = [i for i, home in changed if home == value]
    bottom = np.bincount([i for i, home in changed if home], minlength=150) * (not value)
    axis.bar(
        range(150), np.bincount(places, minlength=150), bottom=bottom, color=color, label=label
    )
axis.set(xlabel="base of the origin", ylabel="rescuing changes", xlim=(20, 150))
axis.legend(fontsize=10, loc="upper left")
plots.show(
    figure,
    """
    Where the changes that rescue broken origins fall, along the bases of ARS1. Most restore the
    wild type's base, and most of them lie in and beside the shaded ACS near the right end.
""",
)

# %% [markdown]
# To the judge, two chosen changes bring a broken origin most of the way back. Two random ones do not, and neither do two random reversions: the two that matter have to be found. And this time there is an answer to check, with no judge at all: most changes restore the wild type's base, where chance would do so once in forty, and most of them lie in the ACS, the 11 bases where the origin recognition complex binds.
#
# One change that is no return comes again and again, next to the ACS. Is it an error of the oracle? Ask the measured variants: how many work, for each base at this place?

# %% tags=["nbval-ignore-output"]
from collections import Counter

(spot, _), times = Counter(change for change in changed if not change[1]).most_common(1)[0]
here = np.array([text[spot] for text in ars_test.sequences])
print(
    f"base {spot}: changed {times} times, wild type {origin[spot]}; share of variants that work"
)
for base in "ACGT":
    work = ars_test.labels[here == base].astype(float)
    ends = bootstrap(work)
    print(f"  {base}  {work.mean():.2f} [{ends[0]:.2f}, {ends[1]:.2f}] of {len(work):,}")

# %% [markdown]
# The wild type's base is not the best one there, so the search was right to leave it (if not in its choice of the new base, as the intervals show). Evolution did not maximise our label.
#
# One caution. In the training data each base is the wild type's in nine of ten variants, so "go home" is a thing the oracle could learn without any biology; that it goes home at the right two bases is not. It knows ARS1, and no other origin.
#
# ## Report without fooling yourself
#
# ### Exercise 4 · a bug to find
#
# A colleague has 2,000 candidates with the scores of an oracle and of a judge, and reports the 20 best designs like this:


# %%
def her_report(oracle_scores, judge_scores, n=20):
    """The judge's mean score of the n designs we order."""
    best = np.argsort(-judge_scores)[:n]
    return judge_scores[best].mean()


# %% [markdown]
# To see what is wrong we give it candidates where nothing was designed: 2,000 *random* mutants with 6 mutations.

# %% tags=["nbval-ignore-output"]
candidates = random_mutants(wild, [6] * 2000, seed=3)
said = {name: p.predict(candidates) for name, p in (("oracle", oracle), ("judge", judge))}
print(
    f"her report {her_report(said['oracle'], said['judge']):.2f}, mean of all {said['judge'].mean():.2f}"
)
chosen = np.argsort(-said["judge"])[:20]
print(
    f"what the oracle, which had no part in the choice, says of those 20: {said['oracle'][chosen].mean():.2f}"
)
assert said["judge"][chosen].mean() > said["oracle"][chosen].mean()

# %% [markdown]
# Write the report that keeps the judge a judge: the same arguments, and the judge's mean score.
#
# <details><summary>Hint 1</summary>Whoever takes part in the choice has been climbed.</details>
# <details><summary>Hint 2</summary>Choose the n best by the oracle's scores, then ask the judge about those.</details>


# %% tags=["exercise"]
def my_report(oracle_scores, judge_scores, n=20):
    """The judge's mean score of the n designs that are chosen without it."""
    # BEGIN SOLUTION
    best = np.argsort(-oracle_scores)[:n]
    return judge_scores[best].mean()
    # END SOLUTION


check.my_report(my_report)

# %% [markdown]
# If you do want both predictors to choose (for the plate, one should), then neither is a judge any more, and the next honest number is the measurement.
#
# ## What a wet lab would do next
#
# Order a plate in which every claim has its control. Designs that are `apart` from each other, so that one error does not sink them all; and as many sequences that could prove us wrong: the wild type several times, random mutants at the same distance, the best training variants, the design by hand, designs of the nonsense oracle.

# %% tags=["nbval-ignore-output"]
spread = guided_design(wild, oracle, judge, distance=6, n=16, apart=4, train=pair(ours), seed=1)
rows = [("design", text) for text in spread.sequences] + [("wild type", wild)] * 4
rows += [("by hand", with_crp)] * 2
for name in ("random mutants", "training best"):
    frame = spread.frame
    rows += [(name, text) for text in frame.loc[frame["set"] == name, "sequence"][:8]]
rows += [("shuffled labels", text) for text in runs["genetic, shuffled labels"].sequences[:8]]
plate = pd.DataFrame(rows, columns=["why", "sequence"])
plate["cuts"] = plate["sequence"].str.contains(
    "GAATTC|GGATCC"
)  # EcoRI, BamHI: if we clone with them
plate["run"] = plate["sequence"].str.contains(r"(?:A{8}|C{8}|G{8}|T{8})")
print(plate.groupby("why", sort=False)[["cuts", "run"]].agg(["size", "sum"]).to_string())
print(show(spread.table()).loc[["designs", "random mutants"], ["judge", "diversity"]].to_string())

# %% [markdown]
# Then: several barcodes for each sequence and two replicates, so that an error bar exists (the data we trained on have one read a variant, and no noise ceiling can be estimated from them); positions on the plate at random; the analysis written down *before* the measurement, with the comparison that counts (designs minus random mutants, and minus the design by hand). And the results go back: measured designs, failures above all, are the training data the oracle lacked. Design is a loop, and its second round is better than its first.
#
# ## Enhancers: what is missing here
#
# The lecture names enhancers among the things to design, and this notebook has none: no set of labelled enhancers is among the course's tables. What an MPRA (massively parallel reporter assay) *can* say: how much a few hundred bases raise expression of a reporter, in one cell type, on a plasmid or at one landing site, for thousands of sequences at once; with it fly and human enhancers have been designed and confirmed in embryos and cell lines (papers below), with oracles, searches and controls like ours. What it cannot say: which gene the element serves at home, at what distance, in which chromatin, and in the cell types that nobody assayed. An enhancer's word is the *difference* between cell types, so an oracle needs labels in several of them, and so does the judge.
#
# ## Responsible use
#
# Everything here concerns how strongly a harmless operon is read and whether a plasmid replicates in baker's yeast; small predictors of promoter strength are not dangerous by themselves. The habits still belong to the craft, because the method does not ask what it optimises. Say what a design is for and who could be harmed if it worked, and do not optimise for harm: no toxins, no host range, no transmissibility. Order DNA from companies that screen their orders, and do not write around a screen. Work under your institution's biosafety rules; engineered organisms stay in the laboratory unless a regulator has agreed. For human use a predicted score is no evidence at all. And publish the failures and the limits with the successes: an inflated claim misleads the next person's safety judgement too.
#
# ### Exercise 5 · an interpretation
#
# A press release: "Our AI has designed promoters twice as strong as nature's: the predicted activity rises from 7.7 to 14.0 (p < 0.001 over 50 designs). All 50 are new to science." What do you write to the author? Three or four sentences, then compare with the rubric.
#
# <details><summary>Hint 1</summary>Who predicted, and who chose? What are 50 designs of one search a sample of?</details>
# <details><summary>Hint 2</summary>What is the largest number that the assay can show? Which rows of our table are missing?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_letter = """
The 14.0 is the score that the search maximised, by the model that chose the sequences, and it lies
outside the assay's scale, which ends at 9. Fifty designs of one search share one oracle's errors,
so a p value over them says nothing about strength. Please report a judge trained on other items,
random mutants at the same distance, the best training variants and the consensus boxes set by
hand. New means only that nobody has measured them; stronger needs the measurement, with replicates.
"""
# END SOLUTION
check.interpretation(my_letter)

# %% [markdown]
# ## Take-aways
#
# - A search finds what raises the number: improvements and errors alike. The score that was climbed is never a result; an oracle of shuffled labels promises too.
# - The judge: another architecture, other items, no part in any choice. It shares the assay and its limits, so read it as a rank.
# - Report oracle, judge, gap, diversity, distance to the wild type and to the training data, beside random mutants at the same distance, the best training items, and what an expert writes by hand.
# - Control tokens reach what was labelled; judge the text from outside.
# - Gradients propose, true scores decide. A prior keeps designs plausible to *its* model, and has to earn its place before the judge.
# - The laboratory has the last word: a plate with controls, and the results back into training.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "bbabda"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are

# %%
plots.show(
    plots.anatomy(4),
    """
    The five sites of a genomic model, from tokenizer to objective. This notebook's site,
    number 4, the head, is filled in: oracle and judge are heads that read DNA and give a value.
""",
)

# %% [markdown]
# ## Further reading
#
# - Kinney and colleagues (2010), the *lac* promoter by sorting and sequencing. [doi:10.1073/pnas.1004290107](https://doi.org/10.1073/pnas.1004290107)
# - Szegedy and colleagues (2013), adversarial examples. [doi:10.48550/arXiv.1312.6199](https://doi.org/10.48550/arXiv.1312.6199)
# - Brookes, Park and Listgarten (2019), design by conditioning, with a prior against a fooled oracle. [doi:10.48550/arXiv.1901.10060](https://doi.org/10.48550/arXiv.1901.10060)
# - Vaishnav and colleagues (2022), yeast promoters: a model, a genetic algorithm, and measurements. [doi:10.1038/s41586-022-04506-6](https://doi.org/10.1038/s41586-022-04506-6)
# - Metropolis and colleagues (1953). [doi:10.1063/1.1699114](https://doi.org/10.1063/1.1699114) Jang and colleagues (2016), Gumbel-softmax. [doi:10.48550/arXiv.1611.01144](https://doi.org/10.48550/arXiv.1611.01144)
# - de Almeida and colleagues (2024) and Taskiran and colleagues (2024), designed enhancers of the fly, confirmed in embryos. [doi:10.1038/s41586-023-06905-9](https://doi.org/10.1038/s41586-023-06905-9), [doi:10.1038/s41586-023-06936-2](https://doi.org/10.1038/s41586-023-06936-2)
# - Gosai and colleagues (2024), human enhancers for one cell type and not another, by MPRA. [doi:10.1038/s41586-024-08070-z](https://doi.org/10.1038/s41586-024-08070-z)
# - Baker and Church (2024), *Protein design meets biosecurity*. [doi:10.1126/science.ado1671](https://doi.org/10.1126/science.ado1671)
