"""200 segmentations and 2,000 clicks with the shipped model in one process: what stays behind.

    OMP_NUM_THREADS=1 python Testing/tools/measure_long_use.py [--segmentations 200] [--clicks 2000]

On a synthetic abdomen of 2.5 x 2.5 x 4 mm. The segmentations are made by the module's logic, in the
stand-in for Slicer, two on each scan, which then is closed; the clicks by a session on one scan:
added, moved, removed, undone, redone and taken away; then come rounds at the panel. Prints, after
each tenth, what the process has, in Markdown, and in the end of which classes there are more
objects.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AttentionUNetSegment"), str(ROOT / "Testing" / "support")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segmentations", type=int, default=200)
    parser.add_argument("--clicks", type=int, default=2000)
    parser.add_argument("--panel", type=int, default=10, help="rounds at the panel")
    options = parser.parse_args()

    import panel_driver
    from AttentionUNetSegmentLib.inference import Predictor
    from AttentionUNetSegmentLib.inference.session import Session
    from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
    from AttentionUNetSegmentLib.scene.tasks import SegmentationOptions
    from AttentionUNetSegmentLib.synthetic import synthetic_abdomen
    from long_use import click_around, places, segment_with_logic, work_at_panel

    volume = synthetic_abdomen(7, (2.5, 2.5, 4.0)).ct
    driver = panel_driver.Driver(panel_driver.start_module().widgetRepresentation())
    driver.representation.enter()
    predictor = Predictor(load_model(find_model(DEFAULT_MODEL)), "cpu")
    session = Session(predictor, volume)
    organ = session.predict().mask
    points = places(volume, organ, options.clicks)
    parts = iter([points[:60], *(points[at::10] for at in range(10))])
    only_cpu = SegmentationOptions(device="cpu")

    def logic(rounds: int) -> None:
        for _ in range(rounds):
            segment_with_logic(driver.widget.logic, volume, only_cpu)

    def click() -> None:
        click_around(session, next(parts))

    def panel(rounds: int) -> None:
        for _ in range(rounds):
            work_at_panel(driver, volume, points[:4])

    print("| route | done | memory, MB | objects | threads | files | nodes | observers | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    twice, clicks, rounds = options.segmentations // 20, options.clicks // 10, options.panel // 10
    course("logic, segmentations", 2 * twice, lambda: logic(2), lambda: logic(twice))
    course("session, clicks", clicks, click, click)
    course("panel, rounds", rounds, lambda: panel(1), lambda: panel(rounds))
    driver.widget.logic.stop()


def course(
    name: str, each: int, warm_up: Callable[[], object], tenth: Callable[[], object]
) -> None:
    """A line of the table after the warm-up and after each tenth."""
    from long_use import grown, holdings

    warm_up()
    warm = now = holdings()
    began = time.monotonic()
    for done in range(11):
        if done:
            tenth()
            now = holdings()
        print(f"| {name} | {done * each} | {now.memory_mb:.0f} | {now.objects.total()} "
              f"| {now.threads} | {now.files} | {now.nodes} | {now.observers} "
              f"| {time.monotonic() - began:.0f} |", flush=True)  # fmt: skip
    more = {kind: count for kind, count in grown(warm, now).items() if count > 20}
    print(f"more objects: {more}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
