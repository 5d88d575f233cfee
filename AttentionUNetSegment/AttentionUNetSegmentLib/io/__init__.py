"""Scans and label maps from files: NIfTI, NRRD, MetaImage, DICOM. Slicer never needs it."""
