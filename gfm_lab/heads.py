"""Site 4 of the anatomy: the head, which turns the body's vectors into an answer.

    head                   reads             gives            asks
    LMHead                 every position    (B, L, V)        which token stands here, or next?
    ClassificationHead     the sequence      (B, labels)      which kind of sequence is it?
    RegressionHead         the sequence      (B, targets)     how much?
    EmbeddingHead          the sequence      (B, D)           which sequences are alike?

The last three need one vector for a whole sequence: `Pool` makes it. All of pooling's care goes into padding, which
must never count: a row gives the same vector alone and padded in a batch, on either side. A row of padding alone, or of
length 0, gives zeros.

Each has its loss: `token_loss` for the first, `sequence_loss` for scores of whole sequences.

Shapes: B sequences, L tokens, D the model's width, V tokens in the vocabulary. This file needs torch alone.
Introduced in notebook 08.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "POOLINGS",
    "ClassificationHead",
    "EmbeddingHead",
    "LMHead",
    "Pool",
    "RegressionHead",
    "sequence_loss",
    "token_loss",
]

POOLINGS = ("first", "last", "mean", "max", "attention")
TRANSFORMS = ("none", "bert")


class LMHead(nn.Module):
    """A score for every token of the vocabulary at every position: (B, L, D) -> (B, L, V).

    At its plainest a linear map, often the embedding table used once more ("tied": Press and Wolf 2017,
    arXiv:1608.05859). BERT, and with it ESM, Longformer, DNABERT and Nucleotide Transformer, put a `transform` before
    it: a square linear map, GELU and LayerNorm (Devlin et al. 2019, doi:10.18653/v1/N19-1423).

    Args: `transform` is "none" or "bert"; `bias` adds one number a token; `eps` is that of the transform's norm.
    Raises ValueError on an unknown transform. Introduced in notebook 08.
    """

    def __init__(
        self, dim: int, vocab_size: int, transform: str = "none", bias: bool = False, eps: float = 1e-5
    ) -> None:
        super().__init__()
        if transform not in TRANSFORMS:
            raise ValueError(
                f"the LM head has no transform {transform!r}: choose one of {', '.join(TRANSFORMS)}"
            )
        self.transform = (
            nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim, eps=eps))
            if transform == "bert"
            else None
        )
        self.decoder = nn.Linear(dim, vocab_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(x if self.transform is None else self.transform(x))


class Pool(nn.Module):
    """One vector for a sequence: (B, L, D) and a mask (B, L) -> (B, D). Only positions whose mask is not 0 count.

    first      the first token's vector: BERT's choice, [CLS] stands there and has seen everything
    last       the last token's: the one to take from a causal body, where only it has seen everything
    mean       the average: the usual choice for DNA
    max        the largest value of each channel
    attention  a weighted average; the weights are a softmax over scores that one learned query gives

    Raises ValueError on an unknown name. Introduced in notebook 08.
    """

    def __init__(self, how: str, dim: int) -> None:
        super().__init__()
        if how not in POOLINGS:
            raise ValueError(f"there is no pooling {how!r}: choose one of {', '.join(POOLINGS)}")
        self.how = how
        self.query = nn.Linear(dim, 1, bias=False) if how == "attention" else None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if x.shape[1] == 0:
            return x.new_zeros(x.shape[0], x.shape[2])
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask != 0
        # What stands at padding may be anything, even not a number: replace it before it is multiplied by 0.
        x = x.masked_fill(~real[..., None], 0)
        if self.how == "mean":
            wide = torch.promote_types(x.dtype, torch.float32)  # a long sum overflows 16 bits
            return (x.sum(1, dtype=wide) / real.sum(1, keepdim=True).clamp(min=1)).to(x.dtype)
        if self.how == "max":
            largest = x.masked_fill(~real[..., None], torch.finfo(x.dtype).min).amax(1)
            return largest * real.any(1, keepdim=True)
        if self.how == "attention":
            scores = self.query(x).squeeze(2) * x.shape[2] ** -0.5  # (B, L)
            weights = scores.masked_fill(~real, torch.finfo(x.dtype).min).softmax(1) * real
            return (weights[..., None] * x).sum(1)
        # argmax finds the first of equal values: the first real token, or, seen from the end, the last.
        at = real.int().argmax(1) if self.how == "first" else x.shape[1] - 1 - real.int().flip(1).argmax(1)
        return x[torch.arange(len(x), device=x.device), at]


class ClassificationHead(nn.Module):
    """Scores of `num_labels` classes for a whole sequence: pool, dropout, one linear map; (B, L, D) -> (B, num_labels).

    Softmax (one class of several) or a sigmoid for each (any number of classes) belongs to the loss.
    Raises ValueError on an unknown pooling. Introduced in notebook 08.
    """

    def __init__(self, dim: int, num_labels: int, pooling: str = "mean", dropout: float = 0.0) -> None:
        super().__init__()
        self.pool = Pool(pooling, dim)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(dim, num_labels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.classifier(self.dropout(self.pool(x, mask)))


class RegressionHead(nn.Module):
    """One number or several for a whole sequence: pool and one linear map; (B, L, D) -> (B, targets).

    Nothing bounds the numbers: scale the targets (mean 0, deviation 1) before training. Raises ValueError on an unknown
    pooling. Introduced in notebook 08.
    """

    def __init__(self, dim: int, targets: int = 1, pooling: str = "mean") -> None:
        super().__init__()
        self.pool = Pool(pooling, dim)
        self.regressor = nn.Linear(dim, targets)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.regressor(self.pool(x, mask))


class EmbeddingHead(nn.Module):
    """A vector for a whole sequence: (B, L, D) -> (B, D); of length 1 when `normalize`: a dot product is then a cosine.

    Nothing to train unless the pooling is "attention". Raises ValueError on an unknown pooling.
    Introduced in notebook 08.
    """

    def __init__(self, dim: int, pooling: str = "mean", normalize: bool = False) -> None:
        super().__init__()
        self.pool = Pool(pooling, dim)
        self.normalize = normalize

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        pooled = self.pool(x, mask)
        return F.normalize(pooled, dim=-1) if self.normalize else pooled


def token_loss(logits: Tensor, labels: Tensor, number: Tensor | int | None = None) -> Tensor:
    """Mean cross-entropy in nats of logits (B, L, V) and labels (B, L) over the labels that are not -100; 0 if none is.

    Args: `number` replaces the count of labels, when several batches add up to one step of training.
    Raises ValueError for labels of another shape, or outside 0 to V - 1. Introduced in notebook 09.
    """
    classes = logits.shape[-1]
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}, the logits need {tuple(logits.shape[:-1])}"
        )
    wrong = (labels != -100) & ((labels < 0) | (labels >= classes))
    if bool(wrong.any()):
        at = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"label {labels[tuple(at)].item()} at {at} is outside 0 to {classes - 1}: give one of the {classes} "
            f"classes, or -100 where nothing is to be predicted"
        )
    total = F.cross_entropy(logits.flatten(0, -2).float(), labels.flatten().long(), reduction="sum")
    return total / ((labels != -100).sum().clamp(min=1) if number is None else number)


def sequence_loss(logits: Tensor, labels: Tensor, problem: str | None = None) -> Tensor:
    """Loss of one row of scores a sequence: logits (B, C). `problem` has transformers' names for the three kinds:

    regression                  numbers (B, C), or (B,) if C = 1   mean squared error; the default if C = 1
    single_label_classification one class of C, whole numbers (B,) cross-entropy; the default for whole numbers
    multi_label_classification  any of C classes, 0 or 1 (B, C)    binary cross-entropy; the default for others

    Raises ValueError for an unknown problem and for labels of a wrong shape or out of range. Introduced in notebook 08.
    """
    rows, classes = logits.shape
    if problem is None:
        several = "multi_label" if labels.dtype.is_floating_point else "single_label"
        problem = "regression" if classes == 1 else f"{several}_classification"
    shape = (rows,) if problem == "single_label_classification" else (rows, classes)
    if labels.numel() != rows * (1 if len(shape) == 1 else classes):
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}: {problem} with {classes} scores needs {shape}"
        )
    labels = labels.reshape(shape)
    if problem == "single_label_classification":
        return token_loss(logits, labels)
    if problem == "regression":
        return F.mse_loss(logits.float(), labels.float())
    if problem != "multi_label_classification":
        raise ValueError(
            f"unknown problem {problem!r}: regression, single_label_classification or multi_label_..."
        )
    if bool(((labels < 0) | (labels > 1)).any()):
        raise ValueError(
            f"labels lie between {labels.min()} and {labels.max()}, several at once must be 0 or 1"
        )
    return F.binary_cross_entropy_with_logits(logits.float(), labels.float())
