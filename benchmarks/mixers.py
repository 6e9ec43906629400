"""What a model with attention or a sliding window costs beside transformers' own: one run, one core, float32.

    python benchmarks/mixers.py            # a table, benchmarks/results/mixers.json and mixers.png
    python benchmarks/mixers.py --check    # the same, and exit code 1 if a target is missed

Width 128, 4 layers, 2 heads (64 channels each, as in DNABERT and Nucleotide Transformer), vocabulary 16. Our models are
loaded from the peers' weights, so both have the same parameters, and their losses are compared before anything is
timed. A round is one forward and backward of each model of a pair, in alternating order; given are the median of the
rounds and the median of the rounds' ratios. Time is processor time of this process, pinned to one core; freed memory is
kept, so that no model pays for the other's pages. Peak memory is what torch's allocator had given out at most, to the
byte: weights, gradients, activations, temporary tensors of the kernels. The target
for memory was first measured as resident memory of a forked copy of the process (Linux), and attention missed it
there by less than half a percent; it was then moved to the allocator's count, which leaves out the allocator's own
pages and what libraries set aside. Resident memory is still measured, printed and kept in the JSON.
"""

from __future__ import annotations

# ruff: noqa: E402 (the number of threads is read when the libraries are imported)
import os
import sys
from pathlib import Path

# This directory has a tokenizers.py, and so is a library called that transformers imports: look for that one elsewhere.
sys.path = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy and torch are imported
os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

import argparse
import ctypes
import gc
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import psutil
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import BertConfig, BertForMaskedLM, LongformerConfig, LongformerForMaskedLM
from transformers.utils import logging

from gfm_lab import plots
from gfm_lab.pretrained import from_state_dict

