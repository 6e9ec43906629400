"""Time and memory of a small model against length, 256 to a million tokens, for each mixer; and Hyena beside BERT.

    python benchmarks/mixers_lengths.py lengths              # benchmarks/results/mixers_lengths.csv
    python benchmarks/mixers_lengths.py lengths --only hyena # these rows anew, the others stay
    python benchmarks/mixers_lengths.py peer                 # benchmarks/results/mixers_peer.json
    python benchmarks/mixers_lengths.py figure               # benchmarks/results/mixers_lengths.png, from the csv

Models: 4 layers, width 128, one token a base, next token, batch of one sequence, float32, one thread. In `lengths` the
feed-forward parts are as wide as makes all models equally large (within 1 %); the rotary positions belong to attention
and to the window (radius 64). In `peer` Hyena has BERT's feed-forward part (512), and 1,024 tokens are timed as one
sequence and as a batch of four: Hyena makes its filter once a batch, and a single short sequence pays for it alone.
Each pair is timed in several fresh processes, in turn within each: where memory happens to lie moves a short sequence's
ratio by about 0.01, and the same process again would not show it. Given are the medians, and the ratio of each process.

Time is processor time of the process, so that other work on the machine does not count, though it slows memory and
cache: `busy` in the csv says how many processes wanted each core. Rows with different `busy` should not be compared
closely: measure all of them on a quiet machine for that. Median of the rounds after one that is not counted.
Memory is resident memory at its peak, above what the process held before it made the model (Linux): weights, gradients
and activations, torch's and numpy's. Each row is measured in a forked copy of the process. The longest inputs go
forward only: one pass, without gradients, to the last hidden states, as `gfm-lab embed` does. Of that pass the time
spent in the system is left out: it hands out gigabytes of fresh memory, which took up to twice as long as the model.

Columns: mixer, L, parameters, us_per_token_forward_backward, us_per_token_forward, peak_mib_forward_backward,
peak_mib_forward, rounds, device, dtype, busy. Empty: not measured at this length. With a CUDA GPU: --device cuda, in
bfloat16, wall time and the allocator's peak.
"""

from __future__ import annotations

# ruff: noqa: E402 (the number of threads is read when the libraries are imported)
import os
import sys
from pathlib import Path

# This directory has a tokenizers.py, and so is a library called that transformers imports: look for that one elsewhere.
sys.path = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy and torch are imported
os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

import argparse
import ctypes
import gc
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import torch
from transformers import BertConfig, BertForMaskedLM
from transformers.utils import logging

from gfm_lab import plots
from gfm_lab.model import GenomicConfig, GenomicForCausalLM

RESULTS = Path(__file__).parent / "results"
VOCABULARY, WIDTH, LAYERS, SEED, BERT_INNER = 16, 128, 4, 0, 512
# Feed-forward width and options; Hyena's max_length is the length.
MODELS: dict[str, tuple[int, dict[str, Any]]] = {
    "attention": (512, {"heads": 2}),
    "sliding_window": (512, {"heads": 2, "radius": 64}),
    "convolution": (568, {"kernel": 7, "dilation": [1, 4, 16, 64]}),
    "hyena": (440, {}),
    "mamba": (316, {}),
}
BOTH = (256, 1_024, 4_096, 16_384, 65_536)  # forward + backward, and forward
FORWARD = (1_048_576,)
LONGEST = {"attention": 16_384}  # quadratic in L: the next one would take minutes a pass
ROUNDS = {256: 7, 1_024: 7, 4_096: 5}  # from 16,384 on one
MALLOC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def build(mixer: str, length: int, inner: int | None = None) -> GenomicForCausalLM:
    """The model of one row. Introduced in notebook 07."""
    width, options = MODELS[mixer]
    if mixer == "hyena":
        options = {"max_length": length}
    rotary = mixer in ("attention", "sliding_window")
    torch.manual_seed(SEED)
    return GenomicForCausalLM(
        GenomicConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, intermediate_size=inner or width,
            mixer=mixer, mixer_options=options, positions="rotary" if rotary else "none",
            max_position_embeddings=None, causal=True,
        )
    )  # fmt: skip


def bert(length: int) -> BertForMaskedLM:
    """transformers' BERT through SDPA; no attention dropout, which would take the fast kernel away."""
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=2,
        intermediate_size=BERT_INNER, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        max_position_embeddings=length,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    torch.manual_seed(SEED)
    return BertForMaskedLM(config)


def tokens(length: int, device: str = "cpu") -> torch.Tensor:
    return torch.randint(5, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(SEED)).to(device)


def backward(model: torch.nn.Module, ids: torch.Tensor) -> None:
    """One forward and backward."""
    model.zero_grad(set_to_none=True)
    model(input_ids=ids, labels=ids).loss.backward()


def forward(model: torch.nn.Module, ids: torch.Tensor) -> None:
    """To the last hidden states, without gradients."""
    with torch.inference_mode():
        model.base_model(input_ids=ids)


