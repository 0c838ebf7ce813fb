"""Several processes, one training: what `torchrun` starts, joined by DistributedDataParallel.

Each process has a whole network and its share of every batch; after the backward pass the
gradients are averaged, so all take the same step. On one machine with 4 GPUs:

    torchrun --nproc-per-node 4 -m asrlib train --preset base --data train-clean-100

On two such machines, the same command on each, with the address of the first one:

    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint FIRST:29500 \\
        -m asrlib train --preset base --data train-clean-100 --folder /on/a/shared/disk

`batch_seconds` is what all processes learn from together: with more of them, raise it.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class World:
    """The processes that train together, seen from one of them.

    Attributes:
        device: of this process.
        rank: of this process, from 0; rank 0 evaluates, reports and saves.
        size: how many there are.

    Example:
        >>> alone = World(torch.device("cpu"))
        >>> alone.is_first, list(alone.share([[4, 5], [6]]))
        (True, [[4, 5], [6]])
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Is this the process that reports and saves?"""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Make the backward pass average the gradients of all processes.

        Args:
            model: on this process's device, the same network in all processes.

        Returns:
            The model itself when alone, else wrapped in DistributedDataParallel.
        """
        if self.size == 1:
            return model
        return nn.parallel.DistributedDataParallel(model)

    def total(self, value: Tensor) -> Tensor:
        """Add a number up over all processes, which all must call this.

        Args:
            value: of this process.

        Returns:
            The sum, on this process's device.
        """
        if self.size == 1:
            return value
        value = value.detach().clone().to(self.device)
        distributed.all_reduce(value)
        return value

    def share(self, batches: Iterable[list[int]]) -> Iterator[list[int]]:
        """This process's part of each batch: utterances of like length, so that none waits long.

        Args:
            batches: lists of indices, the same in all processes.

        Returns:
            As many lists; a batch with fewer utterances than processes leaves some an empty one.
        """
        return (batch[self.rank :: self.size] for batch in batches)

    def leave(self) -> None:
        """Part from the other processes, once, at the end of a run that went well.

        A thread of gloo may hold on to the last tensor it sent. Still running while Python shuts
        down, it aborts the process, seldom (pytorch/pytorch#179291). After an error, end without
        this: it would wait for the others, who wait for this one.
        """
        if self.size > 1:
            distributed.destroy_process_group()


def join_world(device: str | torch.device | None = None) -> World:
    """Find the other processes, if torchrun started this one.

    Args:
        device: "cpu" or "cuda"; a GPU of its own for each process if there are any.

    Returns:
        The world; alone without torchrun.

    Raises:
        ValueError: more processes on this machine than GPUs.

    Example:
        >>> join_world("cpu").size
        1
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World(device)
    if device.type == "cuda":
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise ValueError(f"--nproc-per-node asks for process {local + 1}, with {gpus} GPUs")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(device, distributed.get_rank(), size)
