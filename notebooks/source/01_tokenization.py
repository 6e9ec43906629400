# %% [markdown]
# # 01 · Tokenization: what does a model see?
#
# **The question.** A DNA language model never reads letters. It reads a list of whole numbers, and a *tokenizer* decides which. What does that decision give the model, and what does it take away?
#
# **You will be able to**
# - cut DNA into k-mers, single nucleotides and byte-pair tokens by hand, and get the ids that DNABERT, Nucleotide Transformer, HyenaDNA and Caduceus use;
# - say what a vocabulary costs and what it saves, with numbers from two genomes beside a shuffled baseline and a floor;
# - predict what one changed or inserted base does to each tokenizer;
# - explain why overlapping k-mers give a masked base away.
#
# | your time | run time | needs |
# |---|---|---|
# | about 75 minutes | under 60 seconds on 2 cores, under 2 GB | Python; no biology beyond A, C, G and T |
#
# New words: [glossary](../docs/glossary.md).

# %% [markdown]
# We start by naming the versions, so that you can tell a different result from a different library.

# %% tags=["setup", "nbval-ignore-output"]
import re
from importlib.metadata import version

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import gfm_lab
from gfm_lab import (
    BPETokenizer,
    KmerTokenizer,
    NucleotideTokenizer,
    checks,
    plots,
    reverse_complement,
)

plots.use_style()
check = checks.start("01_tokenization")
for package in ("gfm-lab", "transformers", "tokenizers", "numpy"):
    print(f"{package:13s}{version(package)}")

# %% [markdown]
# ## The idea: DNA as a language
#
# Text has spaces and punctuation; a genome has neither. It is one long string over four letters, it can be read from either of two strands, and nobody knows its words. So every cut we make is a guess about what matters.
#
# Three guesses are in use. **k-mers** take every k letters as one word. **Single nucleotides** refuse to guess: one letter, one token. **Byte-pair encoding** (BPE) lets the genome vote: letters that often stand together are merged.
#
# Here they are on the lecture's example, `ATGTGCGCT`.

# %% tags=["figure"]
example = "ATGTGCGCT"
panels = {
    "overlapping 3-mers (DNABERT)": [(i, i + 3) for i in range(7)],
    "non-overlapping 3-mers": [(0, 3), (3, 6), (6, 9)],
    "single nucleotides (HyenaDNA)": [(i, i + 1) for i in range(9)],
    "one possible BPE": [(0, 3), (3, 5), (5, 9)],
}
figure, axes = plt.subplots(2, 2, figsize=(11, 5))
for axis, (title, spans) in zip(axes.flat, panels.items(), strict=True):
    plots.token_rows(axis, example, spans, [example[a:b] for a, b in spans])
    axis.set(title=title, ylim=(-3.1, 1.0))
plots.show(
    figure,
    """
    Four ways to cut ATGTGCGCT. Overlapping 3-mers give 7 tokens in three staggered rows,
    non-overlapping 3-mers give 3, single nucleotides 9, and a BPE with the tokens ATG, TG
    and CGCT gives 3.
""",
)

# %% [markdown]
# ## By hand: k-mers
#
# A k-mer is a window of k letters. Moving the window by one base gives *overlapping* k-mers; moving it by k gives *non-overlapping* ones. The number of bases it moves is the **stride**.
#
# A sequence of L bases holds L − k + 1 overlapping k-mers. Write the function for any stride; leave out a last window that is not complete.
#
# ### Exercise 1 · write a k-mer tokenizer
#
# <details><summary>Hint 1</summary>Where does the last complete window start? Write down L = 9, k = 3.</details>
# <details><summary>Hint 2</summary><code>range(start, stop, step)</code> excludes <code>stop</code>, so it has to be L − k + 1.</details>


# %% tags=["exercise"]
def my_kmers(sequence, k, stride=1):
    """All complete k-mers of a sequence, from left to right, as a list of strings."""
    # BEGIN SOLUTION
    return [sequence[i : i + k] for i in range(0, len(sequence) - k + 1, stride)]
    # END SOLUTION


check.kmers(my_kmers)

# %% [markdown]
# The package does the same in `gfm_lab.tokenization.kmers`. From here on we use its tokenizer classes, which are ordinary `transformers` tokenizers: they pad, truncate, build batches and can be saved.

# %%
from gfm_lab.tokenization import kmers

for stride in (1, 3):
    tokenizer = KmerTokenizer(3, stride=stride)
    print(f"stride {stride}:", tokenizer.tokenize(example))
    assert tokenizer.tokenize(example) == kmers(example, 3, stride)

