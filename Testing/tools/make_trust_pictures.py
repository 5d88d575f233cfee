"""Make the pictures of good and bad results for ``Resources/Documentation/trust.md``.

    python Testing/tools/make_trust_pictures.py DATA FOLDER

``DATA`` is the folder of real CT that ``btcv/train`` lies in. Draws what ``segment`` draws of the
three validation scans as they are (``trust-good.png``), and of the same scans spoilt
(``trust-bad.png``), small, one below the other, with 256 colours.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from AttentionUNetSegmentLib.app.overlay import render_overlay
from AttentionUNetSegmentLib.datasets.loading import PANCREAS, LabelledCase
from AttentionUNetSegmentLib.evaluation.metrics import dice
from AttentionUNetSegmentLib.evaluation.spoiling import spoilings
from AttentionUNetSegmentLib.inference import Predictor, read_volume
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, find_model, load_model
from PIL import Image

VALIDATION = ("case0010", "case0027", "case0031")
BAD = (
    ("case0027", "left and right exchanged"),
    ("case0031", "front and back exchanged"),
    ("case0010", "below the organ's middle"),
)
WIDTH_PX = 1000


def main(data: Path, folder: Path) -> None:
    """Segment, draw, and put three pictures into one."""
    predictor = Predictor(load_model(find_model(DEFAULT_MODEL)))
    for name, wanted in (
        ("trust-good.png", [(case, "") for case in VALIDATION]),
        ("trust-bad.png", BAD),
    ):
        pages = [draw(predictor, read_case(data, case), change) for case, change in wanted]
        whole = Image.new("RGB", (WIDTH_PX, sum(page.height for page in pages)))
        top = 0
        for page in pages:
            whole.paste(page, (0, top))
            top += page.height
        whole.quantize(256).save(folder / name, optimize=True)


def read_case(data: Path, name: str) -> LabelledCase:
    """A scan of BTCV with its labels."""
    ct, labels = (
        read_volume(data / "btcv" / "train" / f"{name}_{what}.nii.gz") for what in ("ct", "organs")
    )
    return LabelledCase(name, ct, labels, "scan", True)


def draw(predictor: Predictor, case: LabelledCase, change: str) -> Image.Image:
    """The picture of a case after a change, small."""
    if change:
        case = spoilings(case)[change](case, PANCREAS)
    prediction = predictor.predict(case.ct)
    truth = dice(prediction.mask != 0, case.labels.array == PANCREAS)
    title = f"{case.name}{', ' + change if change else ''}: Dice {truth:.2f}"
    print(title, prediction.dice_estimate, *prediction.warnings, sep="\n  ", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "page.png"
        render_overlay(prediction, file, title)
        page = Image.open(file).convert("RGB")
    return page.resize((WIDTH_PX, round(page.height * WIDTH_PX / page.width)), Image.LANCZOS)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: python Testing/tools/make_trust_pictures.py DATA FOLDER")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
