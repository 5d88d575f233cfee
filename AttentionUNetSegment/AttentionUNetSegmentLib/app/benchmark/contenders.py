"""The work that is measured: ours, and what a user would take instead.

Each contender is a function that gets a :class:`Bench` and gives the seconds of its repetitions;
what its steps took, it leaves in ``bench.parts``, and what else it found in ``bench.details``. All
of them see the same scan; those that run the refiner run the same weights.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import AttentionUNetSegmentError
from ...inference.clicks import Click
from ...networks.precision import AUTO, FLOAT32
from .measurements import medians, timed

if TYPE_CHECKING:
    import torch

    from ...geometry.grid import Grid
    from ...geometry.volume import Volume
    from ...inference.predictor import Predictor
    from ...inference.session import Session

PATCH = (48, 80, 96)
"""Voxels (k, j, i) of a sliding window: the patch that the refiner was trained on."""
OVERLAP = 0.5
CLICKS = 50
CLICKS_A_SESSION = 10


class NotAvailableError(AttentionUNetSegmentError):
    """What this needs is not there: another project, or an organ in the scan."""


@dataclass
class Bench:
    """What a contender works with.

    Args:
        scan: file or DICOM folder.
        model: folder.
        device: "auto", "cpu", "cuda" or "mps".
        repetitions: of quick work; slow work is repeated less often.
        precision: what the networks compute in.
    """

    scan: Path
    model: Path
    device: str
    repetitions: int
    precision: str = AUTO
    parts: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def few(self) -> int:
        return max(self.repetitions // 5, 1)

    @cached_property
    def volume(self) -> Volume:
        from ...io.reading import read_volume

        return read_volume(self.scan)

    @cached_property
    def predictor(self) -> Predictor:
        from ...inference.predictor import Predictor
        from ...models import load_model

        return Predictor(load_model(self.model), self.device, self.precision)

    @cached_property
    def whole_scan(self) -> tuple[torch.Tensor, Grid]:
        """The scan at the refiner's resolution, with empty click channels."""
        import torch

        from ...geometry.grid import aligned_grid

        stage = self.predictor.card.stages["refiner"]
        grid = aligned_grid(self.volume.grid.bounds, stage.spacing_mm)
        image = self.predictor.sample(self.volume, grid)
        channels = int(stage.network["in_channels"]) - 1
        return torch.cat((image, image.new_zeros(1, channels, *grid.shape)), dim=1), grid

    @contextmanager
    def computing(self) -> Iterator[None]:
        """As our predictor computes: the same numbers, no gradients."""
        import torch

        predictor = self.predictor
        with (
            torch.inference_mode(),
            torch.autocast(predictor.device.type, torch.bfloat16, enabled=predictor.bfloat16),
        ):
            yield
            if predictor.device.type == "cuda":
                torch.cuda.synchronize()


def job_warm(bench: Bench) -> tuple[float, ...]:
    from ..segmenting import SegmentationJob, read_scan, segment_into

    steps = []

    def job() -> None:
        with tempfile.TemporaryDirectory() as folder:
            scan = SegmentationJob(
                lambda: read_scan(bench.scan),
                model=str(bench.model),
                device=bench.device,
                precision=bench.precision,
            )
            outcome = segment_into(Path(folder), scan)
        took = outcome.report["timings_s"]
        steps.append({step: took[step] for step in took if step not in ("network", "total")})

    seconds = timed(job, bench.repetitions)
    bench.parts = medians(steps[1:])
    return seconds


def job_in_scene(bench: Bench) -> tuple[float, ...]:
    import time

    from ...inference.predictor_cache import PredictorCache
    from ...scene import addVolumeNode
    from ...scene.headless import headlessScene
    from ...scene.tasks import SegmentationOptions, SegmentationTask

    cache = PredictorCache()
    options = SegmentationOptions(
        model=str(bench.model), device=bench.device, precision=bench.precision
    )
    steps = []
    with headlessScene():
        node = addVolumeNode(bench.volume, "scan")

        def job() -> None:
            task = SegmentationTask(node, options=options)
            began = time.perf_counter()
            computed = task.compute(cache)
            between = time.perf_counter()
            task.write(computed)
            steps.append(
                {"compute": between - began, "write into scene": time.perf_counter() - between}
            )

        seconds = timed(job, bench.repetitions)
    bench.parts = medians(steps[1:])
    return seconds


