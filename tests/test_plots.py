"""The course's figures: fixed colours, descriptions that cannot be forgotten, boxes where the bases are."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from gfm_lab import plots


@pytest.fixture(autouse=True)
def style():
    plots.use_style()
    yield
    plt.close("all")


def luminance(color):
    channels = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def test_nucleotides_differ_also_for_the_colour_blind():
    """Every two nucleotides stay apart after the red and green channels are merged (a crude deuteranopia)."""
    seen = {b: (sum(to_rgb(c)[:2]) / 2, to_rgb(c)[2]) for b, c in plots.NUCLEOTIDE_COLORS.items()}
    for a in seen:
        for b in seen:
            if a != b:
                apart = abs(seen[a][0] - seen[b][0]) + abs(seen[a][1] - seen[b][1])
                assert (
                    apart + abs(luminance(plots.NUCLEOTIDE_COLORS[a]) - luminance(plots.NUCLEOTIDE_COLORS[b]))
                    > 0.1
                )


def test_show_displays_picture_and_description_and_closes_the_figure(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *args, **kwargs: shown.append((args, kwargs)))
    figure, _ = plt.subplots()
    plots.show(figure, "A description of more than twenty characters.")
    (bundle,), options = shown[0]
    assert bundle["image/png"]
    assert options["metadata"]["image/png"]["alt"].startswith("A description")
    assert "A description" in shown[1][0][0].data
    assert not plt.fignum_exists(figure.number)
    with pytest.raises(ValueError, match="alt text"):
        plots.show(plt.figure(), "plot")


def test_token_rows_never_overlap():
    _, axis = plt.subplots()
    spans = [(i, i + 3) for i in range(7)]
    plots.token_rows(axis, "ATGTGCGCT", spans, ["x"] * 7)
    boxes = [patch.get_bbox().extents for patch in axis.patches[9:]]
    assert len(boxes) == 7
    for i, (x0, y0, x1, _) in enumerate(boxes):
        assert spans[i][0] <= x0 < x1 <= spans[i][1]
        for j in range(i):
            other = boxes[j]
            assert other[1] != y0 or other[2] <= x0 or x1 <= other[0]


def test_anatomy_fills_one_site_and_rejects_others():
    figure = plots.anatomy(3)
    filled = [p for p in figure.axes[0].patches if to_rgb(p.get_facecolor()) == to_rgb(plots.PALETTE[0])]
    assert sum(p.get_bbox().width > 1.5 for p in filled if hasattr(p, "get_boxstyle")) == 1
    with pytest.raises(ValueError, match="1 to 5"):
        plots.anatomy(6)


def test_logo_stacks_are_as_high_as_the_information():
    figure, axis = plt.subplots()
    p = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0, 0.5, 0], [0.7, 0.1, 0.1, 0.1]])
    heights = plots.logo(axis, p, first=3)
    np.testing.assert_allclose(heights, [2, 0, 1, 2 - 1.3567796], atol=1e-6)
    figure.canvas.draw()
    tops, colors = {}, {}
    for patch in axis.patches:
        box = patch.get_path().get_extents(patch.get_transform() - axis.transData)
        place = round((box.x0 + box.x1) / 2)
        if box.y1 > tops.get(place, 0):
            tops[place], colors[place] = box.y1, to_hex(patch.get_facecolor()).upper()
    assert tops == pytest.approx({3: 2, 5: 1, 6: heights[3]}, abs=1e-6)
    assert colors[3] == colors[6] == plots.NUCLEOTIDE_COLORS["A"]
    plt.close(figure)
