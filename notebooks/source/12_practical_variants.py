# %% [markdown]
# # 12 · Variants in practice: does this mutation matter?
#
# **The question.** A person's genome differs from the reference at four to five million sites (1000 Genomes Project, 2015), and nearly all of that does nothing. A clinic finds one new variant beside a gene. Can a genomic model say whether it matters? There are four ways to ask one, they need different models, and they do not agree.
#
# **You will be able to**
# - read variants from a VCF without the two classical mistakes, and move one to the other strand;
# - compute the four scores by hand and with the package, and state their sign and unit;
# - put each beside a baseline that costs nothing, with an interval, on two assays and on human variation;
# - draw a saturation map of a real splice site;
# - say why the scores disagree, and which one answers your question.
#
# | your time | run time | needs |
# |---|---|---|
# | about 75 minutes | under 90 seconds on 2 cores, under 2 GB | notebooks 08 to 10; p3 for intervals |
#
# New words: [glossary](../docs/glossary.md).

# %% tags=["setup", "nbval-ignore-output"]
from importlib.metadata import version

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import transformers

from gfm_lab import checks, load_data, load_model, one_hot, plots, reverse_complement
from gfm_lab.metrics import paired, with_interval
from gfm_lab.variants import (
    Variant,
    saturation,
    saturation_figure,
    score_variants,
    variants_of,
)

transformers.logging.set_verbosity_error()
plots.use_style()
torch.set_num_threads(1)
check = checks.start("12_practical_variants")
for package in ("gfm-lab", "torch", "numpy"):
    print(f"{package:9s}{version(package)}")

# %% [markdown]
# ## The idea: read it twice
#
# All four scores compare the same two texts: a window of the reference, and the same window with the alternative in its middle. What differs is the question put to the model.
#
# | score | the question | needs | unit |
# |---|---|---|---|
# | **masked** | which base do you expect in this gap? | a masked model | nats, signed |
# | **autoregressive** | how likely is the whole window? | a next-token model | nats, signed |
# | **embedding** | how far apart do the two windows lie? | any body | a distance, no sign |
# | **trained head** | what do you predict for each? | labels | the label's own |
#
# The first three are *zero-shot*: nobody showed the model an effect. They know what DNA usually looks like, and hope that the unusual is harmful.

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(11, 3.4))
before, ref, alt, after = "GCTCGTATG", "T", "A", "TGTGTGGAA"
for y, base, name in ((2.2, ref, "reference"), (0.8, alt, "alternative")):
    plots.sequence_strip(axis, before + base + after, y=y)
    axis.text(-0.4, y + 0.4, name, ha="right", va="center", weight="bold")
axis.add_patch(plt.Rectangle((9, 0.68), 1, 2.44, fill=False, edgecolor=plots.INK, linewidth=2))
questions = ("masked: this gap,\nlog P(A) − log P(T)", "autoregressive:\nboth rows, whole")
questions += ("embedding:\ndistance of two vectors", "head:\ntwo predictions")
for x, text in zip((1.5, 7.0, 12.3, 17.5), questions):
    axis.text(x, -0.1, text, ha="center", va="top", fontsize=11)
axis.set(xlim=(-3.6, 20.5), ylim=(-1.3, 3.3))
axis.axis("off")
plots.show(
    figure,
    """
    One window twice, with T and with A at the framed place. Below, the four questions: the
    probability of both bases in the gap, the likelihood of both rows, the distance of two
    vectors, the difference of two predictions.
""",
)

# %% [markdown]
# ## Variants in files
#
# VCF is the common format: a row has chromosome, position, name, reference, alternative. Two things go wrong all the time. **VCF counts from 1**, and Python, BED and our tables count from 0. And REF has to be what stands there: if it is not, the file belongs to another assembly, and every score would be nonsense without any error.

# %%
people = load_data("thousand-genomes-chr20")  # sites of 1000 Genomes, chr20, 1 to 4 Mb
first = people.frame.iloc[0]
print(f"{first['id']}: position {first['position']:,} from 0, REF {first['ref']}")
at = first["position"] - people.offset  # the shipped stretch of reference begins at 990,000
print("the reference reads", people.sequence[at - 4 : at + 5])
print("taken for 1-based, REF would be", people.sequence[at - 1])

# %%
model, tokenizer = load_model("ecoli-attention-mlm")
off_by_one = Variant("20", first["position"] - 1, first["ref"], first["alt"], first["id"])
try:
    score_variants(model, tokenizer, [off_by_one], people, window=64)
except ValueError as fault:
    print(fault)

# %% [markdown]
# The package checks REF before it scores anything, and names the variant. (This model has read *E. coli* alone. Here it only serves to fail.)
#
# ### Exercise 1 · a row of a VCF
#
# Turn one row into a list of variants `(chrom, position, ref, alt)`, with the position counted from 0. ALT may list several alternatives, in order; leave out those that are no sequence, such as `<DEL>`, `*` and `.`.
#
# <details><summary>Hint 1</summary><code>line.split("\t")</code>; the fields you need are numbers 0, 1, 3 and 4.</details>
# <details><summary>Hint 2</summary>A sequence has no letter outside ACGT: <code>set(alt) &lt;= set("ACGT")</code>.</details>


