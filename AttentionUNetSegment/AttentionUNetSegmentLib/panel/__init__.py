"""The Qt parts of the module's panel: one class for each section, and what ties them together.

Nothing here computes: long work goes to the logic, which runs it in its worker thread. This package
imports slicer, qt and vtk, and nothing heavy.
"""
