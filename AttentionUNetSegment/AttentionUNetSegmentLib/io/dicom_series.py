"""One CT series out of a DICOM folder.

GDCM (through SimpleITK) decodes the files. Which files make the volume, their order and their place
are decided here from each file's own position and orientation, so that a tilted gantry, missing
slices and several series in a folder are seen instead of being read as something else.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..geometry.volume import Volume
from ..paths import PlainPaths, printable
from ..wording import counted
from .captured_stderr import capture_stderr
from .dicom_frames import read_frames, unit_axes
from .dicom_lengths import FileLayout, file_layout
from .formats import WarningCallback, check_room, describe_failure, is_dicom

if TYPE_CHECKING:
    import SimpleITK as sitk

_MOST_FILES = 20_000
_FEW_SLICES = 8  # at most as many, beside a series of four times as many: a scout, not the scan
_EVEN = 0.01  # slices are evenly spaced if none is off its place by more of a step
_GAP = 1.5  # a distance this many times the usual one is where slices are missing
_SAME_PLACE_MM = 0.01
_WATCHED = 3  # as many images at one place are no slice and its copy, they watch the place
_SHARED = 0.25  # two slabs of a scan may have as much of the shorter one in common
# Ways in which images of one series differ that are not of one volume.
_PATIENT_TAGS = ("0010|0020", "0020|000d", "0020|0052")
_PART_TAGS = ("0020|0012", "0020|0100", "0018|0050", "0008|0008", "0018|1210")
# Those that GDCM decodes.
_SYNTAXES = (
    "",
    *(f"1.2.840.10008.1.2{rest}" for rest in ("", ".1", ".2", ".1.99", ".5")),
    *(f"1.2.840.10008.1.2.4.{rest}" for rest in (50, 51, 57, 70, 80, 81, 90, 91)),
)
_MULTI_FRAME_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")


@dataclass(frozen=True, eq=False)
class _Image:
    """What is needed from the header of one file."""

    path: str
    instance: str
    number: str
    series: str
    patient: tuple[str, ...]  # the study and the frame of reference too
    series_number: str
    parts: tuple[str, ...]  # values of _PART_TAGS
    sop_class: str
    modality: str
    is_localizer: bool
    size: tuple[int, ...]
    components: int
    spacing_mm: tuple[float, float] | None
    axes: np.ndarray | None  # 2x3: directions of a row (i) and of a column (j), LPS
    position: np.ndarray | None  # of the first voxel, LPS mm
    stored: tuple[object, ...]  # rescale slope and intercept, type once they are applied
    high_bit: tuple[str, str]  # as it is, and the number of stored bits
    layout: FileLayout
    negative_spacing: bool = False

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
        return f"{self.text[:-1]}, such as '{printable(Path(self.first.path).name)}')"


@dataclass(frozen=True)
class DicomSeries:
    """A series in a tree of DICOM files.

    Args:
        files: of its slices, in spatial order.
        reason: why it cannot be segmented; empty where it can.
        uid: of the series.
    """

    files: tuple[str, ...]
    reason: str = ""
    uid: str = ""


@dataclass(frozen=True)
class _Unreadable:
    """A file that may have been a slice.

    Args:
        reason: the end of a sentence about a file; empty where it merely holds no image.
    """

    path: str
    reason: str = ""


def read_dicom_folder(
    folder: Path, on_warning: WarningCallback, name: str, with_file_names: bool = True
) -> Volume:
    """The one CT volume in a folder and those below it.

    Args:
        name: what to call it in messages.
        with_file_names: whether messages may hold names of files in it.

    Raises:
        InputError: there is none, or there are several (they are listed), or slices are missing.
    """
    series, unreadable = _series_of_folder(folder, on_warning, name, with_file_names)
    return _read_chosen(series, unreadable, name, on_warning)


def read_dicom_file(path: Path, on_warning: WarningCallback, name: str) -> Volume:
    """The CT volume that a DICOM file is of, with the other files in its folder.

    Args:
        name: what to call it in messages.

    Raises:
        InputError: as :func:`read_dicom_folder`.
    """
    series, unreadable = _series_of_file(path, name)
    return _read_chosen(series, unreadable, name, on_warning)


def dicom_files(path: Path) -> tuple[str, ...]:
    """The files of the CT volume that is read from a DICOM folder or file, in spatial order.

    Raises:
        InputError: as :func:`read_dicom_folder`.
    """

    def ignore_warning(text: str) -> None:
        pass

    name = path.name or path.resolve().name
    if path.is_dir():
        series, _ = _series_of_folder(path, ignore_warning, name, True)
    else:
        series, _ = _series_of_file(path, name)
    return tuple(image.path for image in series.images)


def _read_chosen(
    series: _Series, unreadable: Sequence[_Unreadable], name: str, on_warning: WarningCallback
) -> Volume:
    with _mention_left_out(unreadable, name):
        volume = _read(series, name, on_warning)
    for sentence in _describe_left_out(unreadable, name):  # one of them may have been a slice
        on_warning(sentence)
    return volume


def _series_of_folder(
    folder: Path, on_warning: WarningCallback, name: str, with_file_names: bool
) -> tuple[_Series, list[_Unreadable]]:
    not_searched: list[_Unreadable] = []
    images, unreadable = _headers(_files(folder, name, not_searched))
    unreadable += not_searched
    if not images:
        raise InputError(_no_images(folder, name, unreadable, with_file_names))
    with _mention_left_out(unreadable, name):
        series, aside = _ct_series(images, name)
        if len(series) > 1:
            texts = [one.text_with_file if with_file_names else one.text for one in series[:8]]
            listed = "; ".join(texts) + ("; ..." if len(series) > 8 else "")
            raise InputError(
                f"The folder '{name}' holds {len(series)} CT volumes: {listed}. Choose one by "
                "giving any file of it, or a folder with that one only."
            )
    if aside:
        on_warning(
            f"{_images(aside)} in '{name}' not of the CT volume (localizers, copies, other series "
            f"or modalities) set aside; {series[0].text} is used."
        )
    return series[0], unreadable


def _series_of_file(path: Path, name: str) -> tuple[_Series, list[_Unreadable]]:
    chosen, bad = _headers([str(path)])
    if not chosen:
        reasons = [one.reason for one in bad if one.reason]
        if reasons:
            raise InputError(f"'{name}' {reasons[0]}.")
        raise InputError(f"'{name}' is not a DICOM image, or it is damaged.")
    images = chosen
    unreadable: list[_Unreadable] = []
    if chosen[0].frames == 1:
        beside = (str(one) for one in sorted(path.parent.iterdir()) if one.is_file())
        images, unreadable = _headers(_candidates(beside, path.parent.name))
        series_of = _series_keys(images)
        own = next((series_of[one] for one in images if os.path.samefile(one.path, path)), None)
        images = [image for image in images if series_of[image] == own] or chosen
    with _mention_left_out(unreadable, name):
        series, _ = _ct_series(images, name, keep_few=True)
        one = _volume_of(path, chosen[0], series)
        if one is None:
            raise InputError(
                f"'{name}' is not part of a CT volume: it is a single image or a localizer."
            )
    return one, unreadable


def _volume_of(path: Path, chosen: _Image, series: Sequence[_Series]) -> _Series | None:
    for one in series:
        if any(os.path.samefile(image.path, path) for image in one.images):
            return one
    # Left out as a localizer, or as a copy of another file of the same image.
    if len(series) == 1 and any(i.instance == chosen.instance for i in series[0].images):
        return series[0]
    return None


def find_dicom_series(paths: Iterable[str]) -> list[DicomSeries]:
    """The axial CT volumes among any number of DICOM files, and the series that are none.

    Args:
        paths: of files; those that do not look like DICOM are passed over, those that cannot be
            opened are not.
    """
    images, unreadable = _headers(_candidates(iter(paths), "", most=None))
    series_of = _series_keys(images)
    by_series: dict[tuple[str, ...], list[_Image]] = {}
    for image in images:
        by_series.setdefault(series_of[image], []).append(image)
    found = [one for series in by_series.values() for one in _list_series(series)]
    for reason in sorted({one.reason for one in unreadable}):
        alike = [one for one in unreadable if one.reason == reason]
        files = tuple(one.path for one in alike)
        found.append(DicomSeries(files, _describe_left_out(alike)[0]))
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
        reasons = [one.reason for one in unreadable if one.reason]
        reason = f"; the first of them {reasons[0]}" if reasons else ""
        raise InputError(f"{_images(len(unreadable))} of '{name}' cannot be read{reason}.")
    series, _ = _ct_series(images, name, keep_few=True)
    if len(series) > 1:
        raise InputError(f"'{name}' holds {len(series)} CT volumes.")
    return _read(series[0], name, on_warning)


def _list_series(images: Sequence[_Image]) -> Iterator[DicomSeries]:
    """The volumes of one series, or why it has none."""
    number = images[0].series_number or "without a number"
    try:
        volumes, _ = _ct_series(images, f"series {number}")
    except InputError as error:
        yield DicomSeries(tuple(sorted(image.path for image in images)), str(error))
        return
    for volume in volumes:
        files = tuple(image.path for image in volume.images)
        whole_series = all(image.series == images[0].series for image in images)
        uid = images[0].series if whole_series else ""
        yield DicomSeries(files, _why_not_axial(volume.first, number), uid)


def _why_not_axial(image: _Image, number: str) -> str:
    """Why a series is not axial; nothing where it is, or where nobody can tell."""
    if image.axes is None:  # a multi-frame file tells it frame by frame; reading finds out
        return ""
    normal = np.abs(np.cross(*image.axes))
    plane = ("sagittal", "coronal", "axial")[int(np.argmax(normal))]
    if plane == "axial":
        return ""
    return f"The slices of series {number} are {plane}; only axial CT is segmented."


def _files(folder: Path, name: str, not_searched: list[_Unreadable]) -> Iterator[str]:
    def note(error: OSError) -> None:
        not_searched.append(
            _Unreadable(str(error.filename), f"cannot be opened ({error.strerror})")
        )

    def every_file() -> Iterator[str]:
        for parent, folders, files in os.walk(folder, onerror=note):
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            for one in (os.path.join(parent, one) for one in folders):
                if os.path.islink(one):  # it may lead to all that there is
                    not_searched.append(_Unreadable(one, "is a link to a folder"))
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
        if not base.startswith(".") and base.upper() != "DICOMDIR" and os.path.isfile(path):
            yield path


def _headers(paths: Iterable[str]) -> tuple[list[_Image], list[_Unreadable]]:
    """The headers of those files that hold an image, and the other ones that should; files that do
    not look like DICOM are passed over."""
    import SimpleITK as sitk

    images: list[_Image] = []
    unreadable: list[_Unreadable] = []
    with capture_stderr():
        for path in paths:
            try:
                if not is_dicom(path):
                    continue
                layout = file_layout(path)
            except OSError as error:
                reason = f"cannot be opened ({error.strerror or error})"
                unreadable.append(_Unreadable(path, reason))
                continue
            if layout is None:
                unreadable.append(_Unreadable(path))
                continue
            with PlainPaths() as plain:
                reader = sitk.ImageFileReader()
                reader.SetImageIO("GDCMImageIO")
                reader.SetFileName(_decodable_copy(path, layout, plain))
                try:
                    reader.ReadImageInformation()
                except RuntimeError:  # a report, a plan, a damaged file
                    unreadable.append(_Unreadable(path, _why_not_decodable(layout)))
                    continue
            reason = _why_not_right(layout, reader)
            if reason:
                unreadable.append(_Unreadable(path, reason))
            else:
                images.append(_image(path, layout, reader))
    return images, unreadable


def _why_not_decodable(layout: FileLayout) -> str:
    if layout.transfer_syntax in _SYNTAXES:
        return ""
    return (
        f"is compressed in a way that is not read here (transfer syntax {layout.transfer_syntax}); "
        "decompress it, or export it again without compression"
    )


def _why_not_right(layout: FileLayout, reader: sitk.ImageFileReader) -> str:
    """Why GDCM would read something else than the file's values, without a word."""
    if layout.has_table:
        return (
            "has a table for its values (Modality LUT), which is not read here; export it with a "
            "rescale slope and intercept"
        )
    bits = _tag(reader, "0028|0100")
    is_grey = reader.GetNumberOfComponents() == 1
    if layout.pixel_bytes is not None and is_grey and bits.isdecimal():
        missing = math.prod(reader.GetSize()) * int(bits) > 8 * layout.pixel_bytes
        return "is cut short: pixels are missing at its end" if missing else ""
    return ""


