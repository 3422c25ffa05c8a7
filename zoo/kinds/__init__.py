"""Kinds of task: what a label is, what a model says of it, how that is learned and how it is measured.

>>> from zoo.registry import kind_of
>>> kind_of("binary").outputs(("died",))
1
"""

from zoo.kinds._kind import Kind

__all__ = ["Kind"]