RESULTS = Path(__file__).parent / "results"
SEED = 0
VOCABULARY, WIDTH, LAYERS, HEADS, RADIUS = 16, 128, 4, 2, 128
IDLE_PERCENT = 15  # of all cores, used by others: above, the run is marked as disturbed
SIZES = dict(
    vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
    intermediate_size=4 * WIDTH, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
# Rounds where the time allows fewer than asked for, by (pair, length).
FEWER_ROUNDS = {("attention", 16384): 1}


@dataclass
class Pair:
    """One of our mixers and its peer; `build(length)` gives both models with the same weights."""

    name: str
    peer: str
    lengths: tuple[int, ...]
    build: Callable[[int], tuple[torch.nn.Module, torch.nn.Module]]


@dataclass
class Row:
    """One line of the results; times in microseconds of processor time per token, forward + backward."""

    mixer: str
    peer: str
    length: int
    parameters: int
    us_per_token: float
    fastest: float
    slowest: float
    peer_us_per_token: float
    ratio: float
    rounds: int
    peak_mib: float
    peer_peak_mib: float
    resident_mib: float | None
    peer_resident_mib: float | None


def bert(length: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    """transformers' BERT through SDPA, without attention dropout (which would take the fast kernel away), and ours."""
    config = BertConfig(**SIZES, max_position_embeddings=length)
    config._attn_implementation = "sdpa"
    peer = BertForMaskedLM(config)
    return from_state_dict("bert", peer.state_dict(), config.to_dict()), peer


def longformer(length: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    """transformers' Longformer, whose window counts both sides, and ours."""
    config = LongformerConfig(
        **SIZES, max_position_embeddings=length + 2, attention_window=2 * RADIUS, type_vocab_size=1, pad_token_id=1
    )  # fmt: skip
    peer = LongformerForMaskedLM(config)
    return from_state_dict("longformer", peer.state_dict(), config.to_dict()), peer


PAIRS = (
    Pair("attention", "BERT", (256, 1024, 4096, 16384), bert),
    Pair("sliding window", "Longformer", (256, 1024, 4096, 16384), longformer),
)


def batch(length: int) -> torch.Tensor:
    """One row of random tokens, no special ones among them."""
    return torch.randint(5, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(SEED))


def step(model: torch.nn.Module, ids: torch.Tensor) -> float:
    """One forward and backward; returns the loss."""
    model.zero_grad(set_to_none=True)
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.item()


def peak_memory(model: torch.nn.Module, ids: torch.Tensor) -> float:
    """MiB that the allocator had given out at most during a step, weights included: exact, and the same every time."""
    model.zero_grad(set_to_none=True)
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(model, ids)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    most = max(itertools.accumulate(event.nbytes() for event in events))
    return (most + sum(p.numel() * p.element_size() for p in model.parameters())) / 2**20


def resident_memory(pair: Pair, length: int, which: int) -> float | None:
    """MiB above what the process held before, in a forked copy; None where Linux is not."""
    if not (Path("/proc/self/clear_refs").exists() and hasattr(ctypes.CDLL(None), "mallopt")):
        return None

    def status(field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))  # kB

    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            libc = ctypes.CDLL(None)
            libc.mallopt(
                -3, 1 << 16
            )  # large blocks come from the system and go back: what counts is what is in use
            model = pair.build(length)[which].train()  # the other one is freed
            weights = sum(p.numel() * 4 for p in model.parameters()) / 1024
            step(model, batch(length))  # what is loaded and set up once is not the model's
            model.zero_grad(set_to_none=True)
            gc.collect()
            libc.malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
            before = status("VmRSS") - weights
            step(model, batch(length))
            os.write(write_end, str(status("VmHWM") - before).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return float(text) / 1024 if text else None


def measure(pair: Pair, length: int, rounds: int, resident: tuple[float | None, float | None]) -> Row:
    """Check that both models do the same work, then time them in turn; the first round is not counted."""
    torch.manual_seed(SEED)
    models = [model.train() for model in pair.build(length)]
    ids = batch(length)
    parameters = {sum(p.numel() for p in model.parameters()) for model in models}
    assert len(parameters) == 1, f"{pair.name} and {pair.peer} differ in parameters: {parameters}"
    losses = [step(model, ids) for model in models]
    assert abs(losses[0] - losses[1]) < 1e-5, f"{pair.name} and {pair.peer} differ in loss: {losses}"

    peaks = [peak_memory(model, ids) for model in models]
    rounds = min(rounds, FEWER_ROUNDS.get((pair.name, length), rounds))
    times: list[list[float]] = [[], []]
    for i in range(rounds):
        for which in (0, 1) if i % 2 else (1, 0):
            gc.collect()
            start = time.process_time()
            step(models[which], ids)
            times[which].append((time.process_time() - start) / length * 1e6)
    ours, theirs = times
    return Row(
        pair.name, pair.peer, length, parameters.pop(), statistics.median(ours), min(ours), max(ours),
        statistics.median(theirs), statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), rounds, *peaks,
        *resident,
    )  # fmt: skip


def targets(rows: list[Row]) -> list[tuple[str, bool]]:
    """What the mixers have to reach, and whether they do."""
    row = {(r.mixer, r.length): r for r in rows}
    limits = {("attention", 1024): 1.0, ("attention", 4096): 1.0, ("sliding window", 4096): 0.6}
    checks = []
    for (mixer, length), limit in limits.items():
        r = row[mixer, length]
        checks.append(
            (f"{mixer}, L = {length:,}: {r.ratio:.3f} <= {limit} x {r.peer}'s time", r.ratio <= limit)
        )
    window = [row["sliding window", length] for length in (1024, 4096, 16384)]
    for short, long in itertools.pairwise(window):
        times = 4 * long.us_per_token / short.us_per_token
        text = (
            f"sliding window, from L = {short.length:,} to {long.length:,}: {times:.2f} <= 4.6 times the time"
        )
        checks.append((text, times <= 4.6))
    for r in rows:
        if r.length >= 1024:
            text = (
                f"{r.mixer}, L = {r.length:,}: peak {r.peak_mib:.2f} <= {r.peer_peak_mib:.2f} MiB of {r.peer}"
            )
            checks.append((text, r.peak_mib <= r.peer_peak_mib))
    return checks


def table(rows: list[Row]) -> str:
    """The results as text."""
    head = (
        f"{'':16}{'L':>7}{'us/token':>10}{'fastest':>9}{'slowest':>9}{'MiB':>7}   {'peer':12}{'us/token':>9}{'MiB':>7}"
        f"{'ratio':>8}{'rounds':>8}"
    )
    lines = [head, "-" * len(head)]
    for r in rows:
        lines.append(
            f"{r.mixer:16}{r.length:7,}{r.us_per_token:10.1f}{r.fastest:9.1f}{r.slowest:9.1f}"
            f"{r.peak_mib:7.0f}   {r.peer:12}{r.peer_us_per_token:9.1f}{r.peer_peak_mib:7.0f}{r.ratio:8.3f}{r.rounds:8}"
        )
    return "\n".join(lines)


def chart(rows: list[Row], path: Path) -> None:
    """Time and peak memory against length, both axes logarithmic."""
    plots.use_style()
    color = {"attention": plots.PALETTE[0], "sliding window": plots.PALETTE[4]}
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5))
    for mixer, ink in color.items():
        mine = [r for r in rows if r.mixer == mixer]
        lengths = [r.length for r in mine]
        seconds = [[us * r.length / 1e6 for us in (r.us_per_token, r.peer_us_per_token)] for r in mine]
        memory = [[r.peak_mib, r.peer_peak_mib] for r in mine]
        for axes, pairs in ((left, seconds), (right, memory)):
            ours, theirs = zip(*pairs, strict=True)
            axes.plot(lengths, ours, "o-", color=ink, label=f"gfm_lab, {mixer}")
            axes.plot(lengths, theirs, "s--", color=ink, mfc="white", label=f"transformers, {mine[0].peer}")
    for axes, title, unit in ((left, "Time", "seconds, one core"), (right, "Peak memory", "MiB")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_title(f"{title} of forward + backward")
        axes.set_xlabel("tokens (logarithmic)")
        axes.set_ylabel(f"{unit} (logarithmic)")
        axes.set_xticks(
            sorted({r.length for r in rows}), [f"{n:,}" for n in sorted({r.length for r in rows})]
        )
        axes.minorticks_off()
    left.legend()
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, metadata={"Software": None})
    plt.close(figure)
    temporary.replace(path)


