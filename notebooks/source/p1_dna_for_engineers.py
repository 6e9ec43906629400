# %% [markdown]
# # p1 · DNA for engineers: what is written in a genome?
#
# **The question.** The later notebooks speak of strands, genes, promoters, splice sites, variants and assays as if everybody knew them. What are they, and what do they look like as strings, intervals and tables?
#
# **You will be able to**
# - read a gene off either strand, and say what a reading frame is;
# - say what promoters and splice sites are, and how much of a signal they hold, in bits;
# - move between the two ways of counting bases, and write a variant down correctly;
# - say what a reporter assay measures, and what "held out" means for DNA.
#
# | your time | run time | needs |
# |---|---|---|
# | about 70 minutes | under 30 seconds on 2 cores, under 1 GB | Python and numpy; no biology |

# %% tags=["setup", "nbval-ignore-output"]
from collections import Counter
from importlib.metadata import version
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from gfm_lab import checks, load_data, one_hot, plots, reverse_complement
from gfm_lab.splits import shared_kmer_mask

plots.use_style()
check = checks.start("p1_dna_for_engineers")
print("gfm-lab", version("gfm-lab"), "| numpy", version("numpy"))

# %% [markdown]
# ## May you skip this notebook?
#
# Seven questions, no trick. The answer says which sections to read, if any; run all cells once, and each section can be read alone.

# %%
check.questions("placement")

# %% [markdown]
# Give one letter a question, such as `"bacdabc"`. A `?` stands for "I do not know", and serves you better than a guess.

# %% tags=["exercise"]
# BEGIN SOLUTION
placement_answers = "bcadacb"
# END SOLUTION
check.placement(placement_answers)

# %% [markdown]
# ## Two strands, one text
#
# A genome is a text over four letters, the **bases** A, C, G and T. The molecule is double: two strands, and opposite an A there is always a T, opposite a C a G. Each strand has a direction of reading, from the end called 5' to the end called 3', and the two run in opposite directions.
#
# So a file stores one strand, called *forward*. The other one is its **reverse complement**: swap each base for its partner, and read backwards. By hand, and with the package:

# %%
partner = {"A": "T", "C": "G", "G": "C", "T": "A"}
forward = "GATTACA"
other = "".join(partner[base] for base in reversed(forward))
assert other == reverse_complement(forward)
print(f"5' {forward} 3'  forward strand")
print(f"3' {other[::-1]} 5'  its partner, base below base")
print(f"5' {other} 3'  the same partner, read in its own direction")

# %% [markdown]
# Which strand a file calls forward is a convention. Genes lie on both. Here is a bacterium, *Escherichia coli*, whole: one circular chromosome. (CDS, "coding sequence", is the part of a gene that spells a protein.)

# %%
ecoli = load_data("ecoli-k12")
genes = ecoli.genes.query("biotype == 'CDS'")
on_forward = (genes.strand == "+").mean()
filled = (genes.stop - genes.start).sum() / len(ecoli)
print(f"{len(ecoli):,} base pairs, {len(genes):,} genes that code for proteins")
print(f"{on_forward:.1%} of them lie on the forward strand; all together fill {filled:.1%}")

# %% [markdown]
# We will often meet the *lac* genes, with which the bacterium digests milk sugar. They lie on the reverse strand, so the cell reads them from right to left.

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

# %% [markdown]
# To read lacZ we cut its interval out of the forward strand and turn the text around. `start` is always the smaller number, so the gene *begins* at `stop`.

# %%
lacZ = genes.set_index("gene").loc["lacZ"]
stored = ecoli.region(lacZ.start, lacZ.stop)
text = reverse_complement(stored)
print(f"bases {lacZ.start:,} to {lacZ.stop:,}, strand {lacZ.strand}")
print("as stored, the last 24:  ", stored[-24:])
print("as lacZ reads, first 24: ", text[:24])

# %% [markdown]
# ## Genes and reading frames
#
# The cell copies a gene into RNA (**transcription**), and a ribosome reads the RNA in steps of three bases (**translation**). Each triplet, a **codon**, names one of 20 amino acids, the letters of proteins; three of the 64, TAA, TAG and TGA, say "stop". Here is the whole code, and the beginning of lacZ's protein.

