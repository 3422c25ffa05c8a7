"""Notes as tokens: cleaning, vocabularies of the training split, the cache, and what a batch holds of a text."""

import json
import re
import subprocess
import sys
from collections import Counter
from itertools import chain

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import zoo
from conftest import SourceFolder
from zoo.data._splits import fraction
from zoo.data._store import Store, Texts
from zoo.data._tokens import tokens_of
from zoo.data.text import Reading, Tokenizer, WordPieces, Words
from zoo.models import Model
from zoo.registry import UserError

PLAIN = ["Patient has chest pain. Chest clear.", "No chest pain; fever of 39.2", "Fever, cough and chest pain"]


@pytest.fixture(scope="module")
def transcriptions(open_data) -> list[str]:
    """Some hundred real texts."""
    table = pd.read_csv(open_data / "mtsamples" / "mtsamples.csv.gz")
    return table.transcription.dropna().tolist()[:400]


# Words


def cleaned(text: str) -> str:
    """What is left of a text of plain letters, by the definition."""
    return re.sub(r"\[[^\[\]]{0,200}\]|[_=-]{2,}", " ", text.replace("\n", " ").lower())


def test_words_are_those_that_enough_notes_have(transcriptions):
    ascii_only = [t.encode("ascii", "ignore").decode() for t in transcriptions]
    split = [[w for w in re.findall(r"[a-z0-9]+", cleaned(t)) if not w.isdigit()] for t in ascii_only]
    notes_with = Counter(chain.from_iterable(set(words) for words in split))
    tokenizer = Words(min_notes=3).fit(ascii_only)
    known = sorted(w for w, n in notes_with.items() if n >= 3)
    assert tokenizer.words(range(tokenizer.size)) == ["[PAD]", "[UNK]", *known]
    tokens, lengths = tokenizer.encode(ascii_only)
    assert lengths.tolist() == [len(words) for words in split]
    expected = [w if notes_with[w] >= 3 else "[UNK]" for w in chain.from_iterable(split)]
    assert tokenizer.words(tokens) == expected


def test_cleaning_takes_out_what_names_nobody_and_keeps_numbers():
    tokenizer = WordPieces(size=60).fit(["mr smith takes 12.5 mg daily"] * 3)
    text = "Mr\n[**Known lastname 123**] ___ takes 12.5 mg\r\n\x00daily ===== [not closed"
    assert "".join(tokenizer.words(tokenizer.encode([text])[0])).replace("##", "").startswith("mrtakes12.5mgdaily")


# Word pieces


