"""DeepSurv: proportional hazards by a multi-layer perceptron (Katzman et al., BMC Med. Res. Methodol. 2018)."""

from __future__ import annotations

from zoo.data import Spec
from zoo.models import Dropout, Size
from zoo.models.visits.mlp import MLP
from zoo.registry import Choice, register_model


@register_model(
    "deep_surv",
    family="visits",
    paper="Katzman et al., BMC Med. Res. Methodol. 18:24, 2018, doi:10.1186/s12874-018-0482-1, arXiv:1606.00931",
    uses={"diagnosis", "procedure", "drug", "lab", "vital", "static"},
    kinds={"survival"},
    search={"model.layers": Choice(1, 2, 3)},
)
class DeepSurv(MLP):
    """A multi-layer perceptron whose one output is the logarithm of the patient's relative hazard.

    The inputs and the layers are those of `zoo.models.visits.mlp.MLP`; the paper's are a patient's few covariates. The
    loss is the negative log partial likelihood, with Efron's correction for ties, over the events of a *batch*: the
    paper's is that of all samples. A sample is then compared to those of its batch that were followed up for as long,
    not to all of the training split: the likelihood has smaller risk sets, and varies more. What is left of hazards is
    set when the training is over, by Breslow's baseline on the whole training split.

    Args:
        dim: width of embeddings and hidden layers.
        layers: hidden layers.
        dropout: on the mean visit and on each hidden layer.
        static: take static facts.
    """

    def __init__(self, spec: Spec, dim: Size = 128, layers: Size = 2, dropout: Dropout = 0.2, static: bool = True):
        super().__init__(spec, dim, layers, dropout, static)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Larger batches than usual, for the sake of risk sets."""
        return {"batch_size": 256}
