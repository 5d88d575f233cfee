"""Make the tutorial's pictures: ``python Testing/tools/make_screenshots.py [MODEL_FOLDER]``.

The module runs in the stand-in for Slicer, on the synthetic abdomen, with the trained model; the
pictures go to Resources/Screenshots, one for each step. They are not pictures of a patient.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AttentionUNetSegment"), str(ROOT / "Testing" / "support")]
SCREENSHOTS = ROOT / "Resources" / "Screenshots"
COLORS = 256
"""A palette takes half of the space, and the eye hardly sees the difference."""


def main(model: str | None = None) -> None:
    """Go through the tutorial and take a picture after each step."""
    import panel_driver
    import SlicerStandIn

    panel_driver.start_module()
    import slicer.util
    from tutorial import Tutorial

    window = SlicerStandIn.showMainWindow()
    slicer.util.selectModule("AttentionUNetSegment")
    driver = panel_driver.Driver(slicer.modules.attentionunetsegment.widgetRepresentation())
    if model:
        driver.parameters.model = model
    tutorial = Tutorial(driver)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for number, step in enumerate(Tutorial.STEPS, start=1):
        if step == "export":
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)  # so that the picture shows no path of this computer
                tutorial.export(Path("pancreas.nii.gz"))
                os.chdir(ROOT)
        else:
            getattr(tutorial, step)()
        take(window, SCREENSHOTS / f"tutorial-{number}-{step}.png")


def take(window: object, path: Path) -> None:
    """A picture of the window, with few enough colours to be small."""
    from PIL import Image
    from SlicerStandIn import driving

    driving.grab(window, path)
    with Image.open(path) as image:
        image.convert("RGB").quantize(COLORS, dither=Image.Dither.FLOYDSTEINBERG).save(
            path, optimize=True
        )
    print(path.relative_to(ROOT), f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
