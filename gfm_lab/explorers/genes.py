"""The mixer viewer: what three trained mixers weigh at one position of a real gene. Introduced in notebook 07.

The three operators look alike when they are written as a table of weights, one row for each position t:

    attention   y[t] = sum over s of  softmax(q[t] . k[s])                             v[s]    s on both sides here
    Hyena       y[t] = sum over s of  g1[t] h[t - s] g2[s]  (+ the skip at s = t)      v[s]    s <= t
    Mamba       y[t] = sum over s of  (C[t] . decay from s to t . B[s]) delta[s]  (+ D at s = t), gated   u[s]    s <= t

Attention has a row for each head, Hyena and Mamba one for each channel (Poli et al. 2023, arXiv:2302.10866, section 3,
for Hyena; Ali et al. 2024, arXiv:2403.01590, for Mamba). These weights are exact: tests multiply them out and get the
layer's own output. They say what a layer mixes, not what the model's prediction depends on.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from gfm_lab import plots
from gfm_lab.checkpoints import load_model
from gfm_lab.data import Genome, load_data
from gfm_lab.explorers.explorer import Control, Explorer, View, one_thread
from gfm_lab.explorers.picture import Picture
from gfm_lab.sequence import reverse_complement

__all__ = ["AttentionRows", "HyenaRows", "MambaRows", "gene_start", "mixers", "normed_inputs"]

BEFORE, AFTER = 36, 60  # bases ahead of the first codon, and from it on: 20 codons
GENES = ("groS", "rpoB", "malE", "lexA", "lacZ")  # the last one lies in the training region, and is marked
RIBOSOME = (-13, -5)  # where notebook 09 marks the ribosome's site, relative to the first codon
PITCH, LEFT = 9.6, 22
POSITIVE, NEGATIVE, TRACK = plots.PALETTE[0], plots.PALETTE[1], "#7A7A7A"


class AttentionRows(NamedTuple):
    """Weights of one attention layer, (heads, L, L); a row sums to 1."""

    weights: np.ndarray

    def row(self, t: int, head: int) -> np.ndarray:
        """(L,) what position t takes from each position; head 0 to H - 1, or -1 for the mean of all heads."""
        return self.weights[:, t].mean(0) if head < 0 else self.weights[head, t]


class HyenaRows(NamedTuple):
    """One Hyena layer of order 2 on one sequence: gates (D, L) twice, filters `taps` (D, L), skips (D,)."""

    outer: np.ndarray
    taps: np.ndarray
    inner: np.ndarray
    skip: np.ndarray

    def row(self, t: int, channel: int) -> np.ndarray:
        """(L,) weights of position t, 0 after it; channel -1 for the size over all (root of the mean square)."""
        weights = np.zeros(self.inner.shape)
        weights[:, : t + 1] = self.taps[:, t::-1] * self.inner[:, : t + 1]
        weights[:, t] += self.skip * self.inner[:, t]
        return _of_channel(weights * self.outer[:, t : t + 1], channel)

    def filter(self, channel: int) -> np.ndarray:
        """(L,) the filter itself by distance, which no letter of the sequence changes."""
        return _of_channel(self.taps, channel)


class MambaRows(NamedTuple):
    """One Mamba layer on one sequence: delta and gate (D, L), rates A (D, N), B and C (N, L), D (D,)."""

    delta: np.ndarray
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    gate: np.ndarray

    def row(self, t: int, channel: int) -> np.ndarray:
        """(L,) weights of position t, 0 after it; channel -1 for the size over all (root of the mean square)."""
        which = slice(None) if channel < 0 else slice(channel, channel + 1)
        delta, seen = self.delta[which], t + 1
        passed = np.cumsum(delta[:, :seen], axis=1)
        since = passed[:, t, None] - passed  # (D, seen): the sum of step sizes after s, up to t
        decay = np.exp(self.A[which][:, :, None] * since[:, None])  # (D, N, seen)
        weights = np.zeros(delta.shape)
        weights[:, :seen] = np.einsum("dns,ns,n->ds", decay, self.B[:, :seen], self.C[:, t]) * delta[:, :seen]
        weights[:, t] += self.D[which]
        weights *= self.gate[which][:, t : t + 1]
        return _of_channel(weights, -1 if channel < 0 else 0)

    def steps(self, channel: int) -> np.ndarray:
        """(L,) the step size delta at each position; channel -1 for the mean of all."""
        return self.delta.mean(0) if channel < 0 else self.delta[channel]


def _of_channel(values: np.ndarray, channel: int) -> np.ndarray:
    return np.sqrt((values**2).mean(0)) if channel < 0 else values[channel]


def normed_inputs(model: Any, ids: np.ndarray) -> list[torch.Tensor]:
    """What the mixer of each layer reads, (1, L, D) each, for one sequence of ids (L,), in a model that norms first."""
    body, inputs = model.body, []
    x = body.embeddings(torch.from_numpy(ids.astype(np.int64))[None])
    for layer in body.layers:
        inputs.append(layer.norm1(x))
        x = layer(x)
    return inputs


def attention_rows(mixer: Any, x: torch.Tensor) -> AttentionRows:
    """The weights of an `Attention` that reads x (1, L, D)."""
    return AttentionRows(mixer(x, return_weights=True)[1][0].double().numpy())


def hyena_rows(mixer: Any, x: torch.Tensor) -> tuple[HyenaRows, np.ndarray]:
    """The parts of a `Hyena` of order 2 that reads x (1, L, D), and the values (D, L) that they weigh."""
    outer, inner, values = mixer._smooth(mixer.inputs(x), None)[0].double().split(mixer.dim)
    taps = mixer.filter(x.shape[1]).double()
    return HyenaRows(*(part.numpy() for part in (outer, taps, inner, mixer.skip.double()))), values.numpy()


def mamba_rows(mixer: Any, x: torch.Tensor) -> tuple[MambaRows, np.ndarray]:
    """The parts of a `Mamba` that reads x (1, L, D), and the values (channels, L) that they weigh."""
    u, z = mixer.inputs(x).chunk(2, dim=-1)
    u = mixer._convolve(u, None, None)
    step, B, C = mixer.select(u).split([mixer.dt_rank, mixer.state_size, mixer.state_size], dim=-1)
    delta, A = F.softplus(mixer.dt(step)), -torch.exp(mixer.A_log)
    parts = (delta[0].T, A, B[0].T, C[0].T, mixer.D, F.silu(z)[0].T)
    return MambaRows(*(part.double().numpy() for part in parts)), u[0].T.double().numpy()


def gene_start(genome: Genome, name: str, before: int = BEFORE, after: int = AFTER) -> tuple[str, str]:
    """The bases around a gene's first codon, as the gene is read, and the split it lies in.

    Raises ValueError for a gene that the table does not have, or one too near the end of the sequence.
    """
    rows = genome.genes[genome.genes["gene"] == name] if genome.genes is not None else ()
    if len(rows) == 0:
        raise ValueError(f"the gene table of {genome.name} has no gene {name!r}; names are as in 'lacZ'")
    gene = rows.iloc[0]
    forward = gene.strand == "+"
    first = gene.start - before if forward else gene.stop - after
    if first < 0 or first + before + after > len(genome.sequence):
        raise ValueError(f"{name} lies too near the end of the sequence for {before} bases before it")
    text = genome.region(first, first + before + after)
    return (text if forward else reverse_complement(text)), str(gene.split)


def mixers(genes: tuple[str, ...] = GENES) -> Explorer:
    """What one layer of attention, of Hyena and of Mamba weighs at a position around the start of an E. coli gene.

    The shipped models ecoli-attention-mlm (masked: reads both sides), ecoli-hyena-ar and ecoli-mamba-ar (left to right)
    read the same 96 bases: 36 before the first codon and 20 codons. Everything a redraw needs is computed when a gene
    is first chosen. Controls: gene, position (of the base, 1 is the first of the gene, there is no 0), and for each
    model a layer and a head or a channel, 0 for all of them together.

    Raises ValueError for a gene that is not in the table. Introduced in notebook 07.
    """
    genome = load_data("ecoli-k12")
    models = {name: load_model(f"ecoli-{name}") for name in ("attention-mlm", "hyena-ar", "mamba-ar")}
    starts = {name: gene_start(genome, name) for name in genes}

    @lru_cache(maxsize=len(genes))
    def parts(gene: str) -> dict[str, list[Any]]:
        out = {}
        with one_thread():
            for name, (model, tokenizer) in models.items():
                made = {"attention-mlm": attention_rows, "hyena-ar": hyena_rows, "mamba-ar": mamba_rows}[name]
                inputs = normed_inputs(model, tokenizer.encode_array(starts[gene][0]))
                rows = [made(layer.mixer, x) for layer, x in zip(model.body.layers, inputs, strict=True)]
                out[name] = [r if isinstance(r, AttentionRows) else r[0] for r in rows]
        return out

    def look(s: dict[str, Any]) -> View:
        text, split = starts[s["gene"]]
        t = _index(s["position"])
        made = parts(s["gene"])
        attention = made["attention-mlm"][s["attention_layer"] - 1]
        hyena = made["hyena-ar"][s["hyena_layer"] - 1]
        mamba = made["mamba-ar"][s["mamba_layer"] - 1]
        head, channel, state = s["head"] - 1, s["hyena_channel"] - 1, s["mamba_channel"] - 1
        lag = np.zeros(len(text))
        lag[: t + 1] = hyena.filter(channel)[t::-1]
        all_ = "all {}: size"
        panels = [
            ("Attention", f"layer {s['attention_layer']}", f"head {s['head']}" if head >= 0 else "mean of all heads",
             attention.row(t, head), "weights; masked model, both sides", None, ""),
            ("Hyena", f"layer {s['hyena_layer']}",
             f"channel {s['hyena_channel']}" if channel >= 0 else all_.format("channels"),
             hyena.row(t, channel), "weights: filter times gates; left to right", lag, "its filter alone"),
            ("Mamba", f"layer {s['mamba_layer']}",
             f"channel {s['mamba_channel']}" if state >= 0 else all_.format("channels"),
             mamba.row(t, state), "weights; left to right", mamba.steps(state), "its step size delta"),
        ]  # fmt: skip
        return _view(s["gene"], split, text, t, panels)

    by_name = {name: model.body.layers for name, (model, _) in models.items()}
    heads = by_name["attention-mlm"][0].mixer.heads
    widths = by_name["hyena-ar"][0].mixer.dim, by_name["mamba-ar"][0].mixer.channels
    controls = [
        Control("gene", "Gene", "choice", genes[0], tuple(genes)),
        Control("position", "Position", "whole", 40, low=-BEFORE, high=AFTER),
        Control("attention_layer", "Attention layer", "whole", 3, low=1, high=len(by_name["attention-mlm"])),
        Control("head", "Attention head (0: mean)", "whole", 2, low=0, high=heads),
        Control("hyena_layer", "Hyena layer", "whole", 2, low=1, high=len(by_name["hyena-ar"])),
        Control("hyena_channel", "Hyena channel (0: all)", "whole", 5, low=0, high=widths[0]),
        Control("mamba_layer", "Mamba layer", "whole", 3, low=1, high=len(by_name["mamba-ar"])),
        Control("mamba_channel", "Mamba channel (0: all)", "whole", 7, low=0, high=widths[1]),
    ]
    explorer = Explorer("Three mixers along a gene", controls, look, columns=2)
    look(explorer.settings())  # so that the first move of a slider is as fast as the later ones
    return explorer


def _index(position: int) -> int:
    """Position in the gene's own count, 1 its first base and -1 the base before, to an index from 0.

    There is no position 0; the slider passes over it, and it is read as 1.
    """
    return BEFORE + position - (position > 0)


def _half(weights: np.ndarray, t: int) -> int:
    """The smallest distance from t within which at least half of the weights' sizes lie."""
    size, distance = np.abs(weights), np.abs(np.arange(len(weights)) - t)
    order = np.argsort(distance, kind="stable")
    return int(distance[order][np.searchsorted(np.cumsum(size[order]), size.sum() / 2)])