def _decodable_copy(path: str, layout: FileLayout, plain: PlainPaths) -> str:
    """The path of a file that GDCM reads right: itself, a link or a repaired copy."""
    if layout.is_plain:
        return plain.of(path)
    copy = plain.new_file(".dcm")
    with open(path, "rb") as file, open(copy, "wb") as target:
        target.write(layout.inflate(file.read()))
    return copy


def _image(path: str, layout: FileLayout, reader: sitk.ImageFileReader) -> _Image:
    def tag(key: str) -> str:
        return _tag(reader, key)

    axes = _numbers(tag("0020|0037"), 6)
    spacing = _numbers(tag("0028|0030"), 2)
    if axes is not None:
        try:
            axes = unit_axes(axes)
        except ValueError:
            axes = None
    if spacing is not None and not spacing.all():
        spacing = None
    return _Image(
        path=path,
        instance=tag("0008|0018"),
        number=tag("0020|0013"),
        series=tag("0020|000e"),
        patient=tuple(tag(key) for key in _PATIENT_TAGS),
        series_number=tag("0020|0011"),
        parts=tuple(tag(key) for key in _PART_TAGS),
        sop_class=tag("0008|0016"),
        modality=tag("0008|0060").upper(),
        is_localizer="LOCALIZER" in tag("0008|0008").upper(),
        size=tuple(reader.GetSize()),
        components=reader.GetNumberOfComponents(),
        # DICOM gives the distance between rows (along j) first.
        spacing_mm=(abs(float(spacing[1])), abs(float(spacing[0])))
        if spacing is not None
        else None,
        axes=axes,
        position=_numbers(tag("0020|0032"), 3),
        stored=(tag("0028|1053"), tag("0028|1052"), reader.GetPixelID()),
        high_bit=(tag("0028|0102"), tag("0028|0101")),
        layout=layout,
        negative_spacing=spacing is not None and bool((spacing < 0).any()),
    )