def prediction(bench: Bench) -> tuple[float, ...]:
    steps = []

    def job() -> None:
        took = bench.predictor.predict(bench.volume).timings_s
        steps.append({step: took[step] for step in took if step != "total"})

    seconds = timed(job, bench.repetitions)
    bench.parts = medians(steps[1:])
    return seconds


def networks(bench: Bench) -> tuple[float, ...]:
    bench.predictor.predict(bench.volume)
    seconds = []
    for _ in range(bench.repetitions):
        took = bench.predictor.predict(bench.volume).timings_s
        seconds.append(took.get("locate", 0.0) + took.get("refine", 0.0))
    return tuple(seconds)


def monai_sliding_window(bench: Bench) -> tuple[float, ...]:
    try:
        from monai.inferers import sliding_window_inference
    except ImportError as error:
        raise NotAvailableError("MONAI is not installed (extra 'train').") from error
    refiner = bench.predictor.networks["refiner"]
    image, grid = bench.whole_scan

    def job() -> None:
        from ...geometry.resampling import resample

        with bench.computing():
            logits: Any = sliding_window_inference(
                image, PATCH, 1, refiner, overlap=OVERLAP, mode="gaussian"
            )
            label = bench.predictor.target_label
            probability = logits.float().softmax(dim=1)[:, label, None]
            resample(probability, grid, bench.volume.grid)

    return timed(job, bench.few, warm_ups=0)


def nnunet_sliding_window(bench: Bench, mirroring: bool = False) -> tuple[float, ...]:
    """nnU-Net's predictor with its own plain network of the refiner's widths, untrained: its time
    does not depend on the weights."""
    try:
        from dynamic_network_architectures.architectures.unet import PlainConvUNet
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    except ImportError as error:
        raise NotAvailableError("nnU-Net is not installed (package 'nnunetv2').") from error
    from torch import nn

    predictor = bench.predictor
    stage = predictor.card.stages["refiner"].network
    widths = list(stage["channels"])
    network = PlainConvUNet(
        1,
        len(widths),
        widths,
        nn.Conv3d,
        3,
        [1, *[2] * (len(widths) - 1)],
        2,
        int(stage["out_channels"]),
        2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
    )
    rival = nnUNetPredictor(
        tile_step_size=1 - OVERLAP,
        use_mirroring=mirroring,
        perform_everything_on_device=predictor.device.type != "cpu",
        device=predictor.device,
        allow_tqdm=False,
    )
    heads: Any = SimpleNamespace(num_segmentation_heads=int(stage["out_channels"]))
    rival.network = network.to(predictor.device).eval()
    rival.configuration_manager = SimpleNamespace(patch_size=PATCH)
    rival.label_manager = heads
    rival.allowed_mirroring_axes = (0, 1, 2) if mirroring else None
    image, _ = bench.whole_scan
    data = image[0, :1].cpu()
    return timed(
        lambda: rival.predict_sliding_window_return_logits(data),
        1 if mirroring else bench.few,
        warm_ups=0,
    )


def nnunet_mirrored(bench: Bench) -> tuple[float, ...]:
    return nnunet_sliding_window(bench, mirroring=True)


def roofline(bench: Bench) -> tuple[float, ...]:
    """The passes that this scan needs, and an editor's over its window."""
    from ...inference.editing import WINDOW
    from ...models import EDITOR
    from .roofline import measure_roofline

    shapes: dict[str, tuple[int, ...]] = {}
    with ExitStack() as hooks:
        for name, network in bench.predictor.networks.items():
            hook = network.register_forward_pre_hook(
                lambda _network, given, name=name: shapes.update({name: tuple(given[0].shape[2:])})
            )
            hooks.callback(hook.remove)
        bench.predictor.predict(bench.volume)
    shapes[EDITOR] = WINDOW
    seconds, bench.details = measure_roofline(bench.predictor, shapes, bench.repetitions)
    bench.parts = {name: one["median_s"] for name, one in bench.details["networks"].items()}
    return seconds


