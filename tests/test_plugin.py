"""A package that is merely installed contributes its model."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import Forked

PLUGIN = Path(__file__).parent.parent / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """The environment of a process in which the example is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "site")]
    subprocess.run([*pip, str(folder / "source")], check=True, capture_output=True)
    return os.environ | {"PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "1"}


def zoo(installed, *arguments: str) -> subprocess.CompletedProcess:
    return Forked("zoo", *arguments, env=installed).finished()


def test_its_model_is_listed(installed):
    assert "bag_of_codes" in zoo(installed, "list", "models").stdout
    assert "dim = 32" in zoo(installed, "info", "bag_of_codes").stdout


def test_its_model_conforms(installed):
    found = zoo(installed, "check", "bag_of_codes")
    assert found.returncode == 0, found.stdout + found.stderr


def test_its_model_is_trained(installed, tmp_path):
    settings = ["--set", "data.patients=150", "--set", "trainer.max_epochs=1"]
    arguments = ["--dataset", "synthetic", "--task", "readmission", "--model", "bag_of_codes", *settings]
    found = zoo(installed, "run", *arguments, "--out", str(tmp_path / "run"))
    assert found.returncode == 0, found.stderr
    assert "auroc" in found.stdout
