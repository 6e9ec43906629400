"""The course's site: notebooks with their outputs, slides, reference and cards as HTML pages that need no network.

    python tools/build_site.py                # dist/site/index.html
    python tools/build_site.py --no-slides    # without the decks (so it is, too, where there is no Node.js)
    python tools/build_site.py --output DIR

Pages are written by hand in docs/ (Markdown), or are files of the repository that are pages already: notebooks, the
instructor's guide, the cards of data and models. This script stages them under their own names in a temporary folder,
so that links between them hold, and adds what a page needs and a notebook does not: the first use of a word of
docs/glossary.md becomes a link to it, "notebook 05" a link to that notebook, the description of a figure its
alternative text. Then Sphinx (MyST-NB, the book theme) makes HTML; each of its warnings is an error, a dead link among
them. Formulas are set by the copy of MathJax in docs/_static/mathjax.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent))

import build_readme
import build_slides

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "dist" / "site"
PACKAGES = ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx_copybutton")
NOTEBOOKS = [name for name, *_ in build_readme.SYLLABUS]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+(?:\([^()\s]*\))?)\)")
# What the linking of words leaves as it is: code, formulas, links, HTML, headings, and folded solutions.
KEPT = re.compile(
    r"```.*?```|<details>.*?</details>|`+[^`]+`+|\$\$.*?\$\$|\$[^$\n]+\$|!?\[[^\]]*\]\([^)]*\)|<[^<>\n]+>|^\#.*?$",
    re.DOTALL | re.MULTILINE,
)
# The parts of the API reference, in the order data flows.
API = {
    "Sequences and data": (
        "sequence",
        "data",
        "splits",
        "labelled",
        "synthetic",
        "stretches",
        "sequence_columns",
    ),
    "Site 1: tokenization": ("tokenization",),
    "Site 2: embeddings": ("embeddings",),
    "Site 3: mixers": ("mixers", "strands"),
    "Site 4: heads": ("heads",),
    "Site 5: objectives": ("objectives",),
    "Whole models": (
        "model",
        "feedforward_fast",
        "presets",
        "pretrained",
        "checkpoints",
        "anatomy",
        "device",
        "doctor",
    ),
    "Training": ("training", "trainer", "runs", "stats"),
    "Baselines and evaluation": (
        "baselines",
        "evaluation",
        "metrics",
        "comparison",
        "sequence_baselines",
        "composition",
    ),
    "Practicals": (
        "predictors",
        "variants",
        "variant_scores",
        "vcf",
        "splice_cnn",
        "generation",
        "design",
        "searches",
    ),
    "Teaching": ("plots", "checks", "explorers", "assignments", "assignment_templates"),
}
NOT_PAGES = {"cli", "commands", "starter"}  # a program, its parts, and files that are copied


class SiteError(RuntimeError):
    """A page that cannot be built; the message names the page and what to do."""


# ---- Words and links ----


def slug(heading: str) -> str:
    """The anchor MyST gives a heading, as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def glossary(text: str) -> dict[str, str]:
    """{word as it is written: anchor} of docs/glossary.md: each `### term`, and the words of its line `Also:`."""
    words = {}
    for entry in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        term, _, body = entry.partition("\n")
        also = re.search(r"^Also: *(.+?)\.?$", body, re.MULTILINE)
        for word in [term.strip(), *(also[1].split(",") if also else [])]:
            words.setdefault(word.strip().strip("*`"), slug(term))
    return words


