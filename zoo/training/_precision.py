"""Computing in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def bfloat16(device_type: str) -> Iterator[None]:
    """Autocast to bfloat16, on any processor.

    oneDNN has no LSTM in bfloat16 for processors without AVX-512 and raises an error there; torch's own kernels do
    without.
    """
    enabled = torch.backends.mkldnn.enabled
    lacks = device_type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    try:
        torch.backends.mkldnn.enabled = enabled and not lacks
        with torch.autocast(device_type, dtype=torch.bfloat16):
            yield
    finally:
        torch.backends.mkldnn.enabled = enabled
