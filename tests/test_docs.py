"""The site's hand-written pages: glossary, cheat sheets, the choice of a model, troubleshooting. Terms are where the
glossary says, links lead somewhere, commands and calls work, and every number stands in the source that it names."""

import ast
import re
import shlex
from functools import lru_cache
from pathlib import Path

import nbformat
import pytest
from markdown_it import MarkdownIt
from traced import COMMENT, FROM, NUMBER, source

import gfm_lab
from gfm_lab.commands.arguments import parser

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
GLOSSARY, TROUBLE, WHICH = (DOCS / f"{name}.md" for name in ("glossary", "troubleshooting", "which_model"))
SHEETS = sorted((DOCS / "cheatsheets").glob("0*.md"))
PAGES = [GLOSSARY, TROUBLE, WHICH, *SHEETS]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
every_sheet = pytest.mark.parametrize("sheet", SHEETS, ids=lambda p: p.stem)

LINK = re.compile(r"\[[^\]]*\]\(([^)]+)\)")
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|`)((?:\.venv/bin/)?gfm-lab [^`\n]+)", re.MULTILINE)


@lru_cache
def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """The anchor of a heading on GitHub and in MyST."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


# --- all pages --------------------------------------------------------------------------------------------------------


@every_page
def test_a_page_begins_with_its_title_and_headings_differ(page):
    text = re.sub(r"^```.*?^```", "", read(page), flags=re.MULTILINE | re.DOTALL)
    assert re.match(r"# \S", text)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = [anchor(heading) for heading in headings]
    assert len(set(anchors)) == len(anchors), "two headings have the same anchor"
    assert sum(line.startswith("# ") for line in text.splitlines()) == 1
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


@every_page
def test_tables_have_as_many_cells_in_each_row(page):
    for table in re.findall(r"(?:^\|.*\|\n)+", COMMENT.sub("", read(page)) + "\n", re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table.splitlines()[0]


@every_page
def test_links_lead_somewhere(page):
    for target in LINK.findall(re.sub(r"`[^`\n]*`", "", read(page))):
        if target.startswith("https://doi.org/"):
            assert re.fullmatch(r"https://doi\.org/10\.\d{4,9}/\S+", target), target
        elif not target.startswith("https://"):
            path, _, part = target.partition("#")
            assert (page.parent / path).resolve().is_file(), f"{page.name}: {target}"
            assert not part, "link to pages: anchors differ between GitHub and the site"


@every_page
def test_numbers_stand_where_they_come_from(page):
    """`<!-- from: 07_choosing_a_mixer: 1.857, 1.923 -->`, a file's path in place of the notebook for the others."""
    shown = COMMENT.sub("", re.sub(r"\]\([^)]*\)", "]", read(page))).replace("\N{MINUS SIGN}", "-")
    known = set()
    for comment in COMMENT.findall(read(page)):
        assert FROM.match(comment), (
            f"{page.name}: a comment says where numbers or messages are from: {comment}"
        )
        name, values = FROM.match(comment).groups()
        for value in (v.strip() for v in values.split(", ")):
            assert value in shown, f"{page.name}: {value} of {name} is not on the page"
            whole = rf"(?<![\d.]){re.escape(value)}(?!\d)"  # 0.25 is not in 0.258
            assert re.search(whole, source(name)), f"{page.name}: {value} does not stand in {name}"
            known |= set(NUMBER.findall(value))
    plain = re.sub(r"^```.*?^```|`[^`\n]*`|\$\$.*?\$\$", "", shown, flags=re.MULTILINE | re.DOTALL)
    alone = set(NUMBER.findall(plain)) - known
    if page == TROUBLE:  # versions of Python, which pyproject.toml states
        low, high = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', source("pyproject.toml")).groups()
        assert f"3.{low} to 3.{int(high) - 1}" in plain
        alone -= {f"3.{minor}" for minor in range(int(low), int(high))}
    assert not alone, f"{page.name}: say where {sorted(alone)} come from"


@every_page
def test_commands_are_known(page):
    for text in COMMAND.findall(COMMENT.sub("", read(page))):
        words = shlex.split(text, comments=True)[1:]
        if any("..." in word for word in words):
            continue
        parser().parse_args(words)  # a wrong one ends in SystemExit, which fails the test
    targets = set(re.findall(r"^([a-z-]+):.*?##", source("Makefile"), re.MULTILINE))
    for target in re.findall(r"`make ([a-z-]+)", read(page)):
        assert target in targets, f"{page.name}: make {target}"


@every_page
def test_calls_exist(page):
    """Each block of Python runs, and each gfm_lab.name in the text exists."""
    for name in re.findall(r"\bgfm_lab((?:\.[a-zA-Z_]\w*)+)", COMMENT.sub("", read(page))):
        found = gfm_lab
        for part in name[1:].split("."):
            if part in ("md", "py", "whl"):
                break
            if not hasattr(found, part):  # a module that is not imported yet
                __import__(f"{found.__name__}.{part}")
            found = getattr(found, part)
    for block in PYTHON.findall(read(page)):
        assert ast.parse(block).body
        exec(compile(block, page.name, "exec"), {})


def test_parsing_finds_commands():
    """The pages do hold commands and blocks of code, and a wrong option is seen."""
    assert sum(len(COMMAND.findall(read(page))) for page in PAGES) >= 15
    assert sum(len(PYTHON.findall(read(page))) for page in PAGES) >= 7
    with pytest.raises(SystemExit):
        parser().parse_args(shlex.split("gfm-lab embed --data lac-mpra --pooling middle --output x.npz")[1:])


