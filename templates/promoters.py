"""From labelled sequences to an honest table of scores: copy this file and change what is yours.

    python templates/promoters.py --small                    # shipped human promoters, under two minutes
    python templates/promoters.py --positive promoters.fa --negative others.fa
    python templates/promoters.py --bed windows.bed --labels labels.tsv --genome genome.fa
    python templates/promoters.py ... --finetune lora                        # and LoRA, or full

Input
    FASTA   two files, one a class. Relatives (shared 16-mers) are kept in one split.
    BED     chrom, start, stop, name, score, strand (0-based, half-open; strand optional); the labels table has
            tab-separated columns `name` and `label` (0 or 1). Windows within 1,000 bases are one locus, and loci are
            kept in one split.
Output, in --output: scores.tsv (every model with its 95 % interval), paired.tsv (each model minus the bar, the baseline
that was best on valid), predictions.tsv (test rows), and the same printed.

What is done, in this order: read, look at GC, split whole loci, look for near copies across splits, baselines, linear
probe and its random-weights twin, fine-tuning if asked for, intervals over loci. Everything is chosen on valid; test is
read once. Walked through in notebook 11.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gfm_lab import load_data, load_model, open_fasta, read_fasta, reverse_complement
from gfm_lab.metrics import auroc, paired
from gfm_lab.sequence_baselines import fit_baselines, fitting_baselines, score_table
from gfm_lab.splits import homology_groups, loci, near_leaks, split_by
from gfm_lab.training import finetune

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # of the probe's penalty (scikit-learn's C), chosen on valid
RATES = {"lora": 2e-3, "full": 5e-4}


# ---- 1. Read: a frame with sequence, label, group and, where known, split ----


def from_fasta(positive: str, negative: str) -> pd.DataFrame:
    rows = [
        (r.name, r.sequence.upper(), label)
        for label, file in ((1, positive), (0, negative))
        for r in read_fasta(file)
    ]
    frame = pd.DataFrame(rows, columns=["name", "sequence", "label"])
    frame["group"] = homology_groups(frame["sequence"].tolist())
    return frame


def from_bed(bed: str, labels: str, genome: str) -> pd.DataFrame:
    table = pd.read_csv(bed, sep="\t", header=None, comment="#")
    if table.shape[1] < 4:
        raise SystemExit(f"{bed} has {table.shape[1]} columns: chrom, start, stop and name are needed")
    table = table.rename(columns={0: "chrom", 1: "start", 2: "stop", 3: "name", 5: "strand"})
    known = pd.read_csv(labels, sep="\t")
    if not {"name", "label"} <= set(known.columns):
        raise SystemExit(
            f"{labels} needs columns name and label, separated by tabs; it has {', '.join(known.columns)}"
        )
    missing = sorted(set(table["name"].astype(str)) - set(known["name"].astype(str)))
    if missing:
        raise SystemExit(f"{len(missing)} names of {bed} have no label in {labels}, such as {missing[0]}")
    label_of = dict(zip(known["name"].astype(str), known["label"], strict=True))
    sequences = []
    with open_fasta(genome) as fasta:
        for row in table.itertuples():
            sequence = fasta.fetch(str(row.chrom), row.start, row.stop).upper()
            sequences.append(reverse_complement(sequence) if getattr(row, "strand", "+") == "-" else sequence)
    group = loci(table["chrom"], table["start"], table["stop"], gap=1000)
    label = table["name"].astype(str).map(label_of)
    return pd.DataFrame({"name": table["name"], "sequence": sequences, "label": label, "group": group})


def shipped() -> pd.DataFrame:
    """Human promoters against windows matched in GC, 150 bases before to 50 after the start, with their split."""
    frame = load_data("human-promoters").frame
    frame = frame[frame["kind"] != "random"].reset_index(drop=True)
    starts = frame[frame["kind"] == "promoter"]
    locus = loci(starts["chrom"], starts["start"], starts["stop"], gap=1000)
    group = frame["gene"].map(dict(zip(starts["gene"], locus, strict=True)))
    name = frame["gene"] + ":" + frame["kind"]
    return frame.assign(sequence=frame["sequence"].str[250:450], group=group, name=name)


def checked(frame: pd.DataFrame) -> pd.DataFrame:
    """Stop at what would make any score meaningless; drop repeats, and say so."""
    if set(frame["label"]) != {0, 1}:
        raise SystemExit(f"labels must be 0 and 1, both of them; found {sorted(set(frame['label']))}")
    key = [min(s, reverse_complement(s)) for s in frame["sequence"]]
    several = frame.assign(key=key).groupby("key")["label"].nunique()
    if (several > 1).any():
        raise SystemExit(f"{(several > 1).sum()} sequences stand in both classes: which label is right?")
    repeated = pd.Series(key, index=frame.index).duplicated()
    print(
        f"{len(frame):,} sequences, {frame['label'].sum():,} of class 1; {repeated.sum():,} repeats dropped"
    )
    return frame[~repeated].reset_index(drop=True)


# ---- 2. The language model: embed, probe, fine-tune ----


def embed(model: torch.nn.Module, tokenizer, sequences: list[str]) -> np.ndarray:
    """(N, D) hidden vectors of the body, averaged over the real tokens (not the padding)."""
    found = []
    for i in range(0, len(sequences), 32):
        batch = tokenizer(sequences[i : i + 32], padding=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = model.body(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"][..., None]
        found.append((hidden * mask).sum(1) / mask.sum(1))
    return torch.cat(found).numpy()


def probe(model: torch.nn.Module, tokenizer, parts: dict[str, pd.DataFrame]) -> np.ndarray:
    """Scores of the test rows: logistic regression on frozen vectors, its penalty chosen on valid."""
    X = {name: embed(model, tokenizer, part["sequence"].tolist()) for name, part in parts.items()}
    fits = [make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000)) for C in STRENGTHS]
    fits = [fit.fit(X["train"], parts["train"]["label"]) for fit in fits]
    best = max(fits, key=lambda fit: auroc(parts["valid"]["label"], fit.decision_function(X["valid"])))
    return best.decision_function(X["test"])


def tuned(
    model: torch.nn.Module, tokenizer, parts: dict[str, pd.DataFrame], method: str, epochs: int
) -> np.ndarray:
    """Scores of the test rows after fine-tuning; valid chooses the epoch."""
    pairs = {name: (part["sequence"].tolist(), part["label"].to_numpy()) for name, part in parts.items()}
    with tempfile.TemporaryDirectory() as folder:
        run = finetune(
            model, tokenizer, pairs["train"], pairs["valid"], Path(folder) / "run", task="classification",
            method=method, epochs=epochs, batch_size=16, learning_rate=RATES[method], pooling="mean",
        )  # fmt: skip
    scores = []
    for i in range(0, len(parts["test"]), 32):
        batch = tokenizer(pairs["test"][0][i : i + 32], padding=True, return_tensors="pt")
        with torch.inference_mode():
            logits = run.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        scores.append((logits[:, 1] - logits[:, 0]).numpy())
    return np.concatenate(scores)


# ---- 3. All of it ----


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--positive", help="FASTA of class 1")
    add("--negative", help="FASTA of class 0")
    add("--bed", help="windows: chrom, start, stop, name")
    add("--labels", help="table with columns name and label")
    add("--genome", help="FASTA that the windows lie in")
    add("--model", default="species-mamba-ar", help="a shipped name or a folder (default: %(default)s)")
    add("--finetune", choices=[*RATES], action="append", default=[], help="also this; may be repeated")
    add("--epochs", type=int, default=4, help="of fine-tuning (default: %(default)s)")
    add("--small", action="store_true", help="at most 200 rows of each split, two baselines")
    add("--seed", type=int, default=0)
    add("--output", type=Path, default=Path("runs/promoters"))
    options = parser.parse_args(arguments)
    if options.positive and options.negative:
        frame = from_fasta(options.positive, options.negative)
    elif options.bed and options.labels and options.genome:
        frame = from_bed(options.bed, options.labels, options.genome)
    elif any((options.positive, options.negative, options.bed, options.labels, options.genome)):
        raise SystemExit("give --positive and --negative, or --bed, --labels and --genome, or none of them")
    else:
        frame = shipped()
    frame = checked(frame)
    if "split" not in frame:
        fractions = {"train": 0.7, "valid": 0.15, "test": 0.15}
        frame["split"] = split_by(
            "group", frame["group"], fractions=fractions, seed=options.seed, labels=frame["label"]
        )
    if options.small:
        # Whole loci, of both classes, until the number is reached.
        order = np.random.default_rng(options.seed).permutation(frame["group"].unique())
        frame = frame.iloc[np.argsort(pd.Index(order).get_indexer(frame["group"]), kind="stable")]
        frame = frame.groupby("split").head(200).reset_index(drop=True)

    for name, part in frame.groupby("split"):
        if part["label"].nunique() < 2:
            raise SystemExit(f"{name} holds one class alone: more loci are needed, or another --seed")

    near = near_leaks(frame["sequence"].tolist(), frame["split"].tolist())
    leaking = ((near["split"] == "test") & (near["match_split"] == "train")).sum()
    parts = {name: frame[frame["split"] == name] for name in ("train", "valid", "test")}
    print(
        ", ".join(f"{name} {len(part):,}" for name, part in parts.items()),
        f"; {leaking} near copies of train in test",
    )

    data = [(part["sequence"].tolist(), part["label"].to_numpy()) for part in parts.values()]
    names = ["GC content", "k-mers"] if options.small else fitting_baselines(frame["sequence"].tolist())
    fits = fit_baselines(*data[:2], "classification", baselines=names, seed=options.seed)
    bar = max(fits, key=lambda fit: fit.valid).name
    scores = {fit.name: fit.predict(data[2][0])[:, 1] for fit in fits}

    model, tokenizer = load_model(options.model)
    torch.manual_seed(options.seed)
    twin = type(model)(model.config).eval()
    for start, body in (("", model.eval()), (", random twin", twin)):
        scores["probe" + start] = probe(body, tokenizer, parts)
        for method in options.finetune:
            scores[method + start] = tuned(body, tokenizer, parts, method, options.epochs)

    y, groups = data[2][1], parts["test"]["group"].to_numpy()
    table = score_table(scores, y, "classification", groups, seed=options.seed).rename(
        columns={"baseline": "model"}
    )
    differences = [
        (name, *paired("AUROC", y, score, scores[bar], groups, seed=options.seed))
        for name, score in scores.items()
        if name != bar
    ]
    differences = pd.DataFrame(differences, columns=["model", "AUROC minus the bar", "low", "high", "p"])
    predictions = parts["test"][["name", "label", "group"]].assign(**scores)
    options.output.mkdir(parents=True, exist_ok=True)
    for name, result in (("scores", table), ("paired", differences), ("predictions", predictions)):
        part = options.output / f".{name}.part"
        result.to_csv(part, sep="\t", index=False, float_format="%.5g")
        os.replace(part, options.output / f"{name}.tsv")
    print(table.round(3).to_string(index=False))
    print(f"\nthe bar is {bar!r}, the best on valid:\n{differences.round(3).to_string(index=False)}")
    print(f"\nin {options.output}: scores.tsv, paired.tsv, predictions.tsv")


if __name__ == "__main__":
    main()
