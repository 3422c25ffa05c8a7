"""Which words and codes a run looked at, and the heat map of it."""

import json
import re
from html import escape
from importlib import resources

import numpy as np
import pandas as pd
import pytest
import torch
from browser import in_browser
from smallest import smallest

import zoo
from zoo.cli import app
from zoo.data import Batch
from zoo.datasets._narrative import FUNCTION
from zoo.datasets._writers import write_source
from zoo.inference._named import known, named
from zoo.knowledge.labs import labs
from zoo.models import Estimator, Model
from zoo.registry import models
from zoo.reporting._explained import BAR, TOP, explained, ranked, told

HOSTILE = "<script>document.title = 'taken'</script><b onclick='x'>bold</b>"
PROBE = """
const page = document.querySelector("iframe").contentDocument;
const view = page.defaultView;
const found = { width: page.documentElement.scrollWidth, scripts: page.querySelectorAll("script, b").length };
found.loaded = view.performance.getEntriesByType("resource").length;
found.title = page.title;
found.note = page.querySelector(".note")?.textContent ?? "";
found.shades = [...page.querySelectorAll(".note span, .codes li")].map((s) => view.getComputedStyle(s).backgroundColor);
document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
"""


@pytest.fixture(scope="module")
def data(session_cache):
    return zoo.load("synthetic", "icd_coding", patients=120, top_k=20)


@pytest.fixture(scope="module")
def caml(data, tmp_path_factory):
    model = zoo.create_model("caml", data, embedding_dim=32, filters=24, kernel_size=3)
    out = tmp_path_factory.mktemp("runs") / "caml"
    return zoo.train(model, data, out=out, lr=5e-3, batch_size=32, max_epochs=25, patience=25).folder


PLANTED = {
    "ICD9CM//401.9": "hypertension",
    "ICD9CM//427.31": "atrial_fibrillation",
    "ICD9CM//486": "pneumonia",
    "ICD9CM//250.00": "diabetes",
}
"""Codes, and the conditions they are drawn from, which a note names and finds signs of in words of their own."""


def test_caml_looks_at_the_planted_words(data, caml):
    conditions = pd.read_csv(resources.files("zoo.knowledge") / "synthetic_conditions.csv").set_index("condition")
    written = {c: f"{conditions.words[n]} {conditions.icu_finding[n]}" for c, n in PLANTED.items()}
    written |= {"ICD9CM//719.7": FUNCTION[1], "ICD9CM//V49.84": FUNCTION[3]}
    test = data.samples[data.samples.split == "test"].reset_index(drop=True)
    hits = tries = 0
    for code, text in written.items():
        own = set(re.findall(r"[a-z]+", text.lower())) - {"a", "is", "on", "per", "to", "with"}
        for sample in [n for n, label in enumerate(test.label) if code in label][:8]:
            found = zoo.explain(caml, sample, data, output=code)
            assert found.weight.sum() == pytest.approx(1, abs=1e-5)
            place = int(found.weight.argmax())  # of a window of three words its middle
            tries += 1
            hits += bool(set(found.token[max(place - 1, 0) : place + 2]) & own)
    assert tries > 20
    assert hits / tries > 0.8, (hits, tries)


def test_tokens_are_those_of_the_note(data, caml):
    found = zoo.explain(caml, 3, data)
    test = data.samples[data.samples.split == "test"].reset_index(drop=True)
    assert set(found.visit_id) == {test.visit_id[3]}
    assert set(found.code) == {"NOTE//discharge_summary"}
    notes = data.dataset.read("note")
    (text,) = notes.text[(notes.visit_id == test.visit_id[3]) & (notes.code == "NOTE//discharge_summary")]
    written = re.findall(r"[a-z]+", text.lower())
    known = [w for w in found.token if w != "[UNK]"]
    assert len(found) == len(written)
    assert set(known) <= set(written)


