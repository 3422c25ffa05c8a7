"""What is shipped: the wheel as somebody gets it, and the files beside it."""

import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
TINY = """
import zoo
from importlib.resources import files

assert (files("zoo") / "py.typed").is_file()
how = {"data.patients": 120, "data.concepts": ["diagnosis"]}
result = zoo.run("synthetic", "readmission", "logistic_regression", settings=how, out="run")
print(zoo.__file__, result.metrics["auroc"]["value"])
"""


def without_the_source_tree() -> dict[str, str]:
    """This environment, in which nobody finds the source tree."""
    return {n: v for n, v in os.environ.items() if n != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from what belongs to it, apart from this folder."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "zoo", source / "zoo", ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    how = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *how, str(source)], check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A fresh environment with the wheel, which finds the libraries of this one and nothing of the source tree."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, env=without_the_source_tree())
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))  # comes behind what is installed here
    return folder


def test_the_wheel_has_every_file_of_the_package(wheel):
    there = {n for n in zipfile.ZipFile(wheel).namelist() if n.startswith("zoo/")}
    wanted = {str(p.relative_to(ROOT)) for p in (ROOT / "zoo").rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert {p for p in wanted - there if not p.endswith(".md")} == set()
    assert {"zoo/py.typed", "zoo/knowledge/units.csv", "zoo/reporting/page.css"} <= there


@pytest.mark.slow
def test_the_wheel_works_outside_of_the_source_tree(installed, tmp_path):
    how = {"cwd": tmp_path, "env": without_the_source_tree(), "capture_output": True, "text": True, "timeout": 600}
    listed = subprocess.run([installed / "bin" / "zoo", "list", "models"], **how)
    assert "gru_d" in listed.stdout, listed.stderr
    done = subprocess.run([installed / "bin" / "python", "-c", TINY], **how)
    assert done.returncode == 0, done.stderr
    file, auroc = done.stdout.split()
    assert Path(file).is_relative_to(installed)
    assert 0 <= float(auroc) <= 1
    assert (tmp_path / "run" / "result.json").exists()


def test_the_citation_has_what_is_required_and_names_nobody():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["cff-version"] == "1.2.0"
    assert (cited["version"], cited["license"]) == (setup["metadata"]["version"], setup["metadata"]["license"])
    (author,) = cited["authors"]
    assert author == {"name": "The zoo contributors"}
    assert f"Copyright (c) 2026 {author['name']}" in (ROOT / "LICENSE").read_text()
