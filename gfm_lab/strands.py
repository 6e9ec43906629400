"""Both strands after training: ask a finished model twice, once for each strand, and average its answers.

    f(x)  ->  (f(x) + turned back f(rc(x))) / 2            rc: the reverse complement

A plain model gives two answers for one piece of DNA, one for each strand that it may be read from. Their average is one
answer: `ReverseComplement(model)` gives the same for a sequence and for its reverse complement, at twice the cost and
without training. "Turned back" depends on the answer:

    a masked model        logits (B, L, V)   positions in reverse order, the letters exchanged for their complements
    a classifier          logits (B, C)      as they are: a promoter is one from either end
    a body                vectors (B, L, D)  positions in reverse order
    a next-token model    none: see below

A next-token model has no such average. At one position the two readings have seen opposite sides and predict different
neighbours, and what one has to predict the other has seen. What can be averaged is the score of a whole sequence:
`log_likelihood`.

The other ways to both strands: `strands="shared"` in `GenomicConfig` (sharing weights while training), and reverse
complements as training data, `reverse_complement=True` in `gfm_lab.training.pretrain`. Introduced in notebook 06.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput, SequenceClassifierOutput

from gfm_lab.heads import sequence_loss, token_loss

__all__ = ["ReverseComplement"]


class ReverseComplement(nn.Module):
    """A model that has been trained on single strands, averaged over both; its weights stay as they are.

    Known as post-hoc conjoining (Zhou, Shrikumar and Kundaje 2022, PMLR 165:1-33, who recommend it as the baseline to
    try first). Use it like the model: `ReverseComplement(model, tokenizer)(input_ids, attention_mask)`; the functions
    of `gfm_lab.evaluation` take it as well.

    Args:
        model: any model with `input_ids` and `attention_mask` that returns logits or `last_hidden_state`: ours, and
            those of transformers.
        tokenizer: the one it was trained with: it says which token is the complement of which, and which special tokens
            stay where they stand ([CLS] first, [SEP] last) while the bases between them are turned. Without it the
            model's `config.complement` is used, and all tokens but padding are turned, as in the body.

    Raises:
        ValueError: a tokenizer whose ids have no reverse complement (BPE), no tokenizer and no complement, a vocabulary
            that does not fit, a model that reads both strands already.

    Introduced in notebook 06.
    """

    def __init__(self, model: nn.Module, tokenizer: Any | None = None) -> None:
        super().__init__()
        config = getattr(model, "config", None)
        if getattr(config, "strands", "single") != "single":
            raise ValueError(
                f"this model reads both strands already (strands={config.strands!r}): an average after training would "
                f"change nothing"
            )
        size = getattr(config, "vocab_size", None)
        if tokenizer is None:
            complement = getattr(config, "complement", None)
            if complement is None:
                raise ValueError(
                    "which token is the complement of which? Give the model's tokenizer, or build the model with "
                    "complement in its configuration"
                )
            turns = [i != getattr(config, "pad_token_id", None) for i in range(len(complement))]
        else:
            complement = getattr(tokenizer, "complement_ids", None)
            if complement is None:
                raise ValueError(
                    f"the ids of a {type(tokenizer).__name__} have no reverse complement: a token's letters, reversed "
                    f"and complemented, need not be a token, nor the cuts of one strand those of the other. Average "
                    f"answers to whole sequences instead, to tok(seq) and to tok(reverse_complement(seq))"
                )
            stay = {*tokenizer.all_special_ids} - {tokenizer.mask_token_id, tokenizer.unk_token_id}
            turns = [i not in stay for i in range(len(complement))]
        size = len(complement) if size is None else size
        if len(complement) > size:
            raise ValueError(
                f"the tokenizer has {len(complement)} tokens, the model {size}: do they belong together?"
            )
        spare = range(len(complement), size)  # rows that fill a table up to a round size: no tokens
        self.model, self.tokenizer = model, tokenizer
        self.register_buffer("complement", torch.tensor([*map(int, complement), *spare]), persistent=False)
        self.register_buffer("turns", torch.tensor([*turns, *(False for _ in spare)]), persistent=False)

    @property
    def config(self) -> Any:
        """The model's own."""
        return self.model.config

    def reverse_complement_ids(
        self, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The ids of the other strand, (B, L), and for each place the place that it came from, (B, L).

        Padding and the special tokens at the ends stay in place. Raises ValueError for ids outside the vocabulary,
        special tokens or padding inside a sequence, and k-mers whose cuts differ on the other strand.
        """
        if input_ids.numel() and not 0 <= int(input_ids.min()) <= int(input_ids.max()) < len(self.turns):
            raise ValueError(
                f"input_ids run from {int(input_ids.min())} to {int(input_ids.max())}, the vocabulary from 0 to "
                f"{len(self.turns) - 1}: do tokenizer and model belong together?"
            )
        turns = self.turns[input_ids]
        if attention_mask is not None:
            turns = turns & (attention_mask != 0)
        begins = turns & ~torch.cat([torch.zeros_like(turns[:, :1]), turns[:, :-1]], 1)
        if bool((begins.sum(1) > 1).any()):
            raise ValueError(
                "special tokens or padding stand inside a sequence: give one sequence a row, without gaps"
            )
        if getattr(self.tokenizer, "stride", 1) > 1:
            for row, there in zip(input_ids.cpu().numpy(), turns.cpu().numpy(), strict=True):
                self.tokenizer.reverse_complement_ids(np.asarray(row[there]))  # says why if it cannot
        places = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        # Place j of a run from `first` on, of `count` tokens, gets what stood at first + count - 1 - (j - first).
        first = (begins * places).sum(1, keepdim=True)
        mirrored = 2 * first + turns.sum(1, keepdim=True) - 1 - places
        origin = torch.where(turns, mirrored, places)
        return torch.where(turns, self.complement[input_ids.gather(1, origin)], input_ids), origin

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> MaskedLMOutput | SequenceClassifierOutput | BaseModelOutput:
        """The model's answer, averaged over both strands; with `labels` also the loss of the average.

        Raises:
            ValueError: as `reverse_complement_ids`; no input_ids; a next-token model.
            TypeError: an argument that this class cannot turn.
        """
        if _predicts_next(self.model):
            raise ValueError(
                "next-token scores have no average over strands: at one position the two readings predict different "
                "neighbours, and one has seen what the other has to predict. Score whole sequences: "
                "log_likelihood(input_ids, attention_mask)"
            )
        if input_ids is None:
            raise ValueError("the other strand is made of tokens: give input_ids")
        unknown = [name for name, value in inputs.items() if value is not None and name != "return_dict"]
        if unknown:
            raise TypeError(f"ReverseComplement does not know how to turn {', '.join(unknown)}")
        other, origin = self.reverse_complement_ids(input_ids, attention_mask)
        mask = None if attention_mask is None else torch.cat([attention_mask, attention_mask])
        out = self.model(input_ids=torch.cat([input_ids, other]), attention_mask=mask)
        if "logits" not in out:
            ahead, back = out.last_hidden_state.chunk(2)
            return BaseModelOutput(last_hidden_state=(ahead + _moved(back, origin)) / 2)
        ahead, back = out.logits.chunk(2)
        if ahead.ndim == 2:
            logits = (ahead + back) / 2
            problem = getattr(self.config, "problem_type", None)
            loss = None if labels is None else sequence_loss(logits, labels, problem)
            return SequenceClassifierOutput(loss=loss, logits=logits)
        back = _moved(back, origin)
        if ahead.shape[-1] == len(self.complement):  # a score for each token, not for classes of one's own
            back = back[..., self.complement]
        logits = (ahead + back) / 2
        return MaskedLMOutput(loss=None if labels is None else token_loss(logits, labels), logits=logits)

    def log_likelihood(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """For a next-token model: the log-likelihood of each sequence in nats, mean of its two strands, (B,).

        Each strand's is the sum over its bases given those before, in its own reading direction; a first base that no
        special token precedes has nothing before it and is not scored. The mean of two logarithms is at most the
        logarithm of the mean probability, so as a code length it is an upper bound of what both readings know together.

        Raises ValueError as `reverse_complement_ids`, and for a model that does not predict the next token.
        """
        if not _predicts_next(self.model):
            raise ValueError(
                f"{type(self.model).__name__} does not predict the next token: it gives no likelihood of a sequence; "
                f"use gfm_lab.evaluation.bits_per_masked_base"
            )
        other, _ = self.reverse_complement_ids(input_ids, attention_mask)
        both = torch.cat([input_ids, other])
        mask = None if attention_mask is None else torch.cat([attention_mask, attention_mask])
        logits = self.model(input_ids=both, attention_mask=mask).logits[:, :-1]
        nats = logits.float().log_softmax(-1).gather(2, both[:, 1:, None])[..., 0]
        scored = self.turns[both[:, 1:]]
        if mask is not None:
            scored = scored & (mask[:, 1:] != 0) & (mask[:, :-1] != 0)
        ahead, back = torch.where(scored, nats, 0.0).sum(1).chunk(2)
        return (ahead + back) / 2


def _moved(x: Tensor, origin: Tensor) -> Tensor:
    """x (B, L, C) with place j taken from origin[j]."""
    return x.gather(1, origin[..., None].expand_as(x))


def _predicts_next(model: nn.Module) -> bool:
    name = type(model).__name__
    if "Classification" in name or not hasattr(model, "get_output_embeddings"):
        return False
    language = model.get_output_embeddings() is not None
    causal = getattr(model.config, "causal", False) or getattr(model.config, "is_decoder", False)
    return "CausalLM" in name or "LMHead" in name or bool(language and causal)