def malloc(keep: bool) -> None:
    """Freed memory is kept (no model pays for fresh pages), or given back at once (the peak is what is in use)."""
    if MALLOC is not None:
        for setting in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            MALLOC.mallopt(setting, 1 << 30 if keep else 1 << 16)


def resident(field: str) -> float:
    """VmRSS or VmHWM in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def timed(work: Callable[[], None], rounds: int, length: int, device: str) -> float:
    """Microseconds a token: the median of `rounds`."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    found = []
    for _ in range(rounds):
        gc.collect()
        start = clock()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        found.append((clock() - start) / length * 1e6)
    return statistics.median(found)


def row(mixer: str, length: int, both: bool, device: str) -> dict[str, Any]:
    """Memory first, from a process that has done nothing yet, then time."""
    cpu = device == "cpu"
    dtype = torch.float32 if cpu else torch.bfloat16
    found: dict[str, Any] = {"mixer": mixer, "L": length, "device": device, "dtype": str(dtype).split(".")[1]}
    with nullcontext() if cpu else torch.autocast("cuda", dtype):
        malloc(keep=False)
        short = tokens(256, device)
        warm = build(mixer, 256).to(device)  # what is loaded and set up once is not the model's
        (backward if both else forward)(warm, short)
        del warm
        gc.collect()
        if cpu and MALLOC is not None:
            MALLOC.malloc_trim(0)
        before = resident("VmRSS") if cpu else torch.cuda.memory_allocated() / 2**20
        model, ids = build(mixer, length).to(device), tokens(length, device)
        found["parameters"] = sum(p.numel() for p in model.parameters())
        for name, step in (("forward", forward), ("forward_backward", backward)):
            if name == "forward" or both:
                if cpu:
                    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
                else:
                    torch.cuda.reset_peak_memory_stats()
                start = os.times().user
                step(model, ids)
                once = (os.times().user - start) / length * 1e6
                peak = resident("VmHWM") if cpu else torch.cuda.max_memory_allocated() / 2**20
                found[f"peak_mib_{name}"] = round(peak - before, 1)
        rounds = ROUNDS.get(length, 1)
        if not both and cpu:  # minutes long: the pass whose memory was measured is the one that counts
            return found | {"us_per_token_forward": round(once, 2), "rounds": 1}
        malloc(keep=True)
        model.zero_grad(set_to_none=True)
        for name, step in (("forward", forward), ("forward_backward", backward)):
            if name == "forward" or both:
                step(model, ids)  # with fresh pages: a long pass has gigabytes of them
                spent = timed(partial(step, model, ids), rounds, length, device)
                found[f"us_per_token_{name}"] = round(spent, 2)
    return found | {"rounds": rounds}


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """`work` in a forked copy of this process, which ends with it; what it returns, through JSON."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            with os.fdopen(write_end, "w") as pipe:
                json.dump(work(*arguments), pipe)
            os._exit(0)
        except BaseException as fault:
            print(f"{arguments}: {fault!r}", file=sys.stderr, flush=True)
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def lengths(only: list[str] | None, shortest: int, longest: int, device: str) -> None:
    """Every row of the csv, written as soon as it is known."""
    path = RESULTS / "mixers_lengths.csv"
    known = pd.read_csv(path).to_dict("records") if path.exists() else []
    for length in [n for n in (*BOTH, *FORWARD) if n >= shortest]:
        for mixer in only or MODELS:
            if length > min(longest, LONGEST.get(mixer, longest)):
                continue
            busy = os.getloadavg()[0] / (os.cpu_count() or 1)
            found = apart(row, mixer, length, length in BOTH, device)
            if found is None:
                continue
            found["busy"] = round(busy, 1)
            known = [k for k in known if (k["mixer"], k["L"], k["device"]) != (mixer, length, device)] + [
                found
            ]
            order = {name: i for i, name in enumerate(MODELS)}
            table = pd.DataFrame(sorted(known, key=lambda k: (k["device"], order[k["mixer"]], k["L"])))
            table.reindex(columns=COLUMNS).to_csv(path.with_suffix(".part"), index=False)
            path.with_suffix(".part").replace(path)
            print(found, flush=True)
    about = hardware() | {"width": WIDTH, "layers": LAYERS, "models": MODELS, "rounds": ROUNDS}
    (RESULTS / "mixers_lengths.json").write_text(json.dumps(about, indent=1) + "\n")


COLUMNS = [
    *("mixer", "L", "parameters", "us_per_token_forward_backward", "us_per_token_forward"),
    *("peak_mib_forward_backward", "peak_mib_forward", "rounds", "device", "dtype", "busy"),
]


def pair(length: int, sequences: int, rounds: int) -> dict[str, Any]:
    """Hyena and BERT of the same size in turn, forward + backward: medians of the times and of their ratio."""
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    malloc(keep=True)
    count = length * sequences
    models = {"hyena": build("hyena", length, BERT_INNER), "BERT": bert(length)}
    ids, spent = tokens(count).view(sequences, length), {name: [] for name in models}
    for model in models.values():
        backward(model, ids)
    for i in range(rounds):
        for name in [*models][:: 1 if i % 2 else -1]:
            spent[name].append(timed(partial(backward, models[name], ids), 1, count, "cpu"))
    return {name: statistics.median(times) for name, times in spent.items()} | {
        "parameters": {name: sum(p.numel() for p in m.parameters()) for name, m in models.items()},
        "ratio": statistics.median(a / b for a, b in zip(spent["hyena"], spent["BERT"], strict=True)),
    }


def peer(rounds: int, processes: int) -> None:
    """`pair` in fresh processes; and Hyena's cost from 4,096 to 65,536 tokens."""
    malloc(keep=True)
    limits, rows = {1_024: 0.60, 4_096: 0.25}, []
    for length, sequences in ((1_024, 1), (1_024, 4), (4_096, 1)):
        found = []
        for _ in range(processes):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found.append(pool.apply(pair, (length, sequences, rounds)))
        ratios = sorted(row["ratio"] for row in found)
        ratio, limit = statistics.median(ratios), limits[length]
        rows.append(
            {
                "L": length, "sequences": sequences,
                **{name: round(statistics.median(row[name] for row in found), 1) for name in ("hyena", "BERT")},
                "parameters": found[0]["parameters"],
                "ratio": round(ratio, 3), "ratios": [round(r, 3) for r in ratios],
                "target": limit, "met": ratio <= limit, "processes": processes, "rounds": rounds,
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    grown = {}
    for length in (4_096, 65_536):
        model, ids = build("hyena", length, BERT_INNER), tokens(length)
        backward(model, ids)
        grown[length] = round(timed(partial(backward, model, ids), 3, length, "cpu"), 1)
        print(length, grown[length], flush=True)
    growth = grown[65_536] / grown[4_096]
    result = {
        "about": hardware(),
        "unit": "microseconds of processor time a token, forward + backward, one thread, float32",
        "rows": rows,
        "hyena_by_length": grown, "growth_4k_to_64k": round(growth, 3), "target": 1.5, "met": growth <= 1.5,
    }  # fmt: skip
    (RESULTS / "mixers_peer.json").write_text(json.dumps(result, indent=1) + "\n")


def hardware() -> dict[str, Any]:
    """The machine and the versions that the numbers belong to."""
    cpuinfo, name = Path("/proc/cpuinfo"), platform.processor() or platform.machine()
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), name)
    return {
        "processor": name, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(), "torch": version("torch"), "transformers": version("transformers"),
        "load_average": round(os.getloadavg()[0], 1), "seed": SEED,
    }  # fmt: skip


