"""Pieces of networks in plain NumPy, one sample at a time, for tests of models against their equations."""

import numpy as np
import torch


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def weights(model) -> dict[str, np.ndarray]:
    return {n: w.detach().double().numpy() for n, w in model.named_parameters()}


def norm(x: np.ndarray, w: dict, name: str) -> np.ndarray:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * v * (1 + torch.erf(torch.tensor(v / np.sqrt(2))).item()) for v in x.flat]).reshape(x.shape)


def dense(x: np.ndarray, w: dict, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def embedded(w: dict, name: str, time: float) -> np.ndarray:
    linear = w[f"{name}.linear.weight"][:, 0] * time + w[f"{name}.linear.bias"]
    return np.r_[linear, np.sin(w[f"{name}.periodic.weight"][:, 0] * time + w[f"{name}.periodic.bias"])]


def time_attention(w: dict, name: str, moments, time, variable, value, variables: int, heads: int) -> np.ndarray:
    """What the measurements of one sample say of each moment."""
    said = []
    for moment in moments:
        query = w[f"{name}.query.weight"] @ embedded(w, f"{name}.embed", moment) + w[f"{name}.query.bias"]
        mean = np.zeros((heads, variables))
        for h, q in enumerate(np.split(query, heads)):
            for d in range(variables):
                own = np.flatnonzero(variable == d)
                if len(own):
                    keys = [
                        np.split(w[f"{name}.key.weight"] @ embedded(w, f"{name}.embed", time[i]), heads)[h] for i in own
                    ]
                    mean[h, d] = softmax(np.array([q @ k for k in keys]) / np.sqrt(len(q))) @ value[own]
        some = np.isin(np.arange(variables), variable).astype(float)
        said.append(w[f"{name}.out.weight"] @ np.r_[mean.ravel(), some] + w[f"{name}.out.bias"])
    return np.array(said)


def gru(w: dict, name: str, inputs: np.ndarray, back: str = "") -> np.ndarray:
    """The last state of torch's GRU."""
    state = np.zeros(w[f"{name}.weight_hh_l0{back}"].shape[1])
    for x in inputs:
        given = w[f"{name}.weight_ih_l0{back}"] @ x + w[f"{name}.bias_ih_l0{back}"]
        kept = w[f"{name}.weight_hh_l0{back}"] @ state + w[f"{name}.bias_hh_l0{back}"]
        (gr, gz, gn), (kr, kz, kn) = np.split(given, 3), np.split(kept, 3)
        r, z = sigmoid(gr + kr), sigmoid(gz + kz)
        state = (1 - z) * np.tanh(gn + r * kn) + z * state
    return state


def within(w: dict, name: str, rows: np.ndarray, heads: int) -> np.ndarray:
    query, key, value = np.split(dense(rows, w, f"{name}.attend.query_key_value"), 3, axis=1)
    found = []
    for q, k, v in zip(*(np.split(p, heads, axis=1) for p in (query, key, value)), strict=True):
        found.append(np.stack([softmax(s) for s in q @ k.T / np.sqrt(q.shape[1])]) @ v)
    rows = norm(rows + dense(np.hstack(found), w, f"{name}.attend.combine"), w, f"{name}.norms.0")
    inner = np.maximum(dense(rows, w, f"{name}.feed_forward.0"), 0)
    return norm(rows + dense(inner, w, f"{name}.feed_forward.2"), w, f"{name}.norms.1")
