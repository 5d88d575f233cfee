"""What is said to the user when something fails; the details go to the application's error log."""

from __future__ import annotations

import logging

from slicer.i18n import tr as _

from ..errors import AttentionUNetSegmentError

_log = logging.getLogger("AttentionUNetSegment")


def inOneSentence(error: BaseException) -> str:
    """What went wrong, and what to do about it."""
    if isinstance(error, AttentionUNetSegmentError):
        return str(error)
    if isinstance(error, MemoryError):
        return _("There is not enough memory; close other scans, or choose a region.")
    text = _("Something unexpected went wrong ({kind}); the error log has the details.")
    return text.format(kind=type(error).__name__)


def logError(error: BaseException) -> None:
    if isinstance(error, (AttentionUNetSegmentError, MemoryError)):
        # The user was told what to do; it is no fault of the application.
        _log.info("%s", inOneSentence(error))
        _log.debug("Where it came from", exc_info=error)
    else:
        _log.error("Unexpected error", exc_info=error)
