"""What every model is: it is built from a `Spec`, reads a `Batch`, and returns an `Output`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from zoo.data import Batch, Spec
from zoo.data.text import Reading
from zoo.kinds import Kind
from zoo.models._fitted import read_fitted, write_fitted
from zoo.registry import UserError, check_multiples, check_parameters, kind_of, parameters_of


@dataclass(frozen=True)
class Output:
    """What a model says of a batch.

    Attributes:
        logits: (samples, outputs); for regression the predicted values.
        losses: further losses, by name, that are added to the main loss as they are.
        attention: what the model looked at, by name, for `zoo.explain`.
    """

    logits: Tensor
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    attention: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Contributions:
    """What each event adds to the logits of the samples of its row; with ``rest`` they add up to them.

    Attributes:
        events: concept to (events, outputs), in the order of the concept's `Ragged`, in batches of one sample a row.
        rest: (samples, outputs), what no event adds: biases and the like.
    """

    events: Mapping[str, Tensor]
    rest: Tensor


@dataclass(frozen=True)
class Attended:
    """What a model looked at in a batch of one sample, for each of its attentions by name.

    Attributes:
        tokens: (tokens,) the weight of each token of ``batch["note"].tokens``.
        events: concept, and (events,) the weight of each of its events, in the order of its `Ragged`.
    """

    tokens: Mapping[str, Tensor] = field(default_factory=dict)
    events: Mapping[str, tuple[str, Tensor]] = field(default_factory=dict)


class Model(nn.Module):
    """A model. A subclass takes a `Spec` and keyword arguments, which are its configuration, and gives `forward`.

    The task kind fixes main loss and prediction; a subclass may override `loss`, `predict` and `trainer_defaults`.

    Attributes:
        renamed: of weights that have another name than in runs of earlier releases, how the old name begins, and how
            the new one does. Such runs are read under the new names.
    """

    registered_name: ClassVar[str]
    renamed: ClassVar[Mapping[str, str]] = {}

    def __new__(cls, *positional, **named) -> Model:
        """Look at the hyperparameters before any is used, so that wherever a model is made they are what they can be.

        They are kept as ``configuration``, with the defaults of those that are not given: a run is read back with them.

        Raises:
            UserError: one is not of the type that the constructor says, is outside of its `Range`, or not the
                `MultipleOf` another.
        """
        with suppress(TypeError):  # where arguments are missing: a copy has none, and else `__init__` says so
            given = inspect.signature(cls.__init__).bind(None, *positional, **named).arguments
            known = parameters_of(cls)
            hyperparameters = {n: given[n] for n in known if n in given}
            what = f"model {getattr(cls, 'registered_name', cls.__name__)!r}"
            hyperparameters = check_parameters(what, cls, hyperparameters)
            check_multiples(what, cls, hyperparameters)
            made = super().__new__(cls)
            made.configuration = {n: p.default for n, p in known.items()} | hyperparameters
            return made
        return super().__new__(cls)

    def __init__(self, spec: Spec):
        super().__init__()
        self.spec = spec
        self.task_kind.begin(self, spec.fitted)

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute.

        A layer may be called ``embed`` in a model that gives no vectors, as in many of before there were any.

        Raises:
            UserError: a part of the network would have the name of a method, which would be called in its stead.
        """
        if isinstance(value, nn.Module) and name == "embed" and not self.has_vectors():
            super().__setattr__(name, value)
            self.__dict__[name] = value  # before the method of the class
            return
        if isinstance(value, (nn.Module, nn.Parameter)) and callable(getattr(Model, name, None)):
            raise UserError(
                f"a layer of {type(self).__name__} cannot be called {name!r}, as a method of models is: give it "
                f"another name (and renamed={{{name + '.'!r}: ...}} to the class, if there are runs with this one)."
            )
        super().__setattr__(name, value)

    @property
    def task_kind(self) -> Kind:
        """The kind of the task: what labels and predictions are, and the main loss."""
        return kind_of(self.spec.kind)

    def forward(self, batch: Batch) -> Output:
        raise NotImplementedError

    def embed(self, batch: Batch) -> Tensor | None:
        """A vector of the patient at each sample, (samples, dim): what the head reads, or what the paper calls so.

        None for a model that has no one vector a sample, and leaves this as it is: one that looks at the record anew
        for each label, predicts from several vectors, writes a sequence, or is no network.
        """
        return None

    @classmethod
    def has_vectors(cls) -> bool:
        """Whether it gives `embed`."""
        return cls.embed is not Model.embed

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The main loss, a scalar, which is that of the task kind: cross-entropy, or the mean squared error."""
        return self.task_kind.loss(output.logits, batch.label)

    def predict(self, output: Output) -> Tensor:
        """Probabilities, (samples,), (samples, classes) or (samples, labels); for regression the values, (samples,)."""
        return self.task_kind.predict(output.logits, self)

    def pretrain(self, batch: Batch) -> Output | None:
        """What the model learns from a batch without its label: the ``losses`` of the output; logits are not read.

        None for a model that is not pre-trained. In such a batch every visit of a row is whole.
        """
        return None

    def start_epoch(self, epoch: int) -> None:
        """Called before each epoch of a training, with its number from 0, for what changes from epoch to epoch.

        What it sets must be in the weights that are saved (a buffer), so that a run is read back as it was.
        """

    def contributions(self, batch: Batch) -> Contributions | None:
        """What each event adds to the logits; None for a model whose logits are no such sum."""
        return None

    def attended(self, batch: Batch, output: int) -> Attended | None:
        """What the model looked at in a batch of one sample for one of its outputs; None where it does not tell."""
        return None

    def first_weights(self) -> None:
        """Called once where the model is made to be trained, not where a run is read: for published weights."""

    def begun(self, names: Set[str]) -> None:
        """Called once where weights of a finished run (``init``), those of these names, were taken over.

        What it sets must be in the weights that are saved (a buffer), so that a run is read back as it was.
        """

    def remarks(self) -> list[str]:
        """What a reader of a run must know of how the model goes with its data; notes of the run, and warned of."""
        return []

    @classmethod
    def reading(cls, hyperparameters: Mapping[str, object]) -> Reading | None:
        """How the model reads notes, given all its hyperparameters; None where their kinds are all that it gets.

        With a reading, ``spec.vocabularies["note"].tokenizer`` is the tokenizer, and ``batch["note"].tokens`` the text.
        """
        return None

    @classmethod
    def by_present_names(cls, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a run by the names that they have now, as `renamed` says."""
        old = {n: next((o for o in cls.renamed if n.startswith(o)), "") for n in weights}
        return {cls.renamed.get(old[n], "") + n.removeprefix(old[n]): w for n, w in weights.items()}

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Trainer keywords that the paper sets; those of the user have precedence."""
        return {}

    def learning_rates(self) -> Mapping[str, float]:
        """Learning rates of parts of the model, by the name of their module, where they are not the trainer's ``lr``.

        Such as ``{"encoder": 2e-5}`` for a published encoder. Schedule and warm-up scale them as they scale ``lr``. In
        pre-training all weights have the trainer's.
        """
        return {}

    @classmethod
    def pretraining_defaults(cls, spec: Spec) -> dict:
        """The same for pre-training."""
        return cls.trainer_defaults(spec)


class Estimator(Model):
    """A model that is no network: it is fitted once on all batches, and saved with skops.

    A subclass gives `fit`, which sets `fitted` to what is saved, and `forward`.

    Attributes:
        fitted: what is saved: arrays, numbers, texts, and objects that skops holds for harmless, in lists and dicts.
        seed: of what is drawn at random in `fit`; `zoo.train` sets it to its own.
    """

    fitted: object = None
    seed: int = 0

    def fit(self, batches: Iterable[Batch]) -> None:
        raise NotImplementedError

    def check_fitted(self) -> None:
        """Called when `fitted` was read from a file, which may be a stranger's: raise where it is not what `fit` sets.

        What `forward` relies on is to be looked at: types, shapes, and whatever a loop goes by.
        """

    def save(self, path: Path) -> None:
        """Write what was fitted; nothing that is read back can run code."""
        write_fitted(path, self.fitted)

    def load(self, path: Path) -> None:
        """Read what `save` wrote.

        Raises:
            UserError: the file is damaged, is of another model, or holds types that are not known to be harmless.
        """
        try:
            self.fitted = read_fitted(path)
            self.check_fitted()
        except Exception as error:  # whatever a file that is not ours makes of the reader
            raise UserError(
                f"{path} cannot be read as what a model was fitted to ({error}): it is damaged or not of this model; "
                "train the run again."
            ) from error
