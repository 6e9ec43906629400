"""Is it DNA? Statistics of sequences, made to be laid beside real DNA and beside DNA that a Markov model wrote.

    kmer_counts, spectrum_distance     which words are used how often
    dinucleotide_odds                  which neighbours are sought or avoided, beyond base frequencies
    mutual_information                 what one base tells of another one some distance on: the period of codons
    find_orfs, codon_usage             open reading frames and the codons in them
    TrainingIndex                      the longest stretch that also stands in the training DNA: was it copied?
    compare_dna                        all of it in one table, with intervals

No number means anything alone: two real pieces differ as well, and short pieces differ more. So `compare_dna` cuts real
pieces and draws Markov DNA of the same number and length. What none of these statistics tells: whether a generated gene
would work. Introduced in notebook 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gfm_lab.baselines import MarkovModel, _reverse, _run_before, codes_of

__all__ = [
    "Match",
    "Orf",
    "TrainingIndex",
    "codon_usage",
    "compare_dna",
    "dinucleotide_distance",
    "dinucleotide_odds",
    "expected_match",
    "find_orfs",
    "jensen_shannon",
    "kmer_counts",
    "markov_dna",
    "mutual_information",
    "spectrum_distance",
]

BASES = "ACGT"
STARTS = ("ATG", "GTG", "TTG")  # nearly all of E. coli's
STOPS = ("TAA", "TAG", "TGA")
CODONS = [a + b + c for a in BASES for b in BASES for c in BASES]
LONG = 300  # bases of an ORF that rarely arises by chance
LAGS = (
    12,
    30,
)  # distances between bases at which the period of codons is looked for: beyond a Markov model's reach
CROSS_ZERO = ("period 3 (mbit)",)  # the only statistic that may be negative
PAIRS = 1_000_000  # pairs of places compared at a time: about 100 MB
SEED = 12  # letters of the words that the training index looks up

Sequences = str | Iterable[str]

# ---- Words ----


def kmer_counts(sequences: Sequences, k: int, both_strands: bool = False) -> np.ndarray:
    """How often each k-mer occurs, (4**k,), in A, C, G, T order; words with N are left out, and none joins two texts.

    both_strands: count the reverse complements too. Raises ValueError for k outside 1 to 12, SequenceError for a letter
    that is no nucleotide. Introduced in notebook 10.
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= 12:
        raise ValueError(f"k is {k!r}: it must be a whole number from 1 to 12")
    codes = codes_of(sequences)
    counts = np.bincount(_words(codes, k)[1], minlength=4**k)
    return counts + np.bincount(_words(_reverse(codes), k)[1], minlength=4**k) if both_strands else counts


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence of two distributions in bits: 0 if they are equal, 1 if they share nothing.

    p, q: counts or probabilities, of one shape. It is what one draw tells, on average, about which of the two it came
    from (Lin 1991, doi:10.1109/18.61115). Few counts raise it: two samples of one source do not give 0.

    Raises ValueError for shapes that differ, negative numbers, or nothing counted. Introduced in notebook 10.
    """
    p, q = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
    if p.shape != q.shape or (p < 0).any() or (q < 0).any() or not (p.sum() > 0 and q.sum() > 0):
        raise ValueError(
            f"p {p.shape} and q {q.shape} must be counts of the same things, none below 0, not all 0"
        )
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    return float((_gain(p, middle) + _gain(q, middle)) / 2)


def _gain(p: np.ndarray, q: np.ndarray) -> float:
    seen = p > 0
    return float((p[seen] * np.log2(p[seen] / q[seen])).sum())


def spectrum_distance(a: Sequences, b: Sequences, k: int = 6, both_strands: bool = False) -> float:
    """Jensen-Shannon divergence, in bits, of the k-mer spectra of two sets of sequences.

    Lay the distance between two real pieces of the same length beside it: no smaller one means anything.
    Raises ValueError where there is no k-mer to count. Introduced in notebook 10.
    """
    return jensen_shannon(kmer_counts(a, k, both_strands), kmer_counts(b, k, both_strands))


def dinucleotide_odds(sequences: Sequences) -> pd.Series:
    """Karlin's rho*: how often xy occurs, divided by what the frequencies of x and y would give; both strands together.

    16 values, named "AA" to "TT"; a word and its reverse complement have the same. 1: as expected; below 0.78 or above
    1.23 is conspicuous (Karlin and Burge 1995, doi:10.1016/S0168-9525(00)89076-9). nan where a base never occurs.
    Introduced in notebook 10.
    """
    return pd.Series(
        _odds(kmer_counts(sequences, 2, both_strands=True)), [a + b for a in BASES for b in BASES]
    )


def _odds(pairs: np.ndarray) -> np.ndarray:
    """(..., 16) counts of both strands -> (..., 16) odds."""
    pairs = np.asarray(pairs, dtype=float).reshape(*np.shape(pairs)[:-1], 4, 4)
    with np.errstate(invalid="ignore", divide="ignore"):
        f = pairs / pairs.sum((-2, -1), keepdims=True)
        odds = f / (f.sum(-1, keepdims=True) * f.sum(-2, keepdims=True))
    return odds.reshape(*odds.shape[:-2], 16)


def dinucleotide_distance(a: Sequences, b: Sequences) -> float:
    """Karlin's delta*: the mean absolute difference of the 16 odds of two sets of sequences.

    Pieces of 50 kb of the shipped E. coli test region are 0.01 to 0.06 apart. Introduced in notebook 10.
    """
    return float(np.abs(dinucleotide_odds(a) - dinucleotide_odds(b)).mean())


def mutual_information(sequences: Sequences, lags: Iterable[int]) -> np.ndarray:
    """What one base tells of the one `lag` bases further on, in bits, for each lag.

    In coding DNA it stays high at multiples of 3, far beyond the reach of any Markov model (Grosse et al. 2000,
    doi:10.1103/PhysRevE.61.5624). Chance alone gives about 9 / (2 n ln 2) bits from n pairs.

    Raises ValueError for a lag below 1 and where no pair of bases is so far apart. Introduced in notebook 10.
    """
    codes = codes_of(sequences)
    return np.array([_information(_pairs(codes, lag)) for lag in lags])


def _pairs(codes: np.ndarray, lag: int) -> np.ndarray:
    """(16,) counts of (base, base `lag` further on)."""
    if not 1 <= lag < len(codes):
        raise ValueError(f"lag is {lag}: it must be from 1 to below the length, {len(codes):,}")
    first, second = codes[:-lag], codes[lag:]
    # Between two texts stands one 4, so that a pair may lie on both sides of it: both must be in one run of bases.
    breaks = np.cumsum(codes > 3)
    whole = (first < 4) & (second < 4) & (breaks[:-lag] == breaks[lag:])
    return np.bincount(4 * first[whole].astype(int) + second[whole], minlength=16)


def _information(pairs: np.ndarray) -> float:
    if not pairs.sum():
        raise ValueError("there is no pair of bases so far apart")
    p = pairs.reshape(4, 4) / pairs.sum()
    return _gain(p, np.outer(p.sum(1), p.sum(0)))


# ---- Reading frames ----


class Orf(NamedTuple):
    """An open reading frame: bases [start, stop) of the forward strand, 0-based, the stop codon included."""

    start: int
    stop: int
    strand: str

    @property
    def length(self) -> int:
        return self.stop - self.start


def find_orfs(
    sequence: str,
    min_length: int = 90,
    starts: Sequence[str] | None = STARTS,
    open_ends: bool = False,
    overlapping: bool = True,
) -> list[Orf]:
    """Open reading frames in all six frames, longest first.

    min_length: in bases. starts: each begins at the first of these codons after a stop; None: right after the stop
    (stop to stop). open_ends: count also what runs into an end of the sequence, or into an N, as far as it is seen.
    overlapping: False keeps an ORF only if no longer one shares more than a tenth of it: opposite a real gene there are
    often long frames that nothing reads.

    Raises ValueError for a start that is no codon. Introduced in notebook 10.
    """
    for codon in starts or ():
        if codon not in CODONS:
            raise ValueError(f"{codon!r} is no codon: write starts as three of A, C, G, T, such as 'ATG'")
    codes, length, found = codes_of(sequence), len(sequence), []
    for strand, here in (("+", codes), ("-", _reverse(codes))):
        for frame in range(3):
            for first, last in _open(here[frame:], starts, open_ends, min_length):
                start, stop = frame + 3 * first, frame + 3 * last
                found.append(
                    Orf(start, stop, strand) if strand == "+" else Orf(length - stop, length - start, "-")
                )
    found.sort(key=lambda orf: (-orf.length, orf.start, orf.strand))
    if overlapping:
        return found
    taken, kept = np.zeros(length, dtype=bool), []
    for orf in found:
        if taken[orf.start : orf.stop].mean() <= 0.1:
            kept.append(orf)
            taken[orf.start : orf.stop] = True
    return kept


def _open(
    codes: np.ndarray, starts: Sequence[str] | None, open_ends: bool, min_length: int
) -> list[tuple[int, int]]:
    """[first, last) codons of the reading frames of one frame, stop codon included."""
    count = len(codes) // 3
    codons = codes[: 3 * count].reshape(count, 3)
    known = (codons < 4).all(1)
    number = np.where(known, codons @ np.array([16, 4, 1]), -1)
    is_stop = np.isin(number, [CODONS.index(c) for c in STOPS])
    ends = np.concatenate([np.flatnonzero(is_stop | ~known), [count]])  # each ends a stretch without a stop
    begins = np.concatenate([[0], ends[:-1] + 1])
    closed_left = np.concatenate([[False], is_stop[ends[:-1]]])
    closed_right = np.concatenate([is_stop[ends[:-1]], [False]])
    first = begins.copy()
    if starts is not None:  # up to the first start codon, unless the stretch was open before we see it
        there = np.append(np.flatnonzero(np.isin(number, [CODONS.index(c) for c in starts])), count)
        from_start = there[np.searchsorted(there, begins)]
        first = np.where(closed_left | (not open_ends), from_start, begins)
        complete = closed_right
    else:
        complete = closed_left & closed_right
    last = np.where(closed_right, ends + 1, ends)
    # A start has to lie inside its own stretch.
    good = (first < ends) & (complete | open_ends) & (3 * (last - first) >= min_length)
    return [*zip(first[good].tolist(), last[good].tolist(), strict=True)]


def codon_usage(sequences: Sequences, min_length: int = LONG) -> pd.Series:
    """How often each codon stands inside the ORFs of `find_orfs(..., open_ends=True, overlapping=False)`: 64 counts.

    The first codon of an ORF, often a start, and the stop are left out. Introduced in notebook 10.
    """
    counts = np.zeros(64, dtype=int)
    for sequence in [sequences] if isinstance(sequences, str) else sequences:
        counts += _codons(sequence, find_orfs(sequence, min_length, open_ends=True, overlapping=False))
    return pd.Series(counts, CODONS)


def _codons(sequence: str, orfs: Sequence[Orf]) -> np.ndarray:
    codes, counts = codes_of(sequence), np.zeros(64, dtype=int)
    for orf in orfs:
        part = codes[orf.start : orf.stop]
        part = (part if orf.strand == "+" else _reverse(part)).reshape(-1, 3)[1:]
        counts += np.bincount(part @ np.array([16, 4, 1]), minlength=64)
    counts[[CODONS.index(c) for c in STOPS]] = 0
    return counts


# ---- Copies ----


class Match(NamedTuple):
    """A stretch that two texts share: `length` bases from `start` of the sequence and `source` of training text number
    `record` (0-based). strand "-": the reverse complement of the sequence's stretch stands there."""

    length: int
    start: int
    record: int
    source: int
    strand: str


