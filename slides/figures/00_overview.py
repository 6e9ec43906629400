"""Figures of deck 00: strands, a promoter, lengths, published models, heads, scores beside baselines, the course."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import gfm_lab
from gfm_lab import load_data, load_model, one_hot, plots, reverse_complement
from gfm_lab.baselines import MarkovModel
from gfm_lab.evaluation import bootstrap

ROOT = Path(gfm_lab.__file__).resolve().parent.parent
SIZES = {
    "font.size": 16,
    "axes.titlesize": 16,
    "axes.labelsize": 16,
    "xtick.labelsize": 16,
    "ytick.labelsize": 16,
    "legend.fontsize": 15,
}
BLUE, ORANGE, GREEN, PINK, RED, SKY, _ = plots.PALETTE
TINTS = {"blue": "#CFE3F1", "orange": "#F9E3B4", "green": "#C5E7DC", "pink": "#EFD9E6", "red": "#F3D2BD"}
ARROW = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.8}
LEXA = 4_257_086  # +1 of the lexA promoter, counted from 0 (notebook 00)


def _box(axis: Axes, x: float, y: float, w: float, h: float, text: str, fill: str, **how) -> None:
    shape = "round,pad=0,rounding_size=0.12"
    axis.add_patch(
        FancyBboxPatch((x, y), w, h, boxstyle=shape, facecolor=fill, edgecolor=plots.INK, linewidth=1.2)
    )
    axis.text(x + w / 2, y + h / 2, text, ha="center", va="center", **how)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], **how) -> None:
    axis.annotate("", xy=end, xytext=start, arrowprops=ARROW | how)


def strands() -> Figure:
    """GATTACA on two strands, and what each reads."""
    figure, axis = plt.subplots(figsize=(11, 4.2))
    forward = "GATTACA"
    plots.sequence_strip(axis, forward, x=3, y=1.2)
    plots.sequence_strip(axis, reverse_complement(forward)[::-1], x=3, y=-0.2)
    for i in range(7):
        axis.plot([3.5 + i] * 2, [0.65, 1.15], color=plots.INK, linewidth=1.5)
    _arrow(axis, (3, 2.4), (10, 2.4), color=BLUE, linewidth=2.5)
    _arrow(axis, (10, -0.6), (3, -0.6), color=RED, linewidth=2.5)
    axis.text(2.7, 1.6, "5′", ha="right", va="center", fontsize=18)
    axis.text(10.3, 1.6, "3′", va="center", fontsize=18)
    axis.text(2.7, 0.2, "3′", ha="right", va="center", fontsize=18)
    axis.text(10.3, 0.2, "5′", va="center", fontsize=18)
    axis.text(11.4, 2.4, "forward strand reads", va="center", color=BLUE, weight="bold")
    axis.text(11.4, 1.6, forward, va="center", family="monospace", fontsize=20)
    axis.text(11.4, 0.2, "?" * 7, va="center", family="monospace", fontsize=20)
    axis.text(11.4, -0.6, "the other strand reads", va="center", color=RED, weight="bold")
    axis.set(xlim=(1.5, 17), ylim=(-1.1, 2.9))
    axis.axis("off")
    return figure


def promoter() -> Figure:
    """The lexA promoter, with the ideal words above the real ones."""
    stretch = load_data("ecoli-k12").region(LEXA - 42, LEXA + 4)
    assert stretch[7:13] == "TTCCAA" and stretch[30:36] == "TATACT"
    figure, axis = plt.subplots(figsize=(13, 3.6))
    plots.sequence_strip(axis, stretch, y=0, height=1.3)
    for a, ideal, name, color in ((7, "TTGACA", "−35 box", BLUE), (30, "TATAAT", "−10 box", RED)):
        for i, letter in enumerate(ideal):
            same = stretch[a + i] == letter
            axis.text(
                a + i + 0.5, 2.3, letter, ha="center", va="center", family="monospace", fontsize=20,
                weight="bold", color=plots.INK if same else "#A8A8A8",
            )  # fmt: skip
        axis.plot([a + 0.05, a + 5.95], [1.6, 1.6], color=color, linewidth=5, solid_capstyle="butt")
        axis.text(a + 3, -0.7, name, ha="center", va="center", color=color, weight="bold", fontsize=18)
    axis.text(6.3, 2.3, "ideal", ha="right", va="center", fontsize=18)
    axis.text(6.3, -0.7, "the text", ha="right", va="center", fontsize=18)
    axis.text(21.5, -0.7, "17 letters between", ha="center", va="center", fontsize=18)
    axis.plot([42.5, 42.5], [1.35, 2.2], color=plots.INK, linewidth=2)
    _arrow(axis, (42.45, 2.2), (45.6, 2.2))
    axis.text(42.6, 2.9, "+1", ha="center", va="center", weight="bold", fontsize=18)
    axis.set(xlim=(-0.3, 46.3), ylim=(-1.3, 3.4))
    axis.axis("off")
    return figure


def lengths() -> Figure:
    """What one window holds, on a log scale, beside what there is to read."""
    windows = [
        ("the course's masked model", 128),
        ("DNABERT-6", 515),
        ("Nucleotide Transformer v2", 12_282),
        ("Caduceus", 131_072),
        ("HyenaDNA, Evo 2", 1_000_000),
    ]
    things = [("E. coli: 4.6 million", len(load_data("ecoli-k12"))), ("human genome:\n3 billion", 3.1e9)]
    figure, axis = plt.subplots(figsize=(12, 4.7))
    for row, (_, bases) in enumerate(windows):
        axis.barh(-row, bases, color=BLUE, height=0.58)
        inside = {"x": bases / 1.25, "ha": "right", "color": "white"} if bases > 1e5 else {"x": bases * 1.2}
        axis.text(y=-row, s=f"{bases:,}", va="center", fontsize=15, **inside)
    axis.set_yticks([-r for r in range(len(windows))], [name for name, _ in windows])
    for (name, bases), y in zip(things, (-1.0, -1.0), strict=True):
        axis.axvline(bases, color=RED, linewidth=2.5)
        axis.text(bases * 0.8, y, name, color=RED, ha="right", va="center", weight="bold", fontsize=15)
    axis.set(xscale="log", xlim=(50, 8e9), xlabel="bases")
    axis.set_xticks([1e2, 1e4, 1e6, 1e8], ["100", "10,000", "1 million", "100 million"])
    axis.minorticks_off()
    axis.tick_params(axis="y", length=0)
    return figure


def choices() -> Figure:
    """Published models as rows of choices; equal choices have equal colours."""
    kmer, bpe, letter = TINTS["orange"], TINTS["pink"], TINTS["blue"]
    attention, other = TINTS["green"], TINTS["red"]
    rows = {
        "DNABERT-6": (("overlapping\n6-mers", kmer), ("learned", kmer), ("attention", attention),
                      ("masked, in runs", attention), "89 M"),
        "DNABERT-2": (("BPE", bpe), ("ALiBi", bpe), ("attention", attention), ("masked", attention), "117 M"),
        "Nucleotide\nTransformer v2": (("6-mers,\nside by side", TINTS["red"]), ("rotary", letter),
                                       ("attention", attention), ("masked", attention), "50–500 M"),
        "HyenaDNA": (("nucleotides", letter), ("none", "#FFFFFF"), ("Hyena, causal", kmer),
                     ("next token", other), "0.4–6.6 M"),
        "Caduceus": (("nucleotides", letter), ("none", "#FFFFFF"), ("Mamba, both\ndirections, strands", bpe),
                     ("masked", attention), "7.7 M"),
        "Evo 2": (("nucleotides\n(bytes)", letter), ("rotary", letter), ("convolutions,\nsome attention", letter),
                  ("next token", other), "up to 40 B"),
    }  # fmt: skip
    figure, axis = plt.subplots(figsize=(13.2, 5.8))
    widths, starts = (2.5, 1.7, 2.95, 2.4, 1.75), []
    x = 2.75
    for width in widths:
        starts.append(x)
        x += width
    heads = ("1 tokenizer", "2 positions", "3 mixer", "5 objective", "parameters")
    for start, width, name in zip(starts, widths, heads, strict=True):
        axis.text(start + width / 2, 0.5, name, ha="center", va="center", weight="bold", fontsize=18)
    for r, (name, cells) in enumerate(rows.items()):
        y = -r - 0.92
        axis.text(2.6, y + 0.46, name, ha="right", va="center", weight="bold", fontsize=17.5)
        for start, width, cell in zip(starts, widths, cells, strict=True):
            text, color = cell if isinstance(cell, tuple) else (cell, "#FFFFFF")
            axis.add_patch(plt.Rectangle((start, y), width - 0.08, 0.9, facecolor=color, edgecolor="#C9D1D6"))
            axis.text(start + width / 2, y + 0.45, text, ha="center", va="center", fontsize=17)
    axis.set(xlim=(0.3, x), ylim=(-6, 0.85))
    axis.axis("off")
    return figure


def body_and_heads() -> Figure:
    """Pre-training on plain DNA, then one body under several heads."""
    figure, axis = plt.subplots(figsize=(12, 4.9))
    plots.sequence_strip(axis, "ACG", x=0.0, y=3.25)
    axis.add_patch(plt.Rectangle((3.03, 3.25), 0.94, 0.8, facecolor="#FFFFFF", edgecolor=plots.INK))
    axis.text(3.5, 3.65, "?", ha="center", va="center", weight="bold")
    plots.sequence_strip(axis, "TAC", x=4.0, y=3.25)
    axis.text(3.5, 4.5, "1  pre-train: DNA without labels", ha="center", weight="bold", color=BLUE)
    _arrow(axis, (7.2, 3.65), (8.3, 3.65))
    _box(axis, 8.4, 3.0, 4.4, 1.3, "body", TINTS["blue"], weight="bold", fontsize=20)
    _arrow(axis, (12.9, 3.65), (14.0, 3.65))
    _box(axis, 14.1, 3.0, 4.9, 1.3, "language model head:\nwhich base is it?", plots.FAINT)
    _arrow(axis, (10.6, 2.95), (10.6, 1.5), color=BLUE)
    axis.text(10.2, 2.2, "the same weights", color=BLUE, weight="bold", ha="right", va="center")
    axis.text(3.5, 1.1, "2  a task: a few labels", ha="center", weight="bold", color=RED)
    plots.sequence_strip(axis, "ACGTTAC", x=0.0, y=-0.1)
    _arrow(axis, (7.2, 0.3), (8.3, 0.3))
    _box(axis, 8.4, -0.75, 4.4, 2.2, "body", TINTS["blue"], weight="bold", fontsize=20)
    for text, y in (("classify: promoter?", 1.05), ("regress: how strong?", 0.0), ("embed: a vector", -1.05)):
        _arrow(axis, (12.9, 0.3), (14.0, y + 0.38), linewidth=1.4)
        _box(axis, 14.1, y, 4.9, 0.8, text, TINTS["red"])
    axis.set(xlim=(-0.4, 19.3), ylim=(-1.3, 5.1))
    axis.axis("off")
    return figure


def cells() -> Figure:
    """scGPT's input: a cell as a set of genes with values."""
    figure, axis = plt.subplots(figsize=(12, 4.6))
    genes = (("CD3E", 12, "high"), ("ACTB", 85, "top"), ("MS4A1", 0, None), ("IL7R", 4, "low"))
    axis.text(2.2, 4.35, "one cell: counts of RNA", ha="center", weight="bold")
    for row, (name, count, level) in enumerate(genes):
        y = 3.2 - 1.1 * row
        shade = "#FFFFFF" if level is None else TINTS["green"]
        _box(axis, 0.3, y, 2.4, 0.8, name, TINTS["orange"], style="italic")
        _box(axis, 2.8, y, 1.3, 0.8, str(count), shade)
        if level:
            _arrow(axis, (4.3, y + 0.4), (5.5, y + 0.4))
            value = "?" if name == "IL7R" else level
            _box(axis, 5.7, y, 1.9, 0.8, name, TINTS["orange"], style="italic")
            axis.text(7.87, y + 0.4, "+", ha="center", va="center", fontsize=20)
            hidden = value == "?"
            _box(axis, 8.15, y, 1.6, 0.8, value, "#FFFFFF" if hidden else TINTS["green"], weight="bold")
            _arrow(axis, (9.9, y + 0.4), (11.0, y + 0.4))
    axis.text(7.7, 4.35, "token = gene + value bin", ha="center", weight="bold")
    _box(axis, 11.1, -0.1, 3.0, 4.1, "attention\nover a set\nof genes", TINTS["blue"])
    _arrow(axis, (14.2, 0.3), (15.2, 0.3))
    _box(axis, 15.3, -0.1, 2.9, 0.8, "IL7R: low", TINTS["red"])
    axis.text(15.3, 1.1, "predict the\nhidden value", va="bottom", weight="bold")
    axis.set(xlim=(0, 18.4), ylim=(-0.4, 4.8))
    axis.axis("off")
    return figure


