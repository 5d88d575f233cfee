"""A run that is finished, asked for again: known before anything heavy is imported.

>>> run = FinishedRun(output, asked_for(context), (data,), model_weights)
>>> if run.told_again():
...     return
>>> ...  # the work
>>> run.keep(stdout, stderr)
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import AttentionUNetSegmentError, ModelError, TrainingError

FINISHED_FILE = "finished.json"


@dataclass(frozen=True)
class FinishedRun:
    """What a command was asked for in a folder, and what came out.

    Args:
        folder: of the run; gets ``finished.json``.
        asked: the command and its options, plain values.
        inputs: files and folders that it learns from.
        results: gives what is to be in the folder still, as JSON has it; None where it is not.
    """

    folder: Path
    asked: Mapping[str, Any]
    inputs: Sequence[Path]
    results: Callable[[Path], Any]

    def told_again(self) -> bool:
        """Print what was printed when this very run was finished; False where it never was, or
        where its data, its results or this program are others by now.

        Raises:
            TrainingError: it had ended with that sentence.
        """
        try:
            kept = json.loads((self.folder / FINISHED_FILE).read_text(encoding="utf-8"))
            same = kept["run"] == self._record()
            out, told, error = kept["out"], kept["told"], kept["error"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if not same:
            return False
        if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun starts, the first
            print(
                "This run is finished; nothing was done. More of --minutes or --steps goes on with "
                "it.",
                *told,
                sep="\n",
                file=sys.stderr,
                flush=True,
            )
            print(out, end="", flush=True)
        if error is not None:
            raise TrainingError(error)
        return True

    def keep(self, out: str, told: Sequence[str] = (), error: str | None = None) -> None:
        """Note that it is finished.

        Args:
            out: what was printed on standard output, whole lines.
            told: lines on standard error.
            error: the sentence that it ended with.
        """
        from ..files import replace_text

        if not self.folder.is_dir():
            return
        kept = {"run": self._record(), "out": out, "told": list(told), "error": error}
        replace_text(self.folder / FINISHED_FILE, json.dumps(kept, indent=1) + "\n")

    def _record(self) -> dict[str, Any]:
        record = {
            "software": __version__,
            "asked": dict(self.asked),
            "inputs": [_fingerprint(path, self.folder) for path in self.inputs],
            "results": self.results(self.folder),
        }
        as_read_back: dict[str, Any] = json.loads(json.dumps(record))
        return as_read_back


def asked_for(context: Any) -> dict[str, Any]:
    """A command and all its options, from the context that it was called with."""
    plain: dict[str, Any] = {"command": context.command_path.partition(" ")[2]}
    for name, value in sorted(context.params.items()):
        if isinstance(value, Enum):
            value = value.value
        plain[name] = str(value.resolve()) if isinstance(value, Path) else value
    return plain


def model_weights(folder: Path) -> str | None:
    """The SHA-256 of the weights of the model in a run's folder; None where it is not there."""
    from ..models import read_card

    try:
        weights = read_card(folder / "model").weights
    except ModelError:
        return None
    if weights is None:
        return None
    file = folder / "model" / weights.file
    return weights.sha256 if file.is_file() and file.stat().st_size == weights.bytes else None


def installed_weights(folder: Path) -> list[str | None]:
    """As :func:`model_weights`, and of the model that is installed under its name."""
    from ..models import read_card

    try:
        name = read_card(folder / "model").name
    except ModelError:
        return [None, None]
    return [model_weights(folder), weights_of(name)]


def weights_of(model: str | None) -> str | None:
    """The SHA-256 of the weights of a model that a run begins with; None without one."""
    from ..models import find_model, read_card

    if model is None:
        return None
    try:
        weights = read_card(find_model(model)).weights
    except AttentionUNetSegmentError:  # told where it is needed
        return None
    return weights.sha256 if weights else None


def _fingerprint(path: Path, left_out: Path) -> str:
    """Of names, sizes and times of all files, but not those of a folder."""
    digest = hashlib.sha256()
    for name, size, changed in _listing(path, left_out.resolve()):
        digest.update(f"{name}\0{size}\0{changed}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _listing(path: Path, left_out: Path) -> Iterator[tuple[str, int, int]]:
    if path.is_file():
        status = path.stat()
        yield path.name, status.st_size, status.st_mtime_ns
        return
    for folder, below, names in os.walk(path):
        where = Path(folder)
        below[:] = sorted(name for name in below if (where / name).resolve() != left_out)
        for name in sorted(names):
            status = (where / name).lstat()
            yield str((where / name).relative_to(path)), status.st_size, status.st_mtime_ns