class TrainingIndex:
    """Finds the longest exact match of a sequence with training DNA, on either strand.

    train: one text or several. Words of 12 bases are looked up and each pair of places is extended as far as the
    letters agree; N agrees with nothing. E. coli's 3.9 Mb take one second and 0.3 GB to index, and a sequence of
    100 kb half a second.

    A match as long as those of Markov DNA of the same length is chance, not memory: `expected_match` for the rule of
    thumb, `compare_dna` for the comparison. Raises ValueError where no base is known. Introduced in notebook 10.
    """

    def __init__(self, train: Sequences) -> None:
        texts = [train] if isinstance(train, str) else [*train]
        self._codes = codes_of(texts)
        self.bases = int((self._codes < 4).sum())
        if not self.bases:
            raise ValueError("the training DNA holds no A, C, G or T")
        self._begins = np.cumsum([0, *(len(getattr(text, "sequence", text)) + 1 for text in texts)])[:-1]
        # All words of SEED letters, sorted, and where each starts. Words cut short by an end or an N are filled up with
        # A; `_reach` knows how many of their letters are real.
        filled = np.append(self._codes, np.full(SEED - 1, 4, dtype=np.uint8))
        self._reach = np.minimum(_run_before(filled[::-1] > 3)[::-1] + 1, SEED).astype(np.uint8)
        at, words = _words(filled & 3, SEED)
        known = self._codes < 4
        at, words = at[known], words[known]
        order = np.argsort(words, kind="stable")
        self._sorted, self._places = words[order], at[order].astype(np.int32)

    def __repr__(self) -> str:
        return f"TrainingIndex({self.bases:,} bases)"

    def longest(self, sequence: str) -> Match:
        """The longest stretch of `sequence` that stands in the training DNA too; length 0 if not even a base does."""
        codes, best = codes_of(sequence), Match(0, 0, 0, 0, "+")
        for search in (self._long, self._short):
            for strand, here in (("+", codes), ("-", _reverse(codes))):
                length, i, j = search(here)
                if length > best.length:
                    start = i if strand == "+" else len(codes) - i - length
                    record = int(np.searchsorted(self._begins, j, side="right")) - 1
                    best = Match(length, start, record, j - int(self._begins[record]), strand)
            if best.length:  # the second search is for what is shorter than a word
                break
        return best

    def _ranges(self, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each place in `codes` with a word of k letters: the first and last of the sorted words that begin so."""
        at, mine = _words(codes, k)
        low, high = mine.astype(np.int64) << 2 * (SEED - k), (mine.astype(np.int64) + 1) << 2 * (SEED - k)
        return at, np.searchsorted(self._sorted, low), np.searchsorted(self._sorted, high)

    def _long(self, codes: np.ndarray) -> tuple[int, int, int]:
        """(length, place in `codes`, place in the training text) of the longest match of SEED letters or more."""
        at, low, high = self._ranges(codes, SEED)
        best, ours, theirs = (
            (0, 0, 0),
            np.append(codes, 5),
            np.append(self._codes, 6),
        )  # ends agree with nothing
        total = np.cumsum(high - low)
        for first in range(0, int(total[-1]) if len(total) else 0, PAIRS):
            pair = np.arange(first, min(first + PAIRS, total[-1]))
            row = np.searchsorted(total, pair, side="right")
            i, j = at[row], self._places[high[row] - (total[row] - pair)].astype(np.int64)
            # A match that could begin earlier is found there.
            new = (i == 0) | (j == 0) | (ours[i - 1] != theirs[j - 1]) | (ours[i - 1] > 3)
            new &= self._reach[j] == SEED
            if new.any():
                length, where = _extend(ours, theirs, i[new], j[new])
                if length > best[0]:
                    best = (length, int(i[new][where]), int(j[new][where]))
        return best

    def _short(self, codes: np.ndarray) -> tuple[int, int, int]:
        """The same where no match reaches SEED letters."""
        for k in range(SEED - 1, 0, -1):
            for at, low, high in zip(*self._ranges(codes, k), strict=True):
                there = self._places[low:high]
                there = there[self._reach[there] >= k]
                if len(there):
                    return k, int(at), int(there[0])
        return 0, 0, 0


def _extend(ours: np.ndarray, theirs: np.ndarray, i: np.ndarray, j: np.ndarray) -> tuple[int, int]:
    """The longest of the matches that begin at i and j and agree in SEED letters: its length and its row."""
    step, longest, which = (
        1,
        0,
        0,
    )  # few pairs agree in many more letters: look at one, then two, four ... at a time
    rows, done = np.arange(len(i)), SEED
    while len(rows):
        ahead = done + np.arange(step)
        a = ours[np.minimum(i[rows, None] + ahead, len(ours) - 1)]
        b = theirs[np.minimum(j[rows, None] + ahead, len(theirs) - 1)]
        same = (a == b) & (a < 4)
        run = np.where(same.all(1), step, same.argmin(1))
        top = int(run.argmax())
        longest, which = done + int(run[top]), int(rows[top])
        rows, done, step = rows[run == step], done + step, min(2 * step, 256)
    return longest, which


def expected_match(bases: int, training_bases: int, bits: float = 2.0) -> float:
    """About the longest match by chance, in bases: log2(2 * bases * training_bases) / bits, both strands searched.

    bits: of the DNA, per base; fewer bits, longer matches (Arratia and Waterman 1985, doi:10.1016/0001-8708(85)90003-9,
    for independent letters). A rule of thumb: real DNA with repeats is above it. Introduced in notebook 10.
    """
    return float(np.log2(2.0 * bases * training_bases) / bits)


# ---- DNA from a Markov model ----


def markov_dna(model: MarkovModel, length: int, n: int = 1, seed: int = 0) -> list[str]:
    """`n` sequences of `length` bases written by a fitted MarkovModel: what counting words alone can write.

    Reproducible by seed, as `gfm_lab.generation.generate`. Raises ValueError for length or n below 1.
    Introduced in notebook 10.
    """
    if length < 1 or n < 1:
        raise ValueError(f"length is {length} and n is {n}: both must be at least 1")
    table, offset = model._fitted(), model._offset
    chance = np.stack([np.random.default_rng((seed, row)).random(length) for row in range(n)])
    codes = np.zeros((n, length), dtype=np.int64)
    context = np.zeros(n, dtype=np.int64)
    for t in range(length):
        k = min(t, model.order)
        p = table[offset[k] + 4 * context[:, None] + np.arange(4)]  # (n, 4)
        line = np.cumsum(p, axis=1, dtype=float)
        codes[:, t] = (line[:, :3] <= chance[:, t, None] * line[:, 3:]).sum(1)
        context = (4 * context + codes[:, t]) % 4 ** min(t + 1, model.order)
    return [np.frombuffer(BASES.encode(), np.uint8)[row].tobytes().decode() for row in codes]


# ---- All of it beside real and Markov DNA ----


def compare_dna(
    samples: Mapping[str, Sequence[str]],
    real: str,
    train: str,
    markov: Mapping[str, MarkovModel] | None = None,
    *,
    k: int = 6,
    copies: bool = True,
    resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Generated DNA beside real pieces and Markov DNA of the same number and length, each value with an interval.

    Args:
        samples: name -> sequences; all of one length, and as many under each name, at least 2.
        real: DNA that no model has been trained on. As many pieces of that length are cut from it at random places
            (the row "real"); the rest of it is what all rows are compared with. So the row "real" says how far apart
            two parts of real DNA are. What writes the genome's average everywhere can lie nearer than that.
        train: what the models were trained on: for the Markov model, and to find copies.
        markov: name -> fitted MarkovModel; None: order 6, fitted to both strands of `train`.
        k: of the k-mer spectrum. copies: whether to look for the longest match with `train` (some seconds).
        resamples, seed: of the bootstrap over sequences. Resampling raises a distance by itself, so that its spread is
            laid around the value. The interval says how far the value depends on which sequences were drawn.

    Returns a table with the columns value, low and high, and the index (statistic, group):

        G + C (%)
        6-mer distance (bits)                Jensen-Shannon divergence from the rest of `real`, both strands
        dinucleotide distance (x 1000)       Karlin's delta* from the rest of `real`
        period 3 (mbit)                      mutual information at distances 12, 15 ... 30 less that at those between
        codon distance (bits)                Jensen-Shannon divergence of codon usage in ORFs of 300 bases and more
        longest ORF (bases)                  mean over sequences; start to stop, or to the end of the sequence
        in ORFs of 300 bases and more (%)    of all bases, ORFs that do not overlap
        longest training match (bases)       mean over sequences

    Raises ValueError for sequences of different lengths or numbers, and for too short a `real`.
    Introduced in notebook 10.
    """
    groups = {name: [*sequences] for name, sequences in samples.items()}
    shapes = {tuple(len(s) for s in sequences) for sequences in groups.values()}
    if len(shapes) != 1 or len({*next(iter(shapes))}) != 1 or len(next(iter(shapes))) < 2:
        told = "; ".join(f"{name}: {len(s)} of {min(map(len, s), default=0)}" for name, s in groups.items())
        raise ValueError(
            f"sequences must all have one length, and each group as many, at least 2, for every statistic here depends "
            f"on how much DNA there is; given: {told or 'none'}"
        )
    n, length = len(next(iter(groups.values()))), len(next(iter(groups.values()))[0])
    slots = len(real) // length
    if slots < 2 * n:
        raise ValueError(
            f"real has {len(real):,} bases: {n} pieces of {length:,} and as much to compare with need "
            f"{2 * n * length:,}; give more, or compare fewer or shorter sequences"
        )
    chosen = {*np.random.default_rng(seed).choice(slots, n, replace=False).tolist()}
    pieces = [real[at * length : (at + 1) * length] for at in range(slots)]
    rest = [piece for at, piece in enumerate(pieces) if at not in chosen]
    models = {"Markov, order 6": MarkovModel(6).fit(train)} if markov is None else markov
    clash = {"real", *models} & {*groups}
    if clash:
        raise ValueError(f"{', '.join(sorted(clash))} names a row of the table already: rename that sample")
    everything = {"real": [pieces[at] for at in sorted(chosen)], **groups}
    everything |= {name: markov_dna(model, length, n, seed) for name, model in models.items()}

    index = TrainingIndex(train) if copies else None
    reference = _Counts(rest, k, None)
    statistics = _statistics(k, reference, index is not None)
    rng = np.random.default_rng(seed)
    draws = np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(resamples)])
    rows = []
    for group, sequences in everything.items():
        counts = _Counts(sequences, k, index)
        for statistic, of in statistics.items():
            value = of(counts, np.ones(n))
            spread = np.array([of(counts, weights) for weights in draws])
            low, high = np.nanquantile(spread, [0.025, 0.975]) - np.nanmean(spread)
            low, high = value + low, value + high
            rows.append((statistic, group, value, low if statistic in CROSS_ZERO else max(0.0, low), high))
    frame = pd.DataFrame(rows, columns=["statistic", "group", "value", "low", "high"])
    order = pd.MultiIndex.from_product([[*statistics], [*everything]], names=["statistic", "group"])
    return frame.set_index(["statistic", "group"]).loc[order]


