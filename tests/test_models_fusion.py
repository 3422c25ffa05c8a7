"""Early fusion, late fusion and MulT: their equations in NumPy, and modalities that are missing."""

import numpy as np
import pytest
import torch
from test_models_fusemoe import ALL, made
from worked import dense, gru, norm, softmax, within

from zoo.layers import sinusoids
from zoo.models.early_fusion import EarlyFusion
from zoo.models.late_fusion import LateFusion
from zoo.models.mult import AskingLayer, MulT
from zoo.testing._model._patients import empty, without


def fusing(thing, concepts=ALL, kind: str = "multiclass"):
    """A small model, its task, and a batch: of the second sample notes are missing, of the last one all."""
    model, task = made(concepts, kind, thing, hidden=3)
    rows = task.rows(0, 4)
    rows = [rows[0], rows[1].changed(without("note")), rows[2], rows[3].changed(empty)]
    batch = task.batch(rows)
    with torch.no_grad():
        said, there = model.said(batch)
        found = model(batch).logits.numpy()
    w = {n: p.detach().numpy() for n, p in model.named_parameters()}
    return found, said.numpy(), there.numpy(), w


def test_early_fusion_is_its_equations():
    found, said, there, w = fusing(EarlyFusion)
    assert there.tolist() == [[True] * 3, [True, False, True], [True] * 3, [False] * 3]
    assert not said[~there].any()
    for s in range(4):
        beside = said[s].transpose(1, 0, 2).reshape(3, -1)
        expected = dense(gru(w, "recur", beside), w, "head")
        assert np.allclose(found[s], expected, atol=1e-5)


def test_late_fusion_is_the_mean_of_what_is_there():
    found, said, there, w = fusing(LateFusion)
    for s in range(4):
        votes = [w[f"heads.{m}.weight"] @ gru(w, f"recur.{m}", said[s, m]) for m in range(3) if there[s, m]]
        expected = w["bias"] + (np.mean(votes, axis=0) if votes else 0)
        assert np.allclose(found[s], expected, atol=1e-5)


def asked(w: dict, name: str, own: np.ndarray, other: np.ndarray, there: bool, heads: int) -> np.ndarray:
    q, o = norm(own, w, f"{name}.norms.0"), norm(other, w, f"{name}.norms.1")
    query, value = dense(q, w, f"{name}.query"), dense(o, w, f"{name}.value")
    key = o @ w[f"{name}.key.weight"].T
    found = []
    for part in zip(*(np.split(p, heads, axis=1) for p in (query, key, value)), strict=True):
        scores = part[0] @ part[1].T / np.sqrt(part[0].shape[1])
        found.append(np.stack([softmax(s) for s in scores]) @ part[2])
    own = own + dense(np.hstack(found), w, f"{name}.combine") * there
    inner = np.maximum(dense(norm(own, w, f"{name}.norms.2"), w, f"{name}.feed_forward.0"), 0)
    return own + dense(inner, w, f"{name}.feed_forward.2")


@pytest.mark.parametrize("concepts", [ALL, ("diagnosis", "note"), ("lab",)])
def test_mult_is_its_equations(concepts):
    found, said, there, w = fusing(MulT, concepts)
    said = said + sinusoids(torch.arange(3), 4).numpy()
    count = said.shape[1]
    for s in range(4):
        last = []
        for a in range(count):
            parts = [
                asked(w, f"cross.{a}_asks_{b}.0", said[s, a], said[s, b], there[s, b], 2)
                for b in range(count)
                if b != a
            ]
            rows = within(w, f"within.{a}.0", np.hstack(parts) if parts else said[s, a], 2)
            last.append(rows[-1] * there[s, a])
        h = np.concatenate(last)
        hidden = dense(np.maximum(dense(h, w, "hidden.0"), 0), w, "hidden.3")
        assert np.allclose(found[s], dense(h + hidden, w, "head"), atol=5e-5)


def test_who_is_not_there_is_not_asked():
    torch.manual_seed(0)
    layer = AskingLayer(4, 2, 0.0)
    own, other = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    there = torch.tensor([True, False])
    before, after = layer(own, other, there), layer(own, other + torch.randn(2, 3, 4), there)
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])
