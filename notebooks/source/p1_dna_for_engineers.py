# %% [markdown]
# # p1 · DNA for engineers: what is written in a genome?
#
# **The question.** Strands, genes, promoters, splice sites, variants, assays: what are they as strings, intervals and tables?
#
# **You will be able to**
# - read a gene off either strand, in its frame;
# - say how many bits mark a splice site;
# - write a variant down correctly;
# - say what reporter assays measure, what "held out" means.
#
# | your time | run time | needs |
# |---|---|---|
# | about 30 minutes | under 30 seconds on 2 cores, under 1 GB | Python, numpy; no biology |
#
# New words: [glossary](../docs/glossary.md).

# %% tags=["setup"]
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from gfm_lab import checks, load_data, one_hot, plots, reverse_complement
from gfm_lab.splits import shared_kmer_mask

plots.use_style()
check = checks.start("p1_dna_for_engineers")

# %% [markdown]
# ## May you skip this notebook?
#
# Seven questions, one letter each, such as `"bacdabc"`; `?` means "I do not know". The answer names the sections to read; after Run All, each can be read alone.

# %%
check.questions("placement")

# %% tags=["exercise"]
# BEGIN SOLUTION
placement_answers = "bcadacb"
# END SOLUTION
check.placement(placement_answers)

# %% [markdown]
# ## Two strands, one text
#
# A genome is a text over four **bases**, on two strands. Opposite A stands T, opposite C stands G; each strand is read from its 5' to its 3' end, in opposite directions. Files store one, the *forward* strand; the other is its **reverse complement**.

# %%
forward = "GATTACA"
other = forward.translate(str.maketrans("ACGT", "TGCA"))[::-1]  # partners, read backwards
assert other == reverse_complement(forward)
for end, strand in (("5'", forward), ("3'", other[::-1])):  # base below base
    print(end, strand)
print("5'", other, "the other strand, as it is read")

# %% [markdown]
# Genes lie on both, here in the bacterium *Escherichia coli*. A CDS ("coding sequence") spells a protein.

# %%
ecoli = load_data("ecoli-k12")
genes = ecoli.genes.query("biotype == 'CDS'")
filled = (genes.stop - genes.start).sum() / len(ecoli)
print(f"{len(ecoli):,} base pairs; {len(genes):,} coding genes fill {filled:.1%},", end=" ")
print(f"{(genes.strand == '+').mean():.1%} of them on the forward strand")

# %% [markdown]
# The *lac* genes, which digest milk sugar, lie reversed: lacZ *begins* at its `stop`, the larger coordinate.

# %% tags=["figure"]
low, high = 359_960, 367_560
figure, axis = plt.subplots(figsize=(11, 2.6))
axis.hlines([0.12, -0.12], low, high, color=plots.INK, linewidth=1)
for gene in genes[(genes.start > low) & (genes.stop < high)].itertuples():
    plus = gene.strand == "+"
    tail, tip, y = (gene.start, gene.stop, 0.55) if plus else (gene.stop, gene.start, -0.55)
    style = {"width": 0.4, "head_width": 0.4, "head_length": 250, "length_includes_head": True}
    axis.arrow(tail, y, tip - tail, 0, color="#BFD9EA" if plus else "#F6DDA8", **style)
    axis.text((tail + tip) / 2, y, gene.gene, ha="center", va="center", style="italic")
arrow = {"arrowstyle": "->", "color": plots.INK}
axis.annotate("lac promoter", (366_380, -0.15), (366_380, 0.8), ha="center", arrowprops=arrow)
axis.set(xlim=(low, high), ylim=(-0.95, 1.05), yticks=[0.55, -0.55])
axis.set(yticklabels=["forward, read →", "reverse, read ←"], xlabel="position in the chromosome")
axis.xaxis.set_major_formatter("{x:,.0f}")
axis.spines["left"].set_visible(False)
plots.show(
    figure,
    """
    About 7.6 kilobases of the E. coli chromosome. On the reverse strand, read from right to
    left, lie lacI, lacZ, lacY and lacA; cynX lies on the forward strand, further left. The lac
    promoter stands in the gap between lacI and lacZ.
""",
)

# %%
lacZ = genes.set_index("gene").loc["lacZ"]
stored = ecoli.region(lacZ.start, lacZ.stop)
text = reverse_complement(stored)
print("as stored, the last 24: ", stored[-24:])
print("as lacZ reads, first 24:", text[:24])

