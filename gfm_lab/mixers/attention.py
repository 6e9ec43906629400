"""Site 3, attention: every position asks all others a question and averages their answers.

    scores = q k^T / sqrt(d)        (L x L for each head)
    y      = softmax(scores) v

One definition, three ways to pay for it:

    naive_attention         the definition; keeps the L x L weights        time L^2, memory L^2
    tiled_attention         FlashAttention's algorithm, readable           time L^2, memory L
    SlidingWindowAttention  only neighbours within a radius r              time L r, memory L r

`Attention`, the layer that models use, calls torch's `scaled_dot_product_attention`, which is the tiled algorithm in
compiled code. Read in the order above. Needs torch, and from embeddings.py the rotary and ALiBi functions.
Introduced in notebook 03.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfm_lab.embeddings import alibi_bias, alibi_slopes, apply_rotary, position_ids, rotary_cos_sin

__all__ = ["Attention", "SlidingWindowAttention", "naive_attention", "tiled_attention", "window_mask"]

POSITIONS = ("none", "rotary", "alibi")


def naive_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    return_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention as it is defined, with the whole table of weights (Vaswani et al. 2017, doi:10.48550/arXiv.1706.03762).

    Args:
        q: queries (..., L, d). k, v: keys and values (..., S, d).
        causal: query i sees keys up to i, counted from the end: the last query sees all keys.
        bias: added to the scores, broadcast to (..., L, S).
        mask: True where a query may see a key, broadcast to (..., L, S).
        return_weights: also return the weights (..., L, S).

    Returns:
        (..., L, d). A query that may see nothing gets zeros.

    Introduced in notebook 03.
    """
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias
    allowed = _allowed(q.shape[-2], k.shape[-2], causal, mask, q.device)
    if allowed is not None:
        # A large negative number, not -inf: a row without any key then gives no NaN, and is zeroed.
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1)
    if allowed is not None:
        weights = weights.masked_fill(~allowed, 0.0)
    return (weights @ v, weights) if return_weights else weights @ v


def _allowed(
    queries: int, keys: int, causal: bool, mask: Tensor | None, device: torch.device
) -> Tensor | None:
    """The boolean table of who may see whom, broadcast to (..., L, S); None means all."""
    if not causal:
        return mask
    order = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    return order if mask is None else order & mask


def window_mask(length: int, radius: int, causal: bool = False) -> Tensor:
    """Who sees whom in a window: True where |i - j| <= radius, and j <= i if causal; (length, length).

    The definition against which `SlidingWindowAttention`, which never builds it, is tested. Introduced in notebook 03.
    """
    distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    return (distance <= radius) & (distance >= (0 if causal else -radius))


