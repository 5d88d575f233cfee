"""A scan moved, stored or cut otherwise, brought in by each route, and how far the result is off.

Each transformation gives a scan of the same patient: in the same place with other voxels, or in
another place. Where the organ of the result should be is then known from the result on the scan as
it was. Distances are taken between surfaces in millimetres, from VTK's marching cubes and VTK's
distance of points to triangles: no code of the product, and no common grid that would round them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from AttentionUNetSegmentLib import scene
from AttentionUNetSegmentLib.geometry.volume import reorder_axes
from AttentionUNetSegmentLib.inference import Predictor, Volume, read_volume
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, Model, Usual, find_model, load_model
from geometry import SCANNER, rotation

AIR_HU = -1024


@dataclass(frozen=True, eq=False)
class Moved:
    """A scan after a transformation.

    Args:
        volume: as a file of it would be.
        move: 4x4, from where the patient was to where he is; in MRML a parent transform does it.
    """

    volume: Volume
    move: np.ndarray = field(default_factory=lambda: np.eye(4))


@dataclass(frozen=True, eq=False)
class Placed:
    """A mask and where its voxels are: ``to_world`` is 4x4, from (i, j, k, 1) to RAS mm."""

    mask: np.ndarray
    to_world: np.ndarray

    @property
    def volume_ml(self) -> float:
        return float(self.mask.sum() * abs(np.linalg.det(self.to_world[:3, :3])) / 1000)


def model_without_estimate() -> Model:
    """The shipped model, which is not to say how good its results are: for that its networks look
    up to five more times, which moves no voxel."""
    model = load_model(find_model(DEFAULT_MODEL))
    card = dataclasses.replace(model.card, dice_estimate=None, usual=Usual())
    return dataclasses.replace(model, card=card)


# Transformations


def moved_by(volume: Volume, move: np.ndarray) -> Moved:
    return Moved(Volume(volume.array, move @ volume.ijk_to_ras), move)


def turned(volume: Volume, axis: int, degrees: float) -> Moved:
    """The patient turned about the middle of the scan, which keeps its voxels."""
    middle = (volume.ijk_to_ras @ (*((np.array(volume.shape_ijk) - 1) / 2), 1.0))[:3]
    move = rotation(axis, degrees)
    move[:3, 3] = middle - move[:3, :3] @ middle
    return moved_by(volume, move)


def resampled(
    volume: Volume, spacing_mm: tuple[float, float, float], directions: np.ndarray | None = None
) -> Moved:
    """The patient where he is, on another grid that holds all of the scan.

    Args:
        directions: 3x3, of the new i, j and k in RAS; those of the scan unless given.
    """
    if directions is None:
        directions = volume.ijk_to_ras[:3, :3] / volume.spacing_mm
    steps = directions * np.array(spacing_mm)
    ends = np.array(np.meshgrid(*[(-0.5, size - 0.5) for size in volume.shape_ijk])).reshape(3, -1)
    corners = volume.ijk_to_ras[:3, :3] @ ends + volume.ijk_to_ras[:3, 3:]
    along = np.linalg.inv(steps) @ corners
    low, high = along.min(axis=1), along.max(axis=1)
    matrix = np.eye(4)
    matrix[:3, :3] = steps
    matrix[:3, 3] = steps @ (low + 0.5)
    reference = image_of(Volume(np.zeros((1, 1, 1), np.int16), matrix))
    resample = sitk.ResampleImageFilter()
    resample.SetReferenceImage(reference)
    resample.SetSize([int(size) for size in np.ceil(high - low - 1e-3)])
    resample.SetDefaultPixelValue(AIR_HU)
    resample.SetInterpolator(sitk.sitkLinear)
    image = resample.Execute(image_of(volume))
    return Moved(Volume(sitk.GetArrayFromImage(image), matrix))


def padded(volume: Volume, before: tuple[int, int, int], after: tuple[int, int, int]) -> Moved:
    """Air around the scan: that many voxels along k, j and i."""
    width = list(zip(before, after, strict=True))
    array = np.pad(volume.array, width, constant_values=AIR_HU)
    shift = np.eye(4)
    shift[:3, 3] = [-count for count in reversed(before)]
    return Moved(Volume(array, volume.ijk_to_ras @ shift))


def cropped(volume: Volume, organ: np.ndarray, margin_mm: tuple[float, float, float]) -> Moved:
    """What lies further from the organ than this along k, j or i is cut away."""
    box = []
    for axis, margin in enumerate(margin_mm):
        hit = np.flatnonzero(organ.any(axis=tuple(other for other in range(3) if other != axis)))
        far = round(margin / volume.spacing_mm[2 - axis])
        box.append(slice(max(hit[0] - far, 0), hit[-1] + far + 1))
    shift = np.eye(4)
    shift[:3, 3] = [part.start for part in reversed(box)]
    return Moved(Volume(volume.array[tuple(box)], volume.ijk_to_ras @ shift))


Transformation = Callable[[Volume, np.ndarray], Moved]
"""From a scan and the organ in it."""


def _scaled(volume: Volume, in_plane: float, across: float) -> tuple[float, float, float]:
    i, j, k = volume.spacing_mm
    return i * in_plane, j * in_plane, k * across


def _shift(r: float, a: float, s: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = r, a, s
    return matrix


def _oblique(volume: Volume) -> np.ndarray:
    turn = rotation(2, 20) @ rotation(0, -15) @ rotation(1, 10)
    return turn[:3, :3] @ (volume.ijk_to_ras[:3, :3] / volume.spacing_mm)


STORED: dict[str, Transformation] = {
    "axes permuted (i, k, j)": lambda v, _: Moved(reorder_axes(v, (1, 0, 2), (False,) * 3)),
    "axes permuted (k, i, j)": lambda v, _: Moved(reorder_axes(v, (1, 2, 0), (False,) * 3)),
    "one axis flipped": lambda v, _: Moved(reorder_axes(v, (0, 1, 2), (False, False, True))),
    "all flipped and permuted": lambda v, _: Moved(reorder_axes(v, (2, 0, 1), (True,) * 3)),
}
"""Other orders of the same voxels in the same place."""

SHIFTED: dict[str, Transformation] = {
    "shifted by whole centimetres": lambda v, _: moved_by(v, _shift(300, -60, 1050)),
    "shifted by any length": lambda v, _: moved_by(v, _shift(312.3, -75.55, 1040.27)),
}
TURNED: dict[str, Transformation] = {
    f"turned {degrees} degrees about {'RAS'[axis]}": (
        lambda v, _, axis=axis, degrees=degrees: turned(v, axis, degrees)
    )
    for degrees in (5, 10, 20)
    for axis in range(3)
}
"""The patient lies otherwise, as under a parent transform: the network sees him tilted."""

REGRIDDED: dict[str, Transformation] = {
    "oblique grid": lambda v, _: resampled(v, v.spacing_mm, _oblique(v)),
    "resampled finer": lambda v, _: resampled(v, _scaled(v, 0.7, 0.7)),
    "resampled coarser in plane": lambda v, _: resampled(v, _scaled(v, 1.5, 1.0)),
    "resampled to 2 mm": lambda v, _: resampled(v, (2.0, 2.0, 2.0)),
}
CUT: dict[str, Transformation] = {
    "padded with air": lambda v, _: padded(v, (9, 31, 17), (14, 5, 40)),
    "cropped 60 mm above and below": lambda v, o: cropped(v, o, (60, 1000, 1000)),
    "cropped 60 mm on all sides": lambda v, o: cropped(v, o, (60, 60, 60)),
}
TRANSFORMATIONS = {**STORED, **SHIFTED, **TURNED, **REGRIDDED, **CUT}


# Routes


def image_of(volume: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array))
    lps = SCANNER @ volume.ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def through_file(moved: Moved, predictor: Predictor, path: Path) -> Placed:
    """Written by SimpleITK in the format that the name says, and read."""
    sitk.WriteImage(image_of(moved.volume), str(path), useCompression=False)
    volume = read_volume(path)
    return Placed(predictor.predict(volume).mask != 0, volume.ijk_to_ras)


def through_nifti(moved: Moved, predictor: Predictor, folder: Path) -> Placed:
    return through_file(moved, predictor, folder / "scan.nii")


def through_nrrd(moved: Moved, predictor: Predictor, folder: Path) -> Placed:
    return through_file(moved, predictor, folder / "scan.nrrd")


def through_dicom(moved: Moved, predictor: Predictor, folder: Path) -> Placed:
    """Written by pydicom, one file a slice, and read."""
    write_series(moved.volume, folder / "series")
    volume = read_volume(folder / "series")
    return Placed(predictor.predict(volume).mask != 0, volume.ijk_to_ras)


def through_mrml(moved: Moved, predictor: Predictor, folder: Path) -> Placed:
    """A node where the patient was, under a parent transform that moves him; the place of the
    result is read from the segmentation node."""
    back = np.linalg.inv(moved.move)
    with scene.headlessScene() as mrml:
        node = scene.addVolumeNode(Volume(moved.volume.array, back @ moved.volume.ijk_to_ras), "CT")
        if not np.array_equal(moved.move, np.eye(4)):
            from scene_helpers import add_transform

            node.SetAndObserveTransformNodeID(add_transform(mrml, moved.move).GetID())
        result = scene.segmentVolumeNode(node, predictor, withVolumes=False)
        return segment_in_world(result)


ROUTES: dict[str, Callable[[Moved, Predictor, Path], Placed]] = {
    "NIfTI": through_nifti,
    "NRRD": through_nrrd,
    "DICOM": through_dicom,
    "MRML": through_mrml,
}


def write_series(volume: Volume, folder: Path) -> None:
    """A CT series of 16 bit, its place in each file as the standard has it (PS3.3, C.7.6.2)."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    lps = SCANNER @ volume.ijk_to_ras
    di, dj, _ = volume.spacing_mm
    study, series = generate_uid(), generate_uid()
    for k, plane in enumerate(volume.array):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = CTImageStorage
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.Modality, image.SeriesNumber, image.InstanceNumber = "CT", 1, k + 1
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.ImagePositionPatient = [f"{at:.8g}" for at in (lps @ (0, 0, k, 1))[:3]]
        cosines = [*(lps[:3, 0] / di), *(lps[:3, 1] / dj)]
        image.ImageOrientationPatient = [f"{value:.10f}" for value in cosines]
        image.PixelSpacing = [f"{dj:.10g}", f"{di:.10g}"]
        image.Rows, image.Columns = plane.shape
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation = 1
        image.RescaleIntercept, image.RescaleSlope = 0, 1
        image.PixelData = np.ascontiguousarray(plane, dtype="<i2").tobytes()
        image.save_as(folder / f"{k:04}.dcm", enforce_file_format=True)


