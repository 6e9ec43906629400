"""Markov models of DNA for the baselines: counts, back-off, and two ways to predict a masked base."""

from __future__ import annotations

import numpy as np

_CODE = np.full(256, 4, dtype=np.int64)
_CODE[[ord(c) for c in "ACGT"]] = range(4)


def codes_of(sequence: str) -> np.ndarray:
    """(L,) A, C, G, T -> 0..3; any other letter 4."""
    return _CODE[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]


def words_of(codes: np.ndarray, k: int) -> np.ndarray:
    """(L - k + 1,) every k-mer as a number in base 4, the first letter most significant."""
    words = np.zeros(len(codes) - k + 1, dtype=np.int64)
    for i in range(k):
        words = words * 4 + codes[i : len(codes) - k + 1 + i]
    return words


def conditionals(texts: list[str], order: int, strength: float) -> np.ndarray:
    """(4**order, 4) P(next base | `order` bases before), each order drawn towards the one below.

    P_k = (count + strength * P_{k-1}) / (total + strength), from P_0 = base frequencies.
    """
    encoded = [codes_of(t) for t in texts]
    p = np.full((1, 4), 0.25)
    for k in range(order + 1):
        counts = sum(np.bincount(words_of(c, k + 1), minlength=4 ** (k + 1)) for c in encoded)
        counts = counts.reshape(4**k, 4)
        below = np.tile(
            p, (max(1, 4**k // len(p)), 1)
        )  # dropping the farthest base: contexts repeat blockwise
        p = (counts + strength * below) / (counts.sum(axis=1, keepdims=True) + strength)
    return p


def backoff_bits(texts: list[str], test: str, order: int, strength: float) -> float:
    """Mean bits per base of `test`, left to right, its first `order` bases apart."""
    p = conditionals(texts, order, strength).ravel()
    return float(-np.log2(p[words_of(codes_of(test), order + 1)]).mean())


def tune(texts: list[str], valid: str, order: int) -> float:
    """The strength of back-off with the fewest bits on `valid`."""
    choices = (1.0, 4.0, 16.0, 32.0, 64.0, 128.0, 256.0)
    return min(choices, key=lambda s: backoff_bits(texts, valid, order, s))


def masked_markov_bits(texts: list[str], test: str, order: int, strength: float = 16.0) -> float:
    """Bits per masked base, one masked at a time: the exact conditional of a Markov chain given all others.

    P(x_i | rest) is proportional to the product of the order + 1 transitions that x_i takes part in.
    """
    log_p = np.log2(conditionals(texts, order, strength)).ravel()
    codes = codes_of(test)
    words = words_of(codes, order + 1)
    inner = np.arange(order, len(codes) - order)  # bases with full context on both sides
    score = np.zeros((len(inner), 4))
    for shift in range(order + 1):
        # The word that starts at i - shift holds x_i as its letter number `shift`.
        power = 4 ** (order - shift)
        word = words[inner - shift]
        without = word - codes[inner] * power
        for base in range(4):
            score[:, base] += log_p[without + base * power]
    top = score.max(axis=1)
    total = top + np.log2(np.exp2(score - top[:, None]).sum(axis=1))
    return float((total - score[np.arange(len(inner)), codes[inner]]).mean())


def masked_backoff_bits(texts: list[str], test: str, reach: int, strength: float) -> float:
    """Bits per masked base, one masked at a time: back-off over contexts of `reach` bases on either side.

    P_k(x | k bases left, k right) = (count + strength * P_{k-1}) / (total + strength), k = 0 .. reach.
    """
    encoded, target = [codes_of(t) for t in texts], codes_of(test)
    p = np.full((len(target), 4), 0.25)
    for k in range(reach + 1):
        right = 4**k

        def parts(codes: np.ndarray, k: int = k, right: int = right) -> tuple[np.ndarray, np.ndarray]:
            words = words_of(codes, 2 * k + 1)
            return words // (4 * right) * right + words % right, words // right % 4  # context, middle base

        counts = np.zeros(4 ** (2 * k + 1), dtype=np.int32)
        for codes in encoded:
            context, middle = parts(codes)
            counts += np.bincount(context * 4 + middle, minlength=len(counts)).astype(np.int32)
        context, middle = parts(target)
        seen = counts.reshape(-1, 4)[context]
        if k:
            p = p[1:-1]  # a wider context has one place less at either end
        p = (seen + strength * p) / (seen.sum(axis=1, keepdims=True) + strength)
    return float(-np.log2(p[np.arange(len(middle)), middle]).mean())


def masked_forward_backward_bits(
    texts: list[str], test: str, order: int, *, rate: float, seed: int, strength: float = 16.0
) -> float:
    """Bits per masked base when a share `rate` of all bases is masked at once, independently.

    Sums over the masked neighbours too: forward-backward over the 4**order contexts, in stretches of 2,000
    bases run side by side, 50 more on either side for context.
    """
    p = conditionals(texts, order, strength)  # (S, 4)
    codes = codes_of(test)
    hidden = np.random.default_rng(seed).random(len(codes)) < rate
    size, margin = 2_000, 50
    starts = np.arange(margin, len(codes) - size - margin + 1, size)
    bits, count = 0.0, 0
    for group in np.array_split(starts, -(-len(starts) // 64)):
        at = group[:, None] + np.arange(-margin, size + margin)  # (B, T)
        some, number = _forward_backward(p, codes[at], hidden[at], margin)
        bits, count = bits + some, count + number
    return bits / count


def _forward_backward(p: np.ndarray, seen: np.ndarray, masked: np.ndarray, margin: int) -> tuple[float, int]:
    """Total bits and number of the masked bases of B stretches, the margins apart; `seen`, `masked`: (B, T)."""
    allowed = np.where(masked[:, :, None], 1.0, np.eye(4)[seen])  # (B, T, 4)
    (batch, steps), states = seen.shape, len(p)
    # A state is the last `order` bases; reading base x moves state s to (4 s + x) mod 4**order.
    tail = states // 4
    forward = np.full((batch, states), 1.0 / states)
    before = np.empty((steps, batch, states), dtype=np.float32)
    for t in range(steps):
        before[t] = forward
        joint = forward[:, :, None] * p * allowed[:, t, None, :]  # (B, S, 4)
        # States that differ only in their oldest base flow into the same state.
        forward = joint.reshape(batch, 4, tail, 4).sum(axis=1).reshape(batch, states)
        forward /= forward.sum(axis=1, keepdims=True)
    backward = np.ones((batch, states))
    bits, count = 0.0, 0
    for t in range(steps - 1, -1, -1):
        # `backward` is the chance of all that follows base t, by the state after it.
        after = np.tile(backward.reshape(batch, 1, tail, 4), (1, 4, 1, 1)).reshape(batch, states, 4)
        step = p * after  # (B, S, 4)
        rows = np.flatnonzero(masked[:, t])
        if margin <= t < steps - margin and len(rows):
            posterior = np.einsum("bs,bsx->bx", before[t][rows], step[rows])
            posterior /= posterior.sum(axis=1, keepdims=True)
            bits -= float(np.log2(posterior[np.arange(len(rows)), seen[rows, t]]).sum())
            count += len(rows)
        backward = (step * allowed[:, t, None, :]).sum(axis=2)
        backward /= backward.max(axis=1, keepdims=True)
    return bits, count
