"""What hyperparameters can be: types for the constructor of a model, which is checked against them.

>>> from zoo.registry import check_parameters
>>> class Made:
...     def __init__(self, spec, dim: Size = 64, dropout: Dropout = 0.1): ...
>>> check_parameters("made", Made, {"dropout": 1.0})
Traceback (most recent call last):
    ...
zoo.registry.UserError: made: dropout=1.0 must be at least 0 and below 1; its default is 0.1.
"""

from __future__ import annotations

from typing import Annotated

from zoo.registry import MultipleOf, Range

Size = Annotated[int, Range(at_least=1)]
"""How many there are of something that a model cannot do without: a width, layers, heads, steps."""
Points = Annotated[int, Range(at_least=2)]
"""Moments, the first and the last of which are a time apart."""
MultipleOfHeads = Annotated[Size, MultipleOf("heads")]
"""A width that ``heads`` heads of attention share."""
MultipleOfEncoderHeads = Annotated[Size, MultipleOf("encoder_heads")]
"""The width of a text encoder, which its heads of attention share."""
Nodes = Annotated[Size, MultipleOf("heads", beside="tree_heads")]
"""The width of a node of a tree for each of ``tree_heads``; ``heads`` heads of attention share all of them."""
Dropout = Annotated[float, Range(at_least=0, below=1)]
"""The share of something that is left out."""
Positive = Annotated[float, Range(above=0)]
"""A length of time, a rate, a temperature."""
Weight = Annotated[float, Range(at_least=0)]
"""Of a part of a loss."""
Share = Annotated[float, Range(above=0, at_most=1)]
"""A part of a whole, or all of it."""
Probability = Annotated[float, Range(at_least=0, at_most=1)]
"""From never to always, both included."""
