"""The conformance kit for models: everything registered passes it, and whatever is broken is named."""

import json
import re

import broken_models as broken
import pytest
import torch

import zoo
from zoo import cli
from zoo.registry import UserError, models, parameters_of
from zoo.testing import Report, check_model
from zoo.testing._model import CHECKS
from zoo.testing._model._patients import CODES, FabricatedTask, patients

SMALLER = {
    "adacare": {"dim": 32, "channels": 16},
    "clinical_bert": {"encoder_dim": 32},
    "concare": {"dim": 32, "feedforward": 64},
    "early_fusion": {"encoder_dim": 16, "encoder_layers": 1, "dim": 16, "points": 4},
    "fusemoe": {"encoder_dim": 16, "encoder_layers": 1, "dim": 16, "points": 4, "layers": 1, "expert_dim": 16},
    "gbert": {"dim": 16},
    "gbert_clinical_bert": {"encoder_dim": 32, "dim": 16},
    "hitanet": {"dim": 32, "time_dim": 16},
    "late_fusion": {"encoder_dim": 16, "encoder_layers": 1, "dim": 16, "points": 4},
    "laat": {"hidden_dim": 32, "attention_dim": 32},
    "med_bert": {"dim": 24, "layers": 2, "heads": 2},
    "med_bert_clinical_bert": {"encoder_dim": 32, "dim": 24, "layers": 2, "heads": 2},
    "medm_plm": {"encoder_dim": 32, "dim": 16},
    "molerec": {"dim": 16},
    "mtand": {"width": 16, "dim": 16, "points": 8},
    "mult": {"encoder_dim": 16, "encoder_layers": 1, "dim": 8, "points": 4, "layers": 1},
    "plm_icd": {"encoder_dim": 32},
    "stagenet": {"dim": 48},
    "tcn": {"dim": 16},
    "text_encoder": {"encoder_dim": 32},
}
"""Hyperparameters of models that take long with their defaults."""


@pytest.mark.parametrize("name", zoo.list_models())
def test_every_registered_model_passes(name):
    report = check_model(name, **SMALLER.get(name, {}))
    assert report.passed, str(report)


def test_every_model_that_can_read_a_grid_passes_with_it():
    reading = [n for n in zoo.list_models() if "grid" in parameters_of(models.get(n))]
    assert reading
    for name in reading:
        report = check_model(name, grid=True)
        assert report.passed, str(report)


BROKEN = {
    "batch_independence": [broken.PaddingLeak, broken.BatchStatistics, broken.Neighbour],
    "uses_inputs": [broken.IgnoredInput, broken.Presence],
    "gradients": [broken.UnusedParameter, broken.Detached, broken.UnusedInPretraining],
    "seed": [broken.Nondeterministic, broken.FitsByChance],
    "state": [broken.StateKept, broken.Remembers],
    "label": [broken.LooksAtLabel, broken.LooksAtSubject],
    "causal": [broken.LooksAtItsLabelConcept],
    "save_load": [broken.LosesWeights, broken.NotPersistent, broken.ForgetsItsFit],
    "empty_history": [broken.EmptyHistory, broken.PretrainingWithoutEvents],
    "missing_concept": [broken.MissingConcept, broken.MissingModality, broken.AllAbsent],
    "single_sample": [broken.SingleSample],
    "code_order": [broken.CodeOrder],
    "bf16": [broken.OverflowsInHalf, broken.PretrainingOverflowsInHalf],
    "overfits": [broken.CannotFit],
    "output_shape": [broken.OneLogitTooMany],
    "loss_finite": [
        broken.LossPerSample,
        broken.PretrainingNotFinite,
        broken.PretrainingWithoutLoss,
        broken.PretrainingLossPerVisit,
    ],
    "embeds": [
        broken.SameVectorForAll,
        broken.VectorInItsBatch,
        broken.VectorOfTheLabel,
        broken.VectorOfEachVisit,
        broken.VectorLooksAhead,
        broken.VectorOverflowsInHalf,
    ],
    "hyperparameters": [broken.NoDefault, broken.AnyHyperparameter],
}


@pytest.fixture
def registered():
    """Registers a model for this test alone, and gives its name."""

    def register(thing, **facts):
        models._entries.pop("checked here", None)
        facts = {**broken.FACTS, **getattr(thing, "facts", {}), **facts}
        return models.register("checked here", **facts)(thing).registered_name

    yield register
    models._entries.pop("checked here", None)


