"""A headless browser for tests of pages, where there is one."""

import contextlib
import shutil

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextlib.contextmanager
def browser():
    """Yield a browser of Playwright's, or skip the test and say why."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    with sync_api.sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except sync_api.Error as error:
            if path is not None:
                raise
            pytest.skip(f"no browser: .ci/browser installs one ({str(error).splitlines()[0]})")
        yield found
        found.close()
