"""Figures of deck 01: ways to cut, DNABERT's words, the leak, masked runs, merges, lengths, changes, strands."""

from __future__ import annotations

import functools
import itertools
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from gfm_lab import BPETokenizer, KmerTokenizer, NucleotideTokenizer, load_data, plots
from gfm_lab.tokenization import kmers, merge_pair

SIZES = {
    "font.size": 16,
    "axes.titlesize": 17,
    "axes.labelsize": 16,
    "xtick.labelsize": 16,
    "ytick.labelsize": 16,
    "legend.fontsize": 15,
}
EXAMPLE = "ATGTGCGCT"
SIZE = 4096
HIDDEN = "#F6C7A6"


@functools.cache
def _dna() -> dict[str, tuple[str, str]]:
    """{genome: (2 Mb to train tokenizers on, 0.4 Mb to measure them on)}, as in notebook 01."""
    genomes = {"E. coli": load_data("ecoli-k12"), "human chr20": load_data("human-chr20")}
    return {
        name: (
            genome.split("train")[:2_000_000].upper().replace("N", ""),
            genome.split("test")[:400_000].upper().replace("N", ""),
        )
        for name, genome in genomes.items()
    }


@functools.cache
def _bpe(name: str) -> BPETokenizer:
    return BPETokenizer.train([_dna()[name][0]], vocab_size=SIZE)


def _token(
    axis: Axes, start: float, stop: float, y: float, label: str, fill: str = plots.FAINT, size: float = 16
) -> None:
    axis.add_patch(
        FancyBboxPatch(
            (start + 0.08, y), stop - start - 0.16, 0.8, boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=fill, edgecolor=plots.INK, linewidth=1.0,
        )
    )  # fmt: skip
    axis.text((start + stop) / 2, y + 0.4, label, ha="center", va="center", family="monospace", fontsize=size)


def cuts() -> Figure:
    """Four ways to cut the example."""
    panels = {
        "overlapping 3-mers": [(i, i + 3) for i in range(7)],
        "3-mers side by side": [(0, 3), (3, 6), (6, 9)],
        "single nucleotides": [(i, i + 1) for i in range(9)],
        "one possible BPE": [(0, 3), (3, 5), (5, 9)],
    }
    figure, axes = plt.subplots(2, 2, figsize=(11.5, 5.1))
    for axis, (title, spans) in zip(axes.flat, panels.items(), strict=True):
        plots.sequence_strip(axis, EXAMPLE)
        for i, (a, b) in enumerate(spans):
            row = i % 3 if "overlapping" in title else 0
            _token(axis, a, b, -1.05 - 0.95 * row, EXAMPLE[a:b])
        axis.set(title=f"{title}: {len(spans)} tokens", xlim=(-0.2, 9.2), ylim=(-3.1, 1.0))
        axis.axis("off")
    return figure


def words() -> Figure:
    """DNABERT's view: a 6-mer at every base, with its published id."""
    sequence = "ATGTGCGCTA"
    tokenizer = KmerTokenizer.dnabert(6)
    ids = tokenizer(sequence)["input_ids"][1:-1]
    figure, axis = plt.subplots(figsize=(11, 4.7))
    plots.sequence_strip(axis, sequence)
    for row, (word, number) in enumerate(zip(kmers(sequence, 6), ids, strict=True)):
        y = -1.05 - 0.95 * row
        _token(axis, row, row + 6, y, word, size=19)
        axis.text(11.0, y + 0.4, f"id {number:,}", va="center", fontsize=18)
    axis.set(xlim=(-0.3, 13.5), ylim=(-5.0, 1.0))
    axis.axis("off")
    return figure


