"""Scans with their place in the patient, and moving them between grids. No files in here."""