# %% [markdown]
# ### From tokens to numbers
#
# A k-mer is a number written in base 4. With A, C, G, T as the digits 0, 1, 2, 3, the k-mer `ATG` is $0\cdot16 + 3\cdot4 + 2 = 14$, and there are $4^k$ such numbers. A tokenizer adds a few *special tokens* in front, so its ids are shifted.

# %%
digit = {"A": 0, "C": 1, "G": 2, "T": 3}
by_hand = [
    sum(digit[base] * 4 ** (2 - i) for i, base in enumerate(word)) for word in kmers(example, 3)
]
tokenizer = KmerTokenizer(3)
offset = tokenizer.convert_tokens_to_ids("AAA")
print("base-4 numbers:", by_hand)
print(f"ids, with {offset} special tokens in front:", tokenizer.encode_array(example).tolist())
assert tokenizer.encode_array(example).tolist() == [number + offset for number in by_hand]

# %% [markdown]
# The arithmetic is also the fast path: numpy does it for millions of bases at once. Published models differ only in bookkeeping. DNABERT orders the letters A, T, C, G; HyenaDNA counts its letters from 7; Nucleotide Transformer cuts non-overlapping 6-mers and spells the rest letter by letter.

# %%
published = {
    "DNABERT-6": KmerTokenizer.dnabert(6),
    "Nucleotide Transformer": KmerTokenizer.nucleotide_transformer(),
    "HyenaDNA": NucleotideTokenizer.hyenadna(),
    "Caduceus": NucleotideTokenizer.caduceus(),
}
rows = []
for name, tokenizer in published.items():
    ids = tokenizer(example)["input_ids"]
    rows.append((name, len(tokenizer), " ".join(tokenizer.convert_ids_to_tokens(ids)), str(ids)))
pd.DataFrame(rows, columns=["model", "vocabulary", f"tokens of {example}", "ids"])

# %% [markdown]
# Two details matter later. DNABERT's 9 bases became 4 k-mers between `[CLS]` and `[SEP]`. And a tokenizer remembers which bases a token covers, which every figure about single bases will need.

# %%
dnabert = published["DNABERT-6"]
print("bases of token 2:      ", list(dnabert.bases_of(2)))
print("tokens that see base 4:", list(dnabert.token_at(4)))
encoded = dnabert(example, return_offsets_mapping=True, return_special_tokens_mask=True)
print("offsets:               ", encoded["offset_mapping"])
print("special tokens:        ", encoded["special_tokens_mask"])

# %% [markdown]
# ## By hand: byte-pair encoding
#
# BPE starts from single letters. It counts all neighbouring pairs, merges the most frequent one into a new token, and repeats until the vocabulary is full. Philip Gage published it as a compression method in 1994; Sennrich and colleagues brought it to language models in 2016.
#
# ### Exercise 2 · one merge step
#
# Return the most frequent pair and the list after merging it. Merge from left to right, and never use a token twice: `A A A` with the pair (A, A) becomes `AA A`.
#
# <details><summary>Hint 1</summary><code>Counter(zip(tokens, tokens[1:]))</code> counts neighbours.</details>
# <details><summary>Hint 2</summary>Walk with an index that moves by 2 after a merge and by 1 otherwise.</details>

# %% tags=["exercise"]
from collections import Counter


def my_merge_step(tokens):
    """One BPE step: the most frequent neighbouring pair, and the tokens after merging it everywhere."""
    # BEGIN SOLUTION
    pair = Counter(zip(tokens, tokens[1:])).most_common(1)[0][0]
    merged, i = [], 0
    while i < len(tokens):
        together = tuple(tokens[i : i + 2]) == pair
        merged.append("".join(pair) if together else tokens[i])
        i += 2 if together else 1
    return pair, merged
    # END SOLUTION


check.merge_step(my_merge_step)

# %% [markdown]
# The same step three times on a toy sequence. Watch a motif, `ATG`, become a word because it repeats. We use the package's merge here, so this cell runs whether or not you solved the exercise.

# %%
from gfm_lab.tokenization import merge_pair

toy = list("ATGCATGGATGTATGC")
for step in range(1, 4):
    counts = Counter(zip(toy, toy[1:]))
    pair = max(sorted(counts), key=counts.get)
    toy = merge_pair(toy, pair)
    print(f"merge {step}: {'+'.join(pair):6s} seen {counts[pair]} times ->", " ".join(toy))

# %% [markdown]
# ## On real genomes
#
# We take two: the whole chromosome of *Escherichia coli* K-12, and ten million bases of human chromosome 20. Each is split by position: tokenizers are trained on one region and measured on another.