# %% tags=["exercise"]
def my_variants(line):
    """The variants of one VCF row, as (chrom, position from 0, ref, alt)."""
    # BEGIN SOLUTION
    chrom, pos, _, ref, alts = line.split("\t")[:5]
    return [(chrom, int(pos) - 1, ref, alt) for alt in alts.split(",") if set(alt) <= set("ACGT")]
    # END SOLUTION


check.my_variants(my_variants)

# %% [markdown]
# `read_vcf` does this for files of any size: gzip, errors with their line, one variant at a time.
#
# ## 1. Masked: what do you expect in this gap?
#
# Our first subject is the lac promoter of *E. coli*. The gene lies on the reverse strand, and so we turn the genome: 300 bases on either side of the 75 that the assay has mutated.

# %%
genome = load_data("ecoli-k12")
context = reverse_complement(genome.sequence[366_343 - 300 : 366_418 + 300])
lac = context[300:375]
print(lac)
start, stop = genome.splits["train"]
print("in the models' training region:", start <= 366_343 < 366_418 <= stop)

# %% [markdown]
# Keep that in mind: **both *E. coli* models have read this promoter**, as it is, during training. That might help them, or teach them nothing but to prefer the wild type.
#
# By hand: hide one base, ask, subtract. One pass holds the answers for all four bases.

# %% tags=["nbval-ignore-output"]
place = 300 + lac.index("TATGTT")  # the -10 box; its consensus is TATAAT
place += 3  # its fourth base, G, is an A in the consensus
window = context[place - 63 : place + 64]
ids = torch.tensor([tokenizer(window)["input_ids"]])
ids[0, 63] = tokenizer.mask_token_id
with torch.no_grad():
    logits = model(input_ids=ids).logits[0, 63]  # (10,) a score for each token
log_p = logits.log_softmax(-1)
G, A = (tokenizer.convert_tokens_to_ids(base) for base in "GA")
print(f"log P(A) - log P(G) = {(log_p[A] - log_p[G]).item():+.3f} nats")

# %% [markdown]
# **The convention of this course:** natural logarithm, alternative minus reference. Below 0 the model finds the alternative *less* likely. To get bits, divide by 0.693. The package agrees:

# %% tags=["nbval-ignore-output"]
variant = Variant("lac", place, "G", "A")
table = score_variants(model, tokenizer, [variant], context, "masked", window=127)
assert abs(table["score"][0] - (log_p[A] - log_p[G]).item()) < 1e-4
table

# %% [markdown]
# ### Exercise 2 · four bases from one pass
#
# `logits` are the ten scores at the hidden place (ids 5 to 8 are A, C, G, T), `ref` is the letter that was there. Return four numbers, in the order A, C, G, T: the score of changing `ref` to each.
#
# <details><summary>Hint 1</summary><code>logits.log_softmax(-1)[5:9]</code> are the logarithms of four probabilities.</details>
# <details><summary>Hint 2</summary>Subtract the one of the reference, <code>"ACGT".index(ref)</code>; its own score is then 0.</details>


# %% tags=["exercise"]
def my_scores(logits, ref):
    """log P(base) - log P(ref) in nats, for A, C, G and T."""
    # BEGIN SOLUTION
    log_p = logits.log_softmax(-1)[5:9]
    return log_p - log_p["ACGT".index(ref)]
    # END SOLUTION


check.my_scores(my_scores)

# %% [markdown]
# Do this at every base and we have **in-silico saturation mutagenesis**: all 225 single changes of the promoter from 75 passes. Letters above the line are bases the model wants to keep.

# %% tags=["nbval-ignore-output"]
expected = saturation(model, tokenizer, context, 300, 375, window=128)
assert abs(expected.set_index("position").loc[place, "A"] - table["score"][0]) < 1e-3
expected.head(3).round(2)

# %% tags=["figure", "nbval-ignore-output"]
figure = saturation_figure(expected, "log P(alt) − log P(ref), nats", first=-75)
figure.axes[1].set_xlabel("base of the promoter, counted from the end of the assayed stretch")
plots.show(
    figure,
    """
    Above, the 75 bases of the lac promoter as letters whose height is the mean loss of log
    probability when the base is changed; letters below the line are bases that the model
    would rather exchange. Below, the heat map of all 225 changes, red less likely, blue more.
""",
)

# %% [markdown]
# **Tokens of several bases.** With overlapping 6-mers one change touches six tokens, and hiding one of them hides nothing. The package hides every token that covers the base, and averages their six log ratios. With words side by side it is one token and one ratio; BPE cuts the two alleles differently and has no masked score.

# %%
from gfm_lab import KmerTokenizer

words = KmerTokenizer(6)
changed = window[:63] + "A" + window[64:]
one, two = (words.encode_array(text) for text in (window, changed))
print(
    (one != two).sum(),
    "of",
    len(one),
    "tokens change:",
    words.convert_ids_to_tokens(one[one != two][:3]),
)

# %% [markdown]
# ## 2. Autoregressive: how likely is the window?
#
# A next-token model has no gap to fill. It gives the whole window a likelihood, once with each allele, and the score is the difference of their logarithms. There is a choice hidden in it: read from which end?

