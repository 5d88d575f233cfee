"""The name that :mod:`..geometry.volume` had in 0.2.0, for scripts that were written for it."""

from ..geometry.volume import Volume as Volume