def segment_in_world(result: Any) -> Placed:
    """The segment of a result, as its node holds it under its transforms."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    node = result.segmentationNode
    image = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(result.segmentId, image)
    mask = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    to_local, to_world = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_local)
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetMatrixTransformToWorld(to_world)
    place = np.array([[(m.GetElement(r, c)) for m in (to_world, to_local) for c in range(4)]
                      for r in range(4)])  # fmt: skip
    shift = np.eye(4)
    shift[:3, 3] = image.GetExtent()[::2]
    return Placed(mask != 0, place[:, :4] @ place[:, 4:] @ shift)


# Distances


@dataclass(frozen=True)
class Distance:
    """Between two surfaces, of both to the other, mm."""

    mean_mm: float
    p95_mm: float


def surface_distance(one: Placed, other: Placed) -> Distance:
    """Mean and 95th percentile of the distances of each surface's points to the other surface.

    The percentile is the larger one of the two directions, as in MONAI.
    """
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    distance = vtk.vtkDistancePolyDataFilter()
    distance.SetInputData(0, _surface(one))
    distance.SetInputData(1, _surface(other))
    distance.SignedDistanceOff()
    distance.ComputeCellCenterDistanceOff()
    distance.Update()
    both = [
        vtk_to_numpy(distance.GetOutput(port).GetPointData().GetArray("Distance"))
        for port in range(2)
    ]
    mean = np.concatenate(both).mean()
    return Distance(float(mean), float(max(np.percentile(part, 95) for part in both)))


def _surface(placed: Placed) -> Any:
    """Triangles half-way between the voxels of a mask and their neighbours, in the world."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    mask = np.pad(placed.mask.astype(np.uint8), 1)
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(mask.shape))
    image.GetPointData().SetScalars(numpy_to_vtk(mask.ravel(), deep=True))
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, 0.5)
    contour.ComputeNormalsOff()
    contour.Update()
    surface = contour.GetOutput()
    ijk = vtk_to_numpy(surface.GetPoints().GetData()).astype(float) - 1
    points = ijk @ placed.to_world[:3, :3].T + placed.to_world[:3, 3]
    surface.GetPoints().SetData(numpy_to_vtk(points, deep=True))
    return surface


def brought_back(result: Placed, moved: Moved) -> Placed:
    """Where the result would be had the patient not been moved."""
    return Placed(result.mask, np.linalg.inv(moved.move) @ result.to_world)
