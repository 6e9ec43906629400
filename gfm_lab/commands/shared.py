"""What the commands share: which sequences, which model on which device, batches and progress."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gfm_lab.commands.files import Record, read_records


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def records_of(args: Namespace) -> list[Record]:
    return read_records(
        fasta=args.fasta,
        table=args.table,
        data=args.data,
        split=args.split,
        where=args.where,
        limit=args.limit,
    )


def ready(args: Namespace) -> tuple[Any, Any, Any]:
    """Model on its device in evaluation mode, tokenizer, device."""
    from gfm_lab.device import pick_device

    device = pick_device(args.device)
    model, tokenizer = load(args.model)
    return model.eval().to(device), tokenizer, device


def load(name: str) -> tuple[Any, Any]:
    """(model, tokenizer) of a shipped checkpoint or a folder."""
    from transformers.utils import logging

    from gfm_lab.checkpoints import load_model

    logging.disable_progress_bar()  # reading a few megabytes needs none
    return load_model(name)


def window_of(args: Namespace, model: Any, tokenizer: Any) -> int:
    """--window, else the bases the checkpoint was trained on at once (its run.json), else its limit, at most 512."""
    if args.window:
        return args.window
    folder = Path(getattr(model.config, "_name_or_path", "") or args.model)
    try:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return int(about["about"]["settings"]["window"])
    except (OSError, ValueError, KeyError, TypeError):
        limit = getattr(model.config, "max_position_embeddings", None)
        special = len(tokenizer("A" * getattr(tokenizer, "k", 1))["input_ids"]) - 1
        return (
            512 if limit is None else min(512, limit - getattr(model.config, "position_offset", 0) - special)
        )


def batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def progress(items: Any, total: int, what: str, quiet: bool) -> Iterator[Any]:
    """A progress bar on a terminal, nothing elsewhere. Batches count their items."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit="seq", disable=True if quiet else None, file=sys.stderr) as bar:
        for item in items:
            yield item
            bar.update(len(item) if isinstance(item, list) else 1)
