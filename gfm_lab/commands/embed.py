"""`gfm-lab embed`: one vector for each sequence."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np

from gfm_lab.commands.files import Record, refuse_existing, write_npz
from gfm_lab.commands.shared import batches, progress, ready, records_of, window_of
from gfm_lab.comparison import is_causal
from gfm_lab.sequence import SequenceError


def embed(args: Namespace) -> None:
    """One vector a sequence, into an .npz file."""
    if not args.output.endswith(".npz"):
        raise ValueError(f"--output {args.output}: the vectors are stored as .npz, give a name that ends so")
    refuse_existing(args.output, args.force)
    records = records_of(args)
    model, tokenizer, device = ready(args)
    body = model.base_model
    if args.pooling == "first" and is_causal(model):
        raise ValueError(
            "the first token of a causal model has seen nothing but itself: choose --pooling last or mean"
        )
    layers = model.config.num_hidden_layers
    if not -layers - 1 <= args.layer <= layers:
        raise ValueError(
            f"--layer {args.layer}: {args.model} has 0 (the embedding) to {layers}, or -1 for the last"
        )
    window = window_of(args, model, tokenizer)

    vectors = np.zeros((len(records), 0), np.float32)
    weight = np.zeros(len(records), np.int64)  # tokens pooled so far
    pieces = [
        (i, piece)
        for i, record in enumerate(records)
        for piece in _pieces(record.sequence, window, tokenizer)
    ]
    # Long ones first, so that a batch holds pieces of like length; those of one record stay in their order.
    order = sorted(range(len(pieces)), key=lambda n: (-len(pieces[n][1]), n))
    for batch in progress(batches(order, args.batch_size), len(order), "embed", args.quiet):
        pooled, tokens = _pool(body, tokenizer, [pieces[n] for n in batch], records, device, args)
        if vectors.shape[1] == 0:
            vectors = np.zeros((len(records), pooled.shape[1]), np.float32)
        for n, vector, count in zip(batch, pooled, tokens, strict=True):
            i = pieces[n][0]
            first_piece = n == 0 or pieces[n - 1][0] != i
            last_piece = n + 1 == len(pieces) or pieces[n + 1][0] != i
            if args.pooling == "mean":
                vectors[i] += (vector - vectors[i]) * (count / (weight[i] + count))
            elif args.pooling == "max":
                vectors[i] = vector if weight[i] == 0 else np.maximum(vectors[i], vector)
            elif first_piece if args.pooling == "first" else last_piece:
                vectors[i] = vector
            weight[i] += count
    about = dict(
        model=args.model, layer=args.layer, pooling=args.pooling, window=window, tokens="without special ones"
    )
    if args.pooling in ("first", "last"):
        about["tokens"] = "special ones too"
    write_npz(
        args.output,
        ids=np.array([record.name for record in records]),
        lengths=np.array([len(record.sequence) for record in records]),
        vectors=vectors,
        settings=np.array(json.dumps(about)),
    )
    print(
        f"{args.output}: {len(vectors):,} vectors of {vectors.shape[1]:,} numbers ({args.pooling}, layer {args.layer})"
    )


def _pieces(sequence: str, window: int, tokenizer: Any) -> list[str]:
    """The sequence cut every `window` bases; a last piece shorter than one token joins the one before."""
    starts = [*range(0, len(sequence), window)]
    if len(starts) > 1 and len(sequence) - starts[-1] < getattr(tokenizer, "k", 1):
        starts.pop()
    return [sequence[a:b] for a, b in zip(starts, [*starts[1:], len(sequence)], strict=True)]


def _pool(
    body: Any,
    tokenizer: Any,
    pieces: Sequence[tuple[int, str]],
    records: Sequence[Record],
    device: Any,
    args: Namespace,
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled vectors (B, D) of some pieces, and how many tokens each has."""
    import torch

    from gfm_lab.device import autocast
    from gfm_lab.heads import Pool

    try:
        batch = tokenizer([piece for _, piece in pieces], padding=True, return_special_tokens_mask=True)
    except ValueError:
        for i, piece in pieces:  # which one is it?
            try:
                tokenizer(piece)
            except ValueError as fault:
                raise ValueError(f"{records[i].name}: {fault}") from None
        raise
    ids, mask, special = (
        torch.tensor(batch[name], device=device)
        for name in ("input_ids", "attention_mask", "special_tokens_mask")
    )
    counted = mask if args.pooling in ("first", "last") else mask * (1 - special)
    if not bool(counted.any(1).all()):
        i = pieces[int((~counted.any(1)).nonzero()[0, 0])][0]
        raise SequenceError(f"{len(records[i].sequence)} bases give no token", record=records[i].name)
    with torch.inference_mode(), autocast(device, args.precision or "auto"):
        hidden = _hidden(body, ids, mask, args.layer)
        pooled = Pool(args.pooling, hidden.shape[2])(hidden.float(), counted)
    return pooled.float().cpu().numpy(), counted.sum(1).cpu().numpy()


PIECE = 65_536  # tokens that a model with a state of constant size reads at once


def _hidden(body: Any, ids: Any, mask: Any, layer: int) -> Any:
    """The vectors (B, L, D) after one layer, in no more memory than this layer needs.

    A model that hands on a state of constant size reads a long input piece after piece, with the same result: a million
    bases through Mamba then take memory for 65,536. Hyena has no such state and reads all at once.
    """
    import torch

    config = body.config
    if bool(mask.all()):
        mask = None
    last = layer in (-1, config.num_hidden_layers)

    def vectors(out: Any) -> Any:
        return out.last_hidden_state if last else out.hidden_states[layer]

    in_pieces = getattr(config, "causal", False) and getattr(config, "mixer", "") in ("mamba", "convolution")
    if not in_pieces or mask is not None or ids.shape[1] <= PIECE:
        return vectors(body(ids, attention_mask=mask, output_hidden_states=not last))
    parts, state = [], None
    for piece in ids.split(PIECE, dim=1):
        out = body(piece, past_key_values=state, use_cache=True, output_hidden_states=not last)
        state = out.past_key_values
        parts.append(vectors(out))
    return torch.cat(parts, dim=1)
