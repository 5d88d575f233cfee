"""Files that are there whole or not at all, and folders that one program at a time works in."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import AttentionUNetSegmentError, InputError, OutputError
from .paths import PlainPaths, printable
from .stopping import stops_postponed

LOCK_FILE = ".lock"
STAGING_PREFIX = ".attention-unet-segment-"
UNFINISHED_FILE = ".attention-unet-segment.unfinished"
"""In a folder while a result is moved into it; it stays there where the process is killed."""

_NO_LOCKS = {
    getattr(errno, name, -1) for name in ("ENOSYS", "ENOLCK", "ENOTSUP", "EOPNOTSUPP")
}  # fmt: skip


# A lock


@contextmanager
def locked_folder(folder: Path, lock_file: str = LOCK_FILE, wait_s: float = 0.0) -> Iterator[None]:
    """Keep other programs out of a folder. The operating system ends it if the process dies.

    Args:
        folder: an existing one.
        lock_file: name of the hidden file that it gets.
        wait_s: for how long another program is waited for.

    Raises:
        InputError: another program is working in it.
        OutputError: it lies on a file system without locks.
        OSError: the folder cannot be written to.
    """
    from filelock import FileLock, Timeout  # comes with PyTorch

    lock = FileLock(folder / lock_file, timeout=wait_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"Another program is working in '{folder}'; wait for it or choose another folder."
        ) from error
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        raise OutputError(
            f"The folder '{folder}' lies on a file system without file locks; choose a folder "
            "on another disk."
        ) from error
    try:
        yield
    finally:
        lock.release()


# One file


def replace_text(file: Path, text: str) -> None:
    """Write a text file as :func:`replaced_file` does."""
    with replaced_file(file) as beside:
        beside.write_text(text, encoding="utf-8")


@contextmanager
def replaced_file(file: Path) -> Iterator[Path]:
    """A file to write instead of another one, whose place it takes at the end of the block.

    Readers see the old one or the new one. Where the block fails, nothing changes.

    Args:
        file: may be there. The other one has the same name, which often says how it is written,
            and a folder to itself.

    Raises:
        OSError: it cannot be written.
    """
    with folder_beside(file) as folder:
        yield folder / file.name
        flush_to_disk(folder / file.name)
        os.replace(folder / file.name, file)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A hidden folder beside a path, for what is to take its place by being renamed.

    It is gone at the end, and so is what killed processes left of this kind; where there are no
    locks, which tell the living from the dead, that stays.
    """
    with _working_folder(path.parent, f".{path.name}.", ".new", lock_needed=False) as folder:
        yield folder


def flush_to_disk(file: Path) -> None:
    """Wait until a file's content is on the disk, or the disk has said that it is not."""
    with file.open("r+b") as stream:
        os.fsync(stream.fileno())


# A folder of files


@dataclass(frozen=True)
class StagedFolder:
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
            explain_write_errors(self.directory),
            self._restored_on_failure([*names, *outdated, UNFINISHED_FILE]),
        ):
            if len(names) > 1:  # a process that is killed here leaves nothing that vouches
                (self.directory / UNFINISHED_FILE).touch()
                (self.directory / names[-1]).unlink(missing_ok=True)
            for name in names:
                os.replace(self.staging / name, self.directory / name)
            for name in (*outdated, UNFINISHED_FILE):
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


def require_takes_results(directory: Path, names: Iterable[str] = ()) -> None:
    """Refuse a folder that takes no results, before the long work begins; it is left as it was.

    Args, errors: as of :func:`staged_folder`.
    """
    with staged_folder(directory, names):
        pass


@contextmanager
def staged_folder(directory: Path, names: Iterable[str] = ()) -> Iterator[StagedFolder]:
    """Make sure that a folder takes results before the long work begins.

    Whatever the block does not publish is gone at its end, and so are the folders that were made
    for it.

    Args:
        directory: made if need be, with its parents.
        names: of the files that will be published, as far as they are known.

    Raises:
        OutputError: it cannot be written to, or one of the names is a folder's.
    """
    stack = ExitStack()
    try:
        with stops_postponed(), explain_write_errors(directory):
            stack.enter_context(made_folder(directory))
            for name in names:
                if (directory / name).is_dir():
                    raise OutputError(
                        f"'{directory / name}' is a folder where a file has to go; choose another "
                        "output folder."
                    )
            staging = stack.enter_context(staging_folder(directory))
            # A full disk still takes the name of a folder.
            (staging / "room").write_bytes(bytes(4096))
            (staging / "room").unlink()
        with PlainPaths() as plain:
            yield StagedFolder(directory, Path(plain.of(staging)))
    finally:
        with stops_postponed():
            stack.close()


@contextmanager
def made_folder(directory: Path) -> Iterator[None]:
    """Make a folder with its parents; those that were made and are empty at the end are removed."""
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def staging_folder(directory: Path) -> Iterator[Path]:
    """A hidden folder inside another one, so that to move files up is to rename them.

    It is gone at the end, and so is what killed processes left of this kind.
    """
    with _working_folder(directory, STAGING_PREFIX) as folder:
        yield folder


@contextmanager
def _working_folder(
    directory: Path, prefix: str, suffix: str = "", lock_needed: bool = True
) -> Iterator[Path]:
    """A folder that no other process takes for a leftover as long as this one lives: it holds a
    lock, which is all that is in it."""
    remove_leftovers(directory, f"{glob.escape(prefix)}*{suffix}")
    with ExitStack() as stack:
        held = False
        while not held:
            folder = directory / f"{prefix}{secrets.token_hex(4)}{suffix}"
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir(0o700)
            try:
                stack.enter_context(locked_folder(folder))
                held = (folder / LOCK_FILE).exists()
            except (InputError, FileNotFoundError):
                pass  # another process was quicker to take it for a leftover
            except (ImportError, OutputError):  # there are no locks
                if lock_needed:
                    raise
                held = True
        yield folder


def remove_leftovers(directory: Path, pattern: str = f"{STAGING_PREFIX}*") -> None:
    """Remove the folders of a name that killed processes left; those of living ones are locked."""
    for left in directory.glob(pattern):
        with suppress(ImportError, OSError, AttentionUNetSegmentError):
            if (left / LOCK_FILE).exists():
                with locked_folder(left):
                    shutil.rmtree(left, ignore_errors=True)
                shutil.rmtree(left, ignore_errors=True)  # Windows keeps what is open
            else:  # killed before it had the lock, and so before it had anything else
                left.rmdir()


def _copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without hard links
        shutil.copy2(source, target)


@contextmanager
def explain_write_errors(directory: Path) -> Iterator[None]:
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
