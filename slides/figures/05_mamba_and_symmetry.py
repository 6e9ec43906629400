"""Figures of deck 05: three ways to a recurrence, delta as a gate, the Mamba block, both strands, recall."""

from __future__ import annotations

import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

import gfm_lab
from gfm_lab import load_data, load_model, plots, reverse_complement

ROOT = Path(gfm_lab.__file__).resolve().parent.parent
SIZES = {
    "font.size": 14,
    "axes.titlesize": 14,
    "axes.labelsize": 14,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "legend.fontsize": 13,
}
ARROW = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.4}
BLUE, SAND, GREEN, GREY = "#BFD9EA", "#F6DDA8", "#B2DED2", "#E6E6E6"


def views() -> Figure:
    """The same linear map as a recurrence, as a convolution and as a scan."""
    figure, (chain, filt, tree) = plt.subplots(1, 3, figsize=(9.6, 3.7), width_ratios=(1.15, 1, 1))
    for i, base in enumerate("GATT"):
        x = 1.5 * i
        chain.add_patch(plt.Rectangle((x, 0), 0.8, 0.8, facecolor=plots.NUCLEOTIDE_COLORS[base]))
        chain.text(x + 0.4, 0.4, base, ha="center", va="center", color="white", weight="bold")
        chain.add_patch(plt.Rectangle((x, 1.9), 0.8, 0.8, facecolor=BLUE, edgecolor=plots.INK))
        chain.text(x + 0.4, 2.3, "h", ha="center", va="center")
        chain.text(x + 0.4, 4.05, "y", ha="center", va="center")
        for start, stop, name in ((0.85, 1.85, "B"), (2.75, 3.75, "C")):
            chain.annotate("", xy=(x + 0.4, stop), xytext=(x + 0.4, start), arrowprops=ARROW)
            chain.text(x + 0.5, (start + stop) / 2, name, va="center", color="#555555")
        if i < 3:
            chain.annotate("", xy=(x + 1.47, 2.3), xytext=(x + 0.83, 2.3), arrowprops=ARROW)
            chain.text(x + 1.12, 2.5, "A", ha="center", color="#555555")
    chain.set(xlim=(-0.1, 5.5), ylim=(-0.1, 4.5), title="recurrence")
    chain.axis("off")
    a, b, c = (np.array(v) for v in ((0.5, 0.9, 0.99, 0.999), (0.5, 0.1, 0.01, 0.001), (0.5, -1, -0.5, 1)))
    steps = np.arange(3000)
    filt.plot(steps + 1, (a ** steps[:, None]) @ (b * c), color=plots.PALETTE[0], linewidth=2.2)
    filt.axhline(0, color="#999999", linewidth=1)
    filt.set(xscale="log", title="convolution", xlabel="bases ago", yticks=[], xticks=[1, 10, 100, 1000])
    filt.set_xticklabels(["1", "10", "100", "1,000"])
    filt.minorticks_off()
    rounds = [[(i - r, i) for i in range(r, 8)] for r in (1, 2, 4)]
    for level in range(4):
        tree.scatter(range(8), [-level] * 8, s=60, color=BLUE, edgecolor=plots.INK, zorder=3)
    for level, pairs in enumerate(rounds):
        for i in range(8):
            tree.plot([i, i], [-level, -level - 1], color="#CCCCCC", zorder=1)
        for i, j in pairs:
            tree.plot([i, j], [-level, -level - 1], color=plots.PALETTE[4], zorder=2)
    tree.set(title="scan", xlabel="position", xticks=[0, 7], yticks=[0, -3])
    tree.set_yticklabels(["steps", "states"])
    tree.spines[:].set_visible(False)
    tree.tick_params(length=0)
    return figure


