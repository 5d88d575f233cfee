"""Attention U-Net segmentation of the pancreas in CT: networks, models, inference, training.

Importing this package imports nothing heavy: PyTorch, SimpleITK and Slicer are imported by the
parts that need them, when they need them.
"""

__version__ = "0.1.0"
