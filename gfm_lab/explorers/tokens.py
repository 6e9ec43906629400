"""The tokenizer explorer: DNA cut into tokens, and what one changed base does to them. Introduced in notebook 01."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from gfm_lab import plots
from gfm_lab.data import load_data
from gfm_lab.explorers.explorer import Control, Explorer, View
from gfm_lab.explorers.picture import Picture
from gfm_lab.tokenization import BPETokenizer, KmerTokenizer, NucleotideTokenizer

__all__ = ["Cut", "changed_tokens", "cut", "edited", "tokenizer"]

BASES = 42  # shown: 7 words of 6, 14 words of 3
PITCH, LEFT, TOKEN = 22, 18, 32  # pixels: of a base, of the margin, of a row of tokens
CHANGED, COVERS = "#F6C7A6", "#CFE6F5"
TYPED = "what I type"
SOURCES = {"E. coli": "ecoli-k12", "human chr20": "human-chr20"}
NUCLEOTIDES, KMERS = "single nucleotides", "k-mers"


class Cut(NamedTuple):
    """The tokens of a sequence: their text, their ids, and for each (first base, base after its last)."""

    tokens: list[str]
    ids: list[int]
    spans: list[tuple[int, int]]


def cut(tokenizer: Any, dna: str) -> Cut:
    """The tokens of `dna` by a transformers tokenizer, without those it puts around a sequence.

    Raises what the tokenizer raises: its own message for a letter it does not know.
    """
    encoded = tokenizer(dna, add_special_tokens=False, return_offsets_mapping=True)
    ids = [int(i) for i in encoded["input_ids"]]
    spans = [(int(a), int(b)) for a, b in encoded["offset_mapping"]]
    return Cut(list(tokenizer.convert_ids_to_tokens(ids)), ids, spans)


def edited(dna: str, change: str, at: int, base: str) -> str:
    """`dna` after one change at base `at`, counted from 0: "replace" it, "insert" `base` before it, "delete" it.

    Raises ValueError for another change, or a base that does not exist.
    """
    if not 0 <= at < len(dna):
        raise ValueError(f"the sequence has {len(dna)} bases, counted from 0: there is no base {at}")
    rest = {
        "none": dna[at:],
        "replace": base + dna[at + 1 :],
        "insert": base + dna[at:],
        "delete": dna[at + 1 :],
    }
    if change not in rest:
        raise ValueError(f"change is one of {', '.join(map(repr, rest))}, not {change!r}")
    return dna[:at] + rest[change]


def changed_tokens(before: Sequence[int], after: Sequence[int]) -> tuple[range, range]:
    """Which tokens of each list lie outside their longest common start and, of the rest, longest common end.

    The second range counts what notebook 01 counts: a shifted copy is no change.
    """
    shorter = min(len(before), len(after))
    start = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    rest = shorter - start
    end = next((i for i in range(rest) if before[-1 - i] != after[-1 - i]), rest)
    return range(start, len(before) - end), range(start, len(after) - end)


def tokenizer(tokenizers: Mapping[str, Any] | None = None) -> Explorer:
    """DNA cut into tokens, with their ids; one base replaced, inserted or deleted, and the tokens that change.

    Controls: source (E. coli, human chr20, or typed), start (of the stretch, in the test region), dna (the typed text),
    scheme, k, stride, unknown (what k-mers and nucleotides do with a letter that is no base), change, at, base.

    Args:
        tokenizers: more to choose from, name -> a tokenizer of transformers. None: a BPE of 1,024 entries, learned from
            100,000 bases of E. coli when the explorer is opened.

    Introduced in notebook 01.
    """
    regions = {
        name: load_data(table).split("test").upper().replace("N", "") for name, table in SOURCES.items()
    }
    fixed = {
        "DNABERT-6": KmerTokenizer.dnabert(6),
        "Nucleotide Transformer": KmerTokenizer.nucleotide_transformer(),
        "HyenaDNA": NucleotideTokenizer.hyenadna(),
    }
    fixed |= {"BPE 1,024, E. coli": _small_bpe()} if tokenizers is None else dict(tokenizers)

    @lru_cache(maxsize=256)
    def made(scheme: str, k: int, stride: int, unknown: str) -> Any:
        if scheme == NUCLEOTIDES:
            return NucleotideTokenizer(on_unknown=unknown)
        return KmerTokenizer(k, stride, on_unknown=unknown) if scheme == KMERS else fixed[scheme]

    def dna_of(s: dict[str, Any]) -> str:
        if s["source"] == TYPED:
            return s["dna"]
        return regions[s["source"]][s["start"] : s["start"] + BASES]

    def look(s: dict[str, Any]) -> View:
        dna = dna_of(s)
        if not dna:
            raise ValueError("type some bases: A, C, G or T")
        if len(dna) > BASES:
            raise ValueError(f"there is room for {BASES} bases, not for {len(dna)}: type fewer")
        tok = made(s["scheme"], s["k"], min(s["stride"], s["k"]), s["unknown"])
        at = min(s["at"], len(dna) - 1)
        new = edited(dna, s["change"], at, s["base"])
        before = cut(tok, dna)
        after = cut(tok, new) if s["change"] != "none" else None
        return _view(_name(s, len(tok)), dna, before, s["change"], at, s["base"], new, after)

    def adjust(s: dict[str, Any]) -> dict[str, dict[str, Any]]:
        typed, kmers = s["source"] == TYPED, s["scheme"] == KMERS
        own = kmers or s["scheme"] == NUCLEOTIDES
        out: dict[str, dict[str, Any]] = {
            "start": {"disabled": typed},
            "dna": {"disabled": not typed},
            "k": {"disabled": not kmers},
            "stride": {"max": s["k"], "disabled": not kmers},
            "unknown": {"disabled": not own},
            "base": {"disabled": s["change"] in ("none", "delete")},
        }
        if not typed:  # so that typing begins with what was seen last
            out["dna"]["value"] = dna_of(s)
        length = len(s["dna"]) if typed else BASES
        out["at"] = {"max": min(max(length, 1), BASES) - 1}
        return out

    first = 137_010
    controls = [
        Control("source", "DNA from", "choice", "E. coli", (*SOURCES, TYPED)),
        Control("start", "Start", "whole", first, low=0, high=400_000 - BASES, step=1),
        Control("dna", "DNA", "text", regions["E. coli"][first : first + BASES]),
        Control("scheme", "Tokenizer", "choice", KMERS, (NUCLEOTIDES, KMERS, *fixed)),
        Control("k", "k", "whole", 6, low=1, high=8),
        Control("stride", "Stride", "whole", 1, low=1, high=8),
        Control("change", "Change", "choice", "none", ("none", "replace", "insert", "delete")),
        Control("at", "At base", "whole", 20, low=0, high=BASES - 1),
        Control("base", "New base", "choice", "A", (*"ACGT",)),
        Control("unknown", "Unknown letter", "choice", "error", ("error", "unk", "split")),
    ]
    return Explorer("Tokenizer explorer", controls, look, adjust)


def _small_bpe() -> BPETokenizer:
    return BPETokenizer.train([load_data("ecoli-k12").split("train")[:100_000]], vocab_size=1024)


def _name(s: dict[str, Any], entries: int) -> str:
    name = s["scheme"]
    if name == KMERS:
        k, stride = s["k"], min(s["stride"], s["k"])
        how = "overlapping" if stride < k else "side by side"
        name = f"{k}-mers, stride {stride} ({how})"
    return f"{name}, {entries:,} entries"


def _view(
    name: str, dna: str, before: Cut, change: str, at: int, base: str, new: str, after: Cut | None
) -> View:
    per_kb = 1000 * len(before.tokens) / len(dna)
    sentences = [
        f"{name}: {_count(len(dna), 'base')}, {_count(len(before.tokens), 'token')}, {per_kb:.0f} per kb."
    ]
    covering = [i for i, (a, b) in enumerate(before.spans) if a <= at < b]
    old, fresh = range(0), range(0)
    if after is None:
        cover = "cover" if len(covering) != 1 else "covers"
        sentences.append(f"{_count(len(covering), 'token')} {cover} base {at}, {dna[at]}: blue.")
    else:
        old, fresh = changed_tokens(before.ids, after.ids)
        done = {
            "replace": f"base {at}, {dna[at]}, becomes {base}",
            "insert": f"{base} is inserted before base {at}",
            "delete": f"base {at}, {dna[at]}, is deleted",
        }[change]
        tokens = f"{len(old)} of {_count(len(before.tokens), 'token')} replaced by {len(fresh)} new: orange."
        sentences.append(f"Change: {done}. " + (tokens if old or fresh else "No token changes."))
        if after.tokens and dna != new:
            sentences[-1] += f" {len(before.tokens)} tokens before, {len(after.tokens)} after."
    rows = [_rows(before.spans)] + ([] if after is None else [_rows(after.spans)])
    heights = [22 + 28 + TOKEN * (max(r, default=0) + 1) + 8 for r in rows]
    longest = max(len(dna), len(new))
    picture = Picture(2 * LEFT + PITCH * max(longest, BASES + 1), sum(heights))
    _block(picture, 0, "before" if after is not None else "", dna, before, rows[0], at, "#9C4A00" if after else "",
           {i: CHANGED for i in old} if after is not None else {i: COVERS for i in covering})  # fmt: skip
    if after is not None:
        mark = -1 if change == "delete" else at
        _block(
            picture, heights[0], "after", new, after, rows[1], mark, "#9C4A00", {i: CHANGED for i in fresh}
        )
    alt = f"{dna} as tokens, each a box under its bases with its text and id. {' '.join(sentences)}"
    return View(picture, tuple(sentences), alt)


def _rows(spans: Sequence[tuple[int, int]]) -> list[int]:
    """The row of each token: the first one where it does not overlap another."""
    ends: list[int] = []
    rows = []
    for start, stop in spans:
        row = next((r for r, end in enumerate(ends) if end <= start), len(ends))
        ends[row:] = [stop, *ends[row + 1 :]]
        rows.append(row)
    return rows


def _block(
    picture: Picture, y: float, title: str, dna: str, cut: Cut, rows: list[int], at: int, accent: str,
    colors: dict[int, str],
) -> None:  # fmt: skip
    """A strip of bases with a number at every tenth, and the tokens under it."""
    if title:
        picture.text(LEFT, y + 11, title, 13, bold=True, anchor="start")
    for i in range(0, len(dna), 10):
        if i or not title:  # the title stands where the 0 would
            picture.text(LEFT + (i + 0.5) * PITCH, y + 11, str(i), 11, "#555555")
    picture.bases(LEFT, y + 22, dna, PITCH)
    if 0 <= at < len(dna):
        picture.box(LEFT + at * PITCH, y + 21, PITCH, 26, "none", plots.INK, 2.5)
    for i, (token, number, (start, stop), row) in enumerate(zip(*cut, rows, strict=True)):
        x, top, width = LEFT + start * PITCH + 1.5, y + 52 + TOKEN * row, (stop - start) * PITCH - 3
        marked = i in colors
        picture.box(x, top, width, TOKEN - 3, colors.get(i, plots.FAINT), plots.INK, 2 if marked else 0.8)
        small = width < 26
        room = max(1, int(width / 7.4))
        shown = token if len(token) <= room or small else token[: room - 1] + "\u2026"
        if small and len(token) > 2:
            shown = "?"  # a special token such as [UNK] on one base
        picture.text(x + width / 2, top + 9.5, shown, 12, mono=True, bold=marked)
        picture.text(x + width / 2, top + 21.5, str(number), 8.5 if small and number > 999 else 10, "#444444")


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
