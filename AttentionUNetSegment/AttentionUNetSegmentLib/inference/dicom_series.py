"""One CT series out of a DICOM folder.

GDCM (through SimpleITK) decodes the files. Which files make the volume, their order and their place
are decided here from each file's own position and orientation, so that a tilted gantry, missing
slices and several series in a folder are seen instead of being read as something else.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .captured_stderr import captured_stderr
from .dicom_lengths import lengths_fit
from .volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .reading import WarningCallback

_MOST_FILES = 20_000
_FEW_SLICES = 8  # at most as many, beside a series of four times as many: a scout, not the scan
_EVEN = 0.01  # slices are evenly spaced if none is off its place by more of a step
_GAP = 1.5  # a distance this many times the usual one is where slices are missing
_MULTI_FRAME_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")


@dataclass(frozen=True, eq=False)
class _Image:
    """What is needed from the header of one file."""

    path: str
    instance: str
    series: str
    series_number: str
    acquisition: str
    sop_class: str
    modality: str
    is_localizer: bool
    size: tuple[int, ...]
    components: int
    spacing_mm: tuple[float, float] | None
    axes: np.ndarray | None  # 2x3: directions of a row (i) and of a column (j), LPS
    position: np.ndarray | None  # of the first voxel, LPS mm
    rescale: tuple[str, str]

    @property
    def frames(self) -> int:
        return self.size[2] if len(self.size) > 2 else 1

    @property
    def is_placed(self) -> bool:
        return not (self.spacing_mm is None or self.axes is None or self.position is None)


@dataclass(frozen=True, eq=False)
class _Series:
    """Images that lie on one another: same size, spacing and orientation, in spatial order."""

    images: tuple[_Image, ...]

    @property
    def first(self) -> _Image:
        return self.images[0]

    @property
    def slices(self) -> int:
        return sum(image.frames for image in self.images)

    @property
    def text(self) -> str:
        number = self.first.series_number or "without a number"
        return f"series {number} ({self.slices} slices)"

    @property
    def text_with_file(self) -> str:
        """For a choice between series. The name of a file may name a patient."""
        return f"{self.text[:-1]}, such as '{Path(self.first.path).name}')"


@dataclass(frozen=True)
class FoundSeries:
    """A series in a tree of DICOM files.

    Args:
        files: of its slices, in spatial order.
        reason: why it cannot be segmented; empty where it can.
        uid: of the series.
    """

    files: tuple[str, ...]
    reason: str = ""
    uid: str = ""


def read_dicom_folder(folder: Path, on_warning: WarningCallback) -> Volume:
    """The one CT volume in a folder and those below it.

    Raises:
        InputError: there is none, or there are several (they are listed), or slices are missing.
    """
    name = folder.name or folder.resolve().name
    return _read(_series_of_folder(folder, name, on_warning), name, on_warning)


def _series_of_folder(folder: Path, name: str, on_warning: WarningCallback) -> _Series:
    images, unreadable = _headers(_files(folder, name))
    if not images:
        raise InputError(_no_images(folder, name, unreadable))
    series, aside = _ct_series(images, name)
    largest = max(one.slices for one in series)
    few = [one for one in series if one.slices <= _FEW_SLICES and 4 * one.slices <= largest]
    aside += sum(len(one.images) for one in few)
    series = [one for one in series if one not in few]
    if len(series) > 1:
        listed = "; ".join(one.text_with_file for one in series[:8])
        listed += "; ..." if len(series) > 8 else ""
        raise InputError(
            f"The folder '{name}' holds {len(series)} CT volumes: {listed}. Choose one by giving "
            "any file of it, or a folder with that one only."
        )
    if aside:
        on_warning(
            f"{_images(aside)} in '{name}' not of the CT volume (localizers, copies, other series "
            f"or modalities) set aside; {series[0].text} is used."
        )
    if unreadable:
        on_warning(_left_out(unreadable, name))
    return series[0]


def read_dicom_file(path: Path, on_warning: WarningCallback) -> Volume:
    """The CT volume that a DICOM file is of, with the other files in its folder.

    Raises:
        InputError: as :func:`read_dicom_folder`.
    """
    return _read(_series_of_file(path, on_warning), path.name, on_warning)


def _series_of_file(path: Path, on_warning: WarningCallback) -> _Series:
    name = path.name
    chosen, _ = _headers([str(path)])
    if not chosen:
        raise InputError(f"'{name}' is not a DICOM image, or it is damaged.")
    images, unreadable = chosen, 0
    if chosen[0].frames == 1:
        beside = (str(one) for one in sorted(path.parent.iterdir()) if one.is_file())
        images, unreadable = _headers(_candidates(beside, path.parent.name))
        images = [image for image in images if image.series == chosen[0].series]
    series, _ = _ct_series(images, name)
    if unreadable:  # one of them may have been a slice
        on_warning(_left_out(unreadable, path.parent.name))
    for one in series:
        if any(os.path.samefile(image.path, path) for image in one.images):
            return one
    # Left out as a localizer, or as a copy of another file of the same image.
    if len(series) == 1 and any(i.instance == chosen[0].instance for i in series[0].images):
        return series[0]
    raise InputError(f"'{name}' is not part of a CT volume: it is a single image or a localizer.")


def dicom_files(path: Path) -> tuple[str, ...]:
    """The files of the CT volume that is read from a DICOM folder or file, in spatial order.

    Raises:
        InputError: as :func:`read_dicom_folder`.
    """

    def told_when_read(text: str) -> None:
        pass

    if path.is_dir():
        series = _series_of_folder(path, path.name or path.resolve().name, told_when_read)
    else:
        series = _series_of_file(path, told_when_read)
    return tuple(image.path for image in series.images)


def find_dicom_series(paths: Iterable[str]) -> list[FoundSeries]:
    """The axial CT volumes among any number of DICOM files, and the series that are none.

    Args:
        paths: of files; those that do not look like DICOM are passed over.
    """
    images, unreadable = _headers(_candidates(iter(paths), "", most=None))
    by_series: dict[str, list[_Image]] = {}
    for image in images:
        by_series.setdefault(image.series, []).append(image)
    found = [one for series in by_series.values() for one in _found(series)]
    if unreadable:
        found.append(FoundSeries((), _left_out(unreadable)))
    return found


def read_dicom_files(paths: Sequence[str], name: str, on_warning: WarningCallback) -> Volume:
    """The CT volume that all these files make up.

    Args:
        paths: of the slices, as :func:`find_dicom_series` gives them.
        name: what to call it in messages.

    Raises:
        InputError: as :func:`read_dicom_folder`.
    """
    images, unreadable = _headers(paths)
    if unreadable or not images:
        raise InputError(f"{_images(unreadable)} of '{name}' cannot be read.")
    series, _ = _ct_series(images, name)
    if len(series) > 1:
        raise InputError(f"'{name}' holds {len(series)} CT volumes.")
    return _read(series[0], name, on_warning)


def _found(images: Sequence[_Image]) -> Iterator[FoundSeries]:
    """The volumes of one series, or why it has none."""
    number = images[0].series_number or "without a number"
    try:
        volumes, _ = _ct_series(images, f"series {number}")
    except InputError as error:
        yield FoundSeries(tuple(sorted(image.path for image in images)), str(error))
        return
    for volume in volumes:
        files = tuple(image.path for image in volume.images)
        yield FoundSeries(files, _not_axial(volume.first, number), images[0].series)


def _not_axial(image: _Image, number: str) -> str:
    """Why a series is not axial; nothing where it is, or where nobody can tell."""
    if image.axes is None:  # a multi-frame file tells it frame by frame; reading finds out
        return ""
    normal = np.abs(np.cross(*image.axes))
    plane = ("sagittal", "coronal", "axial")[int(np.argmax(normal))]
    if plane == "axial":
        return ""
    return f"The slices of series {number} are {plane}; only axial CT is segmented."


def _files(folder: Path, name: str) -> Iterator[str]:
    def every_file() -> Iterator[str]:
        for parent, folders, files in os.walk(folder):
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            yield from (os.path.join(parent, file) for file in sorted(files))

    return _candidates(every_file(), name)


def _candidates(paths: Iterator[str], name: str, most: int | None = _MOST_FILES) -> Iterator[str]:
    """Those of the files that look like DICOM."""
    for count, path in enumerate(paths):
        if most is not None and count >= most:
            raise InputError(
                f"There are more than {most} files in '{name}'; give the folder of one series."
            )
        base = os.path.basename(path)
        if base.startswith(".") or base.upper() == "DICOMDIR" or not os.path.isfile(path):
            continue
        with open(path, "rb") as stream:
            start = stream.read(132)
        if start[128:] == b"DICM" or (start and base.lower().endswith((".dcm", ".ima"))):
            yield path


def _headers(paths: Iterator[str] | Sequence[str]) -> tuple[list[_Image], int]:
    """The headers of those files that hold an image, and the number of the others."""
    import SimpleITK as sitk

    images, unreadable = [], 0
    with captured_stderr():
        for path in paths:
            if not lengths_fit(path):
                unreadable += 1
                continue
            reader = sitk.ImageFileReader()
            reader.SetImageIO("GDCMImageIO")
            reader.SetFileName(path)
            try:
                reader.ReadImageInformation()
            except RuntimeError:  # a report, a plan, a damaged file
                unreadable += 1
                continue
            images.append(_image(path, reader))
    return images, unreadable


def _image(path: str, reader: sitk.ImageFileReader) -> _Image:
    def tag(key: str) -> str:
        return reader.GetMetaData(key).strip(" \0") if reader.HasMetaDataKey(key) else ""

    axes = _numbers(tag("0020|0037"), 6)
    spacing = _numbers(tag("0028|0030"), 2)
    return _Image(
        path=path,
        instance=tag("0008|0018"),
        series=tag("0020|000e"),
        series_number=tag("0020|0011"),
        acquisition=tag("0020|0012"),
        sop_class=tag("0008|0016"),
        modality=tag("0008|0060").upper(),
        is_localizer="LOCALIZER" in tag("0008|0008").upper(),
        size=tuple(reader.GetSize()),
        components=reader.GetNumberOfComponents(),
        # DICOM gives the distance between rows (along j) first.
        spacing_mm=(spacing[1], spacing[0]) if spacing is not None else None,
        axes=axes.reshape(2, 3) if axes is not None else None,
        position=_numbers(tag("0020|0032"), 3),
        rescale=(tag("0028|1053"), tag("0028|1052")),
    )


def _numbers(text: str, count: int) -> np.ndarray | None:
    try:
        values = np.array([float(part) for part in text.split("\\")])
    except ValueError:
        return None
    # Millimetres and directions; False for NaN.
    return values if values.shape == (count,) and (np.abs(values) < 1e9).all() else None


def _ct_series(images: Sequence[_Image], name: str) -> tuple[list[_Series], int]:
    """The CT volumes among the images, and how many images are of none.

    Raises:
        InputError: there is no volume.
    """
    modalities = Counter(image.modality or "unknown" for image in images)
    # A de-identified file may have lost its modality; what it holds is checked afterwards.
    ct = [image for image in images if image.modality in ("CT", "")]
    if not ct:
        kinds = ", ".join(f"{_images(count)} of {kind}" for kind, count in modalities.items())
        raise InputError(f"'{name}' holds no CT: it has {kinds}.")

    series: list[_Series] = []
    stacks: list[list[_Image]] = []
    instances: set[str] = set()
    for image in ct:
        if image.is_localizer or image.components != 1 or image.instance in instances:
            continue
        if image.instance:
            instances.add(image.instance)  # the same image in two files counts once
        if image.frames > 1:
            if image.sop_class in _MULTI_FRAME_CT:
                series.append(_Series((image,)))
        elif image.is_placed:
            stack = next((stack for stack in stacks if _same_stack(stack[0], image)), None)
            if stack is None:
                stacks.append([image])
            else:
                stack.append(image)
    for stack in stacks:
        series.extend(_phases(stack))
    series = [one for one in series if one.slices > 1]
    if not series:
        raise InputError(
            f"'{name}' holds no CT volume: {_images(len(ct))} of CT, but no two of them are "
            "parallel slices with a position, an orientation and a pixel spacing."
        )
    return series, len(images) - sum(len(one.images) for one in series)


def _same_stack(one: _Image, other: _Image) -> bool:
    if one.axes is None or other.axes is None:
        return False
    return (
        one.series == other.series
        and one.size == other.size
        and np.allclose(one.axes, other.axes, atol=1e-3)
        and np.allclose(one.spacing_mm or (), other.spacing_mm or (), rtol=1e-3)
    )


def _phases(stack: Sequence[_Image]) -> list[_Series]:
    """A stack in spatial order; its acquisitions apart if two images are at one place."""
    whole = _sorted(stack)
    if not _overlaps(whole):
        return [whole]
    acquisitions: dict[str, list[_Image]] = {}
    for image in stack:
        acquisitions.setdefault(image.acquisition, []).append(image)
    parts = [_sorted(images) for images in acquisitions.values()]
    return parts if len(parts) > 1 and not any(map(_overlaps, parts)) else [whole]


def _sorted(stack: Sequence[_Image]) -> _Series:
    heights = _heights(stack)
    return _Series(tuple(stack[index] for index in np.argsort(heights, kind="stable")))


def _overlaps(series: _Series) -> bool:
    return bool((np.diff(_heights(series.images)) < 0.01).any())


def _heights(images: Sequence[_Image]) -> np.ndarray:
    """Position of each slice along the normal of the first, mm."""
    axes = images[0].axes
    assert axes is not None
    return _positions(images) @ np.cross(axes[0], axes[1])


def _positions(images: Sequence[_Image]) -> np.ndarray:
    return np.array([image.position for image in images], dtype=np.float64)


def _read(series: _Series, name: str, on_warning: WarningCallback) -> Volume:
    """Decode the files of a series.

    Raises:
        InputError: a slice is missing, at a place with another or off the row; or cannot be
            decoded.
    """
    from .reading import volume_from_image, volume_from_lps

    if series.first.frames > 1:
        return _read_frames(series.first, name, on_warning)
    ijk_to_lps = _place(series, name, on_warning)
    volume = volume_from_image(_decode(series, name), name)
    # ITK stacks images of a single row along j.
    columns, rows = series.first.size[:2]
    return volume_from_lps(volume.array.reshape(series.slices, rows, columns), ijk_to_lps)


def _read_frames(image: _Image, name: str, on_warning: WarningCallback) -> Volume:
    """A multi-frame file, each frame placed as a slice of its own: GDCM takes the frames for evenly
    spaced and in order, and where they are not it makes something up.

    Raises:
        InputError: as :func:`_read`.
    """
    from .dicom_frames import read_frames
    from .reading import volume_from_image, volume_from_lps

    frames = [
        replace(
            image,
            size=image.size[:2],
            position=frame.position,
            axes=frame.axes,
            spacing_mm=frame.spacing_mm,
        )
        for frame in read_frames(image.path, image.frames, name)
    ]
    if not all(_same_stack(frames[0], frame) for frame in frames):
        raise InputError(f"The frames of '{name}' are not parallel slices of one spacing.")
    order = np.argsort(_heights(frames), kind="stable")
    ijk_to_lps = _place(_Series(tuple(frames[index] for index in order)), name, on_warning)
    volume = volume_from_image(_decode(_Series((image,)), name), name)
    columns, rows = image.size[:2]
    return volume_from_lps(volume.array.reshape(-1, rows, columns)[order], ijk_to_lps)


def _place(series: _Series, name: str, on_warning: WarningCallback) -> np.ndarray:
    """The 4x4 matrix from indices to LPS, from the positions of all slices."""
    first = series.first
    assert first.axes is not None
    assert first.spacing_mm is not None
    if _overlaps(series):
        raise InputError(
            f"In '{name}', {series.text} has several images at the same place (phases of contrast "
            "or time, or copies); put the images of one phase into a folder of their own."
        )
    heights = _heights(series.images)
    distances = np.diff(heights)
    usual = float(np.median(distances))
    gap = int(np.argmax(distances))
    if distances[gap] > _GAP * usual:
        raise InputError(
            f"In '{name}', {series.text} lacks slices or is unevenly spaced: slices {gap + 1} and "
            f"{gap + 2} are {distances[gap]:.2f} mm apart, the others {usual:.2f} mm."
        )
    positions = _positions(series.images)
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    off_place = np.linalg.norm(
        positions - positions[0] - np.arange(len(positions))[:, None] * step, axis=1
    ).max()
    if off_place > _EVEN * np.linalg.norm(step):
        if off_place > usual / 2:
            raise InputError(
                f"In '{name}', {series.text} does not lie on a grid: a slice is "
                f"{off_place:.2f} mm off its place in an even row."
            )
        on_warning(
            f"The slices of '{name}' are unevenly spaced, {distances.min():.2f} to "
            f"{distances.max():.2f} mm; they are taken as even, which moves one by "
            f"{off_place:.2f} mm."
        )
    along = np.cross(first.axes[0], first.axes[1])
    tilt = np.degrees(np.arccos(np.clip(step @ along / np.linalg.norm(step), -1, 1)))
    if tilt > 1:
        on_warning(
            f"The slices of '{name}' are tilted by {tilt:.1f} degrees against their stack (gantry "
            "tilt); the volume keeps that shear, so that everything stays in its true place."
        )
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, 0] = first.axes[0] * first.spacing_mm[0]
    ijk_to_lps[:3, 1] = first.axes[1] * first.spacing_mm[1]
    ijk_to_lps[:3, 2] = step
    ijk_to_lps[:3, 3] = positions[0]
    return ijk_to_lps


def _decode(series: _Series, name: str) -> sitk.Image:
    import SimpleITK as sitk

    from .reading import check_room, describe_failure

    columns, rows = series.first.size[:2]
    check_room((columns, rows, series.slices), [Path(one.path) for one in series.images], name)
    reader: sitk.ImageFileReader | sitk.ImageSeriesReader
    if len(series.images) == 1:
        reader = sitk.ImageFileReader()
        reader.SetFileName(series.first.path)
    else:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames([image.path for image in series.images])
    reader.SetImageIO("GDCMImageIO")
    # The first file's rescaled type would cut off what the others need.
    if len({image.rescale for image in series.images}) > 1:
        reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        with captured_stderr():
            return reader.Execute()
    except RuntimeError as error:
        raise InputError(describe_failure(name, "DICOM", str(error))) from error
    except MemoryError as error:
        raise InputError(f"'{name}' is too large for this computer's memory.") from error


def _no_images(folder: Path, name: str, unreadable: int) -> str:
    if unreadable:
        return f"No DICOM file in '{name}' ({unreadable} in all) holds an image that can be read."
    others = sorted(
        file.name
        for file in folder.iterdir()
        if file.name.lower().endswith((".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"))
    )
    if others:
        return f"The folder '{name}' holds no DICOM images; give the file itself, as '{others[0]}'."
    return f"The folder '{name}' holds no DICOM images."


def _left_out(unreadable: int, name: str = "") -> str:
    files = "1 DICOM file" if unreadable == 1 else f"{unreadable} DICOM files"
    verb = "holds" if unreadable == 1 else "hold"
    where = f" in '{name}'" if name else ""
    return f"{files}{where} {verb} no readable image; left out."


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