class Linker:
    """Links the first use of each glossary entry on a page, and every "notebook 05", to where they lead."""

    def __init__(self, words: dict[str, str], page: str) -> None:
        self.words, self.page, self.done = words, page, set()
        parts = sorted(map(re.escape, words), key=len, reverse=True)
        self.pattern = (
            re.compile(rf"(?<![\w/.-])(?:{'|'.join(parts)})(?![\w-])", re.IGNORECASE) if parts else None
        )

    def __call__(self, text: str) -> str:
        out, end = [], 0
        for kept in KEPT.finditer(text):
            out += [self._linked(text[end : kept.start()]), kept[0]]
            end = kept.end()
        return "".join([*out, self._linked(text[end:])])

    def _linked(self, text: str) -> str:
        numbers = {name.partition("_")[0]: name for name in NOTEBOOKS}

        def notebook(match: re.Match[str]) -> str:
            name = numbers.get(match[2])
            return match[0] if name in (None, Path(self.page).stem) else f"[{match[0]}]({name}.ipynb)"

        def word(match: re.Match[str]) -> str:
            anchor = self._anchor(match[0])
            if anchor is None or anchor in self.done:
                return match[0]
            self.done.add(anchor)
            return f"[{match[0]}](../docs/glossary.md#{anchor})"

        pieces = re.split(r"(\b[Nn]otebook (?:p\d|\d\d)\b)", text)
        for i, piece in enumerate(pieces):
            if i % 2:
                pieces[i] = re.sub(r"\b([Nn]otebook) (p\d|\d\d)\b", notebook, piece)
            elif self.pattern:
                pieces[i] = self.pattern.sub(word, piece)
        return "".join(pieces)

    def _anchor(self, found: str) -> str | None:
        """Words match as written or with a capital first letter; abbreviations only as written."""
        for form in (found, found[:1].lower() + found[1:]):
            if form in self.words:
                return self.words[form]
        return None


def staged_notebook(path: Path, words: dict[str, str]) -> nbformat.NotebookNode:
    """A notebook as a page: words linked, drawing code folded, figures with their alternative text."""
    notebook, link = nbformat.read(path, as_version=4), Linker(words, path.name)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = link(cell.source)
            continue
        tags = list(cell.metadata.get("tags", []))
        if "figure" in tags or cell.metadata.get("jupyter", {}).get("source_hidden"):
            tags.append("hide-input")
        cell.metadata = nbformat.NotebookNode(tags=tags)
        described = [o.metadata["image/png"]["alt"] for o in cell.outputs if "image/png" in o.get("data", {})]
        if len(described) > 1:
            raise SiteError(
                f"{path.name}: a cell shows {len(described)} figures; show one a cell: {cell.source[:60]!r}"
            )
        if described:
            cell.metadata["mystnb"] = {"image": {"alt": described[0]}}
    return notebook


def relinked(text: str, page: Path, pages: set[Path]) -> tuple[str, set[Path]]:
    """A page's Markdown with links that hold on the site, and the further files it links to.

    A link to a page stays; one to a deck leads to its place in the list of decks; one to another file of the repository
    stays, and the file is staged for download. What stays in the repository (folders, the README, the solution
    notebooks) is named without a link.
    """
    files: set[Path] = set()

    def each(match: re.Match[str]) -> str:
        target, _, _anchor = match[3].partition("#")
        if re.match(r"[a-z]+:", match[3]) or not target:
            return match[0]
        path = Path(os.path.normpath(page.parent / target))
        if path in pages:
            return match[0]
        if not (ROOT / path).exists():
            raise SiteError(f"{page}: links to {target}, which is not in the repository")
        if path.parent == Path("slides") and path.suffix == ".md":
            listed = os.path.relpath("docs/slides.md", page.parent)
            return f"[{match[2]}]({listed}#{slug(deck_heading(ROOT / path))})"
        if (ROOT / path).is_dir() or path.suffix in (".md", ".ipynb"):
            return match[2]
        files.add(path)
        return match[0]

    return LINK.sub(each, text), files


def rerooted(text: str, folder: Path) -> str:
    """Markdown that stands in `folder`, with links as from the root."""

    def each(match: re.Match[str]) -> str:
        if re.match(r"[a-z]+:|#|/", match[3]):
            return match[0]
        return f"{match[1]}[{match[2]}]({os.path.normpath(folder / match[3])})"

    return LINK.sub(each, text)


def toctree(pages: Iterable[Path]) -> str:
    """A hidden table of contents of `pages`, paths from the root."""
    return "\n```{toctree}\n:hidden:\n\n" + "\n".join(f"/{p.with_suffix('')}" for p in pages) + "\n```\n"


# ---- Pages that are made ----