# %% tags=["setup"]
ecoli = gfm_lab.load_data("ecoli-k12")
human = gfm_lab.load_data("human-chr20")
train, test = {}, {}
for name, genome in (("E. coli", ecoli), ("human chr20", human)):
    train[name] = genome.split("train")[:2_000_000].upper().replace("N", "")
    test[name] = genome.split("test")[:400_000].upper().replace("N", "")
    print(
        f"{name:12s} {len(genome.sequence):>10,} bases; here {len(train[name]):,} to train, {len(test[name]):,} to test"
    )

# %% [markdown]
# Training BPE on two million bases takes seconds. Its vocabularies are *nested*: the first merges of a large vocabulary are the small vocabulary, so one training run gives every size. We check that claim before we lean on it.

# %%
sizes = (256, 512, 1024, 2048, 4096)
bpe = {}
for name in train:
    largest = BPETokenizer.train([train[name]], vocab_size=4096)
    for size in sizes:
        bpe[name, size] = largest.shrink(size)
again = BPETokenizer.train([train["E. coli"]], vocab_size=256)
assert again.get_vocab() == bpe["E. coli", 256].get_vocab()
print("nested: the 256-entry vocabulary is the start of the 4,096-entry one")

# %% [markdown]
# ### Vocabulary against sequence length
#
# A larger vocabulary buys shorter sequences, and attention pays for length quadratically. How good is the bargain? We count tokens per thousand bases (kb).
#
# Two reference lines keep us honest. The **baseline** is BPE applied to the same DNA with its bases shuffled. The **floor** is $2000/\log_2 V$ tokens per kb: what V equally used tokens need to spell random DNA.


# %%
def per_kb(tokenizer, dna):
    """Tokens per thousand bases."""
    return 1000 * tokenizer.encode_array(dna).size / len(dna)


records = []
for name, dna in test.items():
    shuffled = "".join(np.random.default_rng(0).permutation(list(dna)))
    for k in range(1, 9):
        records.append((name, "overlapping k-mers", 4**k, per_kb(KmerTokenizer(k), dna)))
        records.append((name, "non-overlapping k-mers", 4**k, per_kb(KmerTokenizer(k, k), dna)))
    for size in sizes:
        records.append((name, "BPE", size, per_kb(bpe[name, size], dna)))
        records.append((name, "BPE on shuffled DNA", size, per_kb(bpe[name, size], shuffled)))

# %%
lengths = pd.DataFrame(records, columns=["genome", "tokenizer", "vocabulary", "tokens per kb"])
same_size = lengths.query("vocabulary == 4096")
same_size.pivot(index="tokenizer", columns="genome", values="tokens per kb").round(1)

# %% tags=["figure"]
figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True)
styles = {
    "overlapping k-mers": "s-",
    "non-overlapping k-mers": "o-",
    "BPE": "D-",
    "BPE on shuffled DNA": "D:",
}
v = np.geomspace(4, 4**8, 100)
for axis, name in zip(axes, test, strict=True):
    axis.plot(v, 2000 / np.log2(v), color="grey", linewidth=1, label="floor for random DNA")
    for (kind, style), color in zip(styles.items(), plots.PALETTE, strict=False):
        rows = lengths[(lengths.genome == name) & (lengths.tokenizer == kind)]
        axis.plot(rows.vocabulary, rows["tokens per kb"], style, color=color, label=kind)
    axis.set(xscale="log", yscale="log", xlabel="vocabulary", title=name)
    axis.set_yticks([125, 250, 500, 1000], ["125", "250", "500", "1,000"])
    axis.minorticks_off()
axes[0].set_ylabel("tokens per kb")
axes[0].legend(fontsize=9)
plots.show(
    figure,
    """
    Tokens per kb against vocabulary, log scales. Overlapping k-mers stay at 1,000 at every
    k. Non-overlapping k-mers lie on the floor. BPE lies above it, its shuffled baseline
    slightly higher still.
""",
)

# %% [markdown]
# Read the table again: with the same 4,096 entries, BPE makes *longer* sequences than plain non-overlapping 6-mers, in both genomes. Written text is compressible because its words repeat. Most DNA is close to random at this scale, and no choice of words changes that.
#
# Shuffled DNA costs only some tokens more, so the order of the bases is what BPE gains from, and it is little. In the human region the gain is larger: repeats.
#
# Length is one price; the other is what the tokens tell. A model that knows only how often each token occurs can already be scored in **bits per base**: lower is better, 2 is knowing nothing. We fit frequencies on the training region and score windows of the test region; ± is a 95 % interval over the windows.


# %%
def unigram_bits(tokenizer, train_dna, test_dna, size=9_600):
    """Bits per base in each test window, for a model that knows only how often each token occurs."""
    counts = np.bincount(tokenizer.encode_array(train_dna), minlength=len(tokenizer)) + 0.5
    bits = -np.log2(counts / counts.sum())
    windows = [test_dna[i : i + size] for i in range(0, len(test_dna) - size + 1, size)]
    return np.array([bits[tokenizer.encode_array(window)].sum() / size for window in windows])


