"""`gfm-lab finetune`: adapt a checkpoint to labelled sequences, beside linear models on the same rows."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gfm_lab import labelled
from gfm_lab.commands.files import GROUPS, read_table, write_tsv
from gfm_lab.commands.shared import batches, load, say
from gfm_lab.splits import leaks


def finetune(args: Namespace) -> None:
    """Adapt a checkpoint to labels, beside linear models on the same rows; write model, predictions and result."""
    from gfm_lab import training

    seed = args.seed or 0
    frame, known = read_table(table=args.table, data=args.data, where=args.where)
    source = args.data or Path(args.table).name
    column = args.label or known or next((name for name in ("label", "y") if name in frame), None)
    if column is None or column not in frame:
        raise ValueError(
            f"{source} has no column {column or 'label or y'!r}; it has {', '.join(frame.columns)}: set --label"
        )
    group = args.group or next((name for name in GROUPS if name in frame), None)
    if group is not None and group not in frame:
        raise ValueError(f"{source} has no column {group!r}; it has {', '.join(frame.columns)}: set --group")
    labels, names = _labels(frame[column], column)
    frame = frame.assign(_label=labels)
    parts = _splits(frame, source, group, seed, args.limit)
    if names is not None and len({*parts["train"]["_label"]}) < len(names):
        missing = sorted({*range(len(names))} - {*parts["train"]["_label"]})
        raise ValueError(
            f"no training row has label {names[missing[0]]!r}: a class has to be seen to be learned"
        )
    for name, part in parts.items():
        kind = f"{len(names)} classes" if names else "values"
        say(f"{name:6} {len(part):>7,} sequences of {source}, {column} ({kind})")
    everything = pd.concat(parts.values())
    split_of = [name for name, part in parts.items() for _ in range(len(part))]
    shared = leaks(everything["sequence"].tolist(), split_of)
    units = f"whole groups (column {group})" if group else "rows"
    notes = [f"{source}, label {column}, seed {seed}; intervals: 95 %, bootstrap over {units}"]
    notes.append("valid chose the epoch that was kept and the linear models' settings: judge by test")
    if len(shared):
        count = shared["row"].nunique()
        notes.append(
            f"mind: {count:,} rows have a sequence that stands in more than one split, on either strand"
        )
        say(notes[-1])

    classes = len(names) if names else None
    output = Path(args.output or f"runs/{Path(source).stem}-{args.method}")
    model, tokenizer = load(args.model)
    pairs = {name: (part["sequence"].tolist(), part["_label"].to_numpy()) for name, part in parts.items()}
    options = {name: getattr(args, name) for name in ("epochs", "batch_size", "learning_rate")}
    run = training.finetune(
        model,
        tokenizer,
        pairs["train"],
        pairs["valid"],
        output,
        task="regression" if names is None else "classification",
        method=args.method,
        **{name: value for name, value in options.items() if value is not None},
        allow_shared=args.allow_shared,
        seed=seed,
        precision=args.precision or "auto",
        device=args.device,
        progress=False if args.quiet else None,
    )
    held_out = [pairs[name][0] for name in ("valid", "test")]
    guesses = {
        f"{args.model}, {args.method}": [predict(run.model, tokenizer, part, args) for part in held_out]
    }
    if not args.no_baseline:
        say("fitting the linear models")
        for linear in labelled.linear_models(pairs["train"], pairs["valid"], held_out, classes):
            guesses[linear.name] = linear.guesses
            notes.append(f"{linear.name}: {linear.chosen}")

    rows = []
    for number, split in enumerate(("valid", "test")):
        for name, guess in guesses.items():
            groups = parts[split][group] if group else None
            for metric in labelled.measure(pairs[split][1], guess[number], classes, groups, seed):
                rows.append(dict(split=split, model=name, **metric._asdict(), sequences=len(guess[number])))
    result = pd.DataFrame(rows).rename(columns={"name": "metric"})
    write_tsv(result, output / "result.tsv", notes)
    write_tsv(_predictions(parts, column, names, guesses), output / "predictions.tsv")
    print(_show_result(result))
    print("\n".join(f"({note})" for note in notes))
    print(f"in {output}: model.safetensors, result.tsv, predictions.tsv, log.jsonl, run.json")


def _labels(column: pd.Series, name: str) -> tuple[np.ndarray, list[str] | None]:
    """Values and None, or class numbers and the classes' names. A column y holds values, others what they look like."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    if name == "y" or (np.isfinite(numbers).all() and (numbers % 1 != 0).any()):
        if not np.isfinite(numbers).all():
            row = int((~np.isfinite(numbers)).argmax())
            raise ValueError(
                f"column {name!r}, row {row + 1:,}: {column.iloc[row]!r} is no finite number; leave the row out"
            )
        return numbers, None
    classes = sorted({*column}, key=lambda c: (0, float(c)) if str(c).lstrip("-").isdigit() else (1, str(c)))
    if len(classes) < 2:
        raise ValueError(f"every row has {name} {classes[0]!r}: there is nothing to tell apart")
    if len(classes) > max(100, len(column) // 5):
        raise ValueError(
            f"{len(classes):,} classes in {len(column):,} rows: call the column y if it holds values"
        )
    number = {c: i for i, c in enumerate(classes)}
    return column.map(number).to_numpy(dtype=np.int64), [str(c) for c in classes]


def _splits(
    frame: pd.DataFrame, source: str, group: str | None, seed: int, limit: int | None
) -> dict[str, pd.DataFrame]:
    """Rows of train, valid and test. Without valid, a tenth of train, whole groups, is held out for it."""
    if "split" not in frame:
        raise ValueError(
            f"{source} has no column 'split': write train, valid or test for each row, by gene or region"
        )
    parts = {name: frame[frame["split"] == name] for name in ("train", "valid", "test")}
    for name in ("train", "test"):
        if parts[name].empty:
            there = ", ".join(map(str, sorted(frame["split"].unique())[:8]))
            raise ValueError(f"no row of {source} is of split {name!r}; there are {there}")
    random = np.random.default_rng(seed)
    if parts["valid"].empty:
        train = parts["train"]
        units = train[group].astype(str) if group else pd.Series(train.index.astype(str), index=train.index)
        unique = np.unique(units)
        chosen = units.isin(random.choice(unique, max(1, len(unique) // 10), replace=False))
        parts["train"], parts["valid"] = train[~chosen], train[chosen]
        say(
            f"{source} has no split valid: a tenth of train, drawn by {group or 'row'} with seed {seed}, serves for it"
        )
    for name, part in parts.items():
        if limit and len(part) > limit:
            part = part.iloc[np.sort(random.choice(len(part), limit, replace=False))]
        parts[name] = part.reset_index(drop=True)
    return parts


def predict(model: Any, tokenizer: Any, sequences: Sequence[str], args: Namespace) -> np.ndarray:
    """(N, C) probabilities of each class, or (N,) values."""
    import torch

    from gfm_lab.device import autocast, pick_device

    device = pick_device(args.device)
    model = model.eval().to(device)
    order = sorted(range(len(sequences)), key=lambda n: len(sequences[n]))
    rows: list[np.ndarray] = [np.empty(0)] * len(sequences)
    for batch in batches(order, 64):
        inputs = tokenizer([sequences[n] for n in batch], padding=True, return_tensors="pt").to(device)
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        with torch.inference_mode(), autocast(device, args.precision or "auto"):
            logits = model(**inputs).logits.float()
        out = logits[:, 0] if logits.shape[1] == 1 else logits.softmax(-1)
        for n, row in zip(batch, out.cpu().numpy(), strict=True):
            rows[n] = row
    return np.stack(rows)


def _predictions(
    parts: dict[str, pd.DataFrame], column: str, names: list[str] | None, guesses: dict[str, list[np.ndarray]]
) -> pd.DataFrame:
    """One line for each row of valid and test: its name, split and label, and what each model says."""
    tables = []
    for number, split in enumerate(("valid", "test")):
        table = parts[split][["name", "split", column]].assign(split=split)
        for name, guess in guesses.items():
            values = guess[number]
            if names is None:
                table[name] = values
            elif len(names) == 2:
                table[f"P({names[1]}) {name}"] = values[:, 1]
            else:
                table[f"class {name}"] = np.array(names)[values.argmax(1)]
        tables.append(table)
    return pd.concat(tables)


def _show_result(result: pd.DataFrame) -> str:
    lines = []
    for (split, metric), part in result.groupby(["split", "metric"], sort=False):
        lines.append(f"{metric} on {split} ({part['sequences'].iloc[0]:,} sequences)")
        lines += [
            f"  {row.model:44} {row.value:.3f}  [{row.low:.3f}, {row.high:.3f}]" for row in part.itertuples()
        ]
    return "\n".join(lines)
