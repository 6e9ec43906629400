"""Is the test set really unseen? Repeats shared by two stretches of DNA, and sequences in two splits.

Only exact sharing is measured here: k-mers in common, and whole sequences that are equal (or each other's
reverse complement). Sharing by homology (paralogs, diverged repeats) and the making of splits by gene,
chromosome or block are not in this module yet.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pandas as pd

from gfm_lab.sequence import reverse_complement

_CODE = np.full(256, 4, dtype=np.uint8)  # 4: not a base
for _i, _base in enumerate("ACGT"):
    _CODE[[ord(_base), ord(_base.lower())]] = _i


def shared_kmer_mask(
    test: str, train: str | Iterable[str], k: int = 31, *, both_strands: bool = True
) -> np.ndarray:
    """(L,) bool: which bases of `test` lie in a k-mer that also occurs in `train`.

    Parameters:
        test, train: DNA in either case; `train` may be several sequences. A k-mer with any letter but A, C,
            G, T is left out, on both sides.
        k: 1 to 31 (a k-mer is packed into 64 bits, two a base).
        both_strands: a k-mer counts as its reverse complement too.

    Raises:
        ValueError: `k` out of range.

    Memory: about 40 bytes per base of the longer side. Introduced in notebook 01.
    """
    if not 1 <= k <= 31:
        raise ValueError(f"k={k} must be from 1 to 31")
    trains = [train] if isinstance(train, str) else train
    seen = np.concatenate([np.empty(0, np.uint64), *(_packed_kmers(t, k, both_strands)[0] for t in trains)])
    seen.sort()
    kmers, starts = _packed_kmers(test, k, both_strands)
    if len(seen):
        nearest = np.searchsorted(seen, kmers)
        nearest[nearest == len(seen)] = 0
        starts = starts[seen[nearest] == kmers]
    else:
        starts = starts[:0]
    # A shared k-mer covers k bases: +1 where it starts, -1 where it has ended, then a running sum.
    steps = np.zeros(len(test) + 1, dtype=np.int32)
    steps[starts] += 1
    steps[starts + k] -= 1
    return np.cumsum(steps[:-1], dtype=np.int32) > 0


def shared_kmer_fraction(
    test: str, train: str | Iterable[str], k: int = 31, both_strands: bool = True
) -> float:
    """Share (0 to 1) of the bases of `test` that lie in a k-mer which also occurs in `train`.

    A model that has read `train` may have memorised them: report scores with and without. `shared_kmer_mask`
    gives the bases themselves and explains the parameters. Every base of `test` is in the denominator, N too.

    Raises:
        ValueError: `k` not in 1 to 31, or an empty `test`.
    """
    if not test:
        raise ValueError("`test` is empty, so no share of it can be given")
    return float(shared_kmer_mask(test, train, k, both_strands=both_strands).mean())


def _packed_kmers(seq: str, k: int, canonical: bool) -> tuple[np.ndarray, np.ndarray]:
    """The k-mers of `seq` as uint64 (two bits a base) and their starts, without those with a non-base."""
    codes = _CODE[np.frombuffer(seq.encode("ascii", "replace"), dtype=np.uint8)]  # (L,)
    count = len(codes) - k + 1
    if count <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    forward = np.zeros(count, np.uint64)
    for i in range(k):
        forward <<= np.uint64(2)
        forward |= codes[i : i + count] & 3
    if canonical:
        # The other strand reads the same bases backwards, complemented (3 - code): take the smaller number.
        reverse = np.zeros(count, np.uint64)
        for i in reversed(range(k)):
            reverse <<= np.uint64(2)
            reverse |= 3 - (codes[i : i + count] & 3)
        np.minimum(forward, reverse, out=forward)
    others = np.concatenate([[0], np.cumsum(codes == 4)])  # (L + 1,)
    starts = np.flatnonzero(others[k:] == others[:-k])
    return forward[starts], starts


def leaks(sequences: Sequence[str], splits: Sequence[Hashable]) -> pd.DataFrame:
    """Sequences that stand in more than one split, exactly or as reverse complement (case does not count).

    Returns one line per occurrence, no lines if there is no leak: `group` (0, 1, ...: equal sequences share a
    number), `row` (position in `sequences`), `split`, `strand` ("+" if it reads as the group's first
    occurrence, "-" if as its reverse complement) and `sequence` as given.

    Raises:
        ValueError: `sequences` and `splits` differ in length.
        SequenceError: a character that is not DNA.
    """
    if len(sequences) != len(splits):
        raise ValueError(
            f"{len(sequences):,} sequences but {len(splits):,} splits; give one split a sequence"
        )
    groups: dict[str, list[int]] = {}
    for row, sequence in enumerate(sequences):
        upper = sequence.upper()
        groups.setdefault(min(upper, reverse_complement(upper)), []).append(row)
    splits = list(splits)
    lines = []
    for rows in groups.values():
        if len({splits[row] for row in rows}) > 1:
            first, number = sequences[rows[0]].upper(), lines[-1][0] + 1 if lines else 0
            for row in rows:
                strand = "+" if sequences[row].upper() == first else "-"
                lines.append((number, row, splits[row], strand, sequences[row]))
    return pd.DataFrame(lines, columns=["group", "row", "split", "strand", "sequence"])


def duplicates(sequences: Sequence[str]) -> pd.DataFrame:
    """Sequences that occur more than once, letter for letter (case does not count, nor the other strand).

    Returns one line per occurrence, the first included: `group`, `row`, `sequence`; no lines if all differ.
    """
    groups: dict[str, list[int]] = {}
    for row, sequence in enumerate(sequences):
        groups.setdefault(sequence.upper(), []).append(row)
    repeated = [rows for rows in groups.values() if len(rows) > 1]
    lines = [(number, row, sequences[row]) for number, rows in enumerate(repeated) for row in rows]
    return pd.DataFrame(lines, columns=["group", "row", "sequence"])
