"""What masking does to DNABERT's loss: a small BERT on overlapping 6-mers of E. coli, under two patterns of masks.

    python benchmarks/masking.py           # benchmarks/results/masking.json, which notebook 09 shows

The recipe of notebook 09 and its classes (BertConfig, BertForMaskedLM, Trainer, TrainingArguments), for many more
steps: a BERT of 2 layers and width 64 on windows of 30 words from the training region. The two runs differ in the
pattern of masks alone, and draw the same windows. To save time the output layer is computed at labelled tokens only,
where the loss is: the same number (asserted at the first step) for about a fifth of the work.

Training masks as DNABERT does, 80/10/10 for each word. The loss on the validation region is given with every chosen
word shown as [MASK], so that copying what the visible neighbours spell has an exact loss to stand beside it: ln 4 for
each base that no visible word spells. The mean loss of the words' frequencies in the training region is the other
baseline.
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
os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

import argparse
import json
import platform
import tempfile
import time
from importlib.metadata import version

import numpy as np
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertForMaskedLM, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from gfm_lab import KmerTokenizer, load_data
from gfm_lab.objectives import MaskedLMCollator

RESULTS = Path(__file__).parent / "results" / "masking.json"
WORDS, BATCH, SEED = 30, 32, 0


class Windows(torch.utils.data.Dataset):
    """Random windows of `ids`, the same for the same index, with [CLS] and [SEP]."""

    def __init__(self, ids, size):
        self.ids, self.starts = ids, np.random.default_rng(SEED).integers(len(ids) - WORDS, size=size)

    def __len__(self):
        return len(self.starts)

    def __getitem__(self, i):
        words = self.ids[self.starts[i] : self.starts[i] + WORDS]
        return {"input_ids": np.concatenate([[2], words, [3]]), "index": i}


class LabelledOnly(Trainer):
    """The output layer at labelled tokens only."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs["labels"]
        hidden = model.bert(inputs["input_ids"], inputs["attention_mask"]).last_hidden_state
        loss = F.cross_entropy(model.cls(hidden[labels != -100]), labels[labels != -100])
        if self.state.global_step == 0:
            torch.testing.assert_close(loss, model(**inputs).loss)
        return loss


def train(pattern, tokenizer, ids, steps):
    torch.manual_seed(SEED)
    sizes = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
    dropout = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=WORDS + 2,
        initializer_range=0.1,
        **sizes,
        **dropout,
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=3e-3,
            warmup_steps=40,
            lr_scheduler_type="cosine",
            logging_steps=100,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
            seed=SEED,
        )
        trainer = LabelledOnly(
            BertForMaskedLM(config),
            arguments,
            data_collator=MaskedLMCollator(tokenizer, pattern=pattern, seed=SEED),
            train_dataset=Windows(ids, steps * BATCH),
        )
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
    history = [(e["step"], e["loss"]) for e in trainer.state.log_history if "loss" in e]
    return trainer.model.eval(), history, time.perf_counter() - started


@torch.no_grad()
def validation(model, pattern, tokenizer, ids, frequencies, batches=40):
    """Mean loss in nats a masked word, all shown as [MASK]: of the model, of copying, of the frequencies."""
    collator = MaskedLMCollator(tokenizer, pattern=pattern, replace=(1.0, 0.0, 0.0), seed=SEED + 1)
    windows, total = Windows(ids, batches * 64), np.zeros(4)
    for first in range(0, len(windows), 64):
        batch = collator([windows[i] for i in range(first, first + 64)])
        chosen = (batch["labels"] != -100).numpy()
        words = chosen[:, 1:-1]  # without [CLS] and [SEP]
        visible = np.pad(~words, ((0, 0), (5, 5)))
        spelled = np.lib.stride_tricks.sliding_window_view(visible, 6, axis=1).any(-1)  # (B, bases)
        hidden = np.lib.stride_tricks.sliding_window_view(~spelled, 6, axis=1).sum(-1)  # bases of each word
        usual = -np.log(frequencies[batch["labels"].numpy()[chosen]])
        n = chosen.sum()
        loss = model(**batch).loss.item()
        total += [n * loss, np.log(4) * hidden[words].sum(), usual.sum(), n]
    return total[:3] / total[3]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    genome, tokenizer = load_data("ecoli-k12"), KmerTokenizer.dnabert(6)
    ids = {part: tokenizer.encode_array(genome.split(part)) for part in ("train", "valid")}
    counts = np.bincount(ids["train"], minlength=len(tokenizer))
    frequencies = (counts + 1) / (counts + 1).sum()
    runs = []
    for pattern in ("independent", "contiguous"):
        model, history, seconds = train(pattern, tokenizer, ids["train"], options.steps)
        loss, copying, usual = validation(model, pattern, tokenizer, ids["valid"], frequencies)
        runs.append(
            {
                "pattern": pattern,
                "valid_nats_per_word": round(loss, 4),
                "valid_copying": round(copying, 4),
                "valid_frequencies": round(usual, 4),
                "seconds": round(seconds),
                "train_nats_per_word": [[step, round(loss, 4)] for step, loss in history],
            }
        )
        print(
            f"{pattern:12s} valid {loss:.3f} nats per masked word (copying {copying:.3f}, frequencies {usual:.3f}), "
            f"{seconds:.0f} s",
            flush=True,
        )
    facts = {
        "tokens": "overlapping 6-mers",
        "words_per_window": WORDS,
        "batch": BATCH,
        "steps": options.steps,
        "seed": SEED,
        "parameters": sum(p.numel() for p in model.parameters()),
        "threads": 1,
        "machine": platform.machine(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "runs": runs,
    }
    temporary = RESULTS.with_suffix(".tmp")
    temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, RESULTS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
