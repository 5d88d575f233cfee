"""How long the panel takes in Slicer's event loop, which keeps the GIL, against a free one.

    python Testing/tools/measure_slicer_loop.py [--scan FILE] [--repeats 3]

Button to mask and click to mask with the shipped model, scene included, in the stand-in for Slicer
on Linux; both loops in turn in one process. Without a scan it takes the synthetic abdomen.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AttentionUNetSegment"), str(ROOT / "Testing" / "support")]

import panel_driver  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    module = panel_driver.start_module()
    import slicer
    from SlicerStandIn import driving

    driver = panel_driver.Driver(module.widgetRepresentation())
    driver.representation.enter()
    began = time.monotonic()
    if options.scan is None:
        from AttentionUNetSegmentLib.panel.sample_data import makeSyntheticAbdomen

        (node,) = makeSyntheticAbdomen()
    else:
        node = slicer.util.loadVolume(str(options.scan))
    with driving.gilHeld():
        driver.choose(node)
        driver.pump(lambda: driver.panel.hub.worker.idle)
        print(f"scan and model loaded: {time.monotonic() - began:.1f} s")
        print(f"first press, GIL held: {button_to_mask(driver):.2f} s")
    modes: dict[str, Any] = {"free": contextlib.nullcontext, "held": driving.gilHeld}
    seconds: dict[str, dict[str, list[float]]] = {}
    for _ in range(options.repeats):
        for name, mode in modes.items():
            with mode():
                row = seconds.setdefault(name, {"button": [], "click": []})
                row["button"].append(button_to_mask(driver))
                row["click"].append(click_to_mask(driver))
    for what in ("button", "click"):
        free, held = (statistics.median(seconds[name][what]) for name in modes)
        print(f"{what} to mask: free {free:.2f} s, GIL held {held:.2f} s, ratio {held / free:.2f}")
    panel_driver.stop_module()


def button_to_mask(driver: panel_driver.Driver) -> float:
    driver.ui.resetClicksButton.click()
    driver.pump(lambda: not driver.panel.busy)
    began = time.monotonic()
    driver.press_segment()
    return _until_written(driver, began)


def click_to_mask(driver: panel_driver.Driver) -> float:
    """A point inside at the middle of the segment."""
    import vtk
    from AttentionUNetSegmentLib.scene.statistics import segmentVolumeMl

    found = driver.panel.resultNodes
    assert segmentVolumeMl(found.segmentationNode, found.segmentId) > 0
    middle = found.segmentationNode.GetSegmentCenterRAS(found.segmentId)
    if not driver.ui.insideButton.checked:
        driver.ui.insideButton.click()
    began = time.monotonic()
    driver.parameters.clicks.AddControlPointWorld(vtk.vtkVector3d(*middle))
    seconds = _until_written(driver, began)
    driver.pump(lambda: not driver.panel.busy)  # the attention volumes come afterwards
    return seconds


def _until_written(driver: panel_driver.Driver, began: float) -> float:
    """The seconds until the hub has written the answer, told by itself."""
    ended: list[float] = []
    finished = driver.panel.segmentationFinished

    def noted(result: Any) -> None:
        finished(result)
        ended.append(time.monotonic())

    driver.panel.segmentationFinished = noted
    try:
        assert driver.pump(lambda: bool(ended)), driver.message
    finally:
        del driver.panel.segmentationFinished
    return ended[0] - began


if __name__ == "__main__":
    main()
