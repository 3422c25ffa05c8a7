"""What every registered model can be made with: what cannot be is refused where it is made, by name."""

import inspect
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

import pytest
import torch
from smallest import sizes, smallest

import zoo
from zoo.models import Estimator
from zoo.registry import Range, UserError, check_multiples, check_parameters, models, parameters_of

HOLDS_ZERO = {("medm_plm", "trained_layers")}
"""Whole numbers that may be 0, which means none."""
FREE = {("gamenet", "beta")}
"""Numbers that may be anything finite."""


def said(annotation) -> tuple[set, list]:
    """The plain types of an annotation, and what it says besides."""
    plain, besides = set(), []
    for option in get_args(annotation) if get_origin(annotation) in (UnionType, Union) else (annotation,):
        if get_origin(option) is Annotated:
            option, *more = get_args(option)
            besides += more
        plain.add(option)
    return plain, besides


def hyperparameters(kind: type) -> list[tuple[str, str]]:
    """Those of all models that are a number of some type: model and name."""
    found = [(m, n, p) for m in models.names() for n, p in parameters_of(models.get(m)).items()]
    return [(m, n) for m, n, p in found if kind in said(p.annotation)[0]]


def refused(model: str, spec=None, **wrong) -> str:
    """Why a model cannot be made so; without a specification, as nothing must have been looked at by then."""
    with pytest.raises(UserError) as error:
        models.get(model)(spec, **wrong)
    return str(error.value)


def test_whole_numbers_are_refused_where_they_make_no_model():
    checked = hyperparameters(int)
    assert len({m for m, _ in checked}) > 40
    for model, name in checked:
        for wrong in (-1, 2.5, "x", True, *([] if (model, name) in HOLDS_ZERO else [0])):
            assert refused(model, **{name: wrong}).startswith(f"model {model!r}: {name}={wrong!r} must be ")


def test_other_numbers_are_refused_where_they_make_no_model():
    checked = hyperparameters(float)
    assert len({m for m, _ in checked}) > 40
    for model, name in set(checked) - FREE:
        dropped = [1.0] if name.endswith(("dropout", "dropconnect")) else []
        for wrong in (-0.1, "x", float("nan"), float("inf"), *dropped):
            assert refused(model, **{name: wrong}).startswith(f"model {model!r}: {name}={wrong!r} must be ")


def test_widths_are_multiples_of_heads():
    with_heads = [(m, n) for m, n in hyperparameters(int) if n.endswith("heads") and n != "tree_heads"]
    assert len(with_heads) > 20
    for model, heads in with_heads:
        assert f"must be a multiple of {heads}=101" in refused(model, **{heads: 101}).replace("2 * ", "").replace(
            "=202", "=101"
        )


def test_defaults_are_what_they_can_be():
    for model in models.names():
        defaults = {n: p.default for n, p in parameters_of(models.get(model)).items()}
        check_parameters(model, models.get(model), defaults)
        check_multiples(model, models.get(model), defaults)


def test_every_number_of_a_model_says_what_it_can_be():
    """A new model's parameters do, too: a bare ``int`` lets 0 layers pass."""
    for model, name in {*hyperparameters(int), *hyperparameters(float)} - FREE:
        ranges = [r for r in said(parameters_of(models.get(model))[name].annotation)[1] if isinstance(r, Range)]
        assert ranges, f"{model}: annotate {name} with a type of zoo.models, such as Size"


def test_the_smallest_models_can_be_made_and_read_a_batch():
    """What the types of hyperparameters let pass is not found to be wrong in training."""
    for name in models.names():
        if not issubclass(models.get(name), Estimator):
            model, batch = smallest(name)
            with torch.no_grad():
                assert model(batch).logits.isfinite().all(), name


def test_a_subclass_and_a_stranger_are_checked_alike():
    class Stranger(zoo.models.Model):
        def __init__(self, spec, dim: zoo.models.MultipleOfHeads = 8, heads: zoo.models.Size = 2):
            super().__init__(spec)

    with pytest.raises(UserError, match=r"^model 'Stranger': dim=9 must be a multiple of heads=2.$"):
        Stranger(None, dim=9)
    with pytest.raises(UserError, match=r"^model 'Stranger': heads=0 must be at least 1; its default is 2.$"):
        Stranger(None, 8, 0)
    with pytest.raises(TypeError):
        Stranger(None, width=3)
    assert inspect.signature(Stranger).parameters


def test_chunks_are_no_longer_than_the_text_encoder_has_places():
    """Longer ones would be found in training, at the first note that is long enough."""
    encoders = [m for m in models.names() if "encoder_heads" in parameters_of(models.get(m))]
    assert len(encoders) > 8
    for name in encoders:
        length = "chunk" if "chunk" in parameters_of(models.get(name)) else "max_length"
        model, _ = smallest(name)
        assert f"{length}=511 must be at most 510" in refused(name, model.spec, **{**sizes(name), length: 511})
        models.get(name)(model.spec, **{**sizes(name), length: 510})


@pytest.mark.parametrize("windows", [0, 2.5, "x", [], [3, 0], [2.5], [True]])
def test_windows_that_are_none(windows):
    assert refused("text_cnn", windows=windows).startswith(f"windows={windows!r} must be ")


def test_settings_are_refused_before_anything_is_read(monkeypatch):
    monkeypatch.setattr("zoo.prepare.load_dataset", lambda *_, **__: pytest.fail("the tables were read"))
    for name, value, words in (
        ("dim", 0, "at least 1"),
        ("dim", 20, r"multiple of 2 \* heads=16"),
        ("heads", "x", "int"),
    ):
        with pytest.raises(UserError, match=f"{name}={value!r} must be .*{words}"):
            zoo.run("synthetic", "readmission", "transformer", settings={f"model.{name}": value})


@pytest.fixture(scope="module")
def data(session_cache):
    return zoo.load("synthetic", "readmission", patients=60)


def test_the_corrected_command_runs_in_the_same_folder(data, tmp_path):
    with pytest.raises(UserError, match="dim=12 must be a multiple"):
        zoo.train(zoo.create_model("transformer", data, dim=12), data, out=tmp_path / "run")
    # what shows in training only: here a loss that is not finite
    with pytest.raises(UserError, match="not finite"):
        zoo.train("mlp", data, out=tmp_path / "run", lr=1e15, optimizer="sgd", max_epochs=9, batch_size=2, clip=None)
    result = zoo.train("mlp", data, out=tmp_path / "run", max_epochs=1)
    assert result.folder == tmp_path / "run"
    with pytest.raises(UserError, match="holds another run"):
        zoo.train("mlp", data, out=tmp_path / "run", max_epochs=2)
