"""gfm_lab: the companion package of the course *Anatomy of a Genomic Foundation Model*.

One module per site of the anatomy, read in the order data flows:
`sequence`, `data` -> `tokenization` -> `embeddings` -> `mixers` -> `heads` -> `objectives`. `model` joins the sites;
`training` (with `stretches`, `trainer` and `runs`) trains, `baselines` and `evaluation` say what the result is worth.
Names are loaded on first use. The exceptions are the tokenizers and the models, which transformers' Auto classes must
know: importing gfm_lab registers them.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> the module that defines it.
_EXPORTS = {
    "load_data": "gfm_lab.data",
    "data_names": "gfm_lab.data",
    "load_model": "gfm_lab.checkpoints",
    "checkpoint_names": "gfm_lab.checkpoints",
    "SequenceError": "gfm_lab.sequence",
    "read_fasta": "gfm_lab.sequence",
    "open_fasta": "gfm_lab.sequence",
    "reverse_complement": "gfm_lab.sequence",
    "one_hot": "gfm_lab.sequence",
    "windows": "gfm_lab.sequence",
    "KmerTokenizer": "gfm_lab.tokenization",
    "NucleotideTokenizer": "gfm_lab.tokenization",
    "BPETokenizer": "gfm_lab.tokenization",
    "GenomicConfig": "gfm_lab.model",
    "GenomicModel": "gfm_lab.model",
    "GenomicForMaskedLM": "gfm_lab.model",
    "GenomicForCausalLM": "gfm_lab.model",
    "GenomicForSequenceClassification": "gfm_lab.model",
    "build_mixer": "gfm_lab.mixers",
    "preset": "gfm_lab.presets",
    "diff": "gfm_lab.presets",
    "from_state_dict": "gfm_lab.pretrained",
    "ReverseComplement": "gfm_lab.strands",
    "dissect": "gfm_lab.anatomy",
    "generate": "gfm_lab.generation",
    "compare_dna": "gfm_lab.composition",
    "markov_dna": "gfm_lab.composition",
    "MaskedLMCollator": "gfm_lab.objectives",
    "NextTokenCollator": "gfm_lab.objectives",
    "pretrain": "gfm_lab.training",
    "finetune": "gfm_lab.training",
    "MarkovModel": "gfm_lab.baselines",
    "TwoSidedBackoff": "gfm_lab.baselines",
    "bits_per_base": "gfm_lab.evaluation",
    "bits_per_masked_base": "gfm_lab.evaluation",
    "auroc": "gfm_lab.metrics",
    "auprc": "gfm_lab.metrics",
    "mcc": "gfm_lab.metrics",
    "with_interval": "gfm_lab.metrics",
    "paired": "gfm_lab.metrics",
    "calibration": "gfm_lab.metrics",
    "baseline_table": "gfm_lab.sequence_baselines",
    "train_predictor": "gfm_lab.predictors",
    "load_predictor": "gfm_lab.predictors",
    "split_by": "gfm_lab.splits",
    "leaks": "gfm_lab.splits",
    "near_leaks": "gfm_lab.splits",
    "score_variants": "gfm_lab.variants",
    "saturation": "gfm_lab.variants",
    "read_vcf": "gfm_lab.variants",
    "load_splice_cnn": "gfm_lab.splice_cnn",
    "guided_design": "gfm_lab.design",
}

__all__ = ["__version__", *sorted(_EXPORTS)]


# A broken transformers must not break `gfm-lab doctor`, which explains it; using a name raises the real error.
for _module in ("gfm_lab.tokenization", "gfm_lab.model"):
    with contextlib.suppress(Exception):
        importlib.import_module(_module)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'gfm_lab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
