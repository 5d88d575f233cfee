"""How near the networks' passes come to what the processor can do (Williams et al. 2009).

A pass can take no less than its operations at the processor's highest rate, nor than the bytes
that each operation reads and writes at the memory's. Both rates are measured in the same run, since
they differ from one machine, and from one moment, to the next.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from ...inference.predictor import Predictor

_MATRIX = 2048
_CONVOLVED = (64, 24, 40, 40)
"""Channels, k, j, i of the convolution that tells the processor's rate beside a matrix product."""
_COPIED = 1 << 26
"""Numbers; four times the largest caches."""


@dataclass(frozen=True)
class Rates:
    """What the machine reached, at best: 10^9 operations and 10^9 bytes a second."""

    matrix_gflops: float
    convolution_gflops: float
    copy_gbs: float

    @property
    def gflops(self) -> float:
        return max(self.matrix_gflops, self.convolution_gflops)


@dataclass(frozen=True)
class Operation:
    """One call of PyTorch in a pass.

    Args:
        kind: of operation.
        layer: of the network, for instance ``decoder.0``.
        flop: multiplications and additions of a convolution or a matrix product; else 0.
        moved: bytes of what it reads and writes, each once.
    """

    kind: str
    layer: str
    seconds: float
    flop: int
    moved: int

    def least_s(self, rates: Rates) -> float:
        return max(self.flop / rates.gflops, self.moved / rates.copy_gbs) / 1e9


