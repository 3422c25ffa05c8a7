"""Names: by decorator, and by entry point of packages that are really installed."""

import configparser
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from zoo import registry
from zoo.registry import Choice, ModelFacts, Registry, UserError, check_parameters

ROOT = Path(__file__).resolve().parents[1]


def test_register_by_decorator():
    own = Registry("model", "nobody.models", ModelFacts)

    @own.register("mine", paper="Me 2020", uses=["drug"])
    class Mine:
        """The first line."""

    assert own.names() == ["mine"]
    assert own.get("mine") is Mine
    assert own.entry("mine").facts == ModelFacts(paper="Me 2020", uses=frozenset({"drug"}))
    assert own.summary("mine") == "The first line."
    assert Mine.registered_name == "mine"


def test_a_name_registered_twice_is_an_error():
    own = Registry("model", "nobody.models", ModelFacts)
    own.register("mine")(type("First", (), {}))
    with pytest.raises(UserError, match=r"'mine' is registered already, by .*First: choose another name"):
        own.register("mine")(type("Second", (), {}))


def test_a_name_that_a_package_has_claimed_cannot_be_taken():
    with pytest.raises(UserError, match=r"'gru' is registered already, by .*zoo\.models\.visits\.recurrent"):
        zoo.register_model("gru")(type("Other", (), {}))


@pytest.mark.parametrize("holder", [registry.datasets, registry.tasks, registry.models], ids=lambda r: r.noun)
def test_entry_points_in_setup_cfg_are_in_step_with_the_decorators(holder):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = setup["options.entry_points"][holder.group].strip().splitlines()
    room = ROOT / "zoo" / f"{holder.noun}s"
    files = {".".join(p.relative_to(room).with_suffix("").parts) for p in room.rglob("[!_]*.py")}
    declared = dict(line.replace(" ", "").split("=") for line in listed)
    assert set(declared.values()) == {f"{holder.group}.{name}" for name in files}
    for name in declared:
        assert holder.get(name).__module__ == declared[name]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"caussal": True}, "unknown fact 'caussal': did you mean 'causal'?"),
        ({"kind": {"binary"}}, "unknown fact 'kind': did you mean 'kinds'?"),
        ({"uses": "diagnosis"}, "uses='diagnosis', which must be a set of names"),
        ({"kinds": {"binary", 3}}, "which must be a set of names"),
        ({"causal": "yes"}, "causal='yes', which must be True or False"),
        ({"predicts": {"drug"}}, "which must be a text"),
        ({"levels": ["drug"]}, "levels=['drug'], which must be a level for each concept"),
        ({"waives": {"code_order": None}}, "which must be a reason for each check"),
        ({"begins_with": {"gbert": {"weights": "codes."}}}, "which must be for each model its 'weights'"),
        ({"search": {"model.dim": 64}}, "which must be a range for each setting"),
        ({"published": {128}}, "which must be a value for each setting"),
    ],
)
def test_what_a_decorator_cannot_say_is_an_error_where_it_stands(said, words):
    with pytest.raises(UserError, match=f"^model 'odd' is registered with .*{re.escape(words)}"):
        zoo.register_model("odd", **said)
    assert "odd" not in zoo.list_models()


def test_of_a_task_a_decorator_says_its_name_alone():
    with pytest.raises(UserError, match="task 'odd' is registered with an unknown fact 'paper'"):
        zoo.register_task("odd", paper="Me 2020")


def test_facts_can_be_read_and_registered_again():
    own = Registry("model", "nobody.models", ModelFacts)
    for name in zoo.list_models():
        said = registry.models.entry(name).facts
        own.register(name, **vars(said))(type(name, (), {}))
        assert own.entry(name).facts == said == registry.models.facts(name)


def test_a_class_that_derives_from_a_registered_one_takes_over_what_is_true_of_it_too():
    class Gamenet(registry.models.get("gamenet")):
        pass

    said, derived = registry.models.entry("gamenet").facts, registry.models.entry(Gamenet)
    assert derived.described
    assert not derived.registered
    assert (derived.facts.uses, derived.facts.kinds, derived.facts.predicts) == (said.uses, said.kinds, said.predicts)
    assert said.causal
    assert said.published
    assert not derived.facts.causal
    assert (derived.facts.paper, derived.facts.published, derived.facts.search) == (None, {}, {})
    assert not registry.models.entry(type("Nothing", (), {})).described


def test_what_a_decorator_was_given_can_change_without_it():
    search = {"model.dim": Choice(64, 128)}
    facts = ModelFacts(search=search)
    search.clear()
    assert facts.search == {"model.dim": Choice(64, 128)}


def test_a_model_lies_in_the_folder_of_its_family():
    for point in importlib.metadata.entry_points(group="zoo.models"):
        if point.module.startswith("zoo."):
            assert point.module.split(".")[2] == registry.models.facts(point.name).family, point.name