# %% tags=["nbval-ignore-output"]
writer, letters = load_model("ecoli-conv-ar")
window = context[place - 63 : place + 64]
pair = {"G": window, "A": window[:63] + "A" + window[64:]}


def log_likelihood(text):
    """The sum over bases of log P(base | those before it), in nats."""
    ids = torch.tensor([letters(text)["input_ids"]])
    with torch.no_grad():
        log_p = writer(input_ids=ids).logits[0, :-1, 5:9].log_softmax(-1)
    return log_p.gather(1, ids[0, 1:, None] - 5).sum().item()


forward = log_likelihood(pair["A"]) - log_likelihood(pair["G"])
other = (log_likelihood(reverse_complement(pair[base])) for base in "AG")
backward = next(other) - next(other)
print(f"from the left {forward:+.3f}, from the right {backward:+.3f} nats")

# %% [markdown]
# The two readings see different contexts before the variant, and both change the predictions of the bases that *follow* it. Neither is wrong. We average them, and get one score for one piece of double-stranded DNA.

# %% tags=["nbval-ignore-output"]
table = score_variants(writer, letters, [variant], context, "autoregressive", window=127)
assert abs(table["score"][0] - (forward + backward) / 2) < 1e-3
print(f"{table['score'][0]:+.3f} nats, both strands averaged")

# %% [markdown]
# **Insertions and deletions.** A longer text is less likely for no other reason: each further base costs some 1.3 nats. So the package compares *per base*, and multiplies with the bases of the longer window. For a substitution that changes nothing. What it prevents: here are random insertions and deletions of three bases.

# %% tags=["nbval-ignore-output"]
rng = np.random.default_rng(0)
places = rng.integers(100, 575, size=12)
gains = [("lac", p, context[p], context[p] + "".join(rng.choice([*"ACGT"], 3))) for p in places]
losses = [("lac", p, context[p : p + 4], context[p]) for p in places]
rows = {}
for name, changes in (("insertions", gains), ("deletions", losses)):
    ours = score_variants(writer, letters, changes, context, "autoregressive", window=127)
    texts = [
        (context[p - 62 : p + 62], context[p - 62 : p] + b + context[p + len(a) : p + 62])
        for _, p, a, b in changes
    ]
    plain = [log_likelihood(new) - log_likelihood(old) for old, new in texts]
    rows[name] = [np.mean(plain), ours["score"].mean()]
assert rows["insertions"][0] < rows["deletions"][0]
pd.DataFrame(rows, index=["plain difference", "per base"]).T.round(2)

# %% [markdown]
# By the plain difference, losing DNA looks better than having it. Per base, both cost something, as changes to a genome mostly should.
#
# ### Exercise 3 · a bug to find: the other strand
#
# A colleague moves variants to the reverse strand with the function below. It runs, and works for some of them. Here are two changes: applied to the other strand, each should give the reverse complement of the mutated sequence.


# %%
def turned_by_a_colleague(position, ref, alt, length):
    return length - 1 - position, ref[::-1], reverse_complement(alt)


text = "ACGGTTAC"
for position, ref, alt in ((1, "C", "A"), (2, "GGT", "GC")):
    p, r, a = turned_by_a_colleague(position, ref, alt, len(text))
    other = reverse_complement(text)
    print(f"{ref}>{alt} becomes {r}>{a} at {p}; the other strand has {other[p : p + len(r)]}")

# %% [markdown]
# <details><summary>Hint 1</summary>Which base pairs with C? Is REF treated like ALT?</details>
# <details><summary>Hint 2</summary>The last base of REF, at <code>position + len(ref) − 1</code>, comes first on the other strand.</details>


# %% tags=["exercise"]
def my_turned(position, ref, alt, length):
    """The same variant on the reverse complement of a sequence of `length` bases."""
    # BEGIN SOLUTION
    return length - position - len(ref), reverse_complement(ref), reverse_complement(alt)
    # END SOLUTION


check.my_turned(my_turned)

# %% [markdown]
# ## 3 and 4. A distance, and a trained head
#
# The **embedding** score is the distance between the mean vectors of both windows (1 − cosine, unless told otherwise). It is never negative: large means "the model sees a difference", better or worse it cannot say. We will count it as *loss*, and use its negative.
#
# The **trained head** is another kind of thing. It has seen labels of the assay itself. For lac we take a small network (`train_predictor`; notebook 13 uses it, too), trained on some of the training rows for seconds.

# %% tags=["nbval-ignore-output"]
from gfm_lab.predictors import train_predictor

assay = load_data("lac-mpra")
rng = np.random.default_rng(0)
parts = []
for split, rows in (("train", 10_000), ("valid", 2_000)):
    part = assay.split(split)
    chosen = np.zeros(len(part), dtype=bool)
    chosen[rng.choice(len(part), rows, replace=False)] = True
    parts.append((part.where(chosen).sequences, part.where(chosen).labels))
options = {"kind": "mlp", "task": "regression", "batch_size": 256, "learning_rate": 3e-3}
lac_head = train_predictor(*parts, epochs=5, **options)
print(f"{len(parts[0][0]):,} rows to train on, {len(parts[1][0]):,} to stop by")

