"""How long 10,000 single-base variants take: one score of each method, windows of 512 bases, on a CPU.

    python benchmarks/variants.py                 # benchmarks/results/variants.json
    python benchmarks/variants.py --count 500     # a quick look; the time for 10,000 is then estimated, and says so

The variants are drawn with seed 0 in the test region of E. coli, each at a place of its own: no position shares its
pass with another. Saturation, where three alternatives share one, is timed beside it. Windows a variant: masked 1;
embedding 2; autoregressive, both strands, 4. A fixed count scores every method on the same variants.
"""

from __future__ import annotations

# ruff: noqa: E402 (this directory has a tokenizers.py, and so is a library called that transformers imports)
import sys
from pathlib import Path

sys.path = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]

import argparse
import json
import os
import platform
import time

import numpy as np
import torch

from gfm_lab import load_data, load_model
from gfm_lab.variants import score_variants

RESULTS = Path(__file__).parent / "results" / "variants.json"
RUNS = {  # name: checkpoint, method, options
    "masked": ("ecoli-attention-mlm", "masked", {}),
    "masked, both strands": ("ecoli-attention-mlm", "masked", {"strands": "both"}),
    "autoregressive, both strands": ("ecoli-conv-ar", "autoregressive", {}),
    "autoregressive, forward": ("ecoli-conv-ar", "autoregressive", {"strands": "forward"}),
    "embedding": ("ecoli-conv-ar", "embedding", {}),
}
WINDOW, ALL = 512, 10_000


def variants(genome, count, saturated=False, seed=0):
    """(chrom, position, ref, alt): one alternative at each of `count` places, or all three at a third of them."""
    random = np.random.default_rng(seed)
    start, stop = genome.splits["test"]
    places = np.sort(random.choice(stop - start, count // 3 if saturated else count, replace=False) + start)
    found = []
    for place in places.tolist():
        others = [base for base in "ACGT" if base != genome.sequence[place]]
        for other in others if saturated else [others[random.integers(3)]]:
            found.append(("", place, genome.sequence[place], other))
    return found


def cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=ALL, help="variants (default: 10,000)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: 2)")
    parser.add_argument("--only", nargs="*", default=[*RUNS, "masked, saturated"], help="which runs")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    genome = load_data("ecoli-k12")
    report = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": {}}
    report |= {"window": WINDOW, "variants": "test region of E. coli K-12, seed 0"}
    for name in args.only:
        checkpoint, method, options = RUNS.get(name, RUNS["masked"])
        model, tokenizer = load_model(checkpoint)
        chosen = variants(genome, args.count, saturated=name.endswith("saturated"))
        score_variants(model, tokenizer, chosen[:16], genome, method, window=WINDOW, **options)  # warm up
        load, started = os.getloadavg()[0], time.perf_counter()
        table = score_variants(model, tokenizer, chosen, genome, method, window=WINDOW, **options)
        seconds = time.perf_counter() - started
        assert np.isfinite(table["score"]).all()
        run = {
            "checkpoint": checkpoint, "method": method, "options": options, "variants": len(chosen),
            "seconds": round(seconds, 1), "per_10000": round(seconds * ALL / len(chosen), 1),
            "measured": len(chosen) >= ALL - 2, "threads": args.threads, "cpu": cpu_name(), "cores": os.cpu_count(),
            "torch": torch.__version__, "load_before": round(load, 1),
        }  # fmt: skip
        report["runs"][name] = run
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")
        print(f"{name:30s} {len(chosen):6,} variants in {seconds:6.1f} s; 10,000: {run['per_10000']:.0f} s")


if __name__ == "__main__":
    main()
