"""The command, as a person uses it: in a process of its own."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def zoo_run(zoo_command, intact_mimic3, tmp_path_factory):
    """``zoo run`` and the like on the tiny source, with a cache that this file shares."""
    folder = tmp_path_factory.mktemp("cli")

    def run(command, *arguments, **environment):
        source = ("--dataset", "mimic3", "--root", intact_mimic3.root)
        return zoo_command(command, *source, *arguments, cwd=folder, ZOO_CACHE=folder / "cache", **environment)

    return run


@pytest.fixture
def zoo_main(capsys, monkeypatch, tmp_path):
    """Run ``zoo`` within this process; gives its exit status, standard output and standard error."""
    from zoo import cli

    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["zoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        assert list(folder.iterdir()) == []
        return subprocess.CompletedProcess(arguments, ended.value.code, told.out, told.err)

    return run


def assert_mistake(done, *words) -> None:
    """It ended with status 2 and one or two lines that have the words."""
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) in (1, 2), done.stderr
    assert [w for w in words if w not in done.stderr] == []
    assert done.stdout == ""


MISTAKES = {
    "list modells": ["unknown noun 'modells'", "'models'"],
    "info readmision": ["unknown name 'readmision'", "did you mean 'readmission'"],
    "info drug": ["unknown name 'drug'", "did you mean 'drugs'"],
    "info drugs": ["needs --dataset", "--root"],
    "info drugs --dataset mimc3": ["unknown dataset 'mimc3'", "'mimic3'"],
    "info retain --dataset mimic3": ["--dataset, --root and --set are for `zoo info drugs`"],
    "run --dataset mimc3 --task los --model gru": ["unknown dataset 'mimc3'", "'mimic3'"],
    "run --dataset mimic3 --task readmision --model gru": ["unknown task", "'readmission'"],
    "run --dataset mimic3 --task los --model grru": ["unknown model 'grru'", "'gru'"],
    "run --dataset mimic3 --task los --model gru": ["needs root="],
    "synth --schema mimic5 --out x": ["'mimic5' is unknown", "'mimic"],
    "synth --format csw --out x": ["'csw' is unknown", "'csv'"],
    "synth --patients 100000000 --out x": ["patients must be from 1"],
    "leaderboard --dataset synthetic --tasks los loss --models gru --out x": ["unknown task 'loss'", "'los'"],
    "leaderboard --dataset synthetic --tasks los --models gru,mlp grru --out x": ["unknown model 'grru'", "'gru'"],
    "samples --dataset synthetic --task los --out x.txt": ["must end in .parquet or .csv"],
    "samples --dataset synthetic --task los --out no/x.parquet": ["no folder no"],
    "samples --dataset synthetic --task los --out x.parquet --set data.schema=mimic33": [
        "'mimic33' is unknown",
        "'mimic3'",
    ],
    "samples --dataset synthetic --task los --out x.parquet --set model.dim=3": ["has no effect here"],
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_ends_with_status_2_and_says_what_is_near(command, zoo_main, own_cache):
    assert_mistake(zoo_main(*command.split()), *MISTAKES[command])


def test_a_mistake_in_a_process_of_its_own(zoo_command):
    assert_mistake(zoo_command("run", "--dataset", "mimc3", "--task", "los", "--model", "gru"), "'mimc3'", "'mimic3'")


SETTINGS = {
    "task.dayz=3": ["task 'readmission' has no parameter 'dayz'", "'days'"],
    "task.days=soon": ["days='soon' must be of type float"],
    "task.unit=bed": ["unit='bed' must be one of 'visit', 'stay'"],
    "data.slit=temporal": ["no setting 'data.slit'", "'split'"],
    "data.root=elsewhere": ["no setting 'data.root'"],
    "data.split=0.5": ["three shares"],
    "data.split=nowhere.csv": ["neither 'temporal' nor 'hospital' nor a file"],
    'data.concepts=["diagnosys"]': ["unknown concept 'diagnosys'", "'diagnosis'"],
    "data.concepts=diagnoses": ["unknown concept 'diagnoses'", "'diagnosis'"],
    "data.concepts=3": ["a list of names"],
    'data.levels={"diagnosis":"css"}': ["css", "ccs"],
    'data.levels={"diagnoses":"ccs"}': ["unknown concept 'diagnoses'", "'diagnosis'"],
    "data.max_visits=0": ["max_visits=0"],
    "data.memory_limit=plenty": ["memory_limit='plenty'"],
    "model.dimm=3": ["model 'gru' has no parameter 'dimm'", "'dim'"],
    "model.dim=wide": ["dim='wide' must be of type int"],
    "model.dim=-4": ["dim=-4 must be at least 1"],
    "trainer.epochs=3": ["the trainer has no parameter 'epochs'", "'max_epochs'"],
    "trainer.lr=NaN": ["NaN is no number"],
    "trainer.lr=-1": ["lr=-1"],
    "trainer.device=abacus": ["device='abacus' cannot be used"],
    "trainers.lr=1": ["must begin with one of task., data., model., trainer.", "'trainer'"],
    "days": ["must be KEY=VALUE"],
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_wrong_setting_ends_with_a_cure(setting, intact_mimic3, zoo_main):
    source = ["--dataset", "mimic3", "--root", intact_mimic3.root]
    done = zoo_main("run", *source, "--task", "readmission", "--model", "gru", "--set", setting)
    assert_mistake(done, *SETTINGS[setting])


@pytest.mark.parametrize("command", ["run", "frobnicate", "list", "list models --nope", "synth --patients x --out y"])
def test_wrong_usage_ends_with_status_2(command, zoo_command):
    done = zoo_command(*command.split())
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Usage" in done.stderr


@pytest.mark.parametrize("command", ["list modells --debug", "--debug list modells"])
def test_debug_shows_the_traceback(command, zoo_command):
    done = zoo_command(*command.split())
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "UserError" in done.stderr


def test_list_and_info(zoo_command):
    listed = zoo_command("list", "tasks").stdout.splitlines()
    assert [line.split()[0] for line in listed] == sorted(line.split()[0] for line in listed)
    assert all(len(line.split()) > 3 for line in listed)
    known = json.loads(zoo_command("list", "models", "--json").stdout)
    assert {"gru", "logistic_regression"} <= {k["name"] for k in known}
    told = zoo_command("info", "gru").stdout
    assert all(w in told for w in ("dim = 128", "paper: Cho", "uses: diagnosis"))
    assert json.loads(zoo_command("info", "readmission", "--json").stdout)["parameters"]["days"] == 30


def test_info_drugs_counts_every_order_and_names_what_has_no_class(zoo_run):
    done = zoo_run("info", "drugs", "--json")
    facts = json.loads(done.stdout)
    assert facts["dataset"] == "mimic3"
    assert facts["rows"] == facts["unnamed"] + facts["diluents"] + facts["mapped"] + facts["unmapped"] > 0
    assert sum(rows for _, rows in facts["unmapped_names"]) == facts["unmapped"]
    printed = zoo_run("info", "drugs").stdout
    assert f"with an ATC class     {facts['mapped']:>12,}" in printed
    assert all(name in printed for name, _ in facts["unmapped_names"])


def test_run_prints_one_line_of_strict_json_last_and_nothing_else_in_a_pipe(zoo_run, tmp_path):
    small = ("--set", "trainer.max_epochs=1", "--set", "model.dim=8")
    done = zoo_run("run", "--task", "readmission", "--model", "gru", *small, "--out", tmp_path / "r", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    *_, last = done.stdout.splitlines()

    def refuse(constant):
        raise AssertionError(constant)

    found = json.loads(last, parse_constant=refuse)
    assert found == json.loads((tmp_path / "r" / "result.json").read_text(), parse_constant=refuse)
    assert (found["dataset"], found["task"], found["model"], found["seed"]) == ("mimic3", "readmission", "gru", 0)


@pytest.fixture(scope="module")
def with_filler(tmp_path_factory):
    """The environment of a process in which a package is installed that has a model which is pre-trained."""
    site = tmp_path_factory.mktemp("site")
    (site / "filler_model.py").write_text(
        "import filler\nfrom zoo import register_model\n\n\n"
        "@register_model('filler', **filler.FACTS)\nclass Filler(filler.Filler):\n    pass\n"
    )
    facts = site / "filler_model-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: filler-model\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[zoo.models]\nfiller = filler_model\n")
    return {"PYTHONPATH": os.pathsep.join([str(site), str(Path(__file__).parent)])}


def test_a_run_begins_with_a_pretraining(zoo_run, with_filler, tmp_path):
    few = ("--set", "trainer.max_epochs=1", "--set", "data.split_seed=3")
    small = (*few, "--set", "model.dim=5", "--set", 'data.levels={"diagnosis":"ccs"}')
    model = ("--task", "mortality_next_visit", "--model", "filler")
    done = zoo_run("pretrain", *model, *small, "--out", tmp_path / "before", "--json", **with_filler)
    assert done.returncode == 0, done.stderr
    before = json.loads(done.stdout.splitlines()[-1])
    assert before["config"]["pretraining"]
    assert list(before["metrics"]) == ["loss"]

    begin = ("--init", tmp_path / "before", "--set", "trainer.max_epochs=1", "--out")
    done = zoo_run("run", *model, *begin, tmp_path / "after", "--json", **with_filler)
    assert done.returncode == 0, done.stderr
    after = json.loads(done.stdout.splitlines()[-1])
    assert after["config"]["model"] == {"dim": 5}
    assert after["config"]["data"]["split_seed"] == 3
    assert after["config"]["init"]["task"] == "mortality_next_visit"
    assert after["notes"][-1] == "began with the weights of a run of mortality_next_visit; anew: none"

    for command, *words in [
        (("run", *model, *begin, tmp_path / "b", "--set", "model.dim=4"), "do not fit", "make it with dim=5"),
        (("run", *model, *begin, tmp_path / "b", "--set", "data.split_seed=0"), "was split otherwise", "split_seed=3"),
        (("run", *model, "--init", tmp_path, "--out", tmp_path / "b"), "is no run folder"),
        (("pretrain", *model[:-1], "gru", "--out", tmp_path / "b"), "'gru' is not pre-trained"),
    ]:
        assert_mistake(zoo_run(*command, **with_filler), *words)
    assert not (tmp_path / "b").exists()


def test_one_class_is_told_and_no_failure(zoo_run, intact_mimic3, tmp_path):
    table = pd.DataFrame({"subject_id": intact_mimic3.table("patients").SUBJECT_ID, "split": "train"})
    table.loc[[0, 1, 2], "split"] = "test"
    table.to_csv(tmp_path / "split.csv", index=False)
    split = ("--set", f"data.split={tmp_path / 'split.csv'}", "--set", "task.hours=24")
    done = zoo_run("run", "--task", "mortality", "--model", "logistic_regression", *split, "--out", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    assert "undefined: no positive" in done.stdout
    assert "samples have the label False" in done.stdout


def test_what_was_cleaned_reaches_the_user(zoo_command, mimic3, own_cache, tmp_path):
    mimic3.change("admissions", "DISCHTIME", 4, "soon")
    mimic3.change("diagnoses_icd", "ICD9_CODE", 4, "")
    source = ("--dataset", "mimic3", "--root", mimic3.root, "--task", "diagnosis")
    done = zoo_command("samples", *source, "--out", tmp_path / "s.parquet")
    assert done.returncode == 0, done.stderr
    table, cleaning = done.stdout.split("left out or set to null while reading:")
    assert "all visits" in table
    assert "visits: 1 unparsable dischtime (such as visit_id 100021, dischtime: aaaa)" in cleaning
    assert "diagnosis: 1 no code (such as subject_id 10007)" in cleaning
    assert len(pd.read_parquet(tmp_path / "s.parquet")) > 10

    run = zoo_command("run", *source, "--model", "logistic_regression", "--out", tmp_path / "r", "--json")
    notes = json.loads(run.stdout)["notes"]
    assert "visits: 1 unparsable dischtime" in notes
    assert "diagnosis: 1 no code" in notes
    assert "100021" not in str(notes)


def test_the_classes_of_visits_can_be_set(zoo_command, intact_mimic3, own_cache, tmp_path):
    source = ("--dataset", "mimic3", "--root", intact_mimic3.root, "--task", "los", "--out", tmp_path / "s.parquet")
    done = zoo_command("samples", *source, "--set", 'task.visit_class=["observation","inpatient"]')
    assert done.returncode == 0, done.stderr
    assert "visit is not inpatient or observation" in done.stdout
    missing = zoo_command("samples", *source[:-1], tmp_path / "t.parquet", "--set", "task.visit_class=ward")
    assert_mistake(missing, "visit_class='ward' must be None", "'observation'")


def test_synth_and_its_folder(zoo_command, tmp_path):
    out = tmp_path / "tables"
    done = zoo_command("synth", "--patients", 5, "--seed", 1, "--format", "csv", "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert any(p.name.upper().startswith("ADMISSIONS") for p in out.rglob("*"))
    assert_mistake(zoo_command("synth", "--out", out), "exists: choose another folder")


def test_on_a_terminal_the_progress_shows_and_nested_progress_shares_its_line(tmp_path):
    code = (
        "import time, zoo.progress as p\n"
        "p.PATIENCE = 0.05\n"
        "with p.progress('outer') as report:\n"
        "    report(1, 'begun'); time.sleep(0.3)\n"
        "    with p.progress('inner') as inner:\n"
        "        inner(7); time.sleep(0.3)\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:
            break
        if not block:
            break
        shown += block
    os.close(ours)
    assert process.wait() == 0
    assert b"outer: 1  begun" in shown
    assert b"inner: 7" in shown
    assert b"Error" not in shown
