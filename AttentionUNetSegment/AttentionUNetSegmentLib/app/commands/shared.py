"""What several commands have in common: their options, and how lines are shown."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any

import typer

from ...networks.precision import AUTO, BFLOAT16, FLOAT32, PRECISION_ALIASES
from .help_text import WholeSummaries

# Help without rich: it is read by scripts too, and is there in half the time.
SETTINGS: dict[str, Any] = {
    "cls": WholeSummaries,
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class Device(str, Enum):
    """What computes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Precision(str, Enum):
    """Which numbers networks compute in."""

    AUTO = AUTO
    BFLOAT16 = BFLOAT16
    FLOAT32 = FLOAT32


PRECISION_BEFORE = {
    f"--precision {alias}": f"--precision={name}" for alias, name in PRECISION_ALIASES.items()
}
PrecisionOption = Annotated[
    Precision,
    typer.Option(help="Number format to compute in; auto takes bfloat16 where it is fast."),
]
DeviceOption = Annotated[
    Device, typer.Option(help="Device to compute on; auto takes a GPU if there is one.")
]


def _device_name(name: str) -> str:
    from ...inference.device import check_device_name

    check_device_name(name)
    return name


NamedDeviceOption = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda[:N]|mps",
        callback=_device_name,
        help="Device to compute on; auto takes a GPU if there is one, cuda:1 the second one.",
    ),
]
ModelOption = Annotated[
    str, typer.Option(help="Name of an installed model, or the path of a model's folder.")
]


def show_lines(lines: Mapping[str, str], indent: str = "") -> None:
    width = max(map(len, lines)) + 2
    for name, text in lines.items():
        typer.echo(f"{indent}{name:<{width}}{text}")
