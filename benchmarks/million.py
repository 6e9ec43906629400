"""One million nucleotides through `gfm-lab embed`, with a Hyena and a Mamba model: minutes and peak memory.

    python benchmarks/million.py                   # benchmarks/results/million.json
    python benchmarks/million.py --length 65536    # a rehearsal, printed only

Models: 4 layers, width 128, next token, fresh weights (what they have learned changes neither time nor memory), Hyena
made for this length. The first 1,048,576 bases of E. coli are one record, read in one window: one vector comes out, the
mean of the last layer's. `gfm-lab embed` runs as a user runs it, in a process of its own; time and memory are those of
the whole process, libraries and checkpoint included: its processor time, wall time, and resident memory at its peak.
The bound is 8 GB. Float32, one thread; on a CUDA GPU (--device cuda) bfloat16 where it pays.
"""

from __future__ import annotations

# ruff: noqa: E402 (the path is changed before the libraries are imported)
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# This directory has a tokenizers.py, and so is a library called that transformers imports: look for that one elsewhere.
sys.path = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]

import torch

from gfm_lab import load_data
from gfm_lab.mixers import scan_path
from gfm_lab.model import GenomicConfig, GenomicForCausalLM
from gfm_lab.tokenization import NucleotideTokenizer

RESULTS = Path(__file__).parent / "results"
LIMIT_GB = 8
MODELS = {"hyena": 440, "mamba": 316}  # feed-forward width: equally large models


def save_model(mixer: str, length: int, folder: Path) -> int:
    """A fresh model in `folder`; returns its number of parameters."""
    tokenizer = NucleotideTokenizer(on_unknown="split")
    torch.manual_seed(0)
    model = GenomicForCausalLM(
        GenomicConfig(
            vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=4, intermediate_size=MODELS[mixer],
            mixer=mixer, mixer_options={"max_length": length} if mixer == "hyena" else {}, positions="none",
            max_position_embeddings=None, causal=True,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.num_parameters()


def embed(mixer: str, length: int, device: str) -> dict[str, object]:
    """`gfm-lab embed` on one record of `length` bases, as a child process; what it took."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        parameters = save_model(mixer, length, folder / "model")
        (folder / "dna.fa").write_text(">ecoli\n" + load_data("ecoli-k12").region(0, length) + "\n")
        command = [sys.executable, "-c", "from gfm_lab.cli import main; raise SystemExit(main())", "embed"]
        command += [
            "--model",
            str(folder / "model"),
            "--fasta",
            str(folder / "dna.fa"),
            "--window",
            str(length),
        ]
        command += ["--pooling", "mean", "--output", str(folder / "out.npz"), "--device", device, "--quiet"]
        command += ["--batch-size", "1"] + (["--precision", "float32"] if device == "cpu" else [])
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
        start = time.perf_counter()
        child = subprocess.Popen(command, env=os.environ | threads)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"gfm-lab embed ended with {child.returncode}")
        seconds = used.ru_utime + used.ru_stime
        peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return {
        "mixer": mixer, "length": length, "device": device, "parameters": parameters,
        "processor_minutes": round(seconds / 60, 2), "wall_minutes": round((time.perf_counter() - start) / 60, 2),
        "us_per_base": round(seconds / length * 1e6, 1), "peak_gb": round(peak, 2), "met": peak <= LIMIT_GB,
        "load_average": round(os.getloadavg()[0], 1), "scan": scan_path(device),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--length", type=int, default=1 << 20, metavar="N", help="bases (default: 1,048,576)")
    parser.add_argument("--only", choices=MODELS, help="one of the two (default: both)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA GPU here: nothing is measured, and million.json keeps the rows it has")
        return
    path = RESULTS / "million.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    for mixer in [options.only] if options.only else MODELS:
        row = embed(mixer, options.length, options.device)
        print(row, flush=True)
        if options.length == parser.get_default("length"):
            rows = [r for r in rows if (r["mixer"], r["device"]) != (mixer, options.device)] + [row]
            half = path.with_suffix(".part")
            half.write_text(json.dumps({"limit_gb": LIMIT_GB, "rows": rows}, indent=1) + "\n")
            half.replace(path)


if __name__ == "__main__":
    main()