@pytest.mark.parametrize(
    ("check", "thing"),
    [(c, t) for c, things in BROKEN.items() for t in things],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_a_broken_model_is_named_for_its_fault_alone(registered, check, thing):
    report = check_model(registered(thing))
    assert report.failures == [check], str(report)
    assert report.details[check]


def test_noise_in_evaluation_is_named(registered):
    report = check_model(registered(broken.NoiseInEvaluation))
    assert set(report.failures) == {"batch_independence", "state"}, str(report)


@pytest.mark.parametrize(
    ("thing", "failures"),
    [
        (broken.LooksAhead, {"future", "causal"}),
        (broken.LooksAheadByTime, {"future", "causal"}),
        (broken.LooksAtLaterLabelConcepts, {"future", "causal"}),
        (broken.LooksAtSamplesOfItsRow, {"batch_independence", "causal"}),
    ],
)
def test_a_causal_model_that_looks_at_others_in_its_row_is_named(registered, thing, failures):
    report = check_model(registered(thing))
    assert set(report.failures) == failures, str(report)


def test_a_row_of_a_model_that_is_not_causal_holds_one_sample_and_no_later_visit(registered):
    """Its mean over all visits of a row is one over those up to the sample's own."""
    report = check_model(registered(broken.LooksAhead, causal=False))
    assert report.passed, str(report)
    assert "no visit after its own" in report.details["future"]


def test_a_pretraining_loss_that_is_not_finite_in_evaluation_is_named(registered):
    report = check_model(registered(broken.PretrainingNotFiniteInEvaluation))
    assert report.details["loss_finite"] == "binary: the pre-training loss is not finite"


def test_a_model_that_reads_what_is_withheld_of_its_own_visit_is_sound_alone_in_its_row_only(registered):
    assert check_model(registered(broken.Sound, kinds={"multilabel"})).passed
    report = check_model(registered(broken.Sound, kinds={"multilabel"}, causal=True))
    assert report.failures == ["causal"], str(report)


def test_the_report_says_that_a_model_is_not_causal(registered):
    report = check_model(registered(broken.Sound))
    assert "not registered as causal" in report.details["causal"]
    assert "causal" not in check_model(registered(broken.SoundCausal)).details


def test_the_report_says_that_a_model_has_no_vectors(registered):
    assert "no one vector of a patient" in check_model(registered(broken.Sound)).details["embeds"]
    assert "embeds" not in check_model(registered(broken.SoundVectors)).details


@pytest.mark.parametrize(
    "thing",
    [broken.Sound, broken.SoundEstimator, broken.SoundCausal, broken.SoundPretraining, broken.SoundVectors],
)
def test_a_sound_model_passes(registered, thing):
    report = check_model(registered(thing))
    assert report.passed, str(report)
    assert isinstance(report, Report)


def test_every_check_has_a_broken_model():
    assert set(BROKEN) - {"hyperparameters"} | {"future"} == set(CHECKS)


def test_every_check_is_documented():
    told = set(re.findall(r"``(\w+)``", check_model.__doc__.split("A model that is fitted")[0]))
    assert told == {"declaration", "hyperparameters", *CHECKS, "pretrain"}


def test_what_results_rest_on_cannot_be_waived():
    kept = {"batch_independence", "future", "causal", "save_load", "embeds"}
    assert {n for n, check in CHECKS.items() if not check.waivable} == kept


def test_a_sound_model_passes_for_every_kind(registered):
    kinds = {"binary", "multiclass", "multilabel", "regression"}
    report = check_model(registered(broken.Sound, kinds=kinds, uses=set(CODES)))
    assert report.passed, str(report)


def test_the_kind_that_fails_is_named(registered):
    class OnlyBinary(broken.Sound):
        def outputs(self, spec):
            return 1

    report = check_model(registered(OnlyBinary, kinds={"binary", "multiclass"}))
    assert "multiclass: " in str(report)
    assert "binary: " not in str(report)


# Waivers


def test_a_check_can_be_waived_with_a_reason_that_the_report_says(registered):
    reason = "positions are part of the input"
    report = check_model(registered(broken.CodeOrder, waives={"code_order": reason}))
    assert report.passed, str(report)
    assert f"code_order: waived: {reason}" in str(report)


@pytest.mark.parametrize("check", [name for name, check in CHECKS.items() if not check.waivable])
def test_what_a_result_rests_on_cannot_be_waived(registered, check):
    report = check_model(registered(broken.LooksAhead, waives={check: "we would rather not"}))
    assert report.failures == ["declaration"]
    assert f"{check} cannot be waived" in str(report)


@pytest.mark.parametrize(
    ("waives", "said"),
    [
        ({"gradient": "a typing error"}, "none of"),
        ({"code_order": " "}, "no reason"),
    ],
)
def test_a_waiver_that_makes_no_sense_is_named(registered, waives, said):
    report = check_model(registered(broken.Sound, waives=waives))
    assert report.failures == ["declaration"]
    assert said in report.details["declaration"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"kinds": set()}, "kinds are not registered"),
        ({"kinds": {"boolean"}}, "unknown kind 'boolean'"),
        ({"uses": {"genome"}}, "'genome', which is none of"),
        ({"needs": {"gene"}}, "'gene', which is none of"),
        ({"levels": {"drug": "atc9"}}, "unknown level 'atc9'"),
        ({"levels": {"gene": "code"}}, "unknown concept 'gene'"),
        ({"begins_with": {"gbart": {"weights": "codes.", "hyperparameters": ()}}}, "unknown model 'gbart'"),
        ({"begins_with": {"gbert": {"weights": "", "hyperparameters": ()}}}, "whose 'weights' are all"),
        (
            {"begins_with": {"gbert": {"weights": "codes.", "hyperparameters": ("dims",)}}},
            "has no hyperparameter 'dims'",
        ),
    ],
)
def test_a_declaration_that_makes_no_sense_is_named(registered, facts, said):
    report = check_model(registered(broken.Sound, **facts))
    assert report.failures == ["declaration"]
    assert said in report.details["declaration"]