def _threes(weights: np.ndarray, t: int) -> str:
    """The share of the weights' sizes, without t's own, that lies 3, 6, 9 ... bases from t, as text."""
    distance = np.abs(np.arange(len(weights)) - t)
    size = np.where(distance > 0, np.abs(weights), 0.0)
    return f"{size[distance % 3 == 0].sum() / size.sum():.0%}" if size.sum() > 0 else "none"


def _view(gene: str, split: str, text: str, t: int, panels: list[tuple]) -> View:
    place = t - BEFORE + (t >= BEFORE)
    codon = ""
    if t >= BEFORE:
        number = (t - BEFORE) // 3
        word = text[BEFORE + 3 * number : BEFORE + 3 * number + 3]
        codon = f", base {(t - BEFORE) % 3 + 1} of codon {number + 1}, {word}"
    trained = (
        "this stretch was in the training region of all three" if split == "train" else f"{split} region"
    )
    halves = [_half(row, t) for _, _, _, row, *_ in panels]
    near = "; ".join(f"{p[0]} {h} bases" for p, h in zip(panels, halves, strict=True))
    threes = ", ".join(f"{p[0]} {_threes(p[3], t)}" for p in panels)
    sentences = (
        f"{gene} of E. coli ({trained}), position {place}: {text[t]}{codon}.",
        f"Half of the weight lies within: {near}.",
        f"Of the weight on other positions, at distances 3, 6, 9 ...: {threes} (a third by chance).",
    )
    picture = Picture(
        LEFT * 2 + PITCH * len(text), 82 + sum(122 + (66 if p[5] is not None else 0) for p in panels)
    )
    _gene(picture, gene, text, t)
    y = 82.0
    for name, layer, which, row, what, track, label in panels:
        _bars(picture, y, f"{name}, {layer}, {which}", what, row, 84, t)
        y += 122
        if track is not None:
            _bars(picture, y - 6, "", label, track, 34, t, plain=True)
            y += 66
    alt = (
        f"Weights over 96 bases around the start of {gene} for the position marked by the dashed line, one panel each "
        f"for attention, Hyena and Mamba; under Hyena its filter, under Mamba its step size along the bases. "
        f"{' '.join(sentences)}"
    )
    return View(picture, sentences, alt)


