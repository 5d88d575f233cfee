"""What a network is made of: the plain config that a model's card stores, validated.

No torch here, so that a card can be checked where PyTorch is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import ModelError

NETWORK_NAMES = ("FCN", "UNet", "ResUNet", "AttentionUNet")
NORMS = ("batch", "instance", "group")
UPSAMPLINGS = ("transposed", "interpolated")
GATES = ("standard", "stable", "dual", "multi-scale", "multi-head")
GATED_LEVELS = ("all", "deepest")
CHANNELS = (64, 128, 256, 512, 1024)
"""Of the published U-Net."""

# A card comes from anywhere. These bounds leave room for any network of the literature and keep a
# damaged or hostile card from asking for the machine's memory.
MAX_INPUT_CHANNELS = 64
MAX_CLASSES = 256
MAX_BACKGROUND_CLASSES = 16
MIN_DEPTH, MAX_DEPTH = 2, 7
MAX_CHANNELS = 2048
MAX_HEADS = 64

_REQUIRED = ("name", "dimensions", "in_channels", "out_channels")


@dataclass(frozen=True)
class NetworkConfig:
    """A validated network configuration.

    name            one of `NETWORK_NAMES`
    dimensions      2 or 3
    in_channels     channels of the input image
    out_channels    classes, background included
    channels        feature channels a level, shallow to deep; the last is the bottleneck. Each
                    level but the first halves the resolution.
    norm            one of `NORMS`; instance or group norm where a batch holds one 3D patch
    upsampling      one of `UPSAMPLINGS`: transposed convolution, or linear interpolation followed
                    by a 3x3 convolution
    deep_supervision
                    a segmentation head for every decoder level, not only the finest
    background_classes
                    kinds of background that the network tells apart, as fat and the rest; it
                    answers with their sum. Outputs of the further ones follow the classes'.
    gate            one of `GATES`; this and what follows is read by AttentionUNet alone
    gated_levels    one of `GATED_LEVELS`
    heads           attention maps of one multi-head gate; divides the channels of each gated level

    Raises ModelError with one clear sentence for any value that cannot be built.
    """

    name: str
    dimensions: int
    in_channels: int
    out_channels: int
    channels: tuple[int, ...] = CHANNELS
    norm: str = "batch"
    upsampling: str = "transposed"
    gate: str = "standard"
    gated_levels: str = "all"
    deep_supervision: bool = False
    heads: int = 4
    background_classes: int = 1

    def __post_init__(self) -> None:
        _check_choice("name", self.name, NETWORK_NAMES)
        if type(self.dimensions) is not int or self.dimensions not in (2, 3):
            raise ModelError(
                f"The network's dimensions must be 2 or 3, not {_show(self.dimensions)}."
            )
        _check_whole("in_channels", self.in_channels, 1, MAX_INPUT_CHANNELS)
        _check_whole("out_channels", self.out_channels, 1, MAX_CLASSES)
        if not isinstance(self.channels, (list, tuple)):
            raise ModelError(
                "The network's channels must be a list of whole numbers, shallow to deep, "
                f"not {_show(self.channels)}."
            )
        least = 3 if self.name == "FCN" else MIN_DEPTH  # FCN-8s sums scores of three depths
        if not least <= len(self.channels) <= MAX_DEPTH:
            raise ModelError(
                f"The network's channels must list {least} to {MAX_DEPTH} levels, "
                f"not {len(self.channels)}."
            )
        for value in self.channels:
            _check_whole("channels", value, 1, MAX_CHANNELS)
        object.__setattr__(self, "channels", tuple(self.channels))
        _check_choice("norm", self.norm, NORMS)
        _check_choice("upsampling", self.upsampling, UPSAMPLINGS)
        _check_choice("gate", self.gate, GATES)
        _check_choice("gated_levels", self.gated_levels, GATED_LEVELS)
        if not isinstance(self.deep_supervision, bool):
            raise ModelError(
                "The network's deep_supervision must be true or false, "
                f"not {_show(self.deep_supervision)}."
            )
        _check_whole("heads", self.heads, 1, MAX_HEADS)
        _check_whole("background_classes", self.background_classes, 1, MAX_BACKGROUND_CLASSES)
        if self.name == "AttentionUNet" and self.gate == "multi-head":
            for level in self.gate_levels:
                if self.channels[level - 1] % self.heads:
                    raise ModelError(
                        f"The network's heads ({self.heads}) must divide the channels of every "
                        f"gated level; level {level} has {self.channels[level - 1]}."
                    )

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> NetworkConfig:
        """The config that a card's plain mapping describes; ModelError if it describes none."""
        if not isinstance(config, Mapping):
            raise ModelError(
                f"The network's config must be a set of named values, not {_show(config)}."
            )
        known = [field.name for field in fields(cls)]
        for key in config:
            if key not in known:
                raise ModelError(
                    f"The network's config has an unknown key {_show(key)}; "
                    f"it may hold {', '.join(known)}."
                )
        for key in _REQUIRED:
            if key not in config:
                raise ModelError(f'The network\'s config lacks "{key}".')
        return cls(**config)

    def to_mapping(self) -> dict[str, Any]:
        """The plain mapping that a card stores, every key written out."""
        return {**asdict(self), "channels": list(self.channels)}

    @property
    def outputs(self) -> int:
        """Of the network's heads: the classes, and the further kinds of background."""
        return self.out_channels + self.background_classes - 1

    @property
    def gate_levels(self) -> tuple[int, ...]:
        """Levels of the skips that an AttentionUNet gates, 1 the finest."""
        deepest = len(self.channels) - 1
        return (deepest,) if self.gated_levels == "deepest" else tuple(range(1, deepest + 1))


def _check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ModelError(
            f"The network's {key} must be one of {', '.join(choices)}, not {_show(value)}."
        )


def _check_whole(key: str, value: object, least: int, most: int) -> None:
    # bool is an int to Python, and "true channels" is a damaged card.
    if type(value) is not int or not least <= value <= most:
        raise ModelError(
            f"The network's {key} must be a whole number from {least} to {most}, "
            f"not {_show(value)}."
        )


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
