"""What a language model of DNA has to beat: Markov models, which count words.

    MarkovModel       P(base | the k bases before it): the baseline of a causal model. By Bayes' rule the same counts
                      give the exact P(base | all the others), the baseline of a masked model.
    TwoSidedBackoff   P(base | k bases on either side), counted directly: a second baseline of a masked model.

Long words are rare, so each order is drawn towards the one below it (interpolated back-off, the hierarchical
Dirichlet model of MacKay and Peto 1995, doi:10.1017/S1351324900000218):

    P_k(x | context) = (count(context x) + strength * P_k-1(x | shorter context)) / (count(context) + strength)

with P_-1 = 1/4. `strength` is the weight of the shorter context, in pseudo-counts.

The two protocols for masked bases, whose numbers must never stand in one column, nor beside causal bits:

    (a) "single"   one base masked at a time, all others visible
    (b) "joint"    many bases masked at once (15 %, say); each is predicted from the visible ones alone

Sequences are text of either case. N and the other IUPAC codes are not scored, and no context reaches across them: after
an N a sequence starts anew. Bases near a start are scored with the shorter context that there is.
Introduced in notebook 09; causal bits in notebook 10.

Baselines of labelled sequences (`baseline_table`) stand in `gfm_lab.sequence_baselines`; import them from here too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gfm_lab.sequence import IUPAC, SequenceError

__all__ = ["MarkovModel", "TwoSidedBackoff", "codes_of"]

# Baselines of labelled sequences stand in a module of their own, loaded on first use.
_LABELLED = frozenset(("Baseline", "baseline_table", "fit_baseline", "fit_baselines", "score_table"))

BASES = "ACGT"
STRENGTHS = (1.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)  # what tuning tries
MASKED_STRENGTHS = (
    16.0,
    64.0,
    128.0,
    256.0,
    512.0,
)  # the same for masked bases, where each trial takes longer
DEFAULT_STRENGTH = 16.0  # where there is nothing to tune on
SMALLEST = 1e-30  # no probability is below it, so that single precision never gives infinite bits
GROUP = 2_000_000  # edges of the lattice of masked bases that are worked on together: about 100 MB
LARGEST = 50_000_000  # edges of one knot of masked bases: beyond this, memory runs out

_CODE = np.full(256, 255, dtype=np.uint8)  # A, C, G, T -> 0..3; another IUPAC code -> 4; no nucleotide -> 255
for _letter in IUPAC:
    _CODE[[ord(_letter), ord(_letter.lower())]] = BASES.find(_letter) if _letter in BASES else 4


def __getattr__(name: str) -> Any:
    if name in _LABELLED:
        from gfm_lab import sequence_baselines

        return getattr(sequence_baselines, name)
    raise AttributeError(f"module 'gfm_lab.baselines' has no attribute {name!r}")


class MarkovModel:
    """The next base given the `order` bases before it; order 0 knows base frequencies alone.

    order: 0 to 12. strength: pseudo-counts of back-off; None: the best on `valid` (see `fit`), or 16 without it.
    Memory: 22 * 4**order bytes (0.36 GB at order 12), three to four times that while fitting.

    >>> model = MarkovModel(order=2).fit("ACGACGACGACG", both_strands=False)
    >>> model.bits_per_base("ACGACG") < 2
    True

    Raises ValueError for an order or a strength out of bounds. Introduced in notebook 09.
    """

    def __init__(self, order: int, strength: float | None = None) -> None:
        self.order = _whole("order", order, 12)
        self.strength = self._given = _checked_strength(strength)
        # The tables of order 0, 1, ... `order` lie one after the other; that of order k holds 4**(k + 1) words.
        self._offset = np.array([(4 ** (k + 1) - 4) // 3 for k in range(order + 2)])
        self._p: np.ndarray | None = None  # P of each word's last base given the others

    def __repr__(self) -> str:
        return f"MarkovModel(order={self.order}, strength={self.strength})"

    # ---- Fitting ----

    def fit(
        self,
        sequences: str | Iterable[str],
        valid: str | Iterable[str] | None = None,
        both_strands: bool = True,
        protocol: str = "causal",
        masked: np.ndarray | None = None,
    ) -> MarkovModel:
        """Count words in `sequences` (one text or several), and in their reverse complements if `both_strands`.

        `valid` serves to choose the strength; it is never counted. protocol: what the strength is chosen for: "causal"
        bits per base, or bits per masked base, "single" (a) or "joint" (b) with the mask `masked` of `valid`. Masked
        bases want a larger strength, and at high orders it matters. Returns the model itself. Raises ValueError if
        there is no base to count and for an unknown protocol, SequenceError for a letter that is no nucleotide.
        """
        if protocol not in ("causal", "single", "joint") or (protocol == "joint") != (masked is not None):
            raise ValueError(
                f"protocol is {protocol!r}: choose 'causal', 'single', or 'joint' with the mask of `valid` as masked"
            )
        codes = codes_of(sequences)
        _something(codes, "fit on")
        counts = self._count(codes, both_strands)
        self.strength = DEFAULT_STRENGTH if self._given is None else self._given
        if self._given is None and valid is not None:
            held_out = codes_of(valid)
            _something(held_out, "tune on")
            if protocol == "causal":
                self.strength = self._tune(counts, held_out)
            else:
                hidden = None if masked is None else _checked_mask(masked, held_out)
                self.strength = min(MASKED_STRENGTHS, key=lambda s: self._tried(counts, s, held_out, hidden))
        self._smooth(counts, self.strength)
        return self

    def _smooth(self, counts: np.ndarray, strength: float) -> None:
        """Counts of all orders -> probabilities of all orders."""
        self._p = np.empty(self._offset[-1], dtype=np.float32) if self._p is None else self._p
        below = np.full((1, 4), 0.25, dtype=np.float32)
        for k in range(self.order + 1):
            part = slice(self._offset[k], self._offset[k + 1])
            seen, p = counts[part].reshape(-1, 4), self._p[part].reshape(-1, 4)  # views: (4**k, 4)
            p[:] = seen
            # A context's number without its farthest base repeats 4 times from front to back.
            p.reshape(4 if k else 1, -1, 4)[:] += np.float32(strength) * below
            total = sum(seen[:, base].astype(np.float32) for base in range(4))  # faster than summing rows
            p /= (total + np.float32(strength))[:, None]
            np.maximum(p, SMALLEST, out=p)
            below = p

    def _tried(
        self, counts: np.ndarray, strength: float, codes: np.ndarray, masked: np.ndarray | None
    ) -> float:
        """Bits per masked base with this strength."""
        self._smooth(counts, strength)
        p = self._one_at_a_time(codes) if masked is None else self._together(codes, masked)
        return _mean(-np.log2(p[np.arange(len(p)), np.minimum(codes, 3)]))

    def _count(self, codes: np.ndarray, both_strands: bool) -> np.ndarray:
        """How often each word of 1 to order + 1 letters occurs: (all tables,) uint32."""
        counts = np.zeros(self._offset[-1], dtype=np.uint32)
        for strand in (codes, _reverse(codes)) if both_strands else (codes,):
            words, run = self._words(strand)
            found, often = np.unique((words + self._offset[run])[strand < 4], return_counts=True)
            counts[found] += often.astype(np.uint32)
        for k in range(self.order, 0, -1):  # every word contains a shorter one: leave its first letter out
            table = counts[self._offset[k] : self._offset[k + 1]].reshape(4, -1)
            counts[self._offset[k - 1] : self._offset[k]] += table.sum(axis=0, dtype=np.uint32)
        return counts

    def _words(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each base the number of the word that ends at it, and how many bases of context that word has."""
        run = np.minimum(_run_before(codes > 3), self.order)
        words = np.zeros(len(codes), dtype=np.int32)
        for back in range(min(self.order + 1, len(codes))):
            words[back:] += (codes[: len(codes) - back] & 3).astype(np.int32) << 2 * back
        words &= (1 << 2 * (run + 1)) - 1
        return words, run

    def _tune(self, counts: np.ndarray, codes: np.ndarray) -> float:
        """The strength with the fewest causal bits; only the counts that `codes` needs are looked up, once."""
        words, run = self._words(codes)
        levels = []
        for k in range(self.order + 1):
            rows = np.flatnonzero((codes < 4) & (run >= k))
            word = (words[rows] & ((1 << 2 * (k + 1)) - 1)) + self._offset[k]
            total = sum(counts[(word & ~3) + base].astype(float) for base in range(4))
            levels.append((rows, counts[word].astype(float), total))

        def bits(strength: float) -> float:
            p = np.full(len(codes), 0.25)
            for rows, seen, total in levels:
                p[rows] = (seen + strength * p[rows]) / (total + strength)
            return -np.log2(p[codes < 4]).mean()

        return min(STRENGTHS, key=bits)

    # ---- Scoring ----

    def probabilities(self, sequence: str) -> np.ndarray:
        """(L, 4) P(A), P(C), P(G), P(T) at each base given the bases before it; nan where there is no base."""
        codes = codes_of(sequence)
        words, run = self._words(codes)
        first = (words & ~3) + self._offset[run]
        p = self._fitted()[first[:, None] + np.arange(4)].astype(float)
        p[codes > 3] = np.nan
        return p

    def bits(self, sequence: str) -> np.ndarray:
        """(L,) -log2 P(base | the bases before it); nan where there is no A, C, G or T."""
        return _bits_of(self.probabilities(sequence), sequence)

    def bits_per_base(self, sequence: str) -> float:
        """Mean of `bits`, from left to right. Raises ValueError if there is no base."""
        return _mean(self.bits(sequence))

    def masked_probabilities(self, sequence: str, masked: np.ndarray | None = None) -> np.ndarray:
        """(L, 4) P(A), P(C), P(G), P(T) at each masked base given all visible bases; nan elsewhere. Exact.

        masked: None masks one base at a time, protocol (a); a boolean array (L,) masks these together, protocol (b).
        """
        codes = codes_of(sequence)
        if masked is None:
            return self._one_at_a_time(codes)
        return self._together(codes, _checked_mask(masked, codes))

    def masked_bits(self, sequence: str, masked: np.ndarray | None = None) -> np.ndarray:
        """(L,) -log2 P(base | all visible bases) at each masked base, nan elsewhere; see `masked_probabilities`.

        The whole sequence is visible, not a window of it; what lies more than `order` visible bases in a row away
        changes nothing.
        """
        return _bits_of(self.masked_probabilities(sequence, masked), sequence)

    def bits_per_masked_base(self, sequence: str, masked: np.ndarray | None = None) -> float:
        """Mean of `masked_bits` over the masked bases. Raises ValueError if there is none."""
        return _mean(self.masked_bits(sequence, masked))

    def _one_at_a_time(self, codes: np.ndarray) -> np.ndarray:
        # P(x_i | rest) is proportional to P(whole sequence), of which only the order + 1 factors with x_i change.
        table, (words, run) = self._fitted(), self._words(codes)
        index = words + self._offset[run]
        score = np.zeros((len(codes), 4))
        for ahead in range(self.order + 1):
            later = np.flatnonzero((codes < 4) & (run >= ahead))  # bases predicted with x_i in their context
            i = later - ahead
            without = index[later] - (codes[i].astype(np.int64) << 2 * ahead)
            for base in range(4):
                score[i, base] += np.log2(table[without + (base << 2 * ahead)])
        p = np.exp2(score - score.max(axis=1, keepdims=True, initial=-np.inf))
        p /= p.sum(axis=1, keepdims=True)
        p[codes > 3] = np.nan
        return p

    # Masked bases closer together than `order` depend on each other: they form a knot. Bases in between are known, so
    # the only states of the chain inside a knot are the fillings of the masked bases among the last `order` ones,
    # 4**(their number), and not 4**order: at 15 % masked and order 6 about 9 states instead of 4,096. The forward and
    # backward sums run over all knots side by side, one base a step.

    def _together(self, codes: np.ndarray, masked: np.ndarray) -> np.ndarray:
        p = np.full((len(codes), 4), np.nan)
        masked = masked & (codes < 4)
        places = np.flatnonzero(masked)
        if len(places) == 0:
            return p
        words, run = self._words(codes)
        known = _run_before(codes > 3)
        gap = np.diff(places)
        breaks = np.flatnonzero((gap > self.order) | (known[places[1:]] < gap))
        first, last = places[np.r_[0, breaks + 1]], places[np.r_[breaks, -1]]
        stop = np.minimum(last + self.order, last + _run_before(codes[::-1] > 3)[::-1][last]) + 1

        # Edges of the lattice at each base: one for each filling of the masked bases among it and `order` before.
        so_far = np.concatenate([np.zeros(self.order + 1, int), np.cumsum(masked)])
        edges = 4.0 ** (so_far[self.order + 1 :] - so_far[: -self.order - 1])
        total = np.concatenate([[0], np.cumsum(edges)])
        size = total[stop] - total[first]
        if size.max() > LARGEST:
            at = int(first[size.argmax()])
            raise ValueError(
                f"from base {at:,} on, too many bases are masked within {self.order} of each other for the exact sum: "
                f"mask fewer, or fit a MarkovModel of a lower order"
            )
        # Longest first, so that those still running are always the first ones of a group.
        by_length = np.argsort(first - stop, kind="stable")
        group = (np.cumsum(size[by_length]) // GROUP).astype(int)
        for members in np.split(by_length, np.flatnonzero(np.diff(group)) + 1):
            self._forward_backward(p, codes, masked, words, run, first[members], stop[members])
        return p

    def _forward_backward(
        self,
        out: np.ndarray,
        codes: np.ndarray,
        masked: np.ndarray,
        words: np.ndarray,
        run: np.ndarray,
        first: np.ndarray,
        stop: np.ndarray,
    ) -> None:
        """Fill rows of `out` (L, 4) with the posteriors of the masked bases of B knots, [first, stop) each."""
        table, keep = self._fitted(), 4**self.order - 1
        # State arrays are ragged: knot b has states[b] of them, the fillings counted with the newest digit last.
        states = np.ones(len(first), dtype=np.int64)
        context = np.where(first > 0, words[first - 1], 0) & ((1 << 2 * run[first]) - 1)  # (sum of states,)
        forward = np.ones(len(first))
        steps = []
        for t in range(int((stop - first).max())):
            running = int((stop - first > t).sum())
            states = states[:running]
            context, forward = context[: states.sum()], forward[: states.sum()]
            at = first[:running] + t
            fan = np.where(masked[at], 4, 1)
            # One edge for each state and letter that may come next.
            knot = np.repeat(np.arange(running), states * fan)
            source = np.repeat(np.arange(len(forward)), np.repeat(fan, states))
            rank = np.arange(len(knot)) - np.repeat(np.cumsum(states * fan) - states * fan, states * fan)
            letter = np.where(masked[at][knot], rank & 3, codes[at][knot])
            word = context[source] * 4 + letter
            p = table[word + self._offset[run[at]][knot]].astype(float)
            # Fillings that differ only in the base that now leaves the context become one state.
            leaves = masked[at - self.order] if t >= self.order else np.zeros(running, dtype=bool)
            states = states * fan // np.where(leaves, 4, 1)
            target = (np.cumsum(states) - states)[knot] + (rank & (states[knot] - 1))
            steps.append((at, knot, source, target, letter, p, forward))
            context = np.empty(states.sum(), dtype=np.int64)
            context[target] = word & keep
            forward = np.bincount(target, forward[source] * p, minlength=len(context))
            owner = np.repeat(np.arange(running), states)
            forward /= np.bincount(owner, forward)[owner]

        backward = np.empty(0)
        for at, knot, source, target, letter, p, forward in reversed(steps):
            # What follows has no say in the knots that end here: 1 for each of their states.
            after = np.ones(target.max() + 1)
            after[: len(backward)] = backward
            rest = p * after[target]
            joint = np.bincount(knot * 4 + letter, forward[source] * rest, minlength=4 * len(at)).reshape(
                -1, 4
            )
            here = masked[at]
            out[at[here]] = joint[here] / joint[here].sum(axis=1, keepdims=True)
            backward = np.bincount(source, rest, minlength=len(forward))
            owner = np.empty(len(forward), dtype=np.int64)
            owner[source] = knot
            backward /= np.bincount(owner, backward)[owner]

    # ---- Sampling ----

    def sample(self, length: int, seed: int) -> str:
        """`length` bases drawn from the model, from an empty context. Raises ValueError for a negative length."""
        if length < 0:
            raise ValueError(f"length is {length}: it must be at least 0")
        table, keep = self._fitted(), 4**self.order - 1
        context, letters = 0, []
        for i, draw in enumerate(np.random.default_rng(seed).random(length).tolist()):
            start = self._offset[min(i, self.order)] + 4 * context
            a, c, g, t = table[start : start + 4].tolist()
            draw *= a + c + g + t
            letter = (draw >= a) + (draw >= a + c) + (draw >= a + c + g)
            letters.append(letter)
            context = (context * 4 + letter) & keep
        return "".join(BASES[letter] for letter in letters)

    def _fitted(self) -> np.ndarray:
        if self._p is None:
            raise RuntimeError("this MarkovModel has no counts yet: call fit(sequences) first")
        return self._p


class TwoSidedBackoff:
    """A base given up to `reach` bases on either side, counted directly: P(x | l bases left, r bases right).

    Back-off takes one base from both sides at a time: (0, 0), (1, 1), ... Where a side is shorter, because of a masked
    base, an N or an end, it stays at its visible length while the other grows on: no context holds a masked base.

    reach: 0 to 6. strength: pseudo-counts of back-off; None: the best of STRENGTHS on `valid`, or 16 without it.
    Memory: 0.5 GB at reach 6. Raises ValueError for a reach or a strength out of bounds. Introduced in notebook 09.
    """

    def __init__(self, reach: int, strength: float | None = None) -> None:
        self.reach = _whole("reach", reach, 6)
        self.strength = self._given = _checked_strength(strength)
        sizes = [4 ** (left + right + 1) for left in range(reach + 1) for right in range(reach + 1)]
        ends = np.cumsum([0, *sizes])
        self._offset = ends[:-1].reshape(reach + 1, reach + 1)  # where the table of (left, right) begins
        self._size = int(ends[-1])
        self._counts: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"TwoSidedBackoff(reach={self.reach}, strength={self.strength})"

    def fit(
        self,
        sequences: str | Iterable[str],
        valid: str | Iterable[str] | None = None,
        both_strands: bool = True,
        masked: np.ndarray | None = None,
    ) -> TwoSidedBackoff:
        """Count words in `sequences`, and in their reverse complements if `both_strands`.

        `valid` serves to choose the strength, by bits per masked base under protocol (a), or under (b) with its mask
        `masked`; it is never counted. Returns the model itself. Raises ValueError if there is no base to count.
        """
        codes = codes_of(sequences)
        _something(codes, "fit on")
        counts = np.zeros(self._size, dtype=np.uint32)
        for strand in (codes, _reverse(codes)) if both_strands else (codes,):
            known = strand < 4
            left, right = self._visible(strand > 3)
            words = self._index(self._words(strand)[known], left[known], right[known])
            found, often = np.unique(words, return_counts=True)
            counts[found] += often.astype(np.uint32)
        self._add_up(counts)
        self._counts = counts
        self.strength = DEFAULT_STRENGTH if self._given is None else self._given
        if self._given is None and valid is not None:
            codes = codes_of(valid)
            _something(codes, "tune on")
            hidden = None if masked is None else _checked_mask(masked, codes)
            self.strength = self._tune(codes, hidden)
        return self

    def _add_up(self, counts: np.ndarray) -> None:
        """Each word contains shorter ones: leave out its first letter, then its last."""
        reach = self.reach
        for right in range(reach + 1):
            for left in range(reach, 0, -1):
                longer = self._table(counts, left, right).reshape(4, -1)
                self._table(counts, left - 1, right)[:] += longer.sum(axis=0, dtype=np.uint32)
        for left in range(reach + 1):
            for right in range(reach, 0, -1):
                longer = self._table(counts, left, right)
                self._table(counts, left, right - 1)[:] += sum(longer[last::4] for last in range(4))

    def _table(self, counts: np.ndarray, left: int, right: int) -> np.ndarray:
        start = self._offset[left, right]
        return counts[start : start + 4 ** (left + right + 1)]

    def _words(self, codes: np.ndarray) -> np.ndarray:
        """(L,) the number of the word of 2 reach + 1 letters around each base; letters outside count as A."""
        words = np.zeros(len(codes), dtype=np.int32)
        for shift in range(-self.reach, self.reach + 1):  # the letter `shift` bases further on
            to = slice(max(0, -shift), max(0, len(codes) - shift))
            letters = codes[max(0, shift) : max(0, len(codes) + shift)]
            words[to] += (letters & 3).astype(np.int32) << 2 * (self.reach - shift)
        return words

    def _index(self, words: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Where the count of each word stands, cut to `left` and `right` bases around the middle one."""
        inside = (words >> 2 * (self.reach - right)) & ((1 << 2 * (left + right + 1)) - 1)
        return self._offset[left, right] + inside

    def _visible(self, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(L,) and (L,) how many bases on the left and on the right are visible in a row, up to the reach."""
        left, right = _run_before(hidden), _run_before(hidden[::-1])[::-1]
        return np.minimum(left, self.reach), np.minimum(right, self.reach)

    def _seen(self, codes: np.ndarray, masked: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each step of the back-off the bases it applies to, (n,), and the four counts there, (n, 4)."""
        if self._counts is None:
            raise RuntimeError("this TwoSidedBackoff has no counts yet: call fit(sequences) first")
        left, right = self._visible(codes > 3 if masked is None else masked | (codes > 3))
        words, scored = self._words(codes), codes < 4 if masked is None else masked & (codes < 4)
        levels = []
        for k in range(self.reach + 1):
            rows = np.flatnonzero(scored & (np.maximum(left, right) >= k))
            a, b = np.minimum(k, left[rows]), np.minimum(k, right[rows])
            middle = np.left_shift(1, 2 * b)  # the value of one letter in the middle
            with_a = self._index(words[rows], a, b) - middle * codes[rows]
            levels.append((rows, self._counts[with_a[:, None] + middle[:, None] * np.arange(4)]))
        return levels

    @staticmethod
    def _backed_off(levels: list[tuple[np.ndarray, np.ndarray]], length: int, strength: float) -> np.ndarray:
        p = np.full((length, 4), np.nan)
        p[levels[0][0]] = 0.25
        for rows, seen in levels:
            p[rows] = (seen + strength * p[rows]) / (seen.sum(axis=1, keepdims=True) + strength)
        return p

    def _tune(self, codes: np.ndarray, masked: np.ndarray | None) -> float:
        levels = self._seen(codes, masked)
        rows = levels[0][0]
        if len(rows) == 0:
            raise ValueError("no base of `valid` is masked: there is nothing to tune on")
        return min(
            STRENGTHS,
            key=lambda s: -np.log2(self._backed_off(levels, len(codes), s)[rows, codes[rows]]).mean(),
        )

    def masked_probabilities(self, sequence: str, masked: np.ndarray | None = None) -> np.ndarray:
        """(L, 4) P(A), P(C), P(G), P(T) at each masked base given its visible neighbours; nan elsewhere.

        masked: None masks one base at a time, protocol (a); a boolean array (L,) masks these together, protocol (b).
        """
        codes = codes_of(sequence)
        hidden = None if masked is None else _checked_mask(masked, codes)
        return self._backed_off(self._seen(codes, hidden), len(codes), self.strength)

    def masked_bits(self, sequence: str, masked: np.ndarray | None = None) -> np.ndarray:
        """(L,) -log2 P(base | visible neighbours) at each masked base, nan elsewhere."""
        return _bits_of(self.masked_probabilities(sequence, masked), sequence)

    def bits_per_masked_base(self, sequence: str, masked: np.ndarray | None = None) -> float:
        """Mean of `masked_bits` over the masked bases. Raises ValueError if there is none."""
        return _mean(self.masked_bits(sequence, masked))


# ---- Helpers ----


def codes_of(sequences: str | Iterable[str]) -> np.ndarray:
    """(L,) uint8: A, C, G, T of either case as 0..3, N and other IUPAC codes as 4; several texts with a 4 in between.

    An object with an attribute `sequence` counts as that text. Raises SequenceError for a letter that is no nucleotide.
    Introduced in notebook 09.
    """
    parts = []
    for number, text in enumerate([sequences] if isinstance(sequences, str) else sequences):
        text = getattr(text, "sequence", text)
        if not isinstance(text, str):
            raise TypeError(f"sequence {number} is of type {type(text).__name__}: give text")
        codes = _CODE[np.frombuffer(text.encode("ascii", "replace"), dtype=np.uint8)]
        if (codes == 255).any():
            at = int((codes == 255).argmax())
            hint = " (RNA? write T for U)" if text[at] in "Uu" else ""
            raise SequenceError(
                f"found {text[at]!r}, which is not a nucleotide{hint}", record=str(number), position=at + 1
            )
        parts += [codes, np.array([4], dtype=np.uint8)]
    return np.concatenate(parts[:-1]) if parts else np.empty(0, dtype=np.uint8)


def _reverse(codes: np.ndarray) -> np.ndarray:
    """The other strand: A and T, C and G exchanged, read backwards."""
    return np.where(codes < 4, 3 - codes, codes)[::-1]


def _run_before(hidden: np.ndarray) -> np.ndarray:
    """(L,) how many bases directly before each one are not hidden."""
    here = np.arange(len(hidden))
    last = np.maximum.accumulate(np.where(hidden, here, -1))
    return here - np.concatenate([[-1], last[:-1]]) - 1 if len(hidden) else here


def _bits_of(p: np.ndarray, sequence: str) -> np.ndarray:
    """(L, 4) probabilities -> (L,) bits of the bases that stand there."""
    return -np.log2(p[np.arange(len(p)), np.minimum(codes_of(sequence), 3)])


def _mean(bits: np.ndarray) -> float:
    scored = bits[~np.isnan(bits)]
    if len(scored) == 0:
        raise ValueError("there is nothing to score: no A, C, G or T (or none of them masked)")
    return float(scored.mean())


def _checked_mask(masked: Any, codes: np.ndarray) -> np.ndarray:
    masked = np.asarray(masked)
    if masked.dtype != bool or masked.shape != codes.shape:
        raise ValueError(
            f"masked has shape {masked.shape} and type {masked.dtype}: give one True or False for each of the "
            f"{len(codes):,} bases"
        )
    return masked


def _something(codes: np.ndarray, what: str) -> None:
    if not (codes < 4).any():
        raise ValueError(f"there is nothing to {what}: no A, C, G or T in {len(codes):,} letters")


def _whole(name: str, value: Any, largest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value <= largest:
        raise ValueError(f"{name} is {value!r}: it must be a whole number from 0 to {largest}")
    return int(value)


def _checked_strength(strength: float | None) -> float | None:
    if strength is not None and not 0 < strength < float("inf"):
        raise ValueError(f"strength is {strength!r}: it must be a number above 0, or None to choose it")
    return strength
