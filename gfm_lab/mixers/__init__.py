"""Site 3 of the anatomy: the mixers, through which positions exchange what they know.

Every mixer keeps one contract, so that the body does not care which one it holds:

    y = mixer(x, mask=None, state=None)

x and y have shape (B, L, D). `mask` (B, L) is 0 at padding, 1 at tokens, 2 at global tokens (where a mixer has none, 2
counts as 1). `state` is None, or a dict that is empty before the first call (the prefill); the mixer fills it in place,
and later calls with the same dict continue where the last one ended. All tensors in it have the batch first.

A new mixer is one file here and one line below, and inherits the shared tests. Introduced in notebook 03.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from torch import nn

from gfm_lab.mixers.attention import Attention, SlidingWindowAttention
from gfm_lab.mixers.bidirectional import Bidirectional
from gfm_lab.mixers.convolution import Convolution, receptive_field
from gfm_lab.mixers.hyena import Hyena, fft_convolution
from gfm_lab.mixers.mamba import Mamba, scan_path, selective_scan

__all__ = [
    "MIXERS",
    "Attention",
    "Bidirectional",
    "Convolution",
    "Hyena",
    "Mamba",
    "SlidingWindowAttention",
    "build_mixer",
    "fft_convolution",
    "receptive_field",
    "scan_path",
    "selective_scan",
]

MIXERS: dict[str, type[nn.Module]] = {
    "attention": Attention,
    "sliding_window": SlidingWindowAttention,
    "convolution": Convolution,
    "hyena": Hyena,
    "mamba": Mamba,
}
ONE_WAY = {Hyena, Mamba}  # they read from left to right; for both sides two of them go into `Bidirectional`


def build_mixer(name: str, dim: int, **options: Any) -> nn.Module:
    """The mixer of that name and width.

    Args:
        name: a key of `MIXERS`.
        dim: width D of its input and output.
        options: keyword arguments of the mixer's class. With causal=False, Hyena and Mamba, which read from left to
            right, are built twice and joined by `Bidirectional`.

    Raises:
        ValueError: an unknown name (the message lists the known ones and the nearest), or an unknown or missing option
            (it lists the valid ones), or a value that the mixer refuses.

    Introduced in notebook 03.
    """
    if name not in MIXERS:
        near = difflib.get_close_matches(str(name), MIXERS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown mixer {name!r}: choose one of {', '.join(sorted(MIXERS))}{hint}")
    mixer = MIXERS[name]
    parameters = {n: p for n, p in inspect.signature(mixer).parameters.items() if n != "dim"}
    unknown = [option for option in options if option not in parameters]
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in options]
    for kind, names in (("unknown", unknown), ("missing", missing)):
        if names:
            raise ValueError(
                f"{kind} option {', '.join(map(repr, names))} of mixer {name!r}: "
                f"its options are {', '.join(parameters)}"
            )
    if mixer in ONE_WAY and not options.get("causal", True):
        options["causal"] = True
        return Bidirectional(mixer(dim, **options), mixer(dim, **options))
    return mixer(dim, **options)
