"""A finished run as the beginning of another one."""

from __future__ import annotations

import json
from pathlib import Path

from zoo.data._task_data import TaskData
from zoo.models._model import Model
from zoo.registry import UserError, models
from zoo.result import Result
from zoo.training._finished import SPLIT, Finished, split_held


class Initial(Finished):
    """A finished run of a network, whose weights and vocabularies a training takes over."""

    @classmethod
    def read(cls, folder: str | Path | Result) -> Initial:
        """Read the run in a folder.

        Raises:
            UserError: it holds no finished run of a network, or one that is damaged or of another version.
        """
        found = super().read(folder)
        if found.fitted:
            raise UserError(f"{found.folder} is a run of {found.result.model!r}, which has no weights to begin with.")
        return found

    @property
    def identity(self) -> dict:
        """What tells this run from others, as it stands in the configuration of the run that begins with it."""
        return {"dataset": self.result.dataset, "task": self.result.task, "weights": self.digest}

    def hyperparameters(self, name: str) -> dict:
        """Those that a model of this name must share: all, or where it is another model those of the part it takes."""
        held = self.result.config["model"]
        shared = held if name == self.result.model else self._part(name)["hyperparameters"]
        return {n: v for n, v in held.items() if n in shared}

    def _part(self, name: str) -> dict:
        """What a model takes over of a run of another one, as it is registered; nothing where it takes none."""
        return models.entry(name).facts.begins_with.get(self.result.model, {})

    def split_of(self, dataset: str) -> dict:
        """How the run split the subjects of a dataset, as `zoo.load` takes it; nothing where it was on another one."""
        held = self.result.config["data"]
        if dataset != self.result.dataset:
            return {}
        return {**{n: held[n] for n in SPLIT}, "split": split_held(held["split"], self.folder)}

    def check_model(self, name: str) -> None:
        """Raise a `UserError` where the run is of another model, and of none that this one takes a part of."""
        if name != self.result.model and not self._part(name):
            raise UserError(f"{self.folder} is a run of {self.result.model!r}: {name!r} cannot begin with its weights.")

    def laid_over(self, data: TaskData, model: str | Model) -> TaskData:
        """The data with the run's vocabularies for the concepts that the model gets.

        Raises:
            UserError: the run is of a model that this one cannot begin with, has split the same dataset otherwise, or
                has a concept at another level than the data were asked to have it at.
        """
        name = model if isinstance(model, str) else model.registered_name
        self.check_model(name)
        held = self.result.config["data"] if data.dataset.name == self.result.dataset else {}
        held = {n: held[n] for n in SPLIT if n in held}
        there = json.loads(json.dumps({n: data.key[n] for n in held}, default=str))
        said = ", ".join(f"{n}={value!r}" for n, value in held.items() if there[n] != value)
        if said:
            raise UserError(
                f"{self.folder} was split otherwise, so that it may have learned from subjects that are tested here: "
                f"load the data with {said}."
            )
        concepts = data.concepts_for(name)
        vocabularies = {c: v for c, v in self.spec.vocabularies.items() if c in concepts}
        for concept, vocabulary in vocabularies.items():
            level = data.features.levels.get(concept, vocabulary.level)
            if level != vocabulary.level:
                raise UserError(
                    f"{self.folder} has {concept} at level {vocabulary.level!r}, the data have it at {level!r}: load "
                    f"them with that level, or none, or begin with another run."
                )
        wanted = data.wanted(model, self.hyperparameters(name) if isinstance(model, str) else None)
        static = self.spec.static if len(self.spec.static) and wanted.static else None
        if static is not None and data.how.static is not None and data.features.static.columns.facts != static.facts:
            raise UserError(
                f"{self.folder} has the static facts {', '.join(static.facts)}: load the data with "
                f"static={list(static.facts)!r}, or without, or begin with another run."
            )
        return data.with_vocabularies(vocabularies, static)

    def _set_otherwise(self, model: Model) -> str:
        """The run's hyperparameters that the model does not share, such as ``dim=5``."""
        own = json.loads(json.dumps(getattr(model, "configuration", {}), default=str))
        shared = self.hyperparameters(model.registered_name)
        return ", ".join(f"{n}={v!r}" for n, v in shared.items() if own.get(n) != v)

    def begin(self, model: Model) -> list[str]:
        """Give a model the run's weights, as far as they have its names and shapes.

        Returns:
            What a reader must know: which weights begin anew.

        Raises:
            UserError: the model was made for other vocabularies, or weights do not fit because it was made with
                other hyperparameters.
        """
        for concept, vocabulary in model.spec.vocabularies.items():
            held = self.spec.vocabularies.get(concept)
            if held is not None and not held.same(vocabulary):
                raise UserError(
                    f"the model was made for other codes of {concept} than those of {self.folder}: give its name."
                )
        if len(self.spec.static) and len(model.spec.static) and self.spec.static != model.spec.static:
            raise UserError(f"the model was made for other static facts than those of {self.folder}: give its name.")
        own, part = model.state_dict(), self._part(model.registered_name).get("weights", "")
        offered = {n: w for n, w in self.weights.items() if n.startswith(part)}
        fits = {n: w for n, w in offered.items() if n in own and own[n].shape == w.shape}
        anew = sorted({n for n, _ in model.named_parameters()} - set(fits))
        set_otherwise = self._set_otherwise(model) if anew else ""
        if set_otherwise or not fits:
            raise UserError(
                f"weights of {self.folder} do not fit the model ({', '.join(anew[:5])}): make it with "
                f"{set_otherwise or 'the hyperparameters of that run'}."
            )
        model.load_state_dict(fits, strict=False)
        model.begun(fits.keys())
        of = self.result.task if not part else f"{self.result.model} on {self.result.task}"
        return [f"began with the weights of a run of {of}; anew: {', '.join(anew) or 'none'}"]