# %%
models = {
    f"non-overlapping {k}-mers": dict.fromkeys(test, KmerTokenizer(k, k)) for k in (1, 3, 6, 8)
}
models["BPE 4,096"] = {name: bpe[name, 4096] for name in test}
table = pd.DataFrame(index=models, columns=list(test))
for label, tokenizer in models.items():
    for name in test:
        scores = unigram_bits(tokenizer[name], train[name], test[name])
        half = 1.96 * scores.std(ddof=1) / len(scores) ** 0.5
        table.loc[label, name] = f"{scores.mean():.3f} ± {half:.3f}"
table

# %% [markdown]
# Every number is close to 2. The tokenizer knows almost nothing about DNA by itself, and BPE, on *E. coli*, less than nothing: above 2 it is worse than guessing letters. The words are only a way to write the problem down; a model has to solve it. Longer k-mers win until there are too few examples of each, which is why 8-mers fall back.

# %% [markdown]
# ### How much of the vocabulary is used?
#
# An entry that never occurs is an embedding nobody trains. We count the share of the $4^k$ k-mers seen at least once, and at least 100 times, in the two million training bases.

# %%
usage = []
for name, sequence in train.items():
    for k in range(1, 9):
        tokenizer = KmerTokenizer(k)
        counts = np.bincount(tokenizer.encode_array(sequence), minlength=len(tokenizer))
        first = tokenizer.convert_tokens_to_ids("A" * k)
        words = counts[first : first + 4**k]
        usage.append((k, f"{name}: seen", np.mean(words >= 1)))
        usage.append((k, f"{name}: 100 times", np.mean(words >= 100)))
table = pd.DataFrame(usage, columns=["k", "what", "share"]).pivot(
    index="k", columns="what", values="share"
)
table.mul(100).round(1).astype(str).add(" %")

# %% [markdown]
# Up to 6-mers nearly everything occurs. At k = 8 most of the 65,536 words have fewer than a hundred examples in two million bases. That is the practical ceiling on k, and 6 is where DNABERT and Nucleotide Transformer stopped.
#
# ### Which words are enriched?
#
# A count means little without an expectation. The simplest one multiplies base frequencies: *observed / expected* is above 1 for words the genome prefers and below 1 for words it avoids.


# %%
def enrichment(dna, k=6):
    """Observed over expected counts of all k-mers; the expectation uses base frequencies alone."""
    tokenizer = KmerTokenizer(k)
    first = tokenizer.convert_tokens_to_ids("A" * k)
    observed = np.bincount(tokenizer.encode_array(dna), minlength=len(tokenizer))[first:][: 4**k]
    base = np.array([dna.count(letter) for letter in "ACGT"]) / len(dna)
    expected = base
    for _ in range(k - 1):
        expected = np.outer(expected, base).ravel()
    words = tokenizer.convert_ids_to_tokens(range(first, first + 4**k))
    return pd.Series(observed / (expected * observed.sum()), index=words).sort_values()


# %%
ratios = {name: enrichment(dna) for name, dna in train.items()}
columns = {}
for name, ratio in ratios.items():
    extremes = pd.concat([ratio.tail(6)[::-1], ratio.head(6)])
    columns[name] = [f"{word} {value:.2f}" for word, value in extremes.items()]
pd.DataFrame(columns, index=["most frequent"] * 6 + ["rarest"] * 6)

# %% [markdown]
# These are known friends and foes. *E. coli* avoids `CTAG`, and its favourite `CTGGCG` joins two codons it uses a lot, CTG and GCG. The human region is rich in runs of A and T and in pieces of Alu repeats; its rarest words hold `CG` twice, because a methylated C next to G mutates to T. Let us count rather than trust.


# %%
def mean_ratio(name, motif):
    """Mean observed/expected over the 6-mers that contain a motif."""
    return ratios[name][ratios[name].index.str.contains(motif)].mean()


motifs = {
    "CTAG": "contain CTAG",
    "CG.*CG": "contain CG twice",
    "^A+$|^T+$": "only A or only T",
    "CTGG|CCAG": "contain CTGG",
}
pd.DataFrame(
    {label: {name: mean_ratio(name, motif) for name in train} for motif, label in motifs.items()}
).T.round(2)

# %% [markdown]
# BPE shows repeats directly: its longest tokens are sequences that occur again and again, letter by letter.

