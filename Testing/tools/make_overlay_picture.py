"""Make the overlay picture of the README.

    python Testing/tools/make_overlay_picture.py SCAN PICTURE

The same picture as ``segment`` writes, with 256 colours, which halves its size in the repository.
"""

from __future__ import annotations

import sys
from pathlib import Path

from AttentionUNetSegmentLib.app.overlay import render_overlay
from AttentionUNetSegmentLib.inference import Predictor, read_volume
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from PIL import Image


def main(scan: Path, picture: Path) -> None:
    """Segment a scan and draw the result."""
    prediction = Predictor(load_model(find_model(DEFAULT_MODEL))).predict(read_volume(scan))
    picture.parent.mkdir(parents=True, exist_ok=True)
    render_overlay(prediction, picture, scan.name, "")
    Image.open(picture).convert("RGB").quantize(256).save(picture, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: python Testing/tools/make_overlay_picture.py SCAN PICTURE")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