def figure() -> None:
    """Cost a token and peak memory against length, both axes logarithmic, from the csv."""
    table = pd.read_csv(RESULTS / "mixers_lengths.csv")
    table = table[table["device"] == "cpu"]
    plots.use_style()
    drawn, panels = plt.subplots(1, 3, figsize=(15, 4.6))
    views = (
        ("us_per_token_forward_backward", "microseconds a token", "Forward + backward"),
        ("us_per_token_forward", "microseconds a token", "Forward"),
        ("peak_mib_forward", "MiB", "Peak memory, forward"),
    )
    for axes, (column, unit, title) in zip(panels, views, strict=True):
        for i, mixer in enumerate(MODELS):
            part = table[(table["mixer"] == mixer) & table[column].notna()]
            axes.plot(part["L"], part[column], "o-", color=plots.PALETTE[i], label=mixer.replace("_", " "))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        shown = sorted(table.loc[table[column].notna(), "L"].unique())
        axes.set_xticks(
            shown, ["1 M" if n == 1 << 20 else f"{n:,}" if n < 10_000 else f"{n >> 10} k" for n in shown]
        )
        low, high = axes.get_ylim()
        marks = [m * 10**p for p in range(6) for m in (1, 2, 3, 5, 7) if low <= m * 10**p <= high]
        axes.set_yticks(marks, [f"{mark:,}" for mark in marks])
        axes.minorticks_off()
        axes.set(title=title, xlabel="tokens (logarithmic)", ylabel=f"{unit} (logarithmic)")
    panels[0].legend()
    temporary = RESULTS / "mixers_lengths.tmp.png"
    drawn.savefig(temporary, metadata={"Software": None})
    plt.close(drawn)
    temporary.replace(RESULTS / "mixers_lengths.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("lengths", "peer", "figure"))
    parser.add_argument("--only", nargs="+", choices=MODELS, help="these mixers (default: all)")
    parser.add_argument("--shortest", type=int, default=BOTH[0], metavar="L", help="no shorter ones")
    parser.add_argument("--longest", type=int, default=FORWARD[-1], metavar="L", help="no longer ones")
    parser.add_argument("--rounds", type=int, default=9, help="of `peer` (default: 9)")
    parser.add_argument("--processes", type=int, default=9, help="of `peer` (default: 9)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    RESULTS.mkdir(exist_ok=True)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA GPU here: no row is measured, and the csv keeps those it has")
    elif options.what == "lengths":
        lengths(options.only, options.shortest, options.longest, options.device)
    elif options.what == "peer":
        peer(options.rounds, options.processes)
    else:
        figure()


if __name__ == "__main__":
    main()