def _gene(picture: Picture, gene: str, text: str, t: int) -> None:
    """The bases, the ribosome's site, the codons and their numbers."""
    at = lambda i: LEFT + i * PITCH  # noqa: E731
    for number, i in enumerate(range(BEFORE, len(text), 3)):
        shade = "#F6DDA8" if number == 0 else ("#E4E9EC" if number % 2 else "#F6F7F8")
        picture.box(at(i), 18, 3 * PITCH, 16, shade)
        if number and (number + 1) % 5 == 0:
            picture.text(at(i + 1.5), 26, str(number + 1), 11)
    picture.text(at(BEFORE), 9, f"first codon of {gene}; boxes are codons", 12, anchor="start")
    low, high = RIBOSOME
    picture.box(at(BEFORE + low), 18, (high - low) * PITCH, 16, "#DDE7F0")
    picture.text(at(BEFORE + (low + high) / 2), 9, "ribosome's site", 12)
    picture.bases(LEFT, 36, text, PITCH, height=22, size=11)
    picture.box(at(t), 35, PITCH, 24, "none", "#C0392B", 2.5)


def _bars(
    picture: Picture,
    y: float,
    title: str,
    note: str,
    values: np.ndarray,
    height: float,
    t: int,
    plain: bool = False,
) -> None:
    """One bar a base; values below 0 hang from the line in a second colour. The largest fills the height."""
    largest = float(np.abs(values).max()) or 1.0
    down = bool((values < 0).any())
    span = height / 2 if down else height
    top = y + (0 if plain else 20)
    zero = top + span
    if title:
        picture.text(LEFT, y + 8, title, 13, bold=True, anchor="start")
        picture.text(
            LEFT + PITCH * len(values), y + 8, f"{note}; largest {largest:.2g}", 12, "#555555", "end"
        )
    for i in np.flatnonzero(np.abs(values) > largest / span / 4):
        size = abs(float(values[i])) / largest * span
        color = TRACK if plain else (POSITIVE if values[i] >= 0 else NEGATIVE)
        picture.box(LEFT + i * PITCH + 1, zero - size if values[i] >= 0 else zero, PITCH - 2, size, color)
    end = top + (2 * span if down else span)
    middle = LEFT + (t + 0.5) * PITCH
    picture.line([(middle, top), (middle, end)], "#C0392B", 1.2, dashed=True)
    picture.line([(LEFT, zero), (LEFT + PITCH * len(values), zero)], "#888888", 0.8)
    if plain:
        picture.text(LEFT, end + 9, f"{note}; largest {largest:.2g}", 12, "#555555", "start")
