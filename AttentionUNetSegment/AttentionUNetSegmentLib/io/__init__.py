"""Scans and label maps from files: NIfTI, NRRD, MetaImage, DICOM, which Slicer never needs; and
gzip and NRRD files written in blocks, which it does."""