# %% [markdown]
# ## Four scores, one assay: lac
#
# The assay (Kinney and colleagues, 2010) sorted cells with mutated promoters by their fluorescence. A row has several changes at once; the label is the mean bin, 0 dark to 9 bright. Each row becomes one variant of several bases. The masked model then hides all changed bases together.
#
# ### Exercise 4 · predict
#
# Three routes from sequence to expression: the `"trained head"`, the `"language models"` without any label, and the `"mutation count"` (more changes, less expression). Which rank correlation with the measurement will be the best, which the second? List the three, best first.
#
# <details><summary>Hint 1</summary>Which of them has seen a single measured value?</details>
# <details><summary>Hint 2</summary>The wild type is a good promoter, but not the best. What does a model of the whole genome know of that?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_prediction = ["trained head", "mutation count", "language models"]
# END SOLUTION
check.my_prediction(my_prediction)

# %%
test = assay.split("test").frame.sample(400, random_state=0)
measured = test["y"].to_numpy()
library = [v._replace(position=300) for v in variants_of(lac, test["sequence"])]
print(library[0].kind, "|", len(library), "variants of", len(lac), "bases")
print(f"changes in a variant: {test['mutations'].median():.0f} (median)")

# %% tags=["nbval-ignore-output"]
scores = pd.DataFrame({"minus mutations": -test["mutations"].to_numpy()})
for name, parts, method in (
    ("masked", (model, tokenizer), "masked"),
    ("autoregressive", (writer, letters), "autoregressive"),
    ("minus distance", (writer, letters), "embedding"),
):
    found = score_variants(*parts, library, context, method, window=128)["score"]
    scores[name] = -found if method == "embedding" else found
scores["trained head"] = score_variants(lac_head, None, variants_of(lac, test["sequence"]), lac, "head")["score"]  # fmt: skip


# %%
def report(scores, measured, metric="Spearman", groups=None):
    """Each score against the measurement, with its 95 % interval."""
    rows = {
        name: with_interval(metric, measured, scores[name], groups, resamples=300)[1:]
        for name in scores
    }
    return pd.DataFrame(rows, index=[metric, "from", "to"]).T


# %% tags=["nbval-ignore-output"]
lac_table = report(scores, measured)
assert lac_table.loc["trained head", "from"] > lac_table.loc["minus mutations", "to"]
assert lac_table.loc[["masked", "autoregressive"], "Spearman"].abs().max() < 0.15
lac_table.round(3)

# %% tags=["figure", "nbval-ignore-output"]
figure, axis = plt.subplots(figsize=(8, 3.2))
middle, names = lac_table["Spearman"], list(lac_table.index)
spread = [middle - lac_table["from"], lac_table["to"] - middle]
colors = [plots.PALETTE[6], *[plots.PALETTE[0]] * 3, plots.PALETTE[1]]
for i, color in enumerate(colors):
    axis.errorbar(
        middle.iloc[i], i, xerr=[[spread[0].iloc[i]], [spread[1].iloc[i]]], fmt="o", color=color
    )
axis.axvline(0, color="grey", linewidth=1, linestyle=":")
axis.set_yticks(range(len(names)), names)
axis.invert_yaxis()
axis.set(xlabel="Spearman correlation with the measured bin", title="lac, 400 test variants")
plots.show(
    figure,
    """
    Rank correlation with expression, with 95 % intervals, of five scores on the same 400
    variants. The zero-shot scores lie near 0, at or below the count of mutations; the trained head
    lies far to the right.
""",
)

# %% [markdown]
# The trained head wins by far. The language models, though they have read this very promoter, do *not* beat counting the changes. For the count we need no model, so here it is on all test rows:

# %%
full = assay.split("test")
counted = with_interval(
    "Spearman", full.labels, -full.frame["mutations"].to_numpy(), resamples=200
)
print(f"minus mutations, all {len(full):,} test rows:", counted)

# %% [markdown]
#
# What this number does not show: the split is random among variants of *one* promoter, so the head interpolates, and says nothing of any other promoter. And most variants have a single read, so the measurement is noisy, by an amount nobody knows.
#
# ## Why do they disagree?
#
# Fit the simplest model of the assay, one effect for each single change, on the training rows. Then set it beside what the masked model expects.

# %%
train = assay.split("train")
changes = one_hot("".join(train.sequences)).reshape(len(train), 75, 4)
wild = one_hot(lac).astype(bool)
columns = changes[:, ~wild]  # (rows, 225): which of the single changes a row carries
centred = columns - columns.mean(0)
gram = centred.T @ centred + 10 * np.eye(225)  # a little ridge
effects = np.linalg.solve(gram, centred.T @ (train.labels - train.labels.mean()))

# %% tags=["nbval-ignore-output"]
expects = expected[[*"ACGT"]].to_numpy()[~wild]
every = with_interval("Spearman", effects, expects)
print("measured effect against masked score, 225 changes:", every)
places, bases = np.nonzero(~wild)
strong = np.argsort(-np.abs(effects))[:10]
rows = [(lac[p], p - 75, "ACGT"[b]) for p, b in zip(places[strong], bases[strong])]
table = pd.DataFrame(rows, columns=["from", "place", "to"])
table["effect, bins"], table["masked score"] = effects[strong], expects[strong]
assert every.value < 0.4
table.round(2)

