"""Test, predict, embed and explain with a finished run, from its folder alone, on its own dataset or on another one.

The run's vocabularies, label names, task parameters, levels and scalers are laid over the data, whatever they are: what
has no place in them is unknown to the model, and counted.
"""

from zoo.inference._embed import embed
from zoo.inference._evaluate import Evaluation, evaluate
from zoo.inference._explain import explain
from zoo.inference._predict import predict
from zoo.inference._run import Run, load_run

__all__ = ["Evaluation", "Run", "embed", "evaluate", "explain", "load_run", "predict"]
