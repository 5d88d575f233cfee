"""Training in several processes that ``torchrun`` started, one for each GPU, or on the CPU.

Every process takes its share of each batch. The sums that a loss is made of go through
:meth:`Processes.total`, so that each process has the loss of the whole batch; its backward pass
gives its own samples' part of the gradient, and the parts are added up
(:meth:`Processes.add_gradients`). From there on all take the same step. What the clock or a look
at the validation cases decides, the first process decides for all.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import nn

from ..errors import AttentionUNetSegmentError, DeviceError, InputError, TrainingError
from ..inference.device import choose_device
from ..networks import SegmentationNetwork

LONGEST_WAIT = timedelta(hours=2)
"""For another process, which may be reading all scans; one that has died is noticed at once."""


class Processes:
    """The processes of a training, seen from one of them; a single one unless told otherwise.

    Args:
        rank: of this process; the first, 0, is the one that writes and reports.
        size: how many there are.
        device: this process's own, where it is one of several.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank = rank
        self.size = size
        self.device = device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, batch_size: int) -> range:
        """Which samples of a batch this process takes.

        Raises:
            InputError: the batch cannot be divided evenly.
        """
        each, left = divmod(batch_size, self.size)
        if left:
            raise InputError(
                f"A batch of {batch_size} cannot be divided among {self.size} processes; choose a "
                f"--batch-size that is a multiple of {self.size}."
            )
        return range(self.rank * each, (self.rank + 1) * each)

    def synchronise_batch_norm(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """The network with its batch norm, if it has any, over all processes' samples.

        Raises:
            InputError: PyTorch has no such batch norm on the network's device.
        """
        norms = (nn.BatchNorm2d, nn.BatchNorm3d)
        if self.size == 1 or not any(isinstance(one, norms) for one in network.modules()):
            return network
        if next(network.parameters()).device.type != "cuda":
            raise InputError(
                "Batch norm over several processes needs GPUs; choose --norm instance or group, or "
                "train in one process."
            )
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)

    def total(self, part: torch.Tensor) -> torch.Tensor:
        """The sum over all processes; its gradient goes to this process's part alone."""
        return part if self.size == 1 else _Total.apply(part)

    def mean(self, values: Sequence[float]) -> list[float]:
        """Over the processes, number by number."""
        if self.size == 1 or not values:
            return list(values)
        return (self.total(torch.tensor(values, dtype=torch.float64)) / self.size).tolist()

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the sum of all processes' gradients."""
        if self.size == 1:
            return
        gradients = [one.grad for one in parameters if one.grad is not None]
        flat = self.total(torch.cat([one.flatten() for one in gradients]))
        parts = flat.split([one.numel() for one in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def from_first(self, value: Any) -> Any:
        """What the first process has, for all; the others wait for it."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        box = [value]
        with _others_reached():
            dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


class _Total(torch.autograd.Function):
    """Sum over processes. Each differentiates the same loss by its own part, so the gradient of
    the sum is handed through; the parts of the parameters' gradient are added up later."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor) -> torch.Tensor:
        import torch.distributed as dist

        whole = part.clone()
        with _others_reached():
            dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


@contextmanager
def _others_reached() -> Iterator[None]:
    """Turn the loss of another process into a sentence."""
    try:
        yield
    # gloo and NCCL have no exception in common but this one.
    except RuntimeError as error:
        raise TrainingError(
            "Another process of this training has ended or does not answer; see what it said, and "
            "give the same command again to go on from the last checkpoint."
        ) from error


def require_one_process() -> None:
    """Raise InputError where ``torchrun`` started several: each would do the same work in the same
    folder."""
    if _launched_size() > 1:
        raise InputError("This command trains in one process; start it without torchrun.")


def _launched_size() -> int:
    # Set by torchrun, and not merely by some cluster's scheduler.
    return int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1


@contextmanager
def launched_processes(device: str) -> Iterator[Processes]:
    """The processes that ``torchrun`` started.

    Without ``torchrun`` there is this one alone. An error ends all processes, and only the first
    that meets one tells it: ``torchrun`` ends the others, which leave with status 2.

    Args:
        device: "auto", "cuda" or "cpu"; with CUDA, each process takes the GPU of its local rank.

    Raises:
        DeviceError: there are fewer GPUs than processes, or PyTorch was built without what it
            takes.
        InputError: the device cannot be shared by processes.
    """
    if _launched_size() == 1:
        yield Processes()
        return
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_gloo_available():
        raise DeviceError(
            "This build of PyTorch cannot train in several processes; start one, without torchrun."
        )
    # An optimiser loads this module. Loaded when there is a group, its functions hold that group in
    # their default arguments: its threads outlive the interpreter then, and now and then abort.
    from torch.distributed.nn import functional  # noqa: F401
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(iter(rendezvous("env://", timeout=LONGEST_WAIT)))
    try:
        where = _device_of_process(device)
        dist.init_process_group(
            # Decisions go through the CPU in any case.
            "cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo",
            timeout=LONGEST_WAIT,
            store=dist.PrefixStore("training", store),
            rank=rank,
            world_size=size,
        )
        yield Processes(rank, size, where)
        # torchrun ends all where one ends badly, and the first is the last to be done: none leaves
        # before all is written.
        with _others_reached():
            dist.barrier()
        dist.destroy_process_group()
    except (AttentionUNetSegmentError, KeyboardInterrupt):
        if _is_told(store):
            # torchrun ends everybody when one has ended; first the sentence.
            time.sleep(1.0)
            raise SystemExit(2) from None
        raise


def _is_told(store: Any) -> bool:
    """Whether another process has already said why all end."""
    with contextlib.suppress(RuntimeError):  # torchrun itself is gone
        return int(store.add("told", 1)) > 1
    return False


def _device_of_process(device: str) -> torch.device:
    if device == "mps":
        raise InputError("An Apple GPU cannot be shared by processes; choose the device 'cpu'.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    where = choose_device(device)
    if where.type != "cuda":
        return where
    here, there = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if here > there:
        raise DeviceError(
            f"There are {here} processes for {there} GPUs on this machine; start torchrun with "
            f"--nproc-per-node {there}."
        )
    where = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(where)
    return where
