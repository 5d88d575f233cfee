"""Drive a program to every point where it touches the disk, and let something go wrong there.

    python Testing/support/fault_points.py test_faults
    SegmentAgain FOLDER kill full:2

imports a module and then reads, line by line, which of its scenarios to drive; each is driven in a
fork, so that the heavy imports are made once for all of them. It is run again and again, in a
process of its own each time: first the fault comes when it opens, makes, renames or removes the
first thing below its folder, then the second, until it gets to its end undisturbed. After each
fault the scenario says whether all is as promised, and is run once more without one, in the driving
process: a fork costs as much as the work. Then, at every second point, it meets a full disk. Prints
one JSON object a line: for each kind of fault how many points were driven, and what was wrong at
which of them; or a text, of what broke the driving.

The driving process must have no threads, which do not fork.

Points are counted by Python's audit events, so that nothing in the program has to know of them.
What a C++ library writes by itself is not seen; :data:`LIMITS` reaches that from the other side.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

LIMITS = (0, 1_000, 10_000)
"""Bytes beyond which no file can grow: a disk that fills up while a file is written."""
MOST_POINTS = 400
"""A scenario with more is not small enough."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_REMOVING = ("os.remove", "os.rmdir", "shutil.rmtree")
_EVENTS = ("os.mkdir", "os.rename", "os.link", *_REMOVING)


