"""``benchmark``: how long it takes here, beside the alternatives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...models import DEFAULT_MODEL
from .shared import Device, DeviceOption, ModelOption, Precision, PrecisionOption


def benchmark(
    scan: Annotated[
        Path, typer.Argument(metavar="SCAN", help="CT: NIfTI, NRRD, MetaImage or a DICOM folder.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Gets benchmark.json, benchmark.md and pictures."
        ),
    ],
    repetitions: Annotated[
        int, typer.Option(help="How often quick work is repeated; slow work less often.", min=1)
    ] = 10,
    threads: Annotated[
        int | None,
        typer.Option(help="Number of CPU threads; as many as PyTorch takes unless given.", min=1),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Measure this part only; may be given several times."),
    ] = None,
    growth: Annotated[
        bool,
        typer.Option(
            "--growth",
            help="Also predict on scans of 100 to 2,000 slices and 256 to "
            "1,024 pixels; takes up to 8 GB of memory.",
        ),
    ] = False,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Measure time and memory on this machine.

    Our job and its parts from the command line and in a scene, a batch, a click, how near the
    networks come to what the processor can do (--only roofline), MONAI's sliding-window inference
    with the same network, its AttentionUnet of the same widths, and nnU-Net's predictor where it is
    installed; one after the other, each in a process of its own. The press and the click in
    Slicer's panel are measured by Testing/tools/measure_slicer_loop.py of the source.
    """
    from ...files import require_takes_results
    from ..benchmark.report import to_markdown, write_benchmark
    from ..benchmark.running import run_benchmark
    from ..progress_bar import shown_progress
    from ..requirements import extra_needed, require
    from ..terminal import show_markdown

    require("standalone", "torch", "slicer", "matplotlib")
    require_takes_results(output)
    with shown_progress() as progress, extra_needed("standalone"):
        measured = run_benchmark(
            scan,
            model=model,
            device=device.value,
            precision=precision.value,
            repetitions=repetitions,
            threads=threads,
            only=only or (),
            with_growth=growth,
            progress=progress,
        )
        write_benchmark(measured, output)
    show_markdown(to_markdown(measured))
