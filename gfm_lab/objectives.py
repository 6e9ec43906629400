"""Site 5 of the anatomy: the objective, which turns a batch of tokens into what goes in and what is to be predicted.

    masked       in    [CLS] A  [MASK] G  T  C [SEP]      each label is the token that stood there,
                 label  -    -    C    -  -  -   -         predicted from both sides
    next token   in    [CLS] A    C    G  T  C [SEP]      the labels are the tokens themselves: the model
                 label  -    A    C    G  T  C   -         compares each with its prediction one place before

"-" is -100, which every loss skips. Both objectives are collators: functions from a list of examples to the tensors of
a batch, as transformers.Trainer takes them.

Masking has three choices. How many tokens (`rate`, 15 %). Which: each on its own, or runs of neighbours, because
overlapping k-mers spell every base k times (`pattern`). What is shown in their place: [MASK] for 80 %, another token
for 10 %, the token itself for 10 % (`replace`). `mask_tokens` is all of it; `MaskedLMCollator` pads the batch, finds
the tokens that may be masked, and supplies the random numbers. Introduced in notebook 09.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["MaskedLMCollator", "NextTokenCollator", "mask_tokens", "run_offsets"]

IGNORED = -100  # the label that losses skip
PATTERNS = ("independent", "contiguous")


def run_offsets(width: int) -> range:
    """The places around a centre that contiguous masking takes with it: `width` neighbours, the centre among them.

    >>> list(run_offsets(6))
    [-2, -1, 0, 1, 2, 3]

    DNABERT's for k = 3, 4, 5 and 6 (Ji et al. 2021, doi 10.1093/bioinformatics/btab083). Introduced in notebook 09.
    """
    return range(-((width - 1) // 2), width // 2 + 1)


def mask_tokens(
    ids: np.ndarray,
    maskable: np.ndarray,
    uniform: np.ndarray,
    *,
    mask_token_id: int,
    replacements: np.ndarray,
    rate: float = 0.15,
    width: int = 1,
    replace: tuple[float, float, float] = (0.8, 0.1, 0.1),
    together: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Masks tokens at random: ids (B, L) -> input ids (B, L) and labels (B, L), -100 where nothing is predicted.

    maskable (B, L): which tokens may be masked. uniform (3, B, L): random numbers in [0, 1), which decide whether a
    token is the centre of a run, what is shown in its place, and which token of `replacements` (R,) if another one.
    The function has no other chance in it.

    width: tokens in a run. 1 masks each token on its own with probability `rate`. With more, centres have probability
    rate / width (DNABERT's 0.025 for k = 6 and 15 %) and take their neighbours with them (`run_offsets`); runs may
    overlap, so that a share 1 - (1 - rate / width)**width is masked, 14.1 % there, and a little less at the ends.
    replace: shares of [MASK], of another token and of the token itself among those masked. together: draw this once
    for each stretch of adjacent masked tokens, not for each token.

    80/10/10: Devlin et al. 2019 (doi 10.18653/v1/N19-1423). Introduced in notebook 09.
    """
    chosen = (uniform[0] < rate / width) & maskable
    if width > 1:
        centres, chosen = chosen, chosen.copy()
        for offset in run_offsets(width):
            if offset > 0:
                chosen[:, offset:] |= centres[:, :-offset]
            elif offset < 0:
                chosen[:, :offset] |= centres[:, -offset:]
        chosen &= maskable

    fate = uniform[1]
    if together:  # every token of a stretch takes the number of its first
        first = chosen.copy()
        first[:, 1:] &= ~chosen[:, :-1]
        places = np.where(first, np.arange(ids.shape[1]), 0)
        fate = np.take_along_axis(fate, np.maximum.accumulate(places, axis=1), axis=1)

    hidden = chosen & (fate < replace[0])
    other = chosen & (fate >= replace[0]) & (fate < replace[0] + replace[1])
    shown = ids.copy()
    shown[hidden] = mask_token_id
    shown[other] = replacements[(uniform[2][other] * len(replacements)).astype(np.int64)]
    return shown, np.where(chosen, ids, IGNORED)


