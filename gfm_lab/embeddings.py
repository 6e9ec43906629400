"""Site 2 of the anatomy: the embedding, which turns token ids into vectors and tells them where they stand.

    ids (B, L)  ->  rows of a table (B, L, D)  +  positions  ->  x (B, L, D)

Positions enter in one of five ways. `learned` and `sinusoidal` add a vector here; `rotary` turns queries and keys
and `alibi` adds to the attention scores, so both act inside attention (`mixers/attention.py` uses the functions
below); `none` leaves order to the mixer. A position is counted over tokens, not over columns: padding on either
side of a sequence moves nothing.

Read in this order: `one_hot_lookup` (what a table is), the position functions, `KmerSum`, `Embedding`.
The module imports torch and nothing else. Introduced in notebook 02.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Embedding",
    "KmerSum",
    "alibi_bias",
    "alibi_slopes",
    "apply_rotary",
    "one_hot_lookup",
    "position_ids",
    "rotary_cos_sin",
    "sinusoidal_positions",
]

POSITIONS = ("none", "learned", "sinusoidal", "rotary", "alibi")


def one_hot_lookup(weight: Tensor, ids: Tensor) -> Tensor:
    """What a table lookup means: a one-hot row times the matrix. Equals `weight[ids]`, at V times the work.

    Args:
        weight: the table, (V, D).
        ids: whole numbers from 0 to V - 1, any shape.

    Returns:
        Vectors of shape (*ids.shape, D).

    Introduced in notebook 02.
    """
    return F.one_hot(ids.long(), weight.shape[0]).to(weight.dtype) @ weight


def position_ids(mask: Tensor, offset: int | Tensor = 0) -> Tensor:
    """The position of every token, counted over tokens only: offset, offset + 1, ...

    Args:
        mask: (B, L), 0 at padding.
        offset: the first position; a number, or one for each row, (B,) or (B, 1).

    Returns:
        (B, L) whole numbers. Padding gets the position of the last token before it, or `offset` if there is none:
        a value within the table, whose vector no token ever sees.

    Introduced in notebook 02.
    """
    if isinstance(offset, Tensor):
        offset = offset.reshape(-1, 1)
    return (mask.bool().cumsum(1) - 1).clamp_min(0) + offset


def sinusoidal_positions(length: int, dim: int) -> Tensor:
    """Sines and cosines of geometrically spaced wavelengths, (length, dim); even channels sine, odd cosine.

    Channel pair i of position p holds sin and cos of p / 10000^(2i / dim) (Vaswani et al. 2017,
    doi:10.48550/arXiv.1706.03762). The dot product of two rows depends only on the distance between them.
    Introduced in notebook 02.
    """
    return _sinusoid(torch.arange(length), dim)


def _sinusoid(positions: Tensor, dim: int) -> Tensor:
    """The same for any positions, (*positions.shape, dim)."""
    channels = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32)
    angles = positions[..., None].float() * torch.exp(channels * (-math.log(10000.0) / dim))
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[
        ..., :dim
    ]  # an odd dim drops one cosine


def rotary_cos_sin(positions: Tensor, dim: int, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angles by which `apply_rotary` turns channels, each (*positions.shape, dim).

    Channels i and i + dim/2 form a plane that turns by position / base^(2i / dim) (Su et al. 2021,
    doi:10.48550/arXiv.2104.09864). Computed in float32, as transformers does.

    Raises:
        ValueError: `dim`, the width of one head, is odd: channels are turned in pairs.

    Introduced in notebook 02.
    """
    if dim % 2:
        raise ValueError(f"rotary positions turn channels in pairs: the head width must be even, not {dim}")
    frequencies = 1.0 / base ** (torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / dim)
    angles = positions[..., None].float() * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn every head's vector by its position's angles: queries and keys then meet by their distance alone.

    Args:
        x: queries or keys, (B, H, L, d).
        cos, sin: from `rotary_cos_sin`, (B, L, d) or (L, d).

    Returns:
        The turned vectors, in the shape and dtype of `x`; lengths of vectors are unchanged.

    Introduced in notebook 02.
    """
    cos, sin = cos.unsqueeze(-3), sin.unsqueeze(-3)  # the same angles for all heads
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (x * cos + turned * sin).to(x.dtype)


def alibi_slopes(heads: int) -> Tensor:
    """ALiBi's penalty per token of distance, one for each head, (heads,).

    For a power of two: 2^(-8/heads), 2^(-16/heads), ..., 2^-8. For other numbers: those of the power of two below,
    then every other one of the power of two above (Press et al. 2022, doi:10.48550/arXiv.2108.12409).

    Raises:
        ValueError: `heads` is below 1.

    Introduced in notebook 02.
    """
    if heads < 1:
        raise ValueError(f"heads must be at least 1, not {heads}")
    below = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * (i + 1) / below) for i in range(below)]
    slopes += [2.0 ** (-4 * (i + 1) / below) for i in range(0, 2 * (heads - below), 2)]
    return torch.tensor(slopes)


def alibi_bias(query_positions: Tensor, key_positions: Tensor, slopes: Tensor) -> Tensor:
    """What ALiBi adds to the attention scores: -slope * |i - j|, the same in both directions.

    Args:
        query_positions, key_positions: (B, L) and (B, S), or (L,) and (S,).
        slopes: (H,), from `alibi_slopes`.

    Returns:
        (B, H, L, S), or (H, L, S). DNABERT-2 uses this symmetric form; under a causal mask it is the paper's.

    Introduced in notebook 02.
    """
    distance = (query_positions[..., :, None] - key_positions[..., None, :]).abs()
    return -slopes[:, None, None] * distance.unsqueeze(-3).to(slopes.dtype)


class KmerSum(nn.Module):
    """Enrich each nucleotide with the 1-mer, 2-mer, ..., k-mer that end at it: one table for each length.

    Base t sees only bases up to t, so the sum is safe in causal models. A k-mer that reaches into padding, a special
    token, N or a mask contributes nothing: a masked base is not leaked by its neighbours' k-mers.

    With `flanks`, made for masked models, base t gets the k-mers that end at t - 1 and, from a second set of tables,
    those that start at t + 1. Neither holds base t, so a masked base still sees its flanks, and the sum of both sides
    is a log-linear two-sided k-mer model already before the first mixer.

    Args:
        vocab_size: of the tokenizer; `base_ids` must lie within.
        dim: width D of the vectors.
        k: the longest k-mer, 1 to 8; the tables have 4 + 16 + ... + 4**k rows.
        base_ids: the ids of A, C, G, T (any order, the same for input and training). Default: 5, 6, 7, 8, as in
            `NucleotideTokenizer()`; HyenaDNA and Caduceus use 7, 8, 9, 10.
        flanks: k-mers on either side of the base, in place of those that end at it; not for causal models.

    Raises:
        ValueError: k outside 1 to 8, or base_ids are not four different ids below vocab_size.

    Introduced in notebook 02.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        k: int,
        base_ids: Sequence[int] = (5, 6, 7, 8),
        flanks: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= k <= 8:
            raise ValueError(f"kmer_sum must be 1 to 8 (4**8 = 65,536 rows), not {k}")
        if len(set(base_ids)) != 4 or not all(0 <= i < vocab_size for i in base_ids):
            raise ValueError(
                f"base_ids must be four different ids below vocab_size {vocab_size}, not {[*base_ids]}: "
                f"give the tokenizer's ids of A, C, G and T"
            )
        self.k = k
        self.base_ids = tuple(base_ids)
        self.tables = nn.ModuleList(nn.Embedding(4**n, dim) for n in range(1, k + 1))
        self.after = nn.ModuleList(nn.Embedding(4**n, dim) for n in range(1, k + 1)) if flanks else None

    def codes(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """0 to 3 at the four bases, -1 at everything else and at padding."""
        codes = torch.full_like(ids, -1)
        for code, base in enumerate(self.base_ids):
            codes = torch.where(ids == base, code, codes)
        return codes if mask is None else codes.masked_fill(mask == 0, -1)

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, state: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Sum of the vectors of all k-mers that end at each token (with `flanks`: beside each token), (B, L, D).

        Args:
            ids: (B, L).
            mask: (B, L), 0 at padding.
            state: None, or a dict that keeps each row's last k - 1 bases between steps; filled in place.

        Raises:
            ValueError: `flanks` with a state: what follows a token is not known while decoding.
        """
        codes = self.codes(ids, mask)
        length = ids.shape[1]
        if self.after is not None:
            if state is not None:
                raise ValueError("kmer_flanks reads the bases on both sides: it cannot decode step by step")
            before = self._ending(codes, self.tables, length)
            after = self._ending(codes.flip(1), self.after, length).flip(1)  # read from the end
            return F.pad(before, (0, 0, 1, 0))[:, :length] + F.pad(after, (0, 0, 0, 1))[:, 1:]
        if state is not None:
            before = state.get("codes", codes.new_full((ids.shape[0], self.k - 1), -1))
            codes = torch.cat((before, codes), dim=1)
            real = torch.ones_like(ids) if mask is None else (mask != 0).long()
            real = torch.cat((torch.ones_like(before), real), dim=1)
            # The last k - 1 tokens of each row; the sort moves padding to the front and keeps the order of the rest.
            order = real.argsort(dim=1, stable=True)
            state["codes"] = codes.gather(1, order[:, codes.shape[1] - (self.k - 1) :])
        return self._ending(codes, self.tables, length)

    @staticmethod
    def _ending(codes: Tensor, tables: nn.ModuleList, length: int) -> Tensor:
        """Sum of the vectors of all k-mers that end at each of the last `length` columns."""
        total: Tensor | None = None
        number, whole = torch.zeros_like(codes), torch.ones_like(codes, dtype=torch.bool)
        for n, table in enumerate(tables):
            shifted = F.pad(codes, (n, 0), value=-1)[:, : codes.shape[1]]  # the base n steps back
            whole = whole & (shifted >= 0)
            number = number + shifted.clamp_min(0) * 4**n  # letters as digits in base 4, the last one lowest
            last = slice(codes.shape[1] - length, None)
            vectors = table(number[:, last]) * whole[:, last, None]
            total = vectors if total is None else total + vectors
        assert total is not None
        return total


class Embedding(nn.Module):
    """Token table + positions + token type + k-mer sum, then LayerNorm and dropout, each of them optional.

    The names of the arguments are `GenomicConfig`'s.

    Args:
        vocab_size, hidden_size: V and D of the token table.
        positions: "none", "learned", "sinusoidal"; "rotary" and "alibi" add nothing here.
        max_position_embeddings: rows of the learned table, or the longest position allowed; None (not with
            learned positions) means no limit.
        position_offset: the first token's position: 0 in BERT, pad_token_id + 1 in ESM and Longformer.
        token_types: rows of a token-type table, of which type 0 is added (BERT has 2, Longformer 1).
        embedding_norm: LayerNorm on the sum; norm_eps: its epsilon.
        token_dropout: ESM's way with masked tokens: their vectors are zeroed and the others scaled by
            (1 - 0.15 * 0.8) / (1 - share of masked tokens); padding is zeroed (Lin et al. 2023,
            doi:10.1126/science.ade2574, after transformers' EsmEmbeddings).
        mask_token_id: needed by token_dropout. pad_token_id: whose row starts at zero and is not trained.
        dropout: on the result, in training.
        kmer_sum: k of `KmerSum`, 0 for none; base_ids: its ids of A, C, G, T; kmer_flanks: its `flanks`.

    Raises:
        ValueError: an argument makes no sense; the message says which and what would be right.

    Introduced in notebook 02.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        *,
        positions: str = "none",
        max_position_embeddings: int | None = None,
        position_offset: int = 0,
        token_types: int = 0,
        embedding_norm: bool = False,
        norm_eps: float = 1e-12,
        token_dropout: bool = False,
        mask_token_id: int | None = None,
        pad_token_id: int | None = None,
        dropout: float = 0.0,
        kmer_sum: int = 0,
        base_ids: Sequence[int] = (5, 6, 7, 8),
        kmer_flanks: bool = False,
    ) -> None:
        super().__init__()
        if kmer_flanks and not kmer_sum:
            raise ValueError("kmer_flanks says which k-mers kmer_sum adds: set kmer_sum, such as 6")
        if positions not in POSITIONS:
            raise ValueError(f"positions {positions!r} is unknown: choose one of {', '.join(POSITIONS)}")
        if positions == "learned" and (max_position_embeddings or 0) <= position_offset:
            raise ValueError(
                f"learned positions need max_position_embeddings above position_offset {position_offset}, "
                f"not {max_position_embeddings}"
            )
        if token_dropout and mask_token_id is None:
            raise ValueError(
                "token_dropout=True needs mask_token_id, the id of the token whose vectors it zeroes"
            )
        self.vocab_size, self.positions, self.position_offset = vocab_size, positions, position_offset
        self.max_position_embeddings = max_position_embeddings
        self.token_dropout, self.mask_token_id = token_dropout, mask_token_id
        self.token = nn.Embedding(vocab_size, hidden_size, padding_idx=pad_token_id)
        self.position = nn.Embedding(max_position_embeddings, hidden_size) if positions == "learned" else None
        self.token_type = nn.Embedding(token_types, hidden_size) if token_types else None
        self.kmers = KmerSum(vocab_size, hidden_size, kmer_sum, base_ids, kmer_flanks) if kmer_sum else None
        self.norm = nn.LayerNorm(hidden_size, eps=norm_eps) if embedding_norm else None
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        input_ids: Tensor | None = None,
        mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        offset: int | Tensor = 0,
        state: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Ids (B, L), or vectors in their place (B, L, D), to x (B, L, D).

        Args:
            input_ids, inputs_embeds: exactly one of them.
            mask: (B, L), 0 at padding; None if there is none.
            offset: tokens already seen when decoding with a cache: a number, or one for each row, (B,).
            state: needed only when decoding with `kmer_sum`: a dict, empty at first, that keeps the last bases.

        Raises:
            ValueError: not exactly one of the inputs; an id outside the table; a position beyond
                max_position_embeddings; inputs_embeds where ids are needed.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if input_ids is not None:
            self.check_ids(input_ids)
            x = self.token(input_ids)
        else:
            x = inputs_embeds
        if mask is not None and mask.shape != x.shape[:2]:
            raise ValueError(
                f"mask has shape {tuple(mask.shape)}, the input {tuple(x.shape[:2])}: they must agree"
            )

        if self.token_dropout and input_ids is not None:
            x = self._drop_masked(x, input_ids, mask)
        if self.kmers is not None:
            if input_ids is None:
                raise ValueError("kmer_sum reads the bases: it needs input_ids, not inputs_embeds")
            if state is None and not isinstance(offset, Tensor) and offset > 0:
                raise ValueError(
                    "kmer_sum with a cache needs state, the dict of the steps before: it holds the bases"
                )
            x = x + self.kmers(input_ids, mask, state)
        if self.token_type is not None:
            x = x + self.token_type.weight[0]
        if self.positions in ("learned", "sinusoidal"):
            where = self._positions(x, mask, offset)
            x = x + (
                self.position(where) if self.position is not None else _sinusoid(where, x.shape[-1]).to(x)
            )
        if self.norm is not None:
            x = self.norm(x)
        if self.token_dropout and mask is not None:
            x = x * (mask != 0)[..., None].to(x.dtype)
        return self.dropout(x)

    def check_ids(self, ids: Tensor) -> None:
        """A clear error for ids outside the table; on a GPU the look would cost a synchronisation."""
        if ids.dtype.is_floating_point or ids.dtype == torch.bool or ids.ndim != 2:
            raise ValueError(f"input_ids must be whole numbers (B, L), not {ids.dtype} {tuple(ids.shape)}")
        if ids.device.type == "cpu" and ids.numel():
            low, high = torch.aminmax(ids)
            if low < 0 or high >= self.vocab_size:
                row, column = ((ids < 0) | (ids >= self.vocab_size)).nonzero()[0].tolist()
                raise ValueError(
                    f"input_ids[{row}, {column}] is {ids[row, column]}, outside 0 to {self.vocab_size - 1} "
                    f"(vocab_size {self.vocab_size}): do tokenizer and model belong together?"
                )

    def _drop_masked(self, x: Tensor, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Zero the masked tokens and scale the rest, so that the expected sum is that of training."""
        masked = ids == self.mask_token_id
        real = torch.ones_like(masked) if mask is None else mask != 0
        share = (masked & real).sum(1) / real.sum(1).clamp_min(1)
        # All tokens masked: every vector is zero, whatever the factor; the bound keeps it finite.
        scale = (1 - 0.15 * 0.8) / (1 - share).clamp_min(1e-6)
        return (x.masked_fill(masked[..., None], 0.0) * scale[:, None, None]).to(x.dtype)

    def _positions(self, x: Tensor, mask: Tensor | None, offset: int | Tensor) -> Tensor:
        """(B, L) or (1, L) positions, checked against the limit."""
        if mask is None:
            mask = x.new_ones(x.shape[0] if isinstance(offset, Tensor) else 1, x.shape[1])
        where = position_ids(mask, offset)
        limit = self.max_position_embeddings
        if limit is not None and where.numel() and where.device.type != "meta":
            longest = int(where.max()) + 1
            if longest + self.position_offset > limit:
                raise ValueError(
                    f"a sequence of {longest} tokens is longer than the {limit - self.position_offset} that the model "
                    f"has positions for (max_position_embeddings {limit}, position_offset {self.position_offset}): "
                    f"cut it into windows, or build the model with more positions"
                )
        return where + self.position_offset
