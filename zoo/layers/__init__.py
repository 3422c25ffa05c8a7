"""Modules that more than one model uses."""

from zoo.layers.visit_embedding import VisitEmbedding

__all__ = ["VisitEmbedding"]