# --- the glossary -----------------------------------------------------------------------------------------------------


def entries() -> list[tuple[str, str, str]]:
    """(group, term, body) of each entry."""
    found = []
    for part in re.split(r"^## ", read(GLOSSARY), flags=re.MULTILINE)[1:]:
        group, _, rest = part.partition("\n")
        for entry in re.split(r"^### ", rest, flags=re.MULTILINE)[1:]:
            term, _, body = entry.partition("\n")
            found.append((group.strip(), term.strip(), body))
    return found


def forms(term: str, body: str) -> list[str]:
    """How an entry's word is written: its term without the remark in brackets, and those of its line `Also:`."""
    also = re.search(r"^Also: (.+)$", body, re.MULTILINE)
    return [re.sub(r" \(.*\)$", "", term), *(also[1].split(", ") if also else [])]


def test_the_glossary_is_large_sorted_and_without_doubles():
    groups: dict[str, list[str]] = {}
    for group, term, _ in entries():
        groups.setdefault(group, []).append(re.sub(r"[^\w ]", "", term.lower()))
    assert list(groups) == ["Genomics", "Deep learning", "Evaluation"]
    assert all(terms == sorted(terms) for terms in groups.values())
    assert sum(map(len, groups.values())) >= 80
    words = [form.lower() for _, term, body in entries() for form in forms(term, body)]
    assert not {word for word in words if words.count(word) > 1}


@lru_cache
def words_of(notebook: str) -> str:
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    return re.sub(r"[*_`]", "", "\n".join(cell.source for cell in cells))


@pytest.mark.parametrize(("term", "body"), [pytest.param(t, b, id=t) for _, t, b in entries()])
def test_an_entry_explains_and_names_notebooks_that_use_the_word(term, body):
    text = body.strip().split("\n\n")[0]
    assert 4 <= len(text.split()) <= 75 and text.endswith((".", ".)"))
    assert 1 <= len(re.findall(r"[.!?:](?=\s|$)", text)) <= 5, "one to three sentences"
    named = re.search(r"^Notebook: (.+)$", body, re.MULTILINE)
    links = re.findall(r"\[(\w\d)\]\(\.\./notebooks/(\w+)\.ipynb\)", named[1])
    assert links and all(name.startswith(f"{short}_") for short, name in links)
    for _, name in links:
        found = [
            form
            for form in forms(term, body)
            if re.search(rf"(?<!\w){re.escape(form)}s?(?!\w)", words_of(name), re.I)
        ]
        assert found, f"{name} says none of {forms(term, body)}"


# --- cheat sheets -----------------------------------------------------------------------------------------------------


def test_there_is_a_sheet_for_each_site_one_for_evaluation_and_one_for_commands():
    assert len(SHEETS) == 9 and [sheet.name[:2] for sheet in SHEETS] == [f"0{i}" for i in range(1, 10)]


@every_sheet
def test_a_sheet_is_short(sheet):
    text = COMMENT.sub("", read(sheet)).strip()
    assert len(text.splitlines()) <= 50
    assert len(re.findall(r"[^\s|]*\w[^\s|]*", text)) <= 350


STYLE = """<style>body{font:10pt/1.3 sans-serif;margin:0} h1{font-size:15pt;margin:0 0 4pt}
h2{font-size:12pt;margin:6pt 0}
p,ul,ol,pre,table{margin:5pt 0} table{border-collapse:collapse} td,th{border:.5pt solid #999;padding:2pt 4pt}
pre{font-size:9pt;white-space:pre-wrap}</style>"""


@every_sheet
def test_a_sheet_fits_one_page(sheet, chromium):
    """A4 at 10 points. Formulas are counted as their source, which takes more room in a line and less above it."""
    page = chromium.new_page()
    page.set_content(STYLE + MarkdownIt("commonmark").enable("table").render(COMMENT.sub("", read(sheet))))
    side = {"top": "14mm", "bottom": "14mm", "left": "14mm", "right": "14mm"}
    printed = page.pdf(format="A4", margin=side)
    page.close()
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1


# --- which model, and what to do when it does not run -----------------------------------------------------------------


def test_each_task_has_a_baseline_and_a_when_not():
    table = read(WHICH).split("## The decision table")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    header, _, *tasks = rows
    assert "baseline" in header[1] and "not" in header[-1]
    assert all(len(cell.strip()) >= 5 for row in tasks for cell in row), "no empty cell"
    for task in ("promoter", "expression", "variants outside", "variants in coding", "long range", "design",
                 "generation", "embedding", "single cell"):  # fmt: skip
        assert any(task in row[0] for row in tasks), task


def test_a_paper_is_named_by_the_address_it_links_to():
    links = re.findall(r"\[doi:([^\]]+)\]\(https://doi\.org/([^)]+)\)", read(WHICH))
    assert len(links) >= 9 and all(shown == target for shown, target in links)


def test_each_problem_says_what_to_do():
    parts = re.split(r"^## (.+)$", read(TROUBLE), flags=re.MULTILINE)[1:]
    problems = dict(zip(parts[::2], parts[1::2], strict=True))
    assert len(problems) >= 30
    for title, body in problems.items():
        answered = "**Do" in body or title.startswith(("Do I need", "Still", '"was moved', '"needs Chromium'))
        assert answered and len(body.split()) >= 10, title
    for word in ("CUDA", "MPS", "mamba", "memory", "Kernel", "port", "root", "Widgets", "network", "Python", "altered",
                 "not attempted", "nbval", "Windows", "numba", "proxy", "LFS", "wheel"):  # fmt: skip
        assert word in read(TROUBLE), word
