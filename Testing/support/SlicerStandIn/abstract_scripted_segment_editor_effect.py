"""``SegmentEditorEffects``: what scripted effects derive from."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6.QtCore import QPoint
from PySide6.QtGui import QVector3D


class AbstractScriptedSegmentEditorEffect:
    def __init__(self, scriptedEffect: Any) -> None:
        self.scriptedEffect = scriptedEffect

    def register(self) -> None:
        slicer.qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self) -> None:
        """Nothing: for those that derive."""

    def rasToXy(self, ras: Any, viewWidget: Any) -> list[int]:
        point = self.scriptedEffect.rasToXy(QVector3D(*ras), viewWidget)
        return [point.x(), point.y()]

    def xyzToRas(self, xyz: Any, viewWidget: Any) -> list[float]:
        vector = self.scriptedEffect.xyzToRas(QVector3D(*xyz), viewWidget)
        return [vector.x(), vector.y(), vector.z()]

    def xyToRas(self, xy: Any, viewWidget: Any) -> list[float]:
        vector = self.scriptedEffect.xyToRas(QPoint(xy[0], xy[1]), viewWidget)
        return [vector.x(), vector.y(), vector.z()]