class _Tiled(torch.autograd.Function):
    """Online softmax forward; backward recomputes each tile from q, k, v and the row sums."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        mask: Tensor | None,
        block: int,
        causal: bool,
    ) -> Tensor:
        scale = 1.0 / math.sqrt(q.shape[-1])
        output = torch.empty((*q.shape[:-1], v.shape[-1]), dtype=v.dtype, device=v.device)
        logsumexp = q.new_empty(q.shape[:-1])
        for rows in _tiles(q.shape[-2], block):
            largest = q.new_full(q[..., rows, 0].shape, -math.inf)  # of all scores seen so far
            total = torch.zeros_like(largest)  # sum of exp(score - largest)
            result = torch.zeros_like(output[..., rows, :])  # the same sum, of the values
            for columns in _tiles(k.shape[-2], block):
                scores = _tile_scores(q, k, bias, mask, rows, columns, causal, scale)
                if scores is None:  # above the diagonal: nothing to see
                    continue
                new_largest = torch.maximum(largest, scores.amax(-1))
                shift = new_largest.masked_fill(new_largest == -math.inf, 0.0)  # -inf - -inf would be NaN
                weights = torch.exp(scores - shift[..., None])
                rescale = torch.exp(
                    largest - shift
                )  # what was summed under the old maximum, under the new one
                total = total * rescale + weights.sum(-1)
                result = result * rescale[..., None] + weights @ v[..., columns, :]
                largest = new_largest
            # A query that sees nothing has total 0: its output is 0, and its logsumexp +inf makes its weights 0.
            output[..., rows, :] = result / total.masked_fill(total == 0, 1.0)[..., None]
            logsumexp[..., rows] = torch.where(total == 0, math.inf, largest + total.log())
        ctx.save_for_backward(q, k, v, bias, mask, output, logsumexp)
        ctx.block, ctx.causal, ctx.scale = block, causal, scale
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias, mask, output, logsumexp = ctx.saved_tensors
        grad_q, grad_k, grad_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        along = (grad * output).sum(
            -1
        )  # softmax's backward: each weight's gradient minus their weighted mean
        for rows in _tiles(q.shape[-2], ctx.block):
            for columns in _tiles(k.shape[-2], ctx.block):
                scores = _tile_scores(q, k, bias, mask, rows, columns, ctx.causal, ctx.scale)
                if scores is None:
                    continue
                weights = torch.exp(scores - logsumexp[..., rows, None])
                grad_v[..., columns, :] += weights.transpose(-1, -2) @ grad[..., rows, :]
                grad_weights = grad[..., rows, :] @ v[..., columns, :].transpose(-1, -2)
                grad_scores = weights * (grad_weights - along[..., rows, None]) * ctx.scale
                grad_q[..., rows, :] += grad_scores @ k[..., columns, :]
                grad_k[..., columns, :] += grad_scores.transpose(-1, -2) @ q[..., rows, :]
        return grad_q, grad_k, grad_v, None, None, None, None


def _tiles(length: int, block: int) -> list[slice]:
    return [slice(start, min(start + block, length)) for start in range(0, length, block)]


def _tile_scores(
    q: Tensor,
    k: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    rows: slice,
    columns: slice,
    causal: bool,
    scale: float,
) -> Tensor | None:
    """Scores of one tile, -inf where a key is hidden; None if causality hides all of it."""
    diagonal = k.shape[-2] - q.shape[-2]
    if causal and columns.start > rows.stop - 1 + diagonal:
        return None
    scores = q[..., rows, :] @ k[..., columns, :].transpose(-1, -2) * scale
    if bias is not None:
        scores = scores + bias[..., rows, columns]
    if mask is not None:
        scores = scores.masked_fill(~mask[..., rows, columns], -math.inf)
    if causal and columns.stop - 1 > rows.start + diagonal:
        i = torch.arange(rows.start, rows.stop, device=q.device)[:, None]
        j = torch.arange(columns.start, columns.stop, device=q.device)[None, :]
        scores = scores.masked_fill(j > i + diagonal, -math.inf)
    return scores


def tiled_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    block: int = 128,
    causal: bool = False,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The same numbers as `naive_attention`, one block x block tile at a time: FlashAttention's algorithm.

    The softmax is computed online: a running maximum and a running sum, rescaled when a larger score turns up. Kept for
    the backward are the output and one number a query (the logsumexp of its scores); tiles are computed again. On a GPU
    a tile stays in fast memory, which is the point (Dao et al. 2022, doi:10.48550/arXiv.2205.14135); here it is to be
    read, and its memory grows with L, not L^2.

    Args:
        q: queries (..., L, d). k, v: keys and values (..., S, d).
        block: rows and columns of a tile.
        causal, bias, mask: as in `naive_attention`; no gradient flows into the bias.

    Raises:
        ValueError: block below 1, or a bias that wants a gradient.

    Introduced in notebook 03.
    """
    if block < 1:
        raise ValueError(f"block must be at least 1, not {block}")
    if bias is not None and bias.requires_grad:
        raise ValueError("tiled_attention gives no gradient for the bias: detach it, or use naive_attention")
    table = (*q.shape[:-1], k.shape[-2])  # expand makes views: no table is stored
    bias = None if bias is None else bias.expand(table)
    mask = None if mask is None else mask.expand(table)
    return _Tiled.apply(q, k, v, bias, mask, block, causal)


