"""Save a scene as this version does, for the tests of the versions that come after it.

    python Testing/tools/make_old_scene.py

writes ``Testing/support/old_scenes/version-X.Y.Z/``: a synthetic scan that was segmented, clicked
on and corrected by hand in the panel, as ``scene.mrb``, and in ``expected.json`` what the panel
showed.
Run it once when a version is released, never again for that version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AttentionUNetSegment"), str(ROOT / "Testing" / "support")]

import panel_driver  # noqa: E402
import slicer  # noqa: E402
from AttentionUNetSegmentLib import __version__, scene  # noqa: E402
from AttentionUNetSegmentLib.inference import predictor_cache  # noqa: E402
from AttentionUNetSegmentLib.inference.predictor import Predictor  # noqa: E402
from threshold_model import threshold_model  # noqa: E402

OLD_SCENES = ROOT / "Testing" / "support" / "old_scenes"
NAME = "Synthetic CT"


def corrected_scene(driver: panel_driver.Driver) -> None:
    """Segment, click, paint and erase, and change what the panel shows."""
    from panel_driver import ERASED, PAINTED, click, paint

    node = scene.addVolumeNode(panel_driver.bright_scan(), NAME)
    driver.choose(node)
    driver.segment()
    click(driver, node, (27, 20, 11))
    paint(driver, node, PAINTED, True)
    paint(driver, node, ERASED, False)
    driver.ui.attentionOpacitySlider.value = 0.25
    driver.ui.updateAfterClickCheckBox.checked = False
    driver.panel.attention.eyes[2].click()
    driver.pump()


def shown(driver: panel_driver.Driver) -> dict[str, Any]:
    """What must be the same when the scene is opened again."""
    from panel_driver import segment_mask

    ui, panel = driver.ui, driver.panel
    clicks = [[*map(float, one.position_ras), one.inside] for one in panel.clicks.clicks]
    return {
        "volume": ui.inputVolumeSelector.currentNode().GetName(),
        "result": ui.resultLabel.text,
        "model": driver.parameters.model,
        "opacity": round(float(ui.attentionOpacitySlider.value), 3),
        "update_after_click": bool(ui.updateAfterClickCheckBox.checked),
        "levels": sorted(panel.attention.eyes),
        "level_shown": [level for level, eye in panel.attention.eyes.items() if eye.checked],
        "clicks": clicks,
        "voxels": int(segment_mask(driver, ui.inputVolumeSelector.currentNode()).sum()),
    }


def main() -> None:
    folder = OLD_SCENES / f"version-{__version__}"
    if folder.exists():
        raise SystemExit(f"There is a scene of {__version__} already; it is never made anew.")
    module = panel_driver.start_module()
    from SlicerStandIn import driving

    predictor_cache.load_predictor = lambda options: Predictor(threshold_model(), "cpu")
    driver = panel_driver.Driver(module.widgetRepresentation())
    driver.representation.enter()
    corrected_scene(driver)
    folder.mkdir(parents=True)
    driving.saveScene(folder / "scene.mrb")
    text = json.dumps(shown(driver), indent=1)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")
    driver.representation.exit()
    slicer.mrmlScene.Clear(True)


if __name__ == "__main__":
    main()
