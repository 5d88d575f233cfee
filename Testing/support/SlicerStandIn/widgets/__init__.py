"""The widgets of CTK and Slicer that the module's panel uses, each under its real name."""