def test_word_pieces_are_the_same_in_every_process(transcriptions, tmp_path):
    (tmp_path / "notes.json").write_text(json.dumps(transcriptions[:150]))
    program = (
        "import json, sys; from zoo.data.text import WordPieces;"
        "print(WordPieces(size=1500).fit(json.load(open(sys.argv[1]))).plain)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "notes.json")]  # anew: each has a hash seed of its own
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == second
    tokenizer = Tokenizer(first)
    assert tokenizer.size == 1500
    assert tokenizer.words(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert [tokenizer.special(n) for n in ("[PAD]", "[CLS]", "[MASK]")] == [0, 2, 4]


def test_word_pieces_put_together_are_the_text(transcriptions):
    tokenizer = WordPieces(size=2000).fit(transcriptions)
    text = next(t for t in transcriptions if t.isascii())
    tokens, (length,) = tokenizer.encode([text])
    assert length == len(tokens)
    assert tokenizer.unknown not in tokens
    together = "".join(w.removeprefix("##") for w in tokenizer.words(tokens))
    assert together == "".join(cleaned(text).split())


def test_what_a_text_says_is_never_a_special_token():
    tokenizer = WordPieces(size=80).fit(["pad cls mask ( ) < >"] * 3)
    tokens, _ = tokenizer.encode(["(PAD) [CLS] <MASK> [UNK]"])
    assert not set(tokens) & {0, 1, 2, 3, 4}


# Odd texts


ODD = [
    "",
    "   \n\t ",
    "\x00\x01\x1f\u200b\ufeff",
    "x" * 100_000,
    "[" * 100_000,
    "word " * 25_000,
    "caf\u00e9 na\u00efve \u2014 \u6f22\u5b57 \U0001f600",
    "\ufffd\ufffd latin1 as utf8 \u00c3\u00a9",
]


@pytest.mark.parametrize("form", [Words(1), WordPieces(size=300)], ids=str)
def test_odd_texts_are_cut_in_moments(form):
    tokenizer = form.fit([*PLAIN, *ODD[:3], *ODD[6:]])
    tokens, lengths = tokenizer.encode(ODD)
    assert len(tokens) == lengths.sum()
    assert lengths[:3].tolist() == [0, 0, 0]
    assert lengths[5] == 25_000
    assert tokens.min() >= 0
    assert tokens.max() < tokenizer.size


@given(st.lists(st.text(max_size=60), max_size=6))
def test_texts_are_cut_one_by_one(texts):
    tokenizer = WORDS
    tokens, lengths = tokenizer.encode(texts)
    parts = [tokenizer.encode([t])[0] for t in texts]
    assert lengths.tolist() == [len(p) for p in parts]
    assert tokens.tolist() == list(chain.from_iterable(p.tolist() for p in parts))


WORDS = Words(min_notes=1).fit(PLAIN)


def test_a_tokenizer_that_is_none():
    for damaged in ("", "{}", "[1]", '{"model": {"type": "BPE"}}'):
        with pytest.raises(ValueError, match="no tokenizer"):
            Tokenizer(damaged)


def test_notes_of_nobody_make_a_vocabulary_without_words():
    for form in (Words(), WordPieces(size=100)):
        tokenizer = form.fit([])
        tokens, lengths = tokenizer.encode(["chest pain", ""])
        assert set(tokens.tolist()) == {tokenizer.unknown}
        assert lengths.tolist() == [2, 0]


# How much is read


@given(st.data())
def test_the_newest_notes_are_read_each_from_its_beginning(data):
    visits = data.draw(st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=4))
    most, of_each = data.draw(st.integers(1, 20)), data.draw(st.none() | st.integers(1, 9))
    expected = []
    for lengths in visits:
        left, kept = most, []
        for length in reversed(lengths):
            kept.append(min(length, left, 9 if of_each is None else of_each))
            left -= kept[-1]
        expected += reversed(kept)
    lengths = np.array(list(chain.from_iterable(visits)), np.int64)
    offsets = np.r_[0, np.cumsum([len(v) for v in visits])]
    assert Reading(Words(), most, max_length=of_each).kept_lengths(lengths, offsets).tolist() == expected


@pytest.mark.parametrize("most", [0, -1, 2.5, True, None])
def test_a_number_of_tokens_that_is_none(most):
    with pytest.raises(UserError, match="tokens of a visit: give a whole number"):
        Reading(Words(), most)
    if most is not None:
        with pytest.raises(UserError, match="tokens of a note: give a whole number"):
            Reading(Words(), 5, max_length=most)


# The cache


def store_of(texts: list[str], key: dict | None) -> Store:
    utf8 = [t.encode() for t in texts]
    ends = np.r_[0, np.cumsum([len(t) for t in utf8])].astype(np.int64)
    code = np.zeros(len(texts), np.int32)
    written = Texts(np.frombuffer(b"".join(utf8), np.uint8), ends[:-1], ends[1:])
    return Store(["NOTE//a"], np.array([0, len(texts)]), code, code, text=written, key=key)


def test_tokens_are_cut_once_and_mapped(own_cache, monkeypatch):
    texts = [*PLAIN * 300, *ODD]
    found = tokens_of(store_of(texts, {"source": 1}), WORDS)
    tokens, lengths = WORDS.encode(texts)
    assert found.tokens.dtype == np.uint16
    assert np.array_equal(found.tokens, tokens)
    assert np.array_equal(np.diff(found.offsets), lengths)
    in_memory = tokens_of(store_of(texts, None), WORDS)
    assert np.array_equal(in_memory.tokens, tokens)
    assert np.array_equal(in_memory.offsets, found.offsets)
    monkeypatch.setattr(Tokenizer, "encode", None)
    again = tokens_of(store_of(texts, {"source": 1}), WORDS)
    assert isinstance(again.tokens.base, np.memmap)
    assert np.array_equal(again.tokens, tokens)
    with pytest.raises(TypeError):
        tokens_of(store_of(texts, {"source": 2}), WORDS)


# What a batch holds


class Reader(Model):
    """Counts tokens."""

    def __init__(self, spec, most: int = 6, newest: bool = False):
        super().__init__(spec)

    @classmethod
    def reading(cls, hyperparameters):
        return Reading(Words(min_notes=2), hyperparameters["most"], newest=hyperparameters["newest"])


@pytest.fixture(scope="module")
def reader():
    zoo.register_model("reader", uses={"note", "diagnosis"}, kinds={"binary", "multilabel"})(Reader)
    yield "reader"
    del zoo.registry.models._entries["reader"]


@pytest.fixture(scope="module")
def noted(tmp_path_factory, session_cache) -> SourceFolder:
    """Each visit with none to three notes, which say to whom they belong; those of each split in words of its own."""
    folder = SourceFolder.write(tmp_path_factory.mktemp("texts") / "source")
    visits, rows = folder.table("admissions"), []
    for number, visit in enumerate(visits.itertuples()):
        position = fraction(0, int(visit.SUBJECT_ID))
        split = "train" if position < 0.8 else "validation" if position < 0.9 else "test"
        for n in range(number % 4):
            time = pd.Timestamp(visit.ADMITTIME) + pd.Timedelta(hours=n + 1)
            text = f"Note {'abc'[n]} of this visit, a word of {split}words here and v{visit.HADM_ID}"
            rows.append(
                {"SUBJECT_ID": visit.SUBJECT_ID, "HADM_ID": visit.HADM_ID, "CHARTDATE": f"{time:%F}", "TEXT": text}
                | {"CHARTTIME": f"{time:%F %T}", "STORETIME": "", "CATEGORY": "Nursing", "ISERROR": ""}
            )
    folder.put("noteevents", pd.DataFrame(rows))
    return folder


def texts_of(data, feature, visit: int) -> list[str]:
    number = data.visits.numbers(np.array([visit]))[0]
    return feature.store.text.of(np.arange(feature.store.offsets[number], feature.store.offsets[number + 1]))


def test_the_vocabulary_is_that_of_training_notes_within_windows(noted, reader):
    data = zoo.load("mimic3", task="mortality", root=noted.root, hours=2)
    tokenizer = data.spec(reader).vocabularies["note"].tokenizer
    seen: list[str] = []
    for subject, own in data.samples[data.samples.split == "train"].groupby("subject_id"):
        visits = data.visits.visit_id[data.visits.subject_id == subject].tolist()
        last = max(visits.index(v) for v in own.visit_id)
        seen += chain.from_iterable(texts_of(data, data.feature("note"), v) for v in visits[:last])
        seen += texts_of(data, data.feature("note"), visits[last])[:2]  # what was written in its first two hours
    notes_with = Counter(chain.from_iterable(set(re.findall(r"\w+", text.lower())) for text in seen))
    known = {w for w, n in notes_with.items() if n >= 2}
    assert set(tokenizer.words(range(2, tokenizer.size))) == known
    assert "trainwords" in known
    assert not {"validationwords", "testwords"} & known


def test_a_batch_holds_the_tokens_of_each_note(noted, reader):
    data = zoo.load("mimic3", task="readmission", root=noted.root)
    model = zoo.create_model(reader, data, most=1000)
    feature, tokenizer = data.feature("note"), model.spec.vocabularies["note"].tokenizer
    for batch in data.batches("test", model, 7):
        note = batch["note"]
        assert len(note.token_offsets) == len(note.ids) + 1
        assert note.token_offsets[-1] == len(note.tokens)
        assert note.longest_text == note.text_offsets.diff().max()
    (batch,) = data.batches("test", model, 10_000)
    own = data.samples[data.samples.split == "test"].visit_id.to_numpy()
    for sample, visit in enumerate(own):
        place = batch.row_offsets[sample] + batch.sample_visit[sample]
        texts = texts_of(data, feature, visit)
        tokens = tokenizer.encode(texts)[0]
        begin, end = batch["note"].text_offsets[place], batch["note"].text_offsets[place + 1]
        assert batch["note"].tokens[begin:end].tolist() == tokens.tolist()
    moved = batch.to("meta")
    assert moved["note"].tokens.device.type == "meta"
    assert moved["note"].longest_text == batch["note"].longest_text


def test_few_tokens_are_those_of_the_newest_notes(noted, reader):
    data = zoo.load("mimic3", task="readmission", root=noted.root)
    whole, cut = (zoo.create_model(reader, data, most=n) for n in (1000, 15))
    for all_of, some_of in zip(data.batches("train", whole), data.batches("train", cut), strict=True):
        lengths = all_of["note"].token_offsets.diff().numpy()
        kept = Reading(Words(), 15).kept_lengths(lengths, all_of["note"].offsets.numpy())
        assert some_of["note"].token_offsets.diff().tolist() == kept.tolist()
        assert some_of["note"].longest_text == 15
        for event, (begin, begins) in enumerate(
            zip(some_of["note"].token_offsets[:-1].tolist(), all_of["note"].token_offsets[:-1].tolist(), strict=True)
        ):
            few = some_of["note"].tokens[begin : begin + kept[event]]
            assert torch.equal(few, all_of["note"].tokens[begins : begins + kept[event]])


def test_the_newest_text_of_a_row_is_read_alone_where_that_is_asked_for(noted, reader):
    data = zoo.load("mimic3", task="readmission", root=noted.root)
    whole, newest = (zoo.create_model(reader, data, newest=n) for n in (False, True))
    for all_of, some_of in zip(data.batches("train", whole), data.batches("train", newest), strict=True):
        of_visit = all_of["note"].text_offsets.diff()
        expected = torch.zeros_like(of_visit)
        for begin, end in zip(all_of.row_offsets[:-1], all_of.row_offsets[1:], strict=True):
            having = [v for v in range(begin, end) if of_visit[v]]
            if having:
                expected[having[-1]] = of_visit[having[-1]]
        assert torch.equal(some_of["note"].text_offsets.diff(), expected)
        assert expected.sum() > 0
        assert (expected != of_visit).any()


def test_a_run_folder_has_its_tokenizer(noted, reader, tmp_path):
    data = zoo.load("mimic3", task="readmission", root=noted.root)
    spec = data.spec(reader)
    again = zoo.data.Spec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again.vocabularies["note"].tokenizer == spec.vocabularies["note"].tokenizer
    assert again.tokens == spec.tokens > 5
    assert "tokenizer" not in spec.to_dict()["vocabularies"]["diagnosis"]
    laid = data.with_vocabularies({"note": again.vocabularies["note"]})
    assert laid.spec(reader).vocabularies["note"].tokenizer == spec.vocabularies["note"].tokenizer


def test_a_split_without_notes(noted, reader):
    data = zoo.load("mimic3", task="readmission", root=noted.root)
    kept = [s for s, split in zip(data.samples.subject_id, data.samples.split, strict=True) if split != "train"]
    noted_only = noted.table("noteevents")
    other = SourceFolder(noted.root.parent / "without")
    other.root.mkdir()
    for path in noted.root.iterdir():
        (other.root / path.name).write_bytes(path.read_bytes())
    other.put("noteevents", noted_only[noted_only.SUBJECT_ID.isin(map(str, kept))])
    data = zoo.load("mimic3", task="readmission", root=other.root)
    model = zoo.create_model(reader, data)
    assert model.spec.tokens == 2
    for batch in data.batches("train", model):
        assert len(batch["note"].tokens) == 0
    assert any(len(batch["note"].tokens) for batch in data.batches("test", model))