def pass_ours(bench: Bench) -> tuple[float, ...]:
    return _one_pass(bench, bench.predictor.networks["refiner"])


def pass_with_attention(bench: Bench) -> tuple[float, ...]:
    refiner = bench.predictor.networks["refiner"]
    return _one_pass(bench, lambda image: refiner(image, return_attention=True))


def pass_float32(bench: Bench) -> tuple[float, ...]:
    bench.predictor.precision = FLOAT32
    return pass_ours(bench)


def pass_channels_last(bench: Bench) -> tuple[float, ...]:
    import torch

    refiner: Any = bench.predictor.networks["refiner"]
    refiner = refiner.to(memory_format=torch.channels_last_3d)
    return _one_pass(
        bench, lambda image: refiner(image.contiguous(memory_format=torch.channels_last_3d))
    )


def pass_compiled(bench: Bench) -> tuple[float, ...]:
    """Compiling itself, a minute or more, is the warm-up and does not count."""
    import torch

    try:
        return _one_pass(bench, torch.compile(bench.predictor.networks["refiner"]))
    except torch._dynamo.exc.BackendCompilerFailed as error:
        raise NotAvailableError("There is no working C++ compiler here.") from error


def pass_monai(bench: Bench) -> tuple[float, ...]:
    try:
        from monai.networks.nets import AttentionUnet
    except ImportError as error:
        raise NotAvailableError("MONAI is not installed (extra 'train').") from error
    stage = bench.predictor.card.stages["refiner"].network
    widths = list(stage["channels"])
    network = AttentionUnet(
        3, int(stage["in_channels"]), int(stage["out_channels"]), widths, [2] * (len(widths) - 1)
    )
    return _one_pass(bench, network.to(bench.predictor.device).eval())


def train_step(bench: Bench) -> tuple[float, ...]:
    """Forward and backward of the refiner over one patch, as training computes it."""
    import copy

    import torch

    predictor = bench.predictor
    network = copy.deepcopy(predictor.networks["refiner"]).train().requires_grad_(True)
    channels = int(predictor.card.stages["refiner"].network["in_channels"])
    image = torch.rand((1, channels, *PATCH), device=predictor.device)

    def step() -> None:
        network.zero_grad()
        with torch.autocast(predictor.device.type, torch.bfloat16, enabled=predictor.bfloat16):
            logits = network(image)
        logits.float().square().mean().backward()
        if predictor.device.type == "cuda":
            torch.cuda.synchronize()

    return timed(step, bench.few)


def click(bench: Bench) -> tuple[float, ...]:
    """Clicks at the outline of the automatic result, where a user corrects it."""
    import time

    from ...inference.session import Session

    automatic = Session(bench.predictor, bench.volume).predict()
    places = _outline(automatic.mask, bench.volume)
    rng = np.random.default_rng(0)
    seconds: list[float] = []
    session: Session | None = None
    for number in range(-1, CLICKS):  # the first one warms up
        if session is None or number % CLICKS_A_SESSION == 0:
            session = Session(bench.predictor, bench.volume)
            session.predict()
        place = places[int(rng.integers(len(places)))]
        began = time.perf_counter()
        session.add_click(place, inside=bool(rng.random() < 0.5))
        if number >= 0:
            seconds.append(time.perf_counter() - began)
    return tuple(seconds)


