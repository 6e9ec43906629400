"""Sphinx's settings for the course's site. tools/build_site.py stages the sources and calls Sphinx; see there."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # where the package lies, if it is not installed

project = "Anatomy of a Genomic Foundation Model"
author = "the course's authors"
copyright = "code Apache-2.0, text CC BY 4.0"
language = "en"
html_title = project
html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_use_index = False
html_domain_indices = False
html_css_files = ["course.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_context = {"default_mode": "light"}
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the search field stands in the sidebar
    "show_navbar_depth": 1,
    "max_navbar_depth": 2,
    "show_toc_level": 2,
    "search_bar_text": "Search the course",
    "footer_content_items": ["extra-footer.html"],
    "extra_footer": "Code: Apache-2.0. Text: CC BY 4.0. Data: see its page.",
}

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
# The folders' own README files are cards; whatever else is staged is listed in a table of contents.
exclude_patterns = ["docs/_static", "docs/conf.py"]

# Notebooks come executed; nothing runs here.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_dmath_double_inline = True
# "$5 and $6" is money: a formula has no blank inside its dollar signs, and no digit behind them.
myst_dmath_allow_space = False
myst_dmath_allow_digits = False
myst_heading_anchors = 3
# Notebooks open with a question and may go from a title to a third-level heading.
suppress_warnings = ["myst.header"]
nb_code_prompt_show = "Show the {type}"
nb_code_prompt_hide = "Hide the {type}"

# Formulas are set by MathJax from our own folder: nothing is loaded from elsewhere.
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}

autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_param = True
add_module_names = False
smartquotes = False  # messages are searched as they are printed
default_role = "code"  # docstrings write `name` as Markdown does
pygments_style = "a11y-high-contrast-light"


SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Returns|Yields|Raises|Attributes|Note|Notes|Example|Examples):$"
)
ENTRY = re.compile(r"^((?:`?[\w.]+`?(?:, )?)+): (.*)$")


def _escaped(line):
    """A line of plain text: RST's special characters lose their meaning, except `code` and *emphasis*."""
    out = []
    for i, part in enumerate(re.split(r"(`[^`]*`)", line)):
        if i % 2 == 0:
            part = part.replace("|", "\\|")
            part = re.sub(r"(?<=\w)_(?!\w)", r"\\_", part)
            words = re.split(r"((?:(?<=\s)|(?<=^)|(?<=\())\*(?=\w)[^*]*(?<=[\w.])\*(?=[\s.,;:)]|$))", part)
            part = "".join(w if j % 2 else w.replace("*", "\\*") for j, w in enumerate(words))
        out.append(part)
    return "".join(out)


def _paragraph(lines):
    """One paragraph of a docstring in reStructuredText. Aligned columns stay as they are; `name: text` is a list."""
    if all(line[:1].strip() for line in lines):
        return [_escaped(line) for line in lines]
    if all(ENTRY.match(line) or line[:1].isspace() for line in lines) and lines[0][:1].strip():
        listed = []
        for line in lines:
            entry = ENTRY.match(line)
            name = entry[1].replace("`", "") if entry else ""
            listed.append(f"- **{name}**: {_escaped(entry[2])}" if entry else f"  {_escaped(line.strip())}")
        return listed
    return ["::", "", *(f"    {line}" for line in lines)]


def _as_rst(app, what, name, obj, options, lines):
    """Docstrings are plain text with a little Markdown, aligned by hand; make reStructuredText of them.

    Sections such as `Args:` are napoleon's: of them only special characters are escaped.
    """
    out, block, section = [], [], False
    for line in [*lines, ""]:
        if line.strip():
            block.append(line)
            continue
        if block:
            section = bool(SECTION.match(block[0])) or (section and block[0][:1].isspace())
            out += [_escaped(x) for x in block] if section else _paragraph(block)
            block = []
        out.append("")
    lines[:] = out


def setup(app):
    app.connect("autodoc-process-docstring", _as_rst, priority=400)  # before napoleon, whose priority is 500
