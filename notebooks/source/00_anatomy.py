# %% [markdown]
# # 00 · Anatomy: what happens to one stretch of DNA inside a model?
#
# **The question.** We take 88 letters that a bacterium reads as "start here", send them through a small trained model, and watch every station. Does the model know what the cell knows?
#
# **You will be able to**
# - name the five sites of a genomic model, and the shape of what leaves each;
# - hide a base, read the model's guess, and count in bits how good it is;
# - mutate a word and read the score beside a baseline and a control;
# - say what a map of embeddings shows.
#
# | your time | run time | needs |
# |---|---|---|
# | about 50 minutes | under 30 seconds on 2 cores, under 2 GB | a first look at p1 (DNA) and p2 (tensors, softmax, bits), if these are new to you |
#
# New words: [glossary](../docs/glossary.md).

# %% tags=["setup"]
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from gfm_lab import checks, dissect, load_data, load_model, one_hot, plots, reverse_complement
from gfm_lab.baselines import MarkovModel
from gfm_lab.evaluation import bootstrap, masked_probabilities

plots.use_style()
torch.set_num_threads(1)  # so that the same numbers come back
check = checks.start("00_anatomy")

# %% [markdown]
# ## A promoter
#
# When the DNA of *E. coli* is damaged, the bacterium throws a switch called SOS, which the protein LexA otherwise keeps off. Below is the start of the gene *lexA* itself. The copying machine, RNA polymerase, docks at two words, the **−35 box** and the **−10 box**; copying starts at **+1**. LexA binds two **SOS boxes** and so switches off its own gene. Further on the ribosome reads **ATG**, then codons of three letters: the protein begins.
#
# We chose it, before running any model on it, because its +1 was measured (Miki and colleagues, 1981; base 4,257,087 in RegulonDB), because it is compact, and because it lies in the **test region**: the last tenth of the chromosome, kept out of training. No 16 of its letters in a row occur in the training region, on either strand (the assert), so what the model says below is no memory of this place.

# %%
ecoli = load_data("ecoli-k12")
START = 4_257_086  # +1, counted from 0
FIRST, LENGTH = START - 42, 88
stretch, train = ecoli.region(FIRST, FIRST + LENGTH), ecoli.split("train")
for strand in (stretch, reverse_complement(stretch)):
    assert not any(strand[i : i + 16] in train for i in range(LENGTH - 15))
print(stretch)

# %% tags=["figure"]
PARTS = {  # name: first base, one past the last, as read in `stretch`; colour
    "−35 box": (7, 13, "#0072B2"),
    "−10 box": (30, 36, "#D55E00"),
    "SOS box 1": (25, 41, "#CC79A7"),
    "SOS box 2": (46, 62, "#CC79A7"),
    "start codon": (70, 73, "#009E73"),
}
assert stretch[7:13] == "TTCCAA" and stretch[30:36] == "TATACT" and stretch[70:73] == "ATG"
half = LENGTH // 2
figure, axes = plt.subplots(2, 1, figsize=(12.5, 4.3))
for row, axis in enumerate(axes):
    plots.sequence_strip(axis, stretch[row * half : (row + 1) * half], x=row * half)
    for name, (a, b, color) in PARTS.items():
        if row * half <= a < (row + 1) * half:
            y = -0.75 if name.startswith("SOS") else 0.95
            axis.add_patch(plt.Rectangle((a, y), b - a, 0.16, color=color))
            axis.text((a + b) / 2, y + (-0.12 if y < 0 else 0.26), name, color=color,
                      ha="center", va="top" if y < 0 else "bottom", weight="bold")  # fmt: skip
    axis.set(xlim=(row * half - 0.3, (row + 1) * half + 0.3), ylim=(-1.7, 2.3))
    axis.axis("off")
arrow = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.6}
axes[0].plot([42.5, 42.5], [0.8, 1.5], color=plots.INK, linewidth=1.6)
axes[0].annotate("", (44.2, 1.5), (42.5, 1.5), arrowprops=arrow)
axes[0].text(42.4, 1.65, "+1", ha="center", weight="bold")
for i, amino in enumerate("MKALTA"):
    axes[1].plot([70 + 3 * i + 0.1, 72.9 + 3 * i], [-0.15, -0.15], color="#009E73", linewidth=2.5)
    axes[1].text(71.5 + 3 * i, -0.3, amino, ha="center", va="top", color="#009E73")
