"""Slides: figures from the package and the shipped data, then every deck as HTML and PDF, with Marp.

    python tools/build_slides.py                  # slides/figures/*.svg, then dist/slides/*.html and *.pdf
    python tools/build_slides.py figures 03       # the figures of deck 03 alone
    python tools/build_slides.py render 03        # deck 03 alone
    python tools/build_slides.py pages 03         # each page as a PNG, to look at: dist/slides/pages/

A deck is slides/NN_topic.md. Its figures are functions without arguments in slides/figures/NN_topic.py that return a
matplotlib Figure; `name` becomes slides/figures/NN_name.svg. Names with a leading underscore are no figures. SIZES in
such a file, if there, are rcParams of its figures: letters for the last row. The same code and data give the same file,
byte for byte.

Marp (its version stands in slides/package.json) comes from npm and is installed into slides/node_modules the first
time. Rendering needs Node.js 18 or newer; the PDF and the pages also Chrome or Chromium. Nothing is loaded from the
network while a deck is rendered or shown.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SLIDES, OUTPUT = ROOT / "slides", ROOT / "dist" / "slides"
MARP = SLIDES / "node_modules" / "@marp-team" / "marp-cli" / "marp-cli.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def decks(numbers: list[str] | None = None) -> list[Path]:
    """The decks in order, or those whose names begin with one of `numbers`."""
    found = sorted(SLIDES.glob("[0-9][0-9]_*.md"))
    if not numbers:
        return found
    unknown = [n for n in numbers if not any(deck.name.startswith(n) for deck in found)]
    if unknown:
        raise SystemExit(
            f"there is no deck {', '.join(unknown)}; there are: {', '.join(d.stem for d in found)}"
        )
    return [deck for deck in found if deck.name.startswith(tuple(numbers))]


# ---- Figures ----


def functions_of(deck: str) -> dict[str, Callable]:
    """{file name without .svg: function} of a deck's figures."""
    path = SLIDES / "figures" / f"{deck}.py"
    if not path.exists():
        return {}
    spec = importlib.util.spec_from_file_location(f"figures_of_{deck}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {
        f"{deck[:2]}_{name}": f
        for name, f in vars(module).items()
        if inspect.isfunction(f) and f.__module__ == module.__name__ and not name.startswith("_")
    }


def figures(names: list[Path]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import torch

    from gfm_lab import plots

    plots.use_style()
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    for deck in names:
        for name, draw in functions_of(deck.stem).items():
            part = SLIDES / "figures" / f".{name}.svg"
            with plt.rc_context(draw.__globals__.get("SIZES", {})):
                figure = draw()
            figure.savefig(part, format="svg", metadata={"Date": None})
            plt.close(figure)
            os.replace(part, part.with_name(f"{name}.svg"))
            print(f"slides/figures/{name}.svg", flush=True)


# ---- Decks ----


def installed() -> bool:
    """Whether Marp is there, whole: npm writes its hidden list of packages when all of them are in place."""
    return MARP.exists() and (SLIDES / "node_modules" / ".package-lock.json").exists()


def install() -> None:
    """Marp, if it is not there.

    npm works in a folder of its own, whose result is then renamed to slides/node_modules: another process that asks for
    Marp meanwhile (the tests of the slides and of the site run side by side) never finds half of it, and a broken
    installation leaves nothing.
    """
    if not shutil.which("node"):
        raise SystemExit(
            "Slides are rendered by Marp, an npm package: install Node.js 18 or newer and try again."
        )
    if installed():
        return
    if not shutil.which("npm"):
        raise SystemExit("Marp is installed with npm, which is not on the PATH: install it and try again.")
    print("Installing Marp into slides/node_modules (once).", flush=True)
    with tempfile.TemporaryDirectory(prefix=".marp-", dir=SLIDES) as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SLIDES / name, folder)
        # Without a network npm gives up soon: `make test` asks for Marp as well.
        options = (
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--fetch-retries=0",
            "--fetch-timeout=30000",
        )
        done = subprocess.run(["npm", "ci", *options], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr.strip(), file=sys.stderr)
            raise SystemExit(
                "npm could not install Marp (see above): it needs the network once. Then run this again."
            )
        if not installed():  # else another process was faster
            target = SLIDES / "node_modules"
            with contextlib.suppress(FileNotFoundError):  # what an interrupted npm left
                target.rename(Path(folder) / "interrupted")
            try:
                (Path(folder) / "node_modules").rename(target)
            except OSError:
                if not installed():
                    raise


def browser() -> str:
    """The path of Chrome or Chromium."""
    given = os.environ.get("CHROME_PATH")
    if given and not Path(given).exists():
        raise SystemExit(f"CHROME_PATH is {given}, which does not exist")
    found = given or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SystemExit(
            "PDF and pages need Chrome or Chromium: install one, or set CHROME_PATH to it. "
            "The HTML decks are in dist/slides."
        )
    return found


def marp(names: list[Path], *options: str, output: Path = OUTPUT) -> None:
    """Marp on copies of the decks and their figures in `output`."""
    (output / "figures").mkdir(parents=True, exist_ok=True)
    for picture in (SLIDES / "figures").glob("*.svg"):
        shutil.copy(picture, output / "figures")
    for deck in names:
        shutil.copy(deck, output)
    command = ["node", str(MARP), "--no-stdin", "--html", "--theme-set", str(SLIDES / "theme.css"), *options]
    done = subprocess.run(
        [*command, "--", *(d.name for d in names)], cwd=output, capture_output=True, text=True
    )
    for deck in names:
        (output / deck.name).unlink()
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        raise SystemExit("Marp stopped with an error (see above).")


def render(names: list[Path], output: Path = OUTPUT, *, pdf: bool = True) -> None:
    install()
    marp(names, output=output)
    print(f"{len(names)} decks as HTML in {output}", flush=True)
    if pdf:
        os.environ["CHROME_PATH"] = browser()
        marp(names, "--pdf", "--allow-local-files", output=output)
        print(f"{len(names)} decks as PDF in {output}", flush=True)


def pages(names: list[Path]) -> None:
    install()
    os.environ["CHROME_PATH"] = browser()
    folder = OUTPUT / "pages"
    for deck in names:
        for old in folder.glob(f"{deck.stem}.*.png"):
            old.unlink()
    marp(names, "--images", "png", "--allow-local-files", output=folder)
    print(f"pages of {len(names)} decks in {folder}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", nargs="?", choices=("all", "figures", "render", "pages"), default="all")
    parser.add_argument("decks", nargs="*", metavar="NN", help="numbers of decks (default: all)")
    options = parser.parse_args(arguments)
    names = decks(options.decks)
    if not names:
        raise SystemExit("There are no decks in slides/.")
    if options.step in ("all", "figures"):
        figures(names)
    if options.step in ("all", "render"):
        render(names)
    if options.step == "pages":
        pages(names)


if __name__ == "__main__":
    main()
