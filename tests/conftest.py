"""Shared by all tests: no network, one thread where threads would fight the other test processes, one browser."""

import os
import shutil

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# No first-run pages, no calls home; names of other machines lead nowhere.
FLAGS = ("no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-component-update",
         "disable-sync", "disable-dev-shm-usage", "allow-file-access-from-files",
         "host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1")  # fmt: skip


def pytest_addoption(parser):
    parser.addoption(
        "--every-notebook", action="store_true", help="tests/test_jupyterlab.py: all of them, not two"
    )


@pytest.fixture(scope="module")
def chromium():
    """Headless Chromium (or Chrome) under Playwright; without one, the tests that ask for it are skipped."""
    path = os.environ.get("CHROME_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("needs Chromium or Chrome on the PATH, or CHROME_PATH")
    sync_api = pytest.importorskip("playwright.sync_api")
    # One module at a time: while Playwright runs, no other test can run an event loop of its own.
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[f"--{flag}" for flag in FLAGS])
        yield browser
        browser.close()
