"""How fast the interactive pieces answer in JupyterLab: from a key pressed on a slider to the new picture drawn.

    python benchmarks/explorers_browser.py     # a table, and benchmarks/results/explorers_browser.json

JupyterLab runs on this machine's own address, Chromium (on the PATH, or CHROME_PATH) shows a notebook with all four
explorers. Each slider gets an arrow key TRIES times. Time is taken in the page: from the key's event to the first frame
after the picture's text has changed, so it holds the way to the kernel and back, the answer, and the browser's drawing.
`benchmarks/explorers.py` times the answer alone, for every kind of control.
"""

from __future__ import annotations

# ruff: noqa: E402 (this folder leaves the path before the libraries are imported)
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

# This directory has a tokenizers.py, and so is a library called that transformers imports: look for that one elsewhere.
sys.path = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]

import nbformat
import torch
from playwright.sync_api import sync_playwright

from gfm_lab.runs import describe_machine, write_json

RESULTS = Path(__file__).resolve().parent / "results" / "explorers_browser.json"
NAMES, LIMIT, TRIES, TOKEN = ("tokenizer", "mixers", "masking", "sampling"), 200, 15, "only-for-this-run"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
IDLE = """() => {
  const w = window.jupyterapp && window.jupyterapp.shell.currentWidget;
  const s = w && w.sessionContext && w.sessionContext.session;
  return Boolean(s && s.kernel && s.kernel.status === 'idle');
}"""
SHOW = """async (index) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index, 'center');
}"""
WATCH = """([handle, screen]) => {
  window.answered = null;
  let pressed = null;
  handle.addEventListener('keydown', () => { pressed = performance.now(); }, {capture: true, once: true});
  const watcher = new MutationObserver(() => {
    watcher.disconnect();
    requestAnimationFrame(() => { window.answered = performance.now() - pressed; });
  });
  watcher.observe(screen, {childList: true, subtree: true, characterData: true});
}"""


def notebook() -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell("from gfm_lab import explorers")]
    cells += [nbformat.v4.new_code_cell(f"explorers.{name}()") for name in NAMES]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def served(home: Path, log) -> tuple[subprocess.Popen, str]:
    """A JupyterLab in `home`, and its address."""
    env = dict(os.environ, JUPYTER_RUNTIME_DIR=str(home / "run"), JUPYTER_CONFIG_DIR=str(home / "config"))
    env |= {"JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"), "HF_HUB_OFFLINE": "1"}
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={home}",
               f"--IdentityProvider.token={TOKEN}", "--expose-app-in-browser", "--LabApp.news_url=None"]  # fmt: skip
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=env, stdout=log, stderr=log)
    while server.poll() is None:
        for info in (home / "run").glob("jpserver-*.json"):
            with suppress(OSError, ValueError, KeyError):
                return server, json.loads(info.read_text())["url"]
        time.sleep(0.3)
    raise SystemExit("JupyterLab ended at once; does `make lab` work?")


def measure(page, index: int, name: str) -> list[dict]:
    """Median and worst milliseconds of each slider that is free to move."""
    page.evaluate(SHOW, index)
    output = page.locator(f".jp-Notebook-cell[data-windowed-list-index='{index}'] .jp-OutputArea-output")
    output.locator(".widget-vbox").first.wait_for()
    screen, rows = output.locator(".widget-html").last.element_handle(), []
    sliders = output.locator(".widget-slider:not(:has([disabled]))")
    for i in range(sliders.count()):
        handle, times, kept = sliders.nth(i).locator(".noUi-handle").first, [], 0
        label = sliders.nth(i).locator("label").inner_text()
        for attempt in range(TRIES):
            handle.focus()
            low, high, now = (float(handle.get_attribute(f"aria-value{x}")) for x in ("min", "max", "now"))
            page.evaluate(WATCH, [handle.element_handle(), screen])
            key = "ArrowRight" if now == low or (attempt % 4 and now != high) else "ArrowLeft"
            page.keyboard.press(key)
            try:
                page.wait_for_function("() => window.answered !== null", timeout=3000)
            except Exception:  # a value that changes nothing, such as k beside a tokenizer of letters
                kept += 1
                continue
            times.append(page.evaluate("() => window.answered"))
            page.wait_for_function(IDLE)
        if times:
            row = {"explorer": name, "control": label, "median_ms": round(statistics.median(times), 1)}
            rows.append(row | {"worst_ms": round(max(times), 1), "answers": len(times), "unchanged": kept})
    return rows


def main() -> int:
    path = os.environ.get("CHROME_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise SystemExit("This needs Chromium or Chrome on the PATH, or CHROME_PATH.")
    load = [round(os.getloadavg()[0], 2)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        nbformat.write(notebook(), home / "explorers.ipynb")
        with (home / "lab.log").open("w") as log:
            server, address = served(home, log)
            try:
                with sync_playwright() as playwright:
                    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
                    browser = playwright.chromium.launch(executable_path=path, args=flags)
                    page = browser.new_page(viewport={"width": 1400, "height": 1000})
                    page.set_default_timeout(120_000)
                    page.goto(f"{address}lab/tree/explorers.ipynb?token={TOKEN}")
                    page.wait_for_function(IDLE)
                    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
                    for index, name in enumerate(NAMES, start=1):
                        rows += measure(page, index, name)
                    about = describe_machine(torch.device("cpu")) | {"browser": f"Chromium {browser.version}"}
                    browser.close()
            finally:
                server.terminate()
                server.wait(20)
    for row in rows:
        print(
            f"{row['explorer']:10s} {row['control']:28s} {row['median_ms']:6.1f} ms {row['worst_ms']:6.1f} ms"
        )
    worst = max(row["worst_ms"] for row in rows)
    about |= {"load_average": [*load, round(os.getloadavg()[0], 2)], "tries": TRIES, "limit_ms": LIMIT}
    write_json(RESULTS, {"about": about, "worst_ms": worst, "rows": rows})
    print(f"worst answer {worst} ms, limit {LIMIT} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
