"""Does this mutation matter? Four scores for the same variants, from four kinds of model.

    method          needs                       score of a variant                                  unit
    masked          a masked language model     log P(alt) - log P(ref), the changed bases hidden    nats
    autoregressive  a next-token model          log P(window with alt) - log P(window with ref)      nats
    embedding       any body                    distance of the two windows' mean vectors           0: alike
    head            a trained head              prediction(alt) - prediction(ref)                    the head's own

The first two are log-likelihood ratios in nats (natural logarithm): **negative means that the model finds the
alternative less likely** than the reference. They know nothing of function: what is rare in the genome that the model
has read scores low. A distance has no direction, and says neither gain nor loss. A head predicts what it was trained
on; for classes its score is the difference of log odds of the class `target`.

Every variant is read in the middle of its own window, the same number of bases of the reference on either side (fewer
at an end of the sequence), so that a score does not depend on which other variants are scored with it.

Variants of several bases. masked: all changed bases are hidden together (the masked marginals of Meier et al. 2021,
NeurIPS 34:29287), bases between them stay visible. Insertions and deletions change the length, and a longer text is
less likely for no other reason: a difference of log-likelihoods is therefore taken per base and multiplied with the
bases of the longer window. (For equal lengths that is the plain difference.) A masked model has no likelihood of a
window; an indel gets the difference of pseudo-log-likelihoods, each base in turn hidden, over the alleles and `reach`
bases on either side.

Tokens of several bases. masked: every token that covers a changed base is hidden, and the sum of their log ratios is
divided by the number of tokens that cover one changed base: 1 for words side by side, where a single word holds it, k
for overlapping k-mers, whose k predictions of one base are averaged. BPE cuts the two alleles differently: refused.

Introduced in notebook 12.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gfm_lab import variant_scores
from gfm_lab.evaluation import _ready, _window
from gfm_lab.variant_scores import Pair, Text, Unfit, must_fit, predicts
from gfm_lab.vcf import Variant, VariantError, as_variants, read_variants, read_vcf

__all__ = [
    "METHODS",
    "ScoredVariant",
    "Variant",
    "VariantError",
    "read_variants",
    "read_vcf",
    "saturation",
    "saturation_figure",
    "score_stream",
    "score_variants",
    "variants_of",
]

METHODS = ("masked", "autoregressive", "embedding", "head")
REACH = 16  # bases on either side of an indel whose pseudo-likelihood is compared
CHUNK = 512  # variants that are in memory at once


class ScoredVariant(NamedTuple):
    """A variant, its score, and why it has none (nan) where it could not be scored. Introduced in notebook 12."""

    variant: Variant
    score: float
    problem: str = ""


def score_variants(
    model: Any,
    tokenizer: Any,
    variants: Iterable[Any],
    sequence: Any,
    method: str = "masked",
    **options: Any,
) -> pd.DataFrame:
    """The score of every variant, as a table in the order given.

    variants: a DataFrame with columns position (0-based), ref, alt, and if there are any chrom and id; `Variant`s; or
    tuples (chrom, position, ref, alt). Columns of a DataFrame are kept. Variants of one position are scored together,
    wherever they stand. Other arguments, errors and what a score means: `score_stream`, which is for more variants than
    fit in memory.

    Returns columns chrom, position, ref, alt, id, kind, score, and problem if on_error="nan".
    Introduced in notebook 12.
    """
    given = [*as_variants(variants)]
    order = sorted(range(len(given)), key=lambda i: (given[i].chrom, given[i].position, given[i].ref))
    found: list[Any] = [None] * len(given)
    stream = score_stream(model, tokenizer, [given[i] for i in order], sequence, method, **options)
    for place, scored in zip(order, stream, strict=True):
        found[place] = scored
    if hasattr(variants, "columns"):
        table = variants.copy()
    else:
        table = pd.DataFrame(
            [variant[:5] for variant in given], columns=["chrom", "position", "ref", "alt", "id"]
        )
    if "kind" not in table:
        table["kind"] = [variant.kind for variant in given]
    table["score"] = np.array([scored.score for scored in found], dtype=float)
    if options.get("on_error") == "nan":
        table["problem"] = [scored.problem for scored in found]
    return table


def score_stream(
    model: Any,
    tokenizer: Any,
    variants: Iterable[Any],
    sequence: Any,
    method: str = "masked",
    *,
    window: int | None = None,
    strands: str | None = None,
    control: str | None = None,
    offset: int = 0,
    reach: int | None = REACH,
    distance: str = "cosine",
    target: int = 1,
    batch_size: int = 16,
    on_error: str = "raise",
) -> Iterator[ScoredVariant]:
    """Score variants one after the other as they come, such as from `read_vcf`: memory holds 512 of them at a time.

    model, tokenizer: as from `gfm_lab.load_model`; for "head" also anything with `predict(list of DNA)`, or such a
        function, that gives (N,) numbers or (N, C) probabilities, and tokenizer None.
    sequence: the reference: DNA as str, a `Genome`, an `open_fasta` file, or a dict from chromosome to DNA. Where it
        has names, "chr20" finds "20" and the other way round; a single str holds one chromosome, whatever its name.
        offset: position of its first base (str only; a `Genome` knows its own).
    window: bases read at once (None: 512, or what the model can read).
    strands: "forward", or "both": the mean score of the variant and of its reverse complement on the other strand.
        None: "both" for autoregressive, whose two readings see different contexts, otherwise "forward".
    control: a control token of the tokenizer that stands in front of every window, such as a species.
    reach: indels under "masked" only, see above; None: the whole window, two passes a base.
    distance: "cosine" (1 - cosine) or "euclidean", for "embedding". target: the class, for "head" with classes.
    on_error: "raise", or "nan": a variant that cannot be scored gets nan and the reason.

    Cost in windows, on one strand. masked: 1 for all alternatives of a position that follow each other (indels: one for
    each base in reach, for each allele). Others: 1 for each alternative, and 1 for the reference that the alternatives
    of a position share.

    Raises VariantError (a ValueError), naming the variant, if it lies outside the sequence or REF is not what stands
    there; ValueError for an unknown method or option, a model of the wrong objective (it says which method fits), a
    tokenizer that the method cannot use, and scores that are not finite. A variant whose alleles are equal scores 0.
    Introduced in notebook 12.
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}: choose one of {', '.join(METHODS)}")
    strands = strands or ("both" if method == "autoregressive" else "forward")
    for name, value, known in (
        ("strands", strands, ("forward", "both")),
        ("distance", distance, ("cosine", "euclidean")),
        ("on_error", on_error, ("raise", "nan")),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}: choose one of {', '.join(known)}")
    if batch_size < 1 or (reach is not None and reach < 0):
        raise ValueError(f"batch_size is {batch_size}, reach {reach}: at least 1, and at least 0")
    must_fit(model, method)
    text = None if tokenizer is None else Text(tokenizer, control)
    if text is None and (method != "head" or not predicts(model)):
        raise ValueError("give the tokenizer that the model was trained with")
    if not predicts(model):
        window = _window(model, window, text.specials if text else 0, 1 << 40)
    elif window is None:
        window = 512
    if window < 1:
        raise ValueError(f"window is {window}: it must be at least 1 base")
    score: Callable[[list[Pair]], np.ndarray] = {
        "masked": lambda pairs: variant_scores.masked(model, text, pairs, reach, batch_size),
        "autoregressive": lambda pairs: variant_scores.autoregressive(model, text, pairs, batch_size),
        "embedding": lambda pairs: variant_scores.embedding(model, text, pairs, distance, batch_size),
        "head": lambda pairs: variant_scores.head(model, text, pairs, target, batch_size),
    }[method]
    reference = _Reference(sequence, offset, window, exact=method == "head")
    return _stream(model, score, as_variants(variants), reference, strands, on_error)


