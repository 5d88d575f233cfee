"""Scans as strangers make them: every kind of voxel, place, file and DICOM series, right and wrong.

A case is plain data, which hypothesis draws and prints. Its files are put together here, from the
standards and by pydicom, so that no code under test had a hand in what is expected of it.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry import SCANNER, rotation
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

DISTINCT = 0.9
"""Share of the cases that is drawn which must not be drawn twice."""
MOST_SLICES = 3000
MOST_PIXELS = 2048
PIXEL_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
CONTENTS = (
    "body", "noise", "constant", "zero", "extremes", "tiny", "subnormal", "huge", "one NaN",
    "all NaN", "infinite", "minus infinite",
)  # fmt: skip
ORGAN_HU = 200
SINGULAR = ("coinciding", "flat", "zero")
SHEARED = ("sheared", "sheared a little")
DIRECTIONS = {
    "straight": np.eye(3),
    "scanner": SCANNER[:3, :3],
    "left-handed": np.diag([1.0, -1.0, 1.0]),
    "upside down": np.diag([-1.0, -1.0, -1.0]),
    "permuted": np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]]),
    "oblique": (rotation(0, 17) @ rotation(1, -8) @ rotation(2, 33))[:3, :3],
    "oblique, left-handed": (rotation(0, 80) @ rotation(2, 10))[:3, :3] * (1, 1, -1),
    "sheared": np.array([[1, 0.4, 0], [0, 1, 0.1], [0, 0, 1]]),
    "sheared a little": np.array([[1, 0.01, 0], [0, 1, 0], [0, 0, 1.0]]),
    "coinciding": np.array([[1.0, 1, 0], [0, 0, 0], [0, 0, 1]]),
    "flat": np.array([[1.0, 0, 1], [0, 1, 1], [0, 0, 0]]),
    "zero": np.zeros((3, 3)),
}


def run_cases(cases: st.SearchStrategy[Any], count: int, check: Callable[[Any], None]) -> None:
    """Check that many cases, the same ones in every run, and print how many are distinct."""
    seen = set()

    @settings(
        max_examples=count,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def each(case: Any) -> None:
        seen.add(repr(case))
        check(case)

    each()
    print(f"{len(seen)} distinct cases")
    assert len(seen) >= DISTINCT * count


# --- volumes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Odd:
    """An image in memory: shape in k, j, i; spacing in i, j, k, mm; origin in RAS, mm."""

    shape: tuple[int, int, int]
    dtype: str
    content: str
    direction: str
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    seed: int

    @property
    def array(self) -> np.ndarray:
        return voxels(self.shape, np.dtype(self.dtype), self.content, self.seed)

    @property
    def ijk_to_ras(self) -> np.ndarray:
        matrix = np.eye(4)
        matrix[:3, :3] = DIRECTIONS[self.direction] * self.spacing
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def is_singular(self) -> bool:
        return self.direction in SINGULAR or 0 in self.spacing

    @property
    def is_sheared(self) -> bool:
        return self.direction in SHEARED


def voxels(shape: tuple[int, ...], dtype: np.dtype, content: str, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    floats = dtype.kind == "f"
    limits: Any = np.finfo(dtype) if floats else np.iinfo(dtype)
    if content == "body":  # air, fat, soft tissue and bone, where the type holds them
        values = random.choice([-1000, -100, 40, 60, 500], shape)
        return np.clip(values, limits.min, limits.max).astype(dtype)
    if content in ("constant", "zero"):
        return np.full(shape, 77 if content == "constant" else 0, dtype)
    if content == "organ":  # bright, in the middle of fat and air
        values = np.where(random.random(shape) < 0.3, -1000, -100)
        values[tuple(slice(n // 3, n // 3 + (n + 2) // 3) for n in shape)] = ORGAN_HU
        return np.clip(values, limits.min, limits.max).astype(dtype)
    array = random.integers(0, 100, shape).astype(dtype)
    flat = array.reshape(-1)
    somewhere = int(random.integers(flat.size))
    if content == "noise":
        return random.integers(max(limits.min, -1024), min(limits.max, 3000), shape).astype(dtype)
    if content == "extremes" or not floats:
        flat[somewhere], flat[-1 - somewhere] = limits.min, limits.max
    elif content == "tiny":
        array *= dtype.type(1e-30)
    elif content == "subnormal":
        array *= limits.smallest_subnormal
    elif content == "huge":
        array *= dtype.type(1e30)
    elif content == "all NaN":
        flat[:] = np.nan
    else:
        flat[somewhere] = {"one NaN": np.nan, "infinite": np.inf, "minus infinite": -np.inf}[
            content
        ]
    return array


def shapes(fewest: int = 1) -> st.SearchStrategy[tuple[int, int, int]]:
    """Small ones, and ones with a single long axis; k, j, i."""
    few, side = st.integers(fewest, 7), st.integers(fewest, 3)
    return st.one_of(
        st.tuples(few, few, few),
        st.tuples(st.integers(fewest, MOST_SLICES), side, side),
        st.tuples(side, st.integers(fewest, MOST_PIXELS), side),
        st.tuples(side, side, st.integers(fewest, MOST_PIXELS)),
    )


_usual_step = st.sampled_from([0.5, 0.7, 1.0, 1.25, 2.5, 5.0])
_extreme_step = st.sampled_from([1e-6, 1e-3, 0.01, 0.1, 20.0, 300.0, 4000.0, 1e6])
spacings = st.one_of(
    st.tuples(_usual_step, _usual_step, _usual_step),
    st.tuples(_usual_step, _usual_step, _extreme_step),
    st.tuples(_extreme_step, _extreme_step, _extreme_step),
)
_origins = st.tuples(*[st.sampled_from([0.0, -100.5, 20.25, 990.0, -1e5])] * 3)


def odd_volumes(fewest: int = 1, **chosen: st.SearchStrategy[Any]) -> st.SearchStrategy[Odd]:
    """Images in memory.

    Args:
        fewest: voxels along each axis.
        chosen: other strategies for some of the fields.
    """
    fields: dict[str, st.SearchStrategy[Any]] = {
        "shape": shapes(fewest),
        "dtype": st.sampled_from(PIXEL_TYPES),
        "content": st.sampled_from(CONTENTS),
        "direction": st.sampled_from(tuple(DIRECTIONS)),
        "spacing": spacings,
        "origin": _origins,
        "seed": st.integers(0, 99),
    }
    return st.builds(Odd, **fields | chosen)


scan_volumes = odd_volumes(
    shape=st.one_of(st.tuples(*[st.integers(1, 12)] * 3), shapes(2)),
    content=st.sampled_from(["organ"] * 4 + list(CONTENTS)),
    spacing=st.one_of(
        st.tuples(*[st.sampled_from([4.0, 8.0, 15.0])] * 3),
        st.permutations([8.0, 12.0, 30.0]).map(tuple),
        st.tuples(_usual_step, _usual_step, _extreme_step),
        st.tuples(_extreme_step, _usual_step, _usual_step),
    ),
)
"""Such that some of them can be segmented, and none is larger than a few people."""


# --- files --------------------------------------------------------------------------------------

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_NIFTI_CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768,
                "i8": 1024, "u8": 1280}  # fmt: skip
_NRRD_TYPES = {"u1": "uchar", "i1": "signed char", "u2": "ushort", "i2": "short", "u4": "uint",
               "i4": "int", "u8": "ulonglong", "i8": "longlong", "f4": "float",
               "f8": "double"}  # fmt: skip
_META_TYPES = {"u1": "MET_UCHAR", "i1": "MET_CHAR", "u2": "MET_USHORT", "i2": "MET_SHORT",
               "u4": "MET_UINT", "i4": "MET_INT", "u8": "MET_ULONG_LONG", "i8": "MET_LONG_LONG",
               "f4": "MET_FLOAT", "f8": "MET_DOUBLE"}  # fmt: skip


@dataclass(frozen=True)
class OddFile:
    """An image, and how it is written.

    Args:
        suffix: one of :data:`SUFFIXES`.
        big_endian: the order of a voxel's bytes.
        place: of a NIfTI: ``sform``, ``qform``, ``both``, ``neither``; ``apart``: the qform is
            30 mm beside the sform, which holds; ``minus``: as sform, with negative spacings;
            ``other spacing``: as sform, with spacings that contradict it.
        slope, intercept: of a NIfTI; a slope of 0 or NaN stands for none.
    """

    image: Odd
    suffix: str
    big_endian: bool = False
    place: str = "sform"
    slope: float = 0.0
    intercept: float = 0.0

    def write(self, folder: Path, stem: str = "scan") -> Path:
        path = folder / f"{stem}{self.suffix}"
        write = {".ni": _write_nifti, ".nr": _write_nrrd, ".nh": _write_nrrd}
        write.get(self.suffix[:3], _write_meta)(path, self)
        return path

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """Where the file puts the image. A NIfTI that does not say it is put where Analyze has it:
        from right to left, back to front, feet to head, around 0."""
        if self.place != "neither" or not self.suffix.startswith(".nii"):
            return self.image.ijk_to_ras
        matrix = np.diag([*np.array(self.image.spacing) * (-1, 1, 1), 1.0])
        matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(self.image.shape[::-1]) - 1) / 2)
        return matrix

    @property
    def bytes(self) -> bytes:
        order = ">" if self.big_endian else "<"
        return self.image.array.astype(f"{order}{self.image.dtype}").tobytes()


odd_files = st.builds(
    OddFile,
    image=odd_volumes(),
    suffix=st.sampled_from(SUFFIXES),
    big_endian=st.booleans(),
    place=st.sampled_from(["sform", "qform", "both", "neither", "apart", "minus", "other spacing"]),
    slope=st.sampled_from([0.0, 0.0, 1.0, 2.0, -0.5, float("nan")]),
    intercept=st.sampled_from([0.0, -1024.0]),
)


def _write_nifti(path: Path, case: OddFile) -> None:
    """NIfTI-1, as nifti1.h has it."""
    image, e = case.image, ">" if case.big_endian else "<"
    header = bytearray(352)
    struct.pack_into(f"{e}i", header, 0, 348)
    struct.pack_into(f"{e}8h", header, 40, 3, *image.shape[::-1], 1, 1, 1, 1)
    size = np.dtype(image.dtype).itemsize
    struct.pack_into(f"{e}2h", header, 70, _NIFTI_CODES[image.dtype], 8 * size)
    direction = DIRECTIONS[image.direction]
    turned, flip = _quaternion(direction)
    spacing = np.array(image.spacing)
    spacing = {"minus": -spacing, "other spacing": 2 * spacing}.get(case.place, spacing)
    struct.pack_into(f"{e}8f", header, 76, flip, *spacing, 0, 0, 0, 0)
    struct.pack_into(f"{e}3f", header, 108, 352, case.slope, case.intercept)
    header[123] = 2  # millimetres
    has_qform = case.place in ("qform", "both", "apart") and turned is not None
    has_sform = case.place not in ("qform", "neither") or (case.place == "qform" and turned is None)
    struct.pack_into(f"{e}2h", header, 252, int(has_qform), int(has_sform))
    if has_qform:
        off = 30.0 if case.place == "apart" else 0.0
        struct.pack_into(f"{e}6f", header, 256, *(turned or ()), *np.array(image.origin) + off)
    if has_sform:
        for row, values in enumerate(image.ijk_to_ras[:3]):
            struct.pack_into(f"{e}4f", header, 280 + 16 * row, *values)
    header[344:348] = b"n+1\0"
    content = bytes(header) + case.bytes
    path.write_bytes(gzip.compress(content, 1) if case.suffix == ".nii.gz" else content)


def _quaternion(direction: np.ndarray) -> tuple[tuple[float, float, float] | None, float]:
    """b, c, d of a rotation, and whether its third axis is turned round; None for what is none."""
    if not np.allclose(direction.T @ direction, np.eye(3)):
        return None, 1.0
    flip = float(np.sign(np.linalg.det(direction)))
    matrix = direction * (1, 1, flip)
    # The eigenvector for its largest eigenvalue is the quaternion (Bar-Itzhack 2000).
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = matrix
    symmetric = np.array([
        [xx + yy + zz, zy - yz, xz - zx, yx - xy],
        [zy - yz, xx - yy - zz, yx + xy, zx + xz],
        [xz - zx, yx + xy, yy - xx - zz, zy + yz],
        [yx - xy, zx + xz, zy + yz, zz - xx - yy],
    ])  # fmt: skip
    a, b, c, d = np.linalg.eigh(symmetric)[1][:, -1]
    sign = -1.0 if a < 0 else 1.0
    return (sign * float(b), sign * float(c), sign * float(d)), flip


def _write_nrrd(path: Path, case: OddFile) -> None:
    """As teem.sourceforge.net/nrrd/format.html has it; the voxels behind it or in another file."""
    image = case.image
    columns = image.ijk_to_ras[:3, :3].T
    directions = " ".join(
        "(" + ",".join(repr(float(v)) for v in column) + ")" for column in columns
    )
    origin = ",".join(repr(value) for value in image.origin)
    header = (
        f"NRRD0004\ntype: {_NRRD_TYPES[image.dtype]}\ndimension: 3\n"
        f"space: right-anterior-superior\nsizes: {' '.join(map(str, image.shape[::-1]))}\n"
        f"space directions: {directions}\nspace origin: ({origin})\n"
        f"endian: {'big' if case.big_endian else 'little'}\n"
    )
    detached = case.suffix == ".nhdr"
    packed = image.seed % 2 == 0
    content = gzip.compress(case.bytes, 1) if packed else case.bytes
    header += f"encoding: {'gzip' if packed else 'raw'}\n"
    if detached:
        voxel_file = path.with_suffix(".raw.gz" if packed else ".raw")
        voxel_file.write_bytes(content)
        path.write_bytes(f"{header}data file: {voxel_file.name}\n".encode())
    else:
        path.write_bytes(header.encode() + b"\n" + content)


def _write_meta(path: Path, case: OddFile) -> None:
    """As ITK's MetaIO has it: left-posterior-superior, one row of the matrix an axis."""
    image = case.image
    lps = SCANNER @ image.ijk_to_ras
    axes = (SCANNER[:3, :3] @ DIRECTIONS[image.direction]).T.ravel()
    packed = image.seed % 2 == 0
    content = zlib.compress(case.bytes, 1) if packed else case.bytes
    detached = case.suffix == ".mhd"
    voxel_file = path.with_suffix(".zraw" if packed else ".raw")
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(case.big_endian),
        "CompressedData": str(packed),
        "TransformMatrix": " ".join(repr(float(value)) for value in axes),
        "Offset": " ".join(repr(float(value)) for value in lps[:3, 3]),
        "ElementSpacing": " ".join(repr(value) for value in image.spacing),
        "DimSize": " ".join(map(str, image.shape[::-1])),
        "ElementType": _META_TYPES[image.dtype],
    }
    if packed:
        lines["CompressedDataSize"] = str(len(content))
    lines["ElementDataFile"] = voxel_file.name if detached else "LOCAL"
    header = "".join(f"{key} = {value}\n" for key, value in lines.items()).encode()
    if detached:
        voxel_file.write_bytes(content)
        path.write_bytes(header)
    else:
        path.write_bytes(header + content)


