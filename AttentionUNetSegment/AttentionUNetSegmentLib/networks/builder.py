"""From a plain config to a network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from ..errors import ModelError
from .config import NetworkConfig
from .fcn import FCN
from .network import SegmentationNetwork
from .unet import AttentionUNet, ResUNet, UNet

NETWORKS: dict[str, type[SegmentationNetwork]] = {
    "FCN": FCN,
    "UNet": UNet,
    "ResUNet": ResUNet,
    "AttentionUNet": AttentionUNet,
}

# 2 GB of float32; the largest published U-Net, 64 to 1024 channels in 3D, has a fifth of it.
MAX_PARAMETERS = 500_000_000


def build_network(config: Mapping[str, Any] | NetworkConfig) -> SegmentationNetwork:
    """The network that `config` describes, with fresh weights, in training mode.

    config is a NetworkConfig or the plain mapping that a model's card stores; see NetworkConfig for
    its keys. ModelError, one clear sentence, for a config that describes no network or one
    too large.
    """
    return type(outline_network(config)).from_config(_checked(config))


def outline_network(config: Mapping[str, Any] | NetworkConfig) -> SegmentationNetwork:
    """The network that `config` describes, on PyTorch's device "meta": shapes without memory.

    It is the same one each time for the same config; copy it before you change it. ModelError as
    `build_network`.
    """
    network = _outlined(_checked(config))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if parameters > MAX_PARAMETERS:
        raise ModelError(
            f"The network's config describes {parameters:,} parameters; "
            f"at most {MAX_PARAMETERS:,} are allowed."
        )
    return network


def _checked(config: Mapping[str, Any] | NetworkConfig) -> NetworkConfig:
    return config if isinstance(config, NetworkConfig) else NetworkConfig.from_mapping(config)


@cache
def _outlined(config: NetworkConfig) -> SegmentationNetwork:
    with torch.device("meta"):
        return NETWORKS[config.name].from_config(config)