def _scores(checkpoint: str, protocol: str) -> dict[str, dict[str, float]]:
    rows = json.loads((ROOT / "checkpoints" / checkpoint / "scores.json").read_text(encoding="utf-8"))[
        "table"
    ]
    return {row["model"]: row for row in rows if row["protocol"] == protocol}


def bits() -> Figure:
    """Bits per base of the shipped models beside the baselines scored on the same bases."""
    causal = _scores("ecoli-conv-ar", "causal")
    left = [
        ("base frequencies", causal["base frequencies"]),
        ("Markov, order 12", causal["Markov, order 12"]),
    ]
    for name, label in (("mamba", "Mamba"), ("hyena", "Hyena"), ("conv", "convolution")):
        left.append((label, _scores(f"ecoli-{name}-ar", "causal")["this model"]))
    joint = _scores("ecoli-attention-mlm", "joint")
    right = [
        ("base frequencies", joint["base frequencies"]),
        ("two-sided counts", joint["two-sided back-off, 6 bases"]),
        ("Markov, order 12", joint["Markov, order 12, exact conditional"]),
        ("attention", joint["this model"]),
    ]
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.6))
    titles = ("left to right", "15 % masked")
    units = ("bits per base", "bits per masked base")
    for axis, rows, title, unit in zip(axes, (left, right), titles, units, strict=True):
        for y, (label, row) in enumerate(rows):
            trained = label in ("Mamba", "Hyena", "convolution", "attention")
            color = BLUE if trained else "#7A868D"
            axis.plot([row["low"], row["high"]], [-y, -y], color=color, linewidth=5, solid_capstyle="butt")
            axis.plot(row["bits"], -y, "o", color=color, markersize=10)
            axis.text(row["bits"], -y + 0.22, f"{row['bits']:.4f}", ha="center", va="bottom", color=color)
        axis.set_yticks([-y for y in range(len(rows))], [label for label, _ in rows])
        axis.axvline(2, color=plots.INK, linestyle=":", linewidth=1.5)
        axis.set(title=title, xlim=(1.76, 2.03), ylim=(0.4 - len(rows), 0.75), xlabel=unit)
        axis.tick_params(axis="y", length=0)
    return figure


