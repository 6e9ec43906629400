"""The course's figures: one style, one set of nucleotide colours, and the map of the five sites.

Colours are Okabe and Ito's colour-blind-safe palette. A, C, G and T keep theirs in every notebook and slide,
so a learner who has seen one logo can read the next. Sizes are chosen to be read from the back of a room.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

NUCLEOTIDE_COLORS = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00", "N": "#999999"}
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000"]
INK, PAPER, FAINT = "#222222", "#FFFFFF", "#E9EDF0"

SITES = (
    ("tokenizer", ("k-mer", "nucleotide", "BPE")),
    ("embedding", ("token table", "+ positions:", "learned, sinusoidal,", "rotary, ALiBi")),
    ("mixer", ("attention", "sliding window", "convolution", "Hyena", "Mamba")),
    ("head", ("language model", "classify", "regress", "embed")),
    ("objective", ("masked", "next token")),
)
FLOW = (
    "letters",
    "token ids",
    "vectors",
    "vectors in context",
    "scores",
    "loss",
)  # what enters each site, what leaves


def use_style() -> None:
    """Set the course's matplotlib and seaborn style for all later figures. Introduced in notebook 01."""
    sns.set_theme(style="ticks", palette=PALETTE)
    plt.rcParams.update(
        {
            "figure.figsize": (8.0, 4.0),
            "figure.dpi": 100,
            "savefig.dpi": 100,
            "figure.constrained_layout.use": True,
            "font.family": "DejaVu Sans",  # ships with matplotlib: figures look the same everywhere
            "font.size": 12,
            "axes.titlesize": 13,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 12,
            "xtick.labelsize": 11,
            "ytick.labelsize": 11,
            "legend.fontsize": 11,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": INK,
            "text.color": INK,
            "axes.labelcolor": INK,
            "svg.hashsalt": "gfm-lab",  # no random ids: the same figure gives the same file
            "svg.fonttype": "path",
        }
    )


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook together with its description, and close it.

    The description becomes the picture's alternative text (nbconvert writes it into a page's HTML) and stands
    below it as a caption, because JupyterLab gives notebook pictures no alternative text: everyone reads the
    same sentence.

    Args:
        figure: the figure to show.
        alt: what a reader who cannot see the picture needs to know: axes, shape, the point. Line breaks and
            runs of spaces count as one space, so a long text may be wrapped in the source.

    Raises:
        ValueError: `alt` is shorter than 20 characters; a figure without a description is not finished.
    """
    from IPython.display import Markdown, display

    alt = " ".join(alt.split())
    if len(alt) < 20:
        raise ValueError(f"alt text {alt!r} is too short: say what the axes are and what the figure shows")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    display({"image/png": data, "text/plain": "[figure]"}, metadata={"image/png": {"alt": alt}}, raw=True)
    display(Markdown(f"*{alt}*"))


def sequence_strip(axes: Axes, sequence: str, x: float = 0.0, y: float = 0.0, *, height: float = 0.8) -> None:
    """Draw a sequence as a row of coloured boxes, one unit of x wide each, with the letter inside.

    Args:
        axes: where to draw.
        sequence: bases; letters outside A, C, G, T are drawn grey.
        x, y: lower left corner of the first box, in data units.
        height: of the boxes, in data units.
    """
    for i, base in enumerate(sequence):
        color = NUCLEOTIDE_COLORS.get(base.upper(), NUCLEOTIDE_COLORS["N"])
        axes.add_patch(Rectangle((x + i + 0.03, y), 0.94, height, facecolor=color, edgecolor="none"))
        axes.text(
            x + i + 0.5,
            y + height / 2,
            base,
            ha="center",
            va="center",
            color="white",
            weight="bold",
            family="monospace",
        )


def token_rows(
    axes: Axes,
    sequence: str,
    spans: Sequence[tuple[int, int]],
    labels: Sequence[str],
    *,
    changed: Sequence[int] = (),
) -> None:
    """Draw a sequence and, below it, the bases that each token covers; overlapping tokens take separate rows.

    Args:
        axes: where to draw; its limits are set.
        sequence: the bases on top.
        spans: for each token, the half-open range (start, stop) of bases it covers.
        labels: for each token, the text in its box.
        changed: indices of tokens to draw in the accent colour.

    Introduced in notebook 01.
    """
    sequence_strip(axes, sequence, y=0.0)
    row_end: list[int] = []
    for index, ((start, stop), label) in enumerate(zip(spans, labels, strict=True)):
        row = next((r for r, end in enumerate(row_end) if end <= start), len(row_end))
        row_end[row:] = [stop, *row_end[row + 1 :]]
        y = -1.0 - 0.95 * row
        color = "#F6C7A6" if index in changed else FAINT
        axes.add_patch(
            FancyBboxPatch(
                (start + 0.08, y), stop - start - 0.16, 0.7, boxstyle="round,pad=0,rounding_size=0.12",
                facecolor=color, edgecolor=INK, linewidth=0.8,
            )
        )  # fmt: skip
        axes.text(
            (start + stop) / 2, y + 0.35, label, ha="center", va="center", family="monospace", fontsize=11
        )
    axes.set_xlim(-0.2, len(sequence) + 0.2)
    axes.set_ylim(-1.0 - 0.95 * max(len(row_end) - 1, 0) - 0.2, 1.0)
    axes.axis("off")


def anatomy(highlight: int | None = None, choices: dict[int, str] | None = None) -> Figure:
    """The course's map: DNA flows through five sites, and a model is one choice at each.

    Args:
        highlight: number 1-5 of the site to fill (the notebook's own), or None for none.
        choices: for each site, the option to print in bold, for example {1: "k-mer", 3: "attention"}.

    Raises:
        ValueError: `highlight` is not 1 to 5.

    Introduced in notebook 00; closes every notebook.
    """
    if highlight is not None and not 1 <= highlight <= len(SITES):
        raise ValueError(f"highlight is a site number from 1 to {len(SITES)}, not {highlight!r}")
    choices = choices or {}
    figure, axes = plt.subplots(figsize=(12, 4.1))
    width, gap, height = 1.72, 0.5, 3.0
    sequence_strip(axes, "ATGTGCGCT", x=0.0, y=1.35, height=0.66)
    axes.text(9.2, 1.68, "DNA goes in", va="center", fontsize=12, color="#555555")
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.6}
    axes.annotate("", xy=(width / 2, 0.72), xytext=(width / 2, 1.3), arrowprops=arrow)
    for number, (name, options) in enumerate(SITES, start=1):
        left = (number - 1) * (width + gap)
        filled = number == highlight
        axes.add_patch(
            FancyBboxPatch(
                (left, 0.7 - height), width, height, boxstyle="round,pad=0,rounding_size=0.14",
                facecolor=PALETTE[0] if filled else FAINT, edgecolor=INK, linewidth=1.2,
            )
        )  # fmt: skip
        ink = "white" if filled else INK
        middle = left + width / 2
        axes.text(
            middle, 0.36, f"{number}  {name}", ha="center", va="center", weight="bold", fontsize=13, color=ink
        )
        for row, option in enumerate(options):
            weight = "bold" if choices.get(number) == option else "normal"
            axes.text(
                middle,
                -0.15 - 0.44 * row,
                option,
                ha="center",
                va="center",
                fontsize=11,
                color=ink,
                weight=weight,
            )
        flows_out = FLOW[number] if number == len(SITES) else f"{FLOW[number]} \u2192"
        axes.text(
            middle,
            0.4 - height - 0.02,
            flows_out,
            ha="center",
            va="center",
            fontsize=11,
            color=INK,
            style="italic",
        )
        if number < len(SITES):
            axes.annotate(
                "", xy=(left + width + gap - 0.02, -0.8), xytext=(left + width + 0.02, -0.8), arrowprops=arrow
            )
    axes.set_xlim(-0.1, 5 * width + 4 * gap + 0.1)
    axes.set_ylim(0.6 - height, 2.1)
    axes.axis("off")
    return figure


def logo(axis: Axes, probabilities: np.ndarray, first: float = 0.0) -> np.ndarray:
    """Draw a sequence logo: at each position a stack of letters, as high as what is known there, in bits.

    Args:
        axis: to draw on; its limits and labels stay yours.
        probabilities: (L, 4), of A, C, G, T; a row sums to 1 and may hold 0.
        first: where the first stack is centred; the others follow one apart.

    Returns:
        (L,) the heights: 2 bits minus the entropy of the row (Schneider and Stephens 1990, doi:10.1093/nar/18.20.6097).

    Introduced in notebook 00.
    """
    p = np.asarray(probabilities, dtype=float)
    heights = 2 + (p * np.log2(np.where(p > 0, p, 1))).sum(axis=1)
    letters = [TextPath((0, 0), letter, prop=FontProperties(weight="bold")) for letter in "ACGT"]
    for place, (row, height) in enumerate(zip(p, heights, strict=True)):
        bottom = 0.0
        for i in np.argsort(row):  # the likeliest on top
            size, box = row[i] * height, letters[i].get_extents()
            if size <= 0:
                continue
            fit = Affine2D().translate(-box.x0, -box.y0).scale(0.9 / box.width, size / box.height)
            fit = fit.translate(first + place - 0.45, bottom) + axis.transData
            axis.add_patch(PathPatch(letters[i], transform=fit, lw=0, fc=NUCLEOTIDE_COLORS["ACGT"[i]]))
            bottom += size
    return heights