# The patients


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_fabricated_patients_have_something_of_everything(kind):
    task = FabricatedTask(kind, tuple(CODES))
    batch = task.batch(task.rows(0, 96))
    assert batch.samples == 96
    for concept in CODES:
        events = batch[concept]
        assert (events.lengths == 0).any()
        assert (events.lengths > 1).any()
        assert int(events.ids.max()) < task.spec.size(concept)
        assert (events.ids == 1).any()
        assert int(events.offsets[-1]) == len(events.ids)
    assert {len(p.visits) for p in patients()} == {1, 2, 3, 4}
    label = batch.label.double()
    assert (label.std(dim=0) > 0.3).all()


def test_a_label_concept_of_the_target_visit_is_withheld():
    task = FabricatedTask("multilabel", tuple(CODES))
    batch = task.batch(task.rows(0, 64))
    own = batch.row_offsets[1:] - 1
    assert task.spec.label_concepts == {"drug"}
    assert not batch["drug"].lengths[own].any()
    assert batch["diagnosis"].lengths[own].any()


def test_a_task_of_drug_sets_has_the_resources_that_a_model_asks_for():
    resources = ("cooccurrence", "interactions", "molecules", "ontology")
    spec = FabricatedTask("multilabel", ("diagnosis", "drug"), predicts="drug", resources=resources).spec
    assert spec.labels == tuple(CODES["drug"])
    assert set(spec.resources) == set(resources)
    for name in ("cooccurrence", "interactions"):
        assert spec.resources[name].shape == (len(spec.labels), len(spec.labels))
        assert spec.resources[name].any()


# From the command line


def test_the_command_checks_a_model_in_a_process_of_its_own(zoo_command, tmp_path):
    done = zoo_command("check", "mlp", "--set", "model.dim=8", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["passed"] is True
    assert facts["failures"] == []
    assert set(CHECKS) <= set(facts["checks"])


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs ``zoo check`` in this process; gives exit status, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["zoo", "check", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return run


def test_the_command_says_that_all_is_well(command, registered):
    status, out, _ = command(registered(broken.Sound))
    assert not status
    assert "model 'checked here': all checks passed" in out


def test_a_model_that_fails_ends_with_status_1_and_the_names(command, registered):
    status, out, _ = command(registered(broken.LooksAtLabel))
    assert status == 1
    assert "FAILED label" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gruu"], "did you mean 'gru'"),
        (["gru", "--set", "model.dimm=8"], "no parameter 'dimm'"),
        (["gru", "--set", "task.days=8"], "has no effect here"),
    ],
)
def test_a_mistake_ends_with_status_2(command, arguments, said):
    status, _, error = command(*arguments)
    assert status == 2
    assert said in error
    assert "Traceback" not in error


def test_an_unknown_name_and_hyperparameter_are_errors():
    with pytest.raises(UserError, match="did you mean"):
        check_model("gruu")
    with pytest.raises(UserError, match="no parameter 'dimm'"):
        check_model("gru", dimm=8)


def test_a_check_leaves_random_numbers_and_threads_alone(registered):
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    check_model(registered(broken.CannotFit))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
