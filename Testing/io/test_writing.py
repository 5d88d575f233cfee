"""Gzip in blocks and NRRD in slabs, read back by programs that had no hand in them."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from AttentionUNetSegmentLib.io import gzip_writing
from AttentionUNetSegmentLib.io.gzip_writing import BLOCK_BYTES, compressing_threads, write_gzip
from AttentionUNetSegmentLib.io.nrrd_writing import slabs_of_region, write_nrrd


@pytest.fixture(params=["zlib_ng", "zlib"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the library that compresses fast, and as in Slicer without it."""
    if request.param == "zlib_ng":
        pytest.importorskip("zlib_ng")
    else:
        leave_out_zlib_ng(monkeypatch)
    assert gzip_writing.zlib_library().__name__.rpartition(".")[2] == request.param
    return str(request.param)


def leave_out_zlib_ng(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zlib_ng", None)
    monkeypatch.delitem(sys.modules, "zlib_ng.zlib_ng", raising=False)


def packed(*parts: np.ndarray | bytes) -> bytes:
    file = io.BytesIO()
    write_gzip(file, parts)
    return file.getvalue()


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(1).random(count, np.float32)


@pytest.mark.parametrize(
    "content",
    [b"", b"a", bytes(3 * BLOCK_BYTES), noise(BLOCK_BYTES // 2 + 17).tobytes(),
     bytes(BLOCK_BYTES - 1) + noise(9).tobytes() + bytes(2 * BLOCK_BYTES + 5)],
    ids=["empty", "byte", "zeros", "noise", "both"],
)  # fmt: skip
def test_it_is_one_ordinary_member(content: bytes) -> None:
    """Readers look for the length in the last bytes, and some know one member only."""
    made = packed(content)
    reading = zlib.decompressobj(31)
    assert reading.decompress(made) == content
    assert reading.eof
    assert reading.unused_data == b""
    assert int.from_bytes(made[-4:], "little") == len(content)
    assert made[:10] == b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # no time and no name


def test_the_same_bytes_with_any_threads_and_cut_in_any_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = noise(BLOCK_BYTES).tobytes()
    made = set()
    for threads in (1, 2, 5):
        monkeypatch.setattr(gzip_writing, "compressing_threads", lambda threads=threads: threads)
        made |= {packed(content), packed(content[:7], b"", content[7:3000], content[3000:])}
    assert len(made) == 1
    assert gzip.decompress(made.pop()) == content


def test_the_same_bytes_every_time_and_with_either_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library that looks at what its memory held before writes others now and then."""
    steps = np.random.default_rng(3).integers(0, 9, 20 * BLOCK_BYTES // 4)
    content = (steps.cumsum() % 4096 / 4096).astype(np.float32).tobytes()
    made = set()
    for size in range(8):
        rubbish = [noise(BLOCK_BYTES // 3 * (size + 1)) for _ in range(3)]
        made.add(packed(content))
        del rubbish
    leave_out_zlib_ng(monkeypatch)
    made.add(packed(content))
    assert len(made) == 1


def test_zeros_are_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    original = gzip_writing._deflate

    def counting(library: object, block: bytes) -> bytes:
        lengths.append(len(block))
        return original(library, block)

    monkeypatch.setattr(gzip_writing, "_deflate", counting)
    monkeypatch.setattr(gzip_writing, "compressing_threads", lambda: 1)
    packed(bytes(20 * BLOCK_BYTES), noise(BLOCK_BYTES // 4), bytes(20 * BLOCK_BYTES + 9))
    assert lengths == [BLOCK_BYTES, BLOCK_BYTES, 9]


def test_some_blocks_are_held_and_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_writing, "compressing_threads", lambda: 2)
    made, written = 0, io.BytesIO()

    def parts() -> Iterator[np.ndarray]:
        nonlocal made
        for _ in range(40):
            made += 1
            yield noise(BLOCK_BYTES // 4)

    class Watching(io.BytesIO):
        def write(self, content: bytes) -> int:  # type: ignore[override]
            if len(content) > BLOCK_BYTES // 2:
                ahead.append(made - len(ahead))
            return written.write(content)

    ahead: list[int] = []
    write_gzip(Watching(), parts())
    assert len(ahead) == 40
    assert max(ahead) <= 6


def test_what_a_part_fails_with_is_what_is_raised(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield bytes(5 * BLOCK_BYTES)
        raise MemoryError("no memory left")

    with (tmp_path / "a.gz").open("wb") as file, pytest.raises(MemoryError, match="no memory left"):
        write_gzip(file, parts())


def test_threads_are_no_more_than_the_user_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert compressing_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "no number")
    assert compressing_threads() >= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("space", ["RAS", "LPS"])
def test_a_volume_of_slabs_is_read_by_itk(tmp_path: Path, dtype: type, space: str) -> None:
    """By both of its readers of gzip: that of NRRD, and zlib's own, which has NIfTI."""
    shape = (40, 300, 200)
    region = (slice(3, 31), slice(20, 290), slice(7, 150))
    part = np.random.default_rng(2).integers(0, 200, (28, 270, 143)).astype(dtype)
    whole = np.zeros(shape, dtype)
    whole[region] = part
    place = np.array([[-0.8, 0, 0, 90.5], [0, 0, 2.5, -3], [0, 0.7, 0, 1.1], [0, 0, 0, 1]])
    slabs = slabs_of_region(part, region, shape)
    write_nrrd(tmp_path / "a.nrrd", slabs, dtype, shape, place, {"Name": "a\\b"}, space=space)
    image = SimpleITK.ReadImage(str(tmp_path / "a.nrrd"))
    array = SimpleITK.GetArrayFromImage(image)
    np.testing.assert_array_equal(array, whole)
    assert array.dtype == dtype
    assert image.GetMetaData("Name") == "a\\b"
    directions = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    np.testing.assert_allclose(directions, np.diag([-1, -1, 1]) @ place[:3, :3], atol=1e-12)
    np.testing.assert_allclose(image.GetOrigin(), [-90.5, 3, 1.1])

    nifti = nibabel.Nifti1Image(whole.T, np.eye(4)).to_bytes()
    with (tmp_path / "a.nii.gz").open("wb") as file:
        write_gzip(file, [nifti])
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.nii.gz")))
    np.testing.assert_array_equal(read, whole)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "a.nii.gz").dataobj, whole.T)


def test_an_empty_region_is_a_volume_of_zeros() -> None:
    nothing = (slice(0, 0),) * 3
    slabs = slabs_of_region(np.zeros((0, 0, 0), np.float32), nothing, (5, 6, 7))
    np.testing.assert_array_equal(np.concatenate([*slabs]), np.zeros((5, 6, 7)))
