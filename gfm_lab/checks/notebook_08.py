"""The exercises of notebook 08, output heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gfm_lab.checks import Hint, exercise, need, written

exercise_08 = exercise("08_output_heads")

CLOSE = 1e-5
BATCH, LENGTH, WIDTH, TOKENS = 3, 75, 128, 20  # of the notebook's question


@exercise_08
def shapes(answer: Any) -> str:
    """`answer`: head -> shape, for 3 sequences of 75 tokens, a body of width 128 and 20 tokens."""
    need(answer, Mapping, "the answer")
    expected = {
        "language model": (BATCH, LENGTH, TOKENS),
        "classification": (BATCH, 3),
        "regression": (BATCH, 1),
        "embedding": (BATCH, WIDTH),
    }
    missing = [head for head in expected if head not in answer]
    if missing:
        raise Hint(f"no shape for {', '.join(missing)}")
    for head, shape in expected.items():
        got = answer[head]
        if got is ... or not isinstance(got, tuple | list | torch.Size):
            raise Hint(f"{head}: give a tuple of whole numbers")
        got = tuple(got)
        if got == shape:
            continue
        if head == "language model" and got == (BATCH, LENGTH, WIDTH):
            raise Hint(
                "language model: 128 numbers a position is what goes in; what comes out is a score a token"
            )
        if head == "language model" and len(got) == 2:
            raise Hint("language model: it answers at every position, so the positions stay")
        if len(got) == 3:
            raise Hint(f"{head}: it says one thing about a whole sequence; where have the positions gone?")
        if head == "regression" and got == (BATCH,):
            raise Hint("regression: a linear map leaves a last axis, also when there is one number on it")
        if head == "embedding" and got == (BATCH, TOKENS):
            raise Hint("embedding: its numbers are the body's channels, not scores of tokens")
        raise Hint(f"{head}: not {got}; how many sequences, and how many numbers for each?")
    return "one body, four shapes: only the first keeps the positions"


# ---- The padding trap ----


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    real = mask[..., None] != 0
    return hidden.masked_fill(~real, 0).sum(1) / real.sum(1).clamp(min=1)


@exercise_08
def masked_mean(answer: Any) -> str:
    """`answer(hidden, mask) -> (B, D)`: the mean over the positions whose mask is 1."""
    generator = torch.Generator().manual_seed(1)
    for case in range(12):
        batch, length, width = (int(n) for n in torch.randint(1, 7, (3,), generator=generator))
        hidden = torch.randn(batch, length, width, generator=generator)
        mask = (torch.rand(batch, length, generator=generator) < 0.6).long()
        mask[torch.arange(batch), torch.randint(length, (batch,), generator=generator)] = 1
        if case == 0:
            mask[:] = 1
        kept = hidden.clone()
        got = _tensor(answer(hidden, mask.clone()), (batch, width))
        if not torch.equal(hidden, kept):
            raise Hint(
                "your function changed the hidden states it was given: masked_fill, without the last _, copies"
            )
        if not torch.allclose(got, _mean(hidden, mask), atol=CLOSE):
            raise Hint(_what_is_wrong(got, hidden, mask))
    hidden, mask = torch.randn(2, 4, 3, generator=generator), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    expected = _mean(hidden, mask)
    hidden[0, 2:] = float("nan")
    got = _tensor(answer(hidden, mask), (2, 3))
    if not torch.allclose(got, expected, atol=CLOSE):
        raise Hint(
            "with NaN at padding the answer is NaN, since 0 times NaN is NaN: replace what stands there (masked_fill) "
            "before you add up"
        )
    got = _tensor(answer(torch.randn(2, 3, 2, generator=generator), torch.zeros(2, 3).long()), (2, 2))
    if not torch.equal(got, torch.zeros(2, 2)):
        raise Hint("a row of padding alone should give zeros: divide by at least 1 (clamp)")
    return "12 batches with holes on either side, NaN at padding, and a row of padding alone"


def _what_is_wrong(got: Tensor, hidden: Tensor, mask: Tensor) -> str:
    if torch.allclose(got, hidden.mean(1), atol=CLOSE):
        return "this is the mean over all positions, padding too: the mask was not used"
    real = mask[..., None].to(hidden)
    if torch.allclose(got, (hidden * real).mean(1), atol=CLOSE):
        return "padding adds nothing now, but you still divide by all positions: divide by the number of real ones"
    if torch.allclose(got, (hidden * real).sum(1), atol=CLOSE):
        return "this is the sum over real positions; a mean divides by how many there are, row by row"
    if torch.allclose(got, (hidden * real).sum(1) / real.sum(), atol=CLOSE):
        return "you divide by the real positions of the whole batch: each row has its own number"
    return f"differs from the mean over real positions by up to {(got - _mean(hidden, mask)).abs().max():.3g}"


def _tensor(got: Any, shape: tuple[int, ...]) -> Tensor:
    need(got, Tensor, "the result")
    if tuple(got.shape) != shape:
        raise Hint(f"the result should have the shape {shape}, not {tuple(got.shape)}")
    return got


# ---- Logits are not hidden states ----


def _models() -> list[tuple[str, Any]]:
    """A causal and a two-sided model with random weights, small enough for a check."""
    from gfm_lab import GenomicConfig, GenomicForCausalLM, GenomicForMaskedLM

    options = {"vocab_size": 9, "hidden_size": 12, "num_hidden_layers": 2, "mixer_options": {"heads": 2}}
    torch.manual_seed(0)
    made = [
        ("a causal model", GenomicForCausalLM(GenomicConfig(causal=True, **options))),
        ("a masked model", GenomicForMaskedLM(GenomicConfig(**options))),
    ]
    return [(name, model.eval()) for name, model in made]


@exercise_08
def vectors(answer: Any) -> str:
    """`answer(model, ids, mask) -> (B, D)`: the masked mean of the body's last hidden states."""
    ids = torch.tensor([[5, 6, 7, 8, 5, 6], [8, 8, 6, 0, 0, 0], [0, 0, 5, 7, 7, 6]])
    mask = (ids != 0).long()
    for name, model in _models():
        pad = model.config.pad_token_id
        ids_here = ids.masked_fill(mask == 0, pad)
        with torch.no_grad():
            body = model.base_model(ids_here, attention_mask=mask, output_hidden_states=True)
            blind = model.base_model(ids_here).last_hidden_state
            logits = model(ids_here, attention_mask=mask).logits
            got = answer(model, ids_here.clone(), mask.clone())
        need(got, Tensor, "the result")
        hidden = body.last_hidden_state
        if got.shape[-1] == logits.shape[-1]:
            raise Hint(
                f"{name}: {got.shape[-1]} numbers a sequence are scores of the {logits.shape[-1]} tokens. Logits are "
                "what the LM head made of the hidden states; take the hidden states of the body"
            )
        if tuple(got.shape) == tuple(hidden.shape):
            raise Hint(f"{name}: these are vectors of every position; one a sequence is asked for")
        got = _tensor(got, (len(ids), hidden.shape[-1])).detach()
        if torch.allclose(got, _mean(hidden, mask), atol=CLOSE):
            continue
        for wrong, hint in (
            (hidden.mean(1), "padding is averaged in: use the mask (exercise 2)"),
            (
                _mean(blind, mask),
                "the body was run without attention_mask, so its positions looked at padding",
            ),
            (blind.mean(1), "the body was run without attention_mask, and padding is averaged in"),
            (hidden[:, -1], "this is what stands in the last column, padding where a sequence is short"),
            (hidden[:, 0], "this is the first column: padding in a row that is padded left"),
            (_mean(body.hidden_states[0], mask), "hidden_states[0] is the embedding, before any layer"),
        ):
            if torch.allclose(got, wrong, atol=CLOSE):
                raise Hint(f"{name}: {hint}")
        raise Hint(
            f"{name}: differs from the mean of the last hidden states over real tokens by up to "
            f"{(got - _mean(hidden, mask)).abs().max():.3g}"
        )
    return "a causal and a masked model, padded left and right, to 1e-5"


@exercise_08
def interpretation(answer: Any) -> str:
    """A written answer with a rubric: what a tie with k-mers does and does not show."""
    return written(
        answer,
        "it says that the interval of the difference holds 0 or lies below it, so no gain over k-mers is shown",
        "it does not conclude that pre-training is useless: this body is small and frozen, and labelled rows are few",
        "it names an experiment that would tell, on the same test rows: a twin with random weights, fine-tuning, more "
        "labelled rows, a larger body",
        "it says which of the two should be used today: the simpler one",
    )
