"""Slides: each page has one idea and notes, every number stands in the notebook or file it is said to come from, and
rendered pages neither overflow nor lack a picture nor ask the network for anything."""

import importlib.util
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest
from traced import COMMENT, FROM, NUMBER, source

ROOT = Path(__file__).resolve().parent.parent
SLIDES = ROOT / "slides"
spec = importlib.util.spec_from_file_location("build_slides", ROOT / "tools" / "build_slides.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
DECKS = build.decks()
FRONT = {"marp": "true", "theme": "course", "math": "mathjax", "paginate": "true"}
every_deck = pytest.mark.parametrize("deck", DECKS, ids=lambda d: d.stem)

DIRECTIVE = re.compile(r"^\s*_?[a-zA-Z]+:\s*\S")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")


@lru_cache
def pages(deck: Path) -> list[str]:
    text = deck.read_text(encoding="utf-8")
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL).groups()
    given = dict(line.split(": ", 1) for line in front.splitlines() if ": " in line)
    assert FRONT.items() <= given.items(), f"the head of a deck holds {FRONT}"
    return re.split(r"\n---\n", body)


def notes(page: str) -> list[str]:
    return [c.strip() for c in COMMENT.findall(page) if not DIRECTIVE.match(c)]


def seen(page: str) -> str:
    """What stands on the page: without comments and addresses, thin spaces and minus signs as plain ones."""
    text = re.sub(r"\]\([^)]*\)", "]", COMMENT.sub("", page))
    return text.replace("\N{MINUS SIGN}", "-").replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_there_is_a_deck_for_each_part():
    assert [deck.name[:2] for deck in DECKS] == [f"{i:02d}" for i in range(9)]


@every_deck
def test_pages_and_notes(deck):
    found = pages(deck)
    assert 12 <= len(found) <= 25
    for number, page in enumerate(found, 1):
        headings = re.findall(r"^#{1,2} .+", page, re.MULTILINE)
        assert len(headings) == 1, f"page {number} has {len(headings)} headings: one idea, one heading"
        spoken = " ".join(notes(page))
        assert len(spoken) >= 80, f"page {number} needs speaker notes: what is said, what is asked"
    assert "10." in found[-1] and "doi" in found[-1].lower(), "the last page holds the references with DOIs"


@every_deck
def test_pictures_are_made_by_code_and_described(deck):
    made = {f"{name}.svg" for name in build.functions_of(deck.stem)} | {"anatomy.svg"}
    used = set()
    for number, page in enumerate(pages(deck), 1):
        for alt, file in PICTURE.findall(page):
            words = [w for w in alt.split() if not re.match(r"(w|h|width|height|bg|left|right)(:|$)", w)]
            assert len(" ".join(words)) >= 20, f"page {number}: {file} needs a description"
            assert file.startswith("figures/") and (SLIDES / file).is_file(), f"page {number}: no {file}"
            used.add(file.removeprefix("figures/"))
    assert used <= made, f"not made by slides/figures/{deck.stem}.py: {used - made}"
    assert made - {"anatomy.svg"} <= used, f"made, but on no page: {made - used}"


@every_deck
def test_numbers_stand_where_they_come_from(deck):
    """`<!-- from: 07_choosing_a_mixer: 1.857, 1.923 -->`, or a file's path, or doi:... for what a paper reports."""
    references = pages(deck)[-1]
    for number, page in enumerate(pages(deck)[:-1], 1):
        shown, known = seen(page), set()
        for name, values in filter(None, (m and m.groups() for m in map(FROM.match, COMMENT.findall(page)))):
            for value in (v.strip() for v in values.split(", ")):
                assert value in shown, f"page {number}: {value} of {name} is not on the page"
                known |= set(NUMBER.findall(value))
                if name.startswith(("doi:", "arXiv:")):
                    assert name.split(":", 1)[1] in references, f"page {number}: {name} is not a reference"
                else:
                    assert value in source(name), f"page {number}: {value} does not stand in {name}"
        alone = set(NUMBER.findall(re.sub(r"\$\$.*?\$\$|`[^`]*`", "", shown, flags=re.DOTALL))) - known
        assert not alone, f"page {number}: say where {sorted(alone)} come from"


