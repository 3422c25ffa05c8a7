"""Embeddings of codes that share what is above them in a tree (G-BERT, Shang et al., IJCAI 2019, arXiv:1906.00346).

Two stages of graph attention (Velickovic et al., ICLR 2018), with H heads of width d side by side:

1. each node from its children and itself:  h_e = g(node, children), in R^(H d) (eq. 1);
2. each code from what is above it and itself:  o_c = g(code, ancestors), in R^(H d) (eq. 2);

with g(i, N) = concat over heads k of elu(sum over j in N and i of a_ij^k W^k h_j), and a_ij^k the softmax over these j
of leaky_relu(u^k . W^k h_i + w^k . W^k h_j), slope 0.2.

A node has as many edges as neighbours, and no matrix of all pairs is made. (The paper leaves the non-linearity open;
elu is that of graph attention networks.) With ``backend="dgl"`` the sums over edges are DGL's; results are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.layers._dgl import attended as attended_by_dgl
from zoo.layers._dgl import load_dgl
from zoo.registry import UserError

if TYPE_CHECKING:
    from zoo.knowledge.ontology import Ontology

SLOPE = 0.2


class OntologyEmbedding(nn.Module):
    """A vector for each code of a tree; N nodes, C codes.

    Args:
        tree: the codes and what is above them.
        dim: width d of a node, and of a head.
        heads: H of both stages.
        backend: ``"native"`` or ``"dgl"``, which needs the extra of this name.

    Raises:
        UserError: there is no such backend, or DGL is not installed.
    """

    def __init__(self, tree: Ontology, dim: int, heads: int, backend: str = "native"):
        super().__init__()
        self.nodes = nn.Embedding(len(tree.nodes), dim)
        self.upward = NeighbourAttention(dim, dim, heads, backend)
        self.downward = NeighbourAttention(heads * dim, dim, heads, backend)
        child, parent = torch.from_numpy(tree.edges())
        own = torch.arange(len(tree.nodes))
        code, above = torch.from_numpy(tree.ancestor_pairs())
        edges = {"parent": torch.cat([own, parent]), "child": torch.cat([own, child]), "code": code, "above": above}
        for name, value in {**edges, "own": own, "leaf": torch.from_numpy(tree.leaf)}.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self) -> Tensor:
        """(C, heads * dim), in the order of the tree's codes."""
        enhanced = self.upward(self.nodes.weight, self.own, self.parent, self.child)
        return self.downward(enhanced, self.leaf, self.code, self.above)


class NeighbourAttention(nn.Module):
    """Graph attention: each of some places looks at nodes of its own choice.

    Args:
        width: of a node.
        dim: width of a head.
        heads: H.
        backend: as of `OntologyEmbedding`.
    """

    def __init__(self, width: int, dim: int, heads: int, backend: str = "native"):
        super().__init__()
        if backend not in ("native", "dgl"):
            raise UserError(f"backend={backend!r} must be 'native' or 'dgl'.")
        if backend == "dgl":
            load_dgl()
        self.heads, self.backend = heads, backend
        self.transform = nn.Linear(width, heads * dim, bias=False)
        self.asking, self.asked = (nn.Parameter(torch.empty(heads, dim)) for _ in range(2))
        nn.init.xavier_uniform_(self.asking)
        nn.init.xavier_uniform_(self.asked)

    def forward(self, nodes: Tensor, own: Tensor, place: Tensor, neighbour: Tensor) -> Tensor:
        """(places, heads * dim).

        Args:
            nodes: (nodes, width).
            own: (places,) the node of each place.
            place, neighbour: (edges,) which place looks at which node; each place at one node at least.
        """
        known = self.transform(nodes).unflatten(1, (self.heads, -1))
        asking, asked = (known * self.asking).sum(-1)[own], (known * self.asked).sum(-1)
        sums = attended if self.backend == "native" else attended_by_dgl
        return F.elu(sums(known, asking, asked, place, neighbour, SLOPE).flatten(1))


def attended(known: Tensor, asking: Tensor, asked: Tensor, place: Tensor, neighbour: Tensor, slope: float) -> Tensor:
    """(places, heads, dim) of nodes, weighed by the softmax over each place's edges of ``leaky_relu(asking + asked)``.

    Args:
        known: (nodes, heads, dim).
        asking: (places, heads).
        asked: (nodes, heads).
        place, neighbour: (edges,).
        slope: of the rectifier.
    """
    weight = softmax_by(F.leaky_relu(asking[place] + asked[neighbour], slope), place, len(asking))
    found = known.new_zeros(len(asking), *known.shape[1:])
    return found.index_add(0, place, weight[..., None].to(known) * known[neighbour])


def softmax_by(score: Tensor, group: Tensor, groups: int) -> Tensor:
    """(edges, heads) softmax of scores among the edges of a group.

    >>> softmax_by(torch.tensor([[0.0], [0.0], [5.0]]), torch.tensor([1, 1, 0]), 2)[:, 0].tolist()
    [0.5, 0.5, 1.0]
    """
    index = group[:, None].expand_as(score)
    lowest = torch.finfo(score.dtype).min
    highest = score.new_full((groups, score.shape[1]), lowest).scatter_reduce(0, index, score.detach(), "amax")
    risen = (score - highest[group]).exp()
    return risen / risen.new_zeros(groups, score.shape[1]).index_add(0, group, risen)[group]
