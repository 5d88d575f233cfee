"""A 2D network on a volume gives what it gives for each slice."""

from __future__ import annotations

import pytest
import torch
from AttentionUNetSegmentLib.inference import slicewise
from AttentionUNetSegmentLib.inference.slicewise import Slicewise, as_volumetric
from AttentionUNetSegmentLib.networks import build_network

CONFIG = {
    "name": "AttentionUNet",
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 4, 8],
    "norm": "batch",
}


@pytest.mark.parametrize("pixels", [1, 3 * 20 * 24, 10**6])
def test_every_slice_is_segmented_on_its_own(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    monkeypatch.setattr(slicewise, "PIXELS_AT_ONCE", pixels)
    torch.manual_seed(0)
    network = build_network({**CONFIG, "dimensions": 2}).eval()
    volume = torch.rand(1, 1, 7, 20, 24)
    with torch.no_grad():
        whole = as_volumetric(network)
        logits, (output, maps, _) = whole(volume), whole(volume, return_attention=True)
        assert logits.shape == (1, 3, 7, 20, 24)
        assert [alpha.shape for alpha in maps] == [(1, 1, 7, 20, 24)] * 2
        torch.testing.assert_close(output, logits)
        for k in range(7):
            torch.testing.assert_close(logits[:, :, k], network(volume[:, :, k]))
            theirs = network.get_attention_maps(volume[:, :, k], resample=True)
            for ours, alpha in zip(maps, theirs, strict=True):
                torch.testing.assert_close(ours[:, :, k], alpha)


def test_a_3d_network_is_left_as_it_is() -> None:
    network = build_network({**CONFIG, "dimensions": 3})
    assert as_volumetric(network) is network
    assert isinstance(as_volumetric(build_network({**CONFIG, "dimensions": 2})), Slicewise)
