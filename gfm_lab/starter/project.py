"""From your DNA to a report: tokenizer, pre-training, fine-tuning, baselines. Change what stands under "Yours".

    python project.py            # all of it
    python project.py --small    # shipped data, few rows and steps, about a minute: does everything work?

In --output: report.md with two tables, each score with its 95 % interval and beside its baselines; the figures; the two
models (gfm_lab.load_model reads them). A training folder that is there already is not overwritten: remove it, or name
another --output. test_project.py runs the small form.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
import torch

from gfm_lab import GenomicConfig, GenomicForCausalLM, NucleotideTokenizer, load_data
from gfm_lab.commands.files import regions
from gfm_lab.comparison import compare, plot_comparison
from gfm_lab.metrics import paired
from gfm_lab.sequence_baselines import fit_baselines, score_table
from gfm_lab.splits import homology_groups, near_leaks, split_by
from gfm_lab.training import finetune, pretrain

# ---- Yours ----

FASTA = None  # DNA without labels: "genome.fa" or .fa.gz. None: shipped E. coli
TABLE = None  # labelled sequences, tabs between columns: sequence, label (0 or 1); and group, split if you have them
MIXER = "convolution"  # or attention, sliding_window, hyena, mamba: notebook 07 helps to choose
WIDTH, LAYERS = 128, 4
STEPS, BATCH, WINDOW = 1_000, 32, 256  # of pre-training
EPOCHS = 5  # of fine-tuning, at most
SEED = 0


# ---- 1. DNA without labels: a language model ----


def language_model(small: bool = False) -> tuple[GenomicForCausalLM, NucleotideTokenizer]:
    """Sites 1 to 4 with fresh weights: one token a base, an N has a token of its own."""
    tokenizer = NucleotideTokenizer(on_unknown="split")
    torch.manual_seed(SEED)
    config = GenomicConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        hidden_size=32 if small else WIDTH,
        num_hidden_layers=2 if small else LAYERS,
        mixer=MIXER,
        causal=True,
    )
    return GenomicForCausalLM(config), tokenizer


def pretrained(output: Path, small: bool) -> tuple[GenomicForCausalLM, NucleotideTokenizer, pd.DataFrame]:
    """Train on most of the DNA, and score the last tenth beside Markov models tuned on the stretch before it."""
    model, tokenizer = language_model(small)
    train, valid, test = regions(
        fasta=None if small else FASTA, data=None if FASTA and not small else "ecoli-k12"
    )
    steps, batch = (10, 4) if small else (STEPS, BATCH)
    run = pretrain(
        model, tokenizer, train, valid, output / "pretrained", steps=steps, batch_size=batch, window=WINDOW,
        seed=SEED, valid_windows=16 if small else 256,
    )  # fmt: skip
    texts = [[stretch.sequence for stretch in part] for part in (train, valid, test)]
    if small:
        texts = [[text[:50_000] for text in part[:1]] for part in texts]
    table, _ = compare(run.model, tokenizer, *texts, window=WINDOW, test_bases=10_000 if small else 200_000)
    plot_comparison(table).savefig(output / "bits.png")
    return run.model, tokenizer, table


# ---- 2. Labelled sequences: fine-tuning ----


def labelled(small: bool) -> pd.DataFrame:
    """A frame with sequence, label, group and split; relatives share a group, and a group is never divided."""
    if TABLE and not small:
        frame = pd.read_csv(TABLE, sep="\t", comment="#")
        missing = {"sequence", "label"} - set(frame)
        if missing:
            raise SystemExit(
                f"{TABLE} lacks the column {' and '.join(sorted(missing))}; it has {', '.join(frame)}"
            )
    else:
        frame = load_data("human-promoters").frame
        frame = frame[frame["kind"] != "random"].reset_index(drop=True)
        frame = frame.assign(sequence=frame["sequence"].str[250:450], group=frame["gene"])
    frame["sequence"] = frame["sequence"].str.upper()
    if set(frame["label"]) != {0, 1}:
        raise SystemExit(f"labels must be 0 and 1, both of them; found {sorted(set(frame['label']))}")
    if "group" not in frame:
        frame["group"] = homology_groups(frame["sequence"].tolist())
    if "split" not in frame:
        frame["split"] = split_by("group", frame["group"], seed=SEED, labels=frame["label"])
    return frame.groupby("split").head(100).reset_index(drop=True) if small else frame


def finetuned(
    model: GenomicForCausalLM, tokenizer: NucleotideTokenizer, output: Path, small: bool
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Scores of the test rows: baselines, the pre-trained model, and its twin with random weights."""
    frame = labelled(small)
    parts = {name: frame[frame["split"] == name] for name in ("train", "valid", "test")}
    pairs = {name: (part["sequence"].tolist(), part["label"].to_numpy()) for name, part in parts.items()}
    near = near_leaks(frame["sequence"].tolist(), frame["split"].tolist())
    leaking = int(((near["split"] == "test") & (near["match_split"] == "train")).sum())

    names = ["GC content", "k-mers"] if small else ["GC content", "k-mers", "small CNN"]
    fits = fit_baselines(pairs["train"], pairs["valid"], "classification", baselines=names, seed=SEED)
    bar = max(fits, key=lambda fit: fit.valid).name  # chosen on valid
    scores = {fit.name: fit.predict(pairs["test"][0])[:, 1] for fit in fits}
    torch.manual_seed(SEED + 1)
    for name, start in (("fine-tuned", model), ("random twin", GenomicForCausalLM(model.config))):
        run = finetune(
            start, tokenizer, pairs["train"], pairs["valid"], output / name.replace(" ", "-"),
            task="classification", pooling="mean", epochs=1 if small else EPOCHS, batch_size=16, seed=SEED,
            allow_shared=True,
        )  # fmt: skip
        scores[name] = answers(run.model, tokenizer, pairs["test"][0])
    y, groups = pairs["test"][1], parts["test"]["group"].to_numpy()
    table = score_table(scores, y, "classification", groups, seed=SEED)
    rows = [
        (name, *paired("AUROC", y, score, scores[bar], groups, seed=SEED)[:3])
        for name, score in scores.items()
        if name != bar
    ]
    apart = pd.DataFrame(rows, columns=["model", f"AUROC minus {bar}", "low", "high"])
    said = ", ".join(f"{name} {len(part):,}" for name, part in parts.items())
    return (
        table,
        apart,
        f"{said} rows; {leaking} test rows have a near copy in train; test rows are read once.",
    )