@pytest.mark.parametrize(
    ("name", "small", "names"),
    [
        ("laat", {"hidden_dim": 8, "attention_dim": 8}, {"words"}),
        ("plm_icd", {"encoder_dim": 16, "chunk": 7}, {"tokens"}),
        ("medm_plm", {"encoder_dim": 16, "dim": 8}, {"drug_to_text", "text_to_drug"}),
    ],
)
def test_all_models_of_notes_tell_where_they_looked(data, name, small, names, tmp_path):
    model = zoo.create_model(name, data, **small)
    run = zoo.train(model, data, out=tmp_path / "run", max_epochs=1)
    found = zoo.explain(run.folder, 0, data)
    assert set(found.attention) == names
    for _, of in found.groupby("attention"):
        assert (of.weight >= 0).all()
        assert 0.3 < of.weight.sum() <= 1 + 1e-5  # [CLS] and [SEP] have the rest
    assert found.token[found.concept == "note"].str.len().gt(0).all()
    drugs = found[found.concept == "drug"]
    own = data.dataset.read("visits").set_index("visit_id")
    assert (drugs.time <= own.loc[found.visit_id.iloc[0]].end).all()
    assert found.attrs["output"] in data.labels


def test_the_attention_of_medm_plm_is_that_of_its_visits(data, tmp_path):
    model = zoo.create_model("medm_plm", data, encoder_dim=16, dim=8)
    run = zoo.train(model, data, out=tmp_path / "run", max_epochs=1)
    loaded = zoo.inference._run.load_run(run.folder).model
    place = data.places("test")[:1]
    batch = data.batch(place, loaded)
    told = loaded(batch).attention
    attended = loaded.attended(batch, 0)
    note, flat = batch["note"], attended.tokens["drug_to_text"]
    for visit in range(len(batch.visit_start)):
        begin, end = int(note.text_offsets[visit]), int(note.text_offsets[visit + 1])
        assert np.allclose(flat[begin:end].detach(), told["drug_to_text"][visit, 1 : 1 + end - begin].detach())
    assert len(attended.events["text_to_drug"][1]) == len(batch["drug"].ids)


# The page


def attrs(**fields) -> dict:
    return {"output": HOSTILE, "logit": 0.5, "score": 0.6, "label": [HOSTILE], **fields}


def table() -> pd.DataFrame:
    """Words, pieces of words and codes, some of which would like to be more than text."""
    tokens = ["chest", "pain", "hyper", "##tension", HOSTILE, "<", "script", ">"] * 20
    note = {"attention": "words", "concept": "note", "code": "NOTE//discharge_summary", "name": ""}
    weights = {"pain": 0.9, "chest": 0.3}
    rows = [{**note, "token": t, "weight": weights.get(t, 0.001)} for t in tokens]
    rows += [{"attention": "codes", "concept": "drug", "code": HOSTILE, "name": HOSTILE, "token": "", "weight": 0.4}]
    found = pd.DataFrame(rows).assign(visit_id=7, time=pd.Timestamp("2150-01-01"))
    found.attrs = attrs()
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_heat_map_works_in_a_browser(scheme, tmp_path):
    page = explained(table(), f"What {HOSTILE} looked at")
    found = in_browser(
        page, PROBE, tmp_path, f"--blink-settings=preferredColorScheme={('dark', 'light').index(scheme)}"
    )
    assert found["width"] <= 390
    assert (found["scripts"], found["loaded"]) == (0, 0)
    assert found["title"] == f"What {HOSTILE} looked at"
    assert found["note"].startswith(f"chest pain hypertension {HOSTILE} < script > chest pain")
    assert len(set(found["shades"])) == 2
    assert len(found["shades"]) == 41


def test_the_heat_map_needs_nothing_else_and_shows_text_as_text():
    page = explained(table(), HOSTILE)
    assert re.findall(r"(?:src|href)=|url\(|@import|https?:|<script", page) == []
    assert HOSTILE not in page
    assert page.count(escape(HOSTILE)) > 20