class MaskedLMCollator:
    """Collator of masked language modelling. Introduced in notebook 09.

    Called on a list of examples, each a mapping with `input_ids` (list, array or tensor of one dimension) and, if
    wanted, `attention_mask`, `special_tokens_mask` and `index`. Returns `input_ids`, `attention_mask` and `labels`,
    int64 tensors (B, L), padded on the tokenizer's side to the longest example. Anything else in an example is dropped.

    rate: share of the tokens to be predicted. pattern: "independent", each token on its own, or "contiguous",
    DNABERT's runs of as many tokens as cover one base (see `mask_tokens`), for tokenizers whose words overlap. A BPE
    token or a nucleotide hides its bases alone: independent masking is whole-token masking there. replace, together:
    see `mask_tokens`.

    Only tokens spelled with A, C, G and T are masked or get a label: no special tokens, no padding, no N. Replacements
    are whole words of these letters. (transformers' DataCollatorForLanguageModeling draws from the whole vocabulary.)

    index: a whole number from 0. The masks of that example then depend on (seed, index) alone: not on the batch, its
    padding, the process or what was drawn before. A new index gives a new mask, so count on over epochs. Without
    `index` numbers come from the collator's own generator. transformers.Trainer drops keys that the model does not
    know, `index` among them: set TrainingArguments(remove_unused_columns=False).

    In a batch of very few tokens none may be masked: `heads.token_loss` is then 0, the loss of transformers' BERT NaN.

    Raises ValueError for settings out of range, for a tokenizer without [MASK] or without DNA, and, when called, for
    ids outside the vocabulary, masks of another length, and an index in some examples only.
    """

    def __init__(
        self,
        tokenizer: Any,
        rate: float = 0.15,
        pattern: str = "independent",
        replace: Sequence[float] = (0.8, 0.1, 0.1),
        together: bool = False,
        seed: int = 0,
    ) -> None:
        if not 0 < rate <= 1:
            raise ValueError(f"rate is the share of tokens to mask, above 0 and at most 1, not {rate!r}")
        if pattern not in PATTERNS:
            raise ValueError(f"pattern must be {' or '.join(map(repr, PATTERNS))}, not {pattern!r}")
        if len(replace) != 3 or min(replace) < 0 or abs(sum(replace) - 1) > 1e-6:
            raise ValueError(
                f"replace holds the shares of [MASK], another token and the same token: three numbers from 0 that sum "
                f"to 1, not {replace!r}"
            )
        if seed < 0:
            raise ValueError(f"seed must be a whole number from 0, not {seed!r}")
        if tokenizer.mask_token_id is None:
            raise ValueError(f"{type(tokenizer).__name__} has no mask token: set tokenizer.mask_token")
        self.tokenizer = tokenizer
        self.rate, self.pattern, self.replace = rate, pattern, tuple(replace)
        self.together, self.seed = together, seed
        self.width = 1 if pattern == "independent" else _tokens_over_a_base(tokenizer)
        self.is_real, self.replacements = _real_tokens(tokenizer)
        self._generator: np.random.Generator | None = None

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        ids, mask, special, start = _pad(examples, self.tokenizer)
        maskable = _look_up(self.is_real, ids, mask) & ~special
        shown, labels = mask_tokens(
            ids,
            maskable,
            self._uniform(examples, ids.shape, start),
            mask_token_id=self.tokenizer.mask_token_id,
            replacements=self.replacements,
            rate=self.rate,
            width=self.width,
            replace=self.replace,
            together=self.together,
        )
        return _tensors(shown, mask, labels)

    def _uniform(self, examples: Sequence[Mapping], shape: tuple[int, int], start: np.ndarray) -> np.ndarray:
        """Random numbers in [0, 1) for `mask_tokens`, (3, B, L)."""
        index = [example["index"] for example in examples if "index" in example]
        if not index:
            if self._generator is None:  # made here, so that each worker of a DataLoader has its own
                worker = torch.utils.data.get_worker_info()
                self._generator = np.random.default_rng([self.seed] + ([worker.seed] if worker else []))
            return self._generator.random((3, *shape))
        if len(index) < len(examples):
            raise ValueError(
                f"{len(index)} of {len(examples)} examples have an index: give it to all or none"
            )
        if min(index) < 0:
            raise ValueError(f"index must be a whole number from 0, not {int(min(index))}")
        return _hashed_uniform(self.seed, np.array([int(i) for i in index], np.uint64), shape, start)


class NextTokenCollator:
    """Collator of next-token (autoregressive) modelling. Introduced in notebook 10.

    Takes and returns what `MaskedLMCollator` does. The labels are the input ids themselves, at tokens spelled with A,
    C, G and T; -100 at padding, special tokens and N. The model compares the prediction at each token with the label
    of the next: shifting is its task, and done once.

    Raises ValueError for a tokenizer without DNA, ids outside the vocabulary and masks of another length.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.is_real, _ = _real_tokens(tokenizer)

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        ids, mask, special, _ = _pad(examples, self.tokenizer)
        labels = np.where(_look_up(self.is_real, ids, mask) & ~special, ids, IGNORED)
        return _tensors(ids, mask, labels)


# ---- Helpers ----


def _real_tokens(tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which ids are spelled with A, C, G, T, (vocabulary,) bool, and those that may replace another, (R,)."""
    vocabulary = tokenizer.get_vocab()
    special = {*tokenizer.all_special_ids}
    real = {token: i for token, i in vocabulary.items() if {*token} <= {*"ACGT"} and i not in special}
    if not real:
        raise ValueError(
            f"no token of this {type(tokenizer).__name__} is spelled with A, C, G and T: there is nothing to predict"
        )
    table = np.zeros(max(vocabulary.values()) + 1, bool)
    table[[*real.values()]] = True
    # Lone letters of a k-mer tokenizer stand only at the end of a run of bases: they would be strange replacements.
    k = getattr(tokenizer, "k", None)
    return table, np.array(sorted(i for token, i in real.items() if k is None or len(token) == k), np.int64)