axes[1].text(79, -0.95, "the protein LexA begins", ha="center", va="top", color="#009E73")
plots.show(
    figure,
    """
    The 88 letters in two rows. First row: the minus 35 box TTCCAA, 17 letters further the minus
    10 box TATACT, which lies within the first SOS box, and the start of copying, +1. Second
    row: the second SOS box, the start codon ATG and the first six codons of LexA.
""",
)

# %% [markdown]
# The ideal words, over many promoters, are TTGACA and TATAAT. Here we read TTCCAA and TATACT: real words are fuzzy.
#
# ## The five sites
#
# Every genomic model is a choice at five sites. Ours is a small one: a token for each letter, six layers of attention, 128 numbers a position, trained to fill gaps in 3.9 million letters of *E. coli*. `dissect` measures what happens at each site.

# %%
model, tokenizer = load_model("ecoli-attention-mlm")
report = dissect(model, tokenizer, stretch)
report

# %% tags=["figure"]
plots.show(
    report.figure(),
    """
    The five sites with this model's numbers under each: the tokenizer gives 88 token ids, the
    embedding a vector of 128 numbers for each, six attention layers mix them, the head gives ten
    scores at each position, and the objective is one number. Most parameters sit in the
    embedding, which also holds vectors for words of up to six letters on either side of a base.
""",
)

# %% [markdown]
# Now by hand, station by station. The **tokenizer** gives each letter a number.

# %%
vocabulary = {"A": 5, "C": 6, "G": 7, "T": 8}
by_hand = [vocabulary[letter] for letter in stretch]
assert by_hand == tokenizer(stretch)["input_ids"]
ids = torch.tensor([by_hand])
print("letters", stretch[:8], "-> ids", by_hand[:8])
print("shape", tuple(ids.shape), "| all tokens:", *tokenizer.convert_ids_to_tokens(range(10)))

# %% [markdown]
# One sequence, 88 tokens. The ids 0 to 4 are special tokens; we will need `[MASK]`, number 4.
#
# ### Exercise 1 · predict
#
# What shapes leave the embedding, the last layer, and the head? Three tuples, before you run the next cell.
#
# <details><summary>Hint 1</summary>A vector has 128 numbers, and every token gets one. Do layers change how many there are?</details>
# <details><summary>Hint 2</summary>The head gives each position one score for every token that exists. How many are there?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_shapes = [(1, 88, 128), (1, 88, 128), (1, 88, 10)]
# END SOLUTION
check.shapes(my_shapes)

# %%
with torch.inference_mode():
    x = model.body.embeddings(ids)  # site 2: a vector for each token
    print("embedding", tuple(x.shape))
    for layer in model.body.layers:  # site 3: positions exchange what they know
        x = layer(x)
    hidden = model.body.norm(x)
    print("mixer    ", tuple(hidden.shape), "after", len(model.body.layers), "layers")
    logits = model.head(hidden)  # site 4: scores for each token of the vocabulary
    print("head     ", tuple(logits.shape))
    torch.testing.assert_close(logits, model(input_ids=ids).logits)

# %% [markdown]
# That loop *is* the model: the last line checks it. Two names to keep apart: the **hidden states**, 128 numbers a position, are what the model makes of the text; the **logits**, 10 numbers a position, are its scores for each token.
#
# The **objective**, needed for training, hides some letters, asks for them, and turns the answers into one number, the mean surprise. Knowing nothing costs 2 bits a letter.

# %%
hide = np.random.default_rng(0).random(LENGTH) < 0.15  # as in training
gaps, labels = ids.clone(), torch.full_like(ids, -100)  # -100: not asked
gaps[0, hide], labels[0, hide] = tokenizer.mask_token_id, ids[0, hide]
print("".join("_" if h else letter for letter, h in zip(stretch, hide)))
with torch.inference_mode():
    out = model(input_ids=gaps, labels=labels)
by_hand = F.cross_entropy(out.logits[0, hide], ids[0, hide])
torch.testing.assert_close(by_hand, out.loss)
print(f"{hide.sum()} letters hidden, {out.loss.item() / np.log(2):.1f} bits each")