def _tag(reader: sitk.ImageFileReader, key: str) -> str:
    return reader.GetMetaData(key).strip(" \0") if reader.HasMetaDataKey(key) else ""


def _numbers(text: str, count: int) -> np.ndarray | None:
    try:
        values = np.array([float(part) for part in text.split("\\")])
    except ValueError:
        return None
    # Millimetres and directions; False for NaN.
    return values if values.shape == (count,) and (np.abs(values) < 1e9).all() else None


def _series_keys(images: Sequence[_Image]) -> dict[_Image, tuple[str, ...]]:
    """Which images are of one series.

    Some anonymisers give every image a series UID of its own: such images are of one series where
    they lie in one folder and have the same series number, or at least lie in one folder. Others
    give the series of all patients the same UID: such images are of one series where they have
    everything else in common, and no two folders number them each for itself.
    """
    count = Counter(image.series for image in images)
    alone = [image for image in images if count[image.series] == 1]
    numbered = Counter((os.path.dirname(image.path), image.series_number) for image in alone)
    patients = Counter((image.series, image.patient) for image in images)
    mixed = {series for (series, _), images_of in patients.items() if images_of == 1}
    own: dict[tuple[str, ...], list[_Image]] = {}

    def identity(image: _Image) -> tuple[str, ...]:
        return (image.series, *(() if image.series in mixed else image.patient))

    for image in images:
        own.setdefault(identity(image), []).append(image)
    by_folder = {one for one, alike in own.items() if _folders_number_anew(alike)}

    def key(image: _Image) -> tuple[str, ...]:
        folder = os.path.dirname(image.path)
        if count[image.series] > 1:
            one = identity(image)
            return (*one, folder) if one in by_folder else one
        number = image.series_number
        return (folder, number, "") if numbered[folder, number] > 1 else (folder, "", "")

    return {image: key(image) for image in images}


