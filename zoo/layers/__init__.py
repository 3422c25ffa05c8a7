"""Modules that more than one model uses."""

from zoo.layers.code_sets import code_sets
from zoo.layers.code_tokens import CodeTokens, mean_before
from zoo.layers.encoder_layer import EncoderLayer, SelfAttention
from zoo.layers.moments import Moments
from zoo.layers.multi_hot_embedding import MultiHotEmbedding
from zoo.layers.ontology_attention import OntologyEmbedding
from zoo.layers.sample_events import SampleEvents
from zoo.layers.sample_history import SampleHistory
from zoo.layers.sample_text import LabelAttention, SampleText
from zoo.layers.sparse_experts import Experts, Gate, entropy, imbalance
from zoo.layers.text_encoder import TextChunks, TextEncoder, hide
from zoo.layers.time_attention import EventAttention, TimeAttention, by_variable
from zoo.layers.visit_embedding import VisitEmbedding
from zoo.layers.visit_recurrences import VisitRecurrences
from zoo.layers.visit_time import log_days_since, log_days_until, sinusoids

__all__ = [
    "CodeTokens",
    "EncoderLayer",
    "EventAttention",
    "Experts",
    "Gate",
    "LabelAttention",
    "Moments",
    "MultiHotEmbedding",
    "OntologyEmbedding",
    "SampleEvents",
    "SampleHistory",
    "SampleText",
    "SelfAttention",
    "TextChunks",
    "TextEncoder",
    "TimeAttention",
    "VisitEmbedding",
    "VisitRecurrences",
    "by_variable",
    "code_sets",
    "entropy",
    "hide",
    "imbalance",
    "log_days_since",
    "log_days_until",
    "mean_before",
    "sinusoids",
]