# %%
triplets = ["".join(letters) for letters in product("TCAG", repeat=3)]
code = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"  # * is stop
amino_acid = dict(zip(triplets, code))


def codons(sequence, frame=0):
    return [sequence[i : i + 3] for i in range(frame, len(sequence) - 2, 3)]


print(*codons(text)[:8])
print("   ".join(amino_acid[codon] for codon in codons(text)[:8]))

# %% [markdown]
# There are no spaces in the text. Start one base later and all triplets are others: a strand has three **reading frames**, the molecule six.
#
# ### Exercise 1 · predict
#
# lacZ is 1,025 codons long. (1) In a wrong frame its triplets are more or less arbitrary: if all 64 were equally common, how many stops would stand among 1,025? (2) How many stand in the frame that the cell reads?
#
# <details><summary>Hint 1</summary>How many of the 64 triplets are stops?</details>
# <details><summary>Hint 2</summary>The right frame is read to its end, and no further.</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_prediction = (48, 1)
# END SOLUTION
check.prediction(my_prediction)

# %%
stops = ("TAA", "TAG", "TGA")
for frame in range(3):
    found = sum(codon in stops for codon in codons(text, frame))
    print(f"frame {frame}: {len(codons(text, frame)):,} codons, stops: {found}")
both = Counter(codons(ecoli.sequence) + codons(reverse_complement(ecoli.sequence)))
share = {codon: count / both.total() for codon, count in both.items()}
print(f"chance: {1025 * 3 / 64:.0f} if all triplets were equal,", end=" ")
print(f"{1025 * sum(share[stop] for stop in stops):.0f} by E. coli's own triplets")

# %% [markdown]
# A long stretch without a stop, an **open reading frame**, is how one sees a bacterial gene without knowing anything else. Below, each tick is a stop, and each bar an annotated gene in its own frame.

# %% tags=["figure"]
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
# How do genes begin and end? Over all of them, beside the share that the same triplet has anywhere in the genome:


# %%
def read_gene(gene, before=0):
    """The text of a gene, read along it, with some bases in front of its start."""
    if gene.strand == "+":
        return ecoli.region(gene.start - before, gene.stop)
    return reverse_complement(ecoli.region(gene.start, gene.stop + before))


texts = [read_gene(gene, before=20) for gene in genes.itertuples()]
first, last = Counter(t[20:23] for t in texts), Counter(t[-3:] for t in texts)
rows = {f"starts with {c}": (first[c], share[c]) for c in ("ATG", "GTG", "TTG")}
rows |= {f"ends with {c}": (last[c], share[c]) for c in stops}
table = pd.DataFrame(rows, index=["genes, %", "of all triplets, %"]).T
(table * [100 / len(genes), 100]).round(2)

# %% [markdown]
# Nine genes in ten begin with ATG, and all end with a stop. But most ATGs begin nothing: something else has to tell the cell where to read.
#
# ## Promoters: where copying begins
#
# A **promoter** is the stretch before a gene where RNA polymerase, the copying machine, docks. In *E. coli* it holds two short words, near TTGACA and TATAAT, about 35 and 10 bases *upstream* of (before) the first copied base, which is called +1. The copy then carries a word for the ribosome, a few bases before the start codon: the Shine-Dalgarno sequence.
#
# Such words are fuzzy. We stack all occurrences, and give each column its **information**: 2 bits minus the entropy of its letters. 0 bits is any letter, 2 bits always the same.


# %%
def information(sequences):
    """Letter frequencies (L, 4) and information in bits (L,) of sequences of one length."""
    frequencies = np.mean([one_hot(sequence) for sequence in sequences], axis=0)
    logs = np.log2(frequencies, out=np.zeros_like(frequencies), where=frequencies > 0)
    return frequencies, 2 + (frequencies * logs).sum(axis=1)


frequencies, bits = information([t[:26] for t in texts])
places = np.random.default_rng(0).integers(0, len(ecoli) - 26, len(genes))
_, random_bits = information([ecoli.region(at, at + 26) for at in places])
print(f"bits at -14 to -6, summed: {bits[6:15].sum():.2f} before genes,", end=" ")
print(f"{random_bits[6:15].sum():.2f} at as many random places")

# %% tags=["figure"]
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D