# %%
for name in train:
    tokenizer = bpe[name, 4096]
    counts = np.bincount(tokenizer.encode_array(train[name]), minlength=len(tokenizer))
    longest = sorted(tokenizer.get_vocab(), key=lambda token: (-len(token), token))[:5]
    print(f"{name}: longest tokens, times used, times found on either strand")
    for token in longest:
        found = train[name].count(token) + train[name].count(reverse_complement(token))
        print(f"  {token:32s} {counts[tokenizer.convert_tokens_to_ids(token)]:3d} {found:4d}")

# %% [markdown]
# The human tokens are pieces of Alu, a 300-base element with about a million copies in our genome. Those of *E. coli* look like REP elements, palindromes that lie between genes. The gene table can tell: we ask how often they start inside a gene, beside the share of the genome that genes take.

# %%
in_gene = np.zeros(len(ecoli.sequence), dtype=bool)
for start, stop in zip(ecoli.genes.start, ecoli.genes.stop):
    in_gene[start:stop] = True
vocabulary = bpe["E. coli", 4096].get_vocab()
for token in sorted(vocabulary, key=lambda token: (-len(token), token))[:3]:
    both = [
        m.start()
        for word in (token, reverse_complement(token))
        for m in re.finditer(word, ecoli.sequence)
    ]
    print(
        f"{token:24s} {len(both):3d} times in the genome, {in_gene[both].mean():.0%} of them inside a gene"
    )
print(f"genes cover {in_gene.mean():.0%} of the genome")

# %% [markdown]
# Between the genes, as REP elements should be. BPE spends part of its vocabulary on repeats: useful when repeats matter, wasteful when they do not.
#
# ## What one changed base does
#
# A single-nucleotide polymorphism (SNP) replaces one base; an *indel* inserts or deletes some. Variant practicals will ask a model what such a change does, so we should know what the tokenizer does first.
#
# ### Exercise 3 · predict before you run
#
# A base in the middle of a long sequence is replaced. How many tokens differ afterwards with overlapping 6-mers, and how many with non-overlapping 6-mers?
#
# <details><summary>Hint 1</summary>Count the windows that contain the base.</details>
# <details><summary>Hint 2</summary>In the figure at the top, the middle base lies in how many of the overlapping 3-mers?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_prediction = (6, 1)
# END SOLUTION
check.prediction(my_prediction)

# %% [markdown]
# ### Exercise 4 · count what changed
#
# Compare two token lists position by position and count the positions that differ. When one list is longer, its extra tokens have no partner: count them too.
#
# <details><summary>Hint 1</summary><code>zip</code> stops at the shorter list.</details>
# <details><summary>Hint 2</summary>The extra tokens are <code>abs(len(before) - len(after))</code> many.</details>


# %% tags=["exercise"]
def my_changed_tokens(before, after):
    """How many positions hold a different token."""
    # BEGIN SOLUTION
    return sum(a != b for a, b in zip(before, after)) + abs(len(before) - len(after))
    # END SOLUTION


check.changed_tokens(my_changed_tokens)

# %% [markdown]
# Now the experiment: 200 windows of 1,200 bases from the test region. In each we replace the middle base, or insert one. Position by position would be unfair to an insertion, because a shifted copy is not a change. So we count the tokens of the new list outside the longest common start and the longest common end.


# %%
def touched(before, after):
    """Tokens of `after` that are in neither the common start nor the common end of the two lists."""
    shorter = min(len(before), len(after))
    start = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    rest = shorter - start
    end = next((i for i in range(rest) if before[-1 - i] != after[-1 - i]), rest)
    return len(after) - start - end


tokenizers = {
    "single nucleotides": NucleotideTokenizer(),
    "overlapping 6-mers": KmerTokenizer(6),
    "non-overlapping 6-mers": KmerTokenizer(6, stride=6),
    "BPE 4,096": bpe["E. coli", 4096],
}


# %%
def one_base_changed(tokenizer, dna, kind, count=200, length=1200):
    """Tokens changed in each of `count` windows when the middle base is replaced, or one inserted."""
    rng, middle, changed = np.random.default_rng(1), length // 2, []
    for start in rng.integers(0, len(dna) - length, size=count):
        window = dna[start : start + length]
        new = rng.choice([base for base in "ACGT" if base != window[middle]])
        rest = window[middle + 1 :] if kind == "substitution" else window[middle:]
        before = tokenizer.encode_array(window).tolist()
        changed.append(
            touched(before, tokenizer.encode_array(window[:middle] + new + rest).tolist())
        )
    return np.array(changed)