def _stream(
    model: Any,
    score: Callable[[list[Pair]], np.ndarray],
    variants: Iterator[Variant],
    reference: _Reference,
    strands: str,
    on_error: str,
) -> Iterator[ScoredVariant]:
    while chunk := [*itertools.islice(variants, CHUNK)]:
        problems, pairs = [""] * len(chunk), {}
        for place, variant in enumerate(chunk):
            try:
                pairs[place] = reference.pair(variant)
            except ValueError as fault:
                if on_error == "raise":
                    raise
                problems[place] = str(fault)
        scores = np.full(len(chunk), np.nan)
        asked = [place for place, pair in pairs.items() if pair.ref != pair.alt]
        scores[[place for place, pair in pairs.items() if pair.ref == pair.alt]] = 0.0
        try:
            scores[asked] = _both(model, score, [pairs[place] for place in asked], strands)
        except Unfit:
            # Whichever variant it is: try one by one, so that the message can name it.
            for place in asked:
                try:
                    scores[place] = _both(model, score, [pairs[place]], strands)[0]
                except Unfit as fault:
                    problems[place] = f"variant {chunk[place]}: {fault}"
                    if on_error == "raise":
                        raise VariantError(problems[place]) from None
        yield from map(ScoredVariant, chunk, scores.tolist(), problems)


def _both(model: Any, score: Callable[[list[Pair]], np.ndarray], pairs: list[Pair], strands: str) -> Any:
    if not pairs:
        return np.empty(0)
    with contextlib.nullcontext() if predicts(model) else _ready(model):
        scores = score(pairs)
        if strands == "both":
            scores = (scores + score([pair.turned() for pair in pairs])) / 2
    if not np.isfinite(scores).all():
        raise ValueError("the model's scores are not finite numbers: its weights, or its input, are broken")
    return scores