# %% [markdown]
# ## Genes and reading frames
#
# The cell copies a gene into RNA (**transcription**) and reads the copy in steps of three (**translation**). A triplet, or **codon**, names one of a protein's 20 amino acids; TAA, TAG and TGA say "stop". A strand has three **reading frames**, the molecule six.
#
# ### Exercise 1 · predict
#
# lacZ has 1,025 codons. (1) If all 64 triplets were equally common, how many stops would a wrong frame hold? (2) How many does the right one?
#
# <details><summary>Hint 1</summary>How many of the 64 are stops?</details>
# <details><summary>Hint 2</summary>The right frame is read to its end, no further.</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_prediction = (48, 1)
# END SOLUTION
check.prediction(my_prediction)


# %%
def codons(sequence, frame=0):
    return [sequence[i : i + 3] for i in range(frame, len(sequence) - 2, 3)]


stops = ("TAA", "TAG", "TGA")
for frame in range(3):
    print(
        f"frame {frame}: {sum(codon in stops for codon in codons(text, frame))} stops;", end=" "
    )
anywhere = Counter(codons(ecoli.sequence) + codons(reverse_complement(ecoli.sequence)))
print(f"by chance, if all triplets were equal, {1025 * 3 / 64:.0f}")

# %% [markdown]
# A long stretch without a stop, an **open reading frame**, betrays a bacterial gene. Ticks are stops, bars annotated genes.

# %% tags=["figure"]
from itertools import product

stretch = 6600
region = {"+": ecoli.region(0, stretch), "-": reverse_complement(ecoli.region(0, stretch))}
figure, axis = plt.subplots(figsize=(11, 3.8))
for row, (strand, frame) in enumerate(product("+-", range(3))):
    at = [3 * i + frame for i, c in enumerate(codons(region[strand], frame)) if c in stops]
    at = at if strand == "+" else [stretch - x for x in at]
    axis.vlines(at, -row - 0.35, -row + 0.35, color=plots.INK, linewidth=0.8)
for gene in genes[genes.stop < stretch].itertuples():
    plus = gene.strand == "+"
    row = gene.start % 3 if plus else 3 + (stretch - gene.stop) % 3
    axis.barh(
        -row, gene.stop - gene.start, left=gene.start, height=0.6, color="#F6DDA8", zorder=0
    )
    above = 0.42 if gene.stop - gene.start < 200 else -0.12  # too short to hold its name
    axis.text((gene.start + gene.stop) / 2, above - row, gene.gene, ha="center", style="italic")
axis.set_yticks(
    -np.arange(6), [f"{s}  frame {f}" for s in ("forward", "reverse") for f in range(3)]
)
axis.set(xlabel="position in the chromosome", xlim=(0, stretch), ylim=(-5.6, 0.85))
plots.show(
    figure,
    """
    The six reading frames of the first 6.6 kilobases of E. coli; ticks are stop codons. Each
    annotated gene (thrL, thrA, thrB, thrC, yaaX forward; yaaA reverse) is a bar in one frame,
    and no tick falls within a bar, only at its end. Elsewhere stops are dense.
""",
)

# %% [markdown]
# How genes begin and end, beside the triplet's share anywhere:


# %%
def read_gene(gene, before=0):
    if gene.strand == "+":
        return ecoli.region(gene.start - before, gene.stop)
    return reverse_complement(ecoli.region(gene.start, gene.stop + before))


texts = [read_gene(gene, before=20) for gene in genes.itertuples()]
ends = Counter(t[20:23] for t in texts) + Counter(t[-3:] for t in texts)
table = pd.DataFrame({"of genes, %": ends, "of all triplets, %": anywhere})
shares = 100 * table / [len(genes), anywhere.total()]
shares.loc[["ATG", "GTG", "TTG", *stops]].round(2)

# %% [markdown]
# ATG begins nine genes in ten, but most ATGs begin nothing.
#
# ## Promoters: where copying begins
#
# A **promoter** is the stretch before a gene where RNA polymerase docks. In *E. coli* it holds two words, near TTGACA and TATAAT, about 35 and 10 bases *upstream* of the first copied base, +1. The copy has one more, the Shine-Dalgarno sequence, just before the start codon.
#
# Such words are fuzzy. We stack all genes' starts: a column's **information** is 2 bits minus its entropy.


