"""The command line: from a file or a DICOM folder to a folder of results.

``main`` starts it, ``commands`` has its commands, ``segmenting`` is what ``segment`` and ``demo``
do, and ``overlay`` draws the picture. The segmentation itself runs through the ``scene`` package,
exactly as in Slicer.
"""
