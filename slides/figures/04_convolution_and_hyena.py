"""Figures of deck 04: tables of mixers, a filter on a sequence, reach, the FFT's wrap-around, Hyena, its cost."""

from __future__ import annotations

import functools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

import gfm_lab
from gfm_lab import load_data, load_model, plots
from gfm_lab.mixers import Hyena

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


def tables() -> Figure:
    """Four causal mixers as tables: what each position counts for each output."""
    rng = np.random.default_rng(3)
    size = 24
    lag = np.arange(size)[:, None] - np.arange(size)
    past = lag >= 0
    attention = np.where(past, np.exp(1.6 * rng.normal(size=(size, size))), 0)
    attention /= attention.sum(1, keepdims=True)
    short = np.where(past & (lag < 4), np.array([1, 0.6, -0.5, 0.3])[np.clip(lag, 0, 3)], 0)
    taps = np.cos(np.arange(size) / 2.1) * np.exp(-np.arange(size) / 12)
    long = np.where(past, taps[np.clip(lag, 0, None)], 0)
    gate_out, gate_in = rng.random(size) ** 1.5, rng.random(size) ** 1.5
    panels = {
        "attention": 3 * attention,
        "short filter": short,
        "long filter": long,
        "long, gated": 3 * gate_out[:, None] * long * gate_in,
    }
    figure, axes = plt.subplots(1, 4, figsize=(10, 3.1))
    for axis, (title, table) in zip(axes, panels.items(), strict=True):
        axis.imshow(table, cmap="RdBu", vmin=-1, vmax=1)
        axis.set_title(title, fontsize=15)
        axis.set_xlabel("from position", fontsize=15)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel("to position", fontsize=15)
    return figure


def motif() -> Figure:
    """The filter AGGTAAG on the notebook's sequence: matching letters at every start."""
    sequence, word = "TTCAGGTAAGTCAGGAAG", "AGGTAAG"
    starts = range(len(sequence) - len(word) + 1)
    scores = [sum(a == b for a, b in zip(sequence[i:], word, strict=False)) for i in starts]
    figure, axis = plt.subplots(figsize=(9, 3.8))
    plots.sequence_strip(axis, sequence, y=0)
    plots.sequence_strip(axis, word, x=3, y=1.15)
    axis.text(2.8, 1.55, "filter", ha="right", va="center")
    axis.text(-0.2, 0.4, "DNA", ha="right", va="center")
    axis.text(-0.2, -2.2, "matches", ha="right", va="center")
    for i, score in zip(starts, scores, strict=True):
        color = plots.PALETTE[4] if score == 7 else "#9DB8C9"
        axis.add_patch(plt.Rectangle((i + 0.1, -3.3), 0.8, 0.32 * score, facecolor=color))
        axis.text(i + 0.5, -3.3 + 0.32 * score + 0.07, str(score), ha="center", va="bottom")
    axis.plot([0, 18], [-3.3, -3.3], color=plots.INK, linewidth=1)
    axis.text(6, -3.75, "position where the filter begins", ha="center", va="center")
    axis.set(xlim=(-2.6, 18.2), ylim=(-4.0, 2.1))
    axis.axis("off")
    return figure


