"""Results appear in a folder all together, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError
from .stopping import stops_postponed

STAGING_PREFIX = ".attention-unet-segment-"


@dataclass(frozen=True)
class OutputFolder:
    """A folder that results are to appear in.

    Args:
        directory: where they appear.
        staging: where they are written; it vanishes at the end, whatever happens.
    """

    directory: Path
    staging: Path

    def publish(self, names: Iterable[str], outdated: Iterable[str] = ()) -> None:
        """Move files from the staging folder into place, replacing files of these names.

        Args:
            names: of the files, the one that vouches for the others last.
            outdated: files of an earlier result that this one does not have, to be removed.

        Raises:
            OutputError: the directory no longer takes them.
        """
        names = list(names)
        with stops_postponed(), explained(self.directory):
            if len(names) > 1:  # a process that is killed here leaves nothing that vouches
                (self.directory / names[-1]).unlink(missing_ok=True)
            for name in names:
                os.replace(self.staging / name, self.directory / name)
            for name in outdated:
                (self.directory / name).unlink(missing_ok=True)


@contextmanager
def output_folder(directory: Path, names: Iterable[str]) -> Iterator[OutputFolder]:
    """Make sure that a folder takes results before the long work begins.

    Whatever the block does not publish is gone at its end, and so are the folders that were made
    for it.

    Args:
        directory: made if need be, with its parents.
        names: of the files that will be published.

    Raises:
        OutputError: it cannot be written to, or one of the names is a folder's.
    """
    staging: Path | None = None
    made: list[Path] = []
    try:
        with stops_postponed(), explained(directory):
            made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
            directory.mkdir(parents=True, exist_ok=True)
            for name in names:
                if (directory / name).is_dir():
                    raise OutputError(
                        f"'{directory / name}' is a folder where a file has to go; choose another "
                        "output folder."
                    )
            # Beside the results, so that to move them is to rename them.
            staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=directory))
            # A full disk still takes the name of a folder.
            (staging / "room").write_bytes(bytes(4096))
            (staging / "room").unlink()
        yield OutputFolder(directory, staging)
    finally:
        with stops_postponed():
            if staging is not None:
                shutil.rmtree(staging, ignore_errors=True)
            for folder in made:  # one that something was published in stays
                with suppress(OSError):
                    folder.rmdir()


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turn what the operating system says about writing into a sentence for the user."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(
            f"Results cannot be written into '{directory}': it is, or lies in, a file and no "
            "folder; choose another output folder."
        ) from error
    except OSError as error:
        raise OutputError(
            f"Results cannot be written into '{directory}' ({error.strerror or error}); choose a "
            "folder that you may write to, on a disk with some room."
        ) from error