# %%
def information(sequences):
    frequencies = np.mean([one_hot(sequence) for sequence in sequences], axis=0)
    logs = np.log2(frequencies, out=np.zeros_like(frequencies), where=frequencies > 0)
    return frequencies, 2 + (frequencies * logs).sum(axis=1)


frequencies, bits = information([t[:26] for t in texts])
places = np.random.default_rng(0).integers(0, len(ecoli) - 26, len(genes))
_, random_bits = information([ecoli.region(at, at + 26) for at in places])
print(f"bits at -14 to -6: {bits[6:15].sum():.2f}; random places: {random_bits[6:15].sum():.2f}")

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(10, 3))
plots.logo(axis, frequencies, first=-20)
axis.set(xlim=(-20.6, 5.6), ylim=(0, 2.05), ylabel="bits")
axis.set_xlabel("position; 0 is the first base of the start codon")
plots.show(
    figure,
    """
    Sequence logo of the 20 bases before and 6 bases after the start of every E. coli
    protein-coding gene. The start codon ATG stands out with up to 2 bits a position; around
    position minus 10 there is a low hill of A and G, the Shine-Dalgarno word, below half a bit.
""",
)

# %% [markdown]
# The word is short and its place varies: models add up many such faint signals.
#
# Human promoters rarely share a word, but are rich in G and C. GC content alone, against two kinds of negatives (AUROC; 0.5 is chance):

# %%
promoters = load_data("human-promoters").frame
for kind in ("random", "gc_matched"):
    pair = promoters[promoters.kind.isin(["promoter", kind])]
    gc, auroc = pair.groupby("label").gc.mean(), roc_auc_score(pair.label, pair.gc)
    print(f"GC of promoters {gc[1]:.1%}, of {kind} windows {gc[0]:.1%}; AUROC {auroc:.3f}")

# %% [markdown]
# Counting GC beats random windows, and knows nothing about promoters.
#
# ## Splice sites: genes in pieces
#
# In animals and plants the copy is cut and glued: **exons** stay, **introns** go, from a **donor** site (GT) to an **acceptor** site (AG). Finding one place among N takes log2 N bits. Does a donor hold that many?

# %%
chr20 = load_data("human-chr20")
sites = load_data("human-splice-sites").frame.query("label == 1")
motif = {}
for kind, (a, b) in {"donor": (196, 208), "acceptor": (180, 203)}.items():
    motif[kind] = information(sites[sites.kind == kind].sequence.str[a:b])
donors = len(sites.query("kind == 'donor' and 35e6 <= position < 45e6"))  # within our slice
GTs = chr20.sequence.count("GT") + chr20.sequence.count("AC")  # AC: a GT on the other strand
print(f"one GT in {GTs / donors:,.0f} is an annotated donor; bits needed to find one:", end=" ")
print(f"{np.log2(2 * len(chr20) / donors):.1f}, bits in the logo: {motif['donor'][1].sum():.1f}")

# %% tags=["figure"]
gene = sites[sites.gene == "ENSG00000124107"].sort_values("position", ascending=False)
start = promoters.query("gene == 'ENSG00000124107' and label == 1").stop.item() - 400
cuts = [start, *gene.position]
figure, axes = plt.subplot_mosaic(
    [["gene", "gene"], ["donor", "acceptor"]],
    figsize=(11, 4.6),
    height_ratios=(1, 2),
    width_ratios=(1, 1.9),
)
axes["gene"].hlines(0, cuts[-1] - 250, start, color=plots.INK)
for right, left in zip(cuts[::2], cuts[1::2]):
    axes["gene"].barh(0, right - left, left=left, height=0.8, color=plots.PALETTE[0])
axes["gene"].barh(0, 250, left=cuts[-1] - 250, height=0.8, color="#BFD9EA")
for right, left in zip(cuts[1::2], cuts[2::2]):
    axes["gene"].text((left + right) / 2, 0.25, "intron", ha="center")
