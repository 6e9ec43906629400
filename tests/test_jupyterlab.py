"""A learner at work: JupyterLab in headless Chromium. Notebooks open without a dialog and run to the end, an exercise
solved in the page is marked as solved, a wrong answer gets its hint, and what can be moved moves.

`make test` looks at two notebooks, `make browser` at all (`--every-notebook`)."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "a-token-for-this-test"
NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
TWO = ("00_anatomy", "01_tokenization")
SECONDS = 300  # for one notebook; two cores, other tests beside it

READY = """() => {
  const w = window.jupyterapp && window.jupyterapp.shell.currentWidget;
  const s = w && w.sessionContext && w.sessionContext.session;
  return Boolean(s && s.kernel && s.kernel.status === 'idle');
}"""
RUN_ALL = """async () => {
  const app = window.jupyterapp;
  await app.commands.execute('editmenu:clear-all');
  await app.commands.execute('notebook:run-all-cells');
  return JSON.stringify(app.shell.currentWidget.content.model.toJSON());
}"""
# Scrolls a cell into view, makes it the active one, in edit mode, and waits until it is attached to the page.
SHOW = """async (index) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index, 'center');
  const cell = notebook.widgets[index];
  await cell.ready;
  notebook.mode = 'edit';
  cell.editor.focus();
}"""
OUTPUT = """(index) => {
  const outputs = window.jupyterapp.shell.currentWidget.content.widgets[index].model.outputs;
  return JSON.stringify(outputs ? outputs.toJSON() : []);
}"""
RAN = """([index, before]) => {
  const cell = window.jupyterapp.shell.currentWidget.content.widgets[index];
  return ![null, before].includes(cell.model.executionCount);
}"""
COUNT = "(index) => window.jupyterapp.shell.currentWidget.content.widgets[index].model.executionCount"


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        names = NAMES if metafunc.config.getoption("--every-notebook") else TWO
        metafunc.parametrize("name", names)


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """A JupyterLab of its own, on a free port, in a folder that holds a copy of what learners open."""
    home = tmp_path_factory.mktemp("lab")
    (home / "notebooks").mkdir()
    for name in NAMES:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", home / "notebooks")
    shutil.copytree(ROOT / "benchmarks" / "results", home / "benchmarks" / "results")
    env = dict(os.environ, JUPYTER_RUNTIME_DIR=str(home / "run"), JUPYTER_CONFIG_DIR=str(home / "config"))
    env |= {"JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"), "JUPYTER_NO_CONFIG": "1"}
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={home}",
               f"--IdentityProvider.token={TOKEN}", "--expose-app-in-browser", "--LabApp.news_url=None"]  # fmt: skip
    with (home / "lab.log").open("w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=home)
        try:
            yield _address(server, home)
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(20)
            server.kill()


def _address(server, home, limit=90):
    """The server's address once it answers; it writes its port into its runtime folder."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail("JupyterLab ended at once:\n" + (home / "lab.log").read_text()[-2000:])
        for info in (home / "run").glob("jpserver-*.json"):
            with suppress(OSError, ValueError, KeyError):
                url = json.loads(info.read_text())["url"]
                urllib.request.urlopen(f"{url}api/status?token={TOKEN}", timeout=5)
                return url
        with suppress(subprocess.TimeoutExpired):  # a short pause that ends early if the server dies
            server.wait(0.3)
    pytest.fail("JupyterLab did not answer:\n" + (home / "lab.log").read_text()[-2000:])


@pytest.fixture
def opened(lab, chromium, name):
    """The notebook in a page of its own, its kernel idle; afterwards the kernel is shut down."""
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(60_000)
    page.goto(f"{lab}lab/tree/notebooks/{name}.ipynb?token={TOKEN}")
    page.wait_for_function(READY, timeout=SECONDS * 1000)
    assert page.locator(".jp-Dialog").count() == 0, "a dialog blocks the learner"
    yield page
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()


def run(page, index, source):
    """Type `source` into a cell as a learner does, run it with Ctrl-Enter; what it printed."""
    before = page.evaluate(COUNT, index)
    page.evaluate(SHOW, index)
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(source)
    page.keyboard.press("Control+Enter")
    page.wait_for_function(RAN, arg=[index, before])
    page.wait_for_function(READY, timeout=SECONDS * 1000)
    outputs = json.loads(page.evaluate(OUTPUT, index))
    return "".join(o["text"] for o in outputs if o["output_type"] == "stream")


GREEN, AMBER = "32", "1;93"