class Attention(nn.Module):
    """Multi-head attention over all positions (Vaswani et al. 2017), through torch's fused kernel.

    Args:
        dim: width D. heads: their number H; each has d = D / H channels.
        causal: position i sees positions up to i only.
        positions: "rotary" turns queries and keys, "alibi" adds its bias, "none" leaves order to the embedding.
        qkv_bias, out_bias: whether the projections have biases.
        dropout: on the weights, in training. Above 0 the fused CPU kernel cannot be used, which costs time and memory.
        rotary_base: base of the rotary wavelengths.

    `qkv` projects to queries, keys and values in this order, each (heads, d); `out` projects back.

    Raises:
        ValueError: heads do not divide dim, an unknown kind of positions, an odd head width with rotary.

    Introduced in notebook 03.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        causal: bool = False,
        positions: str = "none",
        qkv_bias: bool = True,
        out_bias: bool = True,
        dropout: float = 0.0,
        rotary_base: float = 10000.0,
    ) -> None:
        super().__init__()
        _check_options(dim, heads, positions)
        self.dim, self.heads, self.causal, self.positions = dim, heads, causal, positions
        self.dropout, self.rotary_base = dropout, rotary_base
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.out = nn.Linear(dim, dim, bias=out_bias)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        state: dict[str, Tensor] | None = None,
        return_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Mix x (B, L, D) over its positions.

        Args:
            x: the input.
            mask: (B, L), 0 at padding; padding is seen by nobody and its output is zero.
            state: None, or a dict, empty at first: it keeps keys, values and mask, and x is then only what is new.
            return_weights: also return the weights (B, H, L, S); for looking at, the fused kernel never has them.

        Raises:
            ValueError: shapes that do not fit, or a state in attention that is not causal.
        """
        _check_input(x, mask, state, self.dim, self.causal)
        if x.numel() == 0:
            seen = x.shape[1] + (state["keys"].shape[2] if state else 0)
            weights = x.new_zeros(x.shape[0], self.heads, x.shape[1], seen)
            return (torch.zeros_like(x), weights) if return_weights else torch.zeros_like(x)
        real = _padding(mask)  # (B, L) bool, or None without padding
        q, k, v = _split_heads(self.qkv(x), 3, self.heads)  # each (B, H, L, d)
        # Layout for the kernel: it reads keys and values again and again, so each head's lie together; its output has
        # the queries' layout, and this one goes on without a copy. Measured: 1 to 2 % faster, and less memory.
        q, k, v = q.transpose(1, 2).contiguous().transpose(1, 2), k.contiguous(), v.contiguous()

        past = 0 if not state else state["keys"].shape[2]
        seen = real
        if state is not None and (past or real is not None):
            new = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if real is None else real
            seen = torch.cat((state["mask"], new), dim=1) if past else new
        key_positions = None
        if self.positions != "none":
            key_positions = (
                torch.arange(past + x.shape[1], device=x.device) if seen is None else position_ids(seen)
            )
            query_positions = key_positions[..., past:]
        if self.positions == "rotary":
            cos, sin = rotary_cos_sin(query_positions, q.shape[-1], self.rotary_base)
            q, k = apply_rotary(q, cos, sin), apply_rotary(k, cos, sin)
        if state is not None:
            if past:
                k, v = torch.cat((state["keys"], k), dim=2), torch.cat((state["values"], v), dim=2)
            whole = torch.ones(x.shape[0], k.shape[2], dtype=torch.bool, device=x.device)
            state.update(keys=k, values=v, mask=whole if seen is None else seen)
        bias = None
        if self.positions == "alibi":
            slopes = alibi_slopes(self.heads).to(q)
            bias = alibi_bias(query_positions, key_positions, slopes)
            bias = bias if bias.ndim == 4 else bias[None]

        allowed, in_order = self._who_sees_whom(x, real, seen, past, bias is not None or return_weights)
        if return_weights:
            y, weights = naive_attention(q, k, v, bias=bias, mask=allowed, return_weights=True)
        elif bias is None and not self.dropout and _kernel_is_slower(q, k):
            y = naive_attention(q, k, v, causal=in_order, mask=allowed)
        else:
            if bias is not None and allowed is not None:
                bias = bias.masked_fill(~allowed, torch.finfo(bias.dtype).min)
            y = F.scaled_dot_product_attention(
                q, k, v, attn_mask=allowed if bias is None else bias, is_causal=in_order,
                dropout_p=self.dropout if self.training else 0.0,
            )  # fmt: skip
        y = self.out(y.transpose(1, 2).reshape(x.shape))
        if real is not None:
            y = y * real[..., None].to(y.dtype)
            weights = weights * real[:, None, :, None] if return_weights else None
        return (y, weights) if return_weights else y

    def _who_sees_whom(
        self, x: Tensor, real: Tensor | None, seen: Tensor | None, past: int, table: bool
    ) -> tuple[Tensor | None, bool]:
        """A boolean table (broadcast to (B, H, L, S)) or None, and whether the kernel's own causal order is enough.

        The kernel is fastest, and its memory linear, without a table. `table` asks for one where there is a choice.
        """
        length, total = x.shape[1], past + x.shape[1]
        hidden = seen is not None and not bool(seen.all())
        # Padding on the right comes after every token: the causal order alone hides it.
        left = hidden and bool((seen.diff(dim=1) & seen[:, 1:]).any())  # a token comes after padding
        if self.causal and not table and not past and not left:
            return None, length > 1
        allowed = _allowed(length, total, self.causal and length > 1, None, x.device)
        if hidden:
            allowed = seen[:, None, None, :] if allowed is None else allowed & seen[:, None, None, :]
            # Queries that are padding may see everything: they need some key to stay finite, and are zeroed later.
            if real is not None:
                lost = ~real[:, None, :, None] if self.causal else ~real.any(1)[:, None, None, None]
                allowed = allowed | lost
        return allowed, False


