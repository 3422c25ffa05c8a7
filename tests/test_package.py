"""The package as a whole: which room imports which, what no file may hold, and what is shipped."""

import ast
import configparser
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "zoo").rglob("*.py"))
EVERYWHERE = {"registry", "cache", "progress"}
FRONT = {"prepare", "experiment", "leaderboard", "curve", "inference", "meds", "cli", ""}
"""The front door may import all; ``""`` is ``zoo/__init__.py``."""
MAY_IMPORT = {
    "registry": set(),
    "cache": set(),
    "progress": set(),
    "result": set(),
    "knowledge": set(),
    "datasets": {"knowledge"},
    "kinds": {"metrics"},
    "tasks": {"knowledge"},
    "data": {"knowledge", "kinds", "metrics"},
    "layers": set(),
    "models": {"layers", "data", "knowledge", "kinds"},
    "metrics": set(),
    "training": {"models", "data", "kinds", "metrics", "result"},
    "reporting": {"result", "metrics"},
    "testing": {
        *("knowledge", "datasets", "kinds", "tasks", "data", "layers"),
        *("models", "metrics", "training", "prepare"),
    },
}


def room(path: Path) -> str:
    parts = path.relative_to(ROOT / "zoo").with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imported(path: Path) -> set[str]:
    """The modules of ours that a file imports anywhere, without those for type checkers only."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:
                inside = (*path.relative_to(ROOT).parts[: -node.level], *filter(None, [package]))
                package = ".".join(inside)
            found |= {f"{package}.{a.name}" for a in node.names}
    return {m for m in found if m.split(".")[0] == "zoo"}


def imported_rooms(path: Path) -> set[str]:
    names = {m.split(".")[1] if "." in m else "" for m in imported(path)}
    there = {room(p) for p in FILES}
    return {n if n in there else "registry" for n in names}  # `from zoo import register_model` is the registry's


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may(path):
    own = room(path)
    if own in FRONT:
        return
    assert own in MAY_IMPORT, f"{own} is a room that DESIGN does not name"
    assert imported_rooms(path) - MAY_IMPORT[own] - EVERYWHERE - {own} == set()


def test_no_files_import_one_another_in_a_circle():
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES}
    there = set(names.values())

    def file_of(module: str) -> str:
        return module if module in there else module.rpartition(".")[0]

    imports = {name: {file_of(m) for m in imported(path)} - {name} for path, name in names.items()}
    assert imports["zoo.reporting._page"] > {"zoo.reporting._board"}
    TopologicalSorter(imports).prepare()  # raises CycleError with the circle


def test_training_knows_of_models_only_what_every_model_is():
    found = {m for p in (ROOT / "zoo" / "training").glob("*.py") for m in imported(p)}
    assert {m for m in found if m.startswith("zoo.models")} <= {
        f"zoo.models._model.{n}" for n in ("Model", "Estimator", "Output")
    }


def test_a_family_of_models_keeps_its_machinery_to_itself():
    models = ROOT / "zoo" / "models"
    machinery = {f"zoo.models.{p.parent.name}.{p.stem}.": p.parent for p in models.glob("*/_[!_]*.py")}
    assert machinery
    for path in models.rglob("*.py"):
        used = {folder for module, folder in machinery.items() for i in imported(path) if i.startswith(module)}
        assert used <= {path.parent}, path


def test_no_file_is_named_for_nothing():
    assert [p for p in FILES if p.stem.strip("_") in ("utils", "util", "common", "helpers", "misc")] == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_is_read_can_run_code(path):
    text = path.read_text()
    assert not {m.split(".")[0] for m in _all_imports(text)} & {
        "pickle",
        "cPickle",
        "dill",
        "joblib",
        "cloudpickle",
        "shelve",
    }
    assert re.findall(r"(?<![\w.])(?:eval|exec)\(|torch\.load\(|read_pickle|allow_pickle=True", text) == []


def _all_imports(text: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(text)))
    plain = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return plain | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}


ADVISORIES = {
    "accelerate": ("1.15", "CVE-2026-69112, through 1.14.0"),
    "duckdb": ("1.4.2", "CVE-2025-64429"),
    "filelock": ("3.20.3", "CVE-2025-68146, CVE-2026-22701"),
    "lightgbm": ("4.6", "CVE-2024-43598"),
    "mlflow-skinny": ("3.11", "CVE-2026-2614, CVE-2026-2652 through 3.9, CVE-2026-4137 through 3.10"),
    "pyarrow": ("23.0.1", "CVE-2026-25087"),
    "pytest": ("9.0.3", "CVE-2025-71176"),
    "scikit-learn": ("1.5", "CVE-2024-5206"),
    "skops": ("0.13", "CVE-2025-54412, CVE-2025-54413, CVE-2025-54886"),
    "torch": ("2.13", "CVE-2025-32434, CVE-2026-24747, CVE-2025-3000 through 2.12.0"),
    "transformers": ("5.10", "CVE-2026-1839, CVE-2026-4372, CVE-2026-5241, CVE-2026-9856"),
}
"""The first version of a dependency that is in no published advisory's range."""


def declared_in_setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup


def test_lower_bounds_leave_out_versions_with_advisories():
    setup = declared_in_setup()
    lines = f"{setup['options']['install_requires']}\n{setup['options.extras_require']['test']}".split("\n")
    lowest = {re.split(r"[\[<>=]", line)[0]: re.search(r">=([\d.]+)", line) for line in lines if line}
    for name, (first, advisory) in ADVISORIES.items():
        assert Version(lowest[name][1]) >= Version(first), advisory
    assert all(lowest[name] for name in lowest.keys() - {"packaging"})
    assert Version("2.2") in SpecifierSet(
        next(line.removeprefix("pandas") for line in lines if line.startswith("pandas"))
    )


def test_every_library_that_is_imported_is_declared():
    import sys

    setup = declared_in_setup()
    extras = [lines for name, lines in setup["options.extras_require"].items() if name not in ("test", "docs")]
    lines = "\n".join([setup["options"]["install_requires"], *extras]).split("\n")
    declared = {re.split(r"[\[<>=]", line)[0] for line in lines if line}
    names = {"sklearn": "scikit-learn", "ibis": "ibis-framework", "mlflow": "mlflow-skinny"}
    used = (
        {m.split(".")[0] for p in FILES for m in _all_imports(p.read_text())} - {"zoo"} - set(sys.stdlib_module_names)
    )
    used.discard("pytest")
    assert {names.get(u, u) for u in used} - declared == set()