def syllabus() -> str:
    table = re.sub(r"\]\(notebooks/", "](../notebooks/", build_readme.table())
    return f"""# Syllabus

Seventeen notebooks. p1, p2 and p3 are primers; the placement quizzes of p1 and p2 say whether to skip them. The core
path, for those with little time: 00, the primers as needed, p3, 01, 02, 03, 05, 08, 09, 11. Timetables stand in the
[instructor's guide](../INSTRUCTOR.md).

{table}
"""


def deck_outline(deck: Path) -> tuple[str, list[str]]:
    """A deck's title and the headings of its pages."""
    headings = re.findall(r"^#{1,2} (.+)$", deck.read_text(encoding="utf-8"), re.MULTILINE)
    return headings[0], headings[1:]


def deck_heading(deck: Path) -> str:
    return f"{deck.stem[:2]} · {deck_outline(deck)[0]}"


def slides_page(folder: Path | None) -> str:
    """The list of decks with what is on them; links to those rendered in `folder`."""
    lines = [
        "# Slides",
        "",
        "One deck a part of the lecture, with notes for the speaker on every slide (in a deck, press `P` for the "
        "presenter's view). Below each deck: what its slides say, under their numbers.",
        "",
    ]
    if folder is None:
        lines += [
            "This copy of the site was built without the decks: `make slides` makes them (Marp, Node.js).",
            "",
        ]
    for deck in build_slides.decks():
        pages = deck_outline(deck)[1]
        lines += [f"## {deck_heading(deck)}", ""]
        if folder is not None:
            shown = [(kind, f"{deck.stem}.{kind.lower()}") for kind in ("HTML", "PDF")]
            links = [
                f'<a href="../slides/{file}">{kind}</a>' for kind, file in shown if (folder / file).exists()
            ]
            lines += [f"Open as {' or '.join(links)}.", ""]
        lines += [*(f"{i}. {page}" for i, page in enumerate(pages, 2)), ""]
    return "\n".join(lines)


def automodule(module: str) -> str:
    """The directive that documents the public names that `module` itself defines."""
    path = ROOT / Path(*module.split("."))
    path = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = [
        n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name[0] != "_"
    ]
    listed = next(
        (
            ast.literal_eval(n.value)
            for n in tree.body
            if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"
        ),
        defined,
    )
    members = [name for name in defined if name in listed]
    return (
        f"```{{eval-rst}}\n.. automodule:: {module}\n"
        + (f"   :members: {', '.join(members)}\n   :show-inheritance:\n" if members else "")
        + "```"
    )


def api_pages() -> dict[str, str]:
    """{name of a page: its text}: one page a module of the package, and the list of them."""
    known = {m.name for m in pkgutil.iter_modules([str(ROOT / "gfm_lab")])} - NOT_PAGES
    listed = {name for names in API.values() for name in names}
    if known - listed:
        raise SiteError(f"give {', '.join(sorted(known - listed))} a place in API of tools/build_site.py")
    index = ["# API reference", "", "The package `gfm_lab`, module by module, from its docstrings. ", ""]
    pages = {}
    for part, names in API.items():
        index += [f"## {part}", ""]
        for name in filter(known.__contains__, names):
            path = ROOT / "gfm_lab" / f"{name}.py"
            modules = [f"gfm_lab.{name}"]
            if not path.exists():
                path = ROOT / "gfm_lab" / name / "__init__.py"
                if name != "checks":  # whose modules are the answers
                    inner = sorted(m.name for m in pkgutil.iter_modules([str(path.parent)]))
                    modules += [f"gfm_lab.{name}.{m}" for m in inner]
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            first = " ".join(doc.split("\n\n")[0].split())
            index.append(f"- [`gfm_lab.{name}`]({name}.md): {first}")
            blocks = [automodule(module) for module in modules]
            parts = [blocks[0], *(f"## {m}\n\n{b}" for m, b in zip(modules[1:], blocks[1:], strict=True))]
            pages[f"{name}.md"] = f"# gfm_lab.{name}\n\n" + "\n\n".join(parts) + "\n"
        index.append("")
    pages["index.md"] = "\n".join(index) + toctree(Path("api") / name for name in pages)
    return pages


# ---- The site ----