axes["gene"].annotate("", (start - 400, 0.9), (start, 0.9), arrowprops=arrow)
axes["gene"].text(start, 1.3, "read from here", ha="right")
axes["gene"].set(
    ylim=(-0.6, 2.2), yticks=[], xlabel="position in chromosome 20; exons are filled"
)
axes["gene"].xaxis.set_major_formatter("{x:,.0f}")
axes["gene"].spines["left"].set_visible(False)
for kind, first in (("donor", -4), ("acceptor", -20)):
    plots.logo(axes[kind], motif[kind][0], first)
    axes[kind].set(
        xlim=(first - 0.6, first + len(motif[kind][1]) - 0.4), ylim=(0, 2.05), ylabel="bits"
    )
    axes[kind].axvline(-0.5, color=plots.INK, linestyle=":")
    axes[kind].set(title=f"{kind}", xlabel="bases from the cut")
plots.show(
    figure,
    """
    Above, the gene ENSG00000124107: four exons and three introns, read from right to left. The
    last exon is pale because its end is not in our table. Below, logos of all annotated donor
    and acceptor sites of human chromosome 20: GT after a donor's cut and AG before an
    acceptor's come near 2 bits; the donor has G before and A, A, G after, the acceptor a long
    faint stretch of T and C.
""",
)

# %% [markdown]
# The site holds about half. (Only genes are copied, which saves a bit or two, not six.) The rest must come from further away: hence models with *context*.
#
# ## Coordinates and variants
#
# | | bases 3, 4, 5 | length | used by |
# |---|---|---|---|
# | 1-based, closed | 3 to 5 | stop − start + 1 | GenBank, GFF, VCF |
# | 0-based, half-open | [2, 5) | stop − start | Python, BED, this course |
#
# A **variant** differs from a reference genome; one changed base, if common, is a **SNP**. A VCF file gives POS (1-based), REF and ALT, **on the forward strand** even for a gene on the other.
#
# ### Exercise 2 · a bug to find
#
# The lac promoter lies at [366,343, 366,418) on the reverse strand. This function should give the VCF record of its base `i`, and is wrong twice.


# %%
def broken(i, alt):
    return 366_418 - 1 - i, promoter[i], alt


promoter = reverse_complement(ecoli.region(366_343, 366_418))
records = [broken(i, "A") for i in range(75)]
right = sum(ecoli.sequence[pos - 1] == ref for pos, ref, _ in records)  # POS is 1-based
print(f"REF is what the reference has in {right} of 75 records; by chance {75 / 4:.0f}")
print("the A at -11 (base 64) becomes C:", broken(64, "C"))

# %% [markdown]
# Give the right record of that last change.
#
# <details><summary>Hint 1</summary>What does POS count from, and what does <code>stop - 1 - i</code>?</details>
# <details><summary>Hint 2</summary>Which letter does the forward strand have opposite an A?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_record = (366_354, "T", "G")
# END SOLUTION
check.record(my_record)

# %% [markdown]
# ## An assay: mutate and measure
#
# A **massively parallel reporter assay** (MPRA) puts thousands of versions of a regulatory sequence before the same *reporter* gene, here one that glows. Cells are sorted into bins by brightness, and the versions in each are counted. Ours is the lac promoter; `y` is the mean bin, 0 (dark) to 9.

# %%
lac = load_data("lac-mpra").frame
print(
    f"{len(lac):,} variants, {lac.mutations.mean():.1f} of 75 bases changed on average;", end=" "
)
print(f"{(lac.reads == 1).mean():.1%} were read once. The most read one and the wild type:")
lac.loc[[lac.reads.idxmax(), lac.mutations.idxmin()]].filter(regex="mutations|ct|y").round(2)

# %% [markdown]
# One read is noisy, but each position was changed in thousands of variants. Its effect: mean `y` changed minus intact. The baseline: `y` shuffled.

# %%
letters = np.array([list(sequence) for sequence in lac.sequence])
changed = letters != np.array(list(promoter))  # (variants, 75)


def effects(y):
    return np.array([y[c].mean() - y[~c].mean() for c in changed.T])


y = lac.y.to_numpy()
effect, shuffled = effects(y), effects(np.random.default_rng(0).permutation(y))
print(f"largest loss {effect.min():.2f}, at {effect.argmin() - 75};", end=" ")
print(f"shuffled, the largest of 75 is {np.abs(shuffled).max():.2f}")

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(12, 3.8))
colors = [plots.NUCLEOTIDE_COLORS[base] for base in promoter]
axis.bar(np.arange(-75, 0), effect, color=colors, width=0.85)
axis.axhspan(-np.abs(shuffled).max(), np.abs(shuffled).max(), color="#BBBBBB", alpha=0.6, lw=0)
for x, base in zip(range(-75, 0), promoter):
    axis.text(x, -2.15, base, ha="center", color=colors[x + 75], weight="bold", fontsize=9)