# %% [markdown]
# (A dozen letters are no score; the checkpoint's card has the score.) Training repeats this for half a million windows, and moves all parameters a little each time.
#
# ## Hide a base, ask the model
#
# We hide one base at a time and show the model some 64 letters on either side. A softmax over the logits of the four bases makes probabilities of them. Beside it stands a **baseline** that only counts: a Markov model, which knows how often each 7-letter word occurs in the training region.

# %%
FLANK = 64  # the model was trained on windows of 128 letters
context = ecoli.region(FIRST - FLANK, FIRST + LENGTH + FLANK)
inside = slice(FLANK, FLANK + LENGTH)
asked = np.arange(FLANK, FLANK + LENGTH)
p = masked_probabilities(model, tokenizer, context, positions=asked, window=128)[inside]
markov = MarkovModel(order=6).fit(train)
q = markov.masked_probabilities(context)[inside]

# %% tags=["figure"]
codon = START + 28 + 3 * 98  # further on, inside the gene: a codon CAG
there = ecoli.region(codon - FLANK, codon + FLANK)
guess = masked_probabilities(model, tokenizer, there, positions=[FLANK], window=128)[FLANK]
panels = (
    ("A of the −10 box", "A", p[31], q[31]),
    ("G of the start codon", "G", p[72], q[72]),
    ("C of a codon CAG in the gene", "C", guess, markov.masked_probabilities(there)[FLANK]),
)
figure, axes = plt.subplots(1, 3, figsize=(12, 3.1), sharey=True)
for axis, (name, true, ours, theirs) in zip(axes, panels):
    colors = [plots.NUCLEOTIDE_COLORS[base] for base in "ACGT"]
    axis.bar(np.arange(4) - 0.2, ours, width=0.36, color=colors)
    axis.bar(np.arange(4) + 0.2, theirs, width=0.36, color=colors, alpha=0.4)
    axis.axhline(0.25, color="grey", linestyle=":", linewidth=1)
    axis.set_xticks(range(4), [f"[{base}]" if base == true else base for base in "ACGT"])
    axis.set_title(name)
axes[0].set(ylabel="probability", ylim=(0, 1), yticks=(0, 0.25, 0.5, 0.75, 1))
plots.show(
    figure,
    """
    Guesses for three hidden bases, as probabilities of A, C, G and T: full colour the model, pale
    the Markov model, dotted line a blind guess of 0.25. The base that stands there is in brackets.
""",
)

# %% [markdown]
# ### Exercise 2 · how sure is a guess?
#
# A **logo** draws a guess as letters whose height is its *information*: 2 bits minus the entropy $-\sum p \log_2 p$. Certain is 2 bits, blind is 0. Write it for `p` of shape (positions, 4); a probability can be 0.
#
# <details><summary>Hint 1</summary>Entropy is one number a position: sum over the last axis.</details>
# <details><summary>Hint 2</summary>0 · log 0 counts as 0: take the logarithm of <code>np.where(p > 0, p, 1)</code>.</details>


# %% tags=["exercise"]
def my_information(p):
    """Information in bits, (positions,), of probabilities (positions, 4)."""
    # BEGIN SOLUTION
    return 2 + (p * np.log2(np.where(p > 0, p, 1))).sum(axis=-1)
    # END SOLUTION


check.information(my_information)

# %% tags=["figure"]
figure, axes = plt.subplots(
    3, 1, figsize=(15, 5.6), height_ratios=(1, 1, 0.42), sharex=True, layout="constrained"
)
top = 0.0
for axis, values, name in ((axes[0], p, "the model"), (axes[1], q, "Markov model (baseline)")):
    top = max(top, plots.logo(axis, values, first=0.5).max())
    axis.set_ylabel("bits")
    axis.text(0.3, 0.97, name, weight="bold", va="top", transform=axis.get_xaxis_transform())
for axis in axes[:2]:
    axis.set_ylim(0, top * 1.12)
for i, base in enumerate(stretch):
    color = plots.NUCLEOTIDE_COLORS[base]
    axes[2].text(i + 0.5, 0.75, base, ha="center", va="center", color=color, weight="bold")
