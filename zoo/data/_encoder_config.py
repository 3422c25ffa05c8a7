"""The configuration of a published text encoder: of architectures that are known here only what is known of them.

It comes from a download or from the run folder of a stranger and goes into the package ``transformers``, many of whose
options do more than give a size.
"""

from __future__ import annotations

from collections.abc import Mapping

from zoo.cache.forms import check_form

ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "camembert")
"""Those that are built as BERT is."""
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh")
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
SIZES += ("max_position_embeddings", "type_vocab_size")
SHARES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps")
TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id")
FORMS = {
    "model_type": str,
    "hidden_act": str,
    "position_embedding_type": str,
    **dict.fromkeys(SIZES, int),
    **dict.fromkeys(SHARES, float),
    **dict.fromkeys(TOKENS, int | None),
}
"""What may be set, and to what."""


def known_part(config: Mapping[str, object]) -> dict[str, object]:
    """What is known here of a configuration as it is published; the rest makes no difference to an encoder."""
    return {n: v for n, v in config.items() if n in FORMS}


def check_encoder(config: object) -> None:
    """Raise a `ValueError` where a configuration is none that may be made, in every detail."""
    if not isinstance(config, Mapping) or config.get("model_type") not in ARCHITECTURES:
        kind = config.get("model_type") if isinstance(config, Mapping) else config
        raise ValueError(f"a {kind!r} is not built as BERT is; {', '.join(ARCHITECTURES)} are")
    if unknown := sorted(set(config) - set(FORMS)):
        raise ValueError(f"its configuration has {unknown[0]!r}, which is not known here")
    check_form(config, {n: f for n, f in FORMS.items() if n in config}, "its configuration")
    for name in SIZES:
        if config.get(name, 1) < 1:
            raise ValueError(f"its {name} is below 1")
    for name in SHARES:
        if not 0 <= config.get(name, 0) < 1:
            raise ValueError(f"its {name} is not from 0 to 1")
    for name in TOKENS:
        if config.get(name) is not None and not 0 <= config[name] < config.get("vocab_size", config[name] + 1):
            raise ValueError(f"its {name} is no token")
    if config.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise ValueError(f"its hidden_act is none of {', '.join(ACTIVATIONS)}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError("its positions are not absolute")
