"""What seeing both strands buys at equal cost: one small masked model of E. coli, trained in three ways.

    python benchmarks/strands.py      # benchmarks/results/strands.json, which notebook 06 shows; goes on where it ended

    forward     windows of the forward strand alone
    augmented   each window from either strand, with equal chance
    shared      both strands of each window at once, with the same weights (Caduceus-PS); half as many windows a step

So every step of every arm sends the same number of tokens through the same layers: equal computing, updates and
parameters. Two amounts of data: all of the training region, of which a run sees a tenth once, and its first 30,000
bases, which it sees thirteen times. Forward and augmented models are also scored as the average over both strands
after training, which costs nothing in training and twice the computing in use.

The score is bits per masked base on the first 100,000 bases of the test region, 15 % masked together (protocol b),
windows of 128 bases, forward strand. `asymmetry` is the mean total variation distance between the probabilities of a
masked base read from one strand and from the other: 0 where the model has one answer for both, at most 1.
Settings were fixed before any score on the test region, after one trial run an arm (one seed, a somewhat larger model)
on the validation region; no arm has a setting of its own.
"""

from __future__ import annotations

# ruff: noqa: E402 (the number of threads is read when the libraries are imported)
import os
import sys
from pathlib import Path

# This directory has a tokenizers.py, and so is a library called that transformers imports: look for that one elsewhere.
sys.path = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import math
import platform
import time

import numpy as np
import torch

from gfm_lab import NucleotideTokenizer, load_data
from gfm_lab.baselines import TwoSidedBackoff
from gfm_lab.evaluation import bits_per_masked_base, score_baseline
from gfm_lab.model import GenomicConfig, GenomicForMaskedLM
from gfm_lab.strands import ReverseComplement

RESULTS = Path(__file__).parent / "results" / "strands.json"
ARMS, SEEDS, AMOUNTS = ("forward", "augmented", "shared"), (0, 1, 2), (None, 30_000)
STEPS, BATCH, WINDOW, RATE, LEARNING_RATE = 130, 24, 128, 0.15, 3e-3
TEST_BASES, MARGIN = 100_000, 16

TOKENIZER = NucleotideTokenizer()
COMPLEMENT = torch.from_numpy(TOKENIZER.complement_ids)


def model_of(arm, seed):
    torch.manual_seed(seed)
    config = GenomicConfig(
        vocab_size=10, hidden_size=48, num_hidden_layers=3, intermediate_size=96, positions="none",
        max_position_embeddings=None, kmer_sum=6, kmer_flanks=True, mixer="convolution",
        mixer_options={"kernel": 7, "dilation": [1, 2, 4]}, strands="shared" if arm == "shared" else "single",
        complement=COMPLEMENT.tolist(),
    )  # fmt: skip
    return GenomicForMaskedLM(config)


def train(model, arm, ids, seed):
    """AdamW with a short warm-up and a cosine; windows, strands and masks are the same in every arm."""
    generator = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    for step in range(STEPS):
        rate = min(1, (step + 1) / 7) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / STEPS)))
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * rate
        starts = generator.integers(len(ids) - WINDOW, size=BATCH)
        other, hidden = generator.random(BATCH) < 0.5, generator.random((BATCH, WINDOW)) < RATE
        x, hidden = torch.from_numpy(ids[starts[:, None] + np.arange(WINDOW)]), torch.from_numpy(hidden)
        if arm == "augmented":
            x = torch.where(torch.from_numpy(other)[:, None], COMPLEMENT[x].flip(1), x)
        if arm == "shared":
            x, hidden = x[: BATCH // 2], hidden[: BATCH // 2]
        seen, labels = x.masked_fill(hidden, TOKENIZER.mask_token_id), x.masked_fill(~hidden, -100)
        loss = model(seen, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return loss.item() / math.log(2)


def asymmetry(model, ids):
    """Mean total variation distance between what the two strands say of masked bases."""
    generator = np.random.default_rng(0)
    starts = generator.integers(len(ids) - WINDOW, size=64)
    x = torch.from_numpy(ids[starts[:, None] + np.arange(WINDOW)])
    hidden = torch.from_numpy(generator.random(x.shape) < RATE)
    x = x.masked_fill(hidden, TOKENIZER.mask_token_id)
    with torch.inference_mode():
        there = model(x).logits[..., 5:9].softmax(-1)
        back = model(COMPLEMENT[x].flip(1)).logits[..., COMPLEMENT][..., 5:9].softmax(-1).flip(1)
    return ((there - back).abs().sum(-1) / 2)[hidden].mean().item()


def scored(model, test):
    score = bits_per_masked_base(model, TOKENIZER, test, "joint", window=WINDOW, margin=MARGIN, batch_size=64)
    return score, {"bits": round(score.value, 5), "per_window": np.round(score.per_window, 4).tolist()}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[*SEEDS])
    output, seeds = (vars(parser.parse_args(arguments))[name] for name in ("output", "seeds"))
    torch.set_num_threads(1)
    genome = load_data("ecoli-k12")
    train_text, test = genome.split("train"), genome.split("test")[:TEST_BASES]
    ids, test_ids = (TOKENIZER.encode_array(text).astype(np.int64) for text in (train_text, test))
    results = json.loads(output.read_text()) if output.exists() else {"runs": []}
    results["settings"] = dict(
        steps=STEPS, windows_a_step=BATCH, window=WINDOW, rate=RATE, learning_rate=LEARNING_RATE,
        parameters=model_of("forward", 0).num_parameters(), test_bases=TEST_BASES, margin=MARGIN,
        processor=platform.processor() or platform.machine(), threads=1, torch=torch.__version__,
    )  # fmt: skip

    def save():
        part = output.with_suffix(".json.part")
        part.write_text(json.dumps(results, indent=1) + "\n")
        os.replace(part, output)

    done = {(run["arm"], run["bases"], run["seed"]) for run in results["runs"]}
    for seed in seeds:
        for amount in AMOUNTS:
            for arm in ARMS:
                bases = amount or len(ids)
                if (arm, bases, seed) in done:
                    continue
                model, clock = model_of(arm, seed), time.process_time()
                last = train(model, arm, ids[:bases], seed)
                seconds = time.process_time() - clock
                score, single = scored(model.eval(), test)
                run = dict(
                    arm=arm,
                    bases=bases,
                    seed=seed,
                    cpu_seconds=round(seconds, 1),
                    last_loss_bits=round(last, 4),
                )
                run |= single | {"asymmetry": round(asymmetry(model, test_ids), 6)}
                if arm != "shared":
                    run["averaged"] = scored(ReverseComplement(model, TOKENIZER), test)[1]
                results["runs"].append(run)
                print({k: v for k, v in run.items() if k not in ("per_window", "averaged")}, flush=True)
                if "two-sided back-off, 6 bases" not in results:
                    backoff = TwoSidedBackoff(6).fit(train_text, both_strands=True)
                    value = score_baseline(backoff, test, like=score).value
                    results["two-sided back-off, 6 bases"] = round(value, 5)
                save()


if __name__ == "__main__":
    main()