for name, (a, b, color) in PARTS.items():
    low = -0.15 if name.startswith("SOS") else 0.32
    axes[2].add_patch(plt.Rectangle((a, low), b - a, 0.12, color=color))
    axes[2].text((a + b) / 2, low - 0.05, name, color=color, ha="center", va="top", fontsize=10)
    for axis in axes[:2]:
        axis.axvspan(a, b, color=color, alpha=0.09, lw=0)
axes[2].set(xlim=(0, LENGTH), ylim=(-0.6, 1.1))
axes[2].axis("off")
axes[1].tick_params(bottom=False)
plots.show(
    figure,
    """
    What the model (above) and the Markov model (below) expect at each of the 88 letters when that
    letter is hidden: tall letters are sure guesses, of 2 possible bits. The true text stands
    underneath, with the boxes. Neither logo simply spells the text: most stacks are low.
""",
)

# %% [markdown]
# Compare tall letters with the true ones below: a sure guess can be wrong. What counts is the **surprise** at the true base, $-\log_2 p$; lower is better.

# %%
true = one_hot(stretch)  # (88, 4), 1 at the base that stands there
bits = -np.log2(pd.DataFrame({"model": (p * true).sum(1), "Markov": (q * true).sum(1)}))
table = {name: bits[a:b].mean() for name, (a, b, _) in PARTS.items()}
table["between the boxes"] = bits[13:30].mean()
table["codons 2 to 6"] = bits[73:88].mean()
table["all 88 letters"] = bits.mean()
pd.DataFrame(table).T.assign(blind=2.0).round(1)

# %% [markdown]
# The boxes are no easier to guess than by a blind draw, for either model: a promoter is an exception in a text made of genes. Has the model no idea of promoters, or bad luck with this one? We mutate, and then count.
#
# ## Mutate, and watch the score
#
# The **score** of a mutation compares two guesses at the hidden position, the new base and the old one:
#
# $$\text{score} = \log_2 p(\text{new}) - \log_2 p(\text{old})$$
#
# Negative: the model prefers what is there. We score all single mutations of the promoter, and of 88 letters from the middle of the same gene.

# %%
MIDDLE = START + 28 + 3 * 86  # the gene begins at +29: this is the first letter of a codon
around = ecoli.region(MIDDLE - FLANK, MIDDLE + LENGTH + FLANK)
in_gene = around[inside]
p_gene = masked_probabilities(model, tokenizer, around, positions=asked, window=128)[inside]
scores, scores_gene = (
    np.log2(values / (values * one_hot(letters)).sum(axis=1, keepdims=True))
    for values, letters in ((p, stretch), (p_gene, in_gene))
)
print(f"mean score: −10 box {scores[30:36].sum() / 18:+.1f}, all {scores.sum() / 264:+.1f}")

