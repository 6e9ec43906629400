"""Figures of deck 08: prevalence, negatives, four questions to a variant, saturation maps, a search and its plate."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from gfm_lab import load_data, load_model, one_hot, plots, reverse_complement
from gfm_lab.sequence_columns import gc_share
from gfm_lab.variants import saturation

BLUE, YELLOW, GREEN, PINK, RED = plots.PALETTE[:5]
GREY = "#777777"


def _large(*axes: Axes) -> None:
    for axis in axes:
        axis.tick_params(labelsize=17)
        axis.xaxis.label.set_size(18)
        axis.yaxis.label.set_size(18)
        axis.set_title(axis.get_title("left"), fontsize=18)


def gc() -> Figure:
    """GC content of human promoters and of two kinds of negatives."""
    human = load_data("human-promoters").frame
    share = gc_share(human["sequence"].tolist())[:, 0]
    figure, axis = plt.subplots(figsize=(6.6, 5.0))
    for kind, name, color in (
        ("promoter", "promoters", RED),
        ("random", "random windows", GREY),
        ("gc_matched", "matched in GC", BLUE),
    ):
        height, edges = np.histogram(share[human["kind"] == kind], bins=24, range=(0.2, 0.9), density=True)
        middle = (edges[1:] + edges[:-1]) / 2
        style = "--" if kind == "gc_matched" else "-"
        axis.plot(middle, height, style, color=color, linewidth=3, label=name)
    axis.set(xlabel="share of G and C", ylabel="density", ylim=(0, None))
    axis.set_xticks([0.2, 0.4, 0.6, 0.8])
    axis.legend(fontsize=17, loc="upper center", bbox_to_anchor=(0.5, 1.4))
    _large(axis)
    return figure


def prevalence() -> Figure:
    """Precision at recall 0.8 and false positive rate 0.05, against the number of negatives for each positive."""
    figure, axis = plt.subplots(figsize=(10.5, 4.5))
    others = np.geomspace(1, 1000, 60)
    precision = 0.8 / (0.8 + 0.05 * others)
    axis.plot(others, precision, color=BLUE, linewidth=3.5)
    for n, text, shift in ((1, "a balanced test", (16, 8)), (299, "GTs within genes", (-40, 22))):
        value = 0.8 / (0.8 + 0.05 * n)
        axis.plot(n, value, "o", color=RED, markersize=13)
        axis.annotate(text, (n, value), shift, textcoords="offset points", fontsize=17, color=plots.INK)
    axis.set(xscale="log", xlabel="negatives for each positive", ylabel="precision", ylim=(0, 1.02))
    axis.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    axis.set_yticks([0, 0.5, 1])
    axis.minorticks_off()
    _large(axis)
    return figure


def four_questions() -> Figure:
    """One window with two alleles, and what each of four scores asks."""
    figure, axis = plt.subplots(figsize=(12, 4.9))
    before, ref, alt, after = "GCTCGTATG", "T", "A", "TGTGTGGAA"
    for y, base, name in ((3.4, ref, "reference"), (2.2, alt, "alternative")):
        for i, letter in enumerate(before + base + after):
            axis.add_patch(Rectangle((i + 0.04, y), 0.92, 0.9, facecolor=plots.NUCLEOTIDE_COLORS[letter]))
            axis.text(
                i + 0.5, y + 0.43, letter, ha="center", va="center", color="white", weight="bold", fontsize=17
            )
        axis.text(-0.4, y + 0.45, name, ha="right", va="center", weight="bold", fontsize=17)
    axis.add_patch(Rectangle((8.97, 2.08), 1.06, 2.34, fill=False, edgecolor=plots.INK, linewidth=3))
    columns = (
        ("masked", "which base\nin this gap?", "nats, signed", BLUE),
        ("autoregressive", "how likely is\nthe window?", "nats, signed", YELLOW),
        ("embedding", "how far apart\nare the two?", "no direction", PINK),
        ("trained head", "what do you\npredict for each?", "the label's unit", GREEN),
    )
    for i, (name, question, unit, color) in enumerate(columns):
        x = -4.0 + 6.15 * i
        axis.add_patch(Rectangle((x, -1.6), 5.7, 3.1, facecolor=color, alpha=0.25))
        axis.text(x + 2.85, 1.05, name, ha="center", va="center", weight="bold", fontsize=17)
        axis.text(x + 2.85, -0.05, question, ha="center", va="center", fontsize=17)
        axis.text(x + 2.85, -1.15, unit, ha="center", va="center", fontsize=17, style="italic")
    axis.set(xlim=(-4.3, 20.5), ylim=(-1.8, 4.6))
    axis.axis("off")
    return figure


def lac_map() -> Figure:
    """All single changes of the lac promoter: measured effects, and what the masked model expects."""
    torch.set_num_threads(1)
    model, tokenizer = load_model("ecoli-attention-mlm")
    context = reverse_complement(load_data("ecoli-k12").sequence[366_343 - 300 : 366_418 + 300])
    lac = context[300:375]
    train = load_data("lac-mpra").split("train")
    wild = one_hot(lac).astype(bool)
    columns = one_hot("".join(train.sequences)).reshape(len(train), 75, 4)[:, ~wild]
    centred = columns - columns.mean(0)
    gram = centred.T @ centred + 10 * np.eye(225)
    measured = np.zeros((75, 4))
    measured[~wild] = np.linalg.solve(gram, centred.T @ (train.labels - train.labels.mean()))
    expected = saturation(model, tokenizer, context, 300, 375, window=128)[[*"ACGT"]].to_numpy()
    figure, axes = plt.subplots(2, 1, figsize=(12, 4.9), sharex=True)
    for axis, values, title in (
        (axes[0], measured, "the assay: effect on expression"),
        (axes[1], expected, "the masked model: log P(alt) − log P(ref)"),
    ):
        limit = np.abs(values).max()
        axis.imshow(np.round(values.T, 2), cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
        axis.plot(range(75), wild.argmax(1), ".", color=plots.INK, markersize=3)
        axis.set_yticks(range(4), [*"ACGT"])
        axis.set_title(title)
        axis.spines[:].set_visible(False)
        for name, motif in (("−35", "TTTACA"), ("−10", "TATGTT")):
            left = lac.index(motif) - 0.5
            axis.add_patch(Rectangle((left, -0.5), 6, 4, fill=False, edgecolor=plots.INK, linewidth=2.5))
            axis.text(left + 3, -0.65, name, ha="center", va="bottom", fontsize=17)
    axes[1].set_xticks(range(5, 75, 10), [str(i) for i in range(-70, 0, 10)])
    axes[1].set_xlabel("base, counted from the end of the assayed stretch")
    _large(*axes)
    return figure


def donor_map() -> Figure:
    """CI-SpliceAI's change of the log odds of a donor for all changes around one real donor."""
    from gfm_lab.splice_cnn import load_splice_cnn

    torch.set_num_threads(1)
    people = load_data("thousand-genomes-chr20")
    last = 1_099_545 - 1 - people.offset
    around = people.sequence[last - 5000 : last + 5001]
    cnn = load_splice_cnn()

    def middle(sequences: list[str]) -> np.ndarray:
        rows = [torch.from_numpy(one_hot(s).T.copy())[None] for s in sequences]
        with torch.inference_mode():
            return np.concatenate([cnn(row).softmax(1)[:, :, 0] for row in rows])

    first, stop = 5000 - 3, 5000 + 8
    table = saturation(middle, None, around, first, stop, method="head", window=10_001, target=2)
    values = table[[*"ACGT"]].to_numpy()
    letters = around[first:stop]
    figure, axis = plt.subplots(figsize=(11, 4.4))
    limit = np.abs(values).max()
    image = axis.imshow(np.round(values.T, 2), cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for i, letter in enumerate(letters):
        axis.plot(i, "ACGT".index(letter), "o", color=plots.INK, markersize=9)
    axis.axvline(3.5, color=plots.INK, linewidth=3)
    axis.text(1.5, -0.65, "exon", ha="center", va="bottom", fontsize=17)
    axis.text(7, -0.65, "intron", ha="center", va="bottom", fontsize=17)
    axis.set_yticks(range(4), [*"ACGT"])
    axis.set_xticks(range(len(letters)), list(letters))
    axis.spines[:].set_visible(False)
    axis.set(xlabel="the reference (dots)", ylabel="changed to")
    bar = figure.colorbar(image, ax=axis)
    bar.set_label("change of log odds", fontsize=17)
    bar.ax.tick_params(labelsize=17)
    _large(axis)
    return figure


def search_and_judge() -> Figure:
    """Wild type, search with its oracle, designs, judge, laboratory."""
    figure, axis = plt.subplots(figsize=(12, 3.9))
    boxes = {
        "wild type": (0, plots.FAINT, plots.INK),
        "search": (2.6, BLUE, "white"),
        "designs": (5.2, plots.FAINT, plots.INK),
        "judge": (7.8, YELLOW, plots.INK),
        "laboratory": (10.4, GREEN, "white"),
    }
    for name, (x, color, ink) in boxes.items():
        axis.add_patch(Rectangle((x, 0), 1.75, 0.9, facecolor=color, edgecolor=plots.INK))
        axis.text(x + 0.87, 0.45, name, ha="center", va="center", color=ink, weight="bold", fontsize=17)
    axis.add_patch(Rectangle((2.6, 1.8), 1.75, 0.9, facecolor="#777777", edgecolor=plots.INK))
    axis.text(3.47, 2.25, "oracle", ha="center", va="center", color="white", weight="bold", fontsize=17)
    arrow = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.8}
    for x in (1.75, 4.35, 6.95, 9.55):
        axis.annotate("", (x + 0.83, 0.45), (x + 0.04, 0.45), arrowprops=arrow)
    axis.annotate("", (3.0, 1.76), (3.0, 0.94), arrowprops=arrow)
    axis.annotate("", (3.9, 0.94), (3.9, 1.76), arrowprops=arrow)
    axis.text(4.6, 2.25, "asked thousands of times:\nthe search finds its errors", va="center", fontsize=17)
    axis.text(8.67, -0.4, "asked once", ha="center", va="center", fontsize=17)
    axis.text(11.27, -0.4, "has the last word", ha="center", va="center", fontsize=17)
    axis.set(xlim=(-0.2, 12.5), ylim=(-0.8, 2.9))
    axis.axis("off")
    return figure


