"""What Mamba's selective scan costs by each way to compute it, and a whole Mamba model beside its peers: one core.

    python benchmarks/selective_scan.py            # tables, benchmarks/results/selective_scan.json and .png
    python benchmarks/selective_scan.py --check    # the same, and exit code 1 if a target is missed

The scan: 256 channels of 16 states, one sequence, float32, forward and backward to u, delta, A, B and C, at three
lengths. The model: width 128, 4 layers, vocabulary 16, 4,096 tokens, forward and backward of the next-token loss.
Peers: mamba.py's parallel scan (`pip install mambapy`; left out if it is not there) and transformers' Mamba-2, as they
run without CUDA. Before anything is timed, every way to compute the scan has to give the definition's values and
gradients, and mamba.py's model, with our weights, our loss; Mamba-2 is another model with parameters within 2 %.

Rounds go through all of them in turn, backwards every other time; given are the median of the rounds and the median of
the rounds' ratios. Time is processor time of this process, pinned to one core; freed memory is kept, so that none pays
for the other's pages.
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
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Mamba2Config, Mamba2ForCausalLM
from transformers.utils import logging

from gfm_lab import plots
from gfm_lab.mixers import mamba
from gfm_lab.mixers.mamba import scan_path, selective_scan, selective_scan_reference
from gfm_lab.model import GenomicConfig, GenomicForCausalLM

RESULTS = Path(__file__).parent / "results"
SEED, CHANNELS, STATES, LENGTHS = 0, 256, 16, (1024, 4096, 16384)
VOCABULARY, WIDTH, LAYERS, TOKENS = 16, 128, 4, 4096
TURN = 0.5  # seconds that a step is given in each round, at least
IDLE_PERCENT = 15  # of all cores, used by others: above, the run is marked as disturbed
HAVE_MAMBAPY = importlib.util.find_spec("mambapy") is not None


# ---- The scan, by each way ----


def in_plain_torch(*inputs: Tensor) -> Tensor:
    """`selective_scan` as it is without numba."""
    compiled, mamba._compiled = mamba._compiled, lambda: None
    try:
        return selective_scan(*inputs)
    finally:
        mamba._compiled = compiled


def by_mambapy(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """mamba.py's scan: all decays and inputs at once, then Blelloch's parallel scan over them."""
    from mambapy.pscan import pscan

    u, delta, B, C = (x.transpose(1, 2) for x in (u, delta, B, C))
    decay = torch.exp(delta[..., None] * A)
    states = pscan(decay, delta[..., None] * B[:, :, None] * u[..., None])
    return (states @ C[..., None])[..., 0].transpose(1, 2)


def ways() -> dict[str, Callable[..., Tensor]]:
    found: dict[str, Callable[..., Tensor]] = {}
    if scan_path() == "compiled":
        found["compiled"] = selective_scan
    found["plain torch"] = in_plain_torch
    found["definition"] = lambda *inputs: selective_scan_reference(*inputs)[0]
    if HAVE_MAMBAPY:
        found["mamba.py"] = by_mambapy
    return found


def scan_inputs(length: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """One sequence with the step sizes and rates that Mamba starts from; channels last in memory, as in a model."""
    random = torch.Generator().manual_seed(SEED)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    u, B, C = draw(1, length, CHANNELS), draw(1, length, STATES), draw(1, length, STATES)
    delta = F.softplus(draw(1, length, CHANNELS) - 4)
    A = -torch.arange(1, STATES + 1).double().expand(CHANNELS, -1)
    parts = (u.transpose(1, 2), delta.transpose(1, 2), A, B.transpose(1, 2), C.transpose(1, 2))
    return [x.to(dtype).requires_grad_() for x in parts]


def scan_step(scan: Callable[..., Tensor], inputs: list[Tensor], weight: Tensor) -> list[Tensor]:
    y = scan(*inputs)
    return [y, *torch.autograd.grad(y, inputs, weight)]


def same_numbers(length: int = 500) -> dict[str, float]:
    """The largest relative difference of any value or gradient from the definition in float64; below 1e-4 or an end."""
    weight = torch.randn(1, CHANNELS, length, generator=torch.Generator().manual_seed(1))
    expected = scan_step(ways()["definition"], scan_inputs(length, torch.float64), weight.double())
    worst = {}
    for name, scan in ways().items():
        found = scan_step(scan, scan_inputs(length), weight)
        worst[name] = max(
            ((a - b).abs().max() / b.abs().max()).item() for a, b in zip(found, expected, strict=True)
        )
        assert worst[name] < 1e-4, f"{name} is off by {worst[name]:.1e}"
    return worst


# ---- Whole models ----


def ours() -> GenomicForCausalLM:
    return GenomicForCausalLM(
        GenomicConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, mixer="mamba", causal=True,
            norm="rms", ffn="none", positions="none", max_position_embeddings=None, dropout=0.0,
        )
    )  # fmt: skip


class MambapyLM(nn.Module):
    """mamba.py's stack with embedding, last norm and tied head, and the weights of our model."""

    def __init__(self, model: GenomicForCausalLM) -> None:
        super().__init__()
        from mambapy.mamba import Mamba, MambaConfig

        self.token = nn.Embedding(VOCABULARY, WIDTH)
        self.stack = Mamba(MambaConfig(d_model=WIDTH, n_layers=LAYERS))
        self.norm = nn.RMSNorm(WIDTH, eps=model.config.norm_eps)
        names = {
            "inputs": "in_proj", "conv": "conv1d", "select": "x_proj", "dt": "dt_proj", "out": "out_proj",
        }  # fmt: skip
        weights = {}
        for name, value in model.body.state_dict().items():
            name = (
                name.replace("embeddings.", "").replace("layers.", "stack.layers.").replace("norm1", "norm")
            )
            weights[".".join(names.get(part, part) for part in name.split("."))] = value
        self.load_state_dict(weights)

    def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        logits = F.linear(self.norm(self.stack(self.token(input_ids))), self.token.weight)
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def mamba2() -> Mamba2ForCausalLM:
    """transformers' Mamba-2 with state 64, without a cache."""
    return Mamba2ForCausalLM(
        Mamba2Config(
            vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_heads=4, head_dim=64, expand=2,
            state_size=64, n_groups=1, use_cache=False, tie_word_embeddings=True,
            pad_token_id=0, bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip


def loss_of(model: nn.Module, ids: Tensor) -> Tensor:
    out = model(input_ids=ids, labels=ids)
    return out if isinstance(out, Tensor) else out.loss


def models() -> tuple[dict[str, nn.Module], Tensor]:
    """All models, checked to do the same work, and the tokens they read."""
    torch.manual_seed(SEED)
    found: dict[str, nn.Module] = {"gfm_lab": ours()}
    if HAVE_MAMBAPY:
        found["mamba.py"] = MambapyLM(found["gfm_lab"])
    found["Mamba-2"] = mamba2()
    ids = torch.randint(5, VOCABULARY, (1, TOKENS), generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        losses = [loss_of(found[name], ids[:, :512]).item() for name in found if name != "Mamba-2"]
    assert max(losses) - min(losses) < 1e-5, f"the same weights give other losses: {losses}"
    sizes = {name: sum(p.numel() for p in model.parameters()) for name, model in found.items()}
    assert max(sizes.values()) < 1.02 * min(sizes.values()), f"parameters differ: {sizes}"
    return {name: model.train() for name, model in found.items()}, ids


# ---- Timing ----


def rounds_of(steps: dict[str, Callable[[], object]], rounds: int, tokens: int) -> dict[str, list[float]]:
    """Microseconds of processor time a token, for each step and round; a first round is not counted.

    In its turn a quick step runs again and again for TURN seconds, and the mean counts: what the others left in the
    caches and in the pages of memory is paid by the first run.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds + 1):
        for name in list(steps)[:: -1 if i % 2 else 1]:
            gc.collect()
            runs, start, spent = 0, time.process_time(), 0.0
            while spent < TURN and (i or not runs):
                steps[name]()
                runs, spent = runs + 1, time.process_time() - start
            if i:
                times[name].append(spent / runs / tokens * 1e6)
    return times


def summary(times: dict[str, list[float]], length: int, **more: object) -> list[dict[str, object]]:
    first = next(iter(times))  # ours, and the fastest
    return [
        {
            "name": name, "length": length, "us_per_token": round(statistics.median(values), 2),
            "fastest": round(min(values), 2), "slowest": round(max(values), 2),
            f"{first} / this": round(statistics.median(a / b for a, b in zip(times[first], values, strict=True)), 4),
            "rounds": len(values), **more,
        }
        for name, values in times.items()
    ]  # fmt: skip


def measure(rounds: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    scans = []
    for length in LENGTHS:
        inputs = scan_inputs(length)
        weight = torch.randn(1, length, CHANNELS, generator=torch.Generator().manual_seed(1)).transpose(1, 2)
        steps = {name: partial(scan_step, scan, inputs, weight) for name, scan in ways().items()}
        scans += summary(rounds_of(steps, rounds, length), length)
        print(table(scans[-len(steps) :], header=length == LENGTHS[0]), flush=True)

    found, ids = models()

    def train(model: nn.Module) -> None:
        model.zero_grad(set_to_none=True)
        loss_of(model, ids).backward()

    times = rounds_of({name: partial(train, model) for name, model in found.items()}, rounds, TOKENS)
    whole = summary(times, TOKENS)
    for row in whole:
        row["parameters"] = sum(p.numel() for p in found[row["name"]].parameters())
    return scans, whole


# ---- Results ----


def targets(scans: list[dict], whole: list[dict]) -> list[tuple[str, bool]]:
    at = {(row["name"], row["length"]): row["us_per_token"] for row in scans}
    checks = []
    for name, limit in (("compiled", 10), ("plain torch", 100)):
        values = [at[name, length] for length in LENGTHS if (name, length) in at]
        if values:
            checks.append(
                (f"scan, {name}: at most {max(values):.1f} <= {limit} us per token", max(values) <= limit)
            )
            rise = max(values) / min(values)
            checks.append((f"scan, {name}: flat, largest / smallest = {rise:.2f} <= 1.3", rise <= 1.3))
    for name, limit in (("mamba.py", 0.2), ("Mamba-2", 0.4)):
        for row in whole:
            if row["name"] == name:
                ratio = row["gfm_lab / this"]
                checks.append((f"model: {ratio:.3f} <= {limit} x the time of {name}", ratio <= limit))
    return checks


def table(rows: list[dict], header: bool = True) -> str:
    head = f"{'':14}{'L':>8}{'us/token':>10}{'fastest':>9}{'slowest':>9}{'ours/this':>11}{'rounds':>8}"
    lines = [head, "-" * len(head)] if header else []
    for row in rows:
        ratio = next(value for key, value in row.items() if key.endswith("/ this"))
        lines.append(
            f"{row['name']:14}{row['length']:8,}{row['us_per_token']:10.1f}{row['fastest']:9.1f}{row['slowest']:9.1f}"
            f"{ratio:11.3f}{row['rounds']:8}"
        )
    return "\n".join(lines)


def chart(scans: list[dict], path: Path) -> None:
    """Microseconds a token against the length, both axes logarithmic."""
    plots.use_style()
    figure, axes = plt.subplots(figsize=(7.5, 5))
    labels = {
        "compiled": "gfm_lab, compiled", "plain torch": "gfm_lab, plain torch", "definition": "the definition, a loop",
        "mamba.py": "mamba.py, parallel scan",
    }  # fmt: skip
    for i, (name, label) in enumerate(labels.items()):
        mine = [row for row in scans if row["name"] == name]
        if mine:
            x, y = [row["length"] for row in mine], [row["us_per_token"] for row in mine]
            axes.plot(x, y, "o-" if "gfm" in label else "s--", color=plots.PALETTE[i], label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(LENGTHS, [f"{n:,}" for n in LENGTHS])
    axes.minorticks_off()
    axes.set_xlabel("tokens (logarithmic)")
    axes.set_ylabel("microseconds per token, one core (logarithmic)")
    axes.set_title("Selective scan, forward + backward: 256 channels of 16 states")
    axes.legend(loc="center left", bbox_to_anchor=(0.0, 0.4))
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
    packages = ("torch", "transformers", *(("numba",) if scan_path() == "compiled" else ()))
    packages += ("mambapy",) if HAVE_MAMBAPY else ()
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "busy_percent_before": round(busy),  # what others used of all cores, before the first round
        "idle": busy <= IDLE_PERCENT,
        "seed": SEED,
    }


def main() -> int:
    """Run everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default: 5)")
    options = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    busy = psutil.cpu_percent(interval=2)
    if busy > IDLE_PERCENT:
        print(f"Others use {busy:.0f} % of this machine: processor times will be higher and scatter more.")
    if not HAVE_MAMBAPY:
        print("mamba.py is not installed (pip install mambapy): its rows are left out.")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if hasattr(ctypes.CDLL(None), "mallopt"):
        for setting in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD: keep freed memory
            ctypes.CDLL(None).mallopt(setting, 1 << 30)

    worst = same_numbers()
    print("largest relative difference from the definition in float64:",
          ", ".join(f"{name} {value:.0e}" for name, value in worst.items()))  # fmt: skip
    scans, whole = measure(options.rounds)
    print("\n" + table(whole))
    checks, about = targets(scans, whole), hardware(busy)
    print("\n" + ", ".join(f"{key} {value}" for key, value in about.items()) + "\n")
    for text, met in checks:
        print(f"{'met   ' if met else 'MISSED'} {text}")

    RESULTS.mkdir(exist_ok=True)
    result = {
        "about": about,
        "setting": {
            "channels": CHANNELS, "states": STATES, "batch": 1, "dtype": "float32", "threads": 1,
            "step": "forward + backward", "model": {"width": WIDTH, "layers": LAYERS, "vocabulary": VOCABULARY},
        },
        "largest_relative_difference": worst,
        "scans": scans,
        "models": whole,
        "targets": [{"target": text, "met": met} for text, met in checks],
    }  # fmt: skip
    temporary = RESULTS / "selective_scan.json.tmp"
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    temporary.replace(RESULTS / "selective_scan.json")
    chart(scans, RESULTS / "selective_scan.png")
    return 1 if options.check and not all(met for _, met in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
