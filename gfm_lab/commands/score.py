"""`gfm-lab score`: how well a model predicts each sequence, in bits."""

from __future__ import annotations

import sys
from argparse import Namespace

import numpy as np
import pandas as pd

from gfm_lab.commands.files import refuse_existing, write_tsv
from gfm_lab.commands.shared import progress, ready, records_of, say, window_of
from gfm_lab.comparison import is_causal, protocol_text


def score(args: Namespace) -> None:
    """Bits of each sequence under a model, one line each."""
    from gfm_lab import evaluation

    refuse_existing(args.output, args.force)
    records = records_of(args)
    model, tokenizer, _ = ready(args)
    causal = is_causal(model)
    if causal and args.protocol:
        raise ValueError(
            f"{args.model} predicts the next token: --protocol is for masked models, leave it out"
        )
    protocol = "causal" if causal else args.protocol or "single"
    window, seed = window_of(args, model, tokenizer), args.seed or 0
    rate = 0.15
    if protocol == "single":
        passes = sum(len(record.sequence) for record in records)
        if passes > 100_000:
            say(
                f"{passes:,} bases are hidden one at a time, each in its own window; --protocol joint is faster"
            )
    rows = []
    for number, record in enumerate(progress(records, len(records), "score", args.quiet)):
        options = dict(batch_size=args.batch_size)
        try:
            if causal:
                found = evaluation.bits_per_base(model, tokenizer, record.sequence, window, **options)
            else:
                options |= dict(sample=None) if protocol == "single" else {}
                found = evaluation.bits_per_masked_base(
                    model, tokenizer, record.sequence, protocol, rate, seed + number, window, **options
                )
        except ValueError as fault:
            hint = "; a short sequence needs --protocol single" if protocol == "joint" else ""
            raise ValueError(f"{record.name} ({len(record.sequence):,} bases): {fault}{hint}") from None
        row = dict(name=record.name, length=len(record.sequence), scored=len(found.bits))
        row["bits_per_base" if causal else "bits_per_masked_base"] = found.value
        row["accuracy"] = found.accuracy
        if protocol != "joint":  # a sum over 15 % of the bases says nothing of the sequence
            row["log_likelihood" if causal else "pseudo_log_likelihood"] = -float(found.bits.sum()) * np.log(
                2
            )
        rows.append(row)
    comments = [f"protocol {protocol}: {protocol_text(protocol, rate)}; compare it with no other protocol"]
    comments.append(
        f"model {args.model}; windows of {window} bases; probabilities renormalised over A, C, G, T"
    )
    if protocol == "joint":
        comments.append(f"masks: sequence number n (from 0) has seed {seed} + n")
    else:
        comments.append("log-likelihoods in nats: the natural logarithm of the product over the bases scored")
    if causal:
        comments.append(
            "the first base has no context; it is scored only if the tokenizer puts a token before it"
        )
    write_tsv(pd.DataFrame(rows), args.output or sys.stdout, comments)
    if args.output:
        bits = [row["bits_per_base" if causal else "bits_per_masked_base"] for row in rows]
        mean = np.average(bits, weights=[row["scored"] for row in rows])
        print(f"{args.output}: {len(rows):,} sequences, {mean:.4f} {protocol_text(protocol, rate)}")