# %% tags=["figure", "nbval-ignore-output"]
figure, axes = plt.subplots(2, 1, figsize=(13, 4.2), sharex=True)
shown = np.zeros((75, 4))
shown[~wild] = effects
for axis, values, title in (
    (axes[0], shown, "the assay: effect of each change, in bins"),
    (axes[1], expected[[*"ACGT"]].to_numpy(), "the masked model: log P(alt) − log P(ref)"),
):
    limit = np.abs(values).max()
    image = axis.imshow(values.T, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    axis.plot(range(75), wild.argmax(1), ".", color=plots.INK, markersize=3)
    axis.set_yticks(range(4), [*"ACGT"])
    axis.set_title(title)
    axis.spines[:].set_visible(False)
    figure.colorbar(image, ax=axis)
    for name, motif in (("−35", "TTTACA"), ("−10", "TATGTT")):
        left = lac.index(motif) - 0.5
        axis.add_patch(plt.Rectangle((left, -0.5), 6, 4, fill=False, edgecolor=plots.INK))
        axis.text(left + 3, -0.6, name, ha="center", va="bottom", fontsize=10)
axes[1].set_xticks(range(0, 75, 10), range(-75, 0, 10))
plots.show(
    figure,
    """
    Two heat maps of all 225 single changes of the lac promoter: above what the assay measured,
    below what the masked model expects. In the assay nearly all strong effects stand in the
    framed −35 and −10 boxes and in two stretches further left, the halves of the CRP site; in
    the model they are spread over all places.
""",
)

# %% [markdown]
# Two answers to two questions. The assay asks RNA polymerase, which touches two boxes, and its helper CRP. The language model asks the genome, four million bases of mostly genes, where a promoter is a rare event. And look at the strongest *gains*: TTTACA to TTGACA, TATGTT towards TATAAT. Evolution keeps lac weak so that it can be regulated; a conserved base need not be the *best* base. A likelihood can at most say "usual", and here neither "usual" nor "seen" means "bright".
#
# ## A second assay: a splice site
#
# The splice assay (Wong and colleagues, 2018) put nearly every possible 5' splice site into exon 17 of BRCA2: nine bases, three of the exon, six of the intron. The natural one, `CAG|GCAAGT`, is of the rare kind with GC. **GT and GC sites must be told apart**: they splice by the same machine, with very different strength, and mixing them hides what happens within each.

# %%
sites = load_data("splice-mpra")
test = sites.split("test").frame
both = [test[test["site"] == site].sample(250, random_state=0) for site in ("GT", "GC")]
both = pd.concat(both, ignore_index=True)
print(test.groupby("site")["y"].describe()[["count", "mean", "std"]].round(2))

# %% [markdown]
# The cheap rival is older than any network: a **position weight matrix** (PWM) of annotated human donors. It has seen no measurement either, so it is the fair zero-shot baseline.

# %%
annotated = load_data("human-splice-sites").split("train")
donors = annotated.where(annotated.frame["kind"] == "donor")
nine = one_hot("".join(s[197:206] for s in donors.sequences)).reshape(-1, 9, 4)
weights = np.log2((nine.sum(0) + 1) / (len(nine) + 4) / 0.25)  # (9, 4) bits


def pwm(sequence):
    return float((one_hot(sequence) * weights).sum())


natural = "CAGGCAAGT"
read_gt = np.mean([s[200:202] == "GT" for s in donors.sequences])
print(f"{len(nine):,} donors, {read_gt:.1%} of them read GT")
print(f"natural site {pwm(natural):.1f} bits, CAGGTAAGT {pwm('CAGGTAAGT'):.1f}")
motif = test["sequence"].map(pwm)
for name, rows in (
    ("GT", test["site"] == "GT"),
    ("GC", test["site"] == "GC"),
    ("all", motif > -99),
):
    found = with_interval("Spearman", test["y"][rows], motif[rows], resamples=200)
    print(f"{name:3s} of {rows.sum():,} test sites: {found}")

# %% [markdown]
# A language model needs a context, and chromosome 13 is not among our tables. So we put the nine bases where a chr20 donor has its own, in two genes, and average. The human model is `species-mamba-ar`, asked with the control token `human`. The *E. coli* model comes along as a control that should know nothing.

# %% tags=["nbval-ignore-output"]
human, species = load_model("species-mamba-ar")
contexts = [s[:197] + natural + s[206:] for s in donors.sequences[::2000][:2]]
library = [v._replace(position=197) for v in variants_of(natural, both["sequence"])]
splice = pd.DataFrame({"human donor PWM": [pwm(s) for s in both["sequence"]]})
for name, parts, method, more in (
    ("autoregressive, human", (human, species), "autoregressive", {"control": "human"}),
    ("minus distance, human", (human, species), "embedding", {"control": "human"}),
    ("masked, E. coli", (model, tokenizer), "masked", {}),
):
    more |= {"window": 48, "strands": "forward"}  # a donor is read on the strand of its gene
    found = [score_variants(*parts, library, c, method, **more)["score"] for c in contexts]
    splice[name] = np.mean(found, axis=0) * (-1 if method == "embedding" else 1)

# %% tags=["nbval-ignore-output"]
parts = [(sites.split(part).sequences, sites.split(part).labels) for part in ("train", "valid")]
splice_head = train_predictor(*parts, epochs=6, **options)
splice["trained head"] = score_variants(
    splice_head, None, variants_of(natural, both["sequence"]), natural, "head"
)["score"]
tables = {
    site: report(splice[both["site"] == site], both["y"][both["site"] == site])
    for site in ("GT", "GC")
}
tables["all"] = report(splice, both["y"])
summary = pd.concat(tables, axis=1)
assert summary["GT", "Spearman"]["human donor PWM"] > 0.15
summary.round(2)

# %% [markdown]
# Read the columns apart. Within GT sites the PWM ranks the variants somewhat, the small human model hardly or not at all, and the *E. coli* model, as it should, not. Within GC sites even the PWM has nothing to say: it learned from sites that nearly all read GT. (On all test sites, above, the PWM shows the same with narrower intervals.)
#
# The trained head is ahead everywhere. Two questions about it: rank or squares, and which split? `split_block` holds out every site with G at both −1 and +5, so that the head has to extrapolate to a pair it never saw together.

# %% tags=["nbval-ignore-output"]
fits = {}
for by in ("split", "split_block"):
    parts = [sites.split(part, by=by) for part in ("train", "valid", "test")]
    *seen, unseen = [(part.sequences, part.labels) for part in parts]
    head = splice_head if by == "split" else train_predictor(*seen, epochs=5, **options)
    guess = head.predict(unseen[0])
    fits[by] = with_interval("R2", unseen[1], guess, resamples=200)
    rank = with_interval("Spearman", unseen[1], guess, resamples=200)
    print(f"{by:12s}{len(guess):,} test sites: {fits[by]} | {rank}")
assert fits["split"].value > 0.5

# %% [markdown]
# Most sites do not splice at all, and their order is noise: ranks count it, squares hardly. Report both, and decide beforehand which one answers the question. The supplied split is random in a library that nearly fills its space of nine bases: every test site has neighbours in training. That is interpolation, and the second line is the harder question: its R2 is lower. Its rank correlation is higher all the same, because sites with G at both places mostly do splice, and then there is an order to find. So we compare models within one split, never one number across splits.
#
# What this number does not show: the effect of the same nine bases in another exon, and anything outside them.
#
# ## Saturation of a real donor
#
# What does a model look like that was trained on splice sites by the ten thousand? One network of **CI-SpliceAI** (Strauch and colleagues, 2022) is shipped. It reads 5,000 bases on either side. We take the first donor on the forward strand of our human stretch that the network itself is sure of: the map of a site that a model does not see would show nothing.

# %%
from gfm_lab.splice_cnn import load_splice_cnn

cnn = load_splice_cnn()
inside = donors.frame["position"].between(people.offset + 5_001, 4_000_000)
ahead = donors.frame[inside & (donors.frame["strand"] == "+")]


def context_of(donor):
    """The last base of the exon, with 5,000 bases on either side."""
    last = donor.position - 1 - people.offset
    return people.sequence[last - 5000 : last + 5001]


# %% [markdown]
# A head for `score_variants` is anything that answers to a list of sequences. Ours gives the probabilities of *no site*, *acceptor* and *donor* for the base in the middle; the score is the change of the log odds of *donor*.


# %%
def middle(sequences):
    """Probabilities (N, 3) of none, acceptor, donor at the middle one of 10,001 bases."""
    rows = [torch.from_numpy(one_hot(s).T.copy())[None] for s in sequences]
    with torch.inference_mode():
        return np.concatenate([cnn(row).softmax(1)[:, :, 0] for row in rows])


# %% tags=["nbval-ignore-output"]
chosen = next(d for d in ahead.itertuples() if middle([context_of(d)])[0, 2] > 0.9)
around = context_of(chosen)
print(chosen.gene, f"chr20:{chosen.position:,};", around[4990:5001], "|", around[5001:5015])
options = {"method": "head", "window": 10_001, "target": 2}
first_base, stop_base = 5000 - 7, 5000 + 13
donor_map = saturation(middle, None, around, first_base, stop_base, **options)
print("P(donor) of the reference:", middle([around])[0, 2].round(3))
G, T = 5001, 5002
lost = donor_map.set_index("position").loc[[G, T]]
assert lost[[*"ACGT"]].min().min() < -3

# %% tags=["figure", "nbval-ignore-output"]
figure = saturation_figure(donor_map, "change of the\nlog odds of a donor", first=-8)
figure.axes[1].axvline(-0.5, color=plots.INK, linewidth=1.2)
figure.axes[1].set_xlabel("base from the exon's end (0, 1: intron)")
plots.show(
    figure,
    """
    Saturation of a human donor with the splice network. Above, letters as high as the mean
    loss of donor log odds when the base changes: G and T at 0 and 1 stand out. Below, the
    heat map of all changes of the last 8 bases of the exon and the first 12 of the intron; the
    line marks the border.
""",
)

# %% [markdown]
# GT at the start of the intron, and after it the bases that pair with the U1 RNA: what a PWM knows, and here in one gene. How far do the other scores agree on these same changes?

# %% tags=["nbval-ignore-output"]
where = range(5000 - 2, 5000 + 7)  # the nine bases of the PWM
inner = donor_map[donor_map["position"].isin(where)]
alternatives = [
    (p, r, b) for p, r in zip(inner["position"], inner["ref"]) for b in "ACGT" if b != r
]
opinions = pd.DataFrame({"splice CNN": [inner.set_index("position").loc[p, b] for p, _, b in alternatives]})  # fmt: skip
opinions["PWM"] = [weights[p - 4998, "ACGT".index(b)] - weights[p - 4998, "ACGT".index(r)]
                   for p, r, b in alternatives]  # fmt: skip
named = [Variant("20", *change) for change in alternatives]
opinions["autoregressive, human"] = score_variants(
    human, species, named, around, "autoregressive", window=128, control="human"
)["score"]
report(opinions.drop(columns="splice CNN"), opinions["splice CNN"]).round(2)

# %% [markdown]
# On these 27 changes of one site the network and the PWM agree; both have seen donors *as donors*. The small language model agrees with neither: it has read a chromosome, where few of a thousand bases belong to a donor.
#
# A caution that belongs under every such map: the network was trained on **all human chromosomes**, this gene included. Its confidence here is not evidence that it generalises; the card of the checkpoint has the honest test, on *Arabidopsis*.
#
# ## Human variation: common against rare
#
# If a variant does harm, selection keeps it rare. So a score of harm should be lower for rare variants than for common ones. That makes **allele frequency** a weak proxy of effect, weak because frequency also follows age, chance, and how easily a change happens. Baselines first. The *trinucleotide context* knows only the base, its neighbours and the alternative; we take how often each kind is common in the training region.

# %%
snvs = people.frame[people.frame["kind"] == "snv"]
snvs = snvs[(snvs["af"] > 0.05) | (snvs["af"] < 0.005)].assign(common=lambda f: f["af"] > 0.05)
snvs["kind_of"] = [
    f"{people.sequence[s - 1 : s + 2]}>{a}" for s, a in zip(snvs["start"], snvs["alt"])
]
read = snvs[snvs["split"] == "train"]
counts = read.groupby("kind_of")["common"].agg(["sum", "count"])
usual = read["common"].mean()
rate = (counts["sum"] + 10 * usual) / (counts["count"] + 10)  # few are drawn to the mean
held_out = snvs[snvs["split"] == "test"].groupby("common").sample(200, random_state=0)
held_out = held_out.reset_index(drop=True)
print(f"{len(read):,} to learn rates from, {len(held_out)} of the test region to score")

# %%
frame = held_out
cpg = [
    (people.sequence[s : s + 2] == "CG" and a == "T")
    or (people.sequence[s - 1 : s + 1] == "CG" and a == "A")
    for s, a in zip(frame["start"], frame["alt"])
]
weak = pd.DataFrame(
    {"position": frame["position"].astype(float), "no CpG transition": ~np.array(cpg)}
)
weak["trinucleotide context"] = frame["kind_of"].map(rate).fillna(usual)
blocks = frame["position"] // 20_000  # neighbours share their history: drawn together

# %% tags=["nbval-ignore-output"]
columns = ["position", "ref", "alt"]
table = score_variants(
    human, species, frame[columns], people, "autoregressive", window=128, control="human",
    strands="forward", batch_size=32,
)  # fmt: skip
weak["autoregressive, human"] = table["score"]
weak["masked, E. coli"] = score_variants(model, tokenizer, frame[columns], people, window=64)[
    "score"
]
proxy = report(weak.astype(float), frame["common"].to_numpy().astype(int), "AUROC", blocks)
assert proxy.loc["autoregressive, human", "AUROC"] < proxy.loc["trinucleotide context", "to"]
proxy.round(3)

# %% [markdown]
# Chance is 0.5. The best of these is a table of 192 contexts, and it is not good either. The human language model does not separate common from rare; a model of this size should not be expected to, and larger ones that do were trained on many genomes. Intervals are by blocks of 20 kb, because variants next to each other were inherited together.
#
# Why can a likelihood even point the *wrong* way? Look at CpG. Methylated C mutates to T about ten times as often as other bases change (Nachman and Crowell, 2000). So the genome is poor in CG and rich in TG, and a language model has learned just that:

# %% tags=["nbval-ignore-output"]
transition = np.array(cpg)
means = weak["autoregressive, human"].groupby(transition).mean()
print(f"mean score of CpG transitions {means[True]:+.2f}, of all others {means[False]:+.2f} nats")
rare = 1 - frame["common"].groupby(transition).mean()
print(f"rare among CpG transitions {rare[True]:.0%}, among others {rare[False]:.0%}; half of all")
assert means[True] > means[False]

# %% [markdown]
# To the model a CpG transition is a change towards *usual* DNA, and so it scores high. In the population such changes arise anew all the time, and many are therefore *young and rare*. The likelihood has learned mutation as well as selection, and here the two pull apart.
#
# What this number does not show: whether any of these variants does anything. Rare is not harmful, and common is not harmless.
#
# ## When scores disagree

# %% tags=["nbval-ignore-output"]
agreement = report(scores.drop(columns="masked"), scores["masked"])
assert agreement.loc["autoregressive", "Spearman"] > 0.4
agreement.round(2).rename_axis("on lac, beside the masked score")

# %% tags=["nbval-ignore-output"]
ahead = paired("Spearman", measured, scores["trained head"], scores["minus mutations"])
behind = paired("Spearman", measured, scores["autoregressive"], scores["minus mutations"])
print(
    f"trained head minus mutation count:   {ahead.value:+.2f} [{ahead.low:+.2f}, {ahead.high:+.2f}]"
)
print(
    f"autoregressive minus mutation count: {behind.value:+.2f} [{behind.low:+.2f}, {behind.high:+.2f}]"
)
assert ahead.low > 0

# %% [markdown]
# On lac the two likelihoods agree with *each other* far better than with the measurement. Agreement of two models trained on the same text is no evidence for either. Which score, then?
#
# | your question | ask | and beside it |
# |---|---|---|
# | an assay exists for this element | a head trained on it | additive model, mutation count, block split |
# | a known machine reads the site (splicing, a factor) | a network or PWM trained on its sites | PWM, and a species it has not seen |
# | coding or deeply conserved DNA, no labels | a likelihood from a model of many genomes | conservation, trinucleotide context |
# | "does the model notice?" | an embedding distance | the same distance for harmless variants |
# | insertions, deletions | autoregressive or a head | the per-base correction; length alone |
#
# ### Exercise 5 · interpret
#
# A clinic sends one variant of unknown significance: G to A at the last base of an exon. Your human language model gives −2.1 nats, the splice network lowers the log odds of the donor by 3. They ask: "So the AI says it is pathogenic?" Answer in three or four sentences.
#
# <details><summary>Hint 1</summary>What does each of the two numbers measure, and on what was each model trained?</details>
# <details><summary>Hint 2</summary>What would you put beside the numbers, and which experiment would decide?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_interpretation = """
No. The log-likelihood says that an A is unusual here in DNA like the model's training data, not that it harms. The splice
network does predict a weaker donor, but it was trained on this very gene, so its confidence is not a held-out result. I
would set both beside the PWM and beside the same scores of common variants at this position of other donors, and state an
interval. What decides is an experiment: RNA of the patient or a minigene assay, together with frequency and segregation.
"""
# END SOLUTION
check.my_interpretation(my_interpretation)

# %% [markdown]
# ## Take-aways
#
# - Check REF, count from 0 or from 1 and say which, split rows with several alternatives, know your strand.
# - Masked: the gap, all four bases in one pass. Autoregressive: the whole window, both strands, indels per base. Both in nats, negative = less likely. A distance has no direction. A head answers only the question it was trained on.
# - On lac, zero-shot likelihoods did not beat the number of mutations, though the models had read the wild type. On the splice assay they did not beat a PWM. Labels of the assay beat both by far, on an easy split.
# - A likelihood learns what is usual: composition, mutation, selection, all at once. "Unusual" is not "harmful".
# - The state of these results: models of one or two million parameters, trained for minutes. Large published models do better on some of these questions. The baselines, the intervals and the traps stay the same.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "daccda"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are

# %%
plots.show(
    plots.anatomy(4, {4: "language model", 5: "masked"}),
    """
    The five sites of a genomic model, from tokenizer to objective. Site 4, the head, is
    filled in: a variant is scored by what the head says about two windows.
""",
)

# %% [markdown]
# ## Further reading
#
# - Meier and colleagues (2021), masked marginals as zero-shot effects, for proteins. [doi:10.1101/2021.07.09.450648](https://doi.org/10.1101/2021.07.09.450648)
# - Benegas, Batra and Song (2023), *GPN*: DNA language models and variant effects. [doi:10.1073/pnas.2311219120](https://doi.org/10.1073/pnas.2311219120)
# - Jaganathan and colleagues (2019), *SpliceAI*. [doi:10.1016/j.cell.2018.12.015](https://doi.org/10.1016/j.cell.2018.12.015)
# - Strauch and colleagues (2022), *CI-SpliceAI*, whose network we used. [doi:10.1371/journal.pone.0269159](https://doi.org/10.1371/journal.pone.0269159)
# - Kinney and colleagues (2010), the lac assay. [doi:10.1073/pnas.1004290107](https://doi.org/10.1073/pnas.1004290107)
# - Wong, Kinney and Krainer (2018), the splice assay. [doi:10.1016/j.molcel.2018.07.033](https://doi.org/10.1016/j.molcel.2018.07.033)
# - 1000 Genomes Project (2015). [doi:10.1038/nature15393](https://doi.org/10.1038/nature15393)
# - Nachman and Crowell (2000), mutation rates of human DNA, CpG among them. [doi:10.1093/genetics/156.1.297](https://doi.org/10.1093/genetics/156.1.297)
# - Richards and colleagues (2015), how clinics weigh evidence on a variant. [doi:10.1038/gim.2015.30](https://doi.org/10.1038/gim.2015.30)
#
# Next: notebook 13 turns the question around, and writes DNA that should do something.
