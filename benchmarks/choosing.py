"""Five mixers at equal parameters: recall against distance, and the table of notebook 07.

    python benchmarks/choosing.py recall       # recall.json: trains; about 8 minutes of one core
    python benchmarks/choosing.py speed        # speed.json: seconds a token of the five language models, half a minute
    python benchmarks/choosing.py collect      # runs.json: the logs of the five runs, and Markov models beside them
    python benchmarks/choosing.py test         # test.json: the five runs on the untouched test region

The files stand in benchmarks/results/choosing/.

**Recall.** The task is `gfm_lab.synthetic.associative_recall`: 4 pairs of key and value in noise, then the 4 keys in
another order. Batches of 1,536 tokens of one length each, the lengths 12 to 128 in turn, the pairs anywhere: short
sequences teach what to do, long ones how far to reach (at length 128 alone no mixer leaves the plateau in this time).
Every model: embedding of width 32, one gated causal convolution of 3 taps that all share (it lets a value see its key),
two blocks of the mixer with a feed-forward part, as wide as brings all to the same number of parameters, a linear head.
What differs is how the second half of the task is done: finding a token that may stand far away.

Each mixer gets the same trials: two learning rates (the first was found in a trial with attention), one seed. The rate
with the higher accuracy on the validation rows (seed -1, all pairs asked) is reported, by distance, on other rows (seed
-2 - distance). Intervals are Wilson's, 95 %, over rows: they say how well this one trained model was measured, not how
another seed would come out. `recall --longer` trains Hyena, which reaches to the start and had not finished, and the
convolution, which cannot, anew with three times the steps at the first rate (recall_longer.json).

**Language models.** The recipes ecoli-{attention,window,conv,hyena,mamba}-ar of `gfm-lab pretrain`: one set of settings
for all five (learning rate, schedule, batch, windows, seed 0), none tuned for a mixer of its own, parameters equal to
within 1 %. `collect` reads runs/*/log.jsonl: validation bits per base against tokens. Seconds in these logs are those
of a machine with other work, so `speed` measures the cost of a token apart: one forward and backward pass over 8 x 512
tokens in 32 bits, one thread, in rounds that visit all five in turn; processor time, median over the rounds.
`test` scores each run on the whole test region, windows of 512, forward strand; its intervals, and those of the paired
differences from attention, are over windows: one training run each, so they do not say how another seed would come out.
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

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gfm_lab import load_data
from gfm_lab.baselines import MarkovModel
from gfm_lab.checkpoints import load_model
from gfm_lab.commands.pretrain import build as build_language_model
from gfm_lab.commands.recipes import recipe
from gfm_lab.evaluation import bits_per_base, difference
from gfm_lab.mixers import Convolution, build_mixer
from gfm_lab.model import GenomicConfig, GenomicForCausalLM
from gfm_lab.runs import describe_machine, read_log, write_json
from gfm_lab.stretches import Windows, stretches
from gfm_lab.synthetic import associative_recall, task_accuracy, train_on_task
from gfm_lab.tokenization import NucleotideTokenizer

RESULTS = Path(__file__).parent / "results" / "choosing"
CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
DIM, LAYERS, PAIRS, KEYS, SEED = 32, 2, 4, 8, 0
TOKENS, STEPS, LENGTHS = 1_536, 800, (12, 16, 24, 32, 48, 64, 96, 128)
RATES = (5e-3, 1e-2)
DISTANCES, ROWS = (2, 4, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 120), 400
LONGEST = max(LENGTHS)
# The options of each mixer, with a list where the layers differ, and how far back its two layers reach at most.
MIXERS: dict[str, dict[str, Any]] = {
    "attention": dict(heads=2, positions="rotary"),
    "sliding_window": dict(heads=2, radius=16, positions="rotary"),
    "convolution": dict(kernel=7, dilation=[1, 7]),
    "hyena": dict(max_length=LONGEST, filter_width=16),
    "mamba": dict(),
}
LONGER = ("hyena", "convolution")
REACH = {
    "sliding_window": 2 * 16 + 2,
    "convolution": 6 * 1 + 6 * 7 + 2,
}  # 2 of them from the shared convolution


class Layer(nn.Module):
    """x + mixer(norm(x)), then the same with a feed-forward part of width `inner`, if there is one."""

    def __init__(self, mixer: nn.Module, inner: int = 0) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mixer = nn.LayerNorm(DIM), nn.LayerNorm(DIM), mixer
        self.ffn = nn.Sequential(nn.Linear(DIM, inner), nn.GELU(), nn.Linear(inner, DIM)) if inner else None

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm1(x))
        return x if self.ffn is None else x + self.ffn(self.norm2(x))


def build(name: str, inner: int) -> nn.Module:
    """ids (B, L) -> logits (B, L, V), with that mixer."""
    torch.manual_seed(SEED)
    options = [
        {k: v[i] if isinstance(v, list) else v for k, v in MIXERS[name].items()} for i in range(LAYERS)
    ]
    vocabulary = 1 + 2 * KEYS
    return nn.Sequential(
        nn.Embedding(vocabulary, DIM),
        Layer(Convolution(DIM, kernel=3)),
        *(Layer(build_mixer(name, DIM, causal=True, **chosen), inner) for chosen in options),
        nn.LayerNorm(DIM),
        nn.Linear(DIM, vocabulary),
    )


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def matched() -> dict[str, int]:
    """The feed-forward width of each mixer that brings it nearest to attention's parameters at 4 * DIM."""
    target = size(build("attention", 4 * DIM))
    return {
        name: min(range(1, 8 * DIM), key=lambda inner: abs(size(build(name, inner)) - target))
        for name in MIXERS
    }