def plate() -> Figure:
    """A plate of 46 sequences in which every claim has its control, in the order of the notebook's table."""
    kinds = (
        ("designs, apart from each other", 16, RED),
        ("wild type", 4, plots.INK),
        ("by hand", 2, PINK),
        ("random mutants, same distance", 8, GREY),
        ("best training variants", 8, BLUE),
        ("designs of the shuffled oracle", 8, YELLOW),
    )
    wells = [color for _, count, color in kinds for _ in range(count)]
    order = np.random.default_rng(0).permutation(48)  # places on the plate are drawn at random
    figure, axis = plt.subplots(figsize=(11.5, 4.9))
    for place in range(48):
        at = order[place]
        color = wells[place] if place < len(wells) else "white"
        axis.add_patch(Circle((at % 8, -(at // 8)), 0.4, facecolor=color, edgecolor=plots.INK))
    for i, (name, count, color) in enumerate(kinds):
        axis.add_patch(Circle((9.0, -0.9 * i - 0.2), 0.3, facecolor=color, edgecolor=plots.INK))
        axis.text(9.6, -0.9 * i - 0.2, f"{count}  {name}", va="center", fontsize=17)
    axis.set(xlim=(-0.7, 17.2), ylim=(-5.6, 0.6), aspect="equal")
    axis.axis("off")
    return figure
