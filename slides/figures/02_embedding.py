"""Figures of deck 02: the table, summed k-mers, positions, and what vectors of 3-mers show beside a random walk."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from scipy.stats import rankdata

from gfm_lab import KmerTokenizer, embeddings, load_data, plots, reverse_complement

SIZES = {
    "font.size": 16,
    "axes.titlesize": 17,
    "axes.labelsize": 16,
    "xtick.labelsize": 16,
    "ytick.labelsize": 16,
    "legend.fontsize": 16,
}
WORDS = ["".join(letters) for letters in product("ACGT", repeat=3)]
EXAMPLE = ["ATG", "TGT", "GTG", "TGC", "GCG", "CGC", "GCT"]
PAIRS = np.triu_indices(64, k=1)
NEAR, FAR = range(1, 7), range(9, 31, 3)
BLUE, RED = plots.PALETTE[0], plots.PALETTE[4]


def lookup() -> Figure:
    """One-hot rows times the table give rows of the table."""
    torch.manual_seed(0)
    table = torch.nn.Embedding(64, 128).weight.detach()
    ids = torch.tensor([WORDS.index(word) for word in EXAMPLE])
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.3), width_ratios=(64, 128, 128))
    pictures = (F.one_hot(ids, 64), table, table[ids])
    titles = ("one-hot ids\n7 × 64", "the table\n64 × 128", "what the model gets\n7 × 128")
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        binary = picture.dtype == torch.long
        axis.imshow(
            picture,
            aspect="auto",
            cmap="Greys" if binary else "RdBu_r",
            vmin=0 if binary else -3,
            vmax=1 if binary else 3,
            interpolation="nearest",
        )
        axis.set_title(title)
        axis.set_xticks([])
    for axis in (axes[0], axes[2]):
        axis.set_yticks(range(7), EXAMPLE, family="monospace")
    axes[1].set_yticks((14, 25, 46), ("ATG", "CGC", "GTG"), family="monospace")
    for sign, axis in (("×", axes[0]), ("=", axes[1])):
        axis.text(1.1, 0.5, sign, transform=axis.transAxes, fontsize=26, ha="center")
    return figure


def kmer_sum() -> Figure:
    """The vector of a base, plus those of the k-mers that end there."""
    sequence = "ATGTGCGCT"
    figure, axis = plt.subplots(figsize=(11, 4.5))
    plots.sequence_strip(axis, sequence)
    at = 6
    for row, k in enumerate((1, 2, 3)):
        y = -1.25 - 1.05 * row
        axis.add_patch(
            FancyBboxPatch(
                (at + 1 - k + 0.08, y), k - 0.16, 0.85, boxstyle="round,pad=0,rounding_size=0.12",
                facecolor="#CFE3F1", edgecolor=plots.INK, linewidth=1.2,
            )
        )  # fmt: skip
        word = sequence[at + 1 - k : at + 1]
        axis.text(at + 1 - k / 2, y + 0.42, word, ha="center", va="center", family="monospace", fontsize=19)
        sign = "+  " if row else "    "
        axis.text(9.5, y + 0.42, f"{sign}one of {4**k} vectors", va="center", fontsize=18)
    axis.plot([at + 1] * 2, [-3.9, 0.95], color=RED, linewidth=2.5, linestyle="--")
    axis.text(
        at + 1.1, -4.1, "nothing to the right is read", color=RED, weight="bold", va="center", fontsize=18
    )
    axis.set(xlim=(-0.2, 15), ylim=(-4.5, 1.0))
    axis.axis("off")
    return figure


def turning() -> Figure:
    """Rotary: queries and keys turn with the position. ALiBi: a penalty grows with the distance."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.7), width_ratios=(1.35, 1))
    step = np.deg2rad(25)
    for column, first in enumerate((0, 4)):
        center = 4.1 * column
        left.add_patch(plt.Circle((center, 0), 1, fill=False, color="#C9D1D6", linewidth=1.5))
        for place, color, name in ((first, BLUE, "query"), (first + 2, RED, "key")):
            angle = np.deg2rad(15) + step * place
            tip = (center + np.cos(angle), np.sin(angle))
            left.annotate(
                "",
                xy=tip,
                xytext=(center, 0),
                arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 3},
            )
            where = (center + 1.42 * np.cos(angle), 1.27 * np.sin(angle))
            left.text(*where, f"{name}\nat {place}", color=color, ha="center", va="center", weight="bold")
    left.text(2.05, -1.4, "2 apart: the same angle, wherever they stand", ha="center", va="center")
    left.set(xlim=(-1.2, 5.3), ylim=(-1.7, 1.75), aspect="equal", title="rotary")
    left.axis("off")
    where = torch.arange(-30, 31)
    slopes = embeddings.alibi_slopes(8)
    for head, color in ((1, plots.PALETTE[2]), (3, BLUE), (5, RED)):
        bias = embeddings.alibi_bias(torch.tensor([0]), where, slopes)[head][0]
        right.plot(where, bias, color=color, linewidth=3, label=f"slope 1/{round(1 / float(slopes[head]))}")
    right.set(title="ALiBi, three heads", xlabel="distance in tokens", ylabel="added to the score")
    right.legend(loc="lower center")
    return figure