def test_wrong_parameters():
    class Thing:
        def __init__(
            self, spec, dim: int = 3, rate: float | None = 0.1, name: str = "x", flag: bool = False, other=None
        ):
            pass

    check_parameters("thing", Thing, {"dim": 4, "rate": None, "name": "y", "flag": True, "other": object()})
    check_parameters("thing", Thing, {"rate": 1})
    with pytest.raises(UserError, match="thing has no parameter 'dmi': did you mean 'dim'"):
        check_parameters("thing", Thing, {"dmi": 3})
    for wrong in ({"dim": 1.5}, {"dim": True}, {"rate": "x"}, {"name": 1}, {"flag": 1}, {"dim": None}):
        with pytest.raises(UserError, match="must be of type"):
            check_parameters("thing", Thing, wrong)


GOOD = '''
from zoo import register_model
from zoo.models import Model, Output

@register_model("tiny_plugin_model", uses={"diagnosis"}, kinds={"binary"})
class Tiny(Model):
    """A model from elsewhere."""
    def __init__(self, spec, dim: int = 3):
        super().__init__(spec)
'''
PLUGINS = {
    "plugin_good": (GOOD, ["tiny_plugin_model = plugin_good"]),
    "plugin_broken": ("raise RuntimeError('cannot start')", ["broken_model = plugin_broken"]),
    "plugin_unreadable": ("def (", ["unreadable_model = plugin_unreadable"]),
    "plugin_misspelt": (
        GOOD.replace("tiny_plugin_model", "misspelt_model").replace("uses=", "use="),
        ["misspelt_model = plugin_misspelt"],
    ),
    "plugin_silent": ("", ["silent_model = plugin_silent"]),
    "plugin_gone": (None, ["gone_model = plugin_gone.inside"]),
    "plugin_taker": ("", ["gru = plugin_taker"]),
}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install packages with entry points, as pip leaves them."""

    def install(*names):
        for name in names:
            source, points = PLUGINS[name]
            if source is not None:
                (tmp_path / f"{name}.py").write_text(source)
            facts = tmp_path / f"{name}-1.0.dist-info"
            facts.mkdir()
            (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            (facts / "entry_points.txt").write_text("[zoo.models]\n" + "\n".join(points) + "\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        return tmp_path

    yield install
    registry.models._entries.pop("tiny_plugin_model", None)


def test_a_package_that_is_installed_contributes_its_model(installed, zoo_command):
    path = installed("plugin_good")
    assert "tiny_plugin_model" in zoo.list_models()
    assert registry.models.get("tiny_plugin_model").__name__ == "Tiny"
    done = zoo_command("list", "models", PYTHONPATH=path)
    assert re.search(r"^tiny_plugin_model +A model from elsewhere\.$", done.stdout, re.MULTILINE)
    assert "dim = 3" in zoo_command("info", "tiny_plugin_model", PYTHONPATH=path).stdout


def test_packages_that_fail_are_named_and_nothing_else_suffers(installed, zoo_command):
    path = installed("plugin_broken", "plugin_unreadable", "plugin_misspelt", "plugin_silent", "plugin_gone")
    assert registry.models.get("gru").registered_name == "gru"
    for name, words in {
        "broken_model": "'broken_model' of plugin_broken cannot be imported .*RuntimeError: cannot start",
        "unreadable_model": "plugin_unreadable.*SyntaxError",
        "misspelt_model": "of plugin_misspelt cannot be imported .*unknown fact 'use': did you mean 'uses'",
        "silent_model": "registers no such name: add @register_model",
        "gone_model": "plugin_gone.*ModuleNotFoundError",
    }.items():
        with pytest.raises(UserError, match=words):
            registry.models.get(name)
    done = zoo_command("list", "models", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert {"gru", "broken_model", "gone_model", "misspelt_model"} <= {
        line.split()[0] for line in done.stdout.splitlines()
    }


def test_a_name_that_two_packages_claim(installed):
    installed("plugin_taker")
    with pytest.raises(UserError, match=r"'gru' is claimed by .*plugin_taker.*: uninstall one of them"):
        Registry("model", "zoo.models", ModelFacts).get("gru")


def modules_after(code: str) -> set[str]:
    code = f"import sys\n{code}\nprint(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"torch", "pandas", "ibis", "duckdb", "pyarrow", "numpy", "sklearn", "transformers", "rich.console"}


def test_import_zoo_loads_nothing_heavy():
    assert modules_after("import zoo; zoo.list_models()") & (HEAVY | {"typer"}) == set()


@pytest.mark.parametrize("noun", ["datasets", "tasks", "models"])
def test_zoo_list_loads_nothing_heavy(noun):
    listing = f"from typer.testing import CliRunner; from zoo.cli._listing import list_; list_({noun!r})"
    assert modules_after(listing.split("; ", 1)[1]) & (HEAVY - {"rich.console"}) == set()
