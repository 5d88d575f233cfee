"""The name that :mod:`..io.reading` had in 0.2.0, for scripts that were written for it."""

from ..io.reading import read_volume as read_volume