def stops() -> Figure:
    """Notebook 00: CAG to TAG in frame and off the frame, model and Markov model."""
    ecoli = load_data("ecoli-k12")
    model, tokenizer = load_model("ecoli-attention-mlm")
    markov = MarkovModel(order=6).fit(ecoli.split("train"))
    text, begin = ecoli.sequence, ecoli.splits["test"][0] + 300
    places: dict[bool, list[int]] = {True: [], False: []}
    for gene in ecoli.genes.query(f"strand == '+' and biotype == 'CDS' and start > {begin}").itertuples():
        for found in re.finditer("CAG", text[gene.start : gene.stop - 3]):
            places[found.start() % 3 == 0].append(gene.start + found.start())
    results = {}
    for in_frame, found in places.items():
        chosen = np.random.default_rng(0).permutation(found)[:80]
        windows = [text[at - 61 : at + 67] for at in chosen]
        mask = np.arange(128) == 61
        ids = torch.tensor([tokenizer(window)["input_ids"] for window in windows])
        ids[:, mask] = tokenizer.mask_token_id
        with torch.inference_mode():
            p = model(input_ids=ids).logits[:, mask, 5:9].softmax(-1).numpy()
        q = np.array([markov.masked_probabilities(window, mask)[mask] for window in windows])
        old, new = one_hot("C")[0], one_hot("T")[0]
        results[in_frame] = [np.log2((v * new).sum(-1) / (v * old).sum(-1))[:, 0] for v in (p, q)]
    figure, axis = plt.subplots(figsize=(12, 4.2))
    for j, (who, color) in enumerate((("model", BLUE), ("Markov model, the baseline", "#7A868D"))):
        for row, in_frame in enumerate((True, False)):
            values, y = results[in_frame][j], -row - 0.26 * j
            axis.plot(bootstrap(values), [y, y], color=color, linewidth=5, solid_capstyle="butt")
            label = who if row == 0 else None
            axis.plot(values.mean(), y, "o", color=color, markersize=12, label=label)
            label = f"{values.mean():.1f}".replace("-", "−")
            axis.text(bootstrap(values)[0] - 0.08, y, label, ha="right", va="center", color=color)
    axis.axvline(0, color=plots.INK, linestyle=":", linewidth=1.5)
    axis.set_yticks([-0.13, -1.13], ["in frame:\nends the protein", "off the frame:\nthe control"])
    axis.tick_params(axis="y", length=0)
    axis.set(
        xlim=(-6.5, 0.4), ylim=(-1.7, 0.5), xlabel="mean score of CAG → TAG, bits (80 places, 95 % interval)"
    )
    axis.legend(loc="upper right", bbox_to_anchor=(0.92, 1.08))
    return figure


