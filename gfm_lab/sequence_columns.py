"""Sequences as columns of numbers for a linear model: words, words by place, bases by place, the match to a motif.

    gc_share          share of G and C
    kmer_counts       what stands in a sequence, not where
    position_kmers    the same in a few equal stretches
    one_hot_places    which base stands at each place
    position_pairs    and which two bases at each two places
    best_match        how well a motif fits at its best place; find_motif looks for one that tells two sets apart

Rows are sequences. Upper and lower case are the same. Introduced in notebook p3.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from gfm_lab.baselines import codes_of

__all__ = [
    "best_match",
    "find_motif",
    "gc_share",
    "kmer_counts",
    "one_hot_places",
    "position_kmers",
    "position_pairs",
]

SEED = 6  # bases of the word that a motif begins with


def kmer_counts(sequences: Sequence[str], k: int) -> np.ndarray:
    """(N, 4**k) how often each k-mer occurs, in alphabetical order; one with any letter but A, C, G, T is left out."""
    code = np.full(256, -1, np.int8)
    code[np.frombuffer(b"ACGTacgt", np.uint8)] = [0, 1, 2, 3] * 2
    counts = np.zeros((len(sequences), 4**k), np.float32)
    for first in range(0, len(sequences), 1024):
        part = sequences[first : first + 1024]
        letters = code[np.frombuffer("N".join([*part, ""]).encode("ascii"), np.uint8)]
        row = np.repeat(np.arange(len(part)), [len(sequence) + 1 for sequence in part])
        number, known = np.zeros(len(letters), np.int64), np.ones(len(letters), bool)
        for back in range(k):  # the letter `back` places before the k-mer's last one
            shifted = np.concatenate([np.full(min(back, len(letters)), -1, np.int8), letters])[: len(letters)]
            number += shifted.astype(np.int64) * 4**back
            known &= shifted >= 0
        cells = row[known] * 4**k + number[known]
        counts[first : first + len(part)] = np.bincount(cells, minlength=len(part) * 4**k).reshape(
            len(part), -1
        )
    return counts


def one_hot_places(sequences: Sequence[str]) -> np.ndarray:
    """(N, 4 L) which base stands at each place. Raises ValueError unless all sequences have one length."""
    length = one_length(sequences)
    letters = np.frombuffer("".join(sequences).upper().encode("ascii"), np.uint8).reshape(-1, length)
    return (
        (letters[:, :, None] == np.frombuffer(b"ACGT", np.uint8))
        .reshape(len(sequences), -1)
        .astype(np.float32)
    )


def position_kmers(sequences: Sequence[str], k: int, bins: int) -> np.ndarray:
    """(N, bins * 4**k) `kmer_counts` in each of `bins` equal stretches. Raises ValueError unless of one length."""
    edges = np.linspace(0, one_length(sequences), bins + 1).astype(int)
    stretches = itertools.pairwise(edges)
    return np.hstack([kmer_counts([sequence[a:b] for sequence in sequences], k) for a, b in stretches])


def position_pairs(sequences: Sequence[str], reach: int) -> np.ndarray:
    """(N, 4 L + pairs) `one_hot_places`, and which two bases stand at each two places up to `reach` apart."""
    single = one_hot_places(sequences)
    places = single.reshape(len(single), -1, 4)
    pairs = [single]
    for apart in range(1, min(reach, places.shape[1] - 1) + 1):
        both = places[:, :-apart, :, None] * places[:, apart:, None, :]  # (N, L - apart, 4, 4)
        pairs.append(both.reshape(len(single), -1))
    return np.hstack(pairs)


def one_length(sequences: Sequence[str]) -> int:
    """The length that all sequences have. Raises ValueError if they differ."""
    lengths = {len(sequence) for sequence in sequences}
    if len(lengths) != 1:
        raise ValueError(
            f"the sequences differ in length ({min(lengths, default=0)} to {max(lengths, default=0)} bases): a place "
            "means the same in all only if they do not"
        )
    return lengths.pop()


def gc_share(sequences: Sequence[str]) -> np.ndarray:
    """(N, 1) share of G and C, of all letters."""
    return np.array(
        [[(s.count("G") + s.count("C") + s.count("g") + s.count("c")) / max(len(s), 1)] for s in sequences]
    )


def find_motif(
    sequences: Sequence[str], positive: np.ndarray, width: int, both: bool, rounds: int = 5
) -> np.ndarray:
    """(width, 4) log2 odds of the motif that tells `positive` sequences from the others.

    Begins with the 6-mer whose presence differs most (two-proportion z score, enriched), widened by bases of no
    preference; then, a few times: the best match in each positive sequence, the better half of them made the new motif.
    """
    present = kmer_counts(sequences, SEED) > 0
    if both:
        words = np.arange(4**SEED)
        reverse = sum((3 - words // 4**i % 4) * 4 ** (SEED - 1 - i) for i in range(SEED))
        present |= present[:, reverse]
    share = (present.sum(0) + 0.5) / (len(present) + 1)
    apart = present[positive].mean(0) - present[~positive].mean(0)
    word = int(np.argmax(apart / np.sqrt(share * (1 - share))))
    p = np.full((width, 4), 0.25)
    left = (width - SEED) // 2
    for i in range(SEED):
        p[left + i] = 0.1
        p[left + i, word // 4 ** (SEED - 1 - i) % 4] = 0.7
    chosen = [sequence for sequence, mine in zip(sequences, positive, strict=True) if mine]
    background = (
        kmer_counts([s for s, mine in zip(sequences, positive, strict=True) if not mine], 1).sum(0) + 1
    )
    background /= background.sum()
    for _ in range(rounds):
        score, matches = best_match(chosen, np.log2(p / background), both)
        matches = matches[score >= np.median(score)]
        counts = (matches[:, :, None] == np.arange(4)).sum(0) + 0.5
        p = counts / counts.sum(1, keepdims=True)
    return np.log2(p / background)


def best_match(sequences: Sequence[str], pwm: np.ndarray, both: bool) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the best score of `pwm` (width, 4) in each sequence, and (N, width) the bases there, as it reads them.

    both: on either strand. Any letter but A, C, G, T counts like the worst base of its place; its code is 4. So do
    the bases that a sequence shorter than the motif lacks.
    """
    width, scores, matches = len(pwm), [], []
    for first in range(0, len(sequences), 2048):
        part = sequences[first : first + 2048]
        length = max(width, max(map(len, part)))
        codes = np.stack([codes_of(s + "N" * (length - len(s))) for s in part])  # (N, L), 4: no base
        rows, last = np.arange(len(part)), np.array([max(len(s) - width, 0) for s in part])
        beyond = np.arange(length - width + 1) > last[:, None]  # windows that reach into the padding
        best, found = np.full(len(part), -np.inf, np.float32), np.zeros((len(part), width), np.uint8)
        for matrix, flip in ((pwm, False), (pwm[::-1, ::-1], True))[: 1 + both]:
            table = np.column_stack([matrix, matrix.min(1)]).astype(np.float32)
            total = np.zeros((len(part), length - width + 1), np.float32)
            for i in range(width):
                total += table[i][codes[:, i : i + total.shape[1]]]
            total[beyond] = -np.inf
            at = total.argmax(1)
            here = codes[rows[:, None], at[:, None] + np.arange(width)]
            here = np.where(here < 4, 3 - here, here)[:, ::-1] if flip else here
            better = total[rows, at] >= best
            best[better], found[better] = total[rows, at][better], here[better]
        scores.append(best)
        matches.append(found)
    return np.concatenate(scores), np.concatenate(matches)