class _Counts:
    """What is counted in each of n sequences, a row each, so that a bootstrap only adds rows up."""

    def __init__(self, sequences: Sequence[str], k: int, index: TrainingIndex | None) -> None:
        lags = range(LAGS[0], LAGS[1] + 1)
        orfs = [find_orfs(s, 60, open_ends=True, overlapping=False) for s in sequences]
        long = [[orf for orf in found if orf.length >= LONG] for found in orfs]
        self.kmers = np.stack([kmer_counts(s, k, both_strands=True) for s in sequences])
        self.twos = np.stack([kmer_counts(s, 2, both_strands=True) for s in sequences])
        self.ones = np.stack([kmer_counts(s, 1) for s in sequences])
        self.pairs = np.stack(
            [[_pairs(codes_of(s), lag) for lag in lags] for s in sequences]
        )  # (n, lags, 16)
        self.codons = np.stack([_codons(s, found) for s, found in zip(sequences, long, strict=True)])
        self.longest = np.array(
            [max((orf.length for orf in found), default=0) for found in orfs], dtype=float
        )
        self.coding = np.array([sum(orf.length for orf in found) for found in long], dtype=float)
        self.bases = np.array([len(s) for s in sequences], dtype=float)
        self.match = None if index is None else np.array([index.longest(s).length for s in sequences], float)


