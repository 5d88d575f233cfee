"""``segment``: the whole job in one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..models import DEFAULT_MODEL, find_model
from .images import GivenImage, load_image
from .predicted import ImagePrediction

if TYPE_CHECKING:
    from ..inference.predictor_cache import PredictorCache
    from ..inference.progress import ProgressCallback
    from ..inference.strokes import Prompt


def segment(
    image: Any,
    *,
    spacing: Sequence[float] | None = None,
    affine: np.ndarray | None = None,
    orientation: str | None = None,
    clicks: Sequence[Prompt | tuple[Sequence[float], bool]] = (),
    start: np.ndarray | str | Path | None = None,
    structure: str | None = None,
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    precision: str = "auto",
    tile_voxels: int | None = None,
    check_orientation: bool = True,
    progress: ProgressCallback | None = None,
) -> ImagePrediction:
    """Segment an organ in a CT.

    The model is loaded in the first call and kept for the next ones.

    Args:
        image: the path of a NIfTI, NRRD or MetaImage file or of a DICOM folder; a SimpleITK image;
            a nibabel image; or a NumPy array in Hounsfield units, with its affine or its spacing.
        spacing: of an array: mm along each of its axes, in their order. Its axes are taken for
            those of an axial stack, as SimpleITK's GetArrayFromImage gives it, unless orientation
            says otherwise; a warning says so.
        affine: of an array: 4x4, from its indices, in the order of its axes, to RAS mm, as nibabel
            has it.
        orientation: with spacing: the direction in the patient in which each axis of the array
            grows, a letter an axis, of R, L, A, P, S, I: "SPL" for slices from feet to head, rows
            to the back, columns to the left.
        clicks: points inside and outside the organ, in the order in which they were placed: Click,
            or (position in R, A, S mm, True for inside); and Scribble and Lasso among them.
        start: a mask to begin from, another program's or your own: an array with the axes of what
            was given, or the path of a label map on the scan's grid. Clicks mend it, and all else
            of it stays as it is; there is no automatic result then.
        structure: experimental: what the clicks are about in the place of what the model is for,
            by any name. One of the card's labels is looked for; of anything else, one click at
            least is inside it, or the start mask shows it.
        model: name of an installed model, or the path of a model's folder.
        device: "auto", "cuda", "mps" or "cpu".
        precision: "auto", "float32" or "bfloat16".
        tile_voxels: the most voxels that go through a network at once.
        check_orientation: compare an array or image with the way that it is said to lie: whether
            the body runs on beyond the ends that are said to be feet and head, bones lie at the
            back and lungs at the top. False for a scan that the check is wrong about. What is left
            and what is right is not seen.
        progress: called with the share that is done and a text.

    Returns:
        The result, with arrays in the order of the axes of what was given.

    Raises:
        InputError: the image cannot be used, or lies otherwise than is said, or the model takes no
            structure.
        ModelError: the model cannot be used.
        DeviceError: the device is not there.
    """
    given = load_image(image, spacing, affine, orientation, check_orientation)
    from ..inference.predictor_cache import PredictorOptions

    options = PredictorOptions(find_model(model), device, precision, tile_voxels)
    with _cache().predictor(options) as predictor:
        prediction = predictor.predict(
            given.volume,
            _clicks(clicks),
            progress,
            start=_start_mask(start, given),
            structure=structure,
        )
        return ImagePrediction(given, prediction, predictor.model)


def _start_mask(start: np.ndarray | str | Path | None, given: GivenImage) -> np.ndarray | None:
    from ..io.label_maps import choose_label, read_mask

    if start is None:
        return None
    if isinstance(start, (str, Path)):
        return read_mask(Path(start), given.volume)
    if not isinstance(start, np.ndarray):
        raise InputError(
            f"A {type(start).__name__} is no mask to begin from; give an array with the axes of "
            "the scan, or the path of a label map."
        )
    # Transposing between the two orders of the axes is its own inverse.
    return choose_label(given.as_given(start) if start.ndim == 3 else start, "start")


@cache
def _cache() -> PredictorCache:
    from ..inference.predictor_cache import PredictorCache

    return PredictorCache()


def _clicks(clicks: Sequence[Prompt | tuple[Sequence[float], bool]]) -> list[Prompt]:
    from ..inference.clicks import Click
    from ..inference.strokes import Lasso, Scribble

    made: list[Prompt] = []
    for click in clicks:
        if isinstance(click, (Click, Scribble, Lasso)):
            made.append(click)
            continue
        try:
            position, inside = click
            r, a, s = (float(value) for value in position)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"'{click}' is no click: give (position in R, A, S mm, True for inside), for "
                "example ((12.5, -30, 104), True)."
            ) from error
        if not isinstance(inside, (bool, np.bool_)):
            raise InputError("A click's second part is True for inside and False for outside.")
        made.append(Click((r, a, s), bool(inside)))
    return made
