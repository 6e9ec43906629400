"""How each score of a variant is computed: from pairs of windows to numbers. `gfm_lab.variants` says what they mean.

    masked           hide the tokens that differ; one pass serves all alternatives that hide the same
    autoregressive   log-likelihood of each different window, once
    embedding        mean vector of each different window, once
    head             prediction for each different window, once

Windows of one length go through the model together, so nothing is padded and a batch gives what one by one gives.
Introduced in notebook 12.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from gfm_lab.sequence import reverse_complement

LARGEST = 1 << 25  # logits of a batch: fewer windows at once for a large vocabulary


class Unfit(ValueError):
    """A variant that a method or a tokenizer cannot score."""


class Pair(NamedTuple):
    """The window with one allele and with the other; how many bases stand before and after the change."""

    ref: str
    alt: str
    left: int
    right: int

    def turned(self) -> Pair:
        return Pair(reverse_complement(self.ref), reverse_complement(self.alt), self.right, self.left)


# ---- Tokens ----


class Text:
    """A tokenizer as the scores need it: windows to ids, and which ids are DNA."""

    def __init__(self, tokenizer: Any, control: str | None) -> None:
        self.tokenizer, self.mask = tokenizer, tokenizer.mask_token_id
        self.front: list[int] = []
        if control is not None:
            if not hasattr(tokenizer, "control_id"):
                raise ValueError(
                    f"{type(tokenizer).__name__} has no control tokens: leave out control={control!r}"
                )
            self.front = [tokenizer.control_id(control)]
        special = {*tokenizer.all_special_ids}
        vocabulary = tokenizer.get_vocab()
        self.dna = np.zeros(max(vocabulary.values()) + 1, dtype=bool)  # (V,) tokens of A, C, G and T alone
        self.bases = np.zeros(len(self.dna), dtype=np.int64)  # (V,) how many bases each of them has
        for token, number in vocabulary.items():
            if number not in special and token and not token.strip("ACGT"):
                self.dna[number], self.bases[number] = True, len(token)
        self.plain = hasattr(tokenizer, "encode_array")
        probe = self.encode("ACGT" * 4)
        self.specials = len(probe) - int(self.dna[probe].sum())
        self.ahead = int(np.argmax(self.dna[probe]))  # special tokens before the first base
        self.single = bool((self.bases[probe] <= 1).all())  # one token a base

    def encode(self, window: str) -> np.ndarray:
        """(T,) ids, special tokens included. Raises Unfit for letters the tokenizer does not know."""
        try:
            if self.plain:
                ids = self.tokenizer.encode_array(window, add_special_tokens=True)
            else:
                ids = self.tokenizer(window)["input_ids"]
        except ValueError as fault:
            raise Unfit(f"the tokenizer refuses its window of {len(window)} bases ({fault})") from None
        return np.concatenate([self.front, ids]).astype(np.int64) if self.front else np.array(ids, np.int64)


def _batches(rows: Sequence[np.ndarray], size: int, vocabulary: int = 1) -> Iterator[list[int]]:
    """Numbers of rows that go through the model together: rows of one length, so that nothing is padded."""
    by_length: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(number)
    for length, numbers in by_length.items():
        step = max(1, min(size, LARGEST // max(1, length * vocabulary)))
        for start in range(0, len(numbers), step):
            yield numbers[start : start + step]


def _run(model: Any, rows: list[np.ndarray], **inputs: Any) -> Any:
    device = next((part.device for part in model.parameters()), torch.device("cpu"))
    return model(input_ids=torch.from_numpy(np.stack(rows)).to(device), **inputs)


def _log_p(logits: torch.Tensor, dna: np.ndarray) -> torch.Tensor:
    """Log probabilities (nats) among the tokens of A, C, G and T: (..., V); others get -inf."""
    logits = logits.float()
    allowed = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    allowed[: len(dna)] = torch.from_numpy(dna[: logits.shape[-1]]).to(logits.device)
    return logits.masked_fill(~allowed, -math.inf).log_softmax(-1)


def _once(keys: Iterable[Hashable]) -> tuple[list[Any], list[int]]:
    """The different keys, and for each key its number among them."""
    numbers: dict[Hashable, int] = {}
    at = [numbers.setdefault(key, len(numbers)) for key in keys]
    return [*numbers], at


# ---- 1. Masked marginals ----


def masked(model: Any, text: Text, pairs: list[Pair], reach: int | None, batch_size: int) -> np.ndarray:
    if text.mask is None:
        raise ValueError(f"{type(text.tokenizer).__name__} has no mask token: it cannot hide a base")
    scores, rows, asked = np.zeros(len(pairs)), {}, []  # rows: hidden input -> its number
    for number, pair in enumerate(pairs):
        if len(pair.ref) != len(pair.alt):
            scores[number] = _pseudo(model, text, pair, reach, batch_size)
            continue
        ref, alt = text.encode(pair.ref), text.encode(pair.alt)
        if len(ref) != len(alt) or not (text.plain or text.single):
            raise Unfit(
                f"a {type(text.tokenizer).__name__} cuts the two alleles into different tokens, so no token can be "
                f"hidden in both: use method 'autoregressive', 'embedding' or 'head', or a tokenizer of fixed words"
            )
        changed = np.flatnonzero(ref != alt)
        if not (text.dna[ref[changed]] & text.dna[alt[changed]]).all():
            raise Unfit("a token that it changes also holds a letter other than A, C, G and T")
        hidden = ref.copy()
        hidden[changed] = text.mask
        row = rows.setdefault(hidden.tobytes(), len(rows))
        weight = 1.0 if text.single else 1.0 / _covering(text, pair)
        asked.append((number, row, changed, ref[changed], alt[changed], weight))
    inputs = [np.frombuffer(key, dtype=np.int64) for key in rows]
    wanted: list[list[tuple]] = [[] for _ in inputs]
    for entry in asked:
        wanted[entry[1]].append(entry)
    for batch in _batches(inputs, batch_size, len(text.dna)):
        logits = _run(model, [inputs[i] for i in batch]).logits
        for place, i in enumerate(batch):
            columns = wanted[i][0][2]  # the same hidden places for every alternative of this row
            log_p = _log_p(logits[place, torch.from_numpy(columns).to(logits.device)], text.dna)
            log_p = log_p.cpu().double().numpy()  # (changed, V)
            each = np.arange(len(columns))
            for number, _, _, ref, alt, weight in wanted[i]:
                scores[number] = weight * (log_p[each, alt] - log_p[each, ref]).sum()
    return scores


def _covering(text: Text, pair: Pair) -> float:
    """Mean number of tokens that cover a changed base."""
    bases = [at for at, (a, b) in enumerate(zip(pair.ref, pair.alt, strict=True)) if a != b]
    covers = [len(text.tokenizer.token_at(base, pair.ref)) for base in bases]
    return max(1.0, float(np.mean(covers)))


def _pseudo(model: Any, text: Text, pair: Pair, reach: int | None, batch_size: int) -> float:
    """Difference of pseudo-log-likelihoods of two windows of different length, per base times the longer one's."""
    if not text.single:
        raise Unfit(
            "it changes the length, and words of several bases then change all the way to the end: use method "
            "'autoregressive' or 'embedding', or a NucleotideTokenizer"
        )
    means, counts = [], []
    for window in (pair.ref, pair.alt):
        ids = text.encode(window)
        places = np.flatnonzero(text.dna[ids])
        first, stop = text.ahead + pair.left, text.ahead + len(window) - pair.right  # of the allele
        if reach is not None:
            places = places[(places >= first - reach) & (places < stop + reach)]
        if len(places) == 0:
            raise Unfit("there is no base beside it: choose a larger reach, or a longer sequence")
        rows = []
        for place in places:
            hidden = ids.copy()
            hidden[place] = text.mask
            rows.append(hidden)
        total = 0.0
        for batch in _batches(rows, batch_size, len(text.dna)):
            at = torch.from_numpy(places[batch])
            logits = _run(model, [rows[i] for i in batch]).logits
            log_p = _log_p(logits[torch.arange(len(batch)), at], text.dna)
            total += float(
                log_p.gather(1, torch.from_numpy(ids[places[batch]])[:, None].to(log_p.device)).sum()
            )
        means.append(total / len(places))
        counts.append(len(places))
    return max(counts) * (means[1] - means[0])


