"""Draw the icons from their sources: ``python Resources/make_icons.py`` (needs PySide6).

The module's and the extension's icon come from the SVG beside this file, the thumbnail of the
synthetic abdomen from a slice of it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

RESOURCES = Path(__file__).resolve().parent
MODULE = RESOURCES.parent / "AttentionUNetSegment"
ICONS = MODULE / "Resources" / "Icons"
SIZE = 128
WINDOW_HU = (-160, 240)


def draw(svg: Path, *targets: Path) -> None:
    """Draw an SVG file into PNG files of 128 x 128 pixels."""
    image = QImage(SIZE, SIZE, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    QSvgRenderer(str(svg)).render(painter)
    painter.end()
    for target in targets:
        image.save(str(target))


def draw_synthetic_abdomen(target: Path) -> None:
    """Draw the slice of the synthetic abdomen that shows the most pancreas."""
    sys.path.insert(0, str(MODULE))
    from AttentionUNetSegmentLib.synthetic import ORGAN_LABELS, synthetic_abdomen

    abdomen = synthetic_abdomen(3, spacing_mm=(2.5, 2.5, 5.0))
    pancreas = abdomen.labels.array == ORGAN_LABELS["pancreas"]
    ct = abdomen.ct.array[pancreas.sum(axis=(1, 2)).argmax()].astype(np.float32)
    low, high = WINDOW_HU
    grey = np.ascontiguousarray((ct - low).clip(0, high - low) * 255 / (high - low), np.uint8)
    height, width = grey.shape
    image = QImage(grey.data, width, height, width, QImage.Format.Format_Grayscale8)
    image.scaled(SIZE, SIZE, mode=Qt.TransformationMode.SmoothTransformation).save(str(target))


if __name__ == "__main__":
    application = QGuiApplication([])
    name = "AttentionUNetSegment.png"
    draw(RESOURCES / "AttentionUNetSegment.svg", RESOURCES / name, ICONS / name)
    draw_synthetic_abdomen(ICONS / "SyntheticAbdomen.png")