def click_in_scene(bench: Bench) -> tuple[float, ...]:
    """As the panel answers a click: prepared, computed, and written into the segment as one undo
    step. The attention volumes follow afterwards, and are not waited for."""
    import time

    from ...inference.predictor_cache import PredictorCache
    from ...scene import addVolumeNode
    from ...scene.editing import SegmentEditing
    from ...scene.headless import headlessScene
    from ...scene.tasks import SegmentationOptions, SegmentationTask

    cache = PredictorCache()
    options = SegmentationOptions(
        model=str(bench.model),
        device=bench.device,
        precision=bench.precision,
        withAttention=False,
        keepProbability=False,
    )
    rng = np.random.default_rng(0)
    seconds: list[float] = []
    steps: list[dict[str, float]] = []
    with headlessScene():
        editing = SegmentEditing()
        node = addVolumeNode(bench.volume, "scan")
        task = SegmentationTask(node, options=options)
        automatic = task.compute(cache)
        task.write(automatic, editing)
        places = _outline(automatic.mask, bench.volume)
        clicks: list[Click] = []
        for number in range(-1, CLICKS):  # the first one warms up
            if number % CLICKS_A_SESSION == 0:
                clicks = []
            r, a, s = (float(value) for value in places[int(rng.integers(len(places)))])
            clicks.append(Click((r, a, s), bool(rng.random() < 0.5)))
            began = time.perf_counter()
            task = SegmentationTask(node, clicks, options=options, continuing=True)
            prediction = task.compute(cache)
            between = time.perf_counter()
            task.write(prediction, editing)
            if number >= 0:
                seconds.append(time.perf_counter() - began)
                steps.append(
                    {"compute": between - began, "write into scene": seconds[-1] + began - between}
                )
    bench.parts = medians(steps)
    return tuple(seconds)


def whole_run_with_click(bench: Bench) -> tuple[float, ...]:
    """What a click costs where nothing is kept: the whole prediction again."""
    automatic = bench.predictor.predict(bench.volume)
    place = _outline(automatic.mask, bench.volume)[0]
    one = Click((float(place[0]), float(place[1]), float(place[2])), True)
    return timed(lambda: bench.predictor.predict(bench.volume, [one]), bench.repetitions)


CONTENDERS: dict[str, tuple[str, Callable[[Bench], tuple[float, ...]]]] = {
    "job-warm": ("Whole job, file to files, libraries loaded", job_warm),
    "job-scene": ("Whole job in a scene: mask, probability, attention", job_in_scene),
    "prediction": ("Prediction: scan to mask", prediction),
    "networks": ("Of that, both looks with their sampling", networks),
    "monai-sliding-window": (
        "MONAI sliding window, whole scan, our network",
        monai_sliding_window,
    ),
    "nnunet": ("nnU-Net's predictor, whole scan, no mirroring", nnunet_sliding_window),
    "nnunet-mirroring": ("nnU-Net's predictor, whole scan, mirroring", nnunet_mirrored),
    "roofline": ("Our networks' passes over what this scan needs, and an editor's", roofline),
    "pass": ("One pass of our refiner over a patch", pass_ours),
    "pass-attention": ("The same, returning the attention", pass_with_attention),
    "pass-float32": ("The pass in float32", pass_float32),
    "pass-channels-last": ("The pass with the channels last in memory", pass_channels_last),
    "pass-compiled": ("The pass through torch.compile", pass_compiled),
    "pass-monai": ("One pass of MONAI's AttentionUnet, same widths", pass_monai),
    "train-step": ("A training step of the refiner, one patch", train_step),
    "click": ("A click to a new mask", click),
    "click-scene": ("A click to a new mask in the scene", click_in_scene),
    "click-rerun": ("A click, computing all again", whole_run_with_click),
}
"""By name: what it is, and the function."""


def _one_pass(bench: Bench, network: Callable[[torch.Tensor], object]) -> tuple[float, ...]:
    import torch

    channels = int(bench.predictor.card.stages["refiner"].network["in_channels"])
    image = torch.rand((1, channels, *PATCH), device=bench.predictor.device)

    def job() -> None:
        with bench.computing():
            network(image)

    return timed(job, bench.repetitions)


def _outline(mask: np.ndarray, volume: Volume) -> np.ndarray:
    """R, A, S of the voxels at a mask's border, (n, 3)."""
    import SimpleITK as sitk

    contour = sitk.GetArrayFromImage(sitk.BinaryContour(sitk.GetImageFromArray(mask), True))
    kji = np.argwhere(contour)
    if len(kji) == 0:
        raise NotAvailableError("Nothing was found in this scan that could be clicked on.")
    return volume.grid.position_of(kji[:, ::-1])
