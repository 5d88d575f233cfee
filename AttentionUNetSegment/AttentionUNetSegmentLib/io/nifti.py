"""NIfTI files: nibabel says what the header means, and every byte of the voxels is looked at.

A header can place a scan in three ways, which contradict each other in many a public file: the
sform, the qform, and its voxel spacing alone. They are held against each other here.
"""

from __future__ import annotations

import gzip
import io
import logging
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import nibabel  # noqa: F401  this module is of no use without it, and is imported late
import numpy as np

from ..errors import InputError
from ..geometry.grid import box_corners, transform_points
from ..geometry.itk import check_kind
from ..geometry.volume import Volume
from .formats import WarningCallback

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_GZIP_START = b"\x1f\x8b"
_MOST_DEFLATED = 1040  # deflate shrinks nothing by more than 1032
_CHUNK = 1 << 20
_HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
_UNITS_MM = {1: 1000.0, 3: 0.001}  # metres and micrometres; all else is taken for millimetres
_LAST_SPACE = 4  # of the codes that each nibabel knows; any above 0 says that there is a place
_DISAGREE_VOXELS = 0.1
_ROUNDING = 2.0**-22  # of the squares of a quaternion in 32 bits, which sum up to 1
_DAMAGE: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
_CUT = "is cut short: voxels are missing at its end"
_UNKNOWN_TYPE = (
    "has voxels of a type that is not read here; save them as integers or as numbers of 32 bits"
)

open_gzip: Any = gzip.open
"""zlib-ng's, which takes half the time, where it is installed. Slicer does not bring it."""
with suppress(ImportError):
    from zlib_ng import gzip_ng, zlib_ng

    open_gzip = gzip_ng.open
    # Its stub says that it is an instance.
    _DAMAGE = (*_DAMAGE, zlib_ng.error)  # type: ignore[arg-type]

_quiet = logging.Logger("nibabel's complaints, all of which are looked for here")
_quiet.addHandler(logging.NullHandler())


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What the header of a NIfTI file says.

    Args:
        shape: voxels along each axis, i first.
        dtype: of a stored voxel.
        offset: of the first voxel, bytes.
        slope, intercept: that turn stored values into real ones; None where there are none.
        ijk_to_ras: 4x4.
        warnings: about where the scan lies, each a plain sentence.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    slope: float | None
    intercept: float | None
    ijk_to_ras: np.ndarray
    warnings: tuple[str, ...]

    @property
    def voxel_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_nifti(path: Path, name: str, on_warning: WarningCallback) -> Volume:
    """The scan in a ``.nii`` or ``.nii.gz`` file of NIfTI-1 or NIfTI-2.

    Args:
        name: what to call it in messages.

    Raises:
        InputError: it is damaged, cut short, too large, or no single 3D image of real numbers.
        OSError: it cannot be opened.
    """
    with _describe_damage(name), _open_stream(path) as stream:
        header = _checked_header(stream, path, name)
        stream.seek(0)
        stored = _read_voxels(stream, header, name)
        _read_to_end(stream)
    slope, intercept = header.slope, header.intercept
    if slope is not None and intercept is not None:
        from nibabel.volumeutils import apply_read_scaling

        # 32 bits hold every value of a 16-bit integer.
        scale = np.result_type(stored.dtype, np.float32).type
        stored = apply_read_scaling(stored, scale(slope), scale(intercept))
    for warning in header.warnings:
        on_warning(warning)
    return Volume(stored.reshape(header.shape[:3], order="F").T, header.ijk_to_ras)


def read_nifti_header(path: Path, name: str) -> NiftiHeader:
    """The header, held against the file's size; voxels are not looked at.

    Raises:
        InputError: as :func:`read_nifti`.
        OSError: it cannot be opened.
    """
    with _describe_damage(name), _open_stream(path) as stream:
        return _checked_header(stream, path, name)


def _checked_header(stream: Any, path: Path, name: str) -> NiftiHeader:
    header = _interpret_header(stream.read(_HEADER_BYTES), name)
    problem = _size_problem(path, header.offset + header.voxel_bytes)
    if problem:
        raise _input_error(name, problem)
    return header


