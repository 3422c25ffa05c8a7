"""The documentation as a reader gets it."""

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

import zoo
from zoo.reporting.tables import NOUNS, own_names

DOCS = Path(__file__).parent.parent / "docs"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The pages, built from nothing, every warning an error."""
    out = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(out / "doctrees"), str(DOCS)]
    done = subprocess.run([*command, str(out / "html")], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return out / "html"


@pytest.mark.parametrize("noun", NOUNS)
def test_every_name_has_its_place(built, noun):
    page = read(built, noun)
    for name in own_names(noun):
        assert f'id="{anchor(noun, name)}"' in page


def test_findings_link_to_their_models(built):
    links = re.findall(r'models\.html#([\w-]+)"', read(built, "published_code"))
    places = re.findall(r'id="([\w-]+)"', read(built, "models"))
    assert anchor("models", "retain") in links
    assert set(links) <= set(places)


def test_all_of_the_front_door_is_in_the_reference(built):
    page = read(built, "api")
    for name in zoo.__all__:
        assert f'id="zoo.{name}"' in page


def test_all_commands_are_there(built):
    commands = unescape(re.sub("<[^>]*>", "", read(built, "commands")))
    told = subprocess.run([sys.executable, "-m", "zoo.cli", "--help"], capture_output=True, text=True).stdout
    names = re.findall(r"^\W*([a-z]+)  +[A-Z]", told, re.MULTILINE)
    assert {"run", "pretrain", "leaderboard", "check"} <= set(names)
    for name in names:
        assert f"$ zoo {name} " in commands


def test_a_reader_fetches_nothing(built):
    for page in built.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=.(https?:)?//", page.read_text(encoding="utf-8"))
        assert loaded == [], page.name
    for style in built.rglob("*.css"):
        assert not re.search(r"@import|url\(.?(https?:)?//", style.read_text(encoding="utf-8")), style.name


def read(built: Path, page: str) -> str:
    return (built / f"{page}.html").read_text(encoding="utf-8")


def anchor(noun: str, name: str) -> str:
    return f"{noun[:-1]}-{name}".replace("_", "-")
