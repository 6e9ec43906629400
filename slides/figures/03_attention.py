"""Figures of deck 03: attention as matrices, a table by hand, masks, maps of a shipped model, tiles, cost."""

from __future__ import annotations

import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

import gfm_lab
from gfm_lab import load_data, load_model, plots
from gfm_lab.mixers.attention import naive_attention, window_mask
from gfm_lab.model import GenomicForMaskedLM

ROOT = Path(gfm_lab.__file__).resolve().parent.parent
SIZES = {
    "font.size": 14,
    "axes.titlesize": 14,
    "axes.labelsize": 14,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "legend.fontsize": 13,
}
Q, K, V = "#BFD9EA", "#F6DDA8", "#B2DED2"
ARROW = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.4}


def matrices() -> Figure:
    """X -> Q, K, V -> scores -> weights -> Y."""
    figure, axis = plt.subplots(figsize=(9, 3.9))
    boxes = {
        "X": (0, 1.0, 0.8, 1.6, plots.FAINT, "L × D"),
        "Q": (2.1, 2.9, 0.55, 1.5, Q, "L × d"),
        "K": (2.1, 0.7, 0.55, 1.5, K, "L × d"),
        "V": (2.1, -1.5, 0.55, 1.5, V, "L × d"),
        "scores": (4.7, 1.7, 1.1, 1.5, "#E6E6E6", "L × L"),
        "weights": (7.3, 1.7, 1.1, 1.5, "#CFCFCF", "L × L"),
        "Y": (10.0, 0.1, 0.55, 1.5, plots.FAINT, "L × d"),
    }
    for label, (x, y, w, h, color, shape) in boxes.items():
        axis.add_patch(plt.Rectangle((x, y), w, h, facecolor=color, edgecolor=plots.INK))
        axis.text(x + w / 2, y + h / 2, label, ha="center", va="center", weight="bold")
        axis.text(x + w / 2, y - 0.1, shape, ha="center", va="top", color="#555555")
    for (x0, y0), (x1, y1), text, (tx, ty) in (
        ((0.85, 2.3), (2.05, 3.6), "$W_Q$", (1.1, 3.25)),
        ((0.85, 1.8), (2.05, 1.5), "$W_K$", (1.6, 2.02)),
        ((0.85, 1.2), (2.05, -0.7), "$W_V$", (1.05, 0.0)),
        ((2.7, 3.6), (4.65, 2.8), "", (0, 0)),
        ((2.7, 1.5), (4.65, 2.2), "$QK^T/\\sqrt{d}$", (3.55, 2.62)),
        ((5.85, 2.45), (7.25, 2.45), "softmax of\neach row", (6.55, 3.1)),
        ((8.45, 2.3), (9.95, 1.2), "weights · V", (9.75, 2.15)),
        ((2.7, -0.8), (9.95, 0.6), "", (0, 0)),
    ):
        axis.annotate("", xy=(x1, y1), xytext=(x0, y0), arrowprops=ARROW)
        if text:
            axis.text(tx, ty, text, ha="center", va="center")
    axis.set(xlim=(-0.2, 10.8), ylim=(-2.1, 4.6))
    axis.axis("off")
    return figure


