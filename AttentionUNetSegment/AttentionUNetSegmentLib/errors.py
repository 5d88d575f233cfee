"""What the library tells its user when something cannot be done.

Each message is one plain sentence (or two) that says what is wrong and what to do about it; the
command line prints it as it is and the panel shows it as it is. Anything else that is raised is a
programming error and keeps its traceback.
"""

from __future__ import annotations

import errno


class AttentionUNetSegmentError(Exception):
    """Base of every error whose message is written for the user."""


class InputError(AttentionUNetSegmentError):
    """The scan, the clicks or an option cannot be used."""


class OutsideRegionError(InputError):
    """Clicks lie outside the region of interest.

    Args:
        numbers: their places in the order of the clicks, from 0.
    """

    def __init__(self, numbers: tuple[int, ...]) -> None:
        super().__init__(
            "A click lies outside the region of interest; enlarge the region, or click inside it."
        )
        self.numbers = numbers


class ModelError(AttentionUNetSegmentError):
    """A model folder, its card, its weights or a network configuration is not usable."""


class OutputError(AttentionUNetSegmentError):
    """The results cannot be written where they were asked for."""


class DeviceError(AttentionUNetSegmentError):
    """The device that was asked for is absent or has too little memory."""


class TrainingError(AttentionUNetSegmentError):
    """Training cannot start or cannot go on."""


class Cancelled(AttentionUNetSegmentError):  # noqa: N818
    """The user asked to stop; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("Cancelled.")


_NO_MEMORY = ("allocate memory", "out of memory", "not enough memory", "bad_alloc",
              "failed to map segment")  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, in the words of any library or of the
    system's loader; what it was raised from is looked at too."""
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen).lower()
        if (
            isinstance(seen, MemoryError)
            or (isinstance(seen, OSError) and seen.errno == errno.ENOMEM)
            or (
                isinstance(seen, (ImportError, OSError, RuntimeError))
                and any(words in text for words in _NO_MEMORY)
            )
        ):
            return True
        seen = seen.__cause__
    return False