def _interpret_header(start: bytes, name: str) -> NiftiHeader:
    from nibabel.spatialimages import HeaderDataError

    unreadable = InputError(
        f"'{name}' cannot be read as NIfTI: it is damaged, cut short or of another format."
    )
    parsed = _parse_header(start)
    if parsed is None:
        raise unreadable
    lengths = [int(length) for length in parsed["dim"]]
    if not 1 <= lengths[0] <= 7 or not math.isfinite(float(parsed["vox_offset"])):
        raise unreadable
    shape = tuple(lengths[1 : lengths[0] + 1])
    if min(shape) <= 0:
        raise _input_error(name, "has no valid size in its header")
    spacing = parsed["pixdim"][1:4].astype(np.float64)
    stored_slope, stored_intercept = float(parsed["scl_slope"]), float(parsed["scl_inter"])
    no_slope = stored_slope == 0 or not math.isfinite(stored_slope)
    if no_slope and math.isfinite(stored_intercept) and stored_intercept != 0:
        raise _input_error(
            name, "has an intercept without a slope in its header, so its values are uncertain"
        )
    for code in ("sform_code", "qform_code"):
        if int(parsed[code]) > _LAST_SPACE:  # which nibabel takes for none, unlike ITK
            parsed[code] = _LAST_SPACE
    try:
        # Takes the size of a minus, a code below 0 for none and the least offset for a lesser one.
        parsed.check_fix(logger=_quiet, error_level=41)
        dtype = parsed.get_data_dtype()
    except (HeaderDataError, KeyError) as error:  # the latter for an unknown type
        raise _input_error(name, _UNKNOWN_TYPE) from error
    try:
        slope, intercept = parsed.get_slope_inter()
    except HeaderDataError as error:
        raise _input_error(
            name, "has no valid slope and intercept for its values in its header"
        ) from error
    components = 1
    if dtype.names:
        components = len(dtype.names)
    elif len(shape) > 4 and shape[3] == 1:
        components, shape = shape[4], (*shape[:3], *shape[5:])
    check_kind(shape, components, dtype.kind == "c", name)
    if dtype.kind not in "iuf":
        raise _input_error(name, _UNKNOWN_TYPE)
    place, warnings = _place(parsed, spacing, shape[:3], name)
    # nibabel leaves 0, of a header whose voxels lie in another file.
    offset = max(int(parsed.get_data_offset()), parsed.single_vox_offset)
    return NiftiHeader(shape, dtype, offset, slope, intercept, place, tuple(warnings))