def test_contributions_and_visits_are_drawn_too():
    contributions = pd.DataFrame(
        {
            "concept": ["diagnosis", "drug", "rest"],
            "visit_id": pd.array([1, 1, None], dtype="Int64"),
            "time": [pd.Timestamp("2150-01-01")] * 2 + [pd.NaT],
            "code": [HOSTILE, "DRUG//a", ""],
            "name": ["", "", ""],
            "contribution": [0.5, -0.25, 0.1],
        }
    )
    contributions.attrs = attrs()
    page = explained(contributions, "t")
    assert 'class="up" style="--w:1.000" title="0.5"' in page
    assert 'class="down" style="--w:0.500" title="-0.25"' in page
    assert "The rest adds 0.1000." in page
    assert HOSTILE not in page
    visits = pd.DataFrame({"attention": "alpha", "visit_id": [1, 2], "time": ["a", HOSTILE], "weight": [0.2, 0.8]})
    visits.attrs = attrs()
    page = explained(visits, "t")
    assert 'style="--w:0.250"' in page
    assert HOSTILE not in page


def test_the_command_writes_the_page(caml, tmp_path, capsys):
    out = tmp_path / "sample.html"
    app(["explain", str(caml), "--sample", "1", "--out", str(out)], standalone_mode=False)
    assert "score" in capsys.readouterr().out
    assert '<p class="note">' in out.read_text(encoding="utf-8")
    app(["explain", str(caml), "--sample", "1", "--out", str(tmp_path / "sample.parquet")], standalone_mode=False)
    assert pd.read_parquet(tmp_path / "sample.parquet").weight.sum() == pytest.approx(1, abs=1e-5)
    assert json.loads((caml / "result.json").read_text())["model"] == "caml"


# Which models explain


def how_it_explains(model: Model, batch: Batch) -> str | None:
    """What `zoo.explain` would find in a model, in the words of its registration."""
    if model.contributions(batch) is not None:
        return "contributions of events"
    attended = model.attended(batch, 0)
    if attended is not None:
        return (
            f"attention to {' and '.join(n for n, a in (('words', attended.tokens), ('codes', attended.events)) if a)}"
        )
    visits = [n for n, a in model(batch).attention.items() if a.shape[-1] == len(batch.visit_start)]
    return "attention to visits" if visits else None


def test_models_say_how_they_explain():
    said = {name: models.entry(name).facts.explains for name in models.names()}
    assert sum(s is not None for s in said.values()) >= 8
    for name in said:
        if issubclass(models.get(name), Estimator):
            assert said[name] is None
            continue
        model, batch = smallest(name)
        with torch.no_grad():
            assert how_it_explains(model, batch) == said[name], name


def test_lists_and_facts_say_it(capsys):
    app(["list", "models"], standalone_mode=False)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["dipole"].endswith("[explains by attention to visits]")
    assert "explains" not in lines["gru"]
    app(["list", "models", "--json"], standalone_mode=False)
    told = {m["name"]: m["explains"] for m in json.loads(capsys.readouterr().out)}
    assert told == {n: models.entry(n).facts.explains for n in zoo.list_models()}
    assert "explains: contributions of events" in str(zoo.info("retain"))
    assert "explains: nothing" in str(zoo.info("gru"))


# What codes and values are called


@pytest.fixture(scope="module", params=["mimic3", "mimic4", "eicu"])
def of_values(request, session_cache, tmp_path_factory):
    """A run of RETAIN on labs, vitals and drugs of a schema, and its data."""
    root = tmp_path_factory.mktemp(request.param) / "root"
    write_source(request.param, 60, 3, root, format="csv")
    data = zoo.load(request.param, root=root, task="mortality", concepts=["lab", "drug", "vital"])
    run = zoo.train(zoo.create_model("retain", data, dim=4), data, out=root.parent / "run", max_epochs=1)
    return run.folder, data


def test_labs_vitals_and_drugs_have_names_values_and_units(of_values):
    folder, data = of_values
    sample = next(n for n in range(data.size("test")) if zoo.explain(folder, n, data).concept.nunique() == 4)
    found = zoo.explain(folder, sample, data)
    events = found[found.concept != "rest"]
    assert not events.code.str.contains("//q|//[?]").any()
    known = events[events.code != "<unknown>"]
    assert known.name.str.len().gt(0).all(), known.code[known.name == ""].unique()
    assert not known.name.str.contains("//|_").any()
    kept = pd.concat(data.dataset.read(c) for c in ("lab", "vital"))
    measured = known[known.concept != "drug"].merge(kept, on=["visit_id", "code", "time"], suffixes=("", "_kept"))
    assert len(measured) >= len(known[known.concept != "drug"]) > 50
    measured = measured[(measured.unit == measured.unit_kept) & measured.value.notna()]
    assert len(measured) > 50
    assert np.isclose(measured.value, measured.value_kept, rtol=1e-6).mean() > 0.95  # several of one time are crossed
    assert known.unit[known.value.notna()].str.len().gt(0).mean() > 0.9
    assert (known.unit[known.value.isna()] == "").all()
    assert known.value[known.concept == "drug"].isna().all()