@torch.inference_mode()
def answers(model: torch.nn.Module, tokenizer: NucleotideTokenizer, sequences: list[str]) -> np.ndarray:
    """(N,) log-odds of class 1."""
    found = []
    for i in range(0, len(sequences), 32):
        batch = tokenizer(sequences[i : i + 32], padding=True, return_tensors="pt")
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        found.append((logits[:, 1] - logits[:, 0]).numpy())
    return np.concatenate(found)


# ---- 3. The report ----


def as_text(table: pd.DataFrame) -> str:
    return f"```\n{table.round(3).to_string(index=False)}\n```"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="shipped data, few rows and steps")
    parser.add_argument("--output", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    model, tokenizer, bits = pretrained(options.output, options.small)
    scores, apart, said = finetuned(model, tokenizer, options.output, options.small)
    size = sum(p.numel() for p in model.parameters())
    report = f"""# Report

{MIXER}, {size:,} parameters, seed {SEED}{", small form: the numbers mean nothing" if options.small else ""}.

## Bits per base on DNA that training never saw (lower is better)

{as_text(bits[["model", "bits", "low", "high"]])}

Intervals: 95 %, over windows. ![Bits per base beside baselines](bits.png)

## Labelled sequences

{said}

{as_text(scores)}

Each model minus the baseline that was best on valid, on the same test rows:

{as_text(apart)}

Intervals: 95 %, over groups. One training run each: another seed would move the numbers, too.

## What these numbers do not show

(Yours to write: which DNA, which negatives, which split; what would change the answer?)
"""
    part = options.output / ".report.part"
    part.write_text(report, encoding="utf-8")
    part.replace(options.output / "report.md")
    print(report)


if __name__ == "__main__":
    main()
