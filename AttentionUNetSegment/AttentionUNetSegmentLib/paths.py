"""Names of files as users have them: any bytes, a tilde in front."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType


def in_home(path: str | Path) -> Path:
    """The path with a leading ``~/`` replaced; ``~scan.nii`` is a file's name like any other."""
    path = Path(path)
    return path.expanduser() if path.parts[:1] == ("~",) else path


def printable(name: str) -> str:
    """A name in which bytes that are no UTF-8 (from an archive of another system) are replaced, so
    that it can be shown and written."""
    try:
        return os.fsencode(name).decode("utf-8", "replace")
    except UnicodeEncodeError:
        return name.encode("utf-8", "replace").decode("utf-8")


def is_utf8(path: str | Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class PlainPaths:
    """Paths that C++ libraries take: those end the process over a name that is not UTF-8.

    A context: the links that it made are gone at its end.
    """

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._made: dict[str, str] = {}

    def __enter__(self) -> PlainPaths:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def of(self, path: str | Path) -> str:
        """The absolute path of a file or a folder, or that of a link to it.

        Raises:
            OSError: no link can be made.
        """
        whole = os.path.abspath(path)
        if is_utf8(whole):
            return whole
        if whole not in self._made:
            link = self.new_file(Path(whole).suffix)
            _link(whole, link)
            self._made[whole] = link
        return self._made[whole]

    def new_file(self, suffix: str = "") -> str:
        """The path of a file that is not there yet, for a changed copy."""
        suffix = suffix if is_utf8(suffix) else ""
        return os.path.join(self.folder, f"{len(os.listdir(self.folder))}{suffix}")

    def link_beside(self, path: Path, others: list[Path]) -> str:
        """Like :meth:`of` for a header that names other files, which are linked beside it."""
        whole = os.path.abspath(path)
        if is_utf8(whole):
            return whole
        for other in others:
            link = os.path.join(self.folder, os.path.relpath(other, path.parent.resolve()))
            if other.resolve() != path.resolve() and not os.path.lexists(link):
                os.makedirs(os.path.dirname(link), exist_ok=True)
                _link(os.fspath(other.resolve()), link)
        return self.of(path)

    @property
    def folder(self) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory()
        return self._folder.name


def _link(source: str, link: str) -> None:
    try:
        os.symlink(source, link, target_is_directory=os.path.isdir(source))
    except (NotImplementedError, OSError):
        if os.path.isdir(source):
            raise
        shutil.copyfile(source, link)
