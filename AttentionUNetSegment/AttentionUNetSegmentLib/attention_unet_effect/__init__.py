"""The Segment Editor effect.

Slicer loads ``AttentionUNetEffect.py`` by itself, as a module that it names after this folder, and
looks for the class of the file's name in it.
"""
