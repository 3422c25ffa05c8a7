"""LEAP, learning to prescribe (Zhang et al., KDD 2017).

With d = dim, M drugs, and x_1 .. x_n in R^d the embeddings of a visit's diagnoses, drugs are written one a step t:

1. Attention, from the state s of the decoder: e_ti = v^T tanh(W_s s_(t-1) + W_x x_i), a_t = softmax(e_t) over i,
   c_t = sum over i of a_ti x_i; with W_s, W_x in R^(d x d), v in R^d.
2. s_t = GRU(s_(t-1), [c_t; y_(t-1)]), with y in R^d the embedding of the drug before, or of the start; s_0 = 0.
3. P(y_t | y_1 .. y_(t-1), x) = softmax(W_o s_t + b) over the drugs and the end, W_o in R^((M + 1) x d).

Earlier visits, procedures and earlier drugs are no input. Training has two stages:

1. Cross-entropy: the drugs of the label are written in a fixed order, and -log P(Y | x) falls.
2. Fine-tuning by reinforcement, with ``fine_tune=True`` and ``init=`` a run of the first stage: the model draws a set
   Y' itself, and (R(Y') - R(Y*)) log P(Y' | x) rises, with the reward R(Y') = J(Y', Y), the Jaccard index, or 0 where
   two drugs in Y' interact. Y* is what the model writes without drawing (Rennie et al., CVPR 2017, arXiv:1612.00563):
   taking its reward off changes no expectation, and lessens the noise. It wants a lower rate, such as ``lr=1e-4``.

`zoo.models.medication._drug_sequences` has how a set is written, and what the score of a drug is.

Where published code and paper part (the paper is followed):

- The attention of GAMENet's and SafeDrug's ports is linear in the state, which thus cancels out of the softmax. That of
  the authors' code is the product of x_i and s. Here it is a network with a hidden layer.
- The ports overwrite the diagnoses with the first step's c_t, so that all later steps have a single vector to attend
  to. Here each step attends to all diagnoses.
- The ports have a rectifier before the output, and their s_0 is the embedding of the start.
- Fine-tuning in the ports rewards sets *with* interactions, and the mean of all log-probabilities instead of those that
  were drawn. That in the authors' code weighs the label's own drugs by the reward of the drawn ones.
- The ports may write a drug twice. Here a drug that was written has no part in later steps.
- Padding takes part in the softmax of the authors' code before it is masked. Here it never does.
- The ports train on one visit a step with Adam, 30 epochs at a rate of 0.0002 (GAMENet's) or 50 at 0.0005 (SafeDrug's).
  Here the rate is the latter, and a step has the visits of eight patients: one drug is written after the other, which
  takes eight patients little longer than one.

The order of drugs is that of how often they occur beside others in training, rare ones first. The authors' code finds
the order in its data, and has at most 50 drugs; the ports 20. That a set with an interaction earns nothing is how the
ports' fine-tuning reads, with its sign put right; the abstract speaks of a reward that prevents such sets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.layers import code_sets
from zoo.models import Dropout, Output, Size
from zoo.models.medication._drug_sequences import SequenceModel, State, Step, WrittenOutput, likelihood, set_logits
from zoo.models.medication._drug_sets import expected_interactions
from zoo.registry import register_model


@register_model(
    "leap",
    family="medication",
    paper="Zhang et al., KDD 2017, doi:10.1145/3097983.3098109",
    uses={"diagnosis"},
    needs={"diagnosis"},
    kinds={"multilabel"},
    predicts="drug",
    causal=True,
    resources={"cooccurrence", "interactions"},
    published={
        "model.dim": 128,
        "model.dropout": 0.3,
        "model.max_drugs": 20,
        "model.beams": 1,
        "trainer.optimizer": "adam",
        "trainer.lr": 5e-4,
        "trainer.batch_size": 1,
        "trainer.max_epochs": 50,
        "trainer.monitor": "jaccard_samples",
    },
)
class LEAP(SequenceModel):
    """Drugs are written one by one, each with a new look at the visit's diagnoses.

    Args:
        dim: width d of embeddings and states.
        dropout: on embeddings.
        max_drugs: how many drugs are written at most; the ports have 20, which cuts the sets of intensive care short.
        beams: how many sequences are kept in search of the likeliest one.
        fine_tune: train by reinforcement, beginning with the weights of a run without it.
    """

    def __init__(
        self,
        spec: Spec,
        dim: Size = 128,
        dropout: Dropout = 0.3,
        max_drugs: Size = 45,
        beams: Size = 1,
        fine_tune: bool = False,
    ):
        super().__init__(spec, max_drugs, beams)
        self.fine_tune = fine_tune
        self.diagnoses = nn.Embedding(spec.size("diagnosis"), dim, padding_idx=0)
        self.drugs = nn.Embedding(spec.outputs + 2, dim)  # with the end, which nothing follows, and the start
        self.attend = AdditiveAttention(dim)
        self.cell = nn.GRUCell(2 * dim, dim)
        self.head = nn.Linear(dim, spec.outputs + 1)
        self.dropout = nn.Dropout(dropout)
        for table in (self.diagnoses, self.drugs):
            nn.init.uniform_(table.weight, -0.1, 0.1)
        interactions = torch.from_numpy(spec.resources["interactions"]).float()
        self.register_buffer("interactions", interactions, persistent=False)

    def known(self, batch: Batch) -> State:
        """The diagnoses of each sample's visit: (samples, n, d) x, W_x x, and (samples, n) where there is one."""
        own = batch.row_offsets[batch.sample_row] + batch.sample_visit
        ids, there = (x[own] for x in code_sets(batch["diagnosis"]))
        vectors = self.dropout(self.diagnoses(ids))
        return vectors, self.attend.keys(vectors), there

    def taught(self, known: State, tokens: Tensor) -> Tensor:
        """Step after step, as each state hangs on the one before."""
        before = F.pad(tokens, (1, -1), value=self.spec.outputs + 1)
        (state, *_), _ = self.writer(known)
        states = []
        for vectors in self.dropout(self.drugs(before)).unbind(1):
            state = self.advance(state, vectors, known)
            states.append(state)
        return self.head(torch.stack(states, 1))

    def writer(self, known: State) -> tuple[State, Step]:
        """The state is (n, d) s and what is known."""

        def step(state: State, token: Tensor, place: int) -> tuple[State, Tensor]:
            state, known = state[0], state[1:]
            state = self.advance(state, self.dropout(self.drugs(token)), known)
            return (state, *known), self.head(state)

        return (known[0].new_zeros(len(known[0]), self.cell.hidden_size), *known), step

    def advance(self, state: Tensor, drug: Tensor, known: State) -> Tensor:
        """(n, d) s_t, from s_(t-1) and y_(t-1)."""
        return self.cell(torch.cat([self.attend(state, *known), drug], dim=-1), state)

    def trained(self, known: State, batch: Batch) -> WrittenOutput:
        """The output in training: in fine-tuning, of what is drawn."""
        if not self.fine_tune:
            return super().trained(known, batch)
        with torch.no_grad():
            drawn, best = self.write(known, sample=True), self.write(known)
        gain = self.reward(drawn.chosen, batch.label) - self.reward(best.chosen, batch.label)
        log_p = self.log_probabilities(known, drawn.sequences.tokens)
        return WrittenOutput(set_logits(drawn), likelihood=gain * likelihood(log_p, drawn.sequences))

    def loss(self, output: Output, batch: Batch) -> Tensor:
        """The mean over samples of -log P(Y | x); in fine-tuning of 1 - R, and in training what has its gradient."""
        if self.fine_tune and not isinstance(output, WrittenOutput):
            return 1 - self.reward(output.logits > 0, batch.label).mean()
        return super().loss(output, batch)

    def reward(self, chosen: Tensor, label: Tensor) -> Tensor:
        """(samples,) R of (samples, M) sets: the Jaccard index, or 0 where drugs interact; 0 of two empty sets."""
        shared, either = (chosen & label).sum(1), (chosen | label).sum(1)
        safe = expected_interactions(chosen.float(), self.interactions) == 0
        return safe * shared / either.clamp(min=1)

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """Those of SafeDrug's port but for the batch; the sets themselves are watched."""
        return {"optimizer": "adam", "lr": 5e-4, "batch_size": 8, "monitor": "jaccard_samples", "patience": 10}


class AdditiveAttention(nn.Module):
    """c = sum over i of a_i x_i, a = softmax over i of v^T tanh(W_s s + W_x x_i)."""

    def __init__(self, dim: int):
        super().__init__()
        self.query = nn.Linear(dim, dim, bias=False)
        self.keys = nn.Linear(dim, dim)
        self.score = nn.Linear(dim, 1, bias=False)

    def forward(self, state: Tensor, vectors: Tensor, keys: Tensor, there: Tensor) -> Tensor:
        """(n, d); zeros where there is nothing to attend to.

        Args:
            state: (n, d) s.
            vectors: (n, places, d) x.
            keys: (n, places, d), W_x x.
            there: (n, places) bool.
        """
        score = self.score((self.query(state)[:, None] + keys).tanh())[..., 0]
        lowest = torch.finfo(score.dtype).min
        weight = score.masked_fill(~there, lowest).softmax(-1).masked_fill(~there, 0)
        return (weight[:, None] @ vectors.to(weight.dtype))[:, 0]
