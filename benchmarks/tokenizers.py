"""How fast the tokenizers of gfm_lab are beside what one would use instead: one run, one core, real DNA.

    python benchmarks/tokenizers.py            # a table, benchmarks/results/tokenizers.json and tokenizers.png
    python benchmarks/tokenizers.py --check    # the same, and exit code 1 if a target is missed

Every method gets the same E. coli genome (slow ones its first part) and runs in turn, round after round; the table
gives the median round, the fastest and the slowest. One Mb/s is 1e6 bases per second of processor time, which is
the time on the clock on a machine with nothing else to do. Extra memory is the peak of resident memory above what
the process held before, inputs included in "before", measured in a forked copy that runs the method once (Linux).
"""

from __future__ import annotations

# ruff: noqa: E402 (the number of threads is read when the libraries are imported)
import os
import sys
from pathlib import Path

# This file is called tokenizers.py, and so is the library it imports: look for that one elsewhere.
sys.path = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy, torch and tokenizers are imported
os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

import argparse
import ctypes
import gc
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import product

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from transformers import BertTokenizerFast, EsmTokenizer
from transformers.utils import logging

import gfm_lab
from gfm_lab import plots
from gfm_lab.tokenization import BPETokenizer, KmerTokenizer, NucleotideTokenizer, kmers

RESULTS = Path(__file__).parent / "results"
SEED = 0
BERT = "BertTokenizerFast on text of 6-mers"
NUCLEOTIDES, SIDE_BY_SIDE, OVERLAPPING = "nucleotides", "6-mers side by side", "overlapping 6-mers"
TARGETS = {NUCLEOTIDES: 300, SIDE_BY_SIDE: 300, OVERLAPPING: 250}  # Mb/s
TIMES_BERT, BYTES_PER_BASE = 500, 8


@dataclass
class Method:
    """One bar: what runs, on how many bases, and whose it is ("ours", "other" or "limit")."""

    name: str
    whose: str
    bases: int
    run: Callable[[], object]


@dataclass
class Row:
    """One line of the results."""

    name: str
    whose: str
    bases: int
    mb_per_s: float
    slowest: float
    fastest: float
    rounds: int
    extra_bytes_per_base: float | None


def methods(genome: str) -> list[Method]:
    """Every method, its inputs made ready (not timed), and its ids compared with ours where they mean the same."""
    data, n = genome.encode(), len(genome)
    part = genome[:1_000_000]
    little = genome[:200_000]
    rng = np.random.default_rng(SEED)
    with_n = np.frombuffer(data, np.uint8).copy()
    for start in rng.integers(0, n - 500, n // 50_000):  # a run of 1 to 500 N about every 50 kb
        with_n[start : start + rng.integers(1, 500)] = ord("N")
    with_n = with_n.tobytes().decode()

    nucleotide, overlapping, side_by_side = NucleotideTokenizer(), KmerTokenizer(6), KmerTokenizer(6, 6)
    hyena, transformer = NucleotideTokenizer.hyenadna(), KmerTokenizer.nucleotide_transformer()
    dnabert = KmerTokenizer.dnabert(6)
    bpe = BPETokenizer.train(genome, 4096)
    word_ids = {"".join(word): 5 + i for i, word in enumerate(product("ACGT", repeat=6))}

    def slice_and_look_up() -> list[int]:
        return [word_ids[part[i : i + 6]] for i in range(len(part) - 5)]

    # BERT's tokenizer gets what it is made for: many texts of 510 words, spaces already there.
    windows = [little[i : i + 515] for i in range(0, len(little) - 515, 510)]
    texts = [" ".join(kmers(window, 6)) for window in windows]
    bert = BertTokenizerFast(vocab=dnabert.get_vocab(), do_lower_case=False)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = transformer.get_vocab()
        path = Path(folder, "vocab.txt")
        path.write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)))
        esm = EsmTokenizer(str(path), eos_token=None)
    pieces = [part[i : i + 10_000] for i in range(0, len(part), 10_000)]
    identity = bytes(range(256))

    # The peers do the same work: the same ids on the same bases.
    assert slice_and_look_up() == overlapping.encode_array(part).tolist()
    assert bert(texts[:20])["input_ids"] == dnabert(windows[:20])["input_ids"]
    assert esm(with_n[:20_000])["input_ids"] == transformer(with_n[:20_000])["input_ids"]

    return [
        Method("memcpy", "limit", n, lambda: bytearray(data)),
        Method("bytes.translate", "limit", n, lambda: data.translate(identity)),
        Method(NUCLEOTIDES, "ours", n, lambda: nucleotide.encode_array(genome)),
        Method(SIDE_BY_SIDE, "ours", n, lambda: side_by_side.encode_array(genome)),
        Method(OVERLAPPING, "ours", n, lambda: overlapping.encode_array(genome)),
        Method("HyenaDNA, with N", "ours", n, lambda: hyena.encode_array(with_n)),
        Method("Nucleotide Transformer, with N", "ours", n, lambda: transformer.encode_array(with_n)),
        Method("DNABERT-6, with N", "ours", n, lambda: dnabert.encode_array(with_n)),
        Method("overlapping 6-mers, tok(seq): lists", "ours", len(part), lambda: overlapping(part)),
        Method("EsmTokenizer, Nucleotide Transformer", "other", len(part), lambda: esm(part)),
        Method("Python slice and dictionary", "other", len(part), slice_and_look_up),
        Method(
            "Hugging Face BPE, 4,096", "other", len(part), lambda: bpe.backend_tokenizer.encode_batch(pieces)
        ),
        Method(BERT, "other", 510 * len(texts), lambda: bert(texts)),
    ]