def test_a_lab_that_we_do_not_know_has_the_name_of_the_sources_dictionary(of_values):
    _, data = of_values
    names = data.dataset.code_names("lab")
    if data.dataset.name == "eicu":
        assert names == {}
        assert named(["LAB//ALT (SGPT)"], "lab", data.dataset) == {"LAB//ALT (SGPT)": "ALT (SGPT)"}
        return
    assert "LAB//51237" not in labs()
    assert named(["LAB//51237", "LAB//50912", "LAB//1"], "lab", data.dataset) == {
        "LAB//51237": names["LAB//51237"],
        "LAB//50912": "creatinine",
        "LAB//1": "",
    }
    assert "INR" in names["LAB//51237"]
    assert all(c.startswith(("NDC//", "DRUG//")) and n for c, n in data.dataset.code_names("drug").items())


ODD = "ITEMID,LABEL,FLUID\n51237, INR ,\n7,Protein,Urine\n,x,\nx,y,\n8,,Blood\n"
"""A dictionary with blanks, and with numbers that are none."""


@pytest.mark.parametrize("dictionary", [None, ODD])
def test_a_dictionary_that_is_missing_or_odd(dictionary, session_cache, tmp_path):
    write_source("mimic3", 3, 0, tmp_path / "root", format="csv")
    (tmp_path / "root" / "D_LABITEMS.csv").unlink()
    if dictionary:
        (tmp_path / "root" / "D_LABITEMS.csv").write_text(dictionary)
    found = zoo.load_dataset("mimic3", tmp_path / "root").code_names("lab")
    assert found == ({"LAB//51237": "INR", "LAB//7": "Protein (urine)"} if dictionary else {})


# The table


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_table_fits_and_has_the_largest_first(of_values, width):
    folder, data = of_values
    found = zoo.explain(folder, 0, data)
    lines = told(found, width).splitlines()
    assert max(map(len, lines)) <= width
    largest = found[found.concept != "rest"].contribution.abs().sort_values(ascending=False)
    shown = [float(line.split()[0]) for line in lines[1 : TOP + 1]]
    assert np.abs(shown) == pytest.approx(largest.to_numpy()[:TOP], abs=5e-5)
    bars = [re.search(r"[+-]{1,12}(?= )", line[10:]) for line in lines[1 : TOP + 1]]
    assert len(bars[0][0]) == BAR
    assert all((value < 0) == (bar[0][0] == "-") for value, bar in zip(shown, bars, strict=True) if bar)
    assert f"{len(largest) - TOP} smaller ones" in lines[-3]
    assert lines[-1].endswith(f"the logit: {found.attrs['logit']:+.4f}")


def test_the_table_is_what_python_and_a_notebook_show(caml, data, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = zoo.explain(caml, 1, data)
    assert repr(found) == str(found) == told(found, 80)
    assert "[" in told(found).splitlines()[1]
    assert type(found[found.weight > 0]) is pd.DataFrame
    app(["explain", str(caml), "--sample", "1"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert told(found, 80) in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert found._repr_html_().count("<tr>") == min(TOP, len(found))


def test_tokens_are_shown_among_those_beside_them():
    found = table()
    first = told(found, 100).splitlines()[1]
    assert first.split()[:2] == ["0.9000", "#" * BAR]
    assert "chest [pain] hypertension" in first
    assert HOSTILE not in "".join(ranked(found))


def test_a_class_of_codes_is_told_by_its_members():
    assert known("ATC//C03C").startswith("C03C: furosemide; ")
    assert known("ICD9CM//428").startswith("428: Congestive heart failure")
    assert known("ICD9CM//428.0") == "Congestive heart failure, unspecified"
    assert known("ATC//Z99") == known("ICD9CM//") == known("") == ""