# %% tags=["figure"]
STOPS = ("TAA", "TAG", "TGA")
makes_stop = [
    (i, k)
    for i in range(LENGTH - 1)
    for k, base in enumerate("ACGT")
    if base != in_gene[i]
    and in_gene[i // 3 * 3 : i] + base + in_gene[i + 1 : i // 3 * 3 + 3] in STOPS
]
figure, axes = plt.subplots(
    4, 1, figsize=(15, 6.4), height_ratios=(1, 0.5, 1, 0.32), sharex=True, layout="constrained"
)
for axis, values, letters, title in (
    (axes[0], scores, stretch, "the promoter of lexA"),
    (
        axes[2],
        scores_gene,
        in_gene,
        "in the middle of the gene lexA; framed: mutations that make a stop codon",
    ),
):
    image = axis.pcolormesh(
        np.arange(LENGTH + 1), np.arange(5), values.T, cmap="RdBu", vmin=-5, vmax=5
    )
    for i, base in enumerate(letters):
        axis.text(i + 0.5, "ACGT".index(base) + 0.46, "·", ha="center", va="center")
    axis.set_yticks(np.arange(4) + 0.5, list("ACGT"))
    axis.set(ylabel="new base", title=title)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
for i, k in makes_stop:
    axes[2].add_patch(
        plt.Rectangle((i + 0.06, k + 0.06), 0.88, 0.88, fill=False, ec="black", lw=1.8)
    )
for axis, letters in ((axes[1], stretch), (axes[3], in_gene)):
    for i, base in enumerate(letters):
        color = plots.NUCLEOTIDE_COLORS[base]
        axis.text(i + 0.5, 0.75, base, ha="center", va="center", color=color, weight="bold")
    axis.set(xlim=(0, LENGTH), ylim=(-0.6, 1.1))
    axis.axis("off")
for name, (a, b, color) in PARTS.items():
    low = -0.15 if name.startswith("SOS") else 0.32
    axes[1].add_patch(plt.Rectangle((a, low), b - a, 0.12, color=color))
    axes[1].text((a + b) / 2, low - 0.05, name, color=color, ha="center", va="top", fontsize=10)
for i in range(0, LENGTH - 2, 3):
    axes[3].plot([i + 0.1, i + 2.9], [0.3, 0.3], color="#009E73", linewidth=2.5)
axes[3].set_ylim(-0.1, 1.1)
figure.colorbar(image, ax=axes, label="score, bits", extend="both", pad=0.01, shrink=0.7)
plots.show(
    figure,
    """
    The score of every single mutation, above in the promoter, below in the middle of the gene: a
    column for each letter of the text, a row for each new base, a dot where the base already
    stands. Red: less likely text, in the model's eyes; blue: more likely. Frames mark mutations
    that turn a codon (green bars) into a stop.
""",
)

# %% [markdown]
# Above, the boxes do not stand out. Below, most framed cells are dark: yet nobody told it what a codon is, or a stop. (Not all: it errs, too.)
#
# ### Exercise 3 · a bug to find
#
# A colleague scores mutations like this, and nearly all of them come out bad. (A difference of logits is one of log probabilities, in nats; the last line is right.)


# %%
def broken(model, tokenizer, sequence, i, base):
    ids = torch.tensor([tokenizer(sequence)["input_ids"]])
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, i]
    old, new = tokenizer.convert_tokens_to_ids([sequence[i], base])
    return (logits[new] - logits[old]).item() / np.log(2)


every = [broken(model, tokenizer, stretch, i, "T") for i in range(LENGTH) if stretch[i] != "T"]
ours = scores[:, 3][scores[:, 3] != 0]
print(f"negative scores: {np.mean(np.array(every) < 0):.0%}, ours {np.mean(ours < 0):.0%}")

# %% [markdown]
# What has the model been shown? Repair it.
#
# <details><summary>Hint 1</summary>Look at what stands at position i of <code>ids</code> while the model is asked about position i.</details>
# <details><summary>Hint 2</summary><code>tokenizer.mask_token_id</code></details>


# %% tags=["exercise"]
def my_score(model, tokenizer, sequence, i, base):
    """log2 p(base) - log2 p(base that stands there) at the hidden position i."""
    # BEGIN SOLUTION
    ids = torch.tensor([tokenizer(sequence)["input_ids"]])
    ids[0, i] = tokenizer.mask_token_id
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, i]
    old, new = tokenizer.convert_tokens_to_ids([sequence[i], base])
    return (logits[new] - logits[old]).item() / np.log(2)
    # END SOLUTION


check.score(my_score)

# %% [markdown]
# ## One promoter is an anecdote
#
# Two questions over the whole test region, each with a control and a baseline.
#
# **Promoters.** We take words within one letter of TATAAT, up to 150 letters before a protein gene and outside of genes (matches, not measured promoters), and break them: TA···T becomes TG···C. The control: such words *inside* genes.
#
# **Genes.** CAG is a codon, TAG is a stop, the end of the protein. We turn CAG into TAG in the frame that the cell reads. The control: the same change off the frame, where it makes no stop. (Both tests were settled while the model was still training, with early results on this region in view.)

# %%
text, test_start = ecoli.sequence, ecoli.splits["test"][0]
genes = ecoli.genes.query("strand == '+'")  # the other strand would do as well
free = np.ones(len(text), dtype=bool)  # not in any gene, of either strand
for gene in ecoli.genes.itertuples():
    free[gene.start : gene.stop] = False
