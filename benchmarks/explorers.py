"""How fast the interactive pieces answer: from setting a control to the new picture in the page's text.

    python benchmarks/explorers.py            # a table, and benchmarks/results/explorers.json
    python benchmarks/explorers.py --check    # the same, and exit code 1 if an answer takes more than 200 ms

Each explorer is opened once in one process; then each control is set to 20 values in turn, as a hand on a slider would
set them, every value new to the explorer as far as the control has so many (what was shown before is partly remembered,
and faster). Numbers are wall time of the Python process, what a learner waits for before the browser draws; the
browser's own part (tens of kilobytes of SVG on the same machine) is not in them. `load_average` says how busy the
machine was before and after: other work on both cores makes answers slower.
"""

from __future__ import annotations

# ruff: noqa: E402 (the number of threads is read when the libraries are imported)
import os
import sys
from pathlib import Path

# This directory has a tokenizers.py, and so is a library called that transformers imports: look for that one elsewhere.
sys.path = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]
os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch

from gfm_lab import explorers
from gfm_lab.runs import describe_machine, write_json

RESULTS = Path(__file__).resolve().parent / "results" / "explorers.json"
LIMIT, TRIES = 200, 20  # milliseconds; values a control
BEFORE = {  # where a control is measured, if not from the default settings
    ("tokenizer", "dna"): {"source": "what I type"},
    **{("tokenizer", key): {"change": "insert"} for key in ("start", "scheme", "k", "stride", "at", "base")},
    ("masking", "together"): {"tokens": "overlapping 6-mers", "pattern": "contiguous"},
}


def values_of(control: Any, rng: np.random.Generator) -> list[Any]:
    """TRIES values of a control, each other than the one before."""
    if control.kind == "choice":
        return [control.options[i % len(control.options)] for i in range(1, TRIES + 1)]
    if control.kind == "tick":
        return [i % 2 == 0 for i in range(TRIES)]
    if control.kind == "text":
        return ["".join(rng.choice([*"ACGT"], 30)) for _ in range(TRIES)]
    count = round((control.high - control.low) / control.step) + 1
    steps = rng.permutation(count) if count < 10_000 else rng.integers(count, size=TRIES)
    values = [float(control.low + control.step * i) for i in np.resize(steps, TRIES)]
    return [int(v) for v in values] if control.kind == "whole" else values


def measure(name: str, explorer: Any) -> list[dict[str, Any]]:
    """Median and worst milliseconds of each control."""
    rows, rng = [], np.random.default_rng(0)
    for key, control in explorer.controls.items():
        settings = explorer.settings(**BEFORE.get((name, key), {}))
        for _ in range(2):  # twice: what one value bounds (stride by k) may take a second round
            for other, value in settings.items():
                explorer.live[other].value = value
        times, size = [], 0
        for value in values_of(control, rng):
            start = time.perf_counter()
            explorer.live[key].value = value
            times.append(1000 * (time.perf_counter() - start))
            size = max(size, len(explorer.shown))
        rows.append(
            {
                "explorer": name,
                "control": control.label,
                "median_ms": round(statistics.median(times), 1),
                "worst_ms": round(max(times), 1),
                "page_kb": round(size / 1000),
            }
        )
    return rows


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help=f"exit 1 if an answer takes more than {LIMIT} ms"
    )
    options = parser.parse_args(arguments)
    load = [_load()]
    rows, opened = [], {}
    for name in ("tokenizer", "mixers", "masking", "sampling"):
        start = time.perf_counter()
        explorer = getattr(explorers, name)()
        explorer.widget()
        opened[name] = round(time.perf_counter() - start, 2)
        rows += measure(name, explorer)
    print(f"{'explorer':10s} {'control':28s} {'median':>9s} {'worst':>9s}")
    for row in rows:
        print(
            f"{row['explorer']:10s} {row['control']:28s} {row['median_ms']:6.1f} ms {row['worst_ms']:6.1f} ms"
        )
    print("opened in seconds:", ", ".join(f"{name} {seconds}" for name, seconds in opened.items()))
    worst = max(row["worst_ms"] for row in rows)
    about = describe_machine(torch.device("cpu")) | {
        "load_average": [*load, _load()],
        "tries": TRIES,
        "limit_ms": LIMIT,
    }
    write_json(RESULTS, {"about": about, "worst_ms": worst, "opened_seconds": opened, "rows": rows})
    print(f"worst answer {worst} ms, limit {LIMIT} ms")
    return int(options.check and worst > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
