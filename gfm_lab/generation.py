"""Writing DNA: a causal model says how likely each next base is, we draw one, append it, and ask again.

    P(A, C, G, T | what is written)  ->  temperature, top-k, top-p  ->  draw  ->  one base longer

What a base costs depends on what the mixer has to keep of the bases before (`GenomicState`):

    Mamba, convolution, sliding window   a state of constant size: the millionth base costs what the first one did
    attention                            keys and values of every base: memory and time per base grow with the length
    Hyena                                its filter is as long as the sequence: everything is computed again each time

Read in this order: `sampling_probabilities`, then `generate`. Is the result DNA? `gfm_lab.composition` compares it with
real and Markov-made DNA. Should it do something? `gfm_lab.design` changes DNA towards what a predictor scores high;
its names are found here too. Introduced in notebook 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gfm_lab.baselines import codes_of
from gfm_lab.evaluation import _letters, _ready

__all__ = ["generate", "sampling_probabilities"]

BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
# Guided design stands in a module of its own, loaded on first use.
_DESIGN = frozenset(
    (
        "Designs",
        "distances",
        "guided_design",
        "log_likelihood",
        "log_odds",
        "metropolis",
        "random_mutants",
        "substitution_scores",
    )
)


def __getattr__(name: str) -> Any:
    if name in _DESIGN:
        from gfm_lab import design

        return getattr(design, name)
    raise AttributeError(f"module 'gfm_lab.generation' has no attribute {name!r}")


def sampling_probabilities(
    scores: Sequence[float] | np.ndarray,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> np.ndarray:
    """Scores (logits) of the choices, (..., V) -> the probabilities that the next one is drawn with, (..., V).

    Args:
        scores: numbers in nats up to a constant: logits or log-probabilities.
        temperature: scores are divided by it. 1: the model's own distribution. Below 1: likely bases become likelier.
            0: the likeliest base always (the first one of equals), which is greedy decoding.
        top_k: keep the k likeliest choices. None: all.
        top_p: of those kept, the fewest likeliest whose probabilities sum to at least this (nucleus sampling, Holtzman
            et al. 2020, arXiv:1904.09751). None: all.

    Raises ValueError for a setting out of range, and for scores that are not finite.
    Introduced in notebook 10.
    """
    scores = np.asarray(scores, dtype=float)
    _check_settings(temperature, top_k, top_p, scores.shape[-1])
    if not np.isfinite(scores).all():
        raise ValueError("the model's scores are not finite numbers: its weights, or its input, are broken")
    if temperature == 0:
        return np.eye(scores.shape[-1])[scores.argmax(-1)]
    p = np.exp((scores - scores.max(-1, keepdims=True)) / temperature)
    p /= p.sum(-1, keepdims=True)
    if top_k is None and top_p is None:
        return p
    order = np.argsort(-p, axis=-1, kind="stable")  # the likeliest first
    ranked = np.take_along_axis(p, order, -1)
    if top_k is not None:
        ranked[..., top_k:] = 0
        ranked /= ranked.sum(-1, keepdims=True)
    if top_p is not None:  # a choice stays if those before it have not reached the sum yet
        before = np.cumsum(ranked, -1) - ranked
        ranked[(before >= top_p) & (np.arange(scores.shape[-1]) > 0)] = 0
        ranked /= ranked.sum(-1, keepdims=True)
    np.put_along_axis(p, order, ranked, -1)
    return p


def generate(
    model: Any,
    tokenizer: Any,
    length: int,
    *,
    prompt: str = "",
    n: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    control: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> list[str]:
    """`n` sequences of `length` new bases that continue `prompt`; the prompt is not part of what is returned.

    Only A, C, G and T are drawn: scores of special tokens and of N are left out, as in the package's bits per base.
    The tokenizer's own first token, if it has one, and the control token stand before the prompt. Where nothing
    stands before the first base, the model cannot predict it: it is drawn with probability 1/4 each.

    Every sequence has its own random numbers, made from `seed` and its place in the list. So the same arguments give
    the same DNA, a larger `n` adds sequences, a larger `length` goes on with the same ones, and `batch_size` changes
    nothing but speed (up to the rounding of the device, which may tip one draw in millions).

    Args:
        model: a causal language model: GenomicForCausalLM, or one of transformers (GPT-2, ...), on any device.
        tokenizer: its own; one token for each base.
        length: bases to write, at least 1.
        prompt: what the DNA begins with; case does not matter.
        n: sequences, at least 1; batch_size: how many are written at the same time.
        temperature, top_k (1 to 4), top_p (above 0, up to 1): see `sampling_probabilities`.
        control: name of a control token, such as a species: "ecoli" for the token [ecoli].
        seed: a whole number from 0 on.

    Cost of a base: constant with Mamba, convolutions and the sliding window; with attention it grows with what is
    written, for keys and values of all bases are kept; Hyena computes the whole sequence again for each base, so that
    its cost grows fastest, and its `max_length` is a hard limit. The prompt is read once for all sequences of a batch.

    Raises:
        ValueError: a setting out of range, a masked model, an unknown control token (the known ones are listed), a
            tokenizer with tokens of several bases, or a sequence longer than the model can read (both numbers).
        SequenceError: a letter of the prompt that is no nucleotide, with its position.

    Introduced in notebook 10.
    """
    for name, value, least in (
        ("length", length, 1),
        ("n", n, 1),
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} is {value!r}: it must be a whole number of at least {least}")
    _check_settings(temperature, top_k, top_p, 4)
    _must_write(model)
    letters = _bases_of(tokenizer)
    start = [*letters.prefix, *_control(tokenizer, control), *letters.ids(codes_of(prompt)).tolist()]
    _must_fit(model, len(start), length)

    sequences: list[str] = []
    with _ready(model) as device:
        bases = torch.from_numpy(letters.bases).to(device)
        for first in range(0, n, batch_size):
            rows = range(first, min(n, first + batch_size))
            chance = np.stack(
                [np.random.default_rng((seed, row)).random(length) for row in rows]
            )  # (B, length)
            written = np.empty(chance.shape, dtype=np.uint8)  # codes 0 to 3
            scores, state, ids = None, None, torch.tensor([start], device=device)
            for t in range(length):
                if t == 0 and start:
                    scores, state = _step(model, ids, None, bases)
                    scores = scores.repeat(len(rows), axis=0)
                    ids = ids.expand(len(rows), -1)
                    if state is not None:  # read once, and kept for every row
                        state.reorder_cache(torch.zeros(len(rows), dtype=torch.long, device=device))
                elif t > 0:
                    new = bases[
                        torch.from_numpy(written[:, t - 1].astype(np.int64)).to(device), None
                    ]  # (B, 1)
                    ids = new if state is not None or ids.shape[1] == 0 else torch.cat([ids, new], dim=1)
                    scores, state = _step(model, ids, state, bases)
                p = (
                    np.full((1, 4), 0.25)
                    if scores is None
                    else sampling_probabilities(scores, temperature, top_k, top_p)
                )
                # The base whose share of the line from 0 to 1 holds the random number.
                below = np.cumsum(p, axis=1)[:, :3] <= chance[:, t, None]
                written[:, t] = below.sum(1)
            sequences += [BASES[row].tobytes().decode() for row in written]
    return sequences


def _step(model: Any, ids: torch.Tensor, state: Any, bases: torch.Tensor) -> tuple[np.ndarray, Any]:
    """Scores (B, 4) of the base after the last of `ids` (B, L), and the state, None for a model without one."""
    out = model(input_ids=ids, past_key_values=state, use_cache=True)
    return out.logits[:, -1, bases].double().cpu().numpy(), getattr(out, "past_key_values", None)


def _check_settings(temperature: float, top_k: int | None, top_p: float | None, choices: int) -> None:
    if not 0 <= temperature < math.inf:
        raise ValueError(
            f"temperature is {temperature!r}: it must be a finite number above 0, or 0 for the likeliest base always"
        )
    if top_k is not None and (
        isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= choices
    ):
        raise ValueError(
            f"top_k is {top_k!r}: it must be a whole number from 1 to {choices}, or None for all"
        )
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p!r}: it must be above 0 and at most 1, or None for all")


def _must_write(model: Any) -> None:
    can = getattr(model, "can_generate", None)
    if not getattr(model.config, "causal", True) or can is None or not can():
        raise ValueError(
            f"{type(model).__name__} does not predict the next base: a masked model fills gaps from both sides, and "
            f"a body alone has no head. Use a causal language model, such as GenomicForCausalLM"
        )


def _bases_of(tokenizer: Any) -> Any:
    try:
        return _letters(tokenizer)
    except ValueError:
        raise ValueError(
            f"generate writes base by base and needs one token for each base, which {type(tokenizer).__name__} does "
            f"not give: use a NucleotideTokenizer"
        ) from None


def _control(tokenizer: Any, control: str | None) -> list[int]:
    """The control token's id, in a list; an empty list without one. Raises ValueError for an unknown one."""
    if control is None:
        return []
    if not hasattr(tokenizer, "control_id"):
        raise ValueError(f"{type(tokenizer).__name__} has no control tokens: leave control out")
    return [tokenizer.control_id(control)]


def _must_fit(model: Any, before: int, length: int) -> None:
    """Raise ValueError if the model cannot read all tokens; the last base is written, but not read."""
    tokens, config = before + length - 1, model.config
    limits = []
    if getattr(config, "positions", "learned") != "none":  # models of transformers have positions
        limits.append(("max_position_embeddings", getattr(config, "max_position_embeddings", None)))
        limits[0] = (limits[0][0], limits[0][1] and limits[0][1] - getattr(config, "position_offset", 0))
    if getattr(config, "mixer", None) == "hyena":
        longest = (config.mixer_options or {}).get("max_length")
        limits.append(("max_length of Hyena", min(longest) if isinstance(longest, list | tuple) else longest))
    for name, limit in limits:
        if limit is not None and tokens > limit:
            raise ValueError(
                f"the model reads at most {limit:,} tokens ({name}), and writing {length:,} bases after "
                f"{before:,} tokens of prompt and control reads {tokens:,}: write fewer, shorten the prompt, or take "
                f"a model without that limit"
            )