def hand_written() -> list[Path]:
    """Pages that stand in the repository, relative to its root."""
    found = [p for p in (ROOT / "docs").rglob("*.md") if "_static" not in p.parts]
    found += [
        ROOT / name
        for name in ("INSTRUCTOR.md", "CONTRIBUTING.md", "data/README.md")
        if (ROOT / name).exists()
    ]
    found += sorted((ROOT / "checkpoints").rglob("README.md"))
    return sorted(p.relative_to(ROOT) for p in found)


def stage(folder: Path, slides: Path | None) -> None:
    """Everything Sphinx reads, in `folder`, under the names of the repository."""
    written = hand_written()
    made = {f"api/{name}": text for name, text in api_pages().items()}
    made |= {"docs/syllabus.md": syllabus(), "docs/slides.md": slides_page(slides)}
    pages = (
        {Path(name) for name in made} | {Path(f"notebooks/{name}.ipynb") for name in NOTEBOOKS} | set(written)
    )
    words = glossary((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"))
    made |= {page.as_posix(): (ROOT / page).read_text(encoding="utf-8") for page in written}
    for parent in ("checkpoints/README.md", "docs/cheatsheets/index.md"):
        made[parent] += toctree(p for p in written if Path(parent).parent in p.parents and p != Path(parent))
    files: set[Path] = set()
    for name, text in made.items():
        text, further = relinked(text, Path(name), pages)
        files |= further
        if name == "docs/index.md":  # the site's first page lies at its root
            name, text = "index.md", rerooted(text, Path("docs"))
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    for name in NOTEBOOKS:
        path = ROOT / "notebooks" / f"{name}.ipynb"
        target = folder / "notebooks" / path.name
        target.parent.mkdir(exist_ok=True)
        nbformat.write(staged_notebook(path, words), target)
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    shutil.copy(ROOT / "docs" / "conf.py", folder)
    shutil.copytree(ROOT / "docs" / "_static", folder / "_static")
    shutil.copy(build_readme.FIGURE, folder / "_static")


def rendered_slides(folder: Path) -> Path | None:
    """The decks as HTML, and as PDF where `make slides` has left one that is newer than its deck.

    None, and a sentence that says why, where they cannot be rendered.
    """
    try:
        build_slides.render(build_slides.decks(), folder, pdf=False)
    except SystemExit as fault:
        print(f"{fault}\nThe site is built without the decks.", file=sys.stderr, flush=True)
        return None
    for deck in build_slides.decks():
        pdf = build_slides.OUTPUT / f"{deck.stem}.pdf"
        if pdf.exists() and pdf.stat().st_mtime > deck.stat().st_mtime:
            shutil.copy(pdf, folder)
    return folder


def build(output: Path, *, slides: bool = True) -> None:
    """Build the site into `output`, which is replaced only when all went well.

    Raises:
        SiteError: a package is missing, Sphinx warned (its messages are printed), or `output` is not a site.
    """
    if output.is_file() or (
        output.is_dir() and any(output.iterdir()) and not (output / "objects.inv").is_file()
    ):
        raise SiteError(f"{output} holds other files: name a new folder with --output")
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SiteError(f"{', '.join(missing)} is not installed: run `make setup`")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".site-", dir=output.parent) as temporary:
        work = Path(temporary)
        decks = rendered_slides(work / "slides") if slides else None
        stage(work / "source", decks)
        command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-j", "auto"]
        done = subprocess.run(
            [*command, "-d", str(work / "doctrees"), str(work / "source"), str(work / "html")]
        )
        if done.returncode:
            raise SiteError("Sphinx stopped, or warned (see above); the site was not replaced")
        if decks is not None:
            shutil.copytree(decks, work / "html" / "slides")
        if output.exists():
            shutil.rmtree(output)
        os.replace(work / "html", output)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Build the course's site as HTML pages that need no network."
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder (default: dist/site)")
    parser.add_argument("--no-slides", action="store_true", help="leave the decks out (they need Node.js)")
    options = parser.parse_args(arguments)
    try:
        build(options.output, slides=not options.no_slides)
    except SiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"The site is built: open {options.output / 'index.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
