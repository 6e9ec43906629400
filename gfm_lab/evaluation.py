"""How well does a language model know DNA? Bits per base, and per masked base, each with its interval.

One base of four costs 2 bits if nothing is known, so 2 bits per base is the floor of ignorance and 0 the end of all
surprise; perplexity, 2 to the power of bits, counts the bases that a model wavers between. Three protocols:

    causal   each base from the bases before it                    bits_per_base(model, ...)
    single   each masked base from all the others: protocol (a)    bits_per_masked_base(..., protocol="single")
    joint    15 % masked together, from the rest: protocol (b)     bits_per_masked_base(..., protocol="joint")

Their numbers answer different questions: compare a model with a baseline (`score_baseline`) under one protocol and on
the same bases, never one protocol with another. `difference` refuses to.

The choice is always among four: a model's scores of other tokens are left out and A, C, G, T renormalised. `mass` says
how much probability they had before (1: all of it). A model needs one token a base; special tokens that its tokenizer
adds stand around each window. N and other codes are read, but not scored. Introduced in notebook 09.

Scores of labels (AUROC, MCC, Spearman, calibration, ...) stand in `gfm_lab.metrics` and can be imported from here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch

from gfm_lab.baselines import MarkovModel, TwoSidedBackoff, codes_of

__all__ = [
    "Difference",
    "Score",
    "bits_per_base",
    "bits_per_masked_base",
    "bootstrap",
    "causal_probabilities",
    "difference",
    "masked_mask",
    "masked_probabilities",
    "score_baseline",
]

# The statistics of generated DNA and the metrics of labels belong here too; they stand in modules of their own, loaded
# on first use.
_METRICS = (
    "accuracy auprc auroc brier calibration calibration_error macro_f1 mcc paired r2 spearman with_interval"
)
_COMPOSITION = "codon_usage compare_dna dinucleotide_odds find_orfs spectrum_distance TrainingIndex"
_ELSEWHERE = dict.fromkeys(_METRICS.split(), "metrics") | dict.fromkeys(_COMPOSITION.split(), "composition")

BLOCK = 2_000  # bases in a window of the bootstrap: longer than most bacterial genes, which are about 1,000
WINDOW = 512  # bases a model reads at once, unless told
PROTOCOLS = ("causal", "single", "joint")
# Every pair of bases once: a tokenizer that ever joins two bases joins some of these.
PROBE = "AACAGATCCGCTGGTTA"


@dataclass(frozen=True, eq=False)
class Score:
    """Bits of a model or a baseline on one stretch of DNA. `low` and `high` bound 95 % of the bootstrap over windows.

    value, accuracy, perplexity   the mean of bits; the share of bases with the largest probability; 2**value
    positions, bits, correct      (n,) for each scored base: its place (0-based), its bits, whether the guess is right
    per_window, weights, starts   (w,) for each window of contiguous bases: mean bits, scored bases, where it starts
    masked                        (L,) bool, the joint mask; None under the other protocols
    mass                          mean probability that the model gave to the four bases, before renormalising
    settings                      what was chosen: window, stride, rate, seed and the like
    """

    protocol: str
    value: float
    low: float
    high: float
    accuracy: float
    positions: np.ndarray = field(repr=False)
    bits: np.ndarray = field(repr=False)
    correct: np.ndarray = field(repr=False)
    per_window: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    starts: np.ndarray = field(repr=False)
    masked: np.ndarray | None = field(repr=False, default=None)
    mass: float = 1.0
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def perplexity(self) -> float:
        return 2.0**self.value

    def __str__(self) -> str:
        what = "bits per base" if self.protocol == "causal" else f"bits per masked base ({self.protocol})"
        return (
            f"{self.value:.4f} {what} [{self.low:.4f}, {self.high:.4f}], perplexity {self.perplexity:.3f}, "
            f"accuracy {self.accuracy:.1%}, {len(self.bits):,} bases in {len(self.per_window):,} windows"
        )


class Difference(NamedTuple):
    """Mean bits of one minus those of another on the same bases (below 0: the first knows more), with its interval."""

    value: float
    low: float
    high: float


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        return getattr(import_module(f"gfm_lab.{_ELSEWHERE[name]}"), name)
    raise AttributeError(f"module 'gfm_lab.evaluation' has no attribute {name!r}")


# ---- A model's bits ----


def bits_per_base(
    model: Any,
    tokenizer: Any,
    sequence: str,
    window: int | None = None,
    stride: int | None = None,
    *,
    control: str | None = None,
    batch_size: int = 16,
    block: int = BLOCK,
    seed: int = 0,
) -> Score:
    """Bits per base of a causal model, reading `sequence` from left to right in windows.

    window: bases read at once (None: 512, or what the model can read). stride: bases each further window adds (None:
    half a window). Each base is scored once, with at least window - stride bases of left context, except at the start
    of the sequence. The very first base is scored only if the tokenizer puts a special token before it. control: name
    of a control token of the tokenizer, which then stands in front of every window and is not scored itself; the very
    first base is. block: bases in a window of the bootstrap; seed: of the bootstrap.

    Raises ValueError for a model that is not causal (a probe finds out), a tokenizer with tokens of several bases, a
    window that does not fit, scores that are not numbers, and if there is nothing to score.
    Introduced in notebook 10.
    """
    p, mass, settings = _causal(model, tokenizer, sequence, window, stride, batch_size, control)
    return _score("causal", p, codes_of(sequence), None, mass, settings, block, seed)


def bits_per_masked_base(
    model: Any,
    tokenizer: Any,
    sequence: str,
    protocol: str = "single",
    rate: float = 0.15,
    seed: int = 0,
    window: int | None = None,
    *,
    sample: int | None = 2_000,
    positions: Sequence[int] | np.ndarray | None = None,
    masked: np.ndarray | None = None,
    margin: int | None = None,
    batch_size: int = 16,
    block: int = BLOCK,
) -> Score:
    """Bits per masked base of a masked model, under one of two protocols.

    single, (a)   One base masked at a time, in the middle of its own window (nearer to an end of the sequence, off the
                  middle). That is one window a base, so only `sample` bases are scored, drawn with `seed`; None: all;
                  `positions`: these (0-based).
    joint, (b)    The bases of masked_mask(len(sequence), rate, seed), or of `masked`, are hidden together. Windows
                  overlap, so that each scored base has `margin` bases (None: a quarter of a window) on either side.

    A hidden base is always replaced by the mask token: the 80/10/10 of training is no part of an evaluation. window and
    block as in `bits_per_base`; the seed also starts the bootstrap. `score_baseline(baseline, sequence, like=score)`
    belongs beside the result. Raises ValueError as `bits_per_base` does, for a causal model, and for unknown protocols.
    Introduced in notebook 09.
    """
    if protocol not in ("single", "joint"):
        raise ValueError(f"there is no protocol {protocol!r}: choose 'single' (a) or 'joint' (b)")
    codes = codes_of(sequence)
    settings: dict[str, Any] = {"seed": seed}
    if protocol == "joint":
        if masked is None:
            masked, settings = masked_mask(len(codes), rate, seed), {"rate": rate, "seed": seed}
        positions = None
    else:
        masked = None
        positions = _positions(codes, positions, sample, seed)
    p, mass, more = _masked(model, tokenizer, sequence, masked, positions, window, margin, batch_size)
    return _score(protocol, p, codes, masked, mass, settings | more, block, seed)


def causal_probabilities(
    model: Any,
    tokenizer: Any,
    sequence: str,
    window: int | None = None,
    stride: int | None = None,
    batch_size: int = 16,
    control: str | None = None,
) -> np.ndarray:
    """(L, 4) P(A), P(C), P(G), P(T) at each base given those before it, nan where nothing is scored.

    Arguments and errors of `bits_per_base`. Introduced in notebook 10.
    """
    return _causal(model, tokenizer, sequence, window, stride, batch_size, control)[0]


def masked_probabilities(
    model: Any,
    tokenizer: Any,
    sequence: str,
    masked: np.ndarray | None = None,
    positions: Sequence[int] | np.ndarray | None = None,
    window: int | None = None,
    margin: int | None = None,
    batch_size: int = 16,
) -> np.ndarray:
    """(L, 4) P(A), P(C), P(G), P(T) at masked bases given the visible ones, nan elsewhere.

    masked: a boolean array hides these bases together. None: each base of `positions` (None: of all) is hidden alone.
    Other arguments and errors of `bits_per_masked_base`. Introduced in notebook 09.
    """
    if masked is None:
        positions = _positions(codes_of(sequence), positions, None, 0)
    return _masked(model, tokenizer, sequence, masked, positions, window, margin, batch_size)[0]


def masked_mask(length: int, rate: float = 0.15, seed: int = 0) -> np.ndarray:
    """(length,) bool: each base hidden with probability `rate`, independently; the same for models and baselines.

    Raises ValueError for a rate outside 0 to 1. Introduced in notebook 09.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}: it is a share, from 0 to 1")
    return np.random.default_rng(seed).random(length) < rate