like_tataat = re.compile("(?=TA(?:.AA|T.A|TA.)T)")  # a look-ahead finds overlapping words too
before, within, in_frame, off_frame = [], [], [], []
for gene in genes.query("biotype == 'CDS' and start > @test_start + 300").itertuples():
    found = [m.start() for m in like_tataat.finditer(text, gene.start - 150, gene.stop - 6)]
    before += [at for at in found if free[at : at + 6].all()]
    within += [at for at in found if at >= gene.start]
    found = [m.start() for m in re.finditer("CAG", text[gene.start : gene.stop - 3])]
    in_frame += [gene.start + at for at in found if at % 3 == 0]
    off_frame += [gene.start + at for at in found if at % 3 != 0]
print(f"{len(before)} and {len(within)} words; genes fill {1 - free.mean():.0%} of the genome")


# %%
def mutate_all(places, change):
    """Scores at 80 places, (80, 2): model and Markov. `change`: new bases, all hidden at once."""
    places = np.random.default_rng(0).permutation(places)[:80]
    windows = [text[at - 61 : at + 67] for at in places]
    hidden = 61 + np.array([*change])
    mask = np.isin(np.arange(128), hidden)
    ids = torch.tensor([tokenizer(window)["input_ids"] for window in windows])
    ids[:, mask] = tokenizer.mask_token_id
    with torch.inference_mode():
        p = model(input_ids=ids).logits[:, hidden, 5:9].softmax(-1).numpy()  # A, C, G, T
    q = np.array([markov.masked_probabilities(window, mask)[hidden] for window in windows])
    old, new = [one_hot(w)[hidden] for w in windows], one_hot("".join(change.values()))
    ratios = [(v * new).sum(-1) / (v * old).sum(-1) for v in (p, q)]  # (places, hidden)
    return np.stack([np.log2(ratio).sum(-1) for ratio in ratios], axis=1)


# %%
found = {
    "−10 word before genes": mutate_all(before, {1: "G", 5: "C"}),
    "−10 word inside genes": mutate_all(within, {1: "G", 5: "C"}),
    "stop, in frame": mutate_all(in_frame, {0: "T"}),
    "same, off the frame": mutate_all(off_frame, {0: "T"}),
}
stop = found["stop, in frame"] - found["same, off the frame"]
assert bootstrap(stop[:, 0])[1] < 0 and stop[:, 0].mean() < stop[:, 1].mean()
pd.DataFrame({name: v.mean(0) for name, v in found.items()}, ["model", "Markov"]).T.round(1)

# %% tags=["figure"]
figure, axes = plt.subplots(1, 2, figsize=(12.5, 3.6))
pairs = list(found.values())
panels = (
    ("break the −10 word", pairs[:2], ("before genes", "inside genes")),
    ("CAG to TAG", pairs[2:], ("in frame", "off the frame")),
)
for axis, (title, pair, labels) in zip(axes, panels):
    for j, (who, color) in enumerate((("model", plots.PALETTE[0]), ("Markov", "#888888"))):
        for k, values in enumerate(pair):
            low, high = bootstrap(values[:, j])
            mean, y = values[:, j].mean(), -k - 0.2 * j
            axis.plot([low, high], [y, y], color=color, linewidth=3)
            axis.plot(mean, y, "o", color=color, markersize=9)
        gap = pair[0][:, j] - pair[1][:, j]
        low, high = bootstrap(gap)
        verdict = "not told apart" if low <= 0 <= high else "told apart"
        line = f"{who}: difference {gap.mean():+.1f} [{low:+.1f}, {high:+.1f}], {verdict}"
        axis.text(0.02, 0.17 - 0.11 * j, line, color=color, weight="bold", fontsize=10.5,
                  transform=axis.transAxes)  # fmt: skip
    axis.set_yticks([-0.1, -1.1], labels)
    axis.axvline(0, color="grey", linestyle=":", linewidth=1)
    axis.set(title=title, xlabel="mean score, bits", ylim=(-2.1, 0.35), xlim=(-7, 1))
plots.show(
    figure,
    """
    Mean scores with 95 % intervals over 80 places each, model in blue, Markov model in grey.
    Left: breaking words like TATAAT, before genes and inside them. Right: turning CAG into TAG,
    in the reading frame, where it ends the protein, and off it. The difference between
    the two rows, written below, is what is known of the place.
""",
)