# ---- 2. Log-likelihood of the window ----


def autoregressive(model: Any, text: Text, pairs: list[Pair], batch_size: int) -> np.ndarray:
    windows, at = _once(window for pair in pairs for window in (pair.ref, pair.alt))
    rows = [text.encode(window) for window in windows]
    totals, bases = np.zeros(len(rows)), np.zeros(len(rows))
    for batch in _batches(rows, batch_size, len(text.dna)):
        ids = np.stack([rows[i] for i in batch])
        if ids.shape[1] < 2:
            raise Unfit("its window holds a single token, which has nothing before it")
        log_p = _log_p(_run(model, list(ids)).logits[:, :-1], text.dna)
        after = torch.from_numpy(ids[:, 1:]).to(log_p.device)
        scored = torch.from_numpy(text.dna[ids[:, 1:]]).to(log_p.device)
        own = log_p.gather(2, after[..., None])[..., 0]
        # Scores are small differences of large sums: those of float32 would be off by 1e-4.
        totals[batch] = torch.where(scored, own, 0.0).cpu().double().sum(1).numpy()
        bases[batch] = np.where(text.dna[ids[:, 1:]], text.bases[ids[:, 1:]], 0).sum(1)
    ref, alt = at[0::2], at[1::2]
    if not (bases[ref].all() and bases[alt].all()):
        raise Unfit("no base of its window is scored")
    same = bases[ref] == bases[alt]
    longer = np.maximum(bases[ref], bases[alt])
    return np.where(
        same, totals[alt] - totals[ref], longer * (totals[alt] / bases[alt] - totals[ref] / bases[ref])
    )


