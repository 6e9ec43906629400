"""Splits that hold something out, and the leak finder: is the test set really unseen?

    loci                intervals that touch, numbered: what belongs together
    split_by            random, region, group, chromosome, block, homology: what a test row may share with training
    leaks, duplicates   sequences that are equal, or each other's reverse complement
    near_leaks          sequences of two splits that differ by a few mutations, or share a stretch
    shared_kmer_mask    bases of a test region that stand in the training region too

What to hold out follows from the question: new genes of a species (region, group), new chromosomes, new families
(homology), mutations never seen together (block). A random split asks for none of them. Introduced in notebook p3.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from gfm_lab.sequence import reverse_complement

FRACTIONS = {"train": 0.8, "valid": 0.1, "test": 0.1}
KINDS = ("random", "region", "group", "chromosome", "block", "homology")

_CODE = np.full(256, 4, dtype=np.uint8)  # 4: not a base
for _i, _base in enumerate("ACGT"):
    _CODE[[ord(_base), ord(_base.lower())]] = _i


# ---- Making a split ----


def split_by(
    kind: str,
    items: Sequence,
    *,
    fractions: Mapping[str, float] | int = FRACTIONS,
    seed: int = 0,
    labels: Sequence | None = None,
    held: Mapping[str, Iterable] | None = None,
    places: Sequence[int] | None = None,
    gap: int = 0,
    k: int = 16,
    share: float = 0.2,
) -> np.ndarray:
    """(N,) the name of the split of every item; `kind` says what no two splits may share.

    kind          items                     no two splits share
    "random"      anything                  the same item (equal DNA, on either strand, stays together)
    "group"       a gene, locus, family     a group
    "chromosome"  chromosome names          a chromosome; `held` = {"test": ["chrX"], ...} chooses them by name
    "region"      positions, or (N, 2)      a stretch: the coordinate is cut in order, train first; of intervals
                  start and stop            (start, stop) those within `gap` of a border are left out ("out")
    "block"       sequences of one length   the bases at `places`; `held` = {"test": ["GG"], ...} chooses them
    "homology"    sequences                 relatives: chains of pairs in which at least `share` of the k-mers of
                  the one (the shorter in k-mers) stand in the other, on either strand (`near_pairs`)

    Parameters:
        fractions: share of the items a split should have, in the order given ("region" cuts in that order); they add
            up to 1. A number n: n equal folds, named "0" to "n-1". Whole groups are dealt in random order to the
            smaller splits first, so a split may miss its share by part of a group.
        seed: of that order; equal seeds give equal splits.
        labels: (N,) classes; every split has to hold every class.
        held: names that go to a split, for "chromosome" and "block"; all others go to the first of `fractions`.
        places: positions in the sequences, from 0, for "block".
        gap, k, share: see above.

    Raises:
        ValueError: unknown kind; fewer items, or groups, than splits; a group that no split can hold; a split that
            stays empty; a class absent from a split; unknown names in `held`. The message names what is wrong.

    A pair of bases that is held out asks an MPRA model to extrapolate; a random split of a library that nearly fills
    its space asks it to interpolate. Introduced in notebook p3.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of split {kind!r}; choose one of {', '.join(KINDS)}")
    fractions = _checked_fractions(fractions, len(items))
    if kind == "region":
        parts = _by_region(np.asarray(items), fractions, gap)
    elif kind in ("chromosome", "block"):
        groups = _at_places(items, places) if kind == "block" else np.asarray(items, dtype=object)
        parts = _by_name(groups, held, fractions) if held else _by_group(groups, fractions, seed)
    elif kind == "homology":
        parts = _by_group(homology_groups(items, k=k, share=share), fractions, seed)
    elif kind == "group":
        parts = _by_group(np.asarray(items, dtype=object), fractions, seed)
    else:
        parts = _by_group(_equal_dna(items), fractions, seed)
    _check_parts(parts, fractions, labels)
    return parts