class _Recorder(TorchDispatchMode):
    """Takes note of each operation, with the layer that it belongs to."""

    def __init__(self, synchronise: Callable[[], None]) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.layers: list[str] = []
        self.modules: list[str] = []
        self._synchronise = synchronise

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        began = time.perf_counter()
        output = func(*args, **(kwargs or {}))
        self._synchronise()
        seconds = time.perf_counter() - began
        given, made = _tensors((args, kwargs)), _tensors(output)
        storages = {one.untyped_storage().data_ptr() for one in given}
        is_view = not func._schema.is_mutable and all(
            one.untyped_storage().data_ptr() in storages for one in made
        )
        name = func.overloadpacket.__name__
        if made and not is_view and not name.startswith(("empty", "new_empty")):
            moved = sum(one.numel() * one.element_size() for one in (*given, *made))
            layer = self.layers[-1] if self.layers else "between"
            kind = self._kind(name, given)
            flop = _flop(name, given, made[0])
            self.operations.append(Operation(kind, layer, seconds, flop, moved))
        return output

    def _kind(self, name: str, given: list[torch.Tensor]) -> str:
        if _is_transposed(name):
            return "transposed convolution"
        if _is_convolution(name):
            return f"convolution {' x '.join(str(edge) for edge in given[1].shape[2:])}"
        module = self.modules[-1] if self.modules else ""
        if "Norm" in module:
            return "norm"
        if module == "VolumeUpsampling":
            return "transposed convolution"
        if "relu" in name:
            return "ReLU"
        return {"cat": "joining", "copy_": "copying", "clone": "copying"}.get(name, name)

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Know which layer of a network is being computed."""
        with ExitStack() as hooks:
            for name, module in network.named_modules():
                stacks = [(self.modules, type(module).__name__)]
                parts = name.split(".")
                if len(parts) == 2 or (len(parts) == 1 and not isinstance(module, nn.ModuleList)):
                    stacks.append((self.layers, name or "between"))
                for stack, label in stacks:
                    before = module.register_forward_pre_hook(
                        lambda _module, _given, stack=stack, label=label: stack.append(label)
                    )
                    after = module.register_forward_hook(
                        lambda _module, _given, _made, stack=stack: stack.pop() and None
                    )
                    hooks.callback(before.remove)
                    hooks.callback(after.remove)
            yield


def measure_roofline(
    predictor: Predictor, shapes: Mapping[str, tuple[int, ...]], repetitions: int
) -> tuple[tuple[float, ...], dict[str, Any]]:
    """The passes of a model's networks beside the machine's rates.

    Args:
        shapes: k, j, i of the input of each network, by its name.

    Returns:
        Seconds of all passes together, a repetition each; and what is known, for JSON: ``rates``
        and ``networks``.
    """
    synchronise = torch.cuda.synchronize if predictor.device.type == "cuda" else _nothing
    passes = {name: _pass_of(predictor, name, shape) for name, shape in shapes.items()}
    rates: list[Rates] = []
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    operations: dict[str, list[list[Operation]]] = {name: [] for name in passes}
    for number in range(repetitions + 1):
        rates.append(_measure_rates(predictor, synchronise))
        for name, (network, run) in passes.items():
            took = _seconds(run, synchronise)
            recorder = _Recorder(synchronise)
            with recorder.watching(network), recorder:
                run()
            if number:  # the first one makes the buffers and the plans
                seconds[name].append(took)
                operations[name].append(recorder.operations)
    best = Rates(
        max(one.matrix_gflops for one in rates),
        max(one.convolution_gflops for one in rates),
        max(one.copy_gbs for one in rates),
    )
    found = {
        "rates": {
            "matrix_gflops": round(best.matrix_gflops, 1),
            "convolution_gflops": round(best.convolution_gflops, 1),
            "copy_gbs": round(best.copy_gbs, 1),
        },
        "networks": {
            name: _summary(shapes[name], seconds[name], operations[name], best) for name in passes
        },
    }
    together = tuple(sum(of_all) for of_all in zip(*seconds.values(), strict=True))
    return together, found


def _pass_of(
    predictor: Predictor, name: str, shape: tuple[int, ...]
) -> tuple[nn.Module, Callable[[], object]]:
    network = predictor.networks.get(name)
    if network is None:  # an editor's time does not depend on what it has learnt
        from ...networks import build_network
        from ...training.recipes import editor_options
        from ...training.schedule import Budget

        options = editor_options(Budget(steps=1), predictor.card.stages["refiner"])
        network = build_network(options.network).to(predictor.device).eval()
        channels = int(options.network["in_channels"])
    else:
        channels = int(predictor.card.networks[name]["in_channels"])
    image = torch.rand((1, channels, *shape), device=predictor.device)
    wanted = {"return_attention": True} if name == "refiner" else {}

    def run() -> object:
        with (
            torch.inference_mode(),
            torch.autocast(predictor.device.type, torch.bfloat16, enabled=predictor.bfloat16),
        ):
            return network(image, **wanted)

    return network, run


def _measure_rates(predictor: Predictor, synchronise: Callable[[], None]) -> Rates:
    device = predictor.device
    kind = torch.bfloat16 if predictor.bfloat16 else torch.float32
    with torch.inference_mode():
        a, b = (torch.rand(_MATRIX, _MATRIX, device=device).to(kind) for _ in range(2))
        product = _fastest(lambda: a @ b, synchronise)
        channels, *edges = _CONVOLVED
        image = torch.rand((1, channels, *edges), device=device).to(kind)
        image = image.contiguous(memory_format=torch.channels_last_3d)
        weight = torch.rand((channels, channels, 3, 3, 3), device=device).to(kind)
        convolution = _fastest(lambda: nn.functional.conv3d(image, weight, padding=1), synchronise)
        source = torch.rand(_COPIED, device=device)
        target = torch.empty_like(source)
        copy = _fastest(lambda: target.copy_(source), synchronise)
    voxels = edges[0] * edges[1] * edges[2]
    return Rates(
        2 * _MATRIX**3 / product / 1e9,
        2 * 27 * channels**2 * voxels / convolution / 1e9,
        2 * source.numel() * source.element_size() / copy / 1e9,
    )


def _fastest(work: Callable[[], object], synchronise: Callable[[], None]) -> float:
    return min(_seconds(work, synchronise) for _ in range(4))


def _seconds(work: Callable[[], object], synchronise: Callable[[], None]) -> float:
    synchronise()
    began = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - began


def _nothing() -> None:
    """A CPU has computed when it returns."""


def _summary(
    shape: tuple[int, ...],
    seconds: list[float],
    recorded: list[list[Operation]],
    rates: Rates,
) -> dict[str, Any]:
    median = statistics.median(seconds)
    first = recorded[0]
    flop, moved = sum(one.flop for one in first), sum(one.moved for one in first)
    least = sum(one.least_s(rates) for one in first)
    return {
        "shape": list(shape),
        "seconds": [round(value, 4) for value in seconds],
        "gflop": round(flop / 1e9, 2),
        "gigabytes": round(moved / 1e9, 3),
        "flop_a_byte": round(flop / moved, 1),
        "median_s": round(median, 4),
        "lowest_s": round(min(seconds), 4),
        "least_s": round(least, 4),
        "gflops": round(flop / median / 1e9, 1),
        "share_of_peak": round(flop / median / 1e9 / rates.gflops, 3),
        "best_share_of_peak": round(flop / min(seconds) / 1e9 / rates.gflops, 3),
        "by_operation": _grouped(recorded, lambda one: one.kind, rates),
        "by_layer": _grouped(recorded, lambda one: one.layer, rates),
    }


def _grouped(
    recorded: list[list[Operation]], key: Callable[[Operation], str], rates: Rates
) -> list[dict[str, Any]]:
    """Of each group, the most time first: median seconds over the passes, work, and the least that
    it could take."""
    rows = []
    for name in dict.fromkeys(key(one) for one in recorded[0]):
        took = [sum(one.seconds for one in of_pass if key(one) == name) for of_pass in recorded]
        its = [one for one in recorded[0] if key(one) == name]
        rows.append(
            {
                "what": name,
                "seconds": round(statistics.median(took), 4),
                "gflop": round(sum(one.flop for one in its) / 1e9, 3),
                "gigabytes": round(sum(one.moved for one in its) / 1e9, 4),
                "least_s": round(sum(one.least_s(rates) for one in its), 4),
            }
        )
    return sorted(rows, key=lambda row: -row["seconds"])


def _tensors(values: Any) -> list[torch.Tensor]:
    found = []
    for one in torch.utils._pytree.tree_leaves(values):
        if isinstance(one, torch.Tensor):
            found.append(one)
    return found


def _is_convolution(name: str) -> bool:
    """Also as ``conv3d``, which it is called where nothing is taken down for gradients."""
    return "convolution" in name or name.startswith(("conv2d", "conv3d", "conv_transpose"))


def _is_transposed(name: str) -> bool:
    return _is_convolution(name) and "transpose" in name


def _flop(name: str, given: list[torch.Tensor], made: torch.Tensor) -> int:
    if _is_convolution(name):
        image, weight = given[:2]
        # Each voxel of the output, or of the input of a transposed one, takes the whole kernel.
        voxels = max(made.numel() // made.shape[1], 1)
        if _is_transposed(name) or weight.shape[1] != image.shape[1]:
            voxels = image.numel() // image.shape[1]
        return 2 * voxels * weight.numel()
    if name in ("mm", "addmm"):
        return 2 * made.numel() * given[-1].shape[0]
    return 0
