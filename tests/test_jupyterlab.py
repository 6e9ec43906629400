"""A learner's first minutes: JupyterLab in headless Chromium opens a notebook and runs all cells without an error."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver on the PATH"
)
TOKEN = "a-token-for-this-test"


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab of its own, on a free port, in a folder that holds a copy of the learner notebooks."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, folder)
    env = dict(
        os.environ, JUPYTER_RUNTIME_DIR=str(tmp_path / "run"), JUPYTER_CONFIG_DIR=str(tmp_path / "config")
    )
    env |= {"JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"), "JUPYTER_NO_CONFIG": "1"}
    options = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        "--port=0",
        f"--ServerApp.root_dir={tmp_path}",
    ]
    options += [f"--IdentityProvider.token={TOKEN}", "--expose-app-in-browser", "--LabApp.news_url=None"]
    log = (tmp_path / "lab.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options], env=env, stdout=log, stderr=log, cwd=tmp_path
    )
    try:
        yield _address(server, tmp_path)
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(20)
        server.kill()


def _address(server, tmp_path, limit=90):
    """The server's address once it answers; it writes its port into its runtime folder."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail("JupyterLab ended at once:\n" + (tmp_path / "lab.log").read_text()[-2000:])
        for info in (tmp_path / "run").glob("jpserver-*.json"):
            with suppress(OSError, ValueError, KeyError):
                url = json.loads(info.read_text())["url"]
                urllib.request.urlopen(f"{url}api/status?token={TOKEN}", timeout=5)
                return url
        with suppress(subprocess.TimeoutExpired):  # a short pause that ends early if the server dies
            server.wait(0.3)
    pytest.fail("JupyterLab did not answer:\n" + (tmp_path / "lab.log").read_text()[-2000:])


@pytest.fixture
def browser(tmp_path):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
                 "disable-component-update", "disable-sync", "disable-dev-shm-usage", "window-size=1400,1000",
                 f"user-data-dir={tmp_path / 'profile'}"):  # fmt: skip
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(240)
    yield driver
    driver.quit()


@pytest.mark.slow
def test_first_notebook_opens_and_runs_all_cells(lab, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    name = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))[0]
    browser.get(f"{lab}lab/tree/notebooks/{name}?token={TOKEN}")
    ready = (
        "const w = window.jupyterapp && window.jupyterapp.shell.currentWidget;"
        "const s = w && w.sessionContext && w.sessionContext.session;"
        "return Boolean(s && s.kernel && s.kernel.status === 'idle');"
    )
    WebDriverWait(browser, 120).until(lambda d: d.execute_script(ready))
    assert not browser.find_elements(By.CSS_SELECTOR, ".jp-Dialog"), "a dialog blocks the learner"
    ran = browser.execute_async_script(
        "const done = arguments[0], app = window.jupyterapp;"
        "const clear = app.commands.execute('editmenu:clear-all');"
        "clear.then(() => app.commands.execute('notebook:run-all-cells'))"
        ".then(() => done(JSON.stringify(app.shell.currentWidget.content.model.toJSON())),"
        "      error => done('ERROR ' + error));"
    )
    assert not ran.startswith("ERROR"), ran
    code = [cell for cell in json.loads(ran)["cells"] if cell["cell_type"] == "code"]
    errors = [o["evalue"] for cell in code for o in cell["outputs"] if o["output_type"] == "error"]
    assert errors == []
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    text = json.dumps(code)
    assert "not attempted yet" in text
    assert "[hint]" not in text
    assert "image/png" in text
    if folder := os.environ.get("GFM_LAB_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / "jupyterlab.png"))
