"""Human promoters against GC-matched windows: LoRA and full fine-tuning of a shipped model, and of its random twin.

    python benchmarks/promoters.py lora          # two to four minutes of one core each
    python benchmarks/promoters.py full
    python benchmarks/promoters.py full --twin   # the same shape and steps from random weights
    python benchmarks/promoters.py lora --twin

The longer runs that notebook 11 shows. Table human-promoters, promoters and gc_matched windows, the 200 bases from 150
before to 50 after the annotated start; species-mamba-ar, mean pooling, all 1,064 training rows, 4 epochs, batches of
16, one seed. The epoch is chosen by the loss on valid; test is read once. Learning rates were set beforehand and not
tuned. Each run adds its line, with its predictions for the test rows in table order, to results/promoters.json.
"""

from __future__ import annotations

# ruff: noqa: E402 (the number of threads is read when the libraries are imported)
import os
import sys
from pathlib import Path

# This directory has a tokenizers.py, and so is a library called that transformers imports: look for that one elsewhere.
sys.path = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import tempfile
import time

import numpy as np
import torch

from gfm_lab import load_data, load_model
from gfm_lab.metrics import auroc
from gfm_lab.model import GenomicForCausalLM
from gfm_lab.runs import write_json
from gfm_lab.training import finetune

RESULTS = Path(__file__).resolve().parent / "results" / "promoters.json"
RATES = {"lora": 2e-3, "full": 5e-4}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", choices=[*RATES])
    parser.add_argument("--twin", action="store_true", help="start from random weights")
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    frame = load_data("human-promoters").frame
    frame = frame[frame["kind"] != "random"]
    frame = frame.assign(sequence=frame["sequence"].str[250:450])
    rows = {name: frame[frame["split"] == name] for name in ("train", "valid", "test")}
    pairs = {name: (part["sequence"].tolist(), part["label"].to_numpy()) for name, part in rows.items()}
    model, tokenizer = load_model("species-mamba-ar")
    if options.twin:
        torch.manual_seed(0)
        model = GenomicForCausalLM(model.config)
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        run = finetune(
            model, tokenizer, pairs["train"], pairs["valid"], Path(folder) / "run", task="classification",
            method=options.method, epochs=options.epochs, batch_size=16, learning_rate=RATES[options.method],
            pooling="mean", precision="float32", progress=False,
        )  # fmt: skip
    guess = []
    with torch.inference_mode():
        for i in range(0, len(rows["test"]), 32):
            ids = tokenizer(pairs["test"][0][i : i + 32], return_tensors="pt")["input_ids"]
            guess.append(run.model(input_ids=ids).logits.softmax(-1)[:, 1].numpy())
    guess = np.concatenate(guess)
    line = {
        "method": options.method,
        "start": "random twin" if options.twin else "species-mamba-ar",
        "epochs": options.epochs,
        "learning_rate": RATES[options.method],
        "train_rows": len(rows["train"]),
        "seed": 0,
        "valid": round(run.metrics["auroc"], 4),
        "test": round(auroc(pairs["test"][1], guess), 4),
        "valid_by_epoch": [round(x["valid_auroc"], 4) for x in run.log if "valid_auroc" in x],
        "minutes": round((time.time() - start) / 60, 1),
        "threads": 1,
        "scores": [round(float(x), 5) for x in guess],
    }
    lines = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    lines = [x for x in lines if (x["method"], x["start"]) != (line["method"], line["start"])]
    write_json(RESULTS, [*lines, line])
    print({name: value for name, value in line.items() if name != "scores"})


if __name__ == "__main__":
    main()
