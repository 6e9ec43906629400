"""Figures of deck 07: what is hidden, what is given away, and what a model writes and remembers."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import gfm_lab
from gfm_lab import GenomicConfig, GenomicForCausalLM, MarkovModel, generate, load_data, load_model, plots
from gfm_lab.composition import markov_dna, mutual_information
from gfm_lab.generation import sampling_probabilities
from gfm_lab.objectives import run_offsets

ROOT = Path(gfm_lab.__file__).parent.parent
BLUE, YELLOW, GREEN, PINK, RED = plots.PALETTE[:5]
GREY = "#777777"


def _large(*axes: Axes) -> None:
    for axis in axes:
        axis.tick_params(labelsize=17)
        axis.xaxis.label.set_size(18)
        axis.yaxis.label.set_size(18)
        axis.set_title(axis.get_title("left"), fontsize=18)


def _row(axis: Axes, letters: str, y: float, *, frames: dict[int, str] | None = None) -> None:
    for i, letter in enumerate(letters):
        color = plots.NUCLEOTIDE_COLORS.get(letter, "#999999") if letter != " " else plots.FAINT
        axis.add_patch(Rectangle((i + 0.05, y), 0.9, 0.8, facecolor=color))
        if frames and i in frames:
            axis.add_patch(Rectangle((i + 0.05, y), 0.9, 0.8, fill=False, edgecolor=plots.INK, linewidth=2.5))
        axis.text(
            i + 0.5, y + 0.39, letter, ha="center", va="center", color="white", weight="bold", fontsize=17
        )


def two_questions() -> Figure:
    """The same nine bases as a masked and as a next-token exercise."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.9))
    text = "ATGACCATG"
    hidden = {2, 6}
    shown = "".join("?" if i in hidden else base for i, base in enumerate(text))
    asked = "".join(base if i in hidden else " " for i, base in enumerate(text))
    for axis, title, top, bottom in (
        (axes[0], "masked", shown, asked),
        (axes[1], "next token", text, text[1:] + " "),
    ):
        _row(axis, top, 2.2)
        _row(axis, bottom, 0.0)
        for i in range(9):
            if bottom[i] == " ":
                continue
            sees = range(9) if axis is axes[0] else range(i + 1)
            for j in sees:
                if axis is axes[0] and j in hidden:
                    continue
                axis.plot([j + 0.5, i + 0.5], [2.15, 0.9], color="#8A97A0", linewidth=0.9, zorder=0)
        axis.text(0, 3.3, title, fontsize=18, weight="bold")
        axis.set(xlim=(-0.2, 9.2), ylim=(-0.9, 3.8))
        axis.axis("off")
    axes[0].text(0, -0.65, "both sides, a few places", fontsize=17)
    axes[1].text(0, -0.65, "the left side, every place", fontsize=17)
    return figure


def eighty_ten_ten() -> Figure:
    """22 bases, five of them chosen: what the model sees, and the labels."""
    text = "TTGACATAATCGTATAATGCGC"
    chosen = {4: "?", 10: "?", 14: "G", 18: "?", 20: "G"}
    seen = "".join(chosen.get(i, base) for i, base in enumerate(text))
    labels = "".join(base if i in chosen else " " for i, base in enumerate(text))
    figure, axis = plt.subplots(figsize=(12, 4.2))
    for y, letters, name in ((3.0, text, "DNA"), (1.8, seen, "the model sees"), (0.6, labels, "labels")):
        axis.text(-0.4, y + 0.4, name, ha="right", va="center", weight="bold", fontsize=17)
        _row(axis, letters, y, frames=chosen if y < 3 else None)
    for i, kind in ((4, "[MASK]"), (10, "[MASK]"), (14, "another"), (18, "[MASK]"), (20.6, "the same")):
        drop = 0.55 if i == 18 else 0.0
        axis.text(i + 0.5, 0.12 - drop, kind, ha="center", va="center", fontsize=17)
    axis.set(xlim=(-5.4, 23.2), ylim=(-0.8, 3.9))
    axis.axis("off")
    return figure


