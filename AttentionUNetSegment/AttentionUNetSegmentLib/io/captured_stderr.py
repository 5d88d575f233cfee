"""What C++ libraries print to the process's stderr, kept out of the user's terminal."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()


class CapturedText:
    """The text that was printed; complete once the ``with`` block has ended."""

    text = ""


@contextmanager
def capture_stderr() -> Iterator[CapturedText]:
    """Collect what is written to file descriptor 2, by any library, while the block runs.

    ITK's readers of MetaImage, NIfTI and DICOM print their complaints there and raise something
    vaguer, or nothing. Python's own ``sys.stderr`` writes to the same descriptor, so keep the block
    short. Without a stderr (a window application on Windows) nothing is collected.
    """
    captured = CapturedText()
    with _lock:
        if sys.stderr is None:  # the descriptor may be that of any file
            yield captured
            return
        try:
            saved = os.dup(2)
        except OSError:
            yield captured
            return
        try:
            with tempfile.TemporaryFile() as collected:
                sys.stderr.flush()
                os.dup2(collected.fileno(), 2)
                try:
                    yield captured
                finally:
                    os.dup2(saved, 2)
                    collected.seek(0)
                    captured.text = collected.read().decode("utf-8", "replace")
        finally:
            os.close(saved)
