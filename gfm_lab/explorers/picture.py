"""One drawing, two ways to show it: SVG text, which a browser redraws in an instant, and a matplotlib figure.

Because both come from the same list of marks, a static page shows exactly what the live one does. Units are pixels,
(0, 0) is the upper left corner, y grows downwards.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gfm_lab import plots

__all__ = ["Picture"]

MONO, SANS = "DejaVu Sans Mono, Menlo, Consolas, monospace", "DejaVu Sans, Verdana, sans-serif"
DPI = 100  # of the course's figures: a pixel here is a pixel there


class Picture:
    """Marks on a white sheet of `width` x `height` pixels.

    >>> picture = Picture(100, 50)
    >>> picture.box(10, 10, 30, 20, "#0072B2")
    >>> "<rect" in picture.svg("a blue box")
    True
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.marks: list[tuple[str, dict[str, Any]]] = []

    def box(
        self, x: float, y: float, w: float, h: float, fill: str, edge: str | None = None, line: float = 1.0
    ) -> None:
        """A filled rectangle; `edge` is the colour of its outline, `line` the width of that."""
        self.marks.append(("box", dict(x=x, y=y, w=w, h=h, fill=fill, edge=edge, line=line)))

    def text(
        self,
        x: float,
        y: float,
        string: str,
        size: float = 12,
        color: str = plots.INK,
        anchor: str = "middle",
        bold: bool = False,
        mono: bool = False,
    ) -> None:
        """One line of text, centred on y; `anchor` says what x is: its "start", "middle" or "end"."""
        self.marks.append(
            (
                "text",
                dict(x=x, y=y, string=string, size=size, color=color, anchor=anchor, bold=bold, mono=mono),
            )
        )

    def line(
        self,
        points: Sequence[tuple[float, float]],
        color: str = plots.INK,
        width: float = 1.0,
        dashed: bool = False,
    ) -> None:
        """Straight lines from point to point."""
        self.marks.append(("line", dict(points=list(points), color=color, width=width, dashed=dashed)))

    def bases(
        self, x: float, y: float, sequence: str, pitch: float, height: float = 24, size: float = 13
    ) -> None:
        """A sequence as coloured boxes, `pitch` pixels a base, the letter inside; what is no base is grey."""
        grey = plots.NUCLEOTIDE_COLORS["N"]
        for i, letter in enumerate(sequence):
            color = plots.NUCLEOTIDE_COLORS.get(letter.upper(), grey)
            self.box(x + i * pitch + 0.5, y, pitch - 1, height, color)
            self.text(x + (i + 0.5) * pitch, y + height / 2, letter, size, "#FFFFFF", bold=True, mono=True)

    def svg(self, alt: str) -> str:
        """The drawing as SVG that shrinks with the page, as far as its letters stay readable; `alt` describes it."""
        size = f"{_n(self.width)} {_n(self.height)}"
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img" '
            f'aria-label="{html.escape(alt)}" style="width:100%;height:auto;'
            f"min-width:{_n(self.width * 0.75)}px;max-width:{_n(self.width)}px;display:block;"
            f'background:{plots.PAPER}">',
            f'<rect width="{_n(self.width)}" height="{_n(self.height)}" fill="{plots.PAPER}"/>',
        ]
        out += [_SVG[kind](**mark) for kind, mark in self.marks]
        return "".join([*out, "</svg>"])

    def figure(self) -> Figure:
        """The drawing as a matplotlib figure of the same size; close it, or hand it to `plots.show`."""
        figure = plt.figure(figsize=(self.width / DPI, self.height / DPI), dpi=DPI, layout="none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.axis("off")
        for order, (kind, mark) in enumerate(self.marks):
            _MATPLOTLIB[kind](axes, zorder=1 + order * 1e-4, **mark)
        return figure


def _n(value: float) -> str:
    """A coordinate in as few letters as a tenth of a pixel needs."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _svg_box(x: float, y: float, w: float, h: float, fill: str, edge: str | None, line: float) -> str:
    outline = f' stroke="{edge}" stroke-width="{_n(line)}"' if edge else ""
    return f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" fill="{fill}"{outline}/>'


def _svg_text(
    x: float, y: float, string: str, size: float, color: str, anchor: str, bold: bool, mono: bool
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" fill="{color}" text-anchor="{anchor}"{weight} '
        f'font-family="{MONO if mono else SANS}" dominant-baseline="central">{html.escape(string)}</text>'
    )


def _svg_line(points: list[tuple[float, float]], color: str, width: float, dashed: bool) -> str:
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{_n(width)}"{dash}/>'


def _draw_box(
    axes: Any, x: float, y: float, w: float, h: float, fill: str, edge: str | None, line: float, zorder: float
) -> None:
    axes.add_patch(
        Rectangle(
            (x, y),
            w,
            h,
            facecolor=fill,
            edgecolor=edge or "none",
            linewidth=_points(line) if edge else 0,
            zorder=zorder,
        )
    )


def _draw_text(
    axes: Any,
    x: float,
    y: float,
    string: str,
    size: float,
    color: str,
    anchor: str,
    bold: bool,
    mono: bool,
    zorder: float,
) -> None:
    side = {"start": "left", "middle": "center", "end": "right"}[anchor]
    axes.text(
        x,
        y,
        string.replace("$", r"\$"),  # matplotlib would read mathematics between two of them
        fontsize=_points(size),
        color=color,
        ha=side,
        va="center_baseline" if not mono else "center",
        weight="bold" if bold else "normal",
        family="DejaVu Sans Mono" if mono else "DejaVu Sans",
        zorder=zorder,
    )


def _draw_line(
    axes: Any, points: list[tuple[float, float]], color: str, width: float, dashed: bool, zorder: float
) -> None:
    axes.plot(
        *zip(*points, strict=True),
        color=color,
        linewidth=_points(width),
        linestyle="--" if dashed else "-",
        zorder=zorder,
    )


def _points(pixels: float) -> float:
    return pixels * 72 / DPI


_SVG = {"box": _svg_box, "text": _svg_text, "line": _svg_line}
_MATPLOTLIB = {"box": _draw_box, "text": _draw_text, "line": _draw_line}
