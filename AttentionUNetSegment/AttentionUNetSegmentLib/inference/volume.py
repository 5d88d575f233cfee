"""The name that :mod:`..geometry.volume` had at first, for scripts that were written for it."""

from ..geometry.volume import Volume as Volume
