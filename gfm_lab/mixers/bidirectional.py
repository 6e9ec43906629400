"""Site 3, both directions: a mixer that reads one way, made to read both.

    u = inputs(x)
    y = out(ahead.mix(u) + flip(back.mix(flip(u))))          flip: the last position first

A convolution that looks back and a recurrence see nothing of what follows. A masked model wants both sides of the gap,
so a second mixer of the same shape reads the sequence from its end, and the two results are added. Addition, and one
input and output projection for both directions, is how Caduceus builds its "BiMamba" (Schiff et al. 2024,
doi:10.48550/arXiv.2403.03234): twice the time, but far less than twice the parameters, as the projections are most of
them.

Reading in both *directions* is not reading both *strands*: the letters stay those of one strand. The other strand is
the body's part (`strands` in `GenomicConfig`). This file needs torch alone. Introduced in notebook 06.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

__all__ = ["Bidirectional"]


class Bidirectional(nn.Module):
    """Two one-way mixers of one shape, one for each direction: (B, L, D) -> (B, L, D).

    Args:
        ahead: reads from the first position on. It has the linear maps `inputs` (D -> E) and `out` (F -> D), and
            between them `mix(u, mask, state)`, (B, L, E) -> (B, L, F), which sees nothing after a position and treats
            padding as if it were not there.
        back: another of the same shape; reads from the last position on. Its own `inputs` and `out` are taken off, as
            those of `ahead` serve both. A model therefore stores each tensor once.

    `out` is applied to the sum, so a bias in it counts once. (Adding two complete mixers with tied projections, as the
    authors write it, counts it twice; their Mamba has none, so their numbers are met exactly.)

    Raises:
        ValueError: one of them lacks `inputs`, `mix` or `out` or is not causal; their parameters have different
            shapes; or they are one and the same object.

    Introduced in notebook 06.
    """

    causal = False  # never: each position sees all others

    def __init__(self, ahead: nn.Module, back: nn.Module) -> None:
        super().__init__()
        for name, part in (("ahead", ahead), ("back", back)):
            missing = [n for n in ("inputs", "mix", "out") if not hasattr(part, n)]
            if missing or not getattr(part, "causal", True):
                why = f"it has no {', '.join(missing)}" if missing else "it already sees both sides"
                raise ValueError(
                    f"{name} is a {type(part).__name__}: {why}; give a mixer that reads one way through inputs, "
                    f"mix and out, such as Hyena or Mamba"
                )
        if ahead is back:
            raise ValueError(
                "ahead and back are the same object, whose weights a file would hold twice: build two, or give "
                "copy.deepcopy(ahead) as back to start from the same weights"
            )
        shapes = [{n: tuple(p.shape) for n, p in part.named_parameters()} for part in (ahead, back)]
        if shapes[0] != shapes[1]:
            differ = sorted(n for n in {**shapes[0], **shapes[1]} if shapes[0].get(n) != shapes[1].get(n))
            here, there = (s.get(differ[0], "not there") for s in shapes)
            raise ValueError(
                f"ahead and back must have the same shape: {differ[0]} is {here} in one and {there} in the other"
            )
        self.ahead, self.back = ahead, back
        # None, not deleted: the mixer's own code may ask whether it has them.
        back.inputs, back.out = None, None

    def forward(self, x: Tensor, mask: Tensor | None = None, state: dict[str, Any] | None = None) -> Tensor:
        """Mix x (B, L, D) over both sides of every position.

        Args:
            x: the input.
            mask: (B, L), 0 at padding, wherever it stands.
            state: None. What has been read cannot be kept: each new token changes what the way back has seen.

        Raises:
            ValueError: a state.
        """
        if state is not None:
            raise ValueError(
                "a state needs a causal mixer: a bidirectional one reads on from the end, so that every new token "
                "would change what old ones saw; set causal=True, or leave the state out"
            )
        u = self.ahead.inputs(x)
        there = self.ahead.mix(u, mask)
        back = self.back.mix(u.flip(1), None if mask is None else mask.flip(1))
        return self.ahead.out(there + back.flip(1))