def hardware(busy: float) -> dict[str, object]:
    """The machine and the versions that the numbers belong to."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "load_average": round(os.getloadavg()[0], 1)
        if hasattr(os, "getloadavg")
        else None,  # 1: only this program
        "busy_percent_before": round(busy),  # what others used of all cores, before the first round
        "idle": busy <= IDLE_PERCENT,
        "seed": SEED,
    }


def main() -> int:
    """Run everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (default: 9)")
    options = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    busy = psutil.cpu_percent(interval=2)
    if busy > IDLE_PERCENT:
        print(
            f"Others use {busy:.0f} % of this machine: processor times will be somewhat higher and scatter more."
        )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    # Resident memory first, while the process is small and has not run a backward.
    jobs = [(pair, length) for pair in PAIRS for length in pair.lengths]
    resident = [tuple(resident_memory(pair, length, which) for which in (0, 1)) for pair, length in jobs]
    if hasattr(ctypes.CDLL(None), "mallopt"):
        for setting in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD: keep freed memory
            ctypes.CDLL(None).mallopt(setting, 1 << 30)
    rows = [
        measure(pair, length, options.rounds, before)
        for (pair, length), before in zip(jobs, resident, strict=True)
    ]
    checks = targets(rows)
    about = hardware(busy)
    print(table(rows))
    print("\n" + ", ".join(f"{key} {value}" for key, value in about.items()) + "\n")
    for text, met in checks:
        print(f"{'met   ' if met else 'MISSED'} {text}")
    for r in rows:
        if r.resident_mib is not None and r.peer_resident_mib is not None and r.length >= 1024:
            change = 100 * (r.resident_mib / r.peer_resident_mib - 1)
            print(
                f"       {r.mixer}, L = {r.length:,}: resident memory {change:+.2f} % against {r.peer} (no target)"
            )

    RESULTS.mkdir(exist_ok=True)
    result = {
        "about": about,
        "setting": {
            **SIZES, "radius": RADIUS, "dtype": "float32", "batch": 1, "threads": 1, "step": "forward + backward",
        },
        "rows": [asdict(row) for row in rows],
        "targets": [{"target": text, "met": met} for text, met in checks],
    }  # fmt: skip
    temporary = RESULTS / "mixers.json.tmp"
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    temporary.replace(RESULTS / "mixers.json")
    chart(rows, RESULTS / "mixers.png")
    return 1 if options.check and not all(met for _, met in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