def homology_groups(sequences: Sequence[str], *, k: int = 16, share: float = 0.2) -> np.ndarray:
    """(N,) family numbers from 0: the connected components of the pairs that `near_pairs` finds.

    Relatedness is carried along chains: two members need share nothing if a third links them. Low `share` joins
    remote relatives and, through repeats, whole data sets; look at the largest family before you split.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = near_pairs(sequences, k=k, share=share)
    links = coo_array((np.ones(len(pairs)), (pairs["a"], pairs["b"])), shape=(len(sequences),) * 2)
    return connected_components(links, directed=False)[1]


def loci(chrom: Sequence[str], start: Sequence[int], stop: Sequence[int], *, gap: int = 0) -> np.ndarray:
    """(N,) locus numbers from 0: intervals of a chromosome that overlap, or lie within `gap` bases, chained.

    start, stop: 0-based, half-open. Rows of one locus are no independent evidence: give them to
    `split_by("group", ...)`
    and to the bootstrap as `groups`. Raises ValueError for lengths that differ or a stop before its start.

    Introduced in notebook 11.
    """
    start, stop = np.asarray(start, dtype=np.int64), np.asarray(stop, dtype=np.int64)
    if not len(chrom) == len(start) == len(stop):
        raise ValueError(f"{len(chrom):,} chromosomes, {len(start):,} starts and {len(stop):,} stops")
    if (stop < start).any():
        row = int((stop < start).argmax())
        raise ValueError(f"row {row}: stop {stop[row]:,} lies before start {start[row]:,}")
    names = pd.factorize(np.array([*chrom, None], dtype=object)[:-1])[0]
    found, number, reach, last = np.zeros(len(start), dtype=np.int64), -1, 0, -1
    for row in np.lexsort((stop, start, names)):
        if names[row] != last or start[row] > reach + gap:
            number, last, reach = number + 1, names[row], stop[row]
        reach = max(reach, stop[row])
        found[row] = number
    return found


def _checked_fractions(fractions: Mapping[str, float] | int, count: int) -> dict[str, float]:
    if isinstance(fractions, int):
        if fractions < 2:
            raise ValueError(f"{fractions} folds: at least 2 are needed")
        fractions = {str(i): 1 / fractions for i in range(fractions)}
    fractions = dict(fractions)
    if len(fractions) < 2 or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ValueError(f"fractions must be two or more positive shares that add up to 1, not {fractions}")
    if count < len(fractions):
        raise ValueError(f"{count} items cannot fill {len(fractions)} splits ({', '.join(fractions)})")
    return fractions


def _by_group(groups: np.ndarray, fractions: dict[str, float], seed: int) -> np.ndarray:
    """Deal whole groups, in random order, to the smallest split that still has room for them."""
    codes, names = pd.factorize(groups)
    sizes = np.bincount(codes)
    if len(sizes) < len(fractions):
        raise ValueError(
            f"{len(sizes)} groups cannot fill {len(fractions)} splits ({', '.join(fractions)}): "
            "use fewer splits or finer groups"
        )
    room = {name: fraction * len(groups) for name, fraction in fractions.items()}
    roomy = max(room, key=room.get)
    if sizes.max() > room[roomy] + 0.5:
        raise ValueError(
            f"group {names[sizes.argmax()]!r} holds {sizes.max():,} of {len(groups):,} items, more than the largest "
            f"split may have ({roomy}: {fractions[roomy]:.0%}); split it, or give {roomy} a larger share"
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[
        np.argsort(sizes[order] <= min(room.values()), kind="stable")
    ]  # what fits few splits comes first
    of_group = np.empty(len(sizes), dtype=object)
    for group in order:
        # Smallest split first; what fits nowhere goes where most room is left.
        fits = [name for name in sorted(room, key=fractions.get) if sizes[group] <= room[name] + 0.5]
        of_group[group] = fits[0] if fits else max(room, key=room.get)
        room[of_group[group]] -= sizes[group]
    return of_group[codes].astype(str)


def _by_name(groups: np.ndarray, held: Mapping[str, Iterable], fractions: dict[str, float]) -> np.ndarray:
    """Groups by name: those in `held` to its splits, the others to the first split."""
    first, known, seen = next(iter(fractions)), set(groups), {}
    parts = np.full(len(groups), first, dtype=object)
    for name, members in held.items():
        if name not in fractions:
            raise ValueError(f"held names the split {name!r}; fractions has {', '.join(fractions)}")
        for member in [members] if isinstance(members, str) else members:
            if member not in known:
                raise ValueError(f"{member!r} is held out for {name} but does not occur")
            if seen.setdefault(member, name) != name:
                raise ValueError(f"{member!r} is held out for {seen[member]} and for {name}")
            parts[groups == member] = name
    return parts.astype(str)


def _by_region(places: np.ndarray, fractions: dict[str, float], gap: int) -> np.ndarray:
    """Cut the coordinate at the quantiles of the starts; an interval at a border belongs to neither side."""
    start, stop = (places[:, 0], places[:, 1]) if places.ndim == 2 else (places, places + 1)
    shares = np.cumsum([*fractions.values()])[:-1]
    ordered = np.sort(start)
    borders = ordered[np.minimum(np.ceil(shares * len(start)).astype(int), len(start) - 1)]
    names = np.array([*fractions], dtype=object)
    parts = names[np.searchsorted(borders, start, side="right")]
    for border in borders:
        parts[(start < border) & (stop + gap > border)] = "out"
    return parts.astype(str)


def _at_places(sequences: Sequence[str], places: Sequence[int] | None) -> np.ndarray:
    """(N,) the bases of each sequence at `places`, joined."""
    if not places:
        raise ValueError("a block split needs places=[...], the positions whose bases are held out together")
    shortest = min(map(len, sequences))
    if not 0 <= min(places) <= max(places) < shortest:
        raise ValueError(f"places {list(places)} do not all lie in 0 to {shortest - 1}")
    return np.array(["".join(s[i] for i in places).upper() for s in sequences], dtype=object)


def _equal_dna(items: Sequence) -> np.ndarray:
    """One number for equal items; DNA counts as equal to its reverse complement."""
    keys = []
    for item in items:
        dna = isinstance(item, str) and set(item.upper()) <= set("ACGTN")
        keys.append(min(item.upper(), reverse_complement(item.upper())) if dna else item)
    return pd.factorize(np.array([*keys, None], dtype=object)[:-1])[0]


def _check_parts(parts: np.ndarray, fractions: dict[str, float], labels: Sequence | None) -> None:
    empty = [name for name in fractions if not (parts == name).any()]
    if empty:
        raise ValueError(
            f"nothing is left for {', '.join(empty)}: use fewer splits, finer groups or other shares"
        )
    if labels is None:
        return
    if len(labels) != len(parts):
        raise ValueError(f"{len(labels):,} labels but {len(parts):,} items")
    labels = np.asarray(labels)
    for name in fractions:
        absent = sorted(set(labels.tolist()) - set(labels[parts == name].tolist()), key=str)
        if absent:
            raise ValueError(
                f"class {', '.join(map(str, absent))} does not occur in {name}: no score can be computed there; "
                "take another seed or other shares, or hold out other groups"
            )


# ---- Finding what two splits share ----


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


def near_leaks(
    sequences: Sequence[str],
    splits: Sequence[Hashable],
    *,
    identity: float = 0.9,
    aligned: bool = False,
    k: int = 16,
) -> pd.DataFrame:
    """Rows with a near duplicate in another split: a copy with a few mutations, or a stretch in common.

    For every row and every other split the nearest row there, if it reaches `identity` (0 to 1):

    aligned=False  identity is estimated without an alignment: c^(1/k), where c is the share of the k-mers of the one
                   (the one with fewer) that stand in the other, on either strand. Mutations spread evenly over two
                   sequences of identity p leave about p^k of the k-mers whole (Ondov et al. 2016,
                   doi:10.1186/s13059-016-0997-x). Windows that overlap by half have c = 0.5, hence 0.96: they are
                   reported as well, and `containment` tells how much is shared.
    aligned=True   for libraries of variants, all of one length: the share of equal bases, place by place, on the
                   strand given.

    Returns columns `row`, `split`, `match` (a row), `match_split`, `identity`, and `containment` and `strand` ("+" or
    "-"; for aligned=True NaN and "+"). Exact copies are in it, with identity 1.

    Raises:
        ValueError: lengths that differ where aligned=True; `sequences` and `splits` of different number.

    50,000 sequences of 300 bases take about a minute on one core. Introduced in notebook p3.
    """
    if len(sequences) != len(splits):
        raise ValueError(
            f"{len(sequences):,} sequences but {len(splits):,} splits; give one split a sequence"
        )
    codes, names = pd.factorize(np.array([*splits, None], dtype=object)[:-1])
    if aligned:
        found = _aligned_pairs(sequences, codes, identity)
    else:
        found = near_pairs(sequences, k=k, share=identity**k, splits=codes)
        found["identity"] = found["containment"] ** (1 / k)
        found = pd.concat([found, found.rename(columns={"a": "b", "b": "a"})])
    # The nearest in each other split: best first, then the first of each (row, split of the match).
    found = found.assign(split=codes[found["a"]], match_split=codes[found["b"]])
    found = found.sort_values(["a", "match_split", "identity", "b"], ascending=[True, True, False, True])
    found = found.drop_duplicates(["a", "match_split"])
    found = found.rename(columns={"a": "row", "b": "match"})
    for column in ("split", "match_split"):
        found[column] = [names[code] for code in found[column]]
    columns = ["row", "split", "match", "match_split", "identity", "containment", "strand"]
    return found[columns].reset_index(drop=True)


def near_pairs(
    sequences: Sequence[str],
    *,
    k: int = 16,
    share: float = 0.2,
    splits: np.ndarray | None = None,
    most: int = 30,
) -> pd.DataFrame:
    """Pairs of sequences that share at least `share` of the k-mers of the one with fewer, on either strand.

    splits: (N,) numbers; only pairs of different splits are looked for. most: a k-mer of more than `most` sequences
    (a repeat) proposes only some of their pairs, drawn at random, so that the work stays in bounds: near copies
    have many k-mers in common and are proposed by others, but of a large family a few links may be missing.

    Returns columns `a` < `b` (rows), `containment` (the share, 0 to 1) and `strand`; the share is exact for the pairs
    proposed. A k-mer with a letter but A, C, G, T is left out; a sequence shorter than k has none.

    Raises:
        ValueError: `k` not in 1 to 31, `share` not in 0 to 1.
    """
    if not 1 <= k <= 31 or not 0 < share <= 1:
        raise ValueError(f"k={k} must be from 1 to 31 and share={share} above 0 and at most 1")
    kmers = [np.unique(_packed_kmers(s, k, True)[0]) for s in sequences]
    sizes = np.array([len(x) for x in kmers], dtype=np.int64)
    row = np.repeat(np.arange(len(kmers)), sizes)
    kmer = np.concatenate([np.empty(0, np.uint64), *kmers])
    # One k-mer in four, by a hash of itself, is enough to propose a pair that shares many.
    sampled = (kmer * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(62) == 0
    few = np.bincount(row[sampled], minlength=len(kmers))[row] < 20
    kept = sampled | few | (sizes[row] < 80)
    row, kmer = row[kept], kmer[kept]
    shuffled = np.random.default_rng(0).permutation(
        len(kmers)
    )  # neighbours among equal k-mers are a random draw
    order = np.lexsort((shuffled[row], kmer))
    row, kmer = row[order], kmer[order]
    proposed = []
    for step in range(1, most + 1):
        same = kmer[step:] == kmer[:-step]
        if not same.any():
            break
        a, b = row[:-step][same], row[step:][same]
        if splits is not None:
            a, b = a[splits[a] != splits[b]], b[splits[a] != splits[b]]
        proposed.append(np.unique(np.minimum(a, b) * len(kmers) + np.maximum(a, b)))
    pairs = np.unique(np.concatenate([np.empty(0, np.int64), *proposed]))
    found = []
    for a, b in zip(pairs // max(len(kmers), 1), pairs % max(len(kmers), 1), strict=True):
        both = np.intersect1d(kmers[a], kmers[b], assume_unique=True)
        containment = len(both) / min(sizes[a], sizes[b])
        if containment >= share:
            same = np.isin(_packed_kmers(sequences[a], k, False)[0], _packed_kmers(sequences[b], k, False)[0])
            found.append((a, b, containment, "+" if 2 * same.sum() >= len(both) else "-"))
    return pd.DataFrame(found, columns=["a", "b", "containment", "strand"]).astype({"a": int, "b": int})


def _aligned_pairs(sequences: Sequence[str], splits: np.ndarray, identity: float) -> pd.DataFrame:
    """For each row the row of every other split with most bases equal to it, if their share is >= `identity`."""
    lengths = {len(s) for s in sequences}
    if len(lengths) != 1:
        raise ValueError(
            f"aligned=True compares place by place, but the lengths run from {min(lengths)} to {max(lengths)}"
        )
    (length,) = lengths
    letters = np.frombuffer("".join(sequences).encode("ascii"), dtype=np.uint8).reshape(
        len(sequences), length
    )
    codes = _CODE[letters]  # (N, L)
    hot = (codes[:, :, None] == np.arange(4)).reshape(len(codes), -1).astype(np.float32)  # (N, 4 L)
    found = []
    parts = [np.flatnonzero(splits == part) for part in np.unique(splits)]
    for i, here in enumerate(parts):
        for there in parts[i + 1 :]:
            best = np.full(len(there), -1.0, dtype=np.float32)
            match = np.zeros(len(there), dtype=np.int64)
            for rows in np.array_split(here, max(1, len(here) // 512)):
                equal = hot[rows] @ hot[there].T  # (rows, there): places where both have the same base
                found.append((rows, there[equal.argmax(axis=1)], equal.max(axis=1)))
                better = equal.max(axis=0) > best
                match[better] = rows[equal.argmax(axis=0)][better]
                best[better] = equal.max(axis=0)[better]
            found.append((there, match, best))
    a, b, equal = (np.concatenate(column) for column in zip(*found, strict=True)) if found else ([], [], [])
    frame = pd.DataFrame({"a": a, "b": b, "identity": np.asarray(equal, dtype=float) / length})
    frame = frame[frame["identity"] >= identity - 1e-9]
    return frame.assign(containment=np.nan, strand="+")