# ---- A baseline's bits on the same bases ----


def score_baseline(
    baseline: MarkovModel | TwoSidedBackoff,
    sequence: str,
    like: Score | None = None,
    *,
    protocol: str = "causal",
    masked: np.ndarray | None = None,
    block: int = BLOCK,
    seed: int = 0,
) -> Score:
    """The same for a baseline: on the bases, and under the mask, of the Score `like`; without it on all bases.

    A baseline reads the whole sequence, not a window of it; its own reach (order) limits what it uses. protocol and
    masked (needed for "joint") count only without `like`. Raises ValueError if `like` was made on another length, for
    an unknown protocol, and if there is nothing to score. Introduced in notebook 09.
    """
    codes = codes_of(sequence)
    if like is not None:
        protocol, masked = like.protocol, like.masked
        block, seed = like.settings["block"], like.settings["bootstrap_seed"]
        if like.settings["length"] != len(codes):
            raise ValueError(
                f"`like` was made on {like.settings['length']:,} bases and this sequence has {len(codes):,}: score "
                f"both on the same sequence"
            )
    if protocol not in PROTOCOLS:
        raise ValueError(f"there is no protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    if protocol == "joint" and masked is None:
        raise ValueError("protocol 'joint' needs masked=masked_mask(len(sequence), rate, seed), or like=")
    if protocol == "causal" and not hasattr(baseline, "probabilities"):
        raise ValueError(f"{baseline!r} reads both sides: it is no baseline of a causal model")
    masked = masked if protocol == "joint" else None
    p = (
        baseline.probabilities(sequence)
        if protocol == "causal"
        else baseline.masked_probabilities(sequence, masked)
    )
    if like is not None:
        others = np.ones(len(p), dtype=bool)
        others[like.positions] = False
        p[others] = np.nan
    return _score(protocol, p, codes, masked, 1.0, {"baseline": repr(baseline)}, block, seed)


def difference(a: Score, b: Score, resamples: int = 2_000, level: float = 0.95, seed: int = 0) -> Difference:
    """Mean bits of `a` minus those of `b`, and its paired bootstrap interval over windows.

    Paired: both are resampled with the same windows, so that what makes a window hard for both cancels. Raises
    ValueError if the two were not scored under one protocol, on the same bases and under the same mask.
    Introduced in notebook 09.
    """
    same_mask = (a.masked is None) == (b.masked is None) and (
        a.masked is None or np.array_equal(a.masked, b.masked)
    )
    if a.protocol != b.protocol or not np.array_equal(a.positions, b.positions) or not same_mask:
        raise ValueError(
            f"these scores cannot be compared: {a.protocol} on {len(a.bits):,} bases and {b.protocol} on "
            f"{len(b.bits):,}; score the second with like= the first, or with the same sequence, sample, mask and seed"
        )
    if not np.array_equal(a.starts, b.starts):
        raise ValueError("these scores have different windows: use one `block` for both")
    low, high = bootstrap(a.per_window - b.per_window, a.weights, resamples, level, seed)
    return Difference(a.value - b.value, low, high)


def bootstrap(
    values: Sequence[float] | np.ndarray,
    weights: Sequence[float] | np.ndarray | None = None,
    resamples: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """(low, high): the interval that holds `level` of the weighted means of windows drawn with replacement.

    values: (w,) one number a window; weights: (w,) how many bases it stands for (None: all alike). The percentile
    bootstrap (Efron and Tibshirani 1993). It needs a few dozen windows to be worth something; (nan, nan) for a single
    one. It holds the model fixed: it says how far the number depends on which windows are tested, and not how far
    another training run would move it. Raises ValueError for no values, for weights that do not fit, and for a level
    outside 0 to 1. Introduced in notebook 09.
    """
    values = np.asarray(values, dtype=float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    if values.ndim != 1 or len(values) == 0 or weights.shape != values.shape:
        raise ValueError(
            f"values have shape {values.shape} and weights {weights.shape}: give one number each for every window"
        )
    if not (weights >= 0).all() or not (weights.sum() > 0) or not 0 < level < 1 or resamples < 1:
        raise ValueError(
            "weights must be at least 0 and not all 0, level between 0 and 1, resamples at least 1"
        )
    if len(values) == 1:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        drawn = rng.integers(len(values), size=len(values))
        total = weights[drawn].sum()
        if total > 0:
            means.append(values[drawn] @ weights[drawn] / total)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


# ---- Windows ----


def _tiles(length: int, window: int, step: int, right: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows that start every `step` bases, the last one at the end, and the stretch [first, stop) each one scores.

    Together the stretches cover every base once; `right` bases at the end of a window are left to the next one.
    """
    starts = np.append(np.arange(0, length - window, step), length - window)
    stops = starts + window - right
    stops[-1] = length
    return starts, np.append(0, stops[:-1]), stops


def _causal(
    model: Any,
    tokenizer: Any,
    sequence: str,
    window: int | None,
    stride: int | None,
    batch_size: int,
    control: str | None = None,
) -> tuple[np.ndarray, float, dict[str, Any]]:
    codes, letters = codes_of(sequence), _letters(tokenizer)
    _something(codes)
    if control is not None:
        if not hasattr(tokenizer, "control_id"):
            raise ValueError(
                f"{type(tokenizer).__name__} has no control tokens: leave out control={control!r}"
            )
        letters = letters._replace(prefix=[*letters.prefix, tokenizer.control_id(control)])
    before = len(letters.prefix)
    window = _window(model, window, before, len(codes))  # [SEP] and the like at the end predict nothing
    stride = max(1, window // 2) if stride is None else stride
    largest = window if before else window - 1
    if stride < 1 or (window < len(codes) and stride > largest):
        raise ValueError(
            f"stride is {stride}: it must be from 1 to {largest}, so that windows of {window} bases leave no base "
            f"without context"
        )
    ids, p = letters.ids(codes), np.full((len(codes), 4), np.nan)
    mass = np.full(len(codes), np.nan)
    starts, firsts, stops = _tiles(len(codes), window, stride, 0)
    with _ready(model) as device:
        _must_be_causal(model, letters, device, window)
        for rows in _batches(len(starts), batch_size):
            at = starts[rows, None] + np.arange(window)  # (B, W) places in the sequence
            log_p, kept = _four(model, letters.wrapped(ids[at], end=False), letters, device)
            # The scores at one token are those of the next: with a token in front they begin with the first base.
            log_p, kept = log_p[:, max(0, before - 1) : -1], kept[:, max(0, before - 1) : -1]
            at = at if before else at[:, 1:]
            mine = (at >= firsts[rows, None]) & (at < stops[rows, None])
            p[at[mine]], mass[at[mine]] = np.exp(log_p[mine]), kept[mine]
    p[codes > 3] = np.nan
    told = {} if control is None else {"control": control}
    return p, _mean_mass(mass, p), {"window": window, "stride": stride, **told}


def _masked(
    model: Any,
    tokenizer: Any,
    sequence: str,
    masked: np.ndarray | None,
    positions: np.ndarray | None,
    window: int | None,
    margin: int | None,
    batch_size: int,
) -> tuple[np.ndarray, float, dict[str, Any]]:
    codes, letters = codes_of(sequence), _letters(tokenizer)
    _something(codes)
    if letters.mask is None:
        raise ValueError(f"{type(tokenizer).__name__} has no mask token: it cannot hide a base")
    name = type(model).__name__
    if getattr(model.config, "causal", False) or "CausalLM" in name or "LMHead" in name:
        raise ValueError(f"{name} predicts the next token and cannot see behind a mask: use bits_per_base")
    window = _window(model, window, len(letters.prefix) + len(letters.suffix), len(codes))
    ids, p = letters.ids(codes), np.full((len(codes), 4), np.nan)
    mass, ahead = np.full(len(codes), np.nan), len(letters.prefix)
    if masked is not None:
        masked = np.asarray(masked)
        if masked.dtype != bool or masked.shape != codes.shape:
            raise ValueError(
                f"masked has shape {masked.shape} and type {masked.dtype}: give one True or False for each of the "
                f"{len(codes):,} bases"
            )
        margin = window // 4 if margin is None else margin
        if margin < 0 or (window < len(codes) and 2 * margin >= window):
            raise ValueError(f"margin is {margin}: two of them must leave room in a window of {window} bases")
        ids = np.where(masked, letters.mask, ids)
        starts, firsts, stops = _tiles(len(codes), window, max(1, window - 2 * margin), min(margin, window))
        with _ready(model) as device:
            for rows in _batches(len(starts), batch_size):
                at = starts[rows, None] + np.arange(window)  # (B, W)
                log_p, kept = _four(model, letters.wrapped(ids[at]), letters, device)
                log_p, kept = log_p[:, ahead : ahead + window], kept[:, ahead : ahead + window]
                mine = (at >= firsts[rows, None]) & (at < stops[rows, None]) & masked[at]
                p[at[mine]], mass[at[mine]] = np.exp(log_p[mine]), kept[mine]
        p[codes > 3] = np.nan
        return p, _mean_mass(mass, p), {"window": window, "margin": margin}

    starts = np.clip(positions - window // 2, 0, len(codes) - window)
    with _ready(model) as device:
        for rows in _batches(len(starts), batch_size):
            here = positions[rows]
            column = here - starts[rows]
            batch = ids[starts[rows, None] + np.arange(window)]
            batch[np.arange(len(batch)), column] = letters.mask
            log_p, kept = _four(model, letters.wrapped(batch), letters, device, column + ahead)
            p[here], mass[here] = np.exp(log_p), kept
    return p, _mean_mass(mass, p), {"window": window}


def _positions(
    codes: np.ndarray, positions: Sequence[int] | np.ndarray | None, sample: int | None, seed: int
) -> np.ndarray:
    """Sorted places to mask one at a time: those given, or a sample of all bases, or all."""
    bases = np.flatnonzero(codes < 4)
    if positions is not None:
        positions = np.unique(np.asarray(positions, dtype=np.int64))
        wrong = positions[~np.isin(positions, bases)]
        if len(wrong):
            raise ValueError(
                f"position {wrong[0]} is not an A, C, G or T of this sequence of {len(codes):,} bases"
            )
        return positions
    if sample is not None and sample < 1:
        raise ValueError(f"sample is {sample}: score at least one base, or all of them with None")
    if sample is None or sample >= len(bases):
        return bases
    return np.sort(np.random.default_rng(seed).choice(bases, sample, replace=False))


# ---- Between DNA and a model ----


class _Letters(NamedTuple):
    """A tokenizer as this module needs it: ids of A, C, G, T and of N, of the mask, and what stands around a text."""

    bases: np.ndarray
    other: int | None
    mask: int | None
    prefix: list[int]
    suffix: list[int]

    def ids(self, codes: np.ndarray) -> np.ndarray:
        """(L,) codes 0..4 -> (L,) ids. Raises ValueError for an N where the tokenizer has no token for it."""
        if self.other is None and (codes > 3).any():
            at = int((codes > 3).argmax())
            raise ValueError(f"base {at:,} is not A, C, G or T, and the tokenizer has no token for it")
        return np.append(self.bases, self.other or 0)[codes]

    def wrapped(self, ids: np.ndarray, end: bool = True) -> np.ndarray:
        """(B, W) -> (B, prefix + W + suffix)."""
        rows = [np.tile(self.prefix, (len(ids), 1)), ids, np.tile(self.suffix if end else [], (len(ids), 1))]
        return np.concatenate(rows, axis=1).astype(np.int64)


def _letters(tokenizer: Any) -> _Letters:
    """Raises ValueError for a tokenizer whose tokens are not single bases."""
    bases = tokenizer.convert_tokens_to_ids(list("ACGT"))
    wanted = [bases["ACGT".index(letter)] for letter in PROBE]
    for text in (PROBE, " ".join(PROBE)):  # some tokenizers of transformers want blanks between words
        try:
            ids = [int(i) for i in tokenizer(text)["input_ids"]]
        except ValueError:  # a tokenizer that takes no blanks
            continue
        for start in range(len(ids) - len(PROBE) + 1):
            if ids[start : start + len(PROBE)] == wanted and len({*bases}) == 4:
                other = tokenizer.convert_tokens_to_ids("N")
                other = tokenizer.unk_token_id if other is None else other
                suffix = ids[start + len(PROBE) :]
                return _Letters(np.array(bases), other, tokenizer.mask_token_id, ids[:start], suffix)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(PROBE)["input_ids"])
    raise ValueError(
        f"bits per base need one token for each base, and this tokenizer cuts {PROBE} into {' '.join(tokens)}. A token "
        f"of several bases has no score for one of them, and where tokens overlap their neighbours give a masked one "
        f"away. Use a NucleotideTokenizer, or compare losses per token among models with this very tokenizer"
    )


def _four(
    model: Any, ids: np.ndarray, letters: _Letters, device: Any, column: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Log probabilities (nats) of A, C, G, T alone, and the share of probability they had among all tokens.

    ids: (B, T). Returns (B, T, 4) and (B, T), or with one `column` a row (B,) only that: (B, 4) and (B,).
    """
    logits = model(input_ids=torch.from_numpy(ids).to(device)).logits
    if column is not None:
        logits = logits[torch.arange(len(ids), device=device), torch.from_numpy(column).to(device)]
    logits = logits.float()
    four = logits[..., torch.from_numpy(letters.bases).to(device)]
    if not bool(torch.isfinite(four).all()):
        raise ValueError("the model's scores are not finite numbers: its weights, or its input, are broken")
    own = four.logsumexp(-1)
    mass = (own - logits.logsumexp(-1)).exp()
    return four.cpu().double().log_softmax(-1).numpy(), mass.cpu().numpy()


@contextmanager
def _ready(model: Any) -> Iterator[torch.device]:
    """The model without dropout and gradients, and its device; afterwards as it was."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield next((part.device for part in model.parameters()), torch.device("cpu"))
    finally:
        model.train(training)


def _must_be_causal(model: Any, letters: _Letters, device: torch.device, window: int) -> None:
    """Raise ValueError if the last base of a short text changes the scores before it: such a model would copy."""
    text = np.resize(codes_of(PROBE), min(window, 32))
    other = np.append(text[:-1], (text[-1] + 1) % 4)
    ids = torch.from_numpy(letters.wrapped(letters.bases[np.stack([text, other])], end=False)).to(device)
    logits = model(input_ids=ids).logits.float()
    change = (logits[0] - logits[1]).abs().amax(-1)  # (T,), the last one is what the base itself may change
    # Rounding is not seeing: an FFT convolution gives a future base a share of 1e-6 or so.
    exact = next((part.dtype for part in model.parameters()), torch.float32).itemsize > 2
    if len(change) > 1 and bool(change[:-1].max() > (1e-4 if exact else 2e-2) * change.max()):
        raise ValueError(
            f"{type(model).__name__} is not causal: the next base changes its scores, so it would be scored on "
            f"copying. Use bits_per_masked_base"
        )


def _window(model: Any, window: int | None, specials: int, length: int) -> int:
    """Bases a window holds. Raises ValueError if the model cannot read so many tokens."""
    config = model.config
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None:
        offset = getattr(config, "position_offset", 0)
        if config.model_type in ("esm", "roberta", "longformer"):  # their positions begin after the padding's
            offset = (config.pad_token_id or 0) + 1
        limit = limit - offset - specials
    if window is None:
        window = WINDOW if limit is None else min(WINDOW, limit)
    if window < 1 or (limit is not None and min(window, length) > limit):
        raise ValueError(
            f"window is {window}: this model reads "
            + (f"from 1 to {limit} bases" if limit is not None else "at least 1 base")
            + (f" beside {specials} special tokens" if specials else "")
        )
    return min(window, length)


def _batches(count: int, size: int) -> Iterator[slice]:
    if size < 1:
        raise ValueError(f"batch_size is {size}: it must be at least 1")
    return (slice(start, start + size) for start in range(0, count, size))


def _something(codes: np.ndarray) -> None:
    if not (codes < 4).any():
        raise ValueError(f"there is nothing to score: no A, C, G or T in {len(codes):,} letters")


def _mean_mass(mass: np.ndarray, p: np.ndarray) -> float:
    scored = ~np.isnan(p[:, 0])
    return float(mass[scored].mean()) if scored.any() else float("nan")


def _score(
    protocol: str,
    p: np.ndarray,
    codes: np.ndarray,
    masked: np.ndarray | None,
    mass: float,
    settings: dict[str, Any],
    block: int,
    seed: int,
) -> Score:
    """Probabilities (L, 4), nan where nothing is scored, and the bases that stand there -> their Score."""
    if block < 1:
        raise ValueError(f"block is {block}: a window of the bootstrap has at least 1 base")
    places = np.flatnonzero(~np.isnan(p[:, 0]) & (codes < 4))
    if len(places) == 0:
        raise ValueError("there is nothing to score: no A, C, G or T was predicted (or none is masked)")
    bits = -np.log2(p[places, codes[places]])
    correct = p[places].argmax(axis=1) == codes[places]
    blocks, number = np.unique(places // block, return_inverse=True)
    weights = np.bincount(number)
    per_window = np.bincount(number, bits) / weights
    low, high = bootstrap(per_window, weights, seed=seed)
    settings = {**settings, "length": len(codes), "block": block, "bootstrap_seed": seed}
    return Score(
        protocol,
        float(bits.mean()),
        low,
        high,
        float(correct.mean()),
        places,
        bits,
        correct,
        per_window,
        weights,
        blocks * block,
        masked,
        mass,
        settings,
    )
