"""What all explorers are: named controls, a function from their values to a view, and the thin layer of widgets."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure

from gfm_lab import plots
from gfm_lab.explorers.picture import Picture

__all__ = ["Control", "Explorer", "View", "one_thread"]

KINDS = ("choice", "whole", "number", "text", "tick")


@dataclass(frozen=True)
class Control:
    """One setting: the key that code uses, the label that the page shows, its kind, its value and its bounds.

    kind: "choice" (one of `options`), "whole" or "number" (from `low` to `high`), "text", or "tick" (True or False).
    """

    key: str
    label: str
    kind: str
    value: Any
    options: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float = 1

    def checked(self, value: Any) -> Any:
        """`value`, if this control can take it. Raises ValueError that says what it can take."""
        name = f"{self.key} ({self.label!r})"
        if self.kind == "choice" and value not in self.options:
            raise ValueError(f"{name} is one of {', '.join(map(repr, self.options))}, not {value!r}")
        if self.kind in ("whole", "number"):
            real = isinstance(value, int) or (self.kind == "number" and isinstance(value, float))
            if isinstance(value, bool) or not real or not self.low <= value <= self.high:
                what = "a whole number" if self.kind == "whole" else "a number"
                raise ValueError(f"{name} is {what} from {self.low:g} to {self.high:g}, not {value!r}")
        if self.kind == "text" and not isinstance(value, str):
            raise ValueError(f"{name} is a text, not {value!r}")
        if self.kind == "tick" and not isinstance(value, bool):
            raise ValueError(f"{name} is True or False, not {value!r}")
        return value


class View(NamedTuple):
    """What is shown: the picture, sentences with its numbers, and a description for who cannot see it."""

    picture: Picture
    summary: tuple[str, ...]
    alt: str


class Explorer:
    """Controls and the picture they change. Made by the functions of `gfm_lab.explorers`, not by hand.

    Args:
        title: of the whole.
        controls: in the order in which they are shown.
        look: values of all controls -> View. Raises ValueError with a message for the learner.
        adjust: values of all controls -> {key: {trait: value}}, what one control's value means for others (a stride
            is at most k). Only the live page needs it.
        columns: how many controls stand side by side where the page is wide enough.

    In a notebook the object itself, as a cell's last line, shows the live page; `static()` shows its twin.
    """

    def __init__(
        self,
        title: str,
        controls: Sequence[Control],
        look: Callable[[dict[str, Any]], View],
        adjust: Callable[[dict[str, Any]], Mapping[str, Mapping[str, Any]]] | None = None,
        columns: int = 3,
    ) -> None:
        self.title, self.columns = title, columns
        self.controls = {control.key: control for control in controls}
        self._look, self._adjust = look, adjust
        self._live: dict[str, Any] = {}  # key -> widget, once there is one
        self._page: Any = None
        self._screen: Any = None
        self._busy = False

    # ---- Without widgets ----

    def settings(self, **changes: Any) -> dict[str, Any]:
        """All values: the defaults with `changes`. Raises ValueError for an unknown key or a value out of bounds."""
        unknown = [key for key in changes if key not in self.controls]
        if unknown:
            raise ValueError(f"there is no control {unknown[0]!r}; there are {', '.join(self.controls)}")
        given = {key: self.controls[key].checked(value) for key, value in changes.items()}
        return {key: control.value for key, control in self.controls.items()} | given

    def view(self, **changes: Any) -> View:
        """What these settings show. Raises ValueError with a message for the learner."""
        return self._look(self.settings(**changes))

    def html(self, **changes: Any) -> str:
        """The view as the live page writes it: sentences, then the picture as SVG."""
        return _page_of(self.view(**changes))

    def static(self, **changes: Any) -> None:
        """The twin without widgets: the picture with its description, through `plots.show`."""
        view = self.view(**changes)
        plots.show(view.picture.figure(), view.alt)

    def figure(self, **changes: Any) -> Figure:
        """The picture alone, as a matplotlib figure."""
        return self.view(**changes).picture.figure()

    # ---- With widgets ----

    def widget(self) -> Any:
        """The live page, an ipywidgets.VBox; always the same one. Raises ImportError where ipywidgets is missing."""
        if self._page is not None:
            return self._page
        try:
            import ipywidgets
        except ImportError as error:
            raise ImportError(
                "the live page needs ipywidgets (pip install ipywidgets); .static() shows the same picture without it"
            ) from error
        self._live = {key: _widget(ipywidgets, control) for key, control in self.controls.items()}
        self._screen = ipywidgets.HTML(layout=ipywidgets.Layout(width="100%"))
        for widget in self._live.values():
            widget.observe(self._changed, names="value")
        self._changed()
        grid = ipywidgets.GridBox(
            [*self._live.values()],
            layout=ipywidgets.Layout(
                grid_template_columns=f"repeat(auto-fit, minmax(min({700 // self.columns}px, 100%), 1fr))",
                grid_gap="0 18px",
                max_width="980px",
            ),
        )
        head = ipywidgets.HTML(f"<b>{html.escape(self.title)}</b>")
        self._page = ipywidgets.VBox([head, grid, self._screen])
        return self._page

    @property
    def live(self) -> dict[str, Any]:
        """Key -> its widget, for tests and for pages of your own: set `.value` and the picture follows."""
        self.widget()
        return self._live

    @property
    def shown(self) -> str:
        """The HTML that the live page shows now."""
        self.widget()
        return self._screen.value

    def _changed(self, _: Any = None) -> None:
        if self._busy:  # a change that `_changed` itself has made: the picture is drawn once, at the end
            return
        self._busy = True
        try:
            if self._adjust is not None:
                for key, traits in self._adjust(self._values()).items():
                    for trait, value in traits.items():
                        setattr(self._live[key], trait, value)
            try:
                self._screen.value = _page_of(self._look(self._values()))
            except ValueError as error:  # the learner's input: its message, never a traceback
                self._screen.value = _notice(str(error))
        finally:
            self._busy = False

    def _values(self) -> dict[str, Any]:
        return {key: widget.value for key, widget in self._live.items()}

    def _ipython_display_(self) -> None:
        from IPython.display import display

        try:
            display(self.widget())
        except ImportError as error:  # a notebook runs on; its next cell shows the twin
            print(error)


def _widget(ipywidgets: Any, control: Control) -> Any:
    common = dict(
        value=control.value,
        description=control.label,
        style={"description_width": "initial"},
        layout=ipywidgets.Layout(width="auto"),
    )
    if control.kind == "choice":
        return ipywidgets.Dropdown(options=control.options, **common)
    if control.kind == "whole":
        bounds = dict(min=int(control.low), max=int(control.high), step=int(control.step))
        return ipywidgets.IntSlider(**bounds, **common)
    if control.kind == "number":
        bounds = dict(min=control.low, max=control.high, step=control.step)
        return ipywidgets.FloatSlider(**bounds, readout_format=".2f", **common)
    if control.kind == "text":
        return ipywidgets.Text(continuous_update=True, **common)
    return ipywidgets.Checkbox(indent=False, **common)


def _page_of(view: View) -> str:
    lines = "".join(f'<p style="margin:2px 0">{html.escape(line)}</p>' for line in view.summary)
    # Width 0, but at least the page's: on a narrow page the picture scrolls, and the sentences above it still wrap.
    picture = f'<div style="overflow-x:auto;width:0;min-width:100%">{view.picture.svg(view.alt)}</div>'
    return f'<div style="line-height:1.45"><div role="status">{lines}</div>{picture}</div>'


def _notice(message: str) -> str:
    return (
        f'<p role="alert" style="border-left:4px solid {plots.NUCLEOTIDE_COLORS["T"]};padding:4px 10px;'
        f'line-height:1.45">{html.escape(message)}</p>'
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Run small models on one thread: sharing work of microseconds among threads takes longer than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)
