"""Draw the icons from their sources: ``python Resources/make_icons.py`` (needs PySide6).

The icons of the modules and of the extension come from the SVG files beside this one, the
thumbnail of the synthetic abdomen from a slice of it. ``--sheet PICTURE`` makes a picture to judge
the icons by: each at the sizes and on the grounds on which Slicer shows it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

RESOURCES = Path(__file__).resolve().parent
MODULE = RESOURCES.parent / "AttentionUNetSegment"
ICONS = MODULE / "Resources" / "Icons"
MODULES = sorted(path.stem for path in MODULE.glob("*.py"))  # an SVG of this name for each
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


def draw_sheet(icons: list[Path], target: Path) -> None:
    """Draw icons at 128, 64, 32 and 16 pixels on light, grey and dark ground."""
    sizes, grounds, gap = (128, 64, 32, 16), ("#ffffff", "#efefef", "#2b2b2b", "#000000"), 12
    width = sum(sizes) + gap * (len(sizes) + 1)
    row = sizes[0] + 2 * gap
    sheet = QImage(width * len(icons), row * len(grounds), QImage.Format.Format_RGB32)
    painter = QPainter(sheet)
    for column, icon in enumerate(icons):
        image = QImage(str(icon))
        for line, ground in enumerate(grounds):
            painter.fillRect(column * width, line * row, width, row, QColor(ground))
            left = column * width + gap
            for size in sizes:
                small = image.scaled(size, size, mode=Qt.TransformationMode.SmoothTransformation)
                painter.drawImage(left, line * row + gap, small)
                left += size + gap
    painter.end()
    sheet.save(str(target))


if __name__ == "__main__":
    application = QGuiApplication([])
    if sys.argv[1:2] == ["--sheet"]:
        draw_sheet([ICONS / f"{name}.png" for name in MODULES], Path(sys.argv[2]))
    else:
        for name in MODULES:
            draw(RESOURCES / f"{name}.svg", ICONS / f"{name}.png")
        draw(RESOURCES / f"{MODULE.name}.svg", RESOURCES / f"{MODULE.name}.png")
        draw_synthetic_abdomen(ICONS / "SyntheticAbdomen.png")
