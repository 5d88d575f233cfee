"""What tests of batches have in common: small scans, a model on disk, workers that meet trouble."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from AttentionUNetSegmentLib import models
from AttentionUNetSegmentLib.app import overlay
from AttentionUNetSegmentLib.app.batch.rows import Answer
from AttentionUNetSegmentLib.app.batch.sources import Study
from AttentionUNetSegmentLib.app.batch.worker import BatchWorker
from AttentionUNetSegmentLib.inference.progress import ProgressCallback, ignore_progress
from AttentionUNetSegmentLib.networks import SegmentationNetwork, build_network
from AttentionUNetSegmentLib.scene import PANCREAS
from PIL import Image
from torch import nn

SHAPE = (20, 24, 26)  # k, j, i
SPACING = (8.0, 8.0, 10.0)


def hounsfield(organ: int = 150) -> np.ndarray:
    """A body in air with something brighter in it."""
    k, j, i = np.indices(SHAPE)
    where = (np.stack([i, j, k], axis=-1) - (np.array(SHAPE[::-1]) - 1) / 2) * SPACING
    hu = np.full(SHAPE, -1000, np.int16)
    hu[((where / 90) ** 2).sum(axis=-1) < 1] = 40
    hu[((where - [20, 8, 10]) ** 2 / np.square([40, 24, 24])).sum(axis=-1) < 1] = organ
    return hu


def write_scan(path: Path, organ: int = 150) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(hounsfield(organ))
    image.SetSpacing(SPACING)
    image.SetOrigin((-100.0, -90.0, 30.0))
    sitk.WriteImage(image, str(path))
    return path


def write_scans(folder: Path, count: int) -> Path:
    for number in range(count):
        write_scan(folder / f"scan{number}.nrrd", 120 + 10 * number)
    return folder


def save_model(
    folder: Path, version: str = "7", estimate: models.DiceEstimator | None = None
) -> Path:
    """Networks with weights by chance that find something, and something else in each scan."""
    from threshold_model import NETWORK, threshold_model  # with pytest, which no worker needs

    card = dataclasses.replace(
        threshold_model().card,
        name="chance",
        version=version,
        labels=(models.Label(0, "background"), PANCREAS),
        dice_estimate=estimate,
        stages={
            "locator": models.Stage({**NETWORK, "in_channels": 1}, (12.0, 12.0, 12.0)),
            "refiner": models.Stage(NETWORK, (8.0, 8.0, 8.0)),
        },
    )
    models.save_model(folder, card, _by_chance())
    return folder


@functools.cache
def _by_chance() -> dict[str, SegmentationNetwork]:
    """Built once for all models: that takes longer than to save one."""
    from threshold_model import NETWORK

    stages = {"locator": {**NETWORK, "in_channels": 1}, "refiner": dict(NETWORK)}
    networks = {name: build_network(network) for name, network in stages.items()}
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        for network in networks.values():
            for part in network.modules():
                if isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
                    nn.init.kaiming_normal_(part.weight)  # the usual start says the same everywhere
                    nn.init.zeros_(part.bias) if part.bias is not None else None
    return networks


def results_of(directory: Path) -> dict[str, bytes]:
    """Every file of every study, hidden ones too, without the times that it took."""
    content = {}
    for path in sorted((directory / "studies").rglob("*")):
        if path.is_dir():
            continue
        name = str(path.relative_to(directory))
        content[name] = path.read_bytes()
        if path.name == "report.json":
            report = json.loads(content[name])
            report.pop("timings_s")
            report["batch"].pop("checksum_s")
            content[name] = json.dumps(report, sort_keys=True).encode()
    return content


@dataclasses.dataclass(frozen=True)
class Death:
    """What befalls a worker in the middle of a study: the first time, or each time.

    Args:
        study: its name; any unless given.
        marker: a file that is there once it has happened.
        always: each time.
    """

    study: str
    marker: Path
    always: bool = False


class TroubledWorker(BatchWorker):
    """On one node its disk is full, or its first study lasts until the node is gone; on the others
    its process ends in the middle of some studies."""

    node_id, trouble, marker = "", "", Path()
    deaths: tuple[Death, ...] = ()

    def run(self, study: Study, progress: ProgressCallback = ignore_progress) -> Answer:
        import ray

        if ray.get_runtime_context().get_node_id() == self.node_id:
            self.marker.touch()
            if self.trouble == "lost":
                time.sleep(600)
            return self._with_full_disk(study)
        while not self.marker.exists():  # the other node gets its share
            time.sleep(0.05)
        for death in self.deaths:
            if death.study in ("", study.name) and (death.always or not death.marker.exists()):
                return super().run(study, functools.partial(self._die, death.marker))
        return super().run(study, progress)

    def _die(self, marker: Path, fraction: float, text: str) -> None:
        if text == "Writing the results":
            marker.touch()
            os._exit(1)

    def _with_full_disk(self, study: Study) -> Answer:
        """Its files cannot grow beyond a few kB, which is told in the same way."""
        import resource

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
        try:
            return super().run(study)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def troubled_worker(
    *arguments: Any, node_id: str, trouble: str, marker: Path, deaths: tuple[Death, ...] = ()
) -> TroubledWorker:
    overlay.render_overlay = draw_quickly
    worker = TroubledWorker(*arguments)
    worker.node_id, worker.trouble, worker.marker = node_id, trouble, marker
    worker.deaths = deaths
    return worker


def draw_quickly(prediction: Any, file: Any, *arguments: str, **options: str) -> None:
    """Stands for the picture of a result, which takes longer than tiny networks."""
    Image.new("RGB", (36, 24), "gray").save(file, "PNG")


def batch(*arguments: object) -> int:
    from AttentionUNetSegmentLib.app.main import main

    return main(["batch", *map(str, arguments)])


def table(directory: Path, name: str = "results.csv") -> list[dict[str, str]]:
    with (directory / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