class Scenario(ABC):
    """Something that is done to files below a folder."""

    gone = ""
    """Name of the folder that the fault ``gone`` removes."""

    def prepare(self, root: Path) -> None:  # noqa: B027 - may stay empty
        """Put there what is there before."""

    def preload(self) -> None:  # noqa: B027 - may stay empty
        """Import what it alone needs, once for all its forks."""

    @abstractmethod
    def run(self, root: Path) -> int | None:
        """Do it. Returns an exit status, or raises what the user is told."""

    def content(self, root: Path) -> dict[str, Any]:
        """All that counts of what is there, as it compares between two runs."""
        return files_of(root)

    @abstractmethod
    def check_killed(self, root: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Assert that what a killed process left keeps the promises.

        Args:
            before: the content of the folder when it began.
            after: the content when nothing disturbs it.
        """

    def check_failed(self, root: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Likewise where it failed with a sentence: nothing has changed, unless said otherwise."""
        left = self.content(root)
        assert left == before, sorted(set(left) ^ set(before)) or "changed"


def files_of(root: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too; the name of a folder ends with a slash."""
    return {
        str(path.relative_to(root)) + "/" * path.is_dir(): b""
        if path.is_dir()
        else path.read_bytes()
        for path in sorted(root.rglob("*"))
    }


@dataclass
class Fault:
    """What happens at a point.

    Args:
        root: only what lies below it counts.
        at: the number of the point; 0 for none.
        happen: what goes wrong there.
        spared: removing cannot fail for this reason.
    """

    root: Path
    at: int
    happen: Callable[[], None]
    spared: bool = False
    points: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            _, mode, flags = arguments
            writes = any(letter in mode for letter in "wax+") if mode else flags & _WRITING
            if not writes:
                return
        elif event not in _EVENTS:
            return
        # The place where something goes to says more than the one that it comes from.
        path = arguments[1] if event in ("os.rename", "os.link") else arguments[0]
        if not isinstance(path, (str, os.PathLike)):
            return
        if not str(path).startswith(f"{self.root}{os.sep}"):
            return
        if self.spared and event in _REMOVING:
            return
        self.points.append(f"{event} {Path(path).name}")
        if len(self.points) == self.at:
            self.happen()


@contextlib.contextmanager
def faulty(fault: Fault) -> Iterator[None]:
    """Let the fault happen in this process meanwhile; a hook stays, and does nothing afterwards."""
    active = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if active:
            fault(event, arguments)

    sys.addaudithook(hook)
    try:
        yield
    finally:
        active = False


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _memory_exhausted() -> None:
    raise MemoryError


@dataclass
class Outcome:
    """How a run ended: its exit status or what it raised, and what it said on stderr."""

    status: int | None
    error: str
    said: str
    reached: bool

    @property
    def failed(self) -> bool:
        return bool(self.status or self.error)


def run_with(scenario: Scenario, root: Path, at: int, kind: str) -> Outcome:
    """In this process: run to a fault, if it is not of the kind that ends the process."""
    from AttentionUNetSegmentLib.errors import AttentionUNetSegmentError

    happen = {
        "kill": _killed,
        "full": _disk_full,
        "memory": _memory_exhausted,
        "gone": lambda: shutil.rmtree(root / scenario.gone, ignore_errors=True),
        "limit": lambda: None,
    }[kind]
    fault = Fault(root, 0 if kind == "limit" else at, happen, kind in ("full", "memory"))
    said, error, status = io.StringIO(), "", None
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()), faulty(fault):
        if kind == "limit":
            _limit_files(LIMITS[at - 1])
        try:
            status = scenario.run(root)
        except (AttentionUNetSegmentError, MemoryError) as told:
            error = f"{type(told).__name__}: {told}"
    reached = at <= len(LIMITS) if kind == "limit" else len(fault.points) >= at
    return Outcome(status, error, said.getvalue(), reached)


def _limit_files(size: int) -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def in_child(function: Callable[[], Any]) -> tuple[int, Any]:
    """Call a function in a fork of this process.

    Returns:
        The signal that ended it or 0, and what the function returned; a string is its traceback.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            result = function()
        except BaseException:
            result = traceback.format_exc()
        with os.fdopen(writing, "w") as pipe:
            json.dump(result, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), json.loads(
        text
    ) if text else None


def prepare(scenario: Scenario, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make in an empty folder what is there before, and what an undisturbed run makes of it.

    Returns:
        The content of either.
    """
    base, clean = folder / "base", folder / "clean"
    base.mkdir()
    scenario.prepare(base)
    shutil.copytree(base, clean)
    assert scenario.run(clean) in (0, None)
    before, after = scenario.content(base), scenario.content(clean)
    assert before != after, "nothing is done"
    return before, after


def sweep(
    scenario: Scenario,
    folder: Path,
    contents: tuple[dict[str, Any], dict[str, Any]],
    kind: str,
    stride: int = 1,
) -> dict[str, Any]:
    """All points of a scenario, one after the other.

    Args:
        folder: one that :func:`prepare` has filled.
        contents: what it gave.
        kind: "kill", "full", "memory", "gone" or "limit".
        stride: every how many points.

    Returns:
        ``points``: how many were driven; ``wrong``: what was not as promised, a text each.
    """
    base, work = folder / "base", folder / "work"
    driven, wrong = 0, []
    for at in range(1, MOST_POINTS, stride):
        if kind == "limit" and at > len(LIMITS):
            break
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(base, work)
        died, told = in_child(lambda at=at: vars(run_with(scenario, work, at, kind)))
        if isinstance(told, str):
            wrong.append(f"{kind} at {at}: {told}")
            driven += 1
            continue
        outcome = Outcome(**told) if told else None
        if outcome is not None and not outcome.reached:
            break
        driven += 1
        try:
            _check(scenario, work, contents, outcome, kind)
        except Exception:
            wrong.append(f"{kind} at {at}: {traceback.format_exc()}")
        assert outcome is not None or died == signal.SIGKILL, died
    else:
        wrong.append(f"more than {MOST_POINTS} points")
    return {"points": driven, "wrong": wrong}


def _check(
    scenario: Scenario,
    work: Path,
    contents: tuple[dict[str, Any], dict[str, Any]],
    outcome: Outcome | None,
    kind: str,
) -> None:
    before, after = contents
    if outcome is None:
        scenario.check_killed(work, before, after)
    elif outcome.failed and kind != "gone":
        scenario.check_failed(work, before, after)
    if outcome is not None and outcome.failed:
        sentence = outcome.error or outcome.said
        assert outcome.error or (outcome.status == 2 and sentence.startswith("Error: ")), outcome
        assert len(sentence.strip().splitlines()) <= 1, sentence
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        again = scenario.run(work)
    assert again in (0, None), "a second run fails"
    if kind != "gone":
        left = scenario.content(work)
        different = sorted(name for name in {*left, *after} if left.get(name) != after.get(name))
        assert not different, f"a second run ends with other files: {different}"


def drive(scenario: Scenario, folder: Path, kinds: list[str]) -> dict[str, dict[str, Any]]:
    """Drive all kinds of faults, each as ``kind`` or ``kind:stride``."""
    scenario.preload()
    found = {}
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        contents = prepare(scenario, Path(inside))
        gc.freeze()  # what is shared by all forks is not touched any more
        for one in kinds:
            kind, _, stride = one.partition(":")
            found[kind] = sweep(scenario, Path(inside), contents, kind, int(stride or 1))
    return found


def main() -> None:
    module = importlib.import_module(sys.argv[1])
    module.preload()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the scenarios' own words are nobody's concern
    for line in sys.stdin:
        name, folder, *kinds = line.split()
        scenario: Scenario = getattr(module, name)()
        _, found = in_child(partial(drive, scenario, Path(folder), kinds))
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