def trust() -> Figure:
    """What the shipped masked model says of a base when hidden and when visible, for 200 test bases."""
    model, tokenizer = load_model("ecoli-attention-mlm")
    torch.set_num_threads(1)
    test = load_data("ecoli-k12").split("test")
    starts = np.random.default_rng(1).integers(len(test) - 128, size=200)
    ids = np.stack([tokenizer.encode_array(test[s : s + 128]) for s in starts]).astype(np.int64)
    truth, said = ids[:, 64] - 5, []
    for hide in (True, False):
        given = torch.from_numpy(ids.copy())
        if hide:
            given[:, 64] = tokenizer.mask_token_id
        with torch.inference_mode():
            logits = torch.cat([model(input_ids=part).logits[:, 64, 5:9] for part in given.split(50)])
        said.append(logits.softmax(-1).numpy()[np.arange(len(truth)), truth])
    figure, axis = plt.subplots(figsize=(6.4, 5.2))
    grid = np.linspace(0, 1, 100)
    axis.scatter(*np.round(said, 3), s=22, color=BLUE, alpha=0.55, linewidth=0)
    axis.plot(grid, 5 * grid / (4 * grid + 1), color=RED, linewidth=2.5, label="5p / (4p + 1)")
    axis.plot([0, 1], [1, 1], color=GREY, linestyle="--", linewidth=2, label="copying")
    axis.set(xlabel="p of the true base, hidden", ylabel="the same, visible", xlim=(0, 1), ylim=(0, 1.06))
    axis.legend(loc="lower right", fontsize=17)
    _large(axis)
    return figure


def neighbours() -> Figure:
    """Nine overlapping 6-mers: one masked, and a run of six masked."""
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 5.2))
    piece = "ATGACCATGATTAC"
    for axis, title, masked in (
        (axes[0], "one word masked", [4]),
        (axes[1], "a run of six masked", [4 + o for o in run_offsets(6)]),
    ):
        spelled = {i for w in range(9) if w not in masked for i in range(w, w + 6)}
        _row(axis, "".join(base if i in spelled else "?" for i, base in enumerate(piece)), 0)
        for word in range(9):
            y = -0.95 - 0.72 * word
            color = "#F6C7A6" if word in masked else plots.FAINT
            axis.add_patch(Rectangle((word + 0.05, y), 5.9, 0.62, facecolor=color))
            for i in range(6):
                letter = "·" if word in masked else piece[word + i]
                axis.text(
                    word + i + 0.5,
                    y + 0.29,
                    letter,
                    ha="center",
                    va="center",
                    family="monospace",
                    fontsize=17,
                )
        axis.text(0, 1.15, title, fontsize=17, weight="bold")
        axis.set(xlim=(-0.2, 14.2), ylim=(-6.9, 1.8))
        axis.axis("off")
    return figure


def copying() -> Figure:
    """Training loss of 6-mer models under independent and contiguous masks."""
    ahead = json.loads((ROOT / "benchmarks/results/masking.json").read_text(encoding="utf-8"))
    figure, axis = plt.subplots(figsize=(10.5, 4.9))
    for run, color in zip(ahead["runs"], (BLUE, YELLOW), strict=True):
        steps, losses = zip(*run["train_nats_per_word"], strict=True)
        axis.plot(steps, losses, color=color, linewidth=3)
        axis.plot([0, 5000], [run["valid_copying"]] * 2, color=color, linestyle=":", linewidth=2.5)
        axis.text(
            5050,
            losses[-1],
            f"{run['pattern']}\nmasks",
            color=plots.INK,
            fontsize=17,
            va="center",
            weight="bold",
        )
        axis.text(60, run["valid_copying"] + 0.18, "copying", fontsize=17, color=plots.INK)
    axis.plot([0, 5000], [ahead["runs"][0]["valid_frequencies"]] * 2, color=GREY, linestyle="--", linewidth=2)
    axis.text(2250, 8.32, "knows only how frequent words are", fontsize=17, color=plots.INK)
    axis.set(xlabel="training step", ylabel="nats per masked word", xlim=(0, 6000), ylim=(0, 9.2))
    axis.set_xticks(range(0, 5001, 1000))
    _large(axis)
    return figure


