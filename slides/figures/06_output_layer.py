"""Figures of deck 06: four heads, the padding trap, routes beside their baselines, and a head that does not pool."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn.decomposition import PCA

import gfm_lab
from gfm_lab import load_data, load_model, plots
from gfm_lab.heads import Pool

ROOT = Path(gfm_lab.__file__).parent.parent
BLUE, YELLOW, GREEN, PINK, RED = plots.PALETTE[:5]
GREY = "#777777"
ARROW = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.8}


def _large(*axes: Axes) -> None:
    for axis in axes:
        axis.tick_params(labelsize=17)
        axis.xaxis.label.set_size(18)
        axis.yaxis.label.set_size(18)
        axis.set_title(axis.get_title("left"), fontsize=18)


def _box(axis: Axes, x: float, y: float, w: float, h: float, text: str, color: str, size: int = 17) -> None:
    axis.add_patch(Rectangle((x, y), w, h, facecolor=color, edgecolor=plots.INK, linewidth=1.4))
    axis.text(x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=size)


def four_heads() -> Figure:
    """One body, its hidden states, pooling, and four heads with their shapes."""
    figure, axis = plt.subplots(figsize=(12, 5.2))
    axis.text(0.0, 2.4, "ACGTTGCA", family="monospace", weight="bold", ha="center", va="center", fontsize=17)
    _box(axis, 1.05, 1.6, 1.7, 1.6, "body", "#BFD9EA", 17)
    for i in range(5):
        axis.add_patch(
            Rectangle((3.35, 1.62 + 0.33 * i), 1.0, 0.25, facecolor="#F6DDA8", edgecolor=plots.INK)
        )
    axis.text(3.85, 3.38, "hidden states\n(B, L, D)", ha="center", va="bottom", fontsize=17)
    _box(axis, 5.15, 0.95, 1.2, 1.0, "pool\n(B, D)", plots.FAINT)
    rows = (
        (3.75, "language model", "(B, L, V)", BLUE),
        (2.35, "classification", "(B, C)", YELLOW),
        (1.35, "regression", "(B, 1)", GREEN),
        (0.35, "embedding", "(B, D)", PINK),
    )
    for y, name, shape, color in rows:
        axis.add_patch(Rectangle((7.3, y - 0.36), 2.5, 0.72, facecolor=color, alpha=0.4))
        axis.text(8.55, y, name, ha="center", va="center", weight="bold", fontsize=17)
        axis.text(10.0, y, shape, ha="left", va="center", fontsize=17)
        start = (4.4, 2.8) if name == "language model" else (6.4, 1.45)
        axis.annotate("", xy=(7.25, y), xytext=start, arrowprops=ARROW)
    for a, b in (((0.78, 2.4), (1.02, 2.4)), ((2.8, 2.4), (3.3, 2.4)), ((4.4, 1.9), (5.1, 1.5))):
        axis.annotate("", xy=b, xytext=a, arrowprops=ARROW)
    axis.set(xlim=(-0.9, 11.4), ylim=(-0.2, 4.5))
    axis.axis("off")
    return figure


def padding() -> Figure:
    """First principal component of pooled vectors against length, without and with the mask."""
    torch.set_num_threads(1)
    model, tokenizer = load_model("species-mamba-ar")
    rng = np.random.default_rng(0)
    lengths = rng.integers(30, 76, 200)
    starts = [rng.integers(0, 76 - n) for n in lengths]
    whole = load_data("lac-mpra").split("valid").sequences
    batch = tokenizer(
        [s[a : a + n] for s, a, n in zip(whole[:200], starts, lengths, strict=True)],
        padding=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        states = model.base_model(**batch).last_hidden_state
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6))
    for axis, title, mask in (
        (axes[0], "padding in the mean", None),
        (axes[1], "mean over real tokens", batch["attention_mask"]),
    ):
        first = PCA(1, random_state=0).fit_transform(Pool("mean", states.shape[-1])(states, mask).numpy())[
            :, 0
        ]
        first = first * np.sign(np.corrcoef(first, lengths)[0, 1])
        color = RED if mask is None else BLUE
        axis.scatter(lengths, np.round(first, 3), s=26, color=color, alpha=0.6, linewidth=0)
        r = abs(np.corrcoef(first, lengths)[0, 1])
        axis.set(title=f"{title}: |r| = {r:.2f}", xlabel="length of the sequence")
    axes[0].set_ylabel("first component")
    _large(*axes)
    return figure


def along_dna() -> Figure:
    """What the splice network says along 16,000 bases of chromosome 20."""
    from gfm_lab.splice_cnn import load_splice_cnn

    torch.set_num_threads(1)
    chromosome, first = load_data("human-chr20"), 35_060_000
    dna = chromosome.region(first - chromosome.offset, first - chromosome.offset + 16_000)
    said = load_splice_cnn().probabilities(dna)
    frame = load_data("human-splice-sites").frame
    known = frame[(frame.label == 1) & (frame.strand == "+")]
    known = known[known.position.between(first + 1, first + 15_999)].drop_duplicates("position")
    figure, axis = plt.subplots(figsize=(11.5, 3.3))
    for column, site, color, way in ((1, "acceptor", GREEN, 1), (2, "donor", RED, -1)):
        values = said[:, column]
        shown = np.flatnonzero(np.convolve(values > 0.02, [1, 1, 1], "same"))  # peaks alone: a light file
        shown = np.unique(np.r_[0, shown, len(values) - 1])
        axis.plot(shown / 1000, way * np.round(values[shown], 3), color=color, linewidth=1.8, label=site)
        at = known[known.site == site].position.to_numpy() - first
        axis.plot(
            at / 1000, way * np.full(len(at), 1.16), "v" if way > 0 else "^", color=color, markersize=11
        )
    axis.axhline(0, color=GREY, linewidth=1)
    axis.set(xlabel=f"kb from base {first:,} of chromosome 20", ylabel="probability", ylim=(-1.4, 1.4))
    axis.set_yticks([-1, 0, 1], ["1", "0", "1"])
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=17)
    _large(axis)
    return figure


def what_is_trained() -> Figure:
    """Probe, LoRA, full and the twin: which parts move."""
    figure, axis = plt.subplots(figsize=(12, 4.8))
    frozen, trained = "#DDE3E7", "#F6C7A6"
    for i, name in enumerate(("probe", "LoRA", "full")):
        x = 4.1 * i
        axis.text(x + 1.5, 4.55, name, ha="center", fontsize=19, weight="bold")
        _box(axis, x, 3.3, 3.0, 0.85, "head", trained, 16)
        for layer in range(3):
            y = 2.1 - 1.05 * layer
            color = trained if name == "full" else frozen
            _box(axis, x, y, 1.9 if name == "LoRA" else 3.0, 0.8, "W", color, 16)
            if name == "LoRA":
                axis.text(x + 2.08, y + 0.38, "+", ha="center", va="center", fontsize=18)
                _box(axis, x + 2.25, y, 0.22, 0.8, "", trained)
                _box(axis, x + 2.55, y + 0.29, 0.65, 0.22, "", trained)
    axis.text(5.6, -0.55, "two thin matrices beside each W", ha="center", fontsize=17)
    axis.text(1.5, -0.55, "the body is frozen", ha="center", fontsize=17)
    axis.text(9.7, -0.55, "everything moves", ha="center", fontsize=17)
    axis.set(xlim=(-0.3, 11.6), ylim=(-0.9, 5.1))
    axis.axis("off")
    return figure


def routes() -> Figure:
    """Best baseline, probe, its twin and a supervised network on four data sets, from benchmarks/results/heads.json."""
    lines = json.loads((ROOT / "benchmarks/results/heads.json").read_text(encoding="utf-8"))
    panels = (
        ("donor-matched", "human donors", "AUROC", "k-mers in position bins", "k-mers in bins"),
        ("fly-promoters", "fly promoters", "AUROC", "k-mers", "k-mers"),
        ("lac-mpra", "lac promoter", "R2", "pairwise", "pairwise"),
        ("arabidopsis-expression", "plant genes", "Spearman", "k-mers in position bins", "k-mers in bins"),
    )
    figure, axes = plt.subplots(2, 2, figsize=(12, 5.9))
    figure.get_layout_engine().set(hspace=0.08, wspace=0.06)
    for axis, (data, title, metric, best, short) in zip(axes.flat, panels, strict=True):
        rows = {}
        for line in lines:
            if line["data"] != data:
                continue
            if line["route"] == "baselines" and line["model"] == best:
                rows[short] = (0, *line["metrics"][metric])
            elif line["route"] == "probe":
                twin = line["model"].endswith("twin")
                rows["twin, probe" if twin else "probe"] = (1 if twin else 2, *line["metrics"][metric])
            elif line["route"] == "supervised":
                rows["from labels"] = (3, *line["metrics"][metric])
        for name, (place, value, low, high) in rows.items():
            color = {"probe": RED, "twin, probe": "#999999", "from labels": GREEN}.get(name, BLUE)
            axis.plot([low, high], [-place, -place], color=color, linewidth=6, solid_capstyle="butt")
            axis.plot(value, -place, "o", color=color, markersize=11)
        axis.set_yticks([-place for place, *_ in rows.values()], list(rows))
        measure = "R²" if metric == "R2" else metric
        axis.set(title=f"{title}, {measure}", ylim=(-3.6, 0.6))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        _large(axis)
    return figure