def status(printed):
    """ "ok", "hint" or "not attempted yet", as printed below a check, and its colour."""
    found = re.search(r"(?:\x1b\[([\d;]+)m)?\[(ok|hint|not attempted yet)\]", printed)
    assert found, printed
    return found[2], found[1]


def exercises(name):
    """[(index in the learner's notebook, the stub, the solution)]."""
    learner = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    solved = nbformat.read(ROOT / "notebooks" / "solutions" / f"{name}.ipynb", as_version=4)
    solution = {cell.id: cell.source for cell in solved.cells if "exercise" in cell.metadata.get("tags", [])}
    return [
        (i, cell.source, solution[cell.id]) for i, cell in enumerate(learner.cells) if cell.id in solution
    ]


def wrong(stub):
    """An answer that is one, but cannot be right."""
    if re.search(r"^quiz_answers = \.\.\.", stub, re.MULTILINE):
        return stub.replace("...", '"a"', 1)  # one letter for all the questions
    return stub.replace("...  # your code here", 'return "no"', 1) if "def " in stub else None


def views(page, name):
    """The widget pages of a notebook, each scrolled into view: (cell's index, its output)."""
    for index, cell in enumerate(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells):
        if cell.cell_type == "code" and "explorers." in cell.source:
            output = page.locator(
                f".jp-Notebook-cell[data-windowed-list-index='{index}'] .jp-OutputArea-output"
            )
            # Pictures that arrive late push the page on, and JupyterLab takes off what is out of sight: look again.
            for _ in range(12):
                page.evaluate(SHOW, index)
                with suppress(Exception):
                    output.locator(".widget-vbox").first.wait_for(timeout=5_000)
                    break
            assert output.locator(".widget-vbox").first.is_visible(), f"cell {index} shows no explorer"
            yield output


def move(page, control):
    """Change one control as a person does: arrow keys, another choice, a click, other letters."""
    if control.locator(".noUi-handle").count():
        handle = control.locator(".noUi-handle").first
        handle.focus()
        low, now = handle.get_attribute("aria-valuemin"), handle.get_attribute("aria-valuenow")
        page.keyboard.press("ArrowRight" if now == low else "ArrowLeft")
    elif control.locator("select").count():
        select = control.locator("select").first
        options = select.locator("option").all_inner_texts()
        select.select_option(
            label=next(o for o in options if o != select.locator("option:checked").inner_text())
        )
    elif control.locator("input[type=checkbox]").count():
        control.locator("input[type=checkbox]").first.click()
    else:
        control.locator("input[type=text]").first.fill("GATTACAGATTACA")


def move_all(page, output):
    """Each control of an explorer changes what is shown below it, and no change leaves an error behind."""
    screen = output.locator(".widget-html").last
    controls = output.locator(".widget-gridbox > .jupyter-widgets")
    moved = []
    for i in range(controls.count()):
        if controls.nth(i).locator("[disabled], [aria-disabled=true]").count():
            continue  # one that needs another's choice, such as a text of one's own
        before = screen.inner_html()
        move(page, controls.nth(i))
        with suppress(Exception):
            page.wait_for_function(
                "([element, before]) => element.innerHTML !== before",
                arg=[screen.element_handle(), before],
                timeout=5000,
            )
        moved.append(screen.inner_html() != before)
        assert screen.locator("svg, [role=alert]").count() == 1
    assert moved and sum(moved) >= 0.6 * len(moved), moved
    assert output.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0


@pytest.mark.slow
def test_learner_at_work(opened, name):
    ran = json.loads(opened.evaluate(RUN_ALL))
    code = [cell for cell in ran["cells"] if cell["cell_type"] == "code"]
    errors = [o["evalue"] for cell in code for o in cell["outputs"] if o["output_type"] == "error"]
    assert errors == []
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    text = json.dumps(code)
    assert "not attempted yet" in text
    assert "[hint]" not in text
    assert "image/png" in text
    assert opened.locator(".jp-Dialog").count() == 0
    if folder := os.environ.get("GFM_LAB_SCREENSHOTS"):
        opened.screenshot(path=str(Path(folder) / f"{name}.png"))

    for output in views(opened, name):
        move_all(opened, output)
    found, hinted = exercises(name), 0
    for index, stub, solution in found:
        if answer := wrong(stub):
            assert status(run(opened, index, answer)) == ("hint", AMBER), stub
            hinted += 1
        assert status(run(opened, index, solution)) == ("ok", GREEN), solution
    assert hinted and len(found) >= 3