def _beside(name: str, panels: tuple[tuple[str, str], ...], xlabel: str) -> Figure:
    """A shipped model beside its baselines on the test region, one panel for each protocol."""
    table = json.loads((ROOT / "checkpoints" / name / "scores.json").read_text(encoding="utf-8"))["table"]
    size = (11.5, 4.2) if len(panels) > 1 else (9.8, 3.1)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for axis, (protocol, title) in zip(axes[0], panels, strict=True):
        rows = [row for row in table if row["protocol"] == protocol and row["model"] != "four equal letters"]
        for place, row in enumerate(rows):
            color = RED if row["model"] == "this model" else BLUE
            axis.plot(
                [row["low"], row["high"]], [-place, -place], color=color, linewidth=6, solid_capstyle="butt"
            )
            axis.plot(row["bits"], -place, "o", color=color, markersize=12)
        axis.axvline(2, color=GREY, linestyle="--", linewidth=2)
        names = [row["model"].split(", exact")[0] for row in rows]
        axis.set_yticks([-i for i in range(len(rows))], names)
        axis.set_xticks([1.7, 1.8, 1.9, 2.0])
        axis.set(title=title, xlim=(1.69, 2.02), ylim=(-len(rows) + 0.4, 0.6), xlabel=xlabel)
    _large(*axes[0])
    return figure


def masked_bits() -> Figure:
    """The shipped masked model beside its baselines, under both protocols."""
    panels = (("single", "(a) one base hidden"), ("joint", "(b) 15 % hidden together"))
    return _beside("ecoli-attention-mlm", panels, "bits per masked base")


def causal_bits() -> Figure:
    """The shipped left-to-right model beside its baselines."""
    return _beside("ecoli-conv-ar", (("causal", ""),), "bits per base, from the left")


def causal() -> Figure:
    """Teacher forcing: the text is the answer, one step on; and the causal mask."""
    text = "ATGACCATG"
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), width_ratios=[1.6, 1])
    for y, name in ((2.0, "the model reads"), (0.0, "it has to say")):
        left.text(-0.3, y + 0.4, name, ha="right", va="center", weight="bold", fontsize=17)
    _row(left, text, 2.0)
    _row(left, text[1:] + " ", 0.0)
    for i in range(len(text) - 1):
        arrow = {"arrowstyle": "-|>", "color": plots.INK, "linewidth": 1.6}
        left.annotate("", (i + 0.5, 0.86), (i + 0.5, 1.96), arrowprops=arrow)
        left.plot([i + 0.62, i + 1.4], [0.95, 1.9], color="#AAAAAA", linestyle=":", linewidth=1.6)
    left.set(xlim=(-5.2, 9.2), ylim=(-0.6, 3.4))
    left.axis("off")
    right.imshow(np.tril(np.ones((9, 9))), cmap="Blues", vmin=0, vmax=1.6)
    right.set_xticks(range(9), list(text))
    right.set_yticks(range(9), list(text))
    right.set(xlabel="may look at", ylabel="position")
    _large(right)
    return figure


