"""`gfm-lab score`: how well a model predicts each sequence, in bits, or what a variant changes."""

from __future__ import annotations

import contextlib
import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import IO, Any

import numpy as np
import pandas as pd

from gfm_lab.commands.files import refuse_existing, write_tsv, writing
from gfm_lab.commands.shared import progress, ready, records_of, say, window_of
from gfm_lab.comparison import is_causal, protocol_text


def score(args: Namespace) -> None:
    """Bits of each sequence under a model, one line each; with --vcf or --variants the score of each variant."""
    from gfm_lab import evaluation

    refuse_existing(args.output, args.force)
    if args.vcf or args.variants:
        try:
            return _score_variants(args)
        except ValueError as fault:  # the package speaks of its functions' arguments
            raise ValueError(str(fault).replace("with symbolic='skip'", "with --skip")) from fault
    named = [f"--{name}" for name in ("method", "strands", "control", "skip") if getattr(args, name)]
    if named:
        raise ValueError(f"{named[0]} is for variants: give --vcf or --variants, or leave it out")
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


def _score_variants(args: Namespace) -> None:
    """One line a variant, written as it is scored: neither the file nor the scores are held in memory."""
    from gfm_lab.sequence import open_fasta
    from gfm_lab.variants import read_variants, read_vcf, score_stream

    if args.protocol or args.split or args.where or args.table:
        raise ValueError(
            "variants are scored against a whole reference, --fasta or a genome of --data: leave out --table, "
            "--split, --where and --protocol"
        )
    model, tokenizer, _ = ready(args)
    method = args.method or _method_of(model)
    window = window_of(args, model, tokenizer)
    if args.vcf:
        variants = read_vcf(args.vcf, symbolic="skip" if args.skip else "error")
    else:
        variants = read_variants(args.variants)
    if args.limit is not None:
        variants = (variant for variant, _ in zip(variants, range(args.limit), strict=False))
    comments = [
        f"method {method}, model {args.model}, windows of {window} bases, strands {args.strands or 'default'}",
        "position counts from 0: VCF's POS minus 1; score: below 0, the model finds the alternative less likely"
        if method in ("masked", "autoregressive")
        else "position counts from 0: VCF's POS minus 1",
        {
            "masked": "nats: log P(alt) - log P(ref) with the changed bases hidden; indels: pseudo-log-likelihood",
            "autoregressive": "nats: log-likelihood of the window with alt, minus that with ref; indels per base",
            "embedding": "1 - cosine of the mean vectors of the two windows; no direction",
            "head": "the head's prediction with alt, minus that with ref (classes: log odds of class 1)",
        }[method],
    ]
    with contextlib.ExitStack() as stack:
        reference = (
            stack.enter_context(open_fasta(args.fasta, case="upper")) if args.fasta else _genome(args.data)
        )
        scored = score_stream(
            model, tokenizer, variants, reference, method, window=window, strands=args.strands,
            control=args.control, batch_size=args.batch_size, on_error="nan" if args.skip else "raise",
        )  # fmt: skip
        file = stack.enter_context(writing(args.output)) if args.output else sys.stdout
        count, missing = _write_scores(progress(scored, None, "score", args.quiet), file, comments, args.skip)
    if args.output:
        left = f", {missing:,} of them without a score (column problem)" if missing else ""
        print(f"{args.output}: {count:,} variants{left}")


def _write_scores(scored: Iterable[Any], file: IO[str], comments: list[str], skip: bool) -> tuple[int, int]:
    """Write the table line by line; returns how many variants it has, and how many have no score."""
    count = missing = 0
    columns = ["chrom", "position", "ref", "alt", "id", "kind", "score", *(["problem"] if skip else [])]
    for line in (*(f"# {comment}" for comment in comments), "\t".join(columns)):
        file.write(f"{line}\n")
    for variant, score, problem in scored:
        number = "" if np.isnan(score) else f"{score:.6g}"
        fields = [variant.chrom, str(variant.position), variant.ref or "-", variant.alt or "-", variant.id]
        fields += [variant.kind, number, *([" ".join(problem.split())] if skip else [])]
        file.write("\t".join(fields) + "\n")
        count, missing = count + 1, missing + (number == "")
    file.flush()
    return count, missing


def _method_of(model: Any) -> str:
    """The score that a model was trained for."""
    if "Classification" in type(model).__name__:
        return "head"
    return "autoregressive" if is_causal(model) else "masked"


def _genome(name: str) -> Any:
    from gfm_lab.data import Genome, load_data

    loaded = load_data(name)
    if not isinstance(loaded, Genome) and not isinstance(getattr(loaded, "sequence", None), str):
        raise ValueError(
            f"{name} is a table of sequences: a reference is a genome, such as ecoli-k12, or --fasta"
        )
    return loaded