def test_figures_are_the_same_each_time(tmp_path, monkeypatch):
    """One of them, drawn twice."""
    deck = next(deck for deck in DECKS if build.functions_of(deck.stem))
    name, draw = next(iter(build.functions_of(deck.stem).items()))
    texts = []
    for _ in range(2):
        monkeypatch.setattr(build, "functions_of", lambda stem: {name: draw})
        monkeypatch.setattr(build, "SLIDES", tmp_path)
        (tmp_path / "figures").mkdir(exist_ok=True)
        build.figures([deck])
        texts.append((tmp_path / "figures" / f"{name}.svg").read_bytes())
    assert texts[0] == texts[1]


def test_what_is_missing_is_said(monkeypatch):
    with pytest.raises(SystemExit, match="there is no deck 77"):
        build.main(["figures", "77"])
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.delenv("CHROME_PATH", raising=False)
    with pytest.raises(SystemExit, match=r"install Node\.js 18"):
        build.main(["render", "00"])
    with pytest.raises(SystemExit, match="install one, or set CHROME_PATH"):
        build.browser()
    monkeypatch.setenv("CHROME_PATH", "nowhere/chrome")
    with pytest.raises(SystemExit, match="does not exist"):
        build.browser()


def test_marp_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    """Tests of the slides and of the site ask for Marp side by side: while npm works, nobody finds half of it."""
    slides = tmp_path / "slides"
    slides.mkdir()
    for name in ("package.json", "package-lock.json"):
        (slides / name).write_text("{}")
    folder = slides / "node_modules"
    monkeypatch.setattr(build, "SLIDES", slides)
    monkeypatch.setattr(build, "MARP", folder / build.MARP.relative_to(SLIDES / "node_modules"))
    monkeypatch.setattr(build.shutil, "which", lambda name: name)
    half, code, faster, seen = Path("@marp-team/marp-cli/marp-cli.js"), 1, None, []

    def npm(command, cwd, **options):
        made = Path(cwd) / "node_modules"
        (made / half).parent.mkdir(parents=True)
        (made / half).write_text("marp")
        seen.append(build.installed())
        if faster:
            shutil.copytree(faster, folder)
        if not code:
            (made / ".package-lock.json").write_text("{}")
        return subprocess.CompletedProcess(command, code, "", "no network")

    monkeypatch.setattr(build.subprocess, "run", npm)
    with pytest.raises(SystemExit, match="npm could not install"):
        build.install()
    assert not build.installed() and sorted(p.name for p in slides.iterdir()) == [
        "package-lock.json",
        "package.json",
    ]

    (folder / half).parent.mkdir(parents=True)  # an interrupted npm's
    (folder / half).write_text("half")
    code = 0
    build.install()
    assert build.installed() and build.MARP.read_text() == "marp"
    build.install()  # has nothing to do
    assert seen == [False, False] and len(list(slides.iterdir())) == 3

    faster = folder.rename(tmp_path / "faster")  # another process finishes while npm works
    (faster / half).write_text("the other's")
    build.install()
    assert build.MARP.read_text() == "the other's" and len(list(slides.iterdir())) == 3


# ---- Rendered ----

CHECK = """() => {
return [...document.querySelectorAll('section')].map(section => {
  const box = section.getBoundingClientRect(), floor = box.bottom - box.height / 36, out = [];
  for (const part of section.querySelectorAll('*')) {
    const b = part.getBoundingClientRect();
    if (b.width && b.height && (b.bottom > floor || b.right > box.right + 1 || b.top < box.top - 1))
      out.push(part.tagName + ': ' + (part.textContent || part.src || '').slice(0, 40));
  }
  const broken = [...section.querySelectorAll('img')].filter(i => !i.complete || !i.naturalWidth).map(i => i.src);
  return {out: out.slice(0, 3), broken, high: section.scrollHeight > section.clientHeight + 1};
});
}"""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("needs Node.js and npm")
    try:
        build.install()
    except SystemExit as fault:
        pytest.skip(f"Marp is not installed: {fault}")
    folder = tmp_path_factory.mktemp("slides")
    build.marp(DECKS, "--template", "bare", output=folder)  # pages one below the other, without scripts
    return folder


@every_deck
def test_rendered_pages(deck, rendered, chromium):
    """All pages at full size, one below the other: nothing overflows, all pictures are there, no network."""
    page, asked, errors = chromium.new_page(viewport={"width": 1280, "height": 720}), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((rendered / f"{deck.stem}.html").as_uri(), wait_until="networkidle")
    found = page.evaluate(CHECK)
    page.close()
    assert len(found) == len(pages(deck))
    for number, part in enumerate(found, 1):
        assert not part["broken"], f"page {number}: broken pictures {part['broken']}"
        assert not part["high"] and not part["out"], f"page {number} overflows: {part['out']}"
    assert asked and all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    assert errors == []