def logo(axis, frequencies, bits, first):
    """Letters stacked per position, the stack as high as its information; `first` is the first x."""
    for x, (row, height) in enumerate(zip(frequencies, bits), start=first):
        bottom = 0.0
        for i in np.argsort(row):
            size = row[i] * height
            path = TextPath((0, 0), "ACGT"[i], prop=FontProperties(weight="bold"))
            box = path.get_extents()
            fit = Affine2D().translate(-box.x0, -box.y0).scale(0.9 / box.width, size / box.height)
            fit = fit.translate(x - 0.45, bottom) + axis.transData
            axis.add_patch(
                PathPatch(path, transform=fit, lw=0, fc=plots.NUCLEOTIDE_COLORS["ACGT"[i]])
            )
            bottom += size
    axis.set(xlim=(first - 0.6, first + len(bits) - 0.4), ylim=(0, 2.05), ylabel="bits")


figure, axis = plt.subplots(figsize=(10, 3))
logo(axis, frequencies, bits, -20)
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
# The hill is low for a reason: the word is short, its place varies, and many genes do without. Real signals look like this, and a model has to add up many faint ones.
#
# Most human promoters have no such words in common. Their plainest mark is many G and C, and that is a trap. We compare promoters with random windows, and with windows chosen to have as much GC, by GC content alone (the area under the ROC curve, AUROC, is 0.5 by chance).

# %%
promoters = load_data("human-promoters").frame
for kind in ("random", "gc_matched"):
    pair = promoters[promoters.kind.isin(["promoter", kind])]
    gc, auroc = pair.groupby("label").gc.mean(), roc_auc_score(pair.label, pair.gc)
    print(f"GC of promoters {gc[1]:.1%}, of {kind} windows {gc[0]:.1%}; AUROC {auroc:.3f}")

# %% [markdown]
# Whoever counts GC tells promoters from random windows with an AUROC of 0.91, and knows nothing about promoters. Notebook p3 is about such shortcuts.
#
# ## Splice sites: genes in pieces
#
# In animals and plants a gene is interrupted. The copy is cut and glued: **exons** stay, **introns** go. An intron begins at a **donor** site and ends at an **acceptor** site. Our slice of human chromosome 20 holds this gene, on the reverse strand again.

# %%
chr20 = load_data("human-chr20")
table = load_data("human-splice-sites").frame
sites = table[table.label == 1]
gene = sites[sites.gene == "ENSG00000124107"].sort_values("position", ascending=False)
for site in gene.itertuples():
    i = site.position - chr20.offset  # the cut lies before this base of our slice
    around = reverse_complement(chr20.region(i - 6, i + 6))
    print(f"{site.kind:8s} {site.position:,}   {around[:6]} | {around[6:]}")

# %% [markdown]
# Donors are followed by GT, acceptors preceded by AG. Is that all there is? The logos of every annotated site of the chromosome:

# %% tags=["figure"]
motif = {}
for kind, (a, b) in {"donor": (196, 208), "acceptor": (180, 203)}.items():
    motif[kind] = information(sites[sites.kind == kind].sequence.str[a:b])
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
    logo(axes[kind], *motif[kind], first)
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
# Is that enough to find a donor? Finding one place among N takes log2 N bits. We count both strands of our slice, and the donors that anybody has annotated there.

# %%
within = sites.position.between(chr20.offset, chr20.offset + len(chr20))
donors = (within & (sites.kind == "donor")).sum()
GTs = chr20.sequence.count("GT") + chr20.sequence.count("AC")  # AC is a GT on the other strand
print(f"{donors:,} donors, {GTs:,} GTs: one GT in {GTs / donors:,.0f} is a donor")
print(f"bits needed to find one: {np.log2(2 * len(chr20) / donors):.1f}")
print(f"bits in the donor logo:   {motif['donor'][1].sum():.1f}")

