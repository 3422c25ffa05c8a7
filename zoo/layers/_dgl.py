"""Graph attention on DGL, in the place of our own sums."""

from __future__ import annotations

import importlib
import os

from torch import Tensor
from torch.nn import functional as F

from zoo.registry import UserError


def load_dgl():
    """The module.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("DGLBACKEND", "pytorch")  # or it writes a choice into the home folder
    try:
        return importlib.import_module("dgl")
    except ImportError as error:
        raise UserError(
            f"DGL cannot be imported ({error}): pip install 'ehr-zoo[dgl]' (Python below 3.12), or leave out "
            f"backend='dgl'."
        ) from None


def attended(known: Tensor, asking: Tensor, asked: Tensor, place: Tensor, neighbour: Tensor, slope: float) -> Tensor:
    """What `zoo.layers.ontology_attention.attended` gives."""
    dgl = load_dgl()
    edges = neighbour, place
    graph = dgl.create_block(edges, num_src_nodes=len(known), num_dst_nodes=len(asking), device=known.device)
    graph.srcdata["known"], graph.srcdata["asked"], graph.dstdata["asking"] = known, asked[..., None], asking[..., None]
    graph.apply_edges(dgl.function.u_add_v("asked", "asking", "score"))
    score = F.leaky_relu(graph.edata.pop("score"), slope)
    graph.edata["weight"] = dgl.nn.functional.edge_softmax(graph, score)
    graph.update_all(dgl.function.u_mul_e("known", "weight", "part"), dgl.function.sum("part", "found"))
    return graph.dstdata["found"]
