"""The segments as a DICOM Segmentation that refers to the slices they were drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import __version__
from ...errors import InputError
from ...geometry.grid import Grid, transform_points
from ...geometry.itk import LPS_TO_RAS
from ..requirements import extra_needed

if TYPE_CHECKING:
    import pydicom

    from ...inference.prediction import Prediction
    from ...models import Label

_MAKER = "AttentionUNetSegment"
_LONGEST_DESCRIPTION = 1024  # as the standard has it
_MUST_BE_THERE = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
                  "SOPClassUID", "SOPInstanceUID")  # fmt: skip
_MAY_BE_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber",
                 "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName")  # fmt: skip


def write_dicom_seg(
    prediction: Prediction, label: Label, dicom_files: Sequence[str], path: Path
) -> None:
    """Write a binary DICOM Segmentation, with a segment for each target.

    Patient, study and frame of reference are those of the source, as the standard has it: the file
    is as identifying as the source is. Its UIDs follow from the source, the model and the mask, so
    that only the time at which it was made differs from run to run.

    Args:
        prediction: on the series.
        label: what was segmented, with its codes; the first of the targets.
        dicom_files: of the series, in the order of the prediction's slices.
        path: file to write.

    Raises:
        InputError: the source lacks what a DICOM Segmentation must refer to.
        OSError: the file cannot be written.
    """
    with extra_needed("batch"):
        import highdicom as hd
        import pydicom
        from highdicom.color import CIELabColor
        from pydicom.sr.coding import Code

    sources = [_source(pydicom.dcmread(file, stop_before_pixels=True)) for file in dicom_files]
    for name in _MUST_BE_THERE:
        if not all(source.get(name) for source in sources):
            raise InputError(
                f"No DICOM Segmentation can refer to this series, of which a file has no {name}; "
                "choose another format."
            )
    labels = [label, *(one.label for one in prediction.others if one.label is not None)]
    masks = [np.ascontiguousarray(one.mask != 0, dtype=np.uint8) for one in prediction.targets]
    if "NumberOfFrames" in sources[0]:
        grid = prediction.volume.grid
        masks = [_in_order_of_frames(mask, sources[0], grid) for mask in masks]
    mask = masks[0] if len(masks) == 1 else np.stack(masks, axis=-1)

    def uid(kind: str) -> str:
        made_of = [kind, sources[0].SOPInstanceUID, prediction.model_name, prediction.model_version]
        return pydicom.uid.generate_uid(entropy_srcs=[*made_of, np.packbits(mask).tobytes().hex()])

    def code(parts: Sequence[str]) -> Any:
        scheme, value, meaning = parts
        return Code(value, scheme, meaning)

    algorithm = hd.AlgorithmIdentificationSequence(
        name=prediction.model_name,
        family=Code("123110", "DCM", "Artificial Intelligence"),
        version=prediction.model_version,
        parameters=algorithm_notes(prediction) or None,
    )
    segments = []
    for number, one in enumerate(labels, start=1):
        if one.terminology is None:
            raise InputError(
                f"The model's card has no codes for '{one.name}', which a DICOM Segmentation needs."
            )
        segment = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=one.name[:1].upper() + one.name[1:],  # as Slicer's own file has it
            segmented_property_category=code(one.terminology.category),
            segmented_property_type=code(one.terminology.type),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=uid("tracking" if number == 1 else f"tracking {number}"),
            tracking_id=one.name,
            display_color=None if one.color is None else CIELabColor.from_rgb(*one.color),
        )
        if prediction.targets[number - 1].warnings:
            said = " ".join(prediction.targets[number - 1].warnings)
            segment.SegmentDescription = said[:_LONGEST_DESCRIPTION]
        segments.append(segment)
    names = ", ".join(one.name for one in labels)
    slices_mm = _between_slices(prediction.volume.ijk_to_ras)
    for source in sources:
        for measures in _pixel_measures(source):
            # A CT need not have these, and a reader of some of its slices wants them.
            measures.SliceThickness = measures.get("SliceThickness") or slices_mm
            measures.SpacingBetweenSlices = slices_mm
    try:
        dataset = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=mask,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=uid("series"),
            series_number=900,
            sop_instance_uid=uid("instance"),
            instance_number=1,
            manufacturer=_MAKER,
            manufacturer_model_name=prediction.model_name,
            software_versions=__version__,
            device_serial_number="none",
            content_label="SEGMENTATION",
            content_description=f"{names}; research use only"[:64],
            series_description=f"{names} by {_MAKER}"[:64],
            omit_empty_frames=any(one.found for one in prediction.targets),
        )
    except (AttributeError, ValueError) as error:
        raise InputError(
            f"No DICOM Segmentation can refer to this series ({error}); choose another format."
        ) from error
    for sequence in (dataset.DimensionOrganizationSequence, dataset.DimensionIndexSequence):
        for item in sequence:  # which come with a UID by chance
            item.DimensionOrganizationUID = uid("dimensions")
    dataset.save_as(path)


def algorithm_notes(prediction: Prediction) -> dict[str, str]:
    """What the result says of itself, as parameters of the algorithm: without commas and equals
    signs, which separate them."""
    notes = {}
    if prediction.dice_estimate is not None:
        notes["Estimated Dice"] = str(prediction.dice_estimate)
    if prediction.doubtful_places:
        r, a, s = prediction.doubtful_places[0].position_ras
        notes["Most doubtful place"] = f"{r:.1f} {a:.1f} {s:.1f} mm in RAS"
    return notes


def _source(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """As the writer needs it: its texts in one character set, which all of them have a place in,
    and the patient's elements there, if empty, which they may be. A date that is none, such as the
    year alone that an anonymiser leaves, is empty too."""
    from pydicom.valuerep import DA, TM

    dataset.decode()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for name in _MAY_BE_EMPTY:
        kind = DA if name.endswith("Date") else TM if name.endswith("Time") else str
        try:
            kind(str(dataset.get(name) or ""))
        except ValueError:
            dataset[name].value = ""
        if name not in dataset:
            setattr(dataset, name, "")
    return dataset


def _pixel_measures(source: pydicom.Dataset) -> list[pydicom.Dataset]:
    """What says how large a voxel is: the file itself, or the groups of a multi-frame one."""
    if "NumberOfFrames" not in source:
        return [source]
    groups = [
        *source.SharedFunctionalGroupsSequence,
        *source.PerFrameFunctionalGroupsSequence,
    ]
    return [one for group in groups for one in group.get("PixelMeasuresSequence", ())]


def _in_order_of_frames(mask: np.ndarray, source: pydicom.Dataset, grid: Grid) -> np.ndarray:
    """The planes of a mask (k, j, i) in the order of the frames that lie there, by their places."""
    planes = []
    for group in source.PerFrameFunctionalGroupsSequence:
        position_lps = [*map(float, group.PlanePositionSequence[0].ImagePositionPatient)]
        position_ras = transform_points(LPS_TO_RAS, position_lps)
        planes.append(round(float(grid.index_of(position_ras)[2])))
    if sorted(planes) != list(range(len(mask))):
        raise InputError("The frames of this series are not the planes of its volume.")
    return mask[planes]


def _between_slices(ijk_to_ras: np.ndarray) -> float:
    """Distance of neighbouring slices along their normal, mm: less than a step where tilted."""
    normal = np.cross(ijk_to_ras[:3, 0], ijk_to_ras[:3, 1])
    return float(abs(ijk_to_ras[:3, 2] @ normal) / np.linalg.norm(normal))
