"""Finds a browser for the tests of the pages, and installs one where there is none: `python -m tests.web.browser`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> Path | None:
    """A Chromium on this machine: ASSIST_TEST_BROWSER, one on the path, or the one Playwright fetched."""
    named = os.environ.get("ASSIST_TEST_BROWSER")
    for name in (named, *NAMES) if named else NAMES:
        if found := shutil.which(name):
            return Path(found)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return own if own.exists() else None


def install() -> None:
    """Debian's package where we may install packages, else Playwright's own download."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=quiet, check=False)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        subprocess.run(install, env=quiet, check=False)
    if not find():
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def main() -> int:
    if not find():
        install()
    browser = find()
    if not browser:
        print("no browser for the page tests: install chromium (apt-get install chromium)", file=sys.stderr)
        return 1
    print(f"browser for the page tests: {browser}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