# ---- 3. Distance of embeddings ----


def embedding(model: Any, text: Text, pairs: list[Pair], distance: str, batch_size: int) -> np.ndarray:
    windows, at = _once(window for pair in pairs for window in (pair.ref, pair.alt))
    rows = [text.encode(window) for window in windows]
    vectors: list[Any] = [None] * len(rows)
    body = getattr(model, "base_model", model)
    for batch in _batches(rows, batch_size):
        hidden = _run(body, [rows[i] for i in batch]).last_hidden_state.float().cpu().double()  # (B, T, D)
        # The mean over tokens that stand for letters: special tokens would only dilute the difference.
        for place, i in enumerate(batch):
            letters = text.dna[rows[i]]
            if not letters.any():
                raise Unfit("no base of its window is known")
            vectors[i] = hidden[place, torch.from_numpy(letters)].mean(0).numpy()
    ref, alt = (np.stack([vectors[i] for i in side]) for side in (at[0::2], at[1::2]))
    if distance == "euclidean":
        return np.linalg.norm(ref - alt, axis=1)
    ref, alt = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-30) for v in (ref, alt))
    # Half the squared distance of unit vectors is 1 - cosine, without the cancellation of that difference.
    return ((ref - alt) ** 2).sum(1) / 2


# ---- 4. A trained head ----


def head(model: Any, text: Text | None, pairs: list[Pair], target: int, batch_size: int) -> np.ndarray:
    windows, at = _once(window for pair in pairs for window in (pair.ref, pair.alt))
    if predicts(model):
        predict = getattr(model, "predict", model)
        found = np.asarray(predict(windows), dtype=float)
        if len(found) != len(windows) or found.ndim > 2:
            raise ValueError(
                f"predict gave shape {found.shape} for {len(windows)} sequences: (N,) numbers or (N, C) probabilities"
            )
        if found.ndim == 2 and found.shape[1] > 1:
            p = np.clip(found, 1e-9, 1 - 1e-9)
            found = np.log(p) - np.log1p(-p)  # log odds of each class
        value = _column(found, target)
    else:
        assert text is not None
        rows, value = [text.encode(window) for window in windows], np.zeros(len(windows))
        for batch in _batches(rows, batch_size):
            logits = _run(model, [rows[i] for i in batch]).logits.float().cpu().double()
            several = getattr(model.config, "problem_type", None) == "multi_label_classification"
            if logits.shape[1] > 1 and not several and not _regresses(model):
                others = torch.stack(
                    [logits[:, [j for j in range(logits.shape[1]) if j != c]].logsumexp(1)
                     for c in range(logits.shape[1])], 1
                )  # fmt: skip
                logits = logits - others
            value[batch] = _column(logits.numpy(), target)
    return value[at[1::2]] - value[at[0::2]]


def _regresses(model: Any) -> bool:
    return getattr(model.config, "problem_type", None) == "regression"


def _column(found: np.ndarray, target: int) -> np.ndarray:
    if found.ndim == 1 or found.shape[1] == 1:
        return found.reshape(len(found))
    if not 0 <= target < found.shape[1]:
        raise ValueError(f"target is {target}: the head has classes 0 to {found.shape[1] - 1}")
    return found[:, target]


# ---- Which model can give which score ----


def predicts(model: Any) -> bool:
    """Whether the model answers to sequences themselves: predict(sequences), or a function of them."""
    return hasattr(model, "predict") or (callable(model) and not isinstance(model, torch.nn.Module))


def must_fit(model: Any, method: str) -> None:
    name = type(model).__name__
    if method == "head" and predicts(model):
        return
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"{name} is no model: load one with gfm_lab.load_model")
    inner = getattr(model, "model", model) if name == "ReverseComplement" else model
    config = getattr(inner, "config", None)
    kind = "a body without a head"
    fits = "embedding"
    if "Classification" in type(inner).__name__:
        kind, fits = "a model with a trained head", "head"
    elif hasattr(inner, "get_output_embeddings") and inner.get_output_embeddings() is not None:
        causal = getattr(config, "causal", False) or getattr(config, "is_decoder", False)
        causal = causal or any(word in type(inner).__name__ for word in ("CausalLM", "LMHead"))
        kind, fits = (
            ("a next-token model", "autoregressive") if causal else ("a masked language model", "masked")
        )
    if method == fits or (method == "embedding" and name != "ReverseComplement"):
        return
    cure = {
        "masked": "a masked language model, such as ecoli-attention-mlm",
        "autoregressive": "a next-token model, such as ecoli-conv-ar",
        "embedding": "a model with a body of its own; for both strands pass strands='both'",
        "head": "a trained head: gfm_lab.finetune makes one",
    }[method]
    raise ValueError(f"{name} is {kind}: score it with method {fits!r}; method {method!r} needs {cure}")