class SlidingWindowAttention(nn.Module):
    """Attention within a radius, plus global tokens: Longformer (Beltagy et al. 2020, doi:10.48550/arXiv.2004.05150).

    Position i sees j where |i - j| <= radius (`window_mask`), and every global token (mask 2) sees and is seen by all.
    The sequence is cut into blocks; each block of queries meets one band of keys, so time and memory are linear in L.

    Args:
        dim, heads, causal, positions, qkv_bias, out_bias, dropout, rotary_base: as in `Attention`.
        radius: one-sided, in tokens. Longformer's `attention_window` counts both sides: it is twice the radius.
        global_projections: what global tokens ask, and the keys and values they ask it of, go through projections of
            their own, `qkv_global`, as in Longformer; otherwise through `qkv`.

    Distances are counted over tokens: padding within a sequence is taken out before, so that it moves nothing.

    Raises:
        ValueError: as `Attention`, and for a negative radius.

    Introduced in notebook 03.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        radius: int,
        causal: bool = False,
        positions: str = "none",
        global_projections: bool = False,
        qkv_bias: bool = True,
        out_bias: bool = True,
        dropout: float = 0.0,
        rotary_base: float = 10000.0,
    ) -> None:
        super().__init__()
        _check_options(dim, heads, positions)
        if radius < 0:
            raise ValueError(
                f"radius is how many tokens a position sees to one side: 0 or more, not {radius}"
            )
        self.dim, self.heads, self.radius, self.causal, self.positions = dim, heads, radius, causal, positions
        self.dropout, self.rotary_base = dropout, rotary_base
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.qkv_global = nn.Linear(dim, 3 * dim, bias=qkv_bias) if global_projections else None
        self.out = nn.Linear(dim, dim, bias=out_bias)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, state: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Mix x (B, L, D) over its neighbourhoods.

        Args:
            x: the input.
            mask: (B, L), 0 at padding (output zero), 1 at tokens, 2 at global tokens.
            state: None, or a dict, empty at first: it keeps keys and values of the last `radius` tokens and of the
                global ones, so its size does not grow. Global tokens have to be in the first call.

        Raises:
            ValueError: shapes that do not fit, a state in a window that is not causal, a global token after the first
                call with a state.
        """
        _check_input(x, mask, state, self.dim, self.causal)
        if x.numel() == 0:
            return torch.zeros_like(x)
        if state:
            pieces = x.split(max(self.radius, 64), dim=1)  # long continuations too in linear memory
            masks = [None] * len(pieces) if mask is None else mask.split(max(self.radius, 64), dim=1)
            return torch.cat([self._step(p, m, state) for p, m in zip(pieces, masks, strict=True)], dim=1)
        kinds = None if mask is None or bool((mask == 1).all()) else mask
        order = None
        if kinds is not None:
            real = kinds != 0
            runs = real[:, 0].long() + (real.diff(dim=1) & real[:, 1:]).sum(1)
            if bool((runs > 1).any()):  # padding between tokens: move it to the end
                order = (~real).long().argsort(dim=1, stable=True)
                x = x.gather(1, order[..., None].expand_as(x))
                kinds = kinds.gather(1, order)
        y = self._full(x, kinds, state)
        if kinds is not None:
            y = y * (kinds != 0)[..., None].to(y.dtype)
        if order is not None:
            y = y.gather(1, order.argsort(dim=1)[..., None].expand_as(y))
        return y

    def _full(self, x: Tensor, kinds: Tensor | None, state: dict[str, Tensor] | None) -> Tensor:
        """The whole sequence at once. Within a row, index distances are token distances."""
        q, k, v = _split_heads(self.qkv(x), 3, self.heads)  # each (B, H, L, d)
        where = torch.arange(x.shape[1], device=x.device)
        where = where[None] if kinds is None else position_ids(kinds != 0)  # (B or 1, L)
        q, k = self._rotate(q, where), self._rotate(k, where)
        if state is not None:
            seen = torch.ones(x.shape[:2], dtype=torch.long, device=x.device) if kinds is None else kinds
            self._remember(k, v, where.expand(x.shape[:2]), seen, (seen != 0).sum(1, keepdim=True), state)

        slots = None
        if kinds is not None and bool((kinds == 2).any()):
            count = int((kinds == 2).sum(1).max())
            slots = (
                (kinds == 2).long().argsort(dim=1, descending=True, stable=True)[:, :count]
            )  # (B, G) columns
        y = self._banded(q, k, v, where, kinds, slots)  # (B, L, D)
        if slots is not None:
            y = self._overwrite_global(x, y, q, k, v, where, kinds, slots)
        return self.out(y)

    def _banded(
        self, q: Tensor, k: Tensor, v: Tensor, where: Tensor, kinds: Tensor | None, slots: Tensor | None
    ) -> Tensor:
        """Every query over its window and the global keys, (B, L, D).

        N = B * blocks; a block of b queries meets W = b + 2 r keys (b + r if causal), of which its window is a band.
        """
        batch, heads, length, _ = q.shape
        radius = min(self.radius, length - 1)
        block = min(max(radius, 32), length)
        blocks = -(-length // block)
        after = 0 if self.causal else radius
        tail = blocks * block - length
        band = block + radius + after

        def cut(t: Tensor) -> Tensor:  # (B, H, L, d) -> (N, H, W, d), neighbours overlapping
            t = F.pad(t, (0, 0, radius, after + tail)).unfold(2, band, block)  # (B, H, n, d, W), a view
            return t.permute(0, 2, 1, 4, 3).flatten(0, 1)

        queries = F.pad(q, (0, 0, 0, tail)).unflatten(2, (blocks, block)).transpose(1, 2).flatten(0, 1)
        keys, values = cut(k), cut(v)

        # Who sees whom: the band, the same in every block, and the keys that are there, the same for every query.
        i = torch.arange(block, device=q.device)[:, None]
        j = torch.arange(band, device=q.device)[None, :] - radius
        near = ((j - i).abs() <= radius) & (j <= i + after)  # (b, W)
        there = q.new_ones(1, length, dtype=torch.bool) if kinds is None else kinds == 1
        there = F.pad(there, (radius, after + tail)).unfold(1, band, block).flatten(0, 1)  # (N or n, W)
        allowed = near & there[:, None, :]
        if slots is not None:
            # The band has left out the global keys; here they are, for every query.
            queries_at = F.pad(where.expand(batch, -1), (0, tail)).unflatten(1, (blocks, block)).flatten(0, 1)
            keys_at = where.expand(batch, -1).gather(1, slots).repeat_interleave(blocks, 0)  # (N, G)
            filled = (kinds.gather(1, slots) == 2).repeat_interleave(blocks, 0)
            far = filled[:, None, :].expand(-1, block, -1)
            if self.causal:
                far = far & (keys_at[:, None, :] <= queries_at[:, :, None])
            allowed = torch.cat((far, allowed), dim=2)
            keys, values = (
                torch.cat((_gather_columns(t, slots).repeat_interleave(blocks, 0), u), dim=2)
                for t, u in ((k, keys), (v, values))
            )
        if kinds is None:
            allowed = allowed.expand(batch, -1, -1, -1).flatten(0, 1) if batch > 1 else allowed
        else:
            # Padding sees everything, so that no row is empty; its output is zeroed later.
            real = F.pad(kinds != 0, (0, tail)).unflatten(1, (blocks, block)).flatten(0, 1)
            allowed = allowed | ~real[:, :, None]
        scores_mask = allowed[:, None]
        if self.positions == "alibi":
            slopes = alibi_slopes(heads).to(q)
            bias = alibi_bias(i[:, 0], j[0], slopes).expand(len(queries), -1, -1, -1)
            if slots is not None:
                bias = torch.cat((alibi_bias(queries_at, keys_at, slopes), bias), dim=3)
            scores_mask = bias.masked_fill(~scores_mask, torch.finfo(bias.dtype).min)
        y = self._attend(queries, keys, values, scores_mask)  # (N, H, b, d)
        return y.transpose(1, 2).reshape(batch, blocks * block, heads * q.shape[-1])[:, :length]

    def _overwrite_global(
        self,
        x: Tensor,
        y: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        where: Tensor,
        kinds: Tensor,
        slots: Tensor,
    ) -> Tensor:
        """What the global tokens see, all of the sequence, written over what their windows gave."""
        if self.qkv_global is None:
            q = _gather_columns(q, slots)
        else:
            weight, bias = self.qkv_global.weight, self.qkv_global.bias
            q_bias, kv_bias = (None, None) if bias is None else (bias[: self.dim], bias[self.dim :])
            asking = x.gather(1, slots[..., None].expand(-1, -1, self.dim))
            (q,) = _split_heads(F.linear(asking, weight[: self.dim], q_bias), 1, self.heads)
            k, v = _split_heads(F.linear(x, weight[self.dim :], kv_bias), 2, self.heads)
            q, k = self._rotate(q, where.gather(1, slots)), self._rotate(k, where)
        allowed = (kinds != 0)[:, None, None, :]
        at = where.gather(1, slots)
        if self.causal:
            allowed = allowed & (where[:, None, None, :] <= at[:, None, :, None])
        filled = kinds.gather(1, slots) == 2
        scores_mask = allowed | ~filled[:, None, :, None]
        if self.positions == "alibi":
            bias = alibi_bias(at, where, alibi_slopes(self.heads).to(q))
            scores_mask = bias.masked_fill(~scores_mask, torch.finfo(bias.dtype).min)
        seen = self._attend(q, k, v, scores_mask).transpose(1, 2).flatten(2)  # (B, G, D)
        rows, columns = filled.nonzero(as_tuple=True)
        return y.index_put((rows, slots[rows, columns]), seen[rows, columns])

    def _step(self, x: Tensor, mask: Tensor | None, state: dict[str, Tensor]) -> Tensor:
        """New tokens after those in the state: a small dense attention over the remembered keys."""
        kinds = torch.ones(x.shape[:2], dtype=torch.long, device=x.device) if mask is None else mask.long()
        if bool((kinds == 2).any()):
            raise ValueError(
                "a global token (mask 2) sees all tokens before it: it has to be in the first call"
            )
        q, k, v = _split_heads(self.qkv(x), 3, self.heads)
        at = position_ids(kinds != 0, state["seen"])
        q, k = self._rotate(q, at), self._rotate(k, at)
        k, v = torch.cat((state["keys"], k), dim=2), torch.cat((state["values"], v), dim=2)
        keys_at, key_kinds = (
            torch.cat((state["positions"], at), dim=1),
            torch.cat((state["kinds"], kinds), dim=1),
        )
        distance = at[:, :, None] - keys_at[:, None, :]  # (B, T, S)
        allowed = (distance >= 0) & ((distance <= self.radius) | (key_kinds == 2)[:, None, :])
        allowed = (allowed & (key_kinds != 0)[:, None, :] | (kinds == 0)[:, :, None])[:, None]
        if self.positions == "alibi":
            bias = alibi_bias(at, keys_at, alibi_slopes(self.heads).to(q))
            allowed = bias.masked_fill(~allowed, torch.finfo(bias.dtype).min)
        y = self.out(self._attend(q, k, v, allowed).transpose(1, 2).reshape(x.shape))
        self._remember(k, v, keys_at, key_kinds, state["seen"] + (kinds != 0).sum(1, keepdim=True), state)
        return y if mask is None else y * (kinds != 0)[..., None].to(y.dtype)

    def _remember(
        self, k: Tensor, v: Tensor, at: Tensor, kinds: Tensor, seen: Tensor, state: dict[str, Tensor]
    ) -> None:
        """Keep the columns that some row's next token will see; `seen` (B, 1) is that token's position."""
        wanted = ((kinds == 1) & (at >= seen - self.radius)) | (kinds == 2)
        columns = wanted.any(0).nonzero()[:, 0]
        state.update(keys=k[:, :, columns], values=v[:, :, columns], positions=at[:, columns])
        state.update(kinds=kinds[:, columns], seen=seen)

    def _rotate(self, t: Tensor, where: Tensor) -> Tensor:
        if self.positions != "rotary":
            return t
        return apply_rotary(t, *rotary_cos_sin(where, t.shape[-1], self.rotary_base))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


def _kernel_is_slower(q: Tensor, k: Tensor) -> bool:
    """Whether the definition beats torch's kernel: training in bfloat16 on a CPU, over a few hundred tokens.

    There the kernel's backward pass takes most of the time of a layer. Measured with torch 2.13 on one core with AMX,
    width 128, 2 heads, 128 tokens: a layer's mixer takes 19 ms by the definition and 38 ms by the kernel.
    """
    short = k.shape[2] <= 256
    return q.dtype == torch.bfloat16 and q.device.type == "cpu" and short and q.requires_grad


def _split_heads(projected: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(B, L, parts * D) -> that many views (B, H, L, d)."""
    width = projected.shape[-1] // (parts * heads)
    return tuple(part.transpose(1, 2) for part in projected.unflatten(-1, (parts, heads, width)).unbind(2))


def _gather_columns(t: Tensor, columns: Tensor) -> Tensor:
    """Columns (B, G) of t (B, H, L, d): (B, H, G, d)."""
    return t.gather(2, columns[:, None, :, None].expand(-1, t.shape[1], -1, t.shape[3]))


def _padding(mask: Tensor | None) -> Tensor | None:
    """True at tokens, (B, L); None if there is no padding, which keeps the kernel's fast path."""
    if mask is None or bool((mask != 0).all()):
        return None
    return mask != 0


def _check_options(dim: int, heads: int, positions: str) -> None:
    """Errors that both kinds of attention share, before anything is built."""
    if heads < 1 or dim % heads:
        divisors = ", ".join(str(h) for h in range(1, dim + 1) if dim % h == 0)
        raise ValueError(f"{heads} heads do not divide the width {dim}: choose one of {divisors}")
    if positions not in POSITIONS:
        raise ValueError(
            f"positions {positions!r} is unknown to attention: choose one of {', '.join(POSITIONS)}"
        )
    if positions == "rotary" and (dim // heads) % 2:
        raise ValueError(
            f"rotary positions turn channels in pairs: the head width {dim // heads} must be even"
        )


def _check_input(
    x: Tensor, mask: Tensor | None, state: dict[str, Tensor] | None, dim: int, causal: bool
) -> None:
    """Errors that both kinds of attention share, at every call."""
    if x.ndim != 3 or x.shape[-1] != dim:
        raise ValueError(f"x must have shape (batch, length, {dim}), not {tuple(x.shape)}")
    if mask is not None and mask.shape != x.shape[:2]:
        raise ValueError(
            f"mask must have shape {tuple(x.shape[:2])}, as x has, not {tuple(mask.shape)}"
            + (" (with a state, give the mask of the new tokens only)" if state else "")
        )
    if state is not None and not causal:
        raise ValueError("a state needs causal=True: without it, new tokens would change what old ones saw")
    if state and state["keys"].shape[0] != x.shape[0]:
        raise ValueError(f"the state holds {state['keys'].shape[0]} rows, x has {x.shape[0]}")