def reach() -> Figure:
    """Four causal layers of two taps, dilations 1, 2, 4, 8: the paths into the last output."""
    figure, axis = plt.subplots(figsize=(9, 3.5))
    dilations, active = (1, 2, 4, 8), {15}
    for layer in range(4, 0, -1):
        d, below = dilations[layer - 1], set()
        for t in range(16):
            for s in (t, t - d):
                if s < 0:
                    continue
                used = t in active
                color, width = (plots.PALETTE[0], 1.8) if used else ("#DDDDDD", 0.8)
                axis.plot([s, t], [layer - 1, layer], color=color, linewidth=width, zorder=1 + used)
                if used:
                    below.add(s)
        axis.text(15.7, layer - 0.5, f"dilation {d}", va="center")
        active = below
    for layer in range(5):
        axis.scatter(range(16), [layer] * 16, s=42, color=plots.INK, zorder=3)
    axis.set_yticks([0, 4], ["input", "output"])
    axis.set(xlim=(-0.6, 18.9), xticks=[0, 15], xlabel="position")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def wrap() -> Figure:
    """A signal times a filter by FFT, with room for all values and without."""
    u, k = torch.tensor([1.0, 2.0, 0.0, 0.0, 3.0]), torch.tensor([1.0, 0.5, 0.25, 0.1, 0.0])
    full = torch.fft.irfft(torch.fft.rfft(u, n=9) * torch.fft.rfft(k, n=9), n=9)
    wrapped = torch.fft.irfft(torch.fft.rfft(u) * torch.fft.rfft(k), n=5)
    torch.testing.assert_close(wrapped, full[:5] + torch.nn.functional.pad(full[5:], (0, 1)))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, width_ratios=(9, 5))
    blue, orange = plots.PALETTE[0], plots.PALETTE[4]
    axes[0].bar(range(9), full, color=[blue] * 5 + [orange] * 4, width=0.75)
    axes[0].set(title="room for 5 + 5 − 1 values: cut the tail", xticks=range(9), xlabel="position")
    axes[0].axvline(4.5, color=plots.INK, linestyle=":")
    axes[1].bar(range(5), full[:5], color=blue, width=0.75)
    axes[1].bar(range(4), full[5:], bottom=full[:4], color=orange, width=0.75)
    axes[1].set(title="no room: it wraps", xticks=range(5), xlabel="position")
    axes[0].set_ylabel("output")
    return figure


@functools.cache
def _reader() -> tuple:
    model, tokenizer = load_model("ecoli-hyena-ar")
    return model.eval(), tokenizer


def period() -> Figure:
    """The filters of ecoli-hyena-ar: their strength by distance and their power by period."""
    mixers = [part for part in _reader()[0].modules() if isinstance(part, Hyena)]
    torch.manual_seed(0)
    mixers.append(Hyena(mixers[0].dim, max_length=mixers[0].max_length))
    with torch.no_grad():
        taps = torch.stack([mixer.filter(512) for mixer in mixers])
    power = torch.fft.rfft(taps).abs().square().mean(1)
    power = power / power[:, 100:240].median(dim=1, keepdim=True).values
    strength = taps.square().mean(1).sqrt()
    names = [f"layer {i}" for i in range(1, 5)] + ["untrained"]
    colors = [*plots.PALETTE[:4], "#777777"]
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.7))
    for i, (name, color) in enumerate(zip(names, colors, strict=True)):
        line = "--" if name == "untrained" else "-"
        width = 2.4 if name == "layer 3" else 1.3
        axes[0].plot(strength[i, :60], line, color=color, linewidth=width, label=name)
        axes[1].plot(512 / torch.arange(90, 257), power[i, 90:], line, color=color, linewidth=width)
    axes[0].set(xlabel="distance", title="size of the taps", yticks=[])
    axes[1].set(xlabel="period, bases", title="power (typical = 1)", yscale="log")
    axes[1].set_xticks([2, 3, 4, 5])
    axes[1].minorticks_off()
    axes[0].legend()
    return figure