def course() -> Figure:
    """The notebooks, in order."""
    figure, axis = plt.subplots(figsize=(12.6, 5.1))
    _box(axis, 0, 2.2, 1.9, 1.3, "00\nanatomy", TINTS["blue"], weight="bold")
    _box(axis, 0, 0.2, 1.9, 1.75, "p1 DNA\np2 PyTorch\np3 scores", plots.FAINT)
    sites = (
        ("1 tokenizer", "01 tokenization"),
        ("2 embedding", "02 embeddings"),
        ("3 mixer", "03 attention\n04 convolution, Hyena\n05 Mamba\n06 both strands\n07 choosing"),
        ("4 head", "08 heads"),
        ("5 objective", "09 masked\n10 next token"),
    )
    x = 2.5
    for (site, books), width in zip(sites, (2.25, 2.25, 3.1, 1.75, 2.1), strict=True):
        _box(axis, x, 3.05, width, 0.75, site, BLUE, weight="bold", color="white")
        _box(axis, x, 0.2, width, 2.7, books, TINTS["blue"], linespacing=1.5)
        x += width + 0.12
    _arrow(axis, (1.95, 2.85), (2.45, 2.85))
    _box(axis, 2.5, -1.35, x - 0.12 - 2.5, 0.95, "practicals:   11 promoters   ·   12 variants   ·   13 design",
         TINTS["red"], weight="bold")  # fmt: skip
    middle = (2.5 + x - 0.12) / 2
    _arrow(axis, (middle, 0.15), (middle, -0.35))
    axis.set(xlim=(-0.1, x), ylim=(-1.5, 4.0))
    axis.axis("off")
    return figure