# %% [markdown]
# **Genes.** The same letters, the same change; only the frame differs, and our model scores it as far worse in frame, in genes that it was not trained on. It has found the rhythm of three by filling gaps. The Markov model sees less than half of it; longer words (`order=12`) hardly help.
#
# **Promoters.** Breaking the word costs about the same where promoters are and where they are not. No wonder for a model this small: genes fill nearly nine tenths of this genome, and promoter words are short, fuzzy and rare. **It knows genes; that it knows promoters, we cannot show.** (The test is blunt: many of our words are no promoters, and some are neighbours.)
#
# ## One body, four heads
#
# The hidden states serve other tasks as well; only the **head** changes. Our model was trained with a *language model* head, which answers at every position. Three other heads say one thing about a whole sequence, so they first make one vector of it, here the mean over positions: *classification* gives a score for each class, *regression* a number, and an *embedding* is the vector itself. The first two below are fresh and know nothing yet; notebook 08 trains them.

# %%
torch.manual_seed(0)
with torch.inference_mode():
    one_vector = hidden.mean(dim=1)
    heads = {
        "language model": model.head(hidden),
        "classification, 3 classes": torch.nn.Linear(128, 3)(one_vector),
        "regression": torch.nn.Linear(128, 1)(one_vector),
        "embedding": one_vector,
    }
for name, answer in heads.items():
    print(f"{name:26s}{tuple(answer.shape)}")

# %% [markdown]
# ## From tokens to one vector
#
# The last of these needs no labels. The mean of the *last hidden states* over all positions (not of the logits) is one vector of 128 numbers for a sequence: its **embedding**. We embed windows of 128 letters: before genes, inside genes, inside genes on the other strand, and RNA genes.


# %%
def embed(windows):
    """The mean of the last hidden states over positions, (windows, 128)."""
    ids = torch.tensor([tokenizer(window)["input_ids"] for window in windows])
    with torch.inference_mode():
        return model.body(input_ids=ids).last_hidden_state.mean(dim=1).numpy()


