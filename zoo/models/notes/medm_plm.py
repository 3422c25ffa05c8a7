"""MedM-PLM, a language model over codes and notes (Liu et al., IEEE JBHI 2023, arXiv:2201.10113).

With d = dim * tree_heads the width of codes and w that of the text encoder, for each visit:

1. Codes. o_c in R^d of each diagnosis and drug (ATC level 3), from the tree above it, as in G-BERT
   (`zoo.layers.OntologyEmbedding`); a Transformer over {[CLS]} and the diagnoses, and over {[CLS]} and the drugs:
   C^k in R^((1 + n_k) x d) for k of the two, and z^k its row of [CLS].
2. Text. A BERT over [CLS], the tokens of the visit's notes, and [SEP]: T in R^(N x w), and z its row of [CLS]. Where
   it begins with weights that have learned from text (a published ``encoder``, or the run of ``init``), all of its
   layers but the last ``trained_layers`` are frozen, with its embeddings; random ones learn.
3. Across. Each [CLS] asks the other side's tokens, and has what it finds added:
   h^k = z^k + softmax(W_q z^k (T W_k)^T / sqrt(d)) T W_v in R^d, and
   g^k = z + softmax(W_q' z (C^k W_k')^T / sqrt(w)) C^k W_v' in R^w.
   Equations 6 and 7 have no W, which takes sides of one width; of 300 and 768 in the paper there is none. As in the
   published code, queries, keys and values are projected to the width of the side that asks. Padding has no share.
   ``cross_modal=False`` leaves it out: h^k = z^k and g^k = z.
4. Pre-training on single visits, with 15 % of the diagnoses and of the drugs hidden, one of each at least:
   Code-to-Code tells them from h^k, Text-to-Code from g^k. The paper leaves open how several codes are told from one
   vector: here softmax(MLP(h)) over all codes of the kind, each hidden one by its cross-entropy, and the mean over all
   hidden ones. The loss is the sum of the two; visits without a text have no share in Text-to-Code.
5. A task at the end of a visit, or within it: logits = MLP([h^k, g^k of the visit, for each k]). What is predicted is
   no input: to code a visit, drugs and text alone are read. For the drugs (or diagnoses) of a visit to come:
   logits = MLP([means of h^k and g^k over the visits before; z of the given diagnoses of the visit]). The note of that
   visit lists its drugs, and has no part.

MLP(x) = W_2 relu(W_1 x + b_1) + b_2 (equations 12, 14 and 16 say MLP and no width): W_1 of the width of h or g in
pre-training, as in the published code, and of d in tasks.

Where published code and paper part (the paper is followed):

- Its heads of tasks are one linear layer. Here they are MLPs.
- Its Transformer over codes has 4 heads, norms before each layer, and a dropout of 0.4. Here there are 2 heads, norms
  behind each layer, as in BERT, and one ``dropout``.
- Its z of a text goes through BERT's pooler, tanh(W z + b). Here it is the row of [CLS].
- Its views mix the rows of patients, and let the drugs of the target visit in. Here neither can be.
- The discharge summary of the target visit is an input there, in h and g of its diagnoses. Here it is none, and z
  stands for them.
- Its attention across has no masks, and gives padding a share. Here it has them.
- It pre-trains by binary cross-entropies of all codes of the visit, hidden or not, and of diagnoses from drugs and
  drugs from diagnoses too. Here the two losses are the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Batch, Spec
from zoo.data.text import Reading
from zoo.layers import CodeTokens, EncoderLayer, OntologyEmbedding, TextChunks, code_sets, hide
from zoo.models import Dropout, MultipleOfEncoderHeads, Nodes, Size
from zoo.models._model import Attended, Output
from zoo.models._seen_visits import SeenVisits
from zoo.models._texts import BEGINS_WITH, TextModel, encoder_reading
from zoo.registry import Choice, Range, kind_of, register_model

CODES = ("diagnosis", "drug")


@register_model(
    "medm_plm",
    family="notes",
    paper="Liu et al., IEEE JBHI 2023, arXiv:2201.10113",
    uses={"note", *CODES},
    needs={"note"},
    kinds={"binary", "multiclass", "multilabel", "regression"},
    explains="attention to words and codes",
    resources={"encoder", "ontology"},
    causal=True,
    begins_with=BEGINS_WITH,
    levels={"drug": "atc3"},
    published={
        "model.encoder_dim": 768,
        "model.encoder_layers": 12,
        "model.encoder_heads": 12,
        "model.vocabulary_size": 30522,
        "model.trained_layers": 2,
        "model.max_length": 510,
        "model.dim": 75,
        "model.tree_heads": 4,
        "model.layers": 2,
        "model.heads": 2,
        "model.feedforward": 300,
        "trainer.optimizer": "adam",
        "trainer.lr": 5e-5,
    },
    search={"model.dim": Choice(32, 75, 150)},
)
class MedMPLM(TextModel):
    """Codes by their trees, notes by a BERT, and an attention of each side to the other.

    Args:
        spec: what the data are like.
        encoder: a published one to begin with, by its name on the Hugging Face hub or its folder; None for a small one.
            The paper begins with ClinicalBERT.
        encoder_dim, encoder_layers, encoder_heads: of a small one.
        vocabulary_size: how many pieces of words a small one has at most; 30,522 in ClinicalBERT.
        trained_layers: how many of its last layers are trained where it begins with weights that have learned from
            text; 2 in the paper. None for all, and the embeddings.
        cache_frozen: whether what the others say of a text is kept, on the CPU and as far as memory allows.
        max_length: how many tokens of a visit's notes are read; 512 with [CLS] and [SEP] in the paper.
        dim: width of a node of a tree, and of a head of its attention; 75 in the paper.
        tree_heads: of the attention in the trees; 4 in the paper.
        layers, heads: of the Transformer over codes; 2 and 2 in the paper, 2 and 4 in the published configuration.
        feedforward: width of the hidden layer of its feed-forward network; 300 in the published configuration.
        cross_modal: whether each side asks the other; without is the paper's ablation.
        dropout: in the Transformers and before the head; 0.1 in the published text encoder, 0.4 in its one of codes.
    """

    renamed: ClassVar = {"embed.": "codes."}

    def __init__(
        self,
        spec: Spec,
        encoder: str | None = None,
        encoder_dim: MultipleOfEncoderHeads = 128,
        encoder_layers: Size = 2,
        encoder_heads: Size = 2,
        vocabulary_size: Size = 8000,
        trained_layers: Annotated[int, Range(at_least=0)] | None = 2,
        cache_frozen: bool = True,
        max_length: Size = 510,
        dim: Nodes = 75,
        tree_heads: Size = 4,
        layers: Size = 2,
        heads: Size = 2,
        feedforward: Size = 300,
        cross_modal: bool = True,
        dropout: Dropout = 0.1,
    ):
        super().__init__(spec, encoder_dim, encoder_layers, encoder_heads, dropout, trained_layers, cache_frozen)
        self.encoder.check_length(max_length=max_length)
        self.max_length, width, text = max_length, dim * tree_heads, self.encoder.width
        trees = spec.resources["ontology"]
        self.kinds = [c for c in CODES if c in spec.concepts]
        self.codes = nn.ModuleDict(
            {c: CodeTokens(OntologyEmbedding(trees[c], dim, tree_heads), width) for c in self.kinds}
        )
        self.layers = nn.ModuleList(EncoderLayer(width, heads, feedforward, dropout) for _ in range(layers))
        asking = self.kinds if cross_modal else ()
        self.ask_text = nn.ModuleDict({c: Asking(width, text) for c in asking})
        self.ask_codes = nn.ModuleDict({c: Asking(text, width) for c in asking})
        self.code_to_code = nn.ModuleDict({c: _mlp(width, width, spec.size(c)) for c in self.kinds})
        self.text_to_code = nn.ModuleDict({c: _mlp(text, text, spec.size(c)) for c in self.kinds})
        self.seen = SeenVisits(spec, self.kinds)
        read, given = len(self.seen.read), len(self.seen.given)
        seen = read * (width + text) + (0 if read else text) + given * width
        self.dropout, self.head = nn.Dropout(dropout), _mlp(seen, width, spec.outputs)

    @classmethod
    def reading(cls, hyperparameters: Mapping[str, object]) -> Reading:
        """Pieces of words, of every visit."""
        return encoder_reading(hyperparameters, hyperparameters["max_length"])

    @classmethod
    def trainer_defaults(cls, spec: Spec) -> dict:
        """The paper's for a published encoder, 5e-5 for drugs; a small one, which learns from nothing, has 5e-4."""
        if not spec.resources.get("encoder"):
            return {"optimizer": "adam", "lr": 5e-4, "batch_size": 16}
        rate = 5e-5 if spec.predicts else 1e-5 if kind_of(spec.kind).sets else 2e-5
        return {"optimizer": "adam", "lr": rate, "batch_size": 16}

    @classmethod
    def pretraining_defaults(cls, spec: Spec) -> dict:
        """The paper's: Adam at 5e-4, 32 visits a batch, 200 epochs; the patience of 10 is the published code's."""
        return {"optimizer": "adam", "lr": 5e-4, "batch_size": 32, "max_epochs": 200, "patience": 10}

    def forward(self, batch: Batch) -> Output:
        """Logits (samples, outputs)."""
        seen, attention = self._seen(batch)
        return Output(self.head(self.dropout(seen)), attention=attention)

    def embed(self, batch: Batch) -> Tensor:
        """What the head sees of both sides, side by side."""
        return self._seen(batch)[0]

    def _seen(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """(samples, width) what the head sees, and the attention across."""
        text, mask = self._texts(batch)
        of_visits, own, attention = [], {}, {}
        for kind in self.seen.read:
            codes, inside = self._codes(kind, *code_sets(batch[kind]))
            h, g, weights = self._across(kind, codes, inside, text, mask)
            attention |= dict(zip((f"{kind}_to_text", f"text_to_{kind}"), weights, strict=True)) if weights else {}
            of_visits += [h, g]
            own[kind] = codes[:, 0]
        return self.seen(batch, of_visits or [text[:, 0]], own), attention

    def pretrain(self, batch: Batch) -> Output:
        """The losses ``code_to_code`` and ``text_to_code`` of the hidden codes of each sample's own visit."""
        own = batch.row_offsets[batch.sample_row] + batch.sample_visit
        text, mask = self._texts(batch)
        text, mask, some = text[own], mask[own], batch["note"].text_offsets.diff()[own] > 0
        from_codes, from_text = [], []
        for kind in self.kinds:
            ids, there = (part[own] for part in code_sets(batch[kind]))
            size = self.spec.size(kind)
            hidden = hide(F.pad(ids, (0, 1)), F.pad(there, (0, 1)), size, (min(2, size - 1), size))
            codes, inside = self._codes(kind, hidden.tokens[:, :-1], there)
            h, g, _ = self._across(kind, codes, inside, text, mask)
            from_codes.append(_told(self.code_to_code[kind](h), hidden.target, hidden.counts))
            from_text.append(_told(self.text_to_code[kind](g), hidden.target, hidden.counts & some[:, None]))
        losses = {"code_to_code": _mean(from_codes, text), "text_to_code": _mean(from_text, text)}
        return Output(text.new_zeros(0), losses)

    def _texts(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(visits, N, w) what the encoder has at each token of the visits' texts, and (visits, N) which are tokens."""
        chunks = TextChunks(batch["note"], self.tokenizer, self.max_length)
        return self.encoder(chunks)[chunks.begin], chunks.mask[chunks.begin]

    def _codes(self, kind: str, ids: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """(visits, 1 + n, d) of [CLS] and the codes, and (visits, 1 + n) which places hold one."""
        rows, there = self.codes[kind](ids), F.pad(there, (1, 0), value=True)
        for layer in self.layers:
            rows = layer(rows, there)
        return rows, there

    def _across(self, kind: str, codes: Tensor, inside: Tensor, text: Tensor, mask: Tensor):
        """h (visits, d), g (visits, w), and how [CLS] attends to tokens, (visits, N), and codes, (visits, 1 + n)."""
        z_codes, z_text = codes[:, 0], text[:, 0]
        if kind not in self.ask_text:
            return z_codes, z_text, ()
        of_text, to_text = self.ask_text[kind](z_codes, text, mask)
        of_codes, to_codes = self.ask_codes[kind](z_text, codes, inside)
        return z_codes + of_text, z_text + of_codes, (to_text, to_codes)

    def attended(self, batch: Batch, output: int) -> Attended | None:
        """The attention across of each visit, whatever the output: codes to tokens, and text to codes."""
        told = self(batch).attention
        chunks = TextChunks(batch["note"], self.tokenizer, self.max_length)
        tokens, events = {}, {}
        for kind in self.seen.read if told else ():
            tokens[f"{kind}_to_text"] = chunks.over_tokens(told[f"{kind}_to_text"], chunks.begin)
            ids, there = code_sets(batch[kind])
            table = told[f"text_to_{kind}"].new_zeros(len(ids), self.spec.size(kind))
            table = table.scatter_add(1, ids, told[f"text_to_{kind}"][:, 1:].masked_fill(~there, 0))
            events[f"text_to_{kind}"] = (kind, table[batch[kind].visit, batch[kind].ids])
        return Attended(tokens, events) if told else None


class Asking(nn.Module):
    """Attention of one vector to the tokens of another side, whose keys and values have the width of the vector.

    softmax(W_q z (X W_k)^T / sqrt(own)) X W_v, for z of (own,) and X of (tokens, other).

    Args:
        own: the width of the vector.
        other: that of the tokens.
    """

    def __init__(self, own: int, other: int):
        super().__init__()
        self.query, self.value = nn.Linear(own, own), nn.Linear(other, own)
        self.key = nn.Linear(other, own, bias=False)  # a bias of the keys has no effect

    def forward(self, z: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(visits, own) what is found, and (visits, tokens) the weights.

        Args:
            z: (visits, own).
            tokens: (visits, tokens, other).
            mask: (visits, tokens) bool, one at least.
        """
        scores = (self.key(tokens) @ self.query(z)[..., None])[..., 0] / z.shape[-1] ** 0.5
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return (weights[:, None] @ self.value(tokens))[:, 0], weights


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def _told(logits: Tensor, target: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the cross-entropies of the hidden codes, each told from the vector of its visit, and how many."""
    each = -logits.float().log_softmax(dim=-1).gather(1, target)
    return (each * counts).sum(), counts.sum()


def _mean(told: list[tuple[Tensor, Tensor]], like: Tensor) -> Tensor:
    """The mean over all hidden codes; 0 where there is none."""
    if not told:
        return like.sum() * 0
    sums, counts = zip(*told, strict=True)
    return torch.stack(sums).sum() / torch.stack(counts).sum().clamp(min=1)