# %%
kinds = ("substitution", "insertion")
changes = {
    n: {kind: one_base_changed(t, test["E. coli"], kind) for kind in kinds}
    for n, t in tokenizers.items()
}
pd.DataFrame(
    {
        f"{kind}, {what}": {
            name: getattr(by_kind[kind], what)() for name, by_kind in changes.items()
        }
        for kind in kinds
        for what in ("mean", "min", "max")
    }
).round(1)

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(9, 3.6))
means = pd.DataFrame(
    {kind: {name: c[kind].mean() for name, c in changes.items()} for kind in kinds}
)
means.plot.barh(ax=axis, color=plots.PALETTE[:2], width=0.75)
for bars in axis.containers:
    axis.bar_label(bars, fmt="%.1f", padding=3, fontsize=10)
axis.set(
    xscale="log",
    xlabel="tokens changed by one base (mean of 200 windows)",
    ylabel="",
    xlim=(0.8, 300),
)
axis.set_xticks([1, 10, 100], ["1", "10", "100"])
axis.invert_yaxis()
axis.legend(["substitution", "insertion"], loc="lower right")
plots.show(
    figure,
    """
    Mean number of tokens changed by one substitution and one insertion. Nucleotides: 1 and
    1. Overlapping 6-mers: about 6 each. Non-overlapping 6-mers: 1 for a substitution, about
    a hundred for an insertion. BPE: a few.
""",
)

# %% [markdown]
# One inserted base rewrites *every* non-overlapping 6-mer downstream: the frame has moved. The model sees a hundred new tokens for one base, and must have learned that both spellings mean the same. Overlapping k-mers and BPE recover after a few tokens; single nucleotides change by exactly what changed.
#
# ### Change a base yourself
#
# The controls need a running kernel; the figure below them shows one setting. **Try:** *k* 6, *Stride* 6, *Change* insert, and move *At base* to the right. Why does the number of replaced tokens fall, and what stands at the end of the stretch? Then choose a BPE. Finally, set *DNA from* to “what I type” and type a digit.

# %% tags=["nbval-ignore-output"]
from gfm_lab import explorers

learned = {f"BPE 4,096, {name}": bpe[name, 4096] for name in train}
cutter = explorers.tokenizer(learned)
cutter

# %% tags=["figure"]
cutter.static(k=6, stride=6, change="insert", at=20)

# %% [markdown]
# Only words from the new base on are rewritten, so the further right, the fewer; and the base that no word takes any more becomes a token of its own. From the next cut that both texts share, BPE's tokens are the old ones.
#
# ## Why overlapping k-mers leak the masked base
#
# Masked language modelling hides a token and asks for it back. With overlapping 6-mers the neighbours contain the answer: the token to the left ends with its first five bases, the one to the right begins with its last five. No learning is needed, only copying.

# %%
words = kmers(test["human chr20"][:20_000], 6)
copied = [left[1:] + right[-2] for left, right in zip(words, words[2:])]
print(
    f"copying from two neighbours: {np.mean([a == b for a, b in zip(copied, words[1:-1])]):.1%} right"
)
most_common = Counter(words).most_common(1)[0]
print(f"always guessing {most_common[0]}:     {most_common[1] / len(words):.1%} right")
print(f"guessing at random:         {1 / 4**6:.2%} right")

# %% [markdown]
# A run of r masked neighbours hides $r - k + 1$ bases, and none when $r < k$. To hide one single base, all k tokens that cover it must go. DNABERT therefore masks runs. Non-overlapping tokens have no such problem: each masked one hides all of its k bases.
#
# The next cell draws masks as BERT does, each token on its own with 15 %, and asks how many bases of a masked token no visible token shows.


# %%
def hidden_bases(masked, k, stride):
    """Bases that no visible token covers, for a boolean mask over tokens."""
    visible = np.zeros((len(masked) - 1) * stride + k, dtype=bool)
    starts = np.flatnonzero(~masked) * stride
    for i in range(k):
        visible[starts + i] = True
    return int((~visible).sum())


rng = np.random.default_rng(2)
masked = rng.random(1_000_000) < 0.15
for label, stride in (("overlapping", 1), ("non-overlapping", 6)):
    hidden = hidden_bases(masked, 6, stride)
    print(f"{label:16s} 6-mers: {hidden / masked.sum():.4f} of 6 bases hidden per masked token")

# %% tags=["figure"]
figure, axis = plt.subplots(figsize=(8, 3.8))
runs = np.arange(1, 13)
for k, color in zip((3, 4, 5, 6), plots.PALETTE):
    hidden = [hidden_bases(np.isin(np.arange(60), np.arange(20, 20 + r)), k, 1) for r in runs]
    assert hidden == [max(0, r - k + 1) for r in runs]
    axis.plot(runs, hidden, "o-", color=color, label=f"overlapping, k = {k}")
