"""``models export-onnx``: a model's networks for programs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_onnx(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name of an installed model, or its folder.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Gets a file for each network.")
    ],
) -> None:
    """Write a model's networks as ONNX files, with the attention as outputs.

    Each is run with ONNX Runtime and compared with PyTorch before it is kept.
    """
    from ..requirements import extra_needed, require

    require("onnx", "torch", "onnx", "onnxscript", "onnxruntime")
    with extra_needed("onnx"):
        from ...models.onnx_export import export_onnx as export
    from ...models import find_model, load_model

    for file in export(load_model(find_model(model)), output):
        typer.echo(f"{file} ({file.stat().st_size / 1e6:.1f} MB)")
