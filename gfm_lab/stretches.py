"""What a training run reads: stretches of DNA with their coordinates, and windows drawn from them.

Window i depends on (seed, i) alone: a run that is resumed, or spread over several processes, reads the same windows
in the same steps. A stretch may carry the name of a control token, such as its species, which then stands in front of
each of its windows; `panel` gives such stretches of ten species. Introduced in notebooks 09 and 10.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset

from gfm_lab.data import load_data
from gfm_lab.sequence import read_fasta, reverse_complement

__all__ = ["SPECIES", "Stretch", "Windows", "check_apart", "panel", "read_stretches", "stretches"]

# The species of the table "species-panel", in its order, and the control token of each.
SPECIES = {
    "Escherichia coli": "ecoli",
    "Klebsiella pneumoniae": "klebsiella",
    "Helicobacter pylori": "helicobacter",
    "Staphylococcus aureus": "staphylococcus",
    "Bacteroides thetaiotaomicron": "bacteroides",
    "Plasmodium falciparum": "plasmodium",
    "Arabidopsis thaliana": "arabidopsis",
    "Caenorhabditis elegans": "worm",
    "Drosophila melanogaster": "fly",
    "Homo sapiens": "human",
}
DRAWS = 4096  # random numbers are drawn for so many windows at once
SEED_LENGTH = (
    16  # letters by which `check_apart` finds where a stretch may stand in another: 4 bits each, 64 in all
)
KNOWN = np.zeros(256, bool)
KNOWN[[*b"ACGTacgt"]] = True


class Stretch(NamedTuple):
    """One contiguous stretch of DNA: `sequence` is [start, stop) of `source`, 0-based, on the forward strand.

    control: the name of a control token of the tokenizer (`NucleotideTokenizer(controls=...)`), or None.
    """

    source: str
    start: int
    stop: int
    sequence: str
    control: str | None = None

    def __repr__(self) -> str:
        return f"Stretch({self.name})"

    @property
    def name(self) -> str:
        return f"{self.source}:{self.start:,}-{self.stop:,}"


def stretches(genome: Any, split: str) -> list[Stretch]:
    """The stretch of a `Genome` (see `load_data`) that is its "train", "valid" or "test" split.

    Coordinates are those of the chromosome. Raises ValueError for another split. Introduced in notebook 09.
    """
    sequence = genome.split(split)
    start = genome.offset + genome.splits[split][0]
    return [Stretch(genome.accession, start, start + len(sequence), sequence)]


def read_stretches(path: str | Path) -> list[Stretch]:
    """The records of a FASTA file. A name like `chr20:1001-2000` (1-based, closed: samtools faidx) gives coordinates.

    Otherwise a record counts as a whole sequence of its own. Raises SequenceError for a file that is no FASTA.
    """
    found = []
    for name, sequence in read_fasta(path):
        place = re.fullmatch(r"(.+):([\d,]+)-([\d,]+)", name)
        start, stop = (int(number.replace(",", "")) for number in place.groups()[1:]) if place else (0, 0)
        if place and stop - start + 1 == len(sequence):
            found.append(Stretch(place[1], start - 1, stop, sequence))
        else:
            found.append(Stretch(name, 0, len(sequence), sequence))
    return found


def panel(split: str) -> list[Stretch]:
    """The "train", "valid" or "test" stretches of ten species, each with its control token (`SPECIES`).

    valid and test: the windows of the table "species-panel", 100 and 200 of 512 bases for every species.

    train: the 700 windows of each species (358,400 bases), and what else of three of them is shipped:
        ecoli  in place of its windows the first 70 % of the genome, of which they were cut (3,249,156 bases; the
               panel validates on the next 10 %, tests on the last 20 %, which hold the test region of "ecoli-k12").
        human  also the training region of "human-chr20" (8,500,000 bases). The panel's own windows are of chrX, and so
               is what is validated and tested.
        fly    also the cleaned "fly-promoters" on 2L, 2R and 3L (13,530 windows of 300 bases; the panel validates on
               3R, tests on X). No fly genome is shipped: all fly DNA here lies within 2 kb before an annotated start,
               read towards it. "fly" means such DNA. Windows longer than 300 bases leave the promoters out.

    Raises ValueError for another split. Introduced in notebook 10.
    """
    if split not in ("train", "valid", "test"):
        raise ValueError(f'there is no split {split!r}: choose "train", "valid" or "test"')
    found = [
        Stretch(
            f"{SPECIES[row.species]} {row.record}", row.start, row.stop, row.sequence, SPECIES[row.species]
        )
        for row in load_data("species-panel").split(split).frame.itertuples()
    ]
    if split != "train":
        return found
    ecoli, human, fly = load_data("ecoli-k12"), load_data("human-chr20"), load_data("fly-promoters").frame
    end = len(ecoli) * 7 // 10
    whole = Stretch(f"ecoli {ecoli.accession}", 0, end, ecoli.region(0, end), "ecoli")
    found = [whole, *(stretch for stretch in found if stretch.control != "ecoli")]
    found += [s._replace(source=f"human {s.source}", control="human") for s in stretches(human, "train")]
    rows = fly[fly["chrom"].isin(["chr2L", "chr2R", "chr3L"])].itertuples()
    return found + [Stretch(f"fly {row.chrom}", row.start, row.stop, row.sequence, "fly") for row in rows]


class Windows(Dataset):
    """Windows of `window` bases anywhere in the stretches and, if wanted, on either strand; item i is always the same.

    An item is {"input_ids": (T,), "index": i}. Where it lies and which strand it is depends on (seed, i) alone. No
    special tokens are added: a window out of the middle of a genome neither begins nor ends anything.
    A window with more than `max_unknown` of other letters than A, C, G, T is never drawn; all others have the same
    chance. Stretches shorter than a window are left out, with a warning.

    Where stretches carry control tokens (all of them, or none), each control has the same chance, however many bases
    it has, and among its windows each has the same. The control token comes first in an item, on either strand, and is
    not among the `window` bases.

    Tokens that start at every base are cut once and sliced; others (BPE, words side by side) are cut for each window,
    so that they begin at every phase. Raises ValueError if no window can be drawn, and says why.
    """

    def __init__(
        self,
        stretches: Sequence[Stretch],
        tokenizer: Any,
        window: int,
        count: int,
        seed: int = 0,
        strands: bool = True,
        max_unknown: float = 0.1,
    ) -> None:
        self.stretches, self.tokenizer, self.window, self.count = [*stretches], tokenizer, window, count
        self.seed, self.strands = seed, strands
        self.begin, self.where, self.upto = _allowed_starts(self.stretches, window, max_unknown)
        # Runs of allowed starts lie control after control: where each control's begin among all starts, (controls + 1,)
        controls = [self.stretches[i].control for i in self.where]
        last = [i for i, name in enumerate(controls) if controls[i + 1 : i + 2] != [name]]
        self.borders = np.append(0, self.upto[last])
        self.in_front = _control_ids(tokenizer, self.stretches)
        k = getattr(tokenizer, "k", None)
        # One token a base, whatever the letters are?
        self.sliced = getattr(tokenizer, "stride", None) == 1 and (k == 1 or tokenizer.on_unknown != "split")
        self.tokens = window - k + 1 if self.sliced else None
        if self.sliced and self.tokens < 1:
            raise ValueError(
                f"a window of {window} bases is shorter than one {k}-mer: choose a longer window"
            )
        self.parts = [_encode(tokenizer, s) if self.sliced else None for s in self.stretches]
        self.block: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several items at once: torch's DataLoader asks for a batch this way."""
        return [self.item(i, *self.place(i)) for i in indices]

    def place(self, i: int) -> tuple[int, int, bool]:
        """Window i: number of its stretch, first base there, whether it is read on the reverse strand."""
        if self.block is None or self.block[0] != i // DRAWS:
            draws = np.random.default_rng([self.seed, i // DRAWS]).random((DRAWS, 2))
            self.block = (i // DRAWS, draws)
        position, coin = self.block[1][i % DRAWS]
        groups = len(self.borders) - 1
        group = min(int(position * groups), groups - 1)  # a number just below 1 may be rounded up
        low, high = self.borders[group], self.borders[group + 1]
        at = min(
            int(low + (position * groups - group) * (high - low)), int(high) - 1
        )  # among all allowed starts
        run = int(np.searchsorted(self.upto, at, side="right"))
        start = int(self.begin[run]) + at - (int(self.upto[run - 1]) if run else 0)
        return int(self.where[run]), start, bool(self.strands and coin < 0.5)

    def item(self, i: int, stretch: int, start: int, reverse: bool) -> dict[str, Any]:
        if self.sliced:
            ids = self.parts[stretch][start : start + self.tokens]
            if reverse:
                ids = self.tokenizer.complement_ids[ids[::-1]]
        else:
            bases = self.stretches[stretch].sequence[start : start + self.window]
            ids = _ids(self.tokenizer, reverse_complement(bases) if reverse else bases)
        control = self.stretches[stretch].control
        if control is not None:
            ids = np.concatenate([self.in_front[control], ids])
        return {"input_ids": ids, "index": i}

    def evenly(self, count: int) -> list[dict[str, Any]]:
        """At most `count` windows that do not overlap, forward strand, spread evenly: for validation."""
        places: list[tuple[int, int]] = []
        for stretch, begin, starts in zip(self.where, self.begin, np.diff(self.upto, prepend=0), strict=True):
            if places and places[-1][0] == stretch:
                free = places[-1][1] + self.window
                starts, begin = starts - max(0, free - begin), max(begin, free)
            places += [(int(stretch), int(s)) for s in range(begin, begin + starts, self.window)]
        chosen = np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int))
        return [self.item(i, *places[at], False) for i, at in enumerate(chosen)]


def _allowed_starts(
    stretches: Sequence[Stretch], window: int, max_unknown: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of bases at which a window may start: first base of each (R,), its stretch (R,), starts up to it (R,).

    Sorted by control token, otherwise in the order of the stretches.
    """
    if not stretches:
        raise ValueError("there is nothing to read: give at least one stretch")
    if window < 1:
        raise ValueError(f"a window has at least one base, not {window}")
    begin: list[int] = []
    where: list[int] = []
    number: list[int] = []
    short = [stretch for stretch in stretches if len(stretch.sequence) < window]
    if short and len(short) < len(stretches):
        warnings.warn(
            f"{len(short)} of {len(stretches)} stretches are shorter than a window of {window:,} bases and are left "
            f"out, among them {short[0].name}",
            stacklevel=4,
        )
    for i, stretch in sorted(enumerate(stretches), key=lambda pair: pair[1].control or ""):
        starts = len(stretch.sequence) - window + 1
        if starts < 1:
            continue
        letters = np.frombuffer(stretch.sequence.encode("ascii", "replace"), np.uint8)
        known = KNOWN[letters]
        if known.all():
            runs_here = np.array([[0, starts]])
        else:
            before = np.concatenate([[0], np.cumsum(~known, dtype=np.int32)])
            allowed = before[window:] - before[:-window] <= max_unknown * window
            runs_here = np.flatnonzero(np.diff(allowed, prepend=False, append=False)).reshape(-1, 2)
        begin += runs_here[:, 0].tolist()
        number += (runs_here[:, 1] - runs_here[:, 0]).tolist()
        where += [i] * len(runs_here)
    if not begin:
        longest = max(stretches, key=lambda stretch: len(stretch.sequence))
        if len(longest.sequence) < window:
            raise ValueError(
                f"every stretch is shorter than a window of {window:,} bases; the longest is {longest.name} with "
                f"{len(longest.sequence):,}: choose a shorter window or give longer sequences"
            )
        raise ValueError(
            f"no window of {window:,} bases has at most {max_unknown:.0%} letters other than A, C, G, T: "
            f"{longest.name} is nearly all N. Give sequences with bases, or a larger max_unknown"
        )
    return np.array(begin, np.int64), np.array(where, np.int64), np.cumsum(number, dtype=np.int64)


def _control_ids(tokenizer: Any, stretches: Sequence[Stretch]) -> dict[str, np.ndarray]:
    """Control -> its id, (1,). Raises ValueError if only some stretches have one, or the tokenizer lacks it."""
    controls = {stretch.control for stretch in stretches} - {None}
    without = next((stretch for stretch in stretches if stretch.control is None), None)
    if controls and without is not None:
        raise ValueError(f"{without.name} has no control token, other stretches have: give it to all or none")
    if controls and not hasattr(tokenizer, "control_id"):
        raise ValueError(
            f"the stretches have control tokens and {type(tokenizer).__name__} has none: use "
            f"NucleotideTokenizer(controls={tuple(sorted(controls))})"
        )
    kind = np.int16 if len(tokenizer) <= 1 << 15 else np.int32
    return {name: np.array([tokenizer.control_id(name)], kind) for name in sorted(controls)}


def _encode(tokenizer: Any, stretch: Stretch) -> np.ndarray:
    try:
        return _ids(tokenizer, stretch.sequence)
    except ValueError as fault:
        raise ValueError(f"{stretch.name}: {fault}") from None


def _ids(tokenizer: Any, bases: str) -> np.ndarray:
    if hasattr(tokenizer, "encode_array"):
        return tokenizer.encode_array(bases)
    return np.array(tokenizer(bases, add_special_tokens=False)["input_ids"], np.int64)


def check_apart(train: Sequence[Stretch], valid: Sequence[Stretch]) -> None:
    """Raise ValueError if validation and training read the same bases."""
    for name, part in (("train", train), ("valid", valid)):
        for stretch in part:
            if not isinstance(stretch, Stretch):
                raise TypeError(
                    f"{name} holds {type(stretch).__name__}, not Stretch: use stretches(genome, {name!r}), "
                    f"read_stretches(path), or Stretch(source, start, stop, sequence)"
                )
            if stretch.stop - stretch.start != len(stretch.sequence):
                raise ValueError(
                    f"{stretch.name} spans {stretch.stop - stretch.start:,} bases, its sequence has "
                    f"{len(stretch.sequence):,}"
                )
    by_source: dict[str, list[Stretch]] = {}
    for t in train:
        by_source.setdefault(t.source, []).append(t)
    for v in valid:
        for t in by_source.get(v.source, ()):
            low, high = max(v.start, t.start), min(v.stop, t.stop)
            if low < high:
                place = f"{v.source}:{low:,}-{high:,} (0-based, half-open)"
                if v.sequence[low - v.start : high - v.start] != t.sequence[low - t.start : high - t.start]:
                    raise ValueError(
                        f"train and valid both hold {place}, but with different bases: two sequences share the name "
                        f"{v.source!r}. Rename one; records cut from one sequence are told apart by names like "
                        f"{v.source}:1001-2000"
                    )
                raise ValueError(
                    f"validation and training overlap in {high - low:,} bases: {place} lies in the validation stretch "
                    f"{v.name} and in the training stretch {t.name}. A score on bases that were trained on means "
                    f"nothing: choose regions that are apart"
                )
    for v, t, strand in _word_for_word(train, valid):
        raise ValueError(
            f"the validation stretch {v.name} stands word for word{strand} in the training stretch "
            f"{t.name}: choose regions that are apart"
        )


def _word_for_word(
    train: Sequence[Stretch], valid: Sequence[Stretch]
) -> Iterator[tuple[Stretch, Stretch, str]]:
    """Validation stretches that stand, on either strand, in a training stretch of another source.

    Found by their first letters, all at once: thousands of stretches are too many to try each pair.
    """
    wanted = [
        (v, bases, strand)
        for v in valid
        for strand, bases in (
            ("", v.sequence),
            (" (as its reverse complement)", reverse_complement(v.sequence)),
        )
        if bases
    ]
    short = [job for job in wanted if len(job[1]) < SEED_LENGTH]
    long = [job for job in wanted if len(job[1]) >= SEED_LENGTH]
    seeds = np.array([_words(bases[:SEED_LENGTH])[0] for _, bases, _ in long], np.uint64)
    order = np.argsort(seeds, kind="stable")
    seeds = seeds[order]
    for t in train:
        for v, bases, strand in short:
            if v.source != t.source and bases in t.sequence:
                yield v, t, strand
        for begin in range(0, len(t.sequence) if long else 0, 1 << 20):
            words = _words(t.sequence[begin : begin + (1 << 20) + SEED_LENGTH - 1])
            places = np.searchsorted(seeds, words).clip(max=len(seeds) - 1)
            for at in np.flatnonzero(seeds[places] == words).tolist():
                for i in range(int(places[at]), len(seeds)):
                    if seeds[i] != words[at]:
                        break
                    v, bases, strand = long[order[i]]
                    if v.source != t.source and t.sequence.startswith(bases, begin + at):
                        yield v, t, strand


def _words(bases: str) -> np.ndarray:
    """Every run of `SEED_LENGTH` letters as one number, (letters - SEED_LENGTH + 1,) uint64."""
    words = np.frombuffer(bases.encode("ascii", "replace"), np.uint8).astype(np.uint64) & np.uint64(15)
    for width in (1, 2, 4, 8):  # A, C, G, T and N differ in their last four bits
        words = words[:-width] << np.uint64(4 * width) | words[width:]
    return words