def _parse_header(start: bytes) -> Nifti1Header | None:
    """None for what is no NIfTI."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    for kind, size in ((Nifti1Header, 348), (Nifti2Header, 540)):
        magic = start[344:348] if size == 348 else start[4:8]
        if len(start) >= size and magic[:3] in (b"n+1", b"n+2"):
            own_size = struct.unpack("<i", start[:4]) + struct.unpack(">i", start[:4])
            if size in own_size:
                return kind.from_fileobj(io.BytesIO(start[:size]), check=False)
    return None


# --- place --------------------------------------------------------------------------------------


def _place(
    header: Nifti1Header, spacing: np.ndarray, shape: tuple[int, ...], name: str
) -> tuple[np.ndarray, list[str]]:
    """The 4x4 matrix to RAS, mm, and what to say of it.

    Args:
        header: repaired.
        spacing: as the file has it.

    Raises:
        InputError: no source gives a place.
    """
    unit = _UNITS_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    to_mm = np.diag([unit, unit, unit, 1.0])
    spacing_valid = bool(np.isfinite(spacing).all() and (spacing != 0).all())
    sform = to_mm @ header.get_sform() if header["sform_code"] > 0 else None
    qform = to_mm @ _qform(header) if header["qform_code"] > 0 and spacing_valid else None
    if sform is not None and qform is not None and not _is_place(sform) and _is_place(qform):
        return qform, [f"The sform in the header of '{name}' is no valid place; the qform is used."]
    if sform is not None:
        return sform, list(
            _find_contradictions(
                sform, qform, header, name, spacing * unit if spacing_valid else None, shape
            )
        )
    if not spacing_valid:
        raise _input_error(name, "has no valid voxel spacing in its header")
    minus = [
        f"The header of '{name}' has a negative voxel spacing, whose sign means nothing in NIfTI; "
        "check that the patient is not mirrored."
    ] * bool((spacing < 0).any())
    if qform is not None:
        if not _is_place(qform):
            raise _input_error(name, "has no valid orientation in its header")
        return qform, minus
    return to_mm @ header.get_base_affine(), [
        *minus,
        f"'{name}' does not say how the patient lies (its header has neither a sform nor a qform); "
        "its voxels are taken to run from the patient's right to the left, from back to front and "
        "from the feet to the head. Where they do not, set the orientation in the file.",
    ]


def _qform(header: Nifti1Header) -> np.ndarray:
    """NaN where its quaternion is none."""
    from nibabel.spatialimages import HeaderDataError

    try:
        return header.get_qform()
    except (HeaderDataError, ValueError):
        return np.full((4, 4), np.nan)


def _is_place(matrix: np.ndarray) -> bool:
    try:
        Volume(np.zeros((1, 1, 1)), matrix)
    except InputError:
        return False
    return True


def _find_contradictions(
    sform: np.ndarray,
    qform: np.ndarray | None,
    header: Nifti1Header,
    name: str,
    spacing_mm: np.ndarray | None,
    shape: tuple[int, ...],
) -> Iterator[str]:
    """What disagrees with the sform by more than a tenth of a voxel anywhere in the scan."""
    if not _is_place(sform):
        return  # refused as such
    steps = np.linalg.norm(sform[:3, :3], axis=0)
    extent = (np.array(shape) - 1) * steps
    used = "the sform, which the scan is placed by"
    if spacing_mm is None:
        yield f"The header of '{name}' has no valid voxel spacing; it is taken from the sform."
    else:
        off = np.abs(np.abs(spacing_mm) / steps - 1) * (np.array(shape) - 1)
        if off.max() > _DISAGREE_VOXELS:
            yield (
                f"The header of '{name}' gives two voxel spacings, "
                f"{_join_values(np.abs(spacing_mm))} mm and {_join_values(steps)} mm; "
                f"the latter is that of {used}."
            )
    if qform is None:
        return
    if not _is_place(qform):
        yield f"The qform in the header of '{name}' is no valid place, unlike {used}."
        return
    corners = box_corners((0, 0, 0), np.array(shape) - 1)
    apart_mm = np.linalg.norm(transform_points(qform - sform, corners), axis=1).max()
    # The rotation by 180 degrees that ITK writes for every axial scan is the least exact of all.
    b, c, d = (float(header[f"quatern_{part}"]) for part in "bcd")
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    turn = 2 * (math.sqrt(a * a + _ROUNDING) - a)
    allowed_mm = _DISAGREE_VOXELS * steps.min() + turn * float(np.linalg.norm(extent))
    if apart_mm > allowed_mm:
        yield (
            f"The header of '{name}' places the scan in two ways, up to {apart_mm:.3g} mm apart: "
            f"by a qform, and by {used}."
        )


def _join_values(values: np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


# --- bytes --------------------------------------------------------------------------------------


def _read_voxels(stream: Any, header: NiftiHeader, name: str) -> np.ndarray:
    """The voxels as they are stored, one after the other, in this machine's byte order."""
    _skip(stream, header.offset)
    try:
        content = np.empty(header.voxel_bytes, np.uint8)
    except MemoryError as error:
        raise InputError(f"'{name}' is too large for this computer's memory.") from error
    view = memoryview(content)  # type: ignore[arg-type]
    filled = 0
    while filled < len(view):
        chunk = stream.read(min(_CHUNK, len(view) - filled))
        if not chunk:
            raise _input_error(name, _CUT)
        view[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    stored = content.view(header.dtype)
    native = header.dtype.newbyteorder("=")
    if native != header.dtype:
        stored = stored.byteswap(inplace=True).view(native)
    return stored.astype(np.float64) if native.itemsize > 8 else stored


def _skip(stream: Any, count: int) -> None:
    """Not by a seek: a header may promise that its voxels begin beyond any end."""
    while count > 0:
        chunk = stream.read(min(_CHUNK, count))
        if not chunk:
            return
        count -= len(chunk)


def _read_to_end(stream: Any) -> None:
    """So that gzip holds the data against its checksum; nobody reads what lies far behind."""
    stream.read(_CHUNK)


def _size_problem(path: Path, expected: int) -> str | None:
    """What is wrong with a file that should hold so many bytes, as the end of a sentence."""
    size = path.stat().st_size
    if not _is_compressed(path):
        return None if size >= expected else _CUT
    if expected > _MOST_DEFLATED * size:
        return _CUT
    with path.open("rb") as stream:
        stream.seek(-4, 2)
        if struct.unpack("<I", stream.read(4))[0] == expected % 2**32:
            return None
    # Several gzip members, bytes behind the voxels, or a file that is cut: only reading tells.
    try:
        with _open_stream(path) as unpacked:
            found = 0
            while chunk := unpacked.read(_CHUNK):
                found += len(chunk)
                if found > expected + _CHUNK:  # nobody reads that far
                    break
    except _DAMAGE:
        return "is cut short or damaged: its compressed data does not end as it should"
    return None if found >= expected else _CUT


@contextmanager
def _describe_damage(name: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _input_error(
            name, "is cut short or damaged: its compressed data does not end as it should"
        ) from error


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == _GZIP_START


def _open_stream(path: Path) -> gzip.GzipFile | BinaryIO:
    """The file's bytes, decompressed."""
    return open_gzip(path) if _is_compressed(path) else path.open("rb")


def _input_error(name: str, problem: str) -> InputError:
    return InputError(f"The file '{name}' {problem}.")
