"""That a step of training does not wait for values from the device, during which a GPU would stand still."""

from collections import Counter

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from zoo.models import Estimator
from zoo.registry import models

NETWORKS = [
    name
    for name in models.names()
    if not issubclass(models.get(name), Estimator) and "binary" in models.entry(name).facts.kinds
]
WAITS = {
    **dict.fromkeys(("adacare", "concare", "gru_d", "stagenet", "tcn", "tlstm"), 3),
    **dict.fromkeys(("mtand", "raindrop", "strats"), 2),
    "fusemoe": 14,
    **dict.fromkeys(("early_fusion", "late_fusion", "mult"), 11),
    **dict.fromkeys(("med_bert", "med_bert_clinical_bert"), 1),
}
"""How often models wait: those that read a grid, of which three sizes hang on values (`zoo.data.grid.GridView.grid`),
or triples, of which two do; those that fuse modalities, which read both, rows of events of four concepts and the
lengths of notes, of which FuseMoE asks each pool of experts how many tokens go to which; and those that ask for a
length where the batch is on a CPU."""

ASKING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "bincount", "_pack_padded_sequence"}
ASKING |= {"_unique2", "unique_dim", "unique_consecutive"}
"""Operations that need a value where the program runs, or whose result is as long as values say."""

COPIES = {"tolist", "numpy", "cpu"}
"""Methods that bring values to where the program runs, and are no operations."""


class Waits(TorchDispatchMode):
    """Counts what would make the program wait for a GPU, by name."""

    def __init__(self):
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function._schema.name.removeprefix("aten::")
        unsized = name == "repeat_interleave" and function._overloadname == "Tensor" and "output_size" not in kwargs
        if name in ASKING or unsized or (name.startswith(("index", "_index")) and _by_mask(args[1])):
            self.found[name] += 1
        return function(*args, **kwargs)


class Copies(TorchFunctionMode):
    """Counts copies among the `Waits`."""

    def __init__(self, waits: Waits):
        self.waits = waits

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in COPIES:
            self.waits.found[function.__name__] += 1
        return function(*args, **(kwargs or {}))


def _by_mask(indices) -> bool:
    """Whether elements are picked by a bool mask, so that their number is not known."""
    return isinstance(indices, (list, tuple)) and any(i is not None and i.dtype == torch.bool for i in indices)


def waits(step) -> Counter[str]:
    with Waits() as found, Copies(found):
        step()
    return found.found


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: int(x.max()), "_local_scalar_dense"),
        (lambda x: "some" if x.any() else "none", "_local_scalar_dense"),
        (lambda x: x.tolist(), "tolist"),
        (lambda x: x.cpu(), "cpu"),
        (lambda x: x[x > 1], "index"),
        (lambda x: x.clone().__setitem__(x > 1, torch.zeros(2)), "index_put_"),
        (lambda x: torch.repeat_interleave(x.long()), "repeat_interleave"),
        (lambda x: x.unique(), "_unique2"),
        (lambda x: torch.nn.utils.rnn.pack_padded_sequence(x.view(2, 2, 1), torch.tensor([2, 1]), True), None),
    ],
)
def test_what_waits_is_found(ask, named):
    found = waits(lambda: ask(torch.tensor([0.0, 1.0, 2.0, 3.0])))
    assert (named in found) if named else found


def test_what_does_not_wait_is_not_found():
    x = torch.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    steps = [
        lambda: torch.where(x > 1, x, 0.0).sum().backward(),
        lambda: x[torch.tensor([1, 1])].cumsum(0).masked_fill(torch.tensor([True, False]), 0),
        lambda: torch.repeat_interleave(torch.tensor([1, 3]), output_size=4),
        lambda: torch.nn.functional.embedding(torch.tensor([0, 1]), x.view(2, 2)).sum().backward(),
    ]
    assert not sum((waits(step) for step in steps), Counter())


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield lambda concepts: zoo.load("synthetic", task="readmission", patients=100, concepts=concepts)


@pytest.mark.parametrize(
    ("name", "settings", "most"),
    [*((n, {}, WAITS.get(n, 0)) for n in NETWORKS), ("gru", {"grid": True}, 3), ("transformer", {"grid": True}, 3)],
)
def test_a_step_does_not_wait(loaded, name, settings, most):
    data = loaded(set(models.entry(name).facts.concepts))
    model = zoo.create_model(name, data, seed=0, **settings).train()
    batch = next(data.batches("train", model, 16))
    # what is known of a batch before it goes to a GPU
    _ = batch.longest, [(ragged.longest, ragged.text_lengths) for ragged in batch.values()]

    def step():
        output = model(batch)
        (model.loss(output, batch) + sum(output.losses.values())).backward()

    found = waits(step)
    assert found.total() <= most, dict(found)
