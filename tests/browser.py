"""A page in a real browser without a screen."""

import json
import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest


def in_browser(page: str, probe: str, tmp_path: Path, *options: str) -> dict:
    """What a browser of the width of a phone makes of a page: what the probe, a program of its host, says."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium to open the page with: install the package chromium")
    frame = f'<iframe style="border:0;width:390px;height:800px" srcdoc="{escape(page)}"></iframe>'
    host = f'<meta charset="utf-8"><body>{frame}<script>window.onload = () => {{{probe}}}</script>'
    (tmp_path / "host.html").write_text(host, encoding="utf-8")
    quiet = ["gpu", "quic", "background-networking", "component-update", "sync"]
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{q}" for q in quiet), *options),
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            (tmp_path / "host.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = re.search("FOUND(.*)END", done.stdout)
    assert told, done.stderr[-2000:]
    return json.loads(told[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