def sampling() -> Figure:
    """The next base under six settings, from one context of the shipped left-to-right model."""
    model, tokenizer = load_model("ecoli-conv-ar")
    text = load_data("ecoli-k12").split("test")[1000:1200]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits[0, -1, 5:9].numpy()
    settings = {"T = 1": {}, "T = 0.5": {"temperature": 0.5}, "T = 2": {"temperature": 2.0}}
    settings |= {
        "T = 0, greedy": {"temperature": 0},
        "top-k, k = 2": {"top_k": 2},
        "top-p, 0.6": {"top_p": 0.6},
    }
    figure, axes = plt.subplots(2, 3, figsize=(11, 4.9), sharex=True, sharey=True)
    for axis, (name, setting) in zip(axes.flat, settings.items(), strict=True):
        p = np.round(sampling_probabilities(logits, **setting), 3)
        axis.bar(list("ACGT"), p, color=[plots.NUCLEOTIDE_COLORS[b] for b in "ACGT"])
        axis.set(title=name, ylim=(0, 1.05), yticks=(0, 0.5, 1))
        _large(axis)
    axes[0, 0].set_ylabel("probability")
    axes[1, 0].set_ylabel("probability")
    _large(axes[0, 0], axes[1, 0])
    return figure


def is_it_dna() -> Figure:
    """Mutual information of two bases by their distance: real DNA, counted words, a trained model."""
    torch.set_num_threads(1)
    genome = load_data("ecoli-k12")
    counted = MarkovModel(6).fit(genome.split("train"), genome.split("valid"))
    model, tokenizer = load_model("ecoli-conv-ar")
    texts = {
        "real, test stretch": ([genome.split("test")[:300_000]], plots.INK),
        "written by ecoli-conv-ar": (generate(model, tokenizer, 2000, n=16, seed=1), BLUE),
        "written by a Markov model, order 6": (markov_dna(counted, 2000, 16), RED),
    }
    lags = range(1, 31)
    figure, axis = plt.subplots(figsize=(11, 4.9))
    for name, (text, color) in texts.items():
        values = np.clip(1000 * mutual_information(text, lags), 0.05, None)
        axis.plot(lags, np.round(values, 3), marker="o", markersize=6, color=color, linewidth=2.2, label=name)
    axis.set(yscale="log", ylim=(0.04, 60), xlabel="bases apart", ylabel="mutual information, mbit")
    axis.set_xticks(range(3, 31, 3))
    axis.legend(fontsize=17, loc="upper right")
    _large(axis)
    return figure


def state() -> Figure:
    """Bytes that four mixers keep while they write, by the number of bases read."""
    mixers = {
        "attention": ({"heads": 4}, BLUE),
        "hyena": ({"max_length": 4096}, YELLOW),
        "convolution": ({"kernel": 7, "dilation": 16}, GREEN),
        "mamba": ({}, RED),
    }
    lengths = [256, 512, 1024, 2048, 4096]
    figure, axis = plt.subplots(figsize=(10.5, 4.9))
    for mixer, (options, color) in mixers.items():
        torch.manual_seed(0)
        config = GenomicConfig(
            vocab_size=10, hidden_size=64, num_hidden_layers=2, positions="none", causal=True,
            max_position_embeddings=None, mixer=mixer, mixer_options=options,
        )  # fmt: skip
        model, sizes = GenomicForCausalLM(config).eval(), []
        for length in lengths:
            with torch.inference_mode():
                kept = model(input_ids=torch.full((1, length), 5), use_cache=True).past_key_values
            tensors = [v for part in kept for v in part.values() if isinstance(v, torch.Tensor)]
            sizes.append(sum(v.numel() * v.element_size() for v in tensors) / 1024)
        axis.plot(lengths, sizes, marker="o", markersize=8, color=color, linewidth=2.8)
        axis.text(4350, sizes[-1], mixer, fontsize=17, va="center", color=plots.INK)
    axis.set(xscale="log", yscale="log", xlabel="bases read", ylabel="state, KiB", xlim=(230, 8200))
    axis.set_xticks(lengths, [f"{n:,}" for n in lengths])
    axis.set_yticks([20, 50, 200, 1000, 5000], ["20", "50", "200", "1,000", "5,000"])
    axis.minorticks_off()
    _large(axis)
    return figure
