"""The name that :mod:`..io.reading` had at first, for scripts that were written for it."""

from ..io.reading import read_volume as read_volume
