"""The networks: FCN, UNet, ResUNet and AttentionUNet in 2D and 3D, behind one builder.

    network = AttentionUNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(16, 32, 64))

or, from the plain config that a model's card stores,

    config = {"name": "AttentionUNet", "dimensions": 3, "in_channels": 3, "out_channels": 9,
              "channels": [16, 32, 64, 128, 192], "norm": "instance", "gate": "stable"}
    network = build_network(config)
    logits = network(image)
    logits, attention, _ = network(image, return_attention=True)

`NetworkConfig` and `focus_ratio` need no PyTorch; the rest imports it on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .config import GATED_LEVELS, GATES, NETWORK_NAMES, NORMS, UPSAMPLINGS, NetworkConfig
from .focus import focus_ratio

if TYPE_CHECKING:
    from .attention import resample_attention
    from .builder import NETWORKS, build_network, outline_network
    from .fcn import FCN
    from .gates import AttentionGate, build_gate
    from .network import NetworkOutput, SegmentationNetwork
    from .unet import AttentionUNet, ResUNet, UNet

# Where each name that needs torch lives: Slicer may have no torch, and the command line's help
# must not wait for it.
_LAZY = {
    "FCN": "fcn",
    "NETWORKS": "builder",
    "AttentionGate": "gates",
    "AttentionUNet": "unet",
    "NetworkOutput": "network",
    "ResUNet": "unet",
    "SegmentationNetwork": "network",
    "UNet": "unet",
    "build_gate": "gates",
    "build_network": "builder",
    "outline_network": "builder",
    "resample_attention": "attention",
}

__all__ = [
    "FCN",
    "GATED_LEVELS",
    "GATES",
    "NETWORKS",
    "NETWORK_NAMES",
    "NORMS",
    "UPSAMPLINGS",
    "AttentionGate",
    "AttentionUNet",
    "NetworkConfig",
    "NetworkOutput",
    "ResUNet",
    "SegmentationNetwork",
    "UNet",
    "build_gate",
    "build_network",
    "focus_ratio",
    "outline_network",
    "resample_attention",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
