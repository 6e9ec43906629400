"""The site: it builds without a warning, and every page works in a browser that has no network: no errors, no dead
links, no undescribed picture, nothing wider than a phone."""

import functools
import http.server
import importlib.util
import os
import re
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
spec = importlib.util.spec_from_file_location("build_site", ROOT / "tools" / "build_site.py")
site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site)
WORDS = site.glossary((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"))

# ---- Its parts ----


def test_glossary_gives_every_spelling_its_anchor():
    text = (
        "# G\n\n## Part\n\n### k-mer\n\nA word.\n\nAlso: k-mers, words of k letters\n\n### −10 box\n\nText.\n"
    )
    assert site.glossary(text) == {
        "k-mer": "k-mer",
        "k-mers": "k-mer",
        "words of k letters": "k-mer",
        "−10 box": "10-box",
    }
    assert len(set(WORDS.values())) >= 60


def test_a_word_is_linked_once_and_only_in_running_text():
    link = site.Linker({"attention": "attention", "k-mer": "k-mer", "GC": "gc"}, "03_attention.ipynb")
    assert link("Attention reads. attention again.") == (
        "[Attention](../docs/glossary.md#attention) reads. attention again."
    )
    for kept in (
        "# A k-mer here",
        "`k-mer`",
        "$k-mer$",
        "[a k-mer](x.md)",
        "```\nk-mer\n```",
        "<details>k-mer</details>",
        "k-mers and 6-k-mer",  # parts of longer words
        "gc",  # an abbreviation is linked as it is written
    ):
        assert link(kept) == kept
    assert link("a k-mer") == "a [k-mer](../docs/glossary.md#k-mer)"


def test_notebooks_are_linked_by_their_number():
    link = site.Linker({}, "03_attention.ipynb")
    assert link("See notebook 05, notebook p1; notebook 03 and notebook 77.") == (
        "See [notebook 05](05_state_spaces_and_mamba.ipynb), [notebook p1](p1_dna_for_engineers.ipynb); "
        "notebook 03 and notebook 77."
    )


def test_links_to_files_are_staged_and_dead_ones_named():
    pages = {Path("docs/a.md"), Path("data/README.md")}
    text = "[data](../data/README.md#x) [licence](../LICENSE) [the `decks`](../slides) [w](https://x.org) [h](#h)"
    new, files = site.relinked(text, Path("docs/a.md"), pages)
    assert new == text.replace("[the `decks`](../slides)", "the `decks`")
    assert files == {Path("LICENSE")}
    with pytest.raises(site.SiteError, match=r"docs/a.md: links to ../nothing.md"):
        site.relinked("[x](../nothing.md)", Path("docs/a.md"), pages)


def test_every_module_has_a_place_in_the_reference(monkeypatch):
    pages = site.api_pages()
    modules = {p.stem for p in (ROOT / "gfm_lab").glob("*.py")} - {"__init__", *site.NOT_PAGES}
    assert modules <= {name.removesuffix(".md") for name in pages}
    monkeypatch.setattr(site, "API", {"All": ("data",)})
    with pytest.raises(site.SiteError, match=r"give .*tokenization.* a place in API"):
        site.api_pages()


def test_figures_keep_their_descriptions_and_code_that_draws_is_folded():
    path = ROOT / "notebooks" / "00_anatomy.ipynb"
    original = nbformat.read(path, as_version=4)
    staged = site.staged_notebook(path, WORDS)
    for before, after in zip(original.cells, staged.cells, strict=True):
        alts = [
            o.metadata["image/png"]["alt"]
            for o in before.get("outputs", [])
            if "image/png" in o.get("data", {})
        ]
        assert alts == ([after.metadata["mystnb"]["image"]["alt"]] if alts else [])
        folded = "hide-input" in after.metadata.get("tags", [])
        assert folded == ("figure" in before.metadata.get("tags", []))
        if before.cell_type == "code":
            assert before.source == after.source


def test_what_is_missing_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(site, "PACKAGES", ("sphinx", "a_theme_that_is_not_there"))
    assert site.main(["--output", str(tmp_path / "site")]) == 1
    assert "a_theme_that_is_not_there is not installed" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_a_folder_of_others_is_left_alone(tmp_path, capsys):
    (tmp_path / "chapter.txt").write_text("mine", encoding="utf-8")
    for output in (tmp_path, tmp_path / "chapter.txt"):
        assert site.main(["--no-slides", "--output", str(output)]) == 1
        assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "chapter.txt").read_text(encoding="utf-8") == "mine"


def test_without_node_the_site_has_no_decks(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(site.build_slides.shutil, "which", lambda name: None)
    assert site.rendered_slides(tmp_path) is None
    said = capsys.readouterr().err
    assert "install Node.js" in said and "without the decks" in said
    page = site.slides_page(None)
    assert "make slides" in page and "href" not in page
    (tmp_path / "00_overview.html").touch()
    assert page.count("## ") == 9 and site.slides_page(tmp_path).count("href") == 1


# ---- Built ----


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site; GFM_LAB_SITE names the folder of one that is built already."""
    if given := os.environ.get("GFM_LAB_SITE"):
        return Path(given).resolve()
    folder = tmp_path_factory.mktemp("site") / "html"
    site.build(folder)  # without its decks where there is no Node.js, or no network for npm
    return folder


class Page(HTMLParser):
    """Addresses a page leads to, and the anchors it has."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])


def html_pages(folder):
    return sorted(p for p in folder.rglob("*.html") if "_static" not in p.parts)


def test_pages_are_there(built):
    pages = {p.relative_to(built).as_posix() for p in html_pages(built)}
    wanted = {f"notebooks/{name}.html" for name in site.NOTEBOOKS}
    wanted |= {"index.html", "search.html", "INSTRUCTOR.html", "data/README.html", "api/tokenization.html"}
    wanted |= {f"docs/{n}.html" for n in ("glossary", "syllabus", "slides", "which_model", "troubleshooting")}
    wanted |= {f"checkpoints/{p.parent.name}/README.html" for p in (ROOT / "checkpoints").glob("*/README.md")}
    assert wanted <= pages
    assert len([p for p in pages if p.startswith("docs/cheatsheets/")]) >= 6


def test_notebooks_lead_to_the_glossary(built):
    for name in site.NOTEBOOKS:
        links = Page(built / "notebooks" / f"{name}.html").links
        assert sum("glossary.html#" in link for link in links) >= 5, name


def test_no_link_is_dead(built):
    pages = {path: Page(path) for path in html_pages(built)}
    dead, outside = [], set()
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"(https?|mailto):", link):
                outside.add(link)
                continue
            target, anchor = urldefrag(urljoin(path.as_uri(), link))
            there = Path(unquote(target.removeprefix("file://")))
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file() or (
                anchor
                and there in pages
                and unquote(anchor) not in pages[there].anchors
                and "slides" not in there.parts
            ):
                dead.append(f"{path.relative_to(built)} -> {link}")
    assert not dead
    assert [link for link in sorted(outside) if not re.match(r"https://[\w.-]+\.\w+(/|$)", link)] == []


# ---- In a browser ----

LOOK = """() => {
  const images = [...document.querySelectorAll('img')];
  return {
    broken: images.filter(i => !i.complete || !i.naturalWidth).map(i => i.src),
    silent: images.filter(i => (i.getAttribute('alt') || '').trim().length < 10).map(i => i.src),
    formulas: [...document.querySelectorAll('mjx-merror')].map(e => e.textContent),
    unset: [...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container'))
      .map(e => e.textContent),
    title: document.title,
  };
}"""
WIDE = """() => [...document.querySelectorAll('body *')].filter(e => {
    const box = e.getBoundingClientRect();
    if (!box.width || box.right <= innerWidth + 1) return false;
    for (let up = e.parentElement; up; up = up.parentElement)
      if (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(up).overflowX)) return false;
    return getComputedStyle(e).position !== 'fixed';
  }).slice(0, 3).map(e => e.tagName + '.' + e.className + ': ' + (e.textContent || '').trim().slice(0, 40))"""
SET = "() => !window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)"


@pytest.fixture(scope="module")
def served(built):
    """The site on this machine's own address, as a web server would give it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=built))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def complaint(message):
    """An error or a warning; not that the decks, which Marp makes, have no icon for the browser's tab."""
    return message.type in ("error", "warning") and not message.location["url"].endswith("/favicon.ico")


@pytest.mark.slow
def test_every_page_in_a_browser(built, served, chromium):
    faults = []
    page = chromium.new_page()
    here, asked = "", []
    page.on("console", lambda m: faults.append(f"{here}: {m.text}") if complaint(m) else None)
    page.on("pageerror", lambda error: faults.append(f"{here}: {error}"))
    page.on("request", lambda request: asked.append(request.url))
    for path in html_pages(built):
        here = path.relative_to(built).as_posix()
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(served + here, wait_until="load")
        if here.startswith("slides/"):  # the decks have a test of their own; here: they open
            continue
        page.evaluate(SET)
        seen = page.evaluate(LOOK)
        faults += [
            f"{here}: {kind} {seen[kind]}" for kind in ("broken", "silent", "formulas", "unset") if seen[kind]
        ]
        if not seen["title"].strip():
            faults.append(f"{here}: no title")
        page.set_viewport_size({"width": 390, "height": 800})
        if page.evaluate("document.documentElement.scrollWidth") > 390:
            faults.append(f"{here}: wider than a phone: {page.evaluate(WIDE)}")
    page.close()
    assert not faults, "\n".join(faults)
    assert {re.match(r"(data|blob):|(.*?//[^/]*/)", url)[0] for url in asked} <= {served, "data:", "blob:"}


@pytest.mark.slow
def test_search_finds_a_word_from_a_folder_without_a_server(built, chromium):
    """Opened from a disk: search needs no server."""
    page, asked = chromium.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((built / "search.html").as_uri() + "?q=hyena")
    page.wait_for_selector("#search-results li a", timeout=60_000)
    found = [a.get_attribute("href") for a in page.query_selector_all("#search-results li a")]
    page.close()
    assert any("04_convolution_and_hyena" in link for link in found)
    assert all(url.startswith("file:") for url in asked)


@pytest.mark.slow
def test_a_cheat_sheet_is_one_printed_page(built, chromium):
    page = chromium.new_page()
    long = {}
    for path in sorted((built / "docs" / "cheatsheets").glob("*.html")):
        if path.stem == "index":
            continue
        page.goto(path.as_uri())
        page.evaluate(SET)
        pdf = page.pdf(format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "1.2cm"))
        if (count := len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))) != 1:
            long[path.stem] = count
    page.close()
    assert not long