def operator() -> Figure:
    """The Hyena operator of order 2: three projections, a long filter written by a network, two gates."""
    figure, axis = plt.subplots(figsize=(9.6, 4.0))
    blue, sand, green, grey = "#BFD9EA", "#F6DDA8", "#B2DED2", "#E6E6E6"
    boxes = [
        (1.0, 1.5, 1.7, 1.0, plots.FAINT, "project\nto 3 × D"),
        (3.3, 1.5, 1.7, 1.0, blue, "short filter,\n3 taps"),
        (5.65, 3.0, 0.6, 0.6, plots.FAINT, "$x_1$"),
        (5.65, 1.7, 0.6, 0.6, plots.FAINT, "$x_2$"),
        (5.65, 0.4, 0.6, 0.6, plots.FAINT, "$v$"),
        (7.0, 0.4, 0.6, 0.6, grey, "×"),
        (8.2, 0.2, 1.7, 1.0, green, "long\nfilter h"),
        (10.5, 0.4, 0.6, 0.6, grey, "×"),
        (11.7, 0.2, 1.5, 1.0, plots.FAINT, "project\nto D"),
        (8.0, 1.75, 2.1, 0.8, sand, "network of t"),
    ]
    for x, y, w, h, color, text in boxes:
        axis.add_patch(plt.Rectangle((x, y), w, h, facecolor=color, edgecolor=plots.INK))
        axis.text(x + w / 2, y + h / 2, text, ha="center", va="center")
    for tail, head in (
        ((0.3, 2.0), (1.0, 2.0)),
        ((2.7, 2.0), (3.3, 2.0)),
        ((5.0, 2.2), (5.65, 3.2)),
        ((5.0, 2.0), (5.65, 2.0)),
        ((5.0, 1.8), (5.65, 0.8)),
        ((6.25, 0.7), (7.0, 0.7)),
        ((7.6, 0.7), (8.2, 0.7)),
        ((9.9, 0.7), (10.5, 0.7)),
        ((11.1, 0.7), (11.7, 0.7)),
        ((13.2, 0.7), (13.8, 0.7)),
        ((9.05, 1.75), (9.05, 1.2)),
    ):
        axis.annotate("", xy=head, xytext=tail, arrowprops=ARROW)
    axis.plot([6.25, 7.3], [2.0, 2.0], color=plots.INK, linewidth=1.4)
    axis.annotate("", xy=(7.3, 1.0), xytext=(7.3, 2.0), arrowprops=ARROW)
    axis.plot([6.25, 10.8], [3.3, 3.3], color=plots.INK, linewidth=1.4)
    axis.annotate("", xy=(10.8, 1.0), xytext=(10.8, 3.3), arrowprops=ARROW)
    axis.text(0.2, 2.0, "x", ha="right", va="center", weight="bold")
    axis.text(13.9, 0.7, "y", va="center", weight="bold")
    axis.text(7.15, 1.35, "what is\nsent", ha="right", va="center", color="#444444")
    axis.text(8.5, 3.4, "what is received", ha="center", va="bottom", color="#444444")
    axis.set(xlim=(-0.2, 14.3), ylim=(0.0, 4.1))
    axis.axis("off")
    return figure


def gated() -> Figure:
    """One channel of ecoli-hyena-ar, layer 3, as a table: the filter alone, and gated for two sequences."""
    model, tokenizer = _reader()
    layer, test = model.body.layers[2], load_data("ecoli-k12").split("test")
    mixer, length = layer.mixer, 64
    ids = torch.tensor(np.stack([tokenizer.encode_array(test[s : s + length]) for s in (5000, 90_000)]))
    with torch.no_grad():
        taps = mixer.filter(512)
        spectrum = torch.fft.rfft(taps).abs().square()
        channel = int((spectrum[:, 170:172].amax(1) / spectrum[:, 5:].mean(1)).argmax())
        x = layer.norm1(model.body(ids.long(), output_hidden_states=True).hidden_states[2])
        x1, x2, _ = mixer._smooth(mixer.inputs(x), None).split(mixer.dim, dim=1)
        lag = torch.arange(length)[:, None] - torch.arange(length)
        plain = torch.where(lag >= 0, taps[channel][lag.clamp(min=0)], torch.zeros(()))
        plain = plain + mixer.skip[channel] * torch.eye(length)
        tables = [plain, *(x1[i, channel][:, None] * plain * x2[i, channel] for i in range(2))]
    figure, axes = plt.subplots(1, 3, figsize=(9.4, 3.6))
    for axis, table, title in zip(axes, tables, ("filter alone", "one sequence", "another one"), strict=True):
        limit = float(table.abs().flatten().quantile(0.985))
        axis.imshow(table, cmap="RdBu", vmin=-limit, vmax=limit)
        axis.set(title=title, xlabel="from position", xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel("to position")
    return figure


def cost() -> Figure:
    """Microseconds per token of whole models, training, against length (mixers_lengths.csv)."""
    table = pd.read_csv(ROOT / "benchmarks/results/mixers_lengths.csv").query("device == 'cpu'")
    figure, axis = plt.subplots(figsize=(9, 3.7))
    rows = {"attention": ("attention", 0), "hyena": ("Hyena", 3), "convolution": ("convolution", 2)}
    for name, (label, color) in rows.items():
        own = table[table["mixer"] == name].dropna(subset="us_per_token_forward_backward")
        axis.plot(
            own["L"],
            own["us_per_token_forward_backward"],
            "o-",
            color=plots.PALETTE[color],
            label=label,
            linewidth=2,
        )
    axis.set(xscale="log", ylim=(0, 560), xlabel="bases", ylabel="µs per base, training")
    axis.set_xticks([256, 1024, 4096, 16_384, 65_536], ["256", "1,024", "4,096", "16,384", "65,536"])
    axis.minorticks_off()
    axis.legend(loc="upper left")
    return figure