def leak() -> Figure:
    """The neighbours of a hidden 6-mer spell it."""
    found = kmers("CATGTGCGCTAG", 6)
    figure, axis = plt.subplots(figsize=(8, 4.6))
    rows = ((2, found[2], "visible"), (3, "[MASK]", "hidden"), (4, found[4], "visible"))
    for row, (start, label, name) in enumerate(rows):
        y, masked = 2.4 - 1.15 * row, label == "[MASK]"
        _token(axis, start, start + 6, y, label if masked else "", HIDDEN if masked else plots.FAINT, size=20)
        for i, base in enumerate("" if masked else label):
            axis.text(
                start + i + 0.5, y + 0.4, base, ha="center", va="center", family="monospace", fontsize=22,
                weight="bold", color=plots.NUCLEOTIDE_COLORS[base],
            )  # fmt: skip
        axis.text(10.3, y + 0.4, name, va="center", fontsize=18)
    plots.sequence_strip(axis, found[3], x=3, y=-1.75, height=0.95)
    arrow = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.6}
    for i in range(6):
        axis.annotate("", xy=(3.5 + i, -0.75), xytext=(3.5 + i, 0.05), arrowprops=arrow)
    axis.text(10.3, -1.3, "copied", va="center", fontsize=18, weight="bold")
    axis.set(xlim=(1.9, 12.4), ylim=(-1.9, 3.3))
    axis.axis("off")
    return figure


def runs() -> Figure:
    """Bases hidden by a run of masked tokens."""
    figure, axis = plt.subplots(figsize=(11, 4.7))
    lengths = np.arange(1, 13)
    for k, color, marker in ((3, plots.PALETTE[0], "o"), (6, plots.PALETTE[4], "D")):
        hidden = np.maximum(0, lengths - k + 1)
        axis.plot(lengths, hidden, marker + "-", color=color, markersize=9, label=f"overlapping {k}-mers")
    axis.plot(lengths[:2], 6 * lengths[:2], "s--", color="#7A868D", markersize=9, label="6-mers side by side")
    axis.annotate(
        "six tokens hide\none base", (6, 1), (6.3, 5.4), color=plots.PALETTE[4], weight="bold", ha="center",
        arrowprops={"arrowstyle": "-|>", "color": plots.PALETTE[4], "linewidth": 1.8},
    )  # fmt: skip
    axis.set(
        xlabel="neighbouring tokens masked", ylabel="bases really hidden", xticks=lengths, ylim=(-0.5, 12.8)
    )
    axis.legend(loc="upper center", bbox_to_anchor=(0.48, 1.04))
    return figure


def merges() -> Figure:
    """Three merge steps on the notebook's toy sequence."""
    tokens = list("ATGCATGGATGTATGC")
    figure, axis = plt.subplots(figsize=(13, 4.6))
    for step in range(4):
        x, y = 0.0, -1.25 * step
        if step:
            counts = Counter(itertools.pairwise(tokens))
            pair = max(sorted(counts), key=counts.get)
            tokens = merge_pair(tokens, pair)
            label = f"{pair[0]} + {pair[1]}, seen {counts[pair]} times"
        else:
            label, pair = "single letters", ("", "")
        for token in tokens:
            new = step and token == "".join(pair)
            fill = "#CFE3F1" if new else plots.FAINT
            _token(axis, x, x + len(token), y, token, fill, size=18)
            x += len(token)
        axis.text(16.5, y + 0.4, label, va="center", fontsize=17)
    axis.set(xlim=(-0.2, 23.5), ylim=(-4.0, 1.0))
    axis.axis("off")
    return figure


