"""What a user waits for in the panel, in Slicer's event loop, which keeps the GIL.

    python Testing/tools/measure_slicer_loop.py [--scan FILE] [--second FILE] [--repeats 3]
                                                [--processes 3] [--free] [--float32]
                                                [--json FILE]

In the stand-in for Slicer on Linux, with the shipped model, scene included, in the order in which a
user comes to it: the module is opened; a scan is chosen, and what the first press needs is loaded
meanwhile; the first press, and later ones; the first press on another scan; a click until its mask
is there, and until its attention is; another level of the attention. Each process tells a first
press once, so several are run. With --free the event loop lets go of the GIL, for comparison; with
--float32 the networks compute as on a processor without bfloat16.

Medians with the lowest and highest, of seconds on the clock and of seconds of processor time. Where
others use the processor too, the second says more; it counts all threads, so it is more than the
first where several compute at once. Without a scan it takes the synthetic abdomen.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AttentionUNetSegment"), str(ROOT / "Testing" / "support")]

import panel_driver  # noqa: E402
from AttentionUNetSegmentLib.networks import precision  # noqa: E402

Times = dict[str, list[tuple[float, float]]]
"""Seconds on the clock and of the processor, of each repetition."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--second", type=Path, help="another scan")
    parser.add_argument("--repeats", type=int, default=3, help="of what one process can repeat")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--free", action="store_true", help="the GIL is not held")
    parser.add_argument("--float32", action="store_true", help="as without bfloat16")
    parser.add_argument("--json", type=Path, help="gets all times")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_one_process(options)), flush=True)
        os._exit(0)  # Python's clearing up of Qt and VTK ends some of these with a fault
    together: Times = {}
    for _ in range(options.processes):
        command = [sys.executable, __file__, "--one", *sys.argv[1:]]
        lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
        for what, times in json.loads(lines.strip().splitlines()[-1]).items():
            together.setdefault(what, []).extend(times)
    print(
        f"| GIL {'free' if options.free else 'held'} | seconds | of the processor |\n|---|---|---|"
    )
    for what, times in together.items():
        wall, processor = zip(*times, strict=True)
        print(f"| {what} | {_spread(wall)} | {_spread(processor)} |")
    if options.json is not None:
        options.json.write_text(json.dumps(together, indent=1) + "\n", encoding="utf-8")


def _spread(seconds: tuple[float, ...]) -> str:
    middle = statistics.median(seconds)
    return f"{middle:.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def _one_process(options: argparse.Namespace) -> Times:
    times: Times = {}
    if options.float32:
        precision.computes_bfloat16 = lambda device: False

    @contextlib.contextmanager
    def timed(what: str) -> Iterator[None]:
        began = time.monotonic(), time.process_time()
        yield
        took = time.monotonic() - began[0], time.process_time() - began[1]
        times.setdefault(what, []).append(took)

    with timed("the module is opened"):
        module = panel_driver.start_module()
        driver = panel_driver.Driver(module.widgetRepresentation())
        driver.representation.enter()
    import slicer
    from SlicerStandIn import driving

    def load(path: Path | None) -> Any:
        if path is not None:
            return slicer.util.loadVolume(str(path))
        from AttentionUNetSegmentLib.panel.sample_data import makeSyntheticAbdomen

        return makeSyntheticAbdomen()[0]

    with contextlib.nullcontext() if options.free else driving.gilHeld():
        node = load(options.scan)
        with timed("a scan is chosen, until all is loaded for a press"):
            driver.choose(node)
            driver.pump(lambda: driver.panel.hub.worker.idle)
        for number in range(options.repeats + 1):
            what = "later presses" if number else "first press"
            _answered(driver, timed, what, lambda: press(driver))
        for _ in range(options.repeats):
            with timed("a click and its attention"):
                _answered(driver, timed, "a click to its mask", lambda: click(driver))
                driver.pump(lambda: not driver.panel.busy)
        for level in (1, 2, 3, 4)[: options.repeats]:
            with timed("another level of the attention is shown"):
                driver.panel.attention.eyes[level].click()
                driving.processEvents()
        if options.second is not None:
            driver.choose(load(options.second))
            driver.pump(lambda: driver.panel.hub.worker.idle)
            for number in range(options.repeats + 1):
                what = "later presses on it" if number else "first press on another scan"
                _answered(driver, timed, what, lambda: press(driver))
    panel_driver.stop_module()
    return times


def press(driver: panel_driver.Driver) -> None:
    driver.press_segment()


def click(driver: panel_driver.Driver) -> None:
    """A point inside at the middle of the segment."""
    import vtk
    from AttentionUNetSegmentLib.scene.statistics import segmentVolumeMl

    found = driver.panel.resultNodes
    assert segmentVolumeMl(found.segmentationNode, found.segmentId) > 0
    middle = found.segmentationNode.GetSegmentCenterRAS(found.segmentId)
    driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(*middle))


def _answered(
    driver: panel_driver.Driver,
    timed: Callable[[str], contextlib.AbstractContextManager[None]],
    what: str,
    act: Callable[[], None],
) -> None:
    """The time until the hub has written the answer, told by itself."""
    if what.startswith("a click"):
        if not driver.ui.insideButton.checked:
            driver.ui.insideButton.click()
    else:
        driver.ui.resetClicksButton.click()
        driver.pump(lambda: not driver.panel.busy)
    finished = driver.panel.segmentationFinished
    ended: list[None] = []
    watch = timed(what)

    def noted(result: Any) -> None:
        finished(result)
        # Here, not when the loop is left: it is asked a few times a second only.
        watch.__exit__(None, None, None)
        ended.append(None)

    driver.panel.segmentationFinished = noted
    try:
        watch.__enter__()
        act()
        assert driver.pump(lambda: bool(ended)), driver.message
    finally:
        del driver.panel.segmentationFinished


if __name__ == "__main__":
    main()