# --- damage -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Damage:
    """What befell a file: its end cut off, bytes overwritten, taken out or put in.

    Args:
        kind: ``cut``, ``flipped``, ``taken out``, ``put in`` or ``overwritten``.
        where: share of the file, 0 to 1.
        value: a byte.
        length: bytes that are hit.
    """

    kind: str
    where: float
    value: int
    length: int

    def apply(self, content: bytes) -> bytes:
        start = min(int(self.where * len(content)), max(len(content) - 1, 0))
        end = start + self.length
        hit = content[start:end]
        return (
            content[:start]
            + {
                "cut": b"",
                "flipped": bytes(byte ^ (self.value or 255) for byte in hit) + content[end:],
                "taken out": content[end:],
                "put in": bytes([self.value]) * self.length + content[start:],
                "overwritten": bytes([self.value]) * len(hit) + content[end:],
            }[self.kind]
        )


damages = st.builds(
    Damage,
    kind=st.sampled_from(["cut", "flipped", "flipped", "taken out", "put in", "overwritten"]),
    where=st.one_of(st.floats(0, 1), st.floats(0, 0.1)),
    value=st.integers(0, 255),
    length=st.sampled_from([1, 1, 2, 4, 16, 100]),
)

plain_volumes = odd_volumes(
    fewest=2,
    shape=st.tuples(*[st.integers(2, 5)] * 3),
    content=st.just("noise"),
    direction=st.sampled_from(["scanner", "permuted", "oblique"]),
    spacing=st.tuples(_usual_step, _usual_step, _usual_step),
)