def _tokens_over_a_base(tokenizer: Any) -> int:
    """How many adjacent tokens spell the same base: k / stride, rounded up."""
    k, stride = getattr(tokenizer, "k", 1), getattr(tokenizer, "stride", 1)
    if k <= stride:
        raise ValueError(
            f"pattern='contiguous' hides a base that overlapping words spell several times. The tokens of this "
            f"{type(tokenizer).__name__} do not overlap: each hides its bases alone, use pattern='independent'"
        )
    return -(-k // stride)


def _pad(
    examples: Sequence[Mapping], tokenizer: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """ids, attention mask and special tokens mask (B, L), and the column where each example begins (B,)."""
    if not examples:
        raise ValueError("a batch needs at least one example")
    if tokenizer.pad_token_id is None:
        raise ValueError(f"{type(tokenizer).__name__} has no padding token: set tokenizer.pad_token")
    rows = [np.asarray(example["input_ids"]) for example in examples]
    for i, row in enumerate(rows):
        if row.ndim != 1 or row.dtype.kind not in "iu":
            raise ValueError(
                f"input_ids of example {i} of the batch must be whole numbers in one dimension, not {row.dtype} "
                f"of shape {row.shape}"
            )
    lengths = np.array([len(row) for row in rows])
    shape = (len(rows), int(lengths.max()))
    start = shape[1] - lengths if tokenizer.padding_side == "left" else np.zeros(len(rows), np.int64)
    ids = _fill(rows, np.full(shape, tokenizer.pad_token_id, np.int64), start)

    def optional(name: str, absent: np.ndarray) -> np.ndarray:
        given = [name in example for example in examples]
        if not any(given):
            return absent
        if not all(given):
            raise ValueError(f"{sum(given)} of {len(rows)} examples have {name}: give it to all or none")
        values = [np.asarray(example[name]) for example in examples]
        for i, (row, value) in enumerate(zip(rows, values, strict=True)):
            if value.shape != row.shape:
                raise ValueError(
                    f"example {i} of the batch has {len(row)} input_ids, but {name} of shape {value.shape}"
                )
        return _fill(values, np.zeros(shape, np.int64), start)

    mask = optional("attention_mask", (ids != tokenizer.pad_token_id).astype(np.int64))
    special = optional("special_tokens_mask", np.zeros(shape, np.int64)).astype(bool)
    return ids, mask, special, start


def _fill(rows: list[np.ndarray], out: np.ndarray, start: np.ndarray) -> np.ndarray:
    for row, values, at in zip(out, rows, start.tolist(), strict=True):
        row[at : at + len(values)] = values
    return out


def _look_up(is_real: np.ndarray, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which of the tokens `ids` (B, L) are spelled with A, C, G, T and are no padding."""
    if ids.size and not 0 <= ids.min() <= ids.max() < len(is_real):
        row, column = np.argwhere((ids < 0) | (ids >= len(is_real)))[0].tolist()
        raise ValueError(
            f"token id {ids[row, column]} in example {row} of the batch is outside the vocabulary, 0 to "
            f"{len(is_real) - 1}: was it made by another tokenizer?"
        )
    return is_real[ids] & (mask != 0)


def _tensors(ids: np.ndarray, mask: np.ndarray, labels: np.ndarray) -> dict[str, torch.Tensor]:
    arrays = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _hashed_uniform(seed: int, index: np.ndarray, shape: tuple[int, int], start: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) that depend on (seed, index of the example, place in the example) alone, (3, B, L).

    SplitMix64 (Steele et al. 2014, doi 10.1145/2660193.2660195), whose n-th number is a hash of its start plus n times
    a constant: so all numbers of a batch are computed at once, where a generator for each example takes longer.
    """
    step = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):  # arithmetic is modulo 2**64
        seeds = _mix(np.array([seed % 2**64], np.uint64) + step)
        streams = _mix(seeds + step * (index + np.uint64(1)))  # (B,), the start of each example's numbers
        places = (np.arange(shape[1]) - start[:, None]).astype(np.uint64)  # (B, L), negative ones are padding
        counts = np.uint64(3) * places + np.arange(1, 4, dtype=np.uint64)[:, None, None]  # (3, B, L)
        numbers = _mix(streams[:, None] + step * counts)
    return (numbers >> np.uint64(11)) * 2.0**-53


def _mix(z: np.ndarray) -> np.ndarray:
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z