def _folders_number_anew(images: Sequence[_Image]) -> bool:
    """Whether two folders have different images of one number, and none has a number twice."""
    numbers: dict[str, dict[str, _Image]] = {}
    for image in images:
        folder = numbers.setdefault(os.path.dirname(image.path), {})
        if not image.number or image.number in folder:
            return False
        folder[image.number] = image
    first: dict[str, _Image] = {}
    return len(numbers) > 1 and any(
        (image.instance, _rounded_place(image)) != (known.instance, _rounded_place(known))
        for folder in numbers.values()
        for number, image in folder.items()
        if (known := first.setdefault(number, image)) is not image
    )


def _rounded_place(image: _Image) -> tuple[float, ...]:
    return () if image.position is None else tuple(np.round(image.position, 3).tolist())


def _ct_series(
    images: Sequence[_Image], name: str, keep_few: bool = False
) -> tuple[list[_Series], int]:
    """The CT volumes among the images, and how many images are of none.

    Args:
        keep_few: volumes of a few slices beside a longer one are kept too.

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
    series_of = _series_keys(ct)
    seen: set[tuple[object, ...]] = set()
    for image in ct:
        if image.is_localizer or image.components != 1:
            continue
        # The same image in two files counts once; a UID alone proves nothing, for some anonymisers
        # give all images the same.
        known = (image.instance, _rounded_place(image), image.parts, image.frames)
        if image.instance and known in seen:
            continue
        seen.add(known)
        if image.frames > 1:
            if image.sop_class in _MULTI_FRAME_CT:
                series.append(_Series((image,)))
        elif image.is_placed:
            stack = next(
                (
                    stack
                    for stack in stacks
                    if series_of[stack[0]] == series_of[image] and _is_parallel(stack[0], image)
                ),
                None,
            )
            if stack is None:
                stacks.append([image])
            else:
                stack.append(image)
    for stack in stacks:
        series.extend(_volumes(stack, name))
    series = [one for one in series if one.slices > 1]
    # Images that all watch one place are a volume only where there is no other, to be refused.
    stacked = [one for one in series if one.first.frames > 1 or not _is_one_place(one.images)]
    series = stacked or series
    if not series:
        raise InputError(
            f"'{name}' holds no CT volume: {_images(len(ct))} of CT, but no two of them are "
            "parallel slices of one series with a position, an orientation and a pixel spacing."
        )
    if not keep_few:
        largest = max(one.slices for one in series)
        series = [one for one in series if one.slices > _FEW_SLICES or 4 * one.slices > largest]
    return series, len(images) - sum(len(one.images) for one in series)


def _is_parallel(one: _Image, other: _Image) -> bool:
    if one.axes is None or other.axes is None:
        return False
    return (
        one.size == other.size
        and np.allclose(one.axes, other.axes, atol=1e-3)
        and np.allclose(one.spacing_mm or (), other.spacing_mm or (), rtol=1e-3)
    )


# --- volumes of a stack -------------------------------------------------------------------------


def _volumes(stack: Sequence[_Image], name: str) -> list[_Series]:
    """The volumes among parallel images of one series.

    All images where they are evenly spaced. Else copies are left out, phases told apart, slabs that
    share a slice joined, and images that only watch one place (bolus tracking) set aside. Where
    nothing of that explains it, all images again, to be refused for what is wrong with them.
    """
    whole = _sort_slices(stack)
    if _is_even(whole):
        return [whole]
    if _overlaps(whole):
        once = _remove_copies(whole, name)
        if not _overlaps(once):
            return _volumes(once.images, name) if len(once.images) < len(stack) else [whole]
    for tag in range(len(_PART_TAGS)):
        parts: dict[str, list[_Image]] = {}
        for image in whole.images:
            parts.setdefault(image.parts[tag], []).append(image)
        several = [_sort_slices(part) for part in parts.values() if not _is_one_place(part)]
        if len(parts) > 1 and several and not any(map(_overlaps, several)):
            joined = _join_slabs(several)
            most = len(joined) == 1 and 2 * joined[0].slices > len(stack)
            if _overlaps(whole) or (most and _is_even(joined[0])):
                return joined
    places = list(_places(whole))
    scan = [place[0] for place in places if len(place) == 1]
    if len(scan) <= _FEW_SLICES or any(1 < len(place) < _WATCHED for place in places):
        return [whole]
    rest = _sort_slices(scan)
    return [rest] if _is_even(rest, _EVEN) else [whole]


def _is_even(series: _Series, most_off: float = 0.5) -> bool:
    """Whether no slice is missing, twice there or off its place by more of a step than that."""
    if len(series.images) < 2:
        return True
    distances = np.diff(_heights(series.images))
    if distances.min() < _SAME_PLACE_MM:
        return False
    usual = float(np.median(distances))
    return bool(distances.max() <= _GAP * usual and _off_place_mm(series) <= most_off * usual)


def _is_one_place(images: Sequence[_Image]) -> bool:
    return float(np.ptp(_heights(images))) < _SAME_PLACE_MM


def _places(series: _Series) -> Iterator[list[_Image]]:
    """Images at the same place, together."""
    place: list[_Image] = []
    last = -np.inf
    for image, height in zip(series.images, _heights(series.images), strict=True):
        if place and height - last >= _SAME_PLACE_MM:
            yield place
            place = []
        place.append(image)
        last = height
    yield place


def _remove_copies(series: _Series, name: str) -> _Series:
    """Without images of the same voxels at the same place; all of them where one is no copy."""
    kept = []
    for place in _places(series):
        if len(place) > 1:
            first, *others = (_decode(_Series((image,)), name) for image in place)
            if any(not np.array_equal(_array(first), _array(other)) for other in others):
                return series
        kept.append(place[0])
    return _Series(tuple(kept))


def _join_slabs(parts: Sequence[_Series]) -> list[_Series]:
    """Slabs that follow on one another as one volume; parts that cover one another as they are."""
    normal_of = parts[0].images
    ordered = sorted(parts, key=lambda part: _heights([*normal_of[:1], part.first])[1])
    images = list(ordered[0].images)
    for part in ordered[1:]:
        heights = _heights([*images, *part.images])
        own, new = heights[: len(images)], heights[len(images) :]
        shared = [bool((np.abs(own - height) < _SAME_PLACE_MM).any()) for height in new]
        within = int(np.count_nonzero(new < own.max() + _SAME_PLACE_MM))
        most = max(1, int(_SHARED * min(len(images), len(part.images))))
        if within != sum(shared) or within > most:
            return list(parts)
        images += [
            image for image, is_there in zip(part.images, shared, strict=True) if not is_there
        ]
    whole = _sort_slices(images)
    return [whole] if _is_even(whole) else list(parts)


def _sort_slices(stack: Sequence[_Image]) -> _Series:
    heights = _heights(stack)
    return _Series(tuple(stack[index] for index in np.argsort(heights, kind="stable")))


def _overlaps(series: _Series) -> bool:
    return bool((np.diff(_heights(series.images)) < _SAME_PLACE_MM).any())


def _heights(images: Sequence[_Image]) -> np.ndarray:
    """Position of each slice along the normal of the first, mm."""
    axes = images[0].axes
    assert axes is not None
    return _positions(images) @ np.cross(axes[0], axes[1])


def _off_place_mm(series: _Series) -> float:
    """How far the slice is off that is farthest from its place in a straight and even row."""
    positions = _positions(series.images)
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    even = positions[0] + np.arange(len(positions))[:, None] * step
    return float(np.linalg.norm(positions - even, axis=1).max())


def _positions(images: Sequence[_Image]) -> np.ndarray:
    return np.array([image.position for image in images], dtype=np.float64)


def _read(series: _Series, name: str, on_warning: WarningCallback) -> Volume:
    """Decode the files of a series.

    Raises:
        InputError: a slice is missing, at a place with another or off the row; or cannot be
            decoded.
    """
    if series.first.frames > 1:
        return _read_frames(series.first, name, on_warning)
    ijk_to_lps = _place(series, name, on_warning)
    volume = Volume.from_sitk(_decode(series, name), name)
    # ITK stacks images of a single row along j.
    columns, rows = series.first.size[:2]
    return Volume.from_lps(volume.array.reshape(series.slices, rows, columns), ijk_to_lps)


def _read_frames(image: _Image, name: str, on_warning: WarningCallback) -> Volume:
    """A multi-frame file, each frame placed as a slice of its own: GDCM takes the frames for evenly
    spaced and in order, and where they are not it makes something up.

    Raises:
        InputError: as :func:`_read`.
    """
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
    if not all(_is_parallel(frames[0], frame) for frame in frames):
        raise InputError(f"The frames of '{name}' are not parallel slices of one spacing.")
    order = np.argsort(_heights(frames), kind="stable")
    ijk_to_lps = _place(_Series(tuple(frames[index] for index in order)), name, on_warning)
    volume = Volume.from_sitk(_decode(_Series((image,)), name), name)
    columns, rows = image.size[:2]
    return Volume.from_lps(volume.array.reshape(-1, rows, columns)[order], ijk_to_lps)


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
    off_place = _off_place_mm(series)
    if off_place > _EVEN * np.linalg.norm(step):
        if off_place > usual / 2:
            raise InputError(
                f"In '{name}', {series.text} does not lie on a grid: a slice is "
                f"{off_place:.2f} mm off its place in an even row."
            )
        least, most = f"{distances.min():.2f}", f"{distances.max():.2f}"
        how = (
            f"unevenly spaced, {least} to {most} mm"
            if least != most
            else f"{usual:.2f} mm apart, but not in a straight and even row"
        )
        on_warning(
            f"The slices of '{name}' are {how}; they are taken as even, which moves one by "
            f"{off_place:.2g} mm."
        )
    if any(image.negative_spacing for image in series.images):
        on_warning(
            f"'{name}' has a negative pixel spacing, whose sign means nothing in DICOM; it is read "
            "as if it were positive."
        )
    bit, bits = first.high_bit
    if bit.isdecimal() and bits.isdecimal() and int(bit) != int(bits) - 1:
        on_warning(
            f"The header of '{name}' says that the last of {bits} stored bits is bit {bit}, which "
            "is not looked at here; check that air has about -1000."
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

    columns, rows = series.first.size[:2]
    check_room((columns, rows, series.slices), [Path(one.path) for one in series.images], name)
    reader: sitk.ImageFileReader | sitk.ImageSeriesReader
    try:
        with PlainPaths() as plain, capture_stderr():
            paths = [_decodable_copy(one.path, one.layout, plain) for one in series.images]
            if len(paths) == 1:
                reader = sitk.ImageFileReader()
                reader.SetFileName(paths[0])
            else:
                reader = sitk.ImageSeriesReader()
                reader.SetFileNames(paths)
            reader.SetImageIO("GDCMImageIO")
            # The first file's type would cut off what the others need.
            if len({image.stored for image in series.images}) > 1:
                reader.SetOutputPixelType(sitk.sitkFloat32)
            return reader.Execute()
    except RuntimeError as error:
        unknown = next(filter(None, (_why_not_decodable(one.layout) for one in series.images)), "")
        if unknown:
            raise InputError(f"'{name}' {unknown}.") from error
        raise InputError(describe_failure(name, "DICOM", str(error))) from error


def _array(image: sitk.Image) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayViewFromImage(image)


@contextmanager
def _mention_left_out(unreadable: Sequence[_Unreadable], name: str) -> Iterator[None]:
    """What is refused is told with what was left out before, which may be why."""
    try:
        yield
    except InputError as error:
        left_out = _describe_left_out(unreadable, name)
        if not left_out:
            raise
        raise InputError(" ".join([str(error), *left_out])) from error


def _no_images(
    folder: Path, name: str, unreadable: Sequence[_Unreadable], with_file_names: bool
) -> str:
    reasons = [one.reason for one in unreadable if one.reason]
    if reasons:
        return (
            f"No DICOM file in '{name}' ({len(unreadable)} in all) can be read; the first of them "
            f"{reasons[0]}."
        )
    if unreadable:
        return (
            f"No DICOM file in '{name}' ({len(unreadable)} in all) holds an image that can be read."
        )
    is_archive = name.lower().endswith(".zip") and folder.name != name  # that was unpacked
    others = sorted(
        file.name
        for file in (folder.rglob("*") if is_archive else folder.iterdir())
        if file.name.lower().endswith((".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"))
    )
    if is_archive:
        kind = f" but {counted(len(others), 'file')} of another format" if others else ""
        todo = "unpack it and give the file itself" if others else "give one of a DICOM series"
        return f"The zip archive '{name}' holds no DICOM images{kind}; {todo}."
    if others:
        example = f", as '{printable(others[0])}'" if with_file_names else ""
        return f"The folder '{name}' holds no DICOM images; give the file itself{example}."
    return f"The folder '{name}' holds no DICOM images."


def _describe_left_out(unreadable: Sequence[_Unreadable], name: str = "") -> list[str]:
    where = f" in '{name}'" if name else ""
    count = sum(not one.reason for one in unreadable)
    sentences = []
    if count:
        files = "1 DICOM file" if count == 1 else f"{count} DICOM files"
        verb = "holds" if count == 1 else "hold"
        sentences.append(f"{files}{where} {verb} no readable image; left out.")
    for reason, alike in Counter(one.reason for one in unreadable if one.reason).items():
        files = "1 file or folder" if alike == 1 else f"{alike} files or folders, each of which"
        sentences.append(f"Left out: {files}{where} {reason}.")
    return sentences


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
