"""Fitted decision trees as plain arrays, so that reading them from a file runs no foreign code.

Both scikit-learn's trees and LightGBM's model text are followed by native code that does not check where their indices
lead; here NumPy does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.models._fitted import array_in

Trees = dict[str, object]
"""``feature``, ``threshold``, ``left``, ``right``: (nodes,), a leaf leads to itself; ``value``: (nodes, outputs);
``root``: (trees,); ``depth``: the longest way from a root to a leaf."""


def leaf_sums(trees: Trees, inputs: np.ndarray) -> np.ndarray:
    """(samples, outputs): the values of the leaves that samples fall into, added over trees.

    Args:
        trees: what `arrays_of_forest` or `arrays_of_booster` made.
        inputs: (samples, features), dense. A sample goes left where its feature is at most the threshold.
    """
    sample = np.arange(len(inputs))[:, None]
    node = np.broadcast_to(trees["root"], (len(inputs), len(trees["root"])))
    for _ in range(trees["depth"]):
        leftwards = inputs[sample, trees["feature"][node]] <= trees["threshold"][node]
        node = np.where(leftwards, trees["left"][node], trees["right"][node])
    return trees["value"][node].sum(axis=1)


def check_trees(trees: object, features: int, outputs: int) -> None:
    """Raise a `ValueError` where what was read from a file is no forest of trees; find their depth.

    Every node must lie behind the one that it hangs on, and hang on one: a way through them ends, and no more steps
    are taken than there are nodes.

    Args:
        trees: what was read.
        features: how many a sample has.
        outputs: of a leaf.
    """
    left = array_in(trees, "left", "iu", (None,))
    nodes = len(left)
    right, feature = (array_in(trees, name, "iu", (nodes,)) for name in ("right", "feature"))
    array_in(trees, "threshold", "f", (nodes,))
    array_in(trees, "value", "f", (nodes, outputs))
    root = array_in(trees, "root", "iu", (None,))
    node = np.arange(nodes)
    leaf = (left == node) & (right == node)
    beneath = np.concatenate([left[~leaf], right[~leaf]])
    if not (leaf | ((left > node) & (right > node) & (left < nodes) & (right < nodes))).all():
        raise ValueError("a node leads to none behind it")
    if not len(root) or (root < 0).any() or (root >= nodes).any() or (feature < 0).any() or (feature >= features).any():
        raise ValueError("a root or a feature is out of range")
    if (np.bincount(np.concatenate([beneath, root]), minlength=nodes) != 1).any():
        raise ValueError("a node hangs on several, or on none")
    trees["depth"] = depth_of(left, right, root)


def depth_of(left: np.ndarray, right: np.ndarray, root: np.ndarray) -> int:
    """The longest way from a root to a leaf."""
    depth, level = 0, root
    while len(level := level[left[level] != level]):
        depth, level = depth + 1, np.concatenate([left[level], right[level]])
    return depth


def arrays_of_forest(estimators: Sequence, classes: Sequence[int], outputs: int) -> Trees:
    """The trees of a scikit-learn forest; their values are divided by the number of trees.

    Args:
        estimators: fitted decision trees.
        classes: the output that each column of a tree's values belongs to; other outputs get 0.
        outputs: how many there are.
    """
    parts = [e.tree_ for e in estimators]
    sizes = np.array([p.node_count for p in parts])
    root = np.cumsum(sizes) - sizes
    shift = np.repeat(root, sizes)
    found = {n: np.concatenate([getattr(p, n) for p in parts]) for n in ("children_left", "children_right", "feature")}
    leaf = found["children_left"] < 0
    node = np.arange(len(leaf))
    value = np.zeros((len(leaf), outputs))
    value[:, classes] = np.concatenate([p.value[:, 0] for p in parts]) / len(parts)
    return {
        "feature": np.where(leaf, 0, found["feature"]).astype(np.int32),
        "threshold": np.concatenate([p.threshold for p in parts]),
        "left": np.where(leaf, node, found["children_left"] + shift).astype(np.int32),
        "right": np.where(leaf, node, found["children_right"] + shift).astype(np.int32),
        "value": value,
        "root": root.astype(np.int32),
        "depth": int(max(p.max_depth for p in parts)),
    }


def arrays_of_booster(booster, outputs: int) -> Trees:
    """The trees of a LightGBM booster, which are those of its outputs in turn."""
    nodes = booster.trees_to_dataframe()
    leaf = nodes.left_child.isna().to_numpy()
    node = np.arange(len(nodes))
    place = {name: i for i, name in enumerate(nodes.node_index)}
    column = {name: i for i, name in enumerate(booster.feature_name())}
    value = np.zeros((len(nodes), outputs))
    value[node, nodes.tree_index.to_numpy() % outputs] = np.where(leaf, nodes.value, 0)
    return {
        "feature": nodes.split_feature.map(column).fillna(0).to_numpy(np.int32),
        "threshold": np.where(leaf, 0, nodes.threshold.to_numpy(np.float64)),
        "left": np.where(leaf, node, nodes.left_child.map(place)).astype(np.int32),
        "right": np.where(leaf, node, nodes.right_child.map(place)).astype(np.int32),
        "value": value,
        "root": np.flatnonzero(np.diff(nodes.tree_index, prepend=-1)).astype(np.int32),
        "depth": int(nodes.node_depth.max()) - 1,
    }