def gata() -> Figure:
    """The table of weights of GATA, by the package."""
    vectors = {"A": (1.0, -1.0), "C": (-1.0, 1.0), "G": (1.0, 1.0), "T": (-1.0, -1.0)}
    x = torch.tensor([vectors[base] for base in "GATA"])
    table = naive_attention(x @ torch.diag(torch.tensor([-1.0, 1.0])), x, x, return_weights=True)[1]
    figure, axis = plt.subplots(figsize=(5.4, 4.4))
    axis.imshow(table, cmap="Blues", vmin=0, vmax=0.7)
    for i in range(4):
        for j in range(4):
            ink = "white" if table[i, j] > 0.35 else plots.INK
            axis.text(j, i, f"{table[i, j]:.2f}", ha="center", va="center", color=ink)
    axis.set_xticks(range(4), list("GATA"))
    axis.set_yticks(range(4), list("GATA"))
    axis.set(xlabel="is looked at (key)", ylabel="looks (query)")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def heads() -> Figure:
    """D channels cut into h heads, each with a table of its own, joined by one matrix."""
    figure, axis = plt.subplots(figsize=(9, 3.7))
    rng = np.random.default_rng(5)
    colors = plots.PALETTE[:4]
    for h, color in enumerate(colors):
        y = 2.7 - 0.9 * h
        axis.add_patch(plt.Rectangle((0, y), 1.3, 0.75, facecolor=color, alpha=0.75))
        axis.text(0.65, y + 0.37, f"q, k, v  {h + 1}", ha="center", va="center")
        table = rng.random((8, 8)) ** 5
        table /= table.sum(1, keepdims=True)
        axis.imshow(table, cmap="Greys", extent=(3.2, 4.0, y, y + 0.75), vmin=0, vmax=0.6, aspect="auto")
        axis.add_patch(plt.Rectangle((3.2, y), 0.8, 0.75, fill=False, edgecolor=color, linewidth=2.2))
        axis.add_patch(plt.Rectangle((5.9, y), 0.55, 0.75, facecolor=color, alpha=0.75))
        axis.annotate("", xy=(3.15, y + 0.37), xytext=(1.35, y + 0.37), arrowprops=ARROW)
        axis.annotate("", xy=(5.85, y + 0.37), xytext=(4.05, y + 0.37), arrowprops=ARROW)
    axis.annotate("", xy=(8.1, 1.7), xytext=(6.5, 1.7), arrowprops=ARROW)
    axis.add_patch(plt.Rectangle((8.15, 0.0), 0.55, 3.45, facecolor=plots.FAINT, edgecolor=plots.INK))
    axis.text(7.3, 2.0, "$W_O$", ha="center")
    for x, text in (
        (0.65, "D channels\nin 4 pieces"),
        (3.6, "4 tables,\nL × L each"),
        (6.17, "4 answers,\nside by side"),
        (8.42, "mixed,\nD channels"),
    ):
        axis.text(x, -0.25, text, ha="center", va="top", color="#444444")
    axis.set(xlim=(-0.3, 9.4), ylim=(-1.3, 3.6), aspect="auto")
    axis.axis("off")
    return figure


def masks() -> Figure:
    """Who may look at whom: all, not at padding, not at the future."""
    length = 12
    panels = {
        "full": torch.ones(length, length),
        "3 of 12 are padding": (torch.arange(length) < 9).expand(length, length),
        "causal": torch.ones(length, length).tril(),
    }
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.3))
    for axis, (title, allowed) in zip(axes, panels.items(), strict=True):
        axis.pcolormesh(allowed.float(), cmap="Blues", vmin=0, vmax=1.4, edgecolors="white", linewidth=1)
        axis.set(title=title, aspect="equal", xticks=[], yticks=[], xlabel="key")
        axis.invert_yaxis()
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel("query")
    return figure


def maps() -> Figure:
    """ecoli-attention-mlm, layer 3, head 1: two windows of the test region, the mean of 60, an untrained twin."""
    model, tokenizer = load_model("ecoli-attention-mlm")
    torch.manual_seed(0)
    twin = GenomicForMaskedLM(model.config).eval()
    test = load_data("ecoli-k12").split("test")
    ids = torch.tensor(np.stack([tokenizer.encode_array(test[s : s + 64]) for s in range(0, 60_000, 1000)]))

    def weights(m: GenomicForMaskedLM) -> torch.Tensor:
        with torch.no_grad():
            layer = m.body.layers[2]
            x = m.body(ids.long(), output_hidden_states=True).hidden_states[2]
            return layer.mixer(layer.norm1(x), return_weights=True)[1][:, 0]

    trained, blank = weights(model), weights(twin)
    panels = {
        "one sequence": trained[0],
        "another one": trained[1],
        "mean of 60": trained.mean(0),
        "never trained": blank[0],
    }
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.4))
    for axis, (title, table) in zip(axes, panels.items(), strict=True):
        limit = float(table.flatten().quantile(0.99))
        axis.imshow(table, cmap="Blues", vmin=0, vmax=limit)
        axis.set_title(title, fontsize=16)
        axis.set_xlabel("key", fontsize=16)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel("query", fontsize=16)
    return figure