# %% [markdown]
# The site itself holds about half of what is needed. The rest has to come from elsewhere: from the other end of the intron, from words in exon and intron, from further away. (Only genes are copied, which saves the cell a bit or two, not six.) That gap is why models with *context* are built.
#
# ## Coordinates and variants
#
# Two ways of counting live side by side, and mixing them is the commonest bug of the field.
#
# | | bases 3, 4 and 5 | length | used by |
# |---|---|---|---|
# | 1-based, closed | 3 to 5 | stop − start + 1 | GenBank, GFF, VCF, papers |
# | 0-based, half-open | [2, 5) | stop − start | Python, BED, this course |
#
# A **variant** is a difference from a reference genome; one changed base is a single-nucleotide variant (a **SNP**, if it is common). A VCF file writes it as POS (1-based), REF and ALT, the two letters **on the forward strand**, even if the gene lies on the other one. A typical human genome differs from the reference at four to five million places (1000 Genomes, 2015).
#
# ### Exercise 2 · a bug to find
#
# A gene's text `read` was cut from [start, stop) on `strand`, and its base number `i` (from 0) becomes `base`. The function below should give the VCF's POS, REF and ALT. We try it on the lac promoter, whose own text lies at [366,343, 366,418) on the reverse strand.


# %%
def broken(read, start, stop, strand, i, base):
    at = start + i if strand == "+" else stop - 1 - i
    return at, read[i], base


# %%
promoter = reverse_complement(ecoli.region(366_343, 366_418))
right = 0
for i in range(75):
    pos, ref, alt = broken(promoter, 366_343, 366_418, "-", i, "A")
    right += ecoli.sequence[pos - 1] == ref  # POS is 1-based
print(promoter)
print(f"REF equals the reference at {right} of 75 bases; chance is about {75 / 4:.0f}")

# %% [markdown]
# Two things are wrong. Repair it for both strands.
#
# <details><summary>Hint 1</summary>What does POS count from? And what does <code>at</code> count from?</details>
# <details><summary>Hint 2</summary>On which strand are REF and ALT written, and on which is <code>read</code>? <code>reverse_complement</code> works for one letter too.</details>


# %% tags=["exercise"]
def my_vcf(read, start, stop, strand, i, base):
    """POS, REF and ALT of base i of a text read from [start, stop) on a strand."""
    # BEGIN SOLUTION
    at = start + i if strand == "+" else stop - 1 - i
    ref, alt = read[i], base
    if strand == "-":
        ref, alt = reverse_complement(ref), reverse_complement(alt)
    return at + 1, ref, alt
    # END SOLUTION


check.vcf(my_vcf)

# %% [markdown]
# ## An assay: mutate and measure
#
# What does a variant *do*? A **massively parallel reporter assay** (MPRA) asks for thousands at once. Many versions of a regulatory sequence are made, each in front of the same *reporter* gene, here one that glows. The cells are sorted by brightness into bins, and sequencing counts how often each version turns up in each bin. Ours is the lac promoter (Kinney and colleagues, 2010); `y` is the mean bin, 0 (dark) to 9 (bright). (A second assay of this course, `splice-mpra`, does the same for a donor site.)

# %%
lac = load_data("lac-mpra").frame
print(
    f"{len(lac):,} variants, {lac.mutations.mean():.1f} of {len(promoter)} bases changed on average;"
)
print(f"{(lac.reads == 1).mean():.1%} were read once. The two most read ones and the wild type:")
chosen = [*lac.nlargest(2, "reads").index, lac.mutations.idxmin()]
bins = {f"ct_{i}": f"bin {i}" for i in range(10)}
lac.loc[chosen, ["mutations", *bins, "y"]].rename(columns=bins).round(2)

# %% [markdown]
# One read is one noisy number. But each position is changed in thousands of variants, and means over those are precise. The effect of a position: mean `y` with it changed, minus mean `y` with it intact. The baseline is the same with `y` shuffled.

# %%
letters = np.array([list(sequence) for sequence in lac.sequence])
changed = letters != np.array(list(promoter))  # (variants, 75)


def effects(y):
    n = changed.sum(axis=0)
    return y @ changed / n - y @ ~changed / (len(y) - n)


y = lac.y.to_numpy()
effect, shuffled = effects(y), effects(np.random.default_rng(0).permutation(y))
worst = effect.argmin()
print(f"largest loss {effect[worst]:.2f} bins, at {worst - 75} ({promoter[worst]});", end=" ")
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
# The assay has found both words, and the two arms of a site where a protein called CRP helps, without being told. A few bars point up: changing these bases makes the promoter *stronger*. Which letter is the brightest at each place?