def maps() -> Figure:
    """Scores that come from positions alone."""
    generator = torch.Generator().manual_seed(1)
    learned = torch.randn(512, 128, generator=generator)
    sines = embeddings.sinusoidal_positions(64, 128)
    where = torch.arange(64)
    cos, sin = embeddings.rotary_cos_sin(where, 128)
    turned = embeddings.apply_rotary(torch.ones(1, 64, 128) / 128**0.5, cos, sin)[0]
    pictures = {
        "none": torch.ones(64, 64),
        "learned,\nat its start": learned[:64] @ learned[:64].T / 128,
        "sinusoidal": sines @ sines.T / 64,
        "rotary": turned @ turned.T,
        "ALiBi": embeddings.alibi_bias(where, where, embeddings.alibi_slopes(8))[2],
    }
    figure, axes = plt.subplots(1, 5, figsize=(12, 3.4))
    for axis, (name, values) in zip(axes, pictures.items(), strict=True):
        low, high = (0, 1) if values.min() >= -0.5 else (float(values.min()), 0)
        axis.imshow(values, cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
        axis.set(xticks=(0, 63), yticks=(0, 63) if name == "none" else ())
        axis.set_title(name, loc="center")
    axes[0].set_ylabel("token i")
    axes[2].set_xlabel("token j")
    return figure


# ---- Vectors of 3-mers: the counts of notebook 02 ----


def _word_ids(dna: str) -> np.ndarray:
    tokenizer = KmerTokenizer(3)
    first = tokenizer.convert_tokens_to_ids("AAA")
    return tokenizer.encode_array(dna).astype(np.int64) - first


def _company(ids: np.ndarray, distances: Iterable[int]) -> np.ndarray:
    counts = np.zeros((64, 64))
    for distance in distances:
        counts += np.bincount(64 * ids[:-distance] + ids[distance:], minlength=4096).reshape(64, 64)
    return counts + counts.T


def _vectors(counts: np.ndarray) -> np.ndarray:
    joint = (counts + 0.5) / (counts + 0.5).sum()
    u, s, _ = np.linalg.svd(np.log(joint / np.outer(joint.sum(1), joint.sum(0))))
    return u * np.sqrt(s)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _cosines(counts: np.ndarray) -> np.ndarray:
    unit = _unit(_vectors(counts))
    return unit @ unit.T


@functools.cache
def _streams() -> dict[str, np.ndarray]:
    """E. coli's training region as 3-mers, and a walk of order 2 with its 3-mer frequencies."""
    ids = _word_ids(load_data("ecoli-k12").split("train"))
    rng, walks = np.random.default_rng(0), 2000
    counts = np.bincount(ids, minlength=64).reshape(16, 4)
    below = (counts / counts.sum(1, keepdims=True)).cumsum(1)[:, :3]
    pair = rng.choice(16, size=walks, p=counts.sum(1) / counts.sum())
    letters = []
    for draw in rng.random(((len(ids) + 2) // walks, walks)):
        letters.append((draw[:, None] > below[pair]).sum(1))
        pair = pair % 4 * 4 + letters[-1]
    return {"E. coli": ids, "walk": _word_ids("".join(np.array(list("ACGT"))[np.array(letters).T.ravel()]))}


@functools.cache
def _home() -> np.ndarray:
    """For each word the frame, of six, in which it is most frequent in the genes of the test region."""
    ecoli = load_data("ecoli-k12")
    table = ecoli.genes.query("biotype == 'CDS' and split == 'test' and (stop - start) % 3 == 0")
    frames = np.zeros((6, 64))
    for start, stop, sign in zip(table.start, table.stop, table.strand, strict=True):
        gene = ecoli.region(start, stop)
        gene = gene if sign == "+" else reverse_complement(gene)
        for strand, reading in enumerate((gene, reverse_complement(gene))):
            for frame in range(3):
                frames[3 * strand + frame] += np.bincount(_word_ids(reading[frame:])[::3], minlength=64)
    return (frames / frames.sum(1, keepdims=True)).argmax(0)


@functools.cache
def _groups() -> dict[str, np.ndarray]:
    amino = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
    code = dict(zip(("".join(c) for c in product("TCAG", repeat=3)), amino, strict=True))
    gc = {word: word.count("G") + word.count("C") for word in WORDS}
    frame = dict(zip(WORDS, _home(), strict=True))

    def where(same: Callable[[str, str], bool]) -> np.ndarray:
        return np.array([[a != b and (same(a, b) or same(b, a)) for b in WORDS] for a in WORDS])

    return {
        "shifted by one": where(lambda a, b: a[1:] == b[:2]),
        "same start": where(lambda a, b: a[:2] == b[:2]),
        "same GC": where(lambda a, b: gc[a] == gc[b]),
        "reverse complements": where(lambda a, b: a == reverse_complement(b)),
        "synonyms": where(lambda a, b: code[a] == code[b]),
        "same favourite frame": where(lambda a, b: frame[a] == frame[b]),
    }


def _effect(similarity: np.ndarray, group: np.ndarray) -> float:
    inside, outside = similarity[PAIRS][group[PAIRS]], similarity[PAIRS][~group[PAIRS]]
    return float((inside[:, None] > outside).mean())


def _null(similarity: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of effects when the 64 words swap names (Mantel's test, 999 times)."""
    rng = np.random.default_rng(0)
    ranks = np.zeros((64, 64))
    ranks[PAIRS] = rankdata(similarity[PAIRS])
    ranks += ranks.T
    a, b = np.nonzero(np.triu(group))
    inside, outside = len(a), len(PAIRS[0]) - len(a)
    orders = rng.permuted(np.tile(np.arange(64), (999, 1)), axis=1)
    sums = ranks[orders[:, a], orders[:, b]].sum(1)
    low, high = np.quantile((sums - inside * (inside + 1) / 2) / (inside * outside), (0.025, 0.975))
    return float(low), float(high)


LOOKS = {"E. coli": (RED, "o", -0.14), "walk": (BLUE, "D", 0.14)}


def groups() -> Figure:
    """Effect sizes of six groups of pairs, E. coli beside the walk."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.9), sharey=True)
    kinds = {"every base": (1, NEAR), "every 3rd base": (3, (1, 2))}
    for axis, (title, (step, distances)) in zip(axes, kinds.items(), strict=True):
        for world, (color, marker, shift) in LOOKS.items():
            similarity = _cosines(_company(_streams()[world][::step], distances))
            for row, group in enumerate(_groups().values()):
                if world == "E. coli":
                    axis.plot(
                        _null(similarity, group), (row, row), color="#D5D9DC", linewidth=20,
                        solid_capstyle="butt", label="95 % of the null" if row == 0 else None,
                    )  # fmt: skip
                axis.plot(
                    _effect(similarity, group), row + shift, marker, color=color, markersize=11,
                    label=world if row == 0 else None,
                )  # fmt: skip
        axis.axvline(0.5, color="grey", linewidth=1)
        axis.set(xlim=(0.2, 1.02), xticks=(0.3, 0.5, 0.7, 0.9), title=title, xlabel="chance to be closer")
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(6), list(_groups()))
    axes[0].invert_yaxis()
    axes[1].legend(loc="center right", bbox_to_anchor=(1.06, 0.52))
    return figure


def distance() -> Figure:
    """Effect sizes when company is kept at one distance alone."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.7), sharey=True)
    similar = {
        world: [_cosines(_company(ids, [d])) for d in range(1, 31)] for world, ids in _streams().items()
    }
    for axis, group in zip(axes, ("same start", "same favourite frame"), strict=True):
        for world, (color, marker, _) in LOOKS.items():
            curve = [_effect(values, _groups()[group]) for values in similar[world]]
            axis.plot(range(1, 31), curve, marker + "-", color=color, markersize=6, label=world)
        axis.axvline(2.5, color="grey", linewidth=1, linestyle="--")
        axis.axhline(0.5, color="grey", linewidth=1)
        axis.set(title=group, xlabel="distance in bases", xticks=range(3, 31, 9), ylim=(0.38, 1.02))
    axes[0].set_ylabel("chance to be closer")
    axes[1].legend(loc="upper right", ncols=2)
    return figure


def sectors() -> Figure:
    """PCA of the 64 words by their far company, coloured by favourite frame."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.9))
    for axis, (world, ids) in zip(axes, _streams().items(), strict=True):
        unit = _unit(_vectors(_company(ids, FAR)))
        u, s, _ = np.linalg.svd(unit - unit.mean(0))
        points = u[:, :2] * s[:2] * np.sign(u[WORDS.index("ATG"), :2])
        shares = s[:2] ** 2 / (s**2).sum()
        for frame in range(6):
            color, marker = plots.PALETTE[(0, 4, 2)[frame % 3]], "o^"[frame // 3]
            at = points[_home() == frame]
            name = f"{'gene' if frame < 3 else 'other'} strand, frame {frame % 3 + 1}"
            axis.plot(*at.T, marker, color=color, markersize=11, label=name, linestyle="none")
        axis.set(xticks=[], yticks=[], title=world)
        axis.set(xlabel=f"component 1 ({shares[0]:.0%})", ylabel=f"component 2 ({shares[1]:.0%})")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
