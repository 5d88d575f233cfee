"""MRML in, MRML out: the only package that imports slicer.

>>> from AttentionUNetSegmentLib import scene
>>> result = scene.segmentVolumeNode(volumeNode, predictor)   # doctest: +SKIP
>>> result.segmentationNode, result.tableNode                 # doctest: +SKIP

Importing it imports neither slicer nor vtk: that takes about a second outside Slicer, and happens
in the first function that needs them. Names are camelCase, as in the API that they extend.
"""

from .files import resultFileNames, saveResult, writeResultFiles
from .headless import ensureScene, headlessScene, insideSlicer
from .results import SceneResult, segmentVolumeNode, writePrediction
from .segments import PANCREAS
from .volumes import addVolumeNode, volumeFromNode

__all__ = [
    "PANCREAS",
    "SceneResult",
    "addVolumeNode",
    "ensureScene",
    "headlessScene",
    "insideSlicer",
    "resultFileNames",
    "saveResult",
    "segmentVolumeNode",
    "volumeFromNode",
    "writePrediction",
    "writeResultFiles",
]