def window() -> Figure:
    """A window, a window with one global token, and how far a stack of windows sees."""
    length, radius = 25, 3
    band = window_mask(length, radius).float()
    anchored = band.clone()
    anchored[0] = anchored[:, 0] = 1
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), width_ratios=(1, 1, 1.35))
    for axis, title, table in zip(axes, ("window", "with a global token"), (band, anchored), strict=False):
        axis.imshow(table, cmap="Blues", vmin=0, vmax=1.4)
        axis.set(title=title, xticks=[], yticks=[], xlabel="key")
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel("query")
    axis = axes[2]
    for layer in range(4):
        axis.scatter(range(length), [layer] * length, s=14, color="#C9D1D6", zorder=1)
        reach = radius * (3 - layer)
        seen = range(12 - reach, 13 + reach)
        axis.scatter(seen, [layer] * len(seen), s=26, color=plots.PALETTE[0], zorder=2)
    axis.set(title="reach of 3 layers", xticks=[], yticks=[0, 3])
    axis.set_yticklabels(["input", "output"])
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def tiles() -> Figure:
    """The online softmax on one row of 12 scores in three tiles."""
    scores = torch.tensor([0.0, 2.0, 0.5, 1.0, 1.0, 3.0, -1.0, 0.0, 0.5, 1.0, 5.0, 2.0])
    values = torch.arange(1.0, 13.0)
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 3.7), height_ratios=(1.9, 1), sharex=True)
    largest, total, result = -math.inf, 0.0, 0.0
    for tile, start in enumerate((0, 4, 8)):
        part = scores[start : start + 4]
        new = max(largest, part.max().item())
        correction = math.exp(largest - new)
        total = total * correction + (part - new).exp().sum().item()
        result = result * correction + ((part - new).exp() @ values[start : start + 4]).item()
        largest = new
        color = plots.PALETTE[(0, 1, 2)[tile]]
        above.bar(range(start, start + 4), part, color=color, width=0.8)
        above.axvline(start - 0.5, color="#999999", linewidth=1)
        above.text(start + 1.5, 5.6, f"tile {tile + 1}", ha="center", weight="bold")
        lines = (f"largest {largest:.0f}, old × {correction:.3f}", f"result / total = {result / total:.3f}")
        for i, line in enumerate(lines):
            below.text(start + 1.5, 0.72 - 0.42 * i, line, ha="center", va="center")
    assert abs(result / total - (scores.softmax(0) @ values).item()) < 1e-5
    above.axhline(0, color=plots.INK, linewidth=1)
    above.set(ylabel="score", ylim=(-1.3, 6.6), xticks=[], xlim=(-0.6, 11.6))
    above.spines["bottom"].set_visible(False)
    below.set(ylim=(0, 1.1))
    below.axis("off")
    return figure


def cost() -> Figure:
    """Seconds and peak memory of whole models against length, from benchmarks/results/mixers.json."""
    rows = json.loads((ROOT / "benchmarks/results/mixers.json").read_text(encoding="utf-8"))["rows"]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.9))
    lines = {
        "attention": ("attention", "", plots.PALETTE[0], "o-"),
        "BERT": ("attention", "peer_", plots.PALETTE[0], "s:"),
        "window": ("sliding window", "", plots.PALETTE[4], "o-"),
        "Longformer": ("sliding window", "peer_", plots.PALETTE[4], "s:"),
    }
    for label, (mixer, side, color, style) in lines.items():
        own = [row for row in rows if row["mixer"] == mixer]
        lengths = [row["length"] for row in own]
        seconds = [row[f"{side}us_per_token"] * row["length"] / 1e6 for row in own]
        axes[0].loglog(lengths, seconds, style, color=color, label=label)
        axes[1].loglog(lengths, [row[f"{side}peak_mib"] for row in own], style, color=color, label=label)
    for axis, title in zip(axes, ("seconds", "peak memory, MiB"), strict=True):
        axis.set_title(title)
        axis.set_xticks([256, 1024, 4096, 16_384], ["256", "1,024", "4,096", "16,384"])
        axis.set_xlabel("tokens")
        axis.minorticks_off()
    axes[0].legend(loc="upper left")
    return figure