def variants_of(wild_type: str, sequences: Iterable[str], chrom: str = "") -> list[Variant]:
    """Each sequence of a library as one variant of its wild type, at position 0: an MPRA's rows, ready to be scored.

    >>> [str(v) for v in variants_of("ACGT", ["ACGT", "TCGA"], "lac")]
    ['lac:1 ACGT>ACGT', 'lac:1 ACGT>TCGA']

    Raises VariantError for a sequence of another length: there is then no telling which base became which.
    Introduced in notebook 12.
    """
    found = []
    for number, sequence in enumerate(sequences):
        if len(sequence) != len(wild_type):
            raise VariantError(
                f"sequence {number} has {len(sequence)} bases and the wild type {len(wild_type)}: align them first"
            )
        found.append(Variant(chrom, 0, wild_type.upper(), sequence.upper()))
    return found


# ---- Windows of the reference ----


class _Reference:
    """`fetch` for every kind of reference, and the windows of a variant in it."""

    def __init__(self, sequence: Any, offset: int, window: int, exact: bool) -> None:
        self.window, self.exact = window, exact
        self.names: dict[str, Any] | None = None  # bare name -> the name it has here
        if hasattr(sequence, "fetch"):  # an open FASTA file
            self.names = {_bare(name): name for name in sequence.names}
            self._fetch, self._length = sequence.fetch, sequence.lengths.__getitem__
        elif isinstance(sequence, Mapping):
            self.names = {_bare(str(name)): name for name in sequence}
            self._fetch = lambda name, a, b: sequence[name][a:b]
            self._length = lambda name: len(sequence[name])
        else:
            if hasattr(sequence, "sequence"):  # a Genome
                sequence, offset = sequence.sequence, sequence.offset
            if not isinstance(sequence, str):
                raise ValueError(
                    f"the sequence is a {type(sequence).__name__}: give DNA as str, a Genome, a FASTA file opened with "
                    f"open_fasta, or a dict from chromosome to DNA"
                )
            self._fetch, self._length = lambda name, a, b: sequence[a:b], lambda name: len(sequence)
        if self.names is not None and offset:
            raise ValueError("offset is for a single sequence; one with names begins at 0")
        self.offset, self._only = offset, None

    def _name(self, variant: Variant) -> Any:
        bare = _bare(variant.chrom)
        if self.names is not None:
            if bare not in self.names:
                known = ", ".join(map(str, itertools.islice(self.names.values(), 5)))
                raise VariantError(
                    f"variant {variant}: the reference has no {variant.chrom!r}; it has {known}"
                )
            return self.names[bare]
        self._only = self._only or bare
        if bare and bare != self._only:
            raise VariantError(
                f"variant {variant} lies on another chromosome than those before it ({self._only}), and the reference "
                f"is one sequence: give a dict from chromosome to DNA, or an open FASTA file"
            )
        return None

    def pair(self, variant: Variant) -> Pair:
        """The two windows of a variant. Raises VariantError if it does not fit the reference."""
        name = self._name(variant)
        length, start = self._length(name), variant.position - self.offset
        if start < 0 or start + len(variant.ref) > length:
            raise VariantError(
                f"variant {variant} lies outside the sequence, which has positions {self.offset + 1:,} to "
                f"{self.offset + length:,} (counted from 1)"
            )
        there = self._fetch(name, start, start + len(variant.ref)).upper()
        if there != variant.ref:
            wide = 60
            raise VariantError(
                f"variant {variant} (0-based position {variant.position:,}): REF is {variant.ref[:wide]}, and the "
                f"sequence has {there[:wide]} there. Another assembly, or positions counted from 1 where 0 was meant?"
            )
        at, ref, alt = variant.trimmed
        at -= self.offset
        longest = max(len(ref), len(alt))
        if longest > self.window:
            raise VariantError(
                f"variant {variant} changes {longest} bases: choose a window longer than {self.window}"
            )
        if (
            self.exact
        ):  # networks for sequences of one length: both alleles fill the window, as far as there is DNA
            first = max(0, min(at - (self.window - longest) // 2, length - self.window))
            left = self._fetch(name, first, at).upper()
            tail = self._fetch(name, at + len(ref), min(length, first + self.window + len(ref))).upper()
            texts = [(left + allele + tail)[: self.window] for allele in (ref, alt)]
            return Pair(*texts, len(left), 0)
        flank = (self.window - longest) // 2  # as many on either side: the other strand sees the same window
        left = self._fetch(name, max(0, at - flank), at).upper()
        right = self._fetch(name, at + len(ref), min(length, at + len(ref) + flank)).upper()
        return Pair(f"{left}{ref}{right}", f"{left}{alt}{right}", len(left), len(right))


def _bare(name: str) -> str:
    return name[3:] if name.lower().startswith("chr") else name


# ---- Every possible change ----


def saturation(
    model: Any,
    tokenizer: Any,
    sequence: str,
    start: int = 0,
    stop: int | None = None,
    method: str = "masked",
    **options: Any,
) -> pd.DataFrame:
    """In-silico saturation mutagenesis: the score of every single-base change between `start` and `stop` (0-based).

    Returns one row a base: position, ref, and columns A, C, G, T with the scores; 0 for the base that is there. With
    masked models the softmax of a row is the model's own distribution at this place. Options and errors as in
    `score_stream`; VariantError for a region that is empty, reaches outside, or holds a letter other than A, C, G, T.
    Cost: see there; 1 window a base when masked, otherwise 4.

    Introduced in notebook 12.
    """
    stop = len(sequence) if stop is None else stop
    if not 0 <= start < stop <= len(sequence):
        raise VariantError(
            f"the region {start:,} to {stop:,} is empty or reaches outside 0 to {len(sequence):,}"
        )
    region = sequence[start:stop].upper()
    if wrong := region.strip("ACGT"):
        raise VariantError(
            f"base {start + region.index(wrong[0]):,} is {wrong[0]!r}: only A, C, G and T have three alternatives"
        )
    changes = [
        ("", start + i, base, other) for i, base in enumerate(region) for other in "ACGT" if other != base
    ]
    scored = score_variants(model, tokenizer, changes, sequence, method, **options)
    table = np.zeros((len(region), 4))
    table[scored["position"] - start, ["ACGT".index(alt) for alt in scored["alt"]]] = scored["score"]
    frame = pd.DataFrame(table, columns=[*"ACGT"])
    frame.insert(0, "position", np.arange(start, stop))
    frame.insert(1, "ref", [*region])
    return frame


def saturation_figure(table: pd.DataFrame, label: str = "score", first: int | None = None) -> Any:
    """The figure of `saturation`: above, each base of the sequence as a letter, as high as the mean of its three scores
    with the sign turned (tall: changing it lowers the score); below, the heat map, red negative, blue positive.

    table: of `saturation`, best of 100 bases at most. label: of the colours. first: the number of the first base on the
    axis (None: its position). Returns a matplotlib Figure, for `plots.show`.

    Introduced in notebook 12.
    """
    import matplotlib.pyplot as plt

    from gfm_lab import plots

    scores = table[[*"ACGT"]].to_numpy()  # (L, 4)
    letters = table["ref"].tolist()
    heights = -scores.sum(1) / 3
    numbers = np.arange(len(table)) + (int(table["position"].iloc[0]) if first is None else first)
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(max(6.0, 0.17 * len(table) + 2), 4.4), sharex=True, height_ratios=[1, 1.1]
    )
    _letters(above, letters, heights, numbers)
    above.axhline(0, color=plots.INK, linewidth=0.8)
    low, high = min(0.0, heights.min()), max(0.0, heights.max())
    room = 0.06 * max(high - low, 1e-12)
    above.set(ylim=(low - room, high + room), ylabel="mean loss\nwhen changed")
    limit = max(float(np.abs(scores).max()), 1e-12)
    image = below.imshow(
        scores.T, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto",
        extent=(numbers[0] - 0.5, numbers[-1] + 0.5, 3.5, -0.5), interpolation="nearest",
    )  # fmt: skip
    below.plot(numbers, ["ACGT".index(base) for base in letters], ".", color=plots.INK, markersize=3)
    below.set_yticks(range(4), [*"ACGT"])
    below.set(xlabel="position", ylabel="becomes", xlim=(numbers[0] - 0.6, numbers[-1] + 0.6))
    below.spines[:].set_visible(False)
    figure.colorbar(image, ax=[above, below], label=label, shrink=0.7)
    return figure


def _letters(axis: Any, letters: Sequence[str], heights: np.ndarray, places: np.ndarray) -> None:
    """Draw one letter a place, from 0 up to its height, or down and faint where it is negative."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    from gfm_lab.plots import NUCLEOTIDE_COLORS

    shapes = {letter: TextPath((0, 0), letter, prop=FontProperties(weight="bold")) for letter in "ACGT"}
    for letter, height, place in zip(letters, heights, places, strict=True):
        if height == 0:
            continue
        box = shapes[letter].get_extents()
        fit = Affine2D().translate(-box.x0, -box.y0).scale(0.9 / box.width, abs(height) / box.height)
        fit = fit.translate(place - 0.45, min(height, 0.0)) + axis.transData
        color = NUCLEOTIDE_COLORS[letter]
        axis.add_patch(
            PathPatch(shapes[letter], transform=fit, lw=0, fc=color, alpha=1.0 if height > 0 else 0.45)
        )
