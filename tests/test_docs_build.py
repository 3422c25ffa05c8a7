"""The documentation as a reader gets it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.registry import models
from zoo.reporting.tables import own_names

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The pages, built from nothing, every warning an error."""
    out = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(out / "doctrees"), str(DOCS)]
    done = subprocess.run([*command, str(out / "html")], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return out / "html"


@pytest.mark.slow
def test_every_model_has_its_place_and_what_it_says_of_published_code(built):
    pages = {name: (built / f"{name}.html").read_text(encoding="utf-8") for name in ("models", "published_code")}
    for name in own_names("models"):
        assert f'id="{_anchor(name)}"' in pages["models"]
    speaking = [n for n in own_names("models") if "Where published code" in _said(models.get(n))]
    assert {"retain", "gbert"} <= set(speaking)
    for name in speaking:
        assert f"models.html#{_anchor(name)}" in pages["published_code"]


def _anchor(name: str) -> str:
    return f"model-{name}".replace("_", "-")


def _said(model) -> str:
    return f"{sys.modules[model.__module__].__doc__} {model.__doc__}"


@pytest.mark.slow
def test_a_reader_fetches_nothing(built):
    for page in built.glob("*.html"):
        loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=.(https?://[^\"']+)", page.read_text("utf-8"))
        assert loaded == [], page.name


@pytest.mark.slow
def test_commands_and_reference_are_there(built):
    commands = re.sub("<[^>]*>", "", (built / "commands.html").read_text(encoding="utf-8"))
    assert all(f"zoo {name}" in commands for name in ("run", "pretrain", "leaderboard", "check"))
    assert 'id="zoo.train"' in (built / "api.html").read_text(encoding="utf-8")
