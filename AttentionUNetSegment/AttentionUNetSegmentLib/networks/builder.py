"""From a plain config to a network."""

from __future__ import annotations

from collections.abc import Mapping
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
    if not isinstance(config, NetworkConfig):
        config = NetworkConfig.from_mapping(config)
    network_class = NETWORKS[config.name]
    with torch.device("meta"):  # counts the parameters without allocating them
        parameters = sum(p.numel() for p in network_class.from_config(config).parameters())
    if parameters > MAX_PARAMETERS:
        raise ModelError(
            f"The network's config describes {parameters:,} parameters; "
            f"at most {MAX_PARAMETERS:,} are allowed."
        )
    return network_class.from_config(config)
