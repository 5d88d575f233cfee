"""The command line: from a file or a DICOM folder to a file or a folder of results.

``main`` starts it, ``commands`` has its commands, ``segmenting`` is what ``segment`` and ``demo``
do, and ``overlay`` draws the picture. The segmentation itself is that of the ``inference`` package,
and Slicer's files are written through the ``scene`` package, both exactly as in Slicer.
"""