# --- names --------------------------------------------------------------------------------------

# From an archive of another system; elsewhere names are UTF-8.
NOT_UTF8 = [os.fsdecode(b"M\xfcller"), os.fsdecode(b"\xd2\xc8")] if sys.platform == "linux" else []
NAMES = st.one_of(
    st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cc", "Cs"])),
    st.sampled_from(
        [*NOT_UTF8, "~scan", "früh & spät", "膵臓",
         "بنكرياس", "🩻 1", "a b", "-o", "--help", "~", "$HOME", "%s%n",
         "a;b", "'", '"', "*", "con", "scan.nii.gz", ".hidden", "x" * 120, "é" * 60, "e\u0301",
         "[bold]", "\u202etxt", "a\tb", "{}", "..."]
    ),
)  # fmt: skip


# --- DICOM --------------------------------------------------------------------------------------

SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "big endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}
COMPRESSED = ("RLE", "JPEG-LS", "JPEG 2000")
UNKNOWN_SYNTAX = "1.2.840.10008.1.2.4.203"
"""High-throughput JPEG 2000, which nobody here reads."""
WHOLE = ("none", "out of order", "copies", "other series aside", "localizer", "a report",
         "no names", "DICOMDIR", "repeated numbers", "head first",
         "rounded directions", "negative spacing", "inverted display", "one UID", "no UIDs",
         "a series UID each", "bolus tracking", "slabs", "no preamble", "bytes behind",
         "a private item")  # fmt: skip
