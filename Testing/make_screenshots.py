"""Make the pictures of the README: ``python Testing/make_screenshots.py [MODEL_FOLDER]``.

The module runs in the stand-in for Slicer, on the synthetic abdomen, with the trained model; the
pictures go to Resources/Screenshots. They are not pictures of a patient.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "AttentionUNetSegment"), str(ROOT / "Testing")]
SCREENSHOTS = ROOT / "Resources" / "Screenshots"
SEED = 3
SPACING_MM = (2.0, 2.0, 3.0)


def main(model: str | None = None) -> None:
    """Drive the panel from idle to done and take a picture of each state."""
    import panel_driver
    import SlicerStandIn

    panel_driver.start_module()
    import slicer.util
    from AttentionUNetSegmentLib.panel.slice_views import SliceViews
    from AttentionUNetSegmentLib.scene import addVolumeNode
    from AttentionUNetSegmentLib.synthetic import synthetic_abdomen
    from SlicerStandIn import driving

    window = SlicerStandIn.showMainWindow()
    slicer.util.selectModule("AttentionUNetSegment")
    driver = panel_driver.Driver(slicer.modules.attentionunetsegment.widgetRepresentation())
    if model:
        driver.parameters.model = model
    node = addVolumeNode(
        synthetic_abdomen(SEED, SPACING_MM).ct, "Synthetic abdomen (not a patient)"
    )
    SliceViews().showVolume(node)
    driver.choose(node)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    driving.grab(window, SCREENSHOTS / "idle.png")

    driver.press_segment()
    assert driver.pump(lambda: driver.ui.progressBar.value >= 15 or not driver.panel.busy)
    assert driver.panel.busy, driver.message
    driver.pump()
    driving.grab(window, SCREENSHOTS / "working.png")
    assert driver.pump(lambda: not driver.panel.busy)
    found = driver.panel.found
    found.segmentationNode.CreateClosedSurfaceRepresentation()
    slicer.util.resetThreeDViews()
    driver.pump()
    driving.grab(window, SCREENSHOTS / "done.png")

    for name in ("input", "clicks"):
        getattr(driver.ui, f"{name}CollapsibleButton").collapsed = True
    driver.unfold("attention")
    driver.unfold("result")
    driver.panel.attention.eyes[max(driver.panel.attention.eyes) - 1].click()
    driver.pump()
    driving.grab(window, SCREENSHOTS / "attention.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
