"""Quality checks: the warnings that go with a scan and with a result, all from one place.

>>> check_scan_quality(volume, card)        # before anything is computed; refuses what is no CT
>>> check_result_quality(prediction, card)  # after every answer; milliseconds

What is usual stands in the model's card. An older card, which does not say, is judged by what
holds for any model (:data:`ANY_MODEL`), and one for the pancreas by what holds for a pancreas.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ..models import Usual
from .validation import check_ct

if TYPE_CHECKING:
    from ..geometry.grid import Region
    from ..geometry.volume import Volume
    from ..models import ModelCard
    from .prediction import Prediction

PANCREAS_ML = (20.0, 250.0)
PANCREAS = Usual(volume_ml=PANCREAS_ML, intensity_hu=(0.0, 160.0))
"""Of a pancreas in a CT, whatever the model; with tumours and contrast medium."""
ANY_MODEL = Usual(least_probability=0.8, slice_mm=6.0)
"""Where a card does not say. That of the shipped model says 0.92, which was measured: all abdominal
CTs at hand have a mean probability of 0.93 and more, and most of those turned upside down, mirrored
or buried in noise have less (``Testing/tools/measure_quality_warnings.py``)."""
UNSURE = "The network is unsure"
"""How the sentence begins that tells of a low mean probability."""
SLIGHTLY = 1.02
"""Slices that are only rounded to be thicker than those trained on are none."""
SOFT_TISSUE_HU = (-20.0, 180.0)
"""Muscle and organs, with contrast medium or without."""
BODY_HU = (-300.0, 400.0)
"""Fat, muscle and organs; neither air nor bone."""
LEAST_SOFT_TISSUE = 0.2
"""Share of the body's voxels; 0.3 and more in any real CT at hand, 0.17 and less in one that is
150 HU too dark."""
_SAMPLES_AN_AXIS = 64
_ENDS = (("left", "right"), ("back", "front"), ("feet", "head"))
"""Where R, A and S begin and end in the patient."""


def usual_ranges(card: ModelCard) -> Usual:
    """What the card says, and what holds anyway where it says nothing."""
    known = dataclasses.asdict(ANY_MODEL)
    for usual in (PANCREAS if card.target == "pancreas" else Usual(), card.usual):
        known |= {key: value for key, value in vars(usual).items() if value is not None}
    return Usual(**known)


def check_scan_quality(volume: Volume, card: ModelCard) -> list[str]:
    """What may go less well with a scan than with those that the model is known on.

    Args:
        volume: the whole scan; of a part, too little is seen to tell a CT.
        card: of the model that is to segment it.

    Returns:
        Plain sentences; none for an ordinary CT.

    Raises:
        InputError: as ``check_ct``, the scan cannot be used.
    """
    warnings = check_ct(volume)
    thickest = usual_ranges(card).slice_mm
    apart = max(volume.spacing_mm)
    if thickest is not None and apart > SLIGHTLY * thickest:
        warnings.append(
            f"The slices are {apart:.3g} mm apart, but the model was trained on slices of at most "
            f"{thickest:.3g} mm, so the outline is coarse and small parts may be missed; use a "
            "thinner reconstruction if there is one."
        )
    if _soft_tissue_share(volume.array) < LEAST_SOFT_TISSUE:
        warnings.append(
            "The scan's intensities are not those of a CT: hardly any of the body lies where soft "
            f"tissue does ({SOFT_TISSUE_HU[0]:.0f} to {SOFT_TISSUE_HU[1]:.0f} HU); load the "
            "original DICOM series, or check the outline with care."
        )
    return warnings


def check_result_quality(
    prediction: Prediction, card: ModelCard, interest: Region | None = None
) -> list[str]:
    """Why somebody should look at a result before using it, the gravest reason first.

    Args:
        prediction: on the scan that the network was given.
        card: of the model that made it.
        interest: k, j, i box of the scan that was looked in.

    Returns:
        Plain sentences; none for an ordinary result.
    """
    usual, organ = usual_ranges(card), card.target
    if not prediction.found:
        return [f"No {organ} was found in this scan; if it shows one, click inside it."]
    warnings = []
    if usual.volume_ml is not None and not _within(prediction.volume_ml, usual.volume_ml):
        warnings.append(
            f"The {organ} measures {prediction.volume_ml:.1f} mL, which is outside the usual "
            f"{_range(usual.volume_ml)} mL; check what is missing or too much, and click there."
        )
    if prediction.place == "second candidate":
        warnings.append(
            f"At the first look it was not clear whether the scan shows the {organ}; check that it "
            "is what is outlined."
        )
    if prediction.pieces > 1:
        warnings.append(
            f"The segmentation consists of {prediction.pieces} separate pieces; check them, and "
            f"click outside in those that are no {organ}."
        )
    warnings += check_edges(prediction, interest)
    estimate, estimator = prediction.dice_estimate, card.dice_estimate
    if estimate is not None and estimator is not None and estimate.value < estimator.usual:
        warnings.append(
            f"The outline is probably not good: its estimated Dice is {estimate}, usually "
            f"{estimator.usual:g} or more; check it slice by slice."
        )
    probability = prediction.mean_probability
    least = usual.least_probability
    # The estimate weighs more than the mean probability, and is less often wrong.
    if estimate is None and probability is not None and least is not None and probability < least:
        warnings.append(
            f"{UNSURE}: its mean probability in the {organ} is {probability:.2f}, "
            f"usually {least:g} or more; check the outline slice by slice."
        )
    region = prediction.region
    mean_hu = float(prediction.volume.array[region][prediction.mask[region] != 0].mean())
    if usual.intensity_hu is not None and not _within(mean_hu, usual.intensity_hu):
        warnings.append(
            f"The intensities in the {organ} are not those of a CT: they have a mean of "
            f"{mean_hu:.0f} HU, usually {_range(usual.intensity_hu)} HU; check that the scan is a "
            f"CT in Hounsfield units and that the outline is on the {organ}."
        )
    return warnings


def check_edges(prediction: Prediction, interest: Region | None = None) -> list[str]:
    """Where what was found is cut, in a sentence; none where nowhere.

    Args:
        interest: k, j, i box of the scan that was looked in; the scan itself unless given.
    """
    limits, of = interest, ("region of interest", "region")
    if limits is None:
        k, j, i = (slice(0, size) for size in prediction.mask.shape)
        limits, of = (k, j, i), ("scan", "scan")
    ends = _touched_ends(prediction, limits)
    if not ends:
        return []
    text = (
        f"The {prediction.target} reaches the edge of the {of[0]} ({', '.join(ends)}), so a part "
        f"of it may be missing; use a {of[1]} that shows all of it."
    )
    return [text]


def _within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value <= ends[1]


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g} to {ends[1]:g}"


def _touched_ends(prediction: Prediction, limits: Region) -> list[str]:
    """The patient's sides on which the mask reaches the last voxels of a box of the scan."""
    mask, matrix = prediction.mask[limits], prediction.volume.ijk_to_ras
    ends = []
    for axis in range(3):
        direction = matrix[:3, 2 - axis]
        along = int(np.abs(direction).argmax())
        first, last = _ENDS[along] if direction[along] > 0 else reversed(_ENDS[along])
        if mask.take(0, axis).any():
            ends.append(first)
        if mask.take(-1, axis).any():
            ends.append(last)
    return ends


def _soft_tissue_share(array: np.ndarray) -> float:
    """Of the body's voxels in a sparse sample; 1 where there are none to judge by."""
    sample = array[tuple(slice(None, None, max(1, n // _SAMPLES_AN_AXIS)) for n in array.shape)]
    # The lowest value is what lies outside the field, or what a window cut off.
    body = sample[(sample > max(BODY_HU[0], sample.min())) & (sample < BODY_HU[1])]
    if body.size == 0:
        return 1.0
    return float(((body > SOFT_TISSUE_HU[0]) & (body < SOFT_TISSUE_HU[1])).mean())