def gate() -> Figure:
    """What delta does to the state, and a state whose delta depends on the input."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.5), width_ratios=(1, 1.7))
    deltas = np.logspace(-3, 1, 200)
    for rate, color in zip((1, 4, 16), plots.PALETTE, strict=False):
        left.plot(deltas, np.exp(-deltas * rate), color=color, label=f"A = −{rate}", linewidth=2)
    left.set(xscale="log", xlabel="Δ", title="kept of the old state")
    left.legend(loc="lower left")
    tokens = "··A····G·T·······C··A···"
    level = [" ACGT".find(token) if token != "·" else 0 for token in tokens]
    for steps, color, label in (
        ([8.0 if value else 0.0 for value in level], plots.PALETTE[0], "Δ large at a base, 0 at noise"),
        ([0.5] * len(level), plots.PALETTE[4], "the same Δ everywhere"),
    ):
        h, states = 0.0, []
        for value, step in zip(level, steps, strict=True):
            h = math.exp(-step) * h + (1 - math.exp(-step)) * value
            states.append(h)
        right.step(range(len(level)), states, where="mid", color=color, label=label, linewidth=2.2)
    for i, token in enumerate(tokens):
        color = plots.NUCLEOTIDE_COLORS.get(token, "#888888")
        right.text(i, -0.85, token, ha="center", color=color, weight="bold")
    right.set(ylim=(-1.1, 7), yticks=range(5), xticks=[], title="state of one number")
    right.set_yticklabels(["0", "A", "C", "G", "T"])
    right.legend(loc="upper left")
    return figure


def block() -> Figure:
    """The Mamba block."""
    figure, axis = plt.subplots(figsize=(9.6, 3.9))
    boxes = (
        (0.9, 1.35, plots.FAINT, "project\nto 4 × D"),
        (2.9, 2.6, BLUE, "filter of\n4 taps"),
        (4.9, 2.6, GREY, "SiLU"),
        (6.6, 4.2, SAND, "Δ, B, C"),
        (7.0, 2.6, GREEN, "selective\nscan"),
        (4.9, 0.1, GREY, "SiLU"),
        (9.1, 1.35, GREY, "×"),
        (10.9, 1.35, plots.FAINT, "project\nto D"),
    )
    for x, y, color, label in boxes:
        axis.add_patch(plt.Rectangle((x, y), 1.5, 1.0, facecolor=color, edgecolor=plots.INK))
        axis.text(x + 0.75, y + 0.5, label, ha="center", va="center")
    for tail, head in (
        ((0.3, 1.85), (0.9, 1.85)),
        ((2.4, 2.1), (2.9, 2.9)),
        ((4.4, 3.1), (4.9, 3.1)),
        ((6.4, 3.1), (7.0, 3.1)),
        ((5.9, 3.6), (6.6, 4.5)),
        ((7.6, 4.2), (7.75, 3.6)),
        ((2.4, 1.6), (4.9, 0.6)),
        ((8.5, 2.9), (9.15, 2.35)),
        ((6.4, 0.6), (9.15, 1.35)),
        ((10.6, 1.85), (10.9, 1.85)),
        ((12.4, 1.85), (13.0, 1.85)),
    ):
        axis.annotate("", xy=head, xytext=tail, arrowprops=ARROW)
    axis.text(0.2, 1.85, "x", ha="right", va="center", weight="bold")
    axis.text(13.1, 1.85, "y", va="center", weight="bold")
    axis.text(3.2, 0.75, "gate", ha="center", color="#555555")
    axis.text(8.3, 4.7, "from the input", va="center", color="#555555")
    axis.set(xlim=(-0.1, 13.4), ylim=(0, 5.4))
    axis.axis("off")
    return figure


def molecule() -> Figure:
    """22 base pairs of E. coli at the start of yaaA, which stands in the file backwards."""
    genome = load_data("ecoli-k12")
    gene = genome.genes.query("gene == 'yaaA'").iloc[0]
    top = genome.region(gene.stop - 13, gene.stop + 9)
    figure, axis = plt.subplots(figsize=(9.6, 3.1))
    for y, letters in ((1.15, top), (0.0, reverse_complement(top)[::-1])):
        for i, base in enumerate(letters):
            here = y == 0 and 10 <= i < 13
            axis.add_patch(
                plt.Rectangle(
                    (i + 0.06, y),
                    0.88,
                    0.8,
                    facecolor=plots.NUCLEOTIDE_COLORS[base],
                    edgecolor=plots.INK if here else "none",
                    linewidth=3,
                )
            )
            axis.text(i + 0.5, y + 0.4, base, ha="center", va="center", color="white", weight="bold")
    axis.annotate("", xy=(22, 2.3), xytext=(0, 2.3), arrowprops=ARROW)
    axis.annotate("", xy=(0, -0.35), xytext=(22, -0.35), arrowprops=ARROW)
    for x, y, text in ((-0.8, 1.55, "5′"), (22.8, 1.55, "3′"), (-0.8, 0.4, "3′"), (22.8, 0.4, "5′")):
        axis.text(x, y, text, ha="center", va="center", weight="bold")
    axis.text(11, 2.65, "the file: this strand, from left to right", ha="center", va="center")
    axis.text(11, -0.75, "the gene yaaA is read here, from right to left", ha="center", va="center")
    axis.set(xlim=(-1.5, 23.5), ylim=(-1.05, 2.95))
    axis.axis("off")
    return figure


def readings() -> Figure:
    """P(true base) of hidden test bases, read by ecoli-attention-mlm from either strand."""
    model, tokenizer = load_model("ecoli-attention-mlm")
    test, rng = load_data("ecoli-k12").split("test"), np.random.default_rng(0)
    starts = rng.integers(len(test) - 128, size=60)
    truth = torch.from_numpy(np.stack([tokenizer.encode_array(test[s : s + 128]) for s in starts])).long()
    hidden = torch.from_numpy(rng.random(truth.shape) < 0.15)
    seen = truth.masked_fill(hidden, tokenizer.mask_token_id)
    complement = torch.tensor([0, 1, 2, 3, 4, 8, 7, 6, 5, 9])
    with torch.inference_mode():
        there = model(seen).logits
        back = model(complement[seen].flip(1)).logits.flip(1)[..., complement]
    pair = [
        x[..., 5:9].softmax(-1)[hidden].gather(1, truth[hidden][:, None] - 5)[:, 0] for x in (there, back)
    ]
    figure, axis = plt.subplots(figsize=(5.0, 4.4))
    axis.scatter(*pair, s=12, alpha=0.5, color=plots.PALETTE[0], linewidths=0, rasterized=True)
    axis.plot([0, 1], [0, 1], color=plots.INK, linewidth=1)
    axis.set(xlabel="P(true base), this strand", ylabel="P(true base), other strand", aspect="equal")
    return figure


def caduceus() -> Figure:
    """Caduceus-PS: the same body on both strands, both results side by side, the head adds them."""
    figure, axis = plt.subplots(figsize=(9.6, 3.9))
    for y, text, how in ((2.6, "GATTACA", ""), (0.4, "TGTAATC", "rc")):
        plots.sequence_strip(axis, text, x=0.6, y=y, height=0.8)
        axis.add_patch(plt.Rectangle((9.0, y - 0.1), 3.4, 1.0, facecolor=GREEN, edgecolor=plots.INK))
        axis.text(10.7, y + 0.4, "body", ha="center", va="center")
        axis.annotate("", xy=(8.95, y + 0.4), xytext=(7.8, y + 0.4), arrowprops=ARROW)
        axis.text(0.3, y + 0.4, how or "x", ha="right", va="center", weight="bold")
        axis.annotate("", xy=(13.6, y + 0.4), xytext=(12.45, y + 0.4), arrowprops=ARROW)
        axis.add_patch(plt.Rectangle((13.65, y - 0.15), 2.0, 1.1, facecolor=BLUE, edgecolor=plots.INK))
        axis.text(14.65, y + 0.4, "h" if how == "" else "h,\nturned", ha="center", va="center")
        axis.add_patch(plt.Rectangle((17.0, y - 0.1), 2.0, 1.0, facecolor=SAND, edgecolor=plots.INK))
        axis.text(18.0, y + 0.4, "head", ha="center", va="center")
        axis.annotate("", xy=(16.95, y + 0.4), xytext=(15.7, y + 0.4), arrowprops=ARROW)
    axis.annotate("", xy=(4.1, 1.3), xytext=(4.1, 2.5), arrowprops=ARROW)
    axis.text(4.4, 1.9, "exchange letters,\nread backwards", va="center", color="#444444")
    axis.annotate(
        "",
        xy=(10.7, 2.45),
        xytext=(10.7, 1.35),
        arrowprops={**ARROW, "arrowstyle": "<|-|>", "color": plots.PALETTE[4]},
    )
    axis.text(11.0, 1.9, "same weights", va="center", color=plots.PALETTE[4])
    axis.add_patch(plt.Rectangle((20.2, 1.35), 1.1, 1.1, facecolor=GREY, edgecolor=plots.INK))
    axis.text(20.75, 1.9, "+", ha="center", va="center", fontsize=18)
    axis.annotate("", xy=(20.4, 2.45), xytext=(19.0, 3.0), arrowprops=ARROW)
    axis.annotate("", xy=(20.4, 1.35), xytext=(19.0, 0.8), arrowprops=ARROW)
    axis.text(21.0, 0.75, "letters\nturned back", ha="center", va="top", color="#444444")
    axis.annotate("", xy=(22.3, 1.9), xytext=(21.35, 1.9), arrowprops=ARROW)
    axis.text(22.4, 1.9, "logits", va="center", weight="bold")
    axis.set(xlim=(-0.6, 24.6), ylim=(-0.6, 3.8))
    axis.axis("off")
    return figure


def equal_cost() -> Figure:
    """Bits per masked base of five ways, three seeds each, from benchmarks/results/strands.json."""
    runs = json.loads((ROOT / "benchmarks/results/strands.json").read_text(encoding="utf-8"))["runs"]
    order = ["forward", "augmented", "shared", "forward, averaged", "augmented, averaged"]
    bits: dict[tuple[int, str], list[float]] = {}
    for run in runs:
        bits.setdefault((run["bases"], run["arm"]), []).append(run["bits"])
        if run.get("averaged"):
            key = (run["bases"], run["arm"] + ", averaged")
            bits.setdefault(key, []).append(run["averaged"]["bits"])
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.8), sharey=True)
    sizes = sorted({run["bases"] for run in runs})[::-1]
    for axis, size, title in zip(axes, sizes, ("all of the training region", "30,000 bases"), strict=True):
        for place, arm in enumerate(order):
            own = bits[size, arm]
            color = plots.PALETTE[2 if arm == "shared" else 4 if "averaged" in arm else 0]
            axis.plot([place - 0.3, place + 0.3], [np.mean(own)] * 2, color=color, linewidth=4)
            axis.scatter([place] * len(own), own, color=plots.INK, s=22, zorder=3)
        axis.set_title(title)
        axis.set_xticks(range(5), ["forward", "augm.", "shared", "forward\n+ avg", "augm.\n+ avg"])
    axes[0].set_ylabel("bits per masked base")
    return figure


def recall() -> Figure:
    """Accuracy of associative recall against distance, from benchmarks/results/choosing/recall.json."""
    shipped = json.loads((ROOT / "benchmarks/results/choosing/recall.json").read_text(encoding="utf-8"))
    names = {
        "attention": "attention",
        "sliding_window": "window",
        "convolution": "convolution",
        "hyena": "Hyena",
        "mamba": "Mamba",
    }
    best: dict[str, dict] = {}
    for run in shipped["runs"]:
        known = run["learning_rate"] in shipped["setting"]["learning_rates"]
        if known and run["valid"] > best.get(run["mixer"], {"valid": -1})["valid"]:
            best[run["mixer"]] = run
    figure, axis = plt.subplots(figsize=(9.4, 3.9))
    for color, (name, label) in zip(plots.PALETTE, names.items(), strict=False):
        rows = best[name]["by_distance"]
        y = np.array([row["accuracy"] for row in rows])
        ends = [y - [row["low"] for row in rows], [row["high"] for row in rows] - y]
        x = [row["distance"] for row in rows]
        axis.errorbar(x, y, yerr=np.maximum(ends, 0), color=color, marker="o", capsize=2, label=label)
    for name, far in shipped["setting"]["reach"].items():
        axis.axvline(far, color=plots.PALETTE[list(names).index(name)], linestyle=":")
    for height, what in ((0.25, "values known, not whose"), (0.125, "blind")):
        axis.axhline(height, color="#777777", linestyle="--", linewidth=1)
        axis.text(126, height, what, va="center", color="#555555")
    axis.set(xlabel="tokens from the value to the question", ylabel="accuracy", ylim=(-0.02, 1.05))
    axis.set_xlim(0, 124)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.68))
    return figure
