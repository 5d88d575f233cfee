"""Results appear in a folder all together, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import AttentionUNetSegmentError, OutputError
from ..locking import LOCK_FILE, alone_in
from ..paths import PlainPaths, printable
from .stopping import stops_postponed

STAGING_PREFIX = ".attention-unet-segment-"
SOURCES_FILE = "sources.csv"
"""Of a batch: which scan is which study."""


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

        All are moved, or none; only a process that is killed meanwhile leaves some of each result.

        Args:
            names: of the files, the one that vouches for the others last.
            outdated: files of an earlier result that this one does not have, to be removed.

        Raises:
            OutputError: the directory no longer takes them.
        """
        names, outdated = list(names), list(outdated)
        with (
            stops_postponed(),
            explained(self.directory),
            self._restored_on_failure([*names, *outdated]),
        ):
            if len(names) > 1:  # a process that is killed here leaves nothing that vouches
                (self.directory / names[-1]).unlink(missing_ok=True)
            for name in names:
                os.replace(self.staging / name, self.directory / name)
            for name in outdated:
                (self.directory / name).unlink(missing_ok=True)

    @contextmanager
    def _restored_on_failure(self, names: Sequence[str]) -> Iterator[None]:
        """Give the directory its files of these names back unless the block gets to its end."""
        kept = Path(tempfile.mkdtemp(dir=self.staging))
        for name in names:
            if (self.directory / name).exists():
                _copy(self.directory / name, kept / name)
        done = False
        try:
            yield
            done = True
        finally:
            for name in () if done else names:
                if (kept / name).exists():
                    os.replace(kept / name, self.directory / name)
                else:
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
    alone = ExitStack()  # as long as this process lives, nobody takes the folder for a leftover
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
            remove_leftovers(directory)
            staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=directory))
            alone.enter_context(alone_in(staging))
            # A full disk still takes the name of a folder.
            (staging / "room").write_bytes(bytes(4096))
            (staging / "room").unlink()
        with PlainPaths() as plain:
            yield OutputFolder(directory, Path(plain.of(staging)))
    finally:
        with stops_postponed():
            alone.close()
            if staging is not None:
                shutil.rmtree(staging, ignore_errors=True)
            for folder in made:  # one that something was published in stays
                with suppress(OSError):
                    folder.rmdir()


def remove_leftovers(directory: Path) -> None:
    """Remove the staging folders that killed processes left; those of living ones are locked."""
    for staging in directory.glob(f"{STAGING_PREFIX}*"):
        with suppress(OSError, AttentionUNetSegmentError):
            if (staging / LOCK_FILE).exists():
                with alone_in(staging):
                    pass
                shutil.rmtree(staging, ignore_errors=True)
            else:  # killed before it had the lock, and so before it had anything else
                staging.rmdir()


def _copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without hard links
        shutil.copy2(source, target)


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turn what the operating system says about writing into a sentence for the user."""
    shown = printable(str(directory))
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(
            f"Results cannot be written into '{shown}': it is, or lies in, a file and no "
            "folder; choose another output folder."
        ) from error
    except OSError as error:
        raise OutputError(
            f"Results cannot be written into '{shown}' ({error.strerror or error}); choose a "
            "folder that you may write to, on a disk with some room."
        ) from error