axis.plot(runs[:2], 6 * runs[:2], "s--", color="grey", label="non-overlapping 6-mers")
axis.set(
    xlabel="neighbouring tokens masked",
    ylabel="bases really hidden",
    xticks=runs,
    ylim=(-0.4, 12.6),
)
axis.legend(fontsize=10)
plots.show(
    figure,
    """
    Bases hidden against the length of a masked run. For overlapping k-mers the line is zero
    until the run is k tokens long, then rises by one per token; non-overlapping 6-mers hide
    six bases per token.
""",
)

# %% [markdown]
# ### Exercise 5 · interpret
#
# A colleague trains a masked model on overlapping 6-mers with independent 15 % masking. After ten minutes the masked accuracy is 99 %. In three or four sentences: what has the model learned, and what would you ask before believing the number?
#
# <details><summary>Hint 1</summary>Look at the two numbers printed above the last figure.</details>
# <details><summary>Hint 2</summary>Which experiment would separate copying from knowing?</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_interpretation = """
It has learned to copy: the two visible neighbours of a masked 6-mer spell all of its six bases, so the accuracy says
nothing about DNA. I would ask how much of each masked base was visible, and to mask runs of at least six neighbouring
tokens, or to use tokens that do not overlap. Then I would compare the bits per hidden base with a Markov model that sees
the same context.
"""
# END SOLUTION
check.interpretation(my_interpretation)

# %% [markdown]
# ## Two strands
#
# The other strand reads backwards with A and T, C and G exchanged: the *reverse complement*. For single nucleotides and overlapping k-mers, tokenizing the other strand gives the same tokens, reversed and complemented. The ids can be turned around without seeing the sequence.

# %%
window = test["human chr20"][:600]
for tokenizer in (NucleotideTokenizer(), KmerTokenizer(6)):
    turned = tokenizer.reverse_complement_ids(tokenizer.encode_array(window))
    assert np.array_equal(turned, tokenizer.encode_array(reverse_complement(window)))
try:
    bpe["human chr20", 4096].reverse_complement_ids([7, 8, 9])
except ValueError as error:
    print(error)

# %% [markdown]
# BPE cannot, because merges read from left to right. How different are its two readings? We tokenize both strands and ask how many cuts fall between the same two bases, beside what chance would give.


# %%
def cuts(tokenizer, sequence):
    """Positions between bases where the tokenizer cuts."""
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode_array(sequence).tolist())
    return set(np.cumsum([len(token) for token in tokens])[:-1].tolist())


for name, sequence in test.items():
    forward = cuts(bpe[name, 4096], sequence)
    backward = {
        len(sequence) - cut for cut in cuts(bpe[name, 4096], reverse_complement(sequence))
    }
    shared, chance = len(forward & backward) / len(forward), len(backward) / len(sequence)
    print(f"{name:12s} {shared:.0%} of the cuts agree; {chance:.0%} expected by chance")

# %% [markdown]
# No more than chance in the human region, and far fewer in *E. coli*. Why fewer? Merges have habits; here is the one to blame.

# %%
for name, sequence in test.items():
    before = Counter(sequence[cut] for cut in cuts(bpe[name, 4096], sequence))
    share = {base: before[base] / sequence.count(base) for base in "ACGT"}
    print(
        f"{name:12s} cut right before:",
        "  ".join(f"{base} {value:.0%}" for base, value in share.items()),
    )

# %% [markdown]
# The *E. coli* merges took in C early and often, so a token hardly ever begins with C; the human merges did it with G. On the other strand the same habit reads: no token *ends* with G. A BPE model sees two different texts for one molecule; notebook 06 asks what a model can do about strands.
#
# ## N, lower case, and the tail
#
# Real files hold more than A, C, G and T. `N` is an unknown base; lower case marks repeats (*soft masking*); and a length is rarely a multiple of k. A tokenizer should do something defined with each, and say so.

# %%
try:
    KmerTokenizer(3)("ATGNNGCX")
except ValueError as error:
    print(error, "\n")
for choice in ("unk", "split"):
    print(f"{choice:6s}", KmerTokenizer(3, on_unknown=choice).tokenize("ATGCNGCTA"))

# %%
transformer = KmerTokenizer.nucleotide_transformer()
print("tail:      ", transformer.tokenize("ATGTGCGCT"))
print("N:         ", transformer.tokenize("ATGTGCNNATGTGCG"))
print("lower case:", KmerTokenizer(3).tokenize("ATGtgc"))
for dna in ("ATGTGCGCT", "ATGTGCNNATGTGCG"):
    assert transformer.decode(transformer(dna)["input_ids"], skip_special_tokens=True) == dna

# %% [markdown]
# ## Speed
#
# A tokenizer that reads a genome in minutes is fine for one genome and a nuisance for a thousand. The base-4 arithmetic runs in numpy; the usual way goes through strings. The numbers below depend on your machine, so this cell checks only that the fast way wins by far. `benchmarks/tokenizers.py` measures it properly.

# %% tags=["nbval-ignore-output"]
import time


def megabases_per_second(encode, dna):
    started = time.perf_counter()
    encode(dna)
    return len(dna) / 1e6 / (time.perf_counter() - started)


ids_of = {word: i for i, word in enumerate(ratios["E. coli"].index)}
speed = {
    "single nucleotides": megabases_per_second(
        NucleotideTokenizer().encode_array, ecoli.sequence
    ),
    "overlapping 6-mers": megabases_per_second(KmerTokenizer(6).encode_array, ecoli.sequence),
    "strings and a dictionary": megabases_per_second(
        lambda dna: [ids_of[word] for word in kmers(dna, 6)], test["E. coli"]
    ),
}
print(
    "\n".join(f"{label:25s}{value:6.0f} million bases a second" for label, value in speed.items())
)
assert speed["overlapping 6-mers"] > 5 * speed["strings and a dictionary"]

# %% [markdown]
# ## Exercise 6 · spot the slips
#
# Slides are written fast, and good ones are worth reading slowly. Five statements come from the lecture's slides on tokenization and embeddings; F is ours. Which are slips? Answer with a set of letters, such as `{"C"}`.
#
# - **A.** "Substrings of length 6", beside a vocabulary of $4^3 = 64$.
# - **B.** "Overlapping k-mers", with the example `ATG | TGC | GCT` for `ATGTGCGCT`.
# - **C.** The k-mer `ATG` gets the id 42.
# - **D.** A token becomes a 128-dimensional vector, and the next figure hands a 64-dimensional one to the model, with no layer between.
# - **E.** An embedding is different from a one-hot vector.
# - **F.** There are 4,096 different 6-mers.
#
# <details><summary>Hint 1</summary>There are three. Check each number against its neighbour on the same slide.</details>
# <details><summary>Hint 2</summary>An id is an arbitrary row number, so no id is wrong by itself.</details>

# %% tags=["exercise"]
# BEGIN SOLUTION
my_slips = {"A", "B", "D"}
# END SOLUTION
check.slips(my_slips)

# %% [markdown]
# ## Take-aways
#
# - A tokenizer turns DNA into ids; a k-mer's id is a number in base 4, plus an offset for special tokens.
# - Overlapping k-mers do not shorten a sequence. Non-overlapping ones shorten it k times, and one inserted base rewrites everything downstream.
# - At equal vocabulary BPE made longer sequences than 6-mers on both genomes; its longest words are repeats.
# - With overlapping k-mers, a masked token is spelled out by its neighbours. A masked loss means nothing until you know what was visible.
# - Nucleotides and overlapping k-mers can be read from the other strand by arithmetic on ids; BPE cannot.
#
# ## Quiz

# %%
check.questions("quiz")

# %% tags=["exercise"]
# BEGIN SOLUTION
quiz_answers = "cbdabc"
# END SOLUTION
check.quiz(quiz_answers)

# %% [markdown]
# ## Where we are

# %%
plots.show(
    plots.anatomy(1),
    """
    The five sites of a genomic model, from tokenizer to objective. This notebook's site,
    number 1, the tokenizer, is filled in.
