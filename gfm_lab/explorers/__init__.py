"""Pieces to play with, where looking beats reading; each has a static twin for pages without a kernel.

    explorers.tokenizer()    cut DNA, change a base, and see which tokens change          notebook 01
    explorers.mixers()       what attention, Hyena and Mamba weigh along a real gene      notebook 07
    explorers.masking()      what is masked, what can still be read, who guesses it       notebook 09
    explorers.sampling()     the next base before and after temperature, top-k and top-p  notebook 10

Each returns an `Explorer`. As the last line of a notebook's cell it shows controls above a picture, for which the
notebook needs ipywidgets and a running kernel; `.static(...)` shows the same picture, with its description, from given
settings; `.view(...)` returns what is shown, for tests and for pages of your own.

A picture is made in three steps, each of which can be used alone: a function computes the numbers, another draws them
(`picture.py`: one drawing, as SVG for the browser and as a matplotlib figure for the page), and `explorer.py` connects
both to the controls. All that is slow (models, counts) happens once, when an explorer is opened.
"""

from gfm_lab.explorers.explorer import Control, Explorer, View
from gfm_lab.explorers.genes import mixers
from gfm_lab.explorers.masks import masking
from gfm_lab.explorers.picture import Picture
from gfm_lab.explorers.tokens import tokenizer
from gfm_lab.explorers.writing import sampling

__all__ = ["Control", "Explorer", "Picture", "View", "masking", "mixers", "sampling", "tokenizer"]
