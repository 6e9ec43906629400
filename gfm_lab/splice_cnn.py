"""A published splice model, site by site: one network of CI-SpliceAI, with the anatomy of SpliceAI-10k.

    1 tokenizer   single bases, one-hot: A, C, G, T; N is all zeros
    2 embedding   one linear map a base, 4 -> 32 channels (`stem`); no position codes, a convolution needs none
    3 mixer       16 residual blocks of two dilated convolutions; a base sees 5,000 bases on either side
    4 head        one linear map a base, 32 -> 3 scores: no site, acceptor, donor
    5 objective   no pre-training: cross-entropy of the three classes at each base, on annotated genes

It shows what a supervised model reaches when every base of a genome carries a label, and so is a measure for heads on
top of language models. A base is labelled acceptor if it is the first of an exon, and donor if it is the last.

The architecture: SpliceAI, Jaganathan et al. 2019, doi:10.1016/j.cell.2018.12.015. The weights: CI-SpliceAI, Strauch,
Lord, Niranjan and Baralle 2022, doi:10.1371/journal.pone.0269159, CC BY 4.0, converted by tools/convert_ci_spliceai.py.
It was trained on all human chromosomes: **its scores on human DNA are not held-out**. Introduced in notebook 12.
"""

from __future__ import annotations

import re

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from gfm_lab.checkpoints import published_folder
from gfm_lab.sequence import SequenceError, one_hot

__all__ = ["CLASSES", "CONTEXT", "SpliceCNN", "load_splice_cnn"]

CLASSES = ("none", "acceptor", "donor")  # the order of the columns
WIDTH = 32
GROUPS = (
    (11, 1),
    (11, 4),
    (21, 10),
    (41, 25),
)  # (bases a filter reads, distance between them), four blocks each
# Two filters a block, each reaching (width - 1) / 2 * step to one side: 4 * (10 + 40 + 200 + 1,000) = 5,000 bases.
CONTEXT = 4 * sum((width - 1) * step for width, step in GROUPS)


class Block(nn.Module):
    """Two dilated convolutions beside a straight connection: (B, 32, L) -> (B, 32, L - 2 * reach).

    No padding: what a filter cannot see in full is not computed, and the straight connection is cut to the same bases.
    """

    def __init__(self, width: int, step: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm1d(WIDTH, eps=1e-3), nn.BatchNorm1d(WIDTH, eps=1e-3)
        self.conv1 = nn.Conv1d(WIDTH, WIDTH, width, dilation=step)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, width, dilation=step)
        self.reach = (width - 1) * step

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.norm1(x).relu())
        y = self.conv2(self.norm2(y).relu())
        return x[..., self.reach : x.shape[-1] - self.reach] + y


class SpliceCNN(nn.Module):
    """Scores of no site, acceptor and donor for every base that has 5,000 bases on either side.

    `forward`: one-hot (B, 4, L + 10,000) -> logits (B, 3, L). `probabilities` takes letters and needs no context.
    After each group of four blocks a copy of the channels goes straight to the head (`skips`), added up.
    Introduced in notebook 12.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, WIDTH, 1)
        self.blocks = nn.ModuleList([Block(width, step) for width, step in GROUPS for _ in range(4)])
        self.skips = nn.ModuleList([nn.Conv1d(WIDTH, WIDTH, 1) for _ in range(len(GROUPS) + 1)])
        self.head = nn.Conv1d(WIDTH, len(CLASSES), 1)

    def forward(self, one_hot: Tensor) -> Tensor:
        length = one_hot.shape[-1] - 2 * CONTEXT
        if one_hot.dim() != 3 or one_hot.shape[1] != 4 or length < 1:
            raise ValueError(
                f"the input has shape {tuple(one_hot.shape)}; needed is (batch, 4, length + {2 * CONTEXT:,}), zeros "
                f"where the context is not known. `probabilities` pads for you"
            )
        x = self.stem(one_hot)
        total = self.skips[0](_middle(x, length))
        for i, block in enumerate(self.blocks, 1):
            x = block(x)
            if i % 4 == 0:
                total = total + self.skips[i // 4](_middle(x, length))
        return self.head(total)

    @torch.inference_mode()
    def probabilities(self, sequence: str, piece: int = 20_000) -> np.ndarray:
        """Probabilities (L, 3) of none, acceptor and donor (`CLASSES`) at each base of `sequence`, read 5' to 3'.

        A donor is the last base of an exon (a GT follows), an acceptor the first of the next one (an AG precedes).
        The sequence must be the gene's own strand; give its reverse complement for a gene on the other one.

        What lies beyond both ends counts as unknown, like N: all zeros. A whole gene, from its first transcribed base
        to its last, is what the authors' own tool reads. A piece of a gene is scored with less context than that: give
        up to 5,000 bases of the gene on either side, and cut out the rows that you want. A base that is N itself gets
        probabilities like any other. Lower case counts as upper.

        Args:
            sequence: any length; "" gives (0, 3).
            piece: bases scored at once: the memory follows it, not the sequence. The result does not depend on it.

        Raises:
            SequenceError: a letter that is not A, C, G, T or N; the message has its position.
            ValueError: `piece` below 1.

        Introduced in notebook 12.
        """
        if piece < 1:
            raise ValueError(f"piece is {piece}; it needs at least 1 base")
        letters = _checked(sequence)
        place = self.head.weight.device
        padded = np.zeros((len(letters) + 2 * CONTEXT, 4), np.float32)
        padded[CONTEXT : CONTEXT + len(letters)] = one_hot(letters)
        rows = [np.zeros((0, len(CLASSES)), np.float32)]
        for start in range(0, len(letters), piece):
            x = torch.from_numpy(padded[start : start + piece + 2 * CONTEXT].T.copy())[None]
            rows.append(F.softmax(self(x.to(place)), dim=1)[0].T.cpu().numpy())
        return np.concatenate(rows)


def load_splice_cnn() -> SpliceCNN:
    """The shipped network of CI-SpliceAI, in evaluation mode on the CPU; its files are verified by checksum.

    The card, `checkpoints/ci-spliceai/README.md`, says whose work it is and what its scores do not show: it has seen
    the splice sites of all human chromosomes. Raises CheckpointError for a missing or altered file. Introduced in
    notebook 12.
    """
    model = SpliceCNN()
    model.load_state_dict(load_file(published_folder("ci-spliceai") / "model.safetensors"))
    return model.eval()


def _middle(x: Tensor, length: int) -> Tensor:
    """The `length` places in the middle: (..., L) -> (..., length)."""
    start = (x.shape[-1] - length) // 2
    return x[..., start : start + length]


def _checked(sequence: str) -> str:
    if not isinstance(sequence, str):
        raise TypeError(f"one sequence of letters is needed, not {type(sequence).__name__}")
    wrong = re.search(r"[^ACGTN]", sequence, re.IGNORECASE)
    if wrong:
        hint = "write U as T" if wrong[0] in "Uu" else "write N for an unknown base"
        raise SequenceError(
            f"the model reads A, C, G, T and N, not {wrong[0]!r}: {hint}", position=wrong.start() + 1
        )
    return sequence