KINDS, rng = ("before genes", "inside genes", "other strand"), np.random.default_rng(0)
windows, kinds, vectors = {}, {}, {}
for split, n in (("valid", 45), ("test", 70)):
    rows = genes.query("biotype == 'CDS' and stop - start > 300 and split == @split")
    clear = rows.start[[free[at - 100 : at].all() for at in rows.start]]
    middle = rng.permutation((rows.start + rows.stop) // 2 - 64)[: 2 * n]
    front = rng.permutation(clear - 128)[:n]  # few genes have so much space before them
    cut = [text[at : at + 128] for at in (*front, *middle)]
    windows[split] = cut[:-n] + [reverse_complement(window) for window in cut[-n:]]
    kinds[split] = np.repeat(KINDS, [len(front), n, n])
    vectors[split] = embed(windows[split])
rna = genes.query("biotype in ('tRNA', 'ncRNA') and split == 'test'")
rna = embed([text[at : at + 128] for at in (rna.start + rna.stop) // 2 - 64])
lexA = embed([context[42:170]])

# %% [markdown]
# A principal component analysis (PCA) finds the two directions in which these vectors differ most. It is not told the kinds; the colours are ours.

# %% tags=["figure"]
from sklearn.decomposition import PCA

pca = PCA(2, random_state=0).fit(vectors["test"])
figure, axis = plt.subplots(figsize=(9.5, 5.2))
colors = (plots.PALETTE[4], plots.PALETTE[0], plots.PALETTE[3])
for kind, color, marker in zip(KINDS, colors, "os^"):
    at = pca.transform(vectors["test"][kinds["test"] == kind])
    label = {"other strand": "inside genes, other strand"}.get(kind, kind)
    axis.scatter(*at.T, s=40, color=color, marker=marker, alpha=0.8, label=label, linewidth=0)
at = pca.transform(rna)
axis.scatter(*at.T, s=60, color=plots.PALETTE[2], marker="D", label="RNA genes", linewidth=0)
at = pca.transform(lexA)[0]
axis.scatter(*at, s=300, marker="*", color="black", zorder=5)
axis.annotate("lexA promoter", at, xytext=(10, 8), textcoords="offset points", weight="bold")
share = pca.explained_variance_ratio_
axis.set(xlabel=f"first component ({share[0]:.0%})", ylabel=f"second component ({share[1]:.0%})")
axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
plots.show(
    figure,
    """
    Embeddings of windows of the test region in two dimensions, one point a window, coloured by
    kind, with the lexA promoter as a star. The axes are the first two principal components, with
    their share of the variance.
""",
)

# %% [markdown]
# A picture persuades easily, so we ask for a number. A linear classifier learns the three kinds from windows of the *validation* region, and names those of the test region. The baseline gets the counts of 3-letter words in the same windows. A guess is right one time in three.

# %%
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_extraction.text import CountVectorizer

words = CountVectorizer(analyzer="char", ngram_range=(3, 3)).fit(windows["valid"])
counts = {split: words.transform(windows[split]).toarray() for split in windows}
right = {}
for name, x in (("embedding", vectors), ("3-letter words", counts)):
    linear = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")  # nothing to tune
    right[name] = linear.fit(x["valid"], kinds["valid"]).predict(x["test"]) == kinds["test"]
    low, high = bootstrap(right[name])
    print(f"{name:15s}{right[name].mean():.0%} right [{low:.0%}, {high:.0%}]")
low, high = bootstrap(right["embedding"] * 1.0 - right["3-letter words"])
print(f"difference, same windows: {low:+.0%} to {high:+.0%}")

# %% [markdown]
# Much of what makes these windows differ is composition, which counts see. The last interval says whether the model adds to it.
#
# ### Exercise 4 · interpretation
#
# A colleague sees the map and says: "The windows before genes form a group of their own. So the model has understood what a promoter is." Answer in three or four sentences.
#
# <details><summary>Hint 1</summary>What else do windows before genes have in common? Who else can tell them apart?</details>
# <details><summary>Hint 2</summary>Which experiment above asked about promoter words themselves, and what was its control?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_interpretation = """Windows before genes hold no codons and more A and T, and counts of 3-letter words, which
know no promoter, find most of them too. So the group shows that this text is not coding. Promoter words are
another question: there we broke TATAAT before genes and, as a control, inside genes."""
# END SOLUTION
check.interpretation(my_interpretation)

# %% [markdown]
# ## Take-aways
#
# - Five sites: tokenizer, embedding, mixer, head, objective. L letters become (1, L) ids, (1, L, D) vectors, (1, L, V) scores, one loss.
# - Hide the base you ask about. A model that sees the answer repeats it.
# - Sure and right are two things: the height of a logo, and the surprise at the true base.
# - A score needs a baseline, a control and many places.
# - This model learned what is common in its genome: the frame of codons, from gaps alone.
# - Four heads fit one body: language model, classification, regression, embedding. Notebook 08 puts them to work.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "acbba"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are
#
# All five boxes have been opened once; each gets its own notebook. In bold: what our model chose.

# %% tags=["figure"]
plots.show(
    plots.anatomy(choices=report.choices),
    """
    The five sites of a genomic model, from tokenizer to objective, with this model's choices in
    bold: nucleotide tokens, rotary positions, attention, a language model head, masked training.
""",
)

# %% [markdown]
# ## Further reading
#
# - Miki, Ebina, Kishi and Nakazawa (1981), the *lexA* promoter. [PubMed 6261224](https://pubmed.ncbi.nlm.nih.gov/6261224/). Its +1 and boxes as in RegulonDB, Salgado and colleagues (2013). [doi:10.1093/nar/gks1201](https://doi.org/10.1093/nar/gks1201)
# - Little, Mount and Yanisch-Perron (1981), LexA and the SOS boxes. [doi:10.1073/pnas.78.7.4199](https://doi.org/10.1073/pnas.78.7.4199)
# - Schneider and Stephens (1990), *Sequence logos*. [doi:10.1093/nar/18.20.6097](https://doi.org/10.1093/nar/18.20.6097)
# - Ji and colleagues (2021), DNABERT: filling gaps in DNA. [doi:10.1093/bioinformatics/btab083](https://doi.org/10.1093/bioinformatics/btab083)
# - Benegas, Batra and Song (2023), GPN: mutations scored by a masked model of DNA. [doi:10.1073/pnas.2311219120](https://doi.org/10.1073/pnas.2311219120)
#
# Next: notebook 01, which asks what a model sees.
