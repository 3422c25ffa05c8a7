"""The processes that train one model together, by accelerate."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from zoo.registry import UserError, shown

LAUNCHED_WITH = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher sets in the environment besides ``WORLD_SIZE``; without it processes would wait for ever."""


def launched() -> bool:
    """Whether ``accelerate launch`` or ``torchrun`` has started this process as one of several.

    Raises:
        UserError: the environment says that there are several, but no launcher has said which of them this one is.
    """
    count = os.environ.get("WORLD_SIZE") or "1"
    if not count.isascii() or not count.isdigit():
        raise UserError(f"WORLD_SIZE={shown(count)} in the environment is no number of processes: unset it.")
    missing = [n for n in LAUNCHED_WITH if not os.environ.get(n)]
    if int(count) > 1 and missing:
        raise UserError(
            f"WORLD_SIZE={count} stands in the environment, but {', '.join(missing)} does not: no launcher has started "
            f"{count} processes. Unset WORLD_SIZE, or start them with torchrun or accelerate launch."
        )
    return int(count) > 1


class Processes:
    """This process and its fellows; a process that nobody launched is alone.

    Args:
        device: what this process computes on.

    Attributes:
        count: how many there are.
        rank: which one this is, from 0.
        main: whether it is the one that writes.

    Raises:
        UserError: they were launched for another device.
    """

    def __init__(self, device: torch.device):
        # A gradient is missing where a batch has nothing of a concept.
        wrapper = DistributedDataParallelKwargs(find_unused_parameters=True)
        how = {"device_placement": False, "kwargs_handlers": [wrapper]}
        together = launched()
        try:
            self._accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no", **how)
        except ValueError as error:  # this interpreter has an accelerator on another device or of another precision
            if together:
                raise UserError(f"the processes cannot train on device {device.type!r} together: {error}") from error
            self._accelerator = Accelerator(**how)
        self.count = self._accelerator.num_processes
        self.rank = self._accelerator.process_index
        self.main = self._accelerator.is_main_process

    def share(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over all processes; itself where there is one."""
        return model if self.count == 1 else self._accelerator.prepare_model(model, device_placement=False)

    def unsynchronised(self, model: nn.Module) -> AbstractContextManager:
        """Within the block gradients add up in this process alone."""
        return nullcontext() if self.count == 1 else self._accelerator.no_sync(model)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        self._accelerator.backward(loss)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, which all must ask for."""
        return tensor if self.count == 1 else self._accelerator.reduce(tensor, "sum")

    def stacked(self, tensor: Tensor) -> Tensor:
        """(processes, ...) the tensors of all processes, which all must ask for."""
        return tensor[None] if self.count == 1 else self._accelerator.gather(tensor[None])

    def wait(self) -> None:
        """Wait until all have come here."""
        if self.count > 1:
            self._accelerator.wait_for_everyone()