BROKEN = ("missing", "same place", "off the row", "no position", "no orientation", "no spacing",
          "another modality", "colour", "two series", "one slice", "sizes differ",
          "infinite position", "coinciding axes", "zero spacing",
          "unknown compression")  # fmt: skip
EITHER = ("tilted", "uneven", "one damaged", "missing first", "wild numbers")
AXES = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "prone": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "oblique": tuple(tuple(float(v) for v in column) for column in DIRECTIONS["oblique"].T[:2]),
}
UID = "1.2.826.0.1.3680043.2.1125"


@dataclass(frozen=True)
class OddSeries:
    """A CT series, a file a slice, and what is odd about it.

    Args:
        dtype: of the stored values; ``i2`` and ``u2`` also with 12 bits.
        spacing: between columns, between rows, mm.
        step: between slices, mm.
        oddity: one of :data:`WHOLE`, which are read; :data:`BROKEN`, which are refused; and
            :data:`EITHER`.
    """

    slices: int
    rows: int
    columns: int
    dtype: str
    bits: int
    syntax: str
    slope: float
    intercept: float
    axes: str
    spacing: tuple[float, float]
    step: float
    oddity: str
    seed: int

    @cached_property
    def stored(self) -> np.ndarray:
        limits = np.iinfo(self.dtype)
        bits = min(self.bits, 8 * np.dtype(self.dtype).itemsize)
        low = -(1 << bits - 1) if limits.min < 0 else 0
        random = np.random.default_rng(self.seed)
        shape = (self.slices, self.rows, self.columns)
        return random.integers(low, low + (1 << bits), shape).astype(self.dtype)

    @cached_property
    def normal(self) -> np.ndarray:
        return np.cross(*self.axes_lps)

    @cached_property
    def axes_lps(self) -> np.ndarray:
        return np.array(AXES[self.axes])

    @cached_property
    def positions(self) -> np.ndarray:
        """Of the slices, before anything befalls them."""
        step = self.step * self.normal
        if self.oddity == "tilted":
            step = step + 0.3 * self.step * self.axes_lps[1]
        return np.array([-120.0, -90.0, 30.0]) + np.arange(self.slices)[:, None] * step

    @property
    def hounsfield(self) -> np.ndarray:
        return self.stored * self.slope + self.intercept

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """By the formula of PS3.3, C.7.6.2.1.1, for slices in the order of ``positions``."""
        matrix = np.eye(4)
        matrix[:3, :2] = (self.axes_lps * np.array(self.spacing)[:, None]).T
        matrix[:3, 2] = self.positions[1] - self.positions[0] if self.slices > 1 else self.normal
        matrix[:3, 3] = self.positions[0]
        return SCANNER @ matrix

    def write(self, folder: Path) -> list[Path]:
        """The files, and the paths of those of the scan itself."""
        folder.mkdir(parents=True, exist_ok=True)
        datasets = [self.dataset(index) for index in range(self.slices)]
        datasets = _befall(self, datasets, folder)
        names = list(range(len(datasets)))
        if self.oddity in ("out of order", "repeated numbers"):
            np.random.default_rng(self.seed).shuffle(names)
        paths = []
        for name, dataset in zip(names, datasets, strict=True):
            suffix = "" if self.oddity == "no names" else ".dcm"
            paths.append(save_slice(dataset, folder / f"IM{name:04}{suffix}"))
        if self.oddity in ("no preamble", "bytes behind", "a private item"):
            for path in paths:
                _change_bytes(self, path)
        if self.oddity == "one damaged":
            content = paths[len(paths) // 2].read_bytes()
            paths[len(paths) // 2].write_bytes(content[: int(len(content) * 0.7)])
        return paths

    def dataset(self, index: int, series: int = 1) -> Any:
        """A slice, by pydicom."""
        from pydicom.dataset import Dataset, FileMetaDataset

        meta = FileMetaDataset()
        meta.TransferSyntaxUID = SYNTAXES[self.syntax]
        ds = Dataset()
        ds.file_meta = meta
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SOPClassUID = meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"{UID}.{series}.{index + 1}"
        ds.Modality = "CT"
        ds.StudyInstanceUID = f"{UID}.9"
        ds.SeriesInstanceUID = f"{UID}.{series}"
        ds.SeriesNumber = series
        ds.InstanceNumber = index + 1
        ds.ImagePositionPatient = [f"{value:.8g}" for value in self.positions[index]]
        ds.ImageOrientationPatient = [f"{value:.9f}" for value in self.axes_lps.ravel()]
        ds.PixelSpacing = [repr(self.spacing[1]), repr(self.spacing[0])]
        ds.RescaleSlope, ds.RescaleIntercept = str(self.slope), str(self.intercept)
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = self.rows, self.columns
        size = 8 * np.dtype(self.dtype).itemsize
        ds.BitsAllocated, ds.BitsStored = size, min(self.bits, size)
        ds.HighBit = ds.BitsStored - 1
        ds.PixelRepresentation = int(self.dtype[0] == "i")
        _set_pixels(ds, self.stored[index], self.syntax)
        return ds


def _set_pixels(ds: Any, plane: np.ndarray, syntax: str) -> None:
    if syntax in COMPRESSED:
        ds.file_meta.TransferSyntaxUID = SYNTAXES["explicit"]
        ds.PixelData = plane.tobytes()
        ds["PixelData"].VR = "OW"
        ds.compress(SYNTAXES[syntax], plane, generate_instance_uid=False)
        return
    swapped = plane.astype(plane.dtype.newbyteorder(">" if syntax == "big endian" else "<"))
    content = swapped.tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB" if plane.dtype.itemsize == 1 and syntax != "implicit" else "OW"


def save_slice(ds: Any, path: Path) -> Path:
    """What pydicom's ``save_as`` writes, in a fraction of its time: thousands of slices have nearly
    all of their elements in common, and each of these is encoded once."""
    syntax = ds.file_meta.TransferSyntaxUID
    implicit, little = syntax == SYNTAXES["implicit"], syntax != SYNTAXES["big endian"]
    content = b"".join(_encoded(element, implicit, little) for element in ds)
    if syntax == SYNTAXES["deflated"]:
        compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = compressor.compress(content) + compressor.flush()
        content += b"\0" * (len(content) % 2)
    meta = ds.file_meta
    sop = [
        ds.get(f"SOP{what}UID", meta[f"MediaStorageSOP{what}UID"].value)
        for what in ("Class", "Instance")
    ]
    path.write_bytes(b"\0" * 128 + b"DICM" + _encoded_meta(str(syntax), *map(str, sop)) + content)
    return path


_ENCODED: dict[tuple[Any, ...], bytes] = {}


def _encoded(element: Any, implicit: bool, little: bool) -> bytes:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_data_element

    once = element.VR in ("SQ", "OB", "OW")
    key = (element.tag, element.VR, str(element.value), implicit, little)
    if once or key not in _ENCODED:
        file = DicomBytesIO()
        file.is_implicit_VR, file.is_little_endian = implicit, little
        write_data_element(file, element)
        if once:
            return file.getvalue()
        _ENCODED[key] = file.getvalue()
    return _ENCODED[key]


@cache
def _encoded_meta(syntax: str, sop_class: str, instance: str) -> bytes:
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, instance
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = False, True
    write_file_meta_info(file, meta)
    return file.getvalue()


def _befall(case: OddSeries, slices: list[Any], folder: Path) -> list[Any]:
    """What the case's oddity does to its slices, and the files that it puts beside them."""
    middle = len(slices) // 2
    one, oddity = slices[middle], case.oddity
    if oddity == "missing":
        del slices[middle]
    elif oddity == "missing first":
        del slices[0]
    elif oddity == "copies":
        for index in (0, middle):
            save_slice(slices[index], folder / f"copy{index}.dcm")
    elif oddity == "same place":
        one.ImagePositionPatient = slices[middle - 1].ImagePositionPatient
    elif oddity == "off the row":
        off = case.positions[middle] + 20 * case.step * case.axes_lps[0]
        one.ImagePositionPatient = [f"{value:.8g}" for value in off]
    elif oddity == "uneven":
        off = case.positions[middle] + 0.2 * case.step * case.normal
        one.ImagePositionPatient = [f"{value:.8g}" for value in off]
    elif oddity == "two series":
        for index in range(case.slices):
            save_slice(case.dataset(index, 2), folder / f"other{index}.dcm")
    elif oddity in ("other series aside", "localizer"):
        aside = case.dataset(0, 2)
        if oddity == "localizer":
            aside.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            aside.SeriesInstanceUID = f"{UID}.1"
        else:
            aside.Modality = "PT"
        save_slice(aside, folder / "aside.dcm")
    elif oddity == "a report":
        (folder / "report.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 200)
    elif oddity == "DICOMDIR":
        (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 50)
        (folder / ".DS_Store").write_bytes(b"\0" * 200)
    elif oddity == "head first":
        slices.reverse()
    elif oddity in ("bolus tracking", "slabs"):
        for number, ds in enumerate(slices):
            ds.AcquisitionNumber = 1 if oddity == "bolus tracking" or number <= middle else 2
        again = [middle] * 4 if oddity == "bolus tracking" else [middle]
        for number, index in enumerate(again):
            ds = case.dataset(index)
            ds.AcquisitionNumber, ds.SOPInstanceUID = 2, f"{UID}.9.{number}"
            save_slice(ds, folder / f"again{number}.dcm")
    elif oddity == "one slice":
        del slices[1:]
    elif oddity == "sizes differ":
        for ds in slices[middle:]:
            ds.Columns = case.columns + 1
            plane = np.zeros((case.rows, case.columns + 1), case.dtype)
            _set_pixels(ds, plane, case.syntax)
    else:
        for number, ds in enumerate(slices):
            _change(oddity, ds, number)
    return slices


def _change(oddity: str, ds: Any, number: int) -> None:
    """What befalls every slice."""
    if oddity == "repeated numbers":
        ds.InstanceNumber = 1
    elif oddity == "no position":
        del ds.ImagePositionPatient
    elif oddity == "no orientation":
        del ds.ImageOrientationPatient
    elif oddity == "no spacing":
        del ds.PixelSpacing
    elif oddity == "another modality":
        ds.Modality = "MR"
    elif oddity == "colour":
        plane = np.zeros((ds.Rows, ds.Columns, 3), np.uint8)
        ds.file_meta.TransferSyntaxUID = SYNTAXES["explicit"]
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
        ds.pop("PixelData", None)
        _set_pixels(ds, plane, "explicit")
    elif oddity == "infinite position":
        _set_text(ds, "ImagePositionPatient", ["inf", "0", str(number)])
    elif oddity == "wild numbers":
        _set_text(ds, "ImagePositionPatient", ["1e300", "-1e300", f"{number}e299"])
    elif oddity == "coinciding axes":
        ds.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
    elif oddity == "zero spacing":
        ds.PixelSpacing = [0, 0]
    elif oddity == "rounded directions":
        ds.ImageOrientationPatient = [0.99 * float(one) for one in ds.ImageOrientationPatient]
    elif oddity == "negative spacing":
        ds.PixelSpacing = [-float(one) for one in ds.PixelSpacing]
    elif oddity == "inverted display":
        ds.PhotometricInterpretation = "MONOCHROME1"
    elif oddity == "one UID":
        ds.SOPInstanceUID = f"{UID}.7"
    elif oddity == "no UIDs":
        del ds.SOPInstanceUID, ds.SeriesInstanceUID
    elif oddity == "a series UID each":
        ds.SeriesInstanceUID = f"{UID}.8.{number}"
    elif oddity == "unknown compression":
        from pydicom.encaps import encapsulate

        ds.file_meta.TransferSyntaxUID = UNKNOWN_SYNTAX
        ds.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(range(200)) * (1 + number)])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True


def _change_bytes(case: OddSeries, path: Path) -> None:
    """What no DICOM writer would write; where the transfer syntax allows for it."""
    content = path.read_bytes()
    if case.oddity == "no preamble" and case.syntax in ("implicit", "explicit"):
        import pydicom

        ds = pydicom.dcmread(path)
        del ds.file_meta
        ds.preamble = None
        implicit = case.syntax == "implicit"
        pydicom.dcmwrite(
            path, ds, implicit_vr=implicit, little_endian=True, enforce_file_format=False
        )
    elif case.oddity == "bytes behind" and case.syntax != "deflated":
        path.write_bytes(content + np.random.default_rng(case.seed).bytes(1 + 5 * case.seed))
    elif case.oddity == "a private item" and case.syntax == "explicit":
        value = struct.pack("<2HI", 0xFFFE, 0xE000, case.seed) + b"\x12" * 40
        private = struct.pack("<2H2sH8s", 0x6021, 0x0010, b"LO", 8, b"CREATOR ")
        private += struct.pack("<2H2s2xI", 0x6021, 0x1002, b"UN", len(value)) + value
        at = content.rindex(struct.pack("<2H", 0x7FE0, 0x0010))
        path.write_bytes(content[:at] + private + content[at:])


def _set_text(ds: Any, name: str, values: list[str]) -> None:
    """Numbers as a stranger's software writes them, which pydicom would refuse."""
    from pydicom import config

    mode = config.settings.writing_validation_mode, config.settings.reading_validation_mode
    config.settings.writing_validation_mode = config.settings.reading_validation_mode = 0
    setattr(ds, name, values)
    config.settings.writing_validation_mode, config.settings.reading_validation_mode = mode


def _sized(case: OddSeries) -> OddSeries:
    """With slices enough to tell what is broken, and a syntax that can be written."""
    if case.oddity not in WHOLE and case.slices < 5:
        case = replace(case, slices=5)
    if case.oddity in ("sizes differ", "other series aside", "localizer") and case.slices < 4:
        case = replace(case, slices=4)
    if (
        case.syntax in COMPRESSED
    ):  # their encoders, and GDCM's decoders, want a picture of some size
        case = replace(case, rows=case.rows + 32, columns=case.columns + 32)
    return case


odd_series = st.builds(
    OddSeries,
    slices=st.integers(2, 9),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    dtype=st.sampled_from(["i2", "u2", "i2", "u2", "u1", "i1"]),
    bits=st.sampled_from([16, 12]),
    syntax=st.sampled_from(tuple(SYNTAXES)),
    slope=st.sampled_from([1.0, 1.0, 2.0, 0.5]),
    intercept=st.sampled_from([-1024.0, 0.0, -1000.5]),
    axes=st.sampled_from(tuple(AXES)),
    spacing=st.sampled_from([(0.7, 0.7), (0.5, 0.9), (0.01, 20.0), (3.0, 3.0)]),
    step=st.sampled_from([0.3, 1.0, 2.5, 10.0]),
    oddity=st.sampled_from(WHOLE + BROKEN + EITHER),
    seed=st.integers(0, 99),
).map(_sized)


FRAMES_WHOLE = ("none", "out of order", "head first", "tilted")
FRAMES_BROKEN = ("missing", "same place", "off the row", "no position", "no orientation",
                 "no spacing", "each rescaled", "one too few", "infinite position",
                 "no frame is placed")  # fmt: skip


def write_frames(case: OddSeries, path: Path) -> np.ndarray:
    """The slices of a case as the frames of one Enhanced CT; gives the order they stand in."""
    from pydicom.dataset import Dataset

    ds = case.dataset(0)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    order = np.arange(case.slices)
    if case.oddity == "out of order":
        np.random.default_rng(case.seed).shuffle(order)
    elif case.oddity == "head first":
        order = order[::-1]
    elif case.oddity == "missing":
        order = np.delete(order, case.slices // 2)
    shared, groups = Dataset(), []
    shared.PlaneOrientationSequence = [_group(ds, "ImageOrientationPatient")]
    shared.PixelMeasuresSequence = [_group(ds, "PixelSpacing")]
    rescale = _group(ds, "RescaleSlope", "RescaleIntercept")
    for index in order:
        slice_ds = case.dataset(int(index))
        if case.oddity == "off the row" and index == case.slices // 2:
            off = case.positions[index] + 20 * case.step * case.axes_lps[0]
            slice_ds.ImagePositionPatient = [f"{value:.8g}" for value in off]
        if case.oddity == "same place" and index == 1:
            slice_ds.ImagePositionPatient = case.dataset(0).ImagePositionPatient
        if case.oddity == "infinite position":
            _set_text(slice_ds, "ImagePositionPatient", ["inf", "0", "0"])
        group = Dataset()
        group.PlanePositionSequence = [_group(slice_ds, "ImagePositionPatient")]
        if case.oddity == "each rescaled":
            slice_ds.RescaleSlope = str(index + 1)
            own = _group(slice_ds, "RescaleSlope", "RescaleIntercept")
            group.PixelValueTransformationSequence = [own]
        groups.append(group)
    if case.oddity != "each rescaled":
        shared.PixelValueTransformationSequence = [rescale]
    if case.oddity == "one too few":
        del groups[-1]
    elif case.oddity == "no position":
        del groups[0].PlanePositionSequence
    elif case.oddity == "no orientation":
        del shared.PlaneOrientationSequence
    elif case.oddity == "no spacing":
        del shared.PixelMeasuresSequence
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(ds, name)
    del ds.RescaleSlope, ds.RescaleIntercept
    ds.SharedFunctionalGroupsSequence = [shared]
    if case.oddity != "no frame is placed":
        ds.PerFrameFunctionalGroupsSequence = groups
    ds.NumberOfFrames = len(order)
    _set_pixels(ds, case.stored[order], case.syntax)
    save_slice(ds, path)
    return order


def _group(ds: Any, *names: str) -> Any:
    from pydicom.dataset import Dataset

    group = Dataset()
    for name in names:
        group[name] = ds[name]
    return group


odd_frames = st.builds(
    lambda case, oddity, syntax, dtype: replace(
        case, oddity=oddity, slices=max(case.slices, 5), syntax=syntax, dtype=dtype
    ),
    odd_series,
    st.sampled_from(FRAMES_WHOLE * 2 + FRAMES_BROKEN),
    st.sampled_from(["implicit", "explicit", "big endian", "deflated"]),
    st.sampled_from(["i2", "u2"]),
)


# --- trees for a batch ---------------------------------------------------------------------------

SCAN_NAMES = ("ct.nrrd", "CT.nii.gz", "scan 1.mha", "früh.nii", "膵.nrrd", "con.nrrd", "-.mhd")
FOUND = ("scan", "series")
LEFT_OUT = ("private folder", "private slice", "link to a folder", "results")
PASSED_OVER = ("notes", "hidden", "nothing", "link that leads nowhere")


@dataclass(frozen=True)
class OddTree:
    """A folder of scans as people have them, each thing in a folder of its own.

    Args:
        entries: what there is: one of :data:`FOUND`, :data:`LEFT_OUT` and :data:`PASSED_OVER`; the
            folder that it is in, from the top; and the name of the scan, if it is one.
    """

    entries: tuple[tuple[str, str, str], ...]

    def write(self, root: Path) -> tuple[set[str], set[str]]:
        """The tree. What is named "private" has yet to be denied.

        Returns:
            The paths of the scans that are to be found, and of what is to be left out. Of several
            slices that nobody may read, which are one to the batch, the first one's folder.
        """
        (root / "tree").mkdir()
        found: set[str] = set()
        left_out: set[str] = set()
        private: list[Path] = []
        for number, (kind, parent, name) in enumerate(self.entries):
            folder = root / "tree" / parent / str(number)
            path = _write_entry(kind, folder, name, root / f"elsewhere{number}")
            if kind == "private slice":
                private.append(path)
            elif kind in FOUND:
                found.add(str(path))
            elif kind in LEFT_OUT:
                left_out.add(str(path))
        if private:
            first = min(private, key=lambda path: path.relative_to(root).parts)
            left_out.add(str(first if len(private) == 1 else first.parent))
        return found, left_out


def _write_entry(kind: str, folder: Path, name: str, elsewhere: Path) -> Path:
    """The file or folder that is to be named for it."""
    folder.mkdir(parents=True)
    path = folder / name
    if kind == "scan":
        path.touch()
    elif kind == "series":
        path = folder
        case = OddSeries(
            3, 2, 2, "i2", 16, "explicit", 1.0, 0.0, "axial", (0.7, 0.7), 2.5, "none", 0
        )
        for index in range(case.slices):
            ds = case.dataset(index)
            ds.SeriesInstanceUID = f"{UID}.2{folder.name}"
            ds.SOPInstanceUID = f"{UID}.3{folder.name}.{index}"
            save_slice(ds, path / f"{index}.dcm")
    elif kind == "private folder":
        path = folder / "private"
        path.mkdir()
        (path / name).touch()
    elif kind == "private slice":
        path = folder / "private.dcm"
        path.write_bytes(bytes(200))
    elif kind == "link to a folder":
        elsewhere.mkdir()
        (elsewhere / name).touch()
        path = folder / "link"
        path.symlink_to(elsewhere)
    elif kind == "results":
        path = folder
        for made in ("probability.nrrd", "segmentation.seg.nrrd", "attention-level-1.nrrd"):
            (path / made).touch()
        (path / "report.json").write_text("{}")
    elif kind == "notes":
        (folder / "notes.txt").write_text("No scan.")
    elif kind == "hidden":
        (folder / f".{name}").touch()
    elif kind == "link that leads nowhere":
        (folder / "link").symlink_to(elsewhere)
    return path


def deny_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nobody, not even root, may read what is named "private"."""
    real_open, real_scan = open, os.scandir

    def deny(path: Any) -> None:
        if isinstance(path, (str, os.PathLike)) and Path(path).name.startswith("private"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))

    def opened(path: Any, *arguments: Any, **options: Any) -> Any:
        deny(path)
        return real_open(path, *arguments, **options)

    def scanned(path: Any = ".") -> Any:
        deny(path)
        return real_scan(path)

    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr("os.scandir", scanned)


def hold_file(monkeypatch: pytest.MonkeyPatch, name: str, is_held: Callable[[], bool]) -> None:
    """A file of that name is open in another program now and then: as Windows has it, it can be
    read then, but neither be written nor replaced."""
    real_open, real_replace = io.open, os.replace

    def opened(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        writes = not set(mode).isdisjoint("wax+")
        if writes and not isinstance(path, int) and Path(path).name == name and is_held():
            raise PermissionError(errno.EACCES, "in use")
        return real_open(path, mode, *arguments, **options)

    def replaced(source: Any, target: Any, **options: Any) -> None:
        if Path(target).name == name and is_held():
            raise PermissionError(errno.EACCES, "in use")
        real_replace(source, target, **options)

    for place in ("io.open", "builtins.open"):
        monkeypatch.setattr(place, opened)
    monkeypatch.setattr("os.replace", replaced)


odd_trees = st.builds(
    OddTree,
    st.lists(
        st.tuples(
            st.sampled_from(FOUND * 3 + LEFT_OUT + PASSED_OVER),
            st.sampled_from(["", "a", "a/b", "ü & c", "[d]", *NOT_UTF8]),
            st.sampled_from(SCAN_NAMES),
        ),
        min_size=1,
        max_size=7,
    ).map(tuple),
)