""",
)

# %% [markdown]
# ## Further reading
#
# - Sennrich, Haddow, Birch (2016), *Neural machine translation of rare words with subword units*: BPE for language models. [doi:10.18653/v1/P16-1162](https://doi.org/10.18653/v1/P16-1162)
# - Ji and colleagues (2021), *DNABERT*: overlapping k-mers. [doi:10.1093/bioinformatics/btab083](https://doi.org/10.1093/bioinformatics/btab083)
# - Zhou and colleagues (2023), *DNABERT-2*: BPE for genomes, and the case against overlapping k-mers. [doi:10.48550/arXiv.2306.15006](https://doi.org/10.48550/arXiv.2306.15006)
# - Dalla-Torre and colleagues (2024), *Nucleotide Transformer*: non-overlapping 6-mers. [doi:10.1038/s41592-024-02523-z](https://doi.org/10.1038/s41592-024-02523-z)
# - Nguyen and colleagues (2023), *HyenaDNA*: single nucleotides at length. [doi:10.48550/arXiv.2306.15794](https://doi.org/10.48550/arXiv.2306.15794)
# - Schiff and colleagues (2024), *Caduceus*: both strands in one model. [doi:10.48550/arXiv.2403.03234](https://doi.org/10.48550/arXiv.2403.03234)
#
# Next: notebook 02 turns ids into vectors and asks whether ATG is really close to ATT.