# %%
means = pd.DataFrame({i: lac.y.groupby(letters[:, i]).mean() for i in range(75)})
brightest = "".join(means.idxmax())
for name, sequence in (("lac reads", promoter), ("brightest letters", brightest)):
    words = [sequence[a:b] for a, b in ((6, 11), (17, 22), (39, 45), (63, 69))]
    print(f"{name:17s} {words[0]} ...... {words[1]}   {words[2]} ... {words[3]}")

# %% [markdown]
# TGTGA and TCACA are the arms of CRP's word, TTGACA and TATAAT those of the polymerase, as known from many promoters. One assay on one promoter spells them all (22 letters; each is right by chance one time in four). lac itself differs in four, and each costs it brightness.
#
# ### Exercise 3 · interpretation
#
# A colleague looks at the figure and says: "The bars between −30 and −16 are small. So those bases do not matter, and you may change them as you like." What do you answer? Three or four sentences.
#
# <details><summary>Hint 1</summary>What was averaged over, and what was measured: which gene, which cells, which condition?</details>
# <details><summary>Hint 2</summary>Were bases changed, or also removed? How many at a time?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_interpretation = """
In this strain, medium and reporter, a changed base there changed the mean brightness little, averaged
over backgrounds with eight other changes. That says nothing about several of them together, nor about
insertions and deletions: the distance between the two boxes may matter although its letters do not.
Other conditions or proteins could need them, and a small mean can hide opposite effects of two letters.
"""
# END SOLUTION
check.interpretation(my_interpretation)

# %% [markdown]
# ## What held out means
#
# A model is judged on data it has not seen. For images, one sets pictures aside at random. DNA is one long text full of copies: neighbouring windows overlap, genes have relatives, repeats occur everywhere. So this course sets aside whole *regions* (or genes, or chromosomes), and measures what they still share with the rest: the share of test bases in a stretch of 31 that stands in the training region too, on either strand.

# %%
for name, (start, stop) in ecoli.splits.items():
    print(f"{name:5s} [{start:9,}, {stop:9,})  {(stop - start) / len(ecoli):.0%}")
test = ecoli.split("test")
scrambled = "".join(np.random.default_rng(0).permutation(list(test)))  # the same letters
shared = shared_kmer_mask(test + "N" + scrambled, ecoli.split("train"), k=31)
print(f"shared with train: {shared[: len(test)].mean():.2%} of the test region,", end=" ")
print(f"{shared[len(test) :].mean():.2%} of its letters in random order")

# %% [markdown]
# Chance never repeats 31 letters; cells copy genes. Scores are given with and without such copies wherever it matters.

# %% [markdown]
# ## Take-aways
#
# - A file holds one strand; the other is its reverse complement. A gene on the reverse strand begins at its `stop`.
# - Six reading frames; a gene is a long stretch without a stop in one of them.
# - Promoters and splice sites are fuzzy words. A logo counts their bits, and a donor's bits are half of what finding it takes.
# - VCF and GFF count from 1, Python and this course from 0, half-open. Alleles stand on the forward strand.
# - An MPRA gives a number for each variant, under one condition. Most of ours were read once.
# - Hold out regions, not random windows, and measure what is shared.
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
# All of this is what goes *in*. The rest of the course is about the five boxes.

# %%
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
# - Blattner and colleagues (1997), the *E. coli* K-12 genome. [doi:10.1126/science.277.5331.1453](https://doi.org/10.1126/science.277.5331.1453)
# - Schneider and Stephens (1990), *Sequence logos*. [doi:10.1093/nar/18.20.6097](https://doi.org/10.1093/nar/18.20.6097)
# - Schneider, Stormo, Gold and Ehrenfeucht (1986), bits in a site against bits needed to find it. [doi:10.1016/0022-2836(86)90165-8](https://doi.org/10.1016/0022-2836(86)90165-8)
# - Kinney, Murugan, Callan and Cox (2010), the lac promoter assay. [doi:10.1073/pnas.1004290107](https://doi.org/10.1073/pnas.1004290107)
# - Danecek and colleagues (2011), the VCF format. [doi:10.1093/bioinformatics/btr330](https://doi.org/10.1093/bioinformatics/btr330)
# - The 1000 Genomes Project Consortium (2015), how much human genomes differ. [doi:10.1038/nature15393](https://doi.org/10.1038/nature15393)
#
# Next: p2 if tensors are new to you, else notebook 01, which asks what a model sees of all this.
