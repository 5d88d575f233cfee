"""The library for a notebook: any image in, and out a result in that image's own terms.

>>> from AttentionUNetSegmentLib import segment
>>> prediction = segment("scan.nii.gz")            # doctest: +SKIP
>>> prediction.statistics["volume_ml"]             # doctest: +SKIP
>>> prediction.plot()                              # doctest: +SKIP

Importing it imports neither PyTorch nor Slicer; that waits for the first call.
"""

from .predicted import ImagePrediction
from .segmenting import segment

__all__ = ["ImagePrediction", "segment"]