for left, right, name in (
    (-36, -31, "−35 box"),
    (-12, -7, "−10 box"),
    (-69, -54, "CRP binds here"),
):
    axis.plot([left - 0.5, right + 0.5], [1.2, 1.2], color=plots.INK, linewidth=3)
    axis.text((left + right) / 2, 1.3, name, ha="center")
axis.set(
    xlim=(-76, 0),
    ylim=(-2.25, 1.6),
    xlabel="position (+1 is the first copied base)",
    ylabel="effect, bins",
)
plots.show(
    figure,
    """
    Effect of changing each of the 75 bases of the lac promoter on brightness. Losses of up to
    1.8 bins gather in the minus 35 box and the minus 10 box, smaller ones in two arms where the
    protein CRP binds. Two positions of the minus 10 box and a few others gain when changed. The
    grey band, the largest effect with shuffled brightness, is narrow.
""",
)

# %% [markdown]
# The assay found both words, and the arms of a site where CRP, a helper, binds. Bars that point up ask for another letter. The brightest ones:

# %%
brightest = "".join(lac.y.groupby(letters[:, i]).mean().idxmax() for i in range(75))
for name, sequence in (("lac reads", promoter), ("brightest letters", brightest)):
    words = [sequence[a:b] for a, b in ((6, 11), (17, 22), (39, 45), (63, 69))]
    print(f"{name:17s} {words[0]} ...... {words[1]}   {words[2]} ... {words[3]}")

# %% [markdown]
# The lower line is what many promoters have in common. (22 letters, each right by chance one time in four.)
#
# ### Exercise 3 · interpretation
#
# "The bars between −30 and −16 are small. So those bases do not matter." What do you answer?
#
# <details><summary>Hint 1</summary>Averaged over what? In which cells?</details>
# <details><summary>Hint 2</summary>Were bases also removed?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_interpretation = """
In this strain and medium, changing one of them moved the mean over other changes little. But
nothing was removed: the distance between the boxes may matter. Other conditions may need them.
"""
# END SOLUTION
check.interpretation(my_interpretation)

# %% [markdown]
# ## What held out means
#
# Windows overlap, genes have relatives. So we set aside whole *regions* for testing, and measure what they still share: bases in a stretch of 31 that training has too.

# %%
test = ecoli.split("test")
scrambled = "".join(np.random.default_rng(0).permutation(list(test)))  # the same letters
shared = shared_kmer_mask(test + "N" + scrambled, ecoli.split("train"), k=31)
parts = shared[: len(test)].mean(), shared[len(test) :].mean()
print(f"shared with train: {parts[0]:.2%} of the test region, {parts[1]:.2%} when scrambled")

# %% [markdown]
# Chance does not repeat 31 letters; cells copy genes.
#
# ## Take-aways
#
# - A gene on the reverse strand begins at its `stop`, and has one frame of six.
# - Signals are fuzzy words; a donor holds half the bits that finding it takes.
# - VCF counts from 1, on the forward strand; this course from 0, half-open.
# - Hold out regions, and measure what is shared.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "dcabbc"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are
#
# All this is what goes *in*.

# %% tags=["figure"]
plots.show(
    plots.anatomy(),
    """
    The five sites of a genomic model, from tokenizer to objective; DNA goes in on the left. This
    notebook was about the DNA, before the first site.
""",
)

# %% [markdown]
# ## Further reading
#
# - Schneider and Stephens (1990), sequence logos. [doi:10.1093/nar/18.20.6097](https://doi.org/10.1093/nar/18.20.6097)
# - Schneider and colleagues (1986), bits in a site, bits to find it. [doi:10.1016/0022-2836(86)90165-8](https://doi.org/10.1016/0022-2836%2886%2990165-8)
# - Kinney and colleagues (2010), the assay. [doi:10.1073/pnas.1004290107](https://doi.org/10.1073/pnas.1004290107)
# - Danecek and colleagues (2011), VCF. [doi:10.1093/bioinformatics/btr330](https://doi.org/10.1093/bioinformatics/btr330)
#
# Next: p2 if tensors are new to you, else notebook 01.
