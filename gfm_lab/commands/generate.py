"""`gfm-lab generate`: new DNA from a causal model, as FASTA."""

from __future__ import annotations

import sys
from argparse import Namespace

from gfm_lab.commands.files import refuse_existing
from gfm_lab.commands.shared import ready
from gfm_lab.sequence import FastaRecord, write_fasta


def generate(args: Namespace) -> None:
    """Write sequences base by base; a prompt is part of each record, and its header says so."""
    from gfm_lab import generation

    refuse_existing(args.output, args.force)
    model, tokenizer, _ = ready(args)
    choices = dict(temperature=args.temperature, top_k=args.top_k, top_p=args.top_p, control=args.control)
    written = generation.generate(
        model,
        tokenizer,
        args.length,
        prompt=args.prompt,
        n=args.number,
        seed=args.seed or 0,
        batch_size=args.batch_size,
        **choices,
    )
    told = {"model": args.model, "seed": args.seed or 0, "prompt_bases": len(args.prompt)} | choices
    about = " ".join(f"{name}={value}" for name, value in told.items() if value is not None)
    records = [
        FastaRecord(f"generated_{number}", args.prompt.upper() + sequence, about)
        for number, sequence in enumerate(written)
    ]
    if args.output:
        write_fasta(args.output, records)
        print(f"{args.output}: {len(records):,} sequences of {args.length:,} new bases; {about}")
        return
    for name, sequence in records:
        print(f">{name} {about}")
        print("\n".join(sequence[at : at + 60] for at in range(0, len(sequence), 60)))
    sys.stdout.flush()