def batch(seed: int) -> tuple[Tensor, Tensor]:
    length = LENGTHS[seed % len(LENGTHS)]
    return associative_recall(TOKENS // length, length, PAIRS, seed=seed, keys=KEYS, values=KEYS)


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share of n."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return middle - half, middle + half


def recall(longer: bool = False) -> None:
    """Train and measure; the file is written after every run, and a run that is in it is not repeated."""
    torch.set_num_threads(1)
    path = RESULTS / ("recall_longer.json" if longer else "recall.json")
    steps, rates = (3 * STEPS, RATES[:1]) if longer else (STEPS, RATES)
    path.parent.mkdir(parents=True, exist_ok=True)
    widths = matched()
    setting = dict(
        task="associative_recall", pairs=PAIRS, keys=KEYS, values=KEYS, width=DIM, layers=LAYERS, inner=widths,
        options=MIXERS, reach=REACH, steps=steps, tokens_per_step=TOKENS, lengths=LENGTHS, learning_rates=rates,
        seed=SEED, scored_length=LONGEST, rows=ROWS, chance=1 / PAIRS, chance_blind=1 / KEYS,
    )  # fmt: skip
    setting = json.loads(json.dumps(setting))
    found = json.loads(path.read_text()) if path.exists() else {}
    runs = found["runs"] if found.get("setting") == setting else []
    for rate in rates:
        for name, inner in widths.items():
            if longer and name not in LONGER:
                continue
            if any(run["mixer"] == name and run["learning_rate"] == rate for run in runs):
                continue
            model, start = build(name, inner), time.process_time()
            losses = train_on_task(model, batch, steps, lr=rate, seed=SEED)
            seconds = time.process_time() - start
            common = dict(keys=KEYS, values=KEYS)
            valid = task_accuracy(model, *associative_recall(ROWS, LONGEST, PAIRS, seed=-1, **common))
            by_distance = []
            for far in DISTANCES:
                rows = associative_recall(ROWS, LONGEST, PAIRS, far, seed=-2 - far, **common)
                share = task_accuracy(model, *rows)
                low, high = wilson(share, ROWS)
                by_distance.append(dict(distance=far, accuracy=share, low=round(low, 4), high=round(high, 4)))
            runs.append(
                dict(
                    mixer=name, learning_rate=rate, parameters=size(model), valid=valid, by_distance=by_distance,
                    cpu_seconds=round(seconds, 1), losses=[round(sum(part) / 8, 4) for part in _eights(losses)],
                )
            )  # fmt: skip
            write_json(path, dict(setting=setting, machine=describe_machine(torch.device("cpu")), runs=runs))
            line = " ".join(f"{row['distance']}:{row['accuracy']:.2f}" for row in by_distance)
            print(
                f"{name:15s} lr {rate:.0e} {size(model):,} parameters, {seconds:.0f} s, valid {valid:.3f} | {line}",
                flush=True,
            )


def _eights(values: list[float]) -> list[list[float]]:
    """Steps in groups of one round of the lengths."""
    return [values[i : i + len(LENGTHS)] for i in range(0, len(values), len(LENGTHS))]


# ---- The language models ----

RECIPES = {
    "attention": "ecoli-attention-ar",
    "sliding_window": "ecoli-window-ar",
    "convolution": "ecoli-conv-ar",
    "hyena": "ecoli-hyena-ar",
    "mamba": "ecoli-mamba-ar",
}
ROUNDS, ORDERS, TUNING = 7, (2, 6, 8, 10), 100_000
RUNS = Path(__file__).parent.parent / "runs"


def from_recipe(name: str) -> nn.Module:
    """The model that `gfm-lab pretrain --recipe` starts from."""
    unset = ("init", "preset", "layers", "width", "heads", "kmer_sum", "objective", "fasta")
    return build_language_model(argparse.Namespace(**dict.fromkeys(unset)), recipe(RECIPES[name]))[0]


def speed() -> None:
    torch.set_num_threads(1)
    settings = recipe(RECIPES["mamba"])
    rows, length = settings["batch_size"], settings["window"]
    ids = torch.randint(5, 9, (rows, length), generator=torch.Generator().manual_seed(SEED))
    models = {name: from_recipe(name) for name in RECIPES}
    times: dict[str, list[float]] = {name: [] for name in models}
    for round_number in range(ROUNDS + 1):
        for name, model in models.items():
            start = time.process_time()
            model(input_ids=ids, labels=ids).loss.backward()
            if round_number:  # the first compiles and fills caches
                times[name].append((time.process_time() - start) * 1e6 / ids.numel())
            model.zero_grad()
    found = {
        name: dict(
            us_per_token=round(statistics.median(taken), 2), fastest=round(min(taken), 2),
            slowest=round(max(taken), 2), parameters=size(models[name]),
        )
        for name, taken in times.items()
    }  # fmt: skip
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    about = dict(
        batch=rows, length=length, rounds=ROUNDS, precision="float32", direction="forward+backward", load=load
    )
    write_json(
        RESULTS / "speed.json",
        dict(about=about, machine=describe_machine(torch.device("cpu")), models=found),
    )
    for name, row in found.items():
        print(
            f"{name:15s}{row['parameters']:>10,} parameters {row['us_per_token']:8.1f} us/token "
            f"({row['fastest']:.1f} to {row['slowest']:.1f}), load {load}"
        )


def collect(folders: dict[str, Path]) -> None:
    """Validation bits against tokens of every run that is there, and of Markov models on the same windows."""
    genome, runs = load_data("ecoli-k12"), {}
    for name, folder in folders.items():
        log = read_log(folder / "log.jsonl")
        points = [[line["tokens"], line["valid_bits"]] for line in log if "valid_bits" in line]
        if not points:
            print(f"{name:15s}no log in {folder.name}: left out")
            continue
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if not about.get("finished"):
            print(f"{name:15s}{folder.name} is at {points[-1][0]:,} tokens, not finished: left out")
            continue
        settings = about["about"]["settings"]
        with torch.device("meta"):
            config = {k: v for k, v in about["about"]["model"].items() if k != "model_type"}
            model = GenomicForCausalLM(GenomicConfig(**config))
        runs[name] = dict(
            parameters=size(model), points=points, command=about["command"],
            settings={k: settings[k] for k in SAME}, machine=about["machine"],
        )  # fmt: skip
        print(
            f"{name:15s}{runs[name]['parameters']:>10,} parameters, {points[-1][0]:>12,} tokens, {points[-1][1]:.4f}"
        )
    settings = recipe(RECIPES["mamba"])
    tokenizer = NucleotideTokenizer(on_unknown="split")
    windows = Windows(stretches(genome, "valid"), tokenizer, settings["window"], 1, 0, False).evenly(
        settings["valid_windows"]
    )
    letters = dict(zip(tokenizer.convert_tokens_to_ids([*"ACGT"]), "ACGT", strict=True))
    texts = ["".join(letters.get(int(i), "N") for i in window["input_ids"]) for window in windows]
    path = RESULTS / "runs.json"
    markov = json.loads(path.read_text(encoding="utf-8"))["markov"] if path.exists() else {}
    for order in ORDERS if not markov else ():
        model = MarkovModel(order).fit(genome.split("train"), valid=genome.split("valid")[:TUNING])
        markov[str(order)] = round(float(np.nanmean([model.bits(text)[1:] for text in texts])), 4)
    print("Markov", markov)
    write_json(
        path,
        dict(
            runs=runs, markov=markov, data="E. coli K-12, validation region, evenly spread windows, first base "
            "of each left out; Markov strengths tuned on its first 100,000 bases", windows=len(texts), seeds=1,
        ),
    )  # fmt: skip


def test(folders: dict[str, Path]) -> None:
    """Bits per base on the test region of every run that is there, beside the Markov model of the shipped cards."""
    torch.set_num_threads(os.cpu_count() or 1)
    sequence, scores = load_data("ecoli-k12").split("test"), {}
    for name, folder in folders.items():
        if not (folder / "model.safetensors").exists():
            print(f"{name:15s}no model in {folder.name}: left out")
            continue
        model, tokenizer = load_model(folder)
        scores[name] = bits_per_base(
            model, tokenizer, sequence, recipe(RECIPES["mamba"])["window"], batch_size=64
        )
        print(f"{name:15s}{scores[name]}", flush=True)
    rows = {}
    for name, score in scores.items():
        rows[name] = dict(bits=round(score.value, 4), low=round(score.low, 4), high=round(score.high, 4))
        if name != "attention" and "attention" in scores:
            against = difference(score, scores["attention"])
            rows[name]["beside_attention"] = [round(x, 4) for x in against]
    card = json.loads((CHECKPOINTS / "ecoli-mamba-ar" / "scores.json").read_text(encoding="utf-8"))["table"]
    markov = next(row for row in card if row["model"] == "Markov, order 12")
    about = "E. coli K-12, test region, forward strand, windows of 512; beside_attention: difference, 95 % interval"
    baseline = {key: round(markov[key], 4) for key in ("bits", "low", "high")}
    write_json(
        RESULTS / "test.json", dict(runs=rows, markov12=baseline, bases=len(sequence), data=about, seeds=1)
    )


SAME = ("steps", "batch_size", "window", "learning_rate", "warmup", "weight_decay", "seed", "precision")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Folders of runs may be named: collect convolution=runs/NAME mamba=runs/OTHER",
    )
    parser.add_argument("what", choices=("recall", "speed", "collect", "test"))
    parser.add_argument(
        "folders", nargs="*", metavar="MIXER=FOLDER", help="collect, test: runs other than the recipes'"
    )
    parser.add_argument("--longer", action="store_true", help="recall: three times the steps")
    args = parser.parse_args()
    if args.what == "recall":
        recall(args.longer)
    elif args.what == "speed":
        speed()
    else:
        given = dict(text.split("=", 1) for text in args.folders)
        work = collect if args.what == "collect" else test
        work({name: Path(given.get(name, RUNS / folder)) for name, folder in RECIPES.items()})