def _statistics(
    k: int, reference: _Counts, copies: bool
) -> dict[str, Callable[[_Counts, np.ndarray], float]]:
    """Name -> function of the counts and of how often each sequence was drawn."""

    def distance(name: str) -> Callable[[_Counts, np.ndarray], float]:
        whole = getattr(reference, name).sum(0)

        def of(counts: _Counts, weights: np.ndarray) -> float:
            mine = weights @ getattr(counts, name)
            return jensen_shannon(mine, whole) if mine.sum() and whole.sum() else float("nan")

        return of

    def mean(name: str) -> Callable[[_Counts, np.ndarray], float]:
        return lambda counts, weights: float(weights @ getattr(counts, name) / weights.sum())

    odds, lags = _odds(reference.twos.sum(0)), np.arange(LAGS[0], LAGS[1] + 1)

    def period(counts: _Counts, weights: np.ndarray) -> float:
        bits = np.array([_information(pairs) for pairs in np.tensordot(weights, counts.pairs, 1)])
        return 1000 * float(bits[lags % 3 == 0].mean() - bits[lags % 3 > 0].mean())

    found: dict[str, Any] = {
        "G + C (%)": lambda c, w: 100 * float((w @ c.ones)[1:3].sum() / (w @ c.ones).sum()),
        f"{k}-mer distance (bits)": distance("kmers"),
        "dinucleotide distance (x 1000)": lambda c, w: 1000 * float(np.abs(_odds(w @ c.twos) - odds).mean()),
        "period 3 (mbit)": period,
        "codon distance (bits)": distance("codons"),
        "longest ORF (bases)": mean("longest"),
        f"in ORFs of {LONG} bases and more (%)": lambda c, w: 100 * float(w @ c.coding / (w @ c.bases)),
    }
    return found | ({"longest training match (bases)": mean("match")} if copies else {})


# ---- Helpers ----


def _words(codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a k-mer of A, C, G, T starts, and its number: the letters as digits in base 4, the first one highest."""
    count = max(0, len(codes) - k + 1)
    words, whole = np.zeros(count, dtype=np.int32), np.ones(count, dtype=bool)
    for i in range(k):
        part = codes[i : i + count]
        words = (words << 2) + (part & 3)
        whole &= part < 4
    at = np.flatnonzero(whole)
    return at, words[at]