def lengths() -> Figure:
    """Tokens per kb at 4,096 entries, with the baseline on shuffled DNA and the floor."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), sharex=True, sharey=True)
    for axis, (name, (_, test)) in zip(axes, _dna().items(), strict=True):
        shuffled = "".join(np.random.default_rng(0).permutation(list(test)))
        bars = {
            "BPE on\nshuffled DNA": (_bpe(name), shuffled, "#B9C2C8"),
            "BPE": (_bpe(name), test, plots.PALETTE[4]),
            "6-mers\nside by side": (KmerTokenizer(6, stride=6), test, plots.PALETTE[0]),
        }
        for row, (tokenizer, dna, color) in enumerate(bars.values()):
            per_kb = 1000 * tokenizer.encode_array(dna).size / len(dna)
            axis.barh(row, per_kb, color=color, height=0.62)
            ink = "white" if row else "black"
            axis.text(8, row, f"{per_kb:.1f}", va="center", color=ink, weight="bold")
        floor = 2000 / np.log2(SIZE)
        axis.plot([floor, floor], [-0.5, 2.55], "--", color=plots.INK, linewidth=1.8)
        axis.text(floor - 3, 2.62, "floor for random DNA", ha="center", va="bottom", fontsize=15)
        axis.set(xlim=(0, 232), ylim=(-0.5, 3.0), xlabel="tokens per 1,000 bases")
        axis.set_title(name, loc="left")
        axis.set_yticks(range(3), list(bars))
        axis.tick_params(axis="y", length=0)
    return figure


def _touched(before: list[int], after: list[int]) -> int:
    shorter = min(len(before), len(after))
    start = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    rest = shorter - start
    end = next((i for i in range(rest) if before[-1 - i] != after[-1 - i]), rest)
    return len(after) - start - end


def changes() -> Figure:
    """Tokens changed by one substitution and by one insertion: notebook 01's experiment."""
    test, length = _dna()["E. coli"][1], 1200
    tokenizers = {
        "single nucleotides": NucleotideTokenizer(),
        "overlapping 6-mers": KmerTokenizer(6),
        "6-mers side by side": KmerTokenizer(6, stride=6),
        "BPE, 4,096": _bpe("E. coli"),
    }
    figure, axis = plt.subplots(figsize=(12, 4.6))
    for row, tokenizer in enumerate(tokenizers.values()):
        for j, kind in enumerate(("substitution", "insertion")):
            rng, middle, found = np.random.default_rng(1), length // 2, []
            for start in rng.integers(0, len(test) - length, size=200):
                window = test[start : start + length]
                new = rng.choice([base for base in "ACGT" if base != window[middle]])
                rest = window[middle + 1 :] if j == 0 else window[middle:]
                before = tokenizer.encode_array(window).tolist()
                found.append(_touched(before, tokenizer.encode_array(window[:middle] + new + rest).tolist()))
            y, mean = -row + (0.2 if j == 0 else -0.2), float(np.mean(found))
            label = kind if row == 0 else None
            axis.barh(y, mean - 0.7, left=0.7, height=0.37, color=plots.PALETTE[4 * j], label=label)
            axis.text(mean * 1.07, y, f"{mean:.1f}", va="center")
    axis.set_yticks([-r for r in range(4)], list(tokenizers))
    axis.set(xscale="log", xlim=(0.7, 300), xlabel="tokens changed by one base (mean of 200 windows)")
    axis.set_xticks([1, 10, 100], ["1", "10", "100"])
    axis.minorticks_off()
    axis.tick_params(axis="y", length=0)
    axis.legend(loc="upper right")
    return figure


def tail() -> Figure:
    """How Nucleotide Transformer cuts a sequence with N and a remainder."""
    sequence = "ATGTGCNNATGTGCG"
    tokenizer = KmerTokenizer.nucleotide_transformer()
    tokens = tokenizer.tokenize(sequence)
    assert tokens == ["ATGTGC", "N", "N", "ATGTGC", "G"]
    figure, axis = plt.subplots(figsize=(13, 2.9))
    plots.sequence_strip(axis, sequence)
    x = 0
    for token, number in zip(tokens, tokenizer.convert_tokens_to_ids(tokens), strict=True):
        fill = "#F9E3B4" if len(token) == 6 else "#FFFFFF"
        _token(axis, x, x + len(token), -1.2, token, fill, size=19)
        axis.text(x + len(token) / 2, -1.75, str(number), ha="center", va="center", fontsize=17)
        x += len(token)
    axis.text(15.3, -0.8, "tokens", va="center", fontsize=18)
    axis.text(15.3, -1.75, "ids", va="center", fontsize=18)
    axis.set(xlim=(-0.2, 17), ylim=(-2.2, 1.0))
    axis.axis("off")
    return figure