def extra_memory(method: Method) -> float | None:
    """Peak resident bytes per base above those before the call, in a forked copy; None where Linux is not."""
    if not Path("/proc/self/clear_refs").exists():
        return None

    def status(field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

    read_end, write_end = os.pipe()
    if os.fork() == 0:
        try:
            gc.collect()
            libc = ctypes.CDLL(None)
            if hasattr(
                libc, "mallopt"
            ):  # large blocks come fresh from the system, none from what was freed before
                libc.mallopt(-3, 1 << 16)
                libc.malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
            before = status("VmRSS")
            result = method.run()
            os.write(write_end, str(status("VmHWM") - before).encode())
            del result
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    os.wait()
    return int(text) / method.bases if text else None


def measure(all_methods: list[Method], rounds: int) -> list[Row]:
    """Memory first, while the process is fresh; then one untimed round and `rounds` timed ones."""
    memory = {method.name: extra_memory(method) for method in all_methods}
    speeds: dict[str, list[float]] = {method.name: [] for method in all_methods}
    for i in range(rounds + 1):
        for method in all_methods:
            gc.collect()
            start = time.process_time()
            result = method.run()
            seconds = time.process_time() - start
            del result
            if i:
                speeds[method.name].append(method.bases / seconds / 1e6)
    return [
        Row(m.name, m.whose, m.bases, statistics.median(s), min(s), max(s), rounds, memory[m.name])
        for m in all_methods
        for s in [speeds[m.name]]
    ]


def targets(rows: list[Row]) -> list[tuple[str, bool]]:
    """What the tokenizers have to reach, and whether they do."""
    speed = {row.name: row.mb_per_s for row in rows}
    checks = [(f"{name}: {speed[name]:.0f} >= {t} Mb/s", speed[name] >= t) for name, t in TARGETS.items()]
    for name in TARGETS:
        times = speed[name] / speed[BERT]
        checks.append((f"{name}: {times:.0f} >= {TIMES_BERT} times {BERT}", times >= TIMES_BERT))
    for row in rows:
        if row.name in TARGETS and row.extra_bytes_per_base is not None:
            text = f"{row.name}: {row.extra_bytes_per_base:.1f} < {BYTES_PER_BASE} extra bytes per base"
            checks.append((text, row.extra_bytes_per_base < BYTES_PER_BASE))
    return checks


def table(rows: list[Row]) -> str:
    """The results as text."""
    bert = next(row.mb_per_s for row in rows if row.name == BERT)
    head = f"{'':38}{'Mb/s':>9}{'slowest':>9}{'fastest':>9}{'x BERT':>9}{'extra B/base':>14}"
    lines = [head, "-" * len(head)]
    for row in rows:
        memory = "-" if row.extra_bytes_per_base is None else f"{row.extra_bytes_per_base:.1f}"
        lines.append(
            f"{row.name:38}{row.mb_per_s:9.4g}{row.slowest:9.4g}{row.fastest:9.4g}"
            f"{row.mb_per_s / bert:9.3g}{memory:>14}"
        )
    return "\n".join(lines)


def chart(rows: list[Row], path: Path) -> None:
    """Bars of Mb/s on a logarithmic axis."""
    plots.use_style()
    color = {"ours": "#0072B2", "other": "#E69F00", "limit": "#999999"}
    label = {"ours": "gfm_lab", "other": "others", "limit": "memory limit"}
    rows = sorted(rows, key=lambda row: row.mb_per_s)
    figure, axes = plt.subplots(figsize=(10, 5.5))
    bars = axes.barh([r.name for r in rows], [r.mb_per_s for r in rows], color=[color[r.whose] for r in rows])
    axes.bar_label(
        bars, [f"{r.mb_per_s:,.3g}" if r.mb_per_s < 1000 else f"{r.mb_per_s:,.0f}" for r in rows], padding=4
    )
    axes.set_xscale("log")
    axes.set_xlim(right=max(r.mb_per_s for r in rows) * 3)
    axes.set_xlabel("million bases per second, one core (logarithmic)")
    axes.set_title("Tokenizing the genome of E. coli")
    handles = [plt.Rectangle((0, 0), 1, 1, color=color[whose]) for whose in label]
    axes.legend(handles, list(label.values()), loc="lower right")
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, metadata={"Software": None})
    plt.close(figure)
    temporary.replace(path)


def hardware() -> dict[str, object]:
    """The machine and the versions that the numbers belong to."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    packages = ("numpy", "tokenizers", "transformers")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "load_average": round(os.getloadavg()[0], 1)
        if hasattr(os, "getloadavg")
        else None,  # 1: only this program
        "seed": SEED,
    }


def main() -> int:
    """Run everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default: 7)")
    options = parser.parse_args()
    logging.set_verbosity_error()  # no advice on sequences longer than a model's window
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    rows = measure(methods(gfm_lab.load_data("ecoli-k12").sequence), options.rounds)
    checks = targets(rows)
    about = hardware()
    print(table(rows))
    print("\n" + ", ".join(f"{key} {value}" for key, value in about.items()) + "\n")
    for text, met in checks:
        print(f"{'met   ' if met else 'MISSED'} {text}")

    RESULTS.mkdir(exist_ok=True)
    result = {
        "about": about,
        "rows": [asdict(row) for row in rows],
        "targets": [{"target": text, "met": met} for text, met in checks],
    }
    temporary = RESULTS / "tokenizers.json.tmp"
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    temporary.replace(RESULTS / "tokenizers.json")
    chart(rows, RESULTS / "tokenizers.png")
    return 1 if options.check and not all(met for _, met in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
