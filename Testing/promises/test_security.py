"""Models and scans come from strangers: no code of theirs runs, no size is believed, no path leaves
its folder, nothing is sent anywhere, and nobody's name gets out."""

from __future__ import annotations

import ast
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fuzz
import numpy as np
import pydicom
import pytest
from AttentionUNetSegmentLib.app.page import Page
from AttentionUNetSegmentLib.errors import InputError
from AttentionUNetSegmentLib.io.reading import read_volume
from command_line import run, save_random_model
from odd_inputs import Odd, OddFile, OddSeries, write_frames
from scan_files import METAIMAGE, NRRD, hounsfield, stack, write_slices

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "AttentionUNetSegment"
SOURCES = sorted(LIBRARY.rglob("*.py"))

# --- no code of theirs ---------------------------------------------------------------------------

RUNS_CODE = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
TALKS = {"socket", "ssl", "urllib", "http", "ftplib", "smtplib", "requests", "httpx", "aiohttp",
         "urllib3", "xmlrpc", "telnetlib", "asyncio"}  # fmt: skip
MAY_TALK = {"app/batch/running.py"}
"""Asks whether somebody answers at the address of a Ray cluster that the user gave."""


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {name.name.partition(".")[0] for name in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {(node.module or "").partition(".")[0]}
    return set()


def called(node: ast.AST) -> str:
    """``torch.load`` for a call of it; the bare name for a call of a name."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def keyword(node: ast.AST, name: str) -> object:
    assert isinstance(node, ast.Call)
    values = [one.value for one in node.keywords if one.arg == name]
    return ast.literal_eval(values[0]) if values else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_the_library_runs_no_code_and_no_shell(path: Path) -> None:
    for node in nodes(path):
        name = called(node)
        assert name not in RUNS_CODE
        assert name not in SHELLS
        if isinstance(node, ast.ImportFrom) and node.module == "pickle":
            assert [one.name for one in node.names] == ["UnpicklingError"]
        else:
            assert not imported(node) & UNPICKLES
        if isinstance(node, ast.Call):
            assert not any(one.arg == "shell" for one in node.keywords)
            if name == "torch.load":
                assert keyword(node, "weights_only") is True
            if name in ("np.load", "numpy.load"):
                assert keyword(node, "allow_pickle") is False


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_the_library_talks_to_nobody(path: Path) -> None:
    where = path.relative_to(LIBRARY / "AttentionUNetSegmentLib") if "Lib" in str(path) else path
    if where.as_posix() not in MAY_TALK:
        assert not [name for node in nodes(path) for name in imported(node) & TALKS]


# --- no size is believed --------------------------------------------------------------------------

TERA = "1099511627776"
BOMBS: dict[str, bytes] = {}
_nrrd = NRRD.replace(b"7 6 5", b"10000 10000 10000")
BOMBS["raw.nrrd"] = _nrrd + b"\n" + bytes(500)
BOMBS["packed.nrrd"] = _nrrd.replace(b"raw", b"gzip") + b"\n" + gzip.compress(bytes(9000))
BOMBS["detached.nhdr"] = _nrrd + b"data file: voxels.raw\n"
BOMBS["listed.nhdr"] = _nrrd + b"data file: LIST\nvoxels.raw\nvoxels.raw\n"
BOMBS["itself.nhdr"] = _nrrd + b"data file: itself.nhdr\n"


def _meta(**changes: str) -> bytes:
    lines = METAIMAGE | {"DimSize": "10000 10000 10000"} | changes
    return "".join(f"{key} = {value}\n" for key, value in lines.items()).encode()


BOMBS["local.mha"] = _meta(ElementDataFile="LOCAL") + bytes(500)
BOMBS["packed.mha"] = _meta(
    CompressedData="True", CompressedDataSize=TERA, ElementDataFile="LOCAL"
) + bytes(500)
BOMBS["detached.mhd"] = _meta(ElementDataFile="voxels.raw")
BOMBS["numbered.mhd"] = _meta(ElementDataFile="voxels%d.raw 1 999999999 1")


def write_bombs(folder: Path) -> list[Path]:
    """Files of a few kB that claim a terabyte, or 4 GB where the format cannot say more."""
    (folder / "voxels.raw").write_bytes(bytes(500))
    (folder / "voxels1.raw").write_bytes(bytes(500))
    for name, content in BOMBS.items():
        (folder / name).write_bytes(content)
    for suffix in (".nii", ".nii.gz"):
        image = Odd((1, 2, 3), "i2", "noise", "scanner", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 1)
        path = OddFile(image, suffix).write(folder, "header")
        content = bytearray(
            path.read_bytes() if suffix == ".nii" else gzip.decompress(path.read_bytes())
        )
        content[42:48] = np.array([32767, 32767, 500], "<i2").tobytes()
        path.write_bytes(content if suffix == ".nii" else gzip.compress(content))
    series = OddSeries(
        2, 9, 9, "i2", 16, "explicit", 1.0, -1024.0, "axial", (0.7, 0.7), 2.5, "none", 0
    )
    for path in series.write(folder / "pixels.series"):
        content = bytearray(path.read_bytes())
        for tag in (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"):
            at = content.index(tag)
            content[at + len(tag) : at + len(tag) + 2] = b"\xff\xff"
        # Where the data set begins, which GDCM takes for an element of 4 GB.
        start = content.index(b"\x08\x00\x08\x00CS")
        (folder / "element.dcm").write_bytes(content[:start] + b"\xf7" * 100 + content[start:])
        path.write_bytes(content)
    write_frames(replace(series, slices=5), folder / "frames.dcm")
    content = (folder / "frames.dcm").read_bytes()
    few = b"\x28\x00\x08\x00IS\x02\x005 "
    assert few in content
    many = b"\x28\x00\x08\x00IS\x0a\x00999999999 "
    (folder / "frames.dcm").write_bytes(content.replace(few, many))
    return sorted(path for path in folder.iterdir() if path.suffix != ".raw")


MOST_TAKEN_MB = 200  # ITK's threads have stacks
READ_BOMBS = """
import resource, sys
import SimpleITK, torch, pydicom
from AttentionUNetSegmentLib.errors import AttentionUNetSegmentError
from AttentionUNetSegmentLib.io.reading import read_volume
from AttentionUNetSegmentLib.models import load_model
def most_memory():  # that was ever taken from the system, used or not, in kB
    status = open("/proc/self/status").read()
    return int(status.split("VmPeak:")[1].split()[0])
resource.setrlimit(resource.RLIMIT_AS, (1000 * most_memory() + 8_000_000_000,) * 2)
for path in sys.argv[1:]:
    before = most_memory()
    try:
        load_model(path) if path.endswith("model") else read_volume(path)
        text = "READ"
    except AttentionUNetSegmentError as error:
        text = str(error)
    taken = most_memory() - before
    print(path.rpartition("/")[2], taken // 1000, text.replace("\\n", "|"), sep="\\t", flush=True)
"""


def read_bombs(*paths: Path) -> list[tuple[str, int, str]]:
    """The name of each, how much memory was taken for it at most in MB, and what was said of it."""
    environment = os.environ | {"PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", READ_BOMBS, *map(str, paths)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return [(name, int(taken_mb), text) for name, taken_mb, text in lines]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_a_small_file_that_promises_a_terabyte_takes_no_memory(tmp_path: Path) -> None:
    """Not for a moment: what was taken at most is looked at after each."""
    paths = write_bombs(tmp_path) + list(write_model_bombs(tmp_path / "models"))
    assert all(path.is_dir() or path.stat().st_size < 5000 for path in paths)
    told = read_bombs(*paths)
    assert [name for name, _, _ in told] == [path.name for path in paths]
    for name, taken_mb, text in told:
        assert text.endswith("."), (name, text)
        assert "|" not in text, (name, text)
        assert "this computer's memory" not in text, (name, text)  # refused, not tried
        assert taken_mb < MOST_TAKEN_MB, (name, text)


def write_model_bombs(folder: Path) -> Iterator[Path]:
    """Models whose card or weights' header asks for far too much."""
    text, tensors = fuzz.model()
    header = int.from_bytes(tensors[:8], "little")
    entries = json.loads(tensors[8 : 8 + header])
    name = next(key for key in entries if key != "__metadata__")
    entries[name] |= {"shape": [1 << 20, 1 << 20], "data_offsets": [0, 1 << 41]}
    large = json.dumps(entries).encode()
    card = json.loads(text.with_weights(described(tensors)).to_json())
    huge = json.loads(json.dumps(card))
    huge["stages"]["refiner"]["network"]["channels"] = [2048] * 5
    for number, (content, weights) in enumerate(
        [
            (card, len(large).to_bytes(8, "little") + large + tensors[8 + header :]),
            (card, (1 << 62).to_bytes(8, "little") + tensors[8:]),
            (huge, tensors),
            (card | {"labels": [{"value": n, "name": str(n)} for n in range(257)]}, tensors),
            (card | {"weights": card["weights"] | {"bytes": 1 << 40}}, tensors),
        ]
    ):
        place = folder / f"{number}.model"
        place.mkdir(parents=True)
        if content["weights"]["bytes"] < 1 << 40:
            content = content | {"weights": vars(described(weights))}
        (place / "model.json").write_text(json.dumps(content))
        (place / "w.safetensors").write_bytes(weights)
        yield place


def described(content: bytes) -> Any:
    import hashlib

    from AttentionUNetSegmentLib.models import WeightsFile

    return WeightsFile("w.safetensors", hashlib.sha256(content).hexdigest(), len(content))


def test_a_card_cannot_ask_for_a_grid_beyond_all_memory() -> None:
    """A voxel of 0.1 mm is allowed; a scan of half a metre has 10^11 of them."""
    import dataclasses

    from AttentionUNetSegmentLib.inference import Predictor, Volume
    from AttentionUNetSegmentLib.models import Model, Stage
    from odd_inputs import voxels
    from threshold_model import threshold_model

    model = threshold_model()
    fine = Stage(model.card.stages["refiner"].network, (0.1, 0.1, 0.1))
    card = dataclasses.replace(model.card, stages={"refiner": fine})
    predictor = Predictor(Model(card, {"refiner": model.networks["refiner"]}, Path()), "cpu")
    scan = voxels((10, 10, 10), np.dtype("i2"), "organ", 0)
    with pytest.raises(InputError, match="million voxels"):
        predictor.predict(Volume(scan, np.diag([50.0, 50, 50, 1])))


# --- no path leaves its folder --------------------------------------------------------------------

OUTSIDE = ["/{0}/secret.raw", "../secret.raw", "inside/../../secret.raw", "link.raw",
           "~/secret.raw", "LIST\n../secret.raw", "LIST\ninside.raw\n../secret.raw",
           "../secret%d.raw 1 2 1", "../secret%d.raw 1 2 1 2"]  # fmt: skip


@pytest.mark.parametrize("named", OUTSIDE)
@pytest.mark.parametrize("suffix", [".nhdr", ".nrrd", ".mhd", ".mha"])
def test_a_header_takes_no_voxels_from_outside_its_folder(
    tmp_path: Path, suffix: str, named: str
) -> None:
    """Or a picture of a scan that was sent along would show what else the computer has."""
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    content = hounsfield().astype("<i2").tobytes()
    for secret in ("secret.raw", "secret1.raw", "secret2.raw"):
        (tmp_path / secret).write_bytes(content)
    (folder / "inside.raw").write_bytes(content)
    try:
        (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    except OSError:
        pytest.skip("this system lets nobody make links")
    name = named.format(str(tmp_path).lstrip("/"))
    header = NRRD + f"data file: {name}\n".encode() if suffix[1] == "n" else b""
    header = header or _meta(DimSize="7 6 5", ElementDataFile=name)
    path = folder / f"scan{suffix}"
    path.write_bytes(header)
    with pytest.raises(InputError, match="outside its own folder"):
        read_volume(path)
    path.write_bytes(header.replace(name.encode(), b"inside.raw"))
    assert (read_volume(path).array == hounsfield()).all()


def test_voxels_in_a_list_of_files_beside_the_header_are_read(tmp_path: Path) -> None:
    for k, plane in enumerate(hounsfield()):
        (tmp_path / f"slice{k}.raw").write_bytes(plane.astype("<i2").tobytes())
    listed = "".join(f"slice{k}.raw\n" for k in range(5))
    (tmp_path / "a.nhdr").write_bytes(NRRD + f"data file: LIST\n{listed}".encode())
    (tmp_path / "b.nhdr").write_bytes(NRRD + b"data file: slice%d.raw 0 4 1\n")
    (tmp_path / "c.mhd").write_bytes(
        _meta(DimSize="7 6 5", ElementDataFile="LIST") + listed.encode()
    )
    (tmp_path / "d.mhd").write_bytes(_meta(DimSize="7 6 5", ElementDataFile="slice%d.raw 0 4 1"))
    for name in ("a.nhdr", "b.nhdr", "c.mhd", "d.mhd"):
        assert (read_volume(tmp_path / name).array == hounsfield()).all(), name


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("models") / "random")


# --- nothing is sent ------------------------------------------------------------------------------

ALONE = """
import importlib, pkgutil, sys
TALK = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
        "socket.gethostbyname", "urllib.Request", "ftplib.connect", "smtplib.connect",
        "http.client.connect")
def guard(event, arguments):
    # urllib3 asks the system whether there is IPv6 when it is imported.
    if event in TALK and not (event == "socket.bind" and arguments[1][:2] == ("::1", 0)):
        print("TALKED", event, file=sys.stderr)
        raise RuntimeError(f"{event} {arguments}")
sys.addaudithook(guard)
import AttentionUNetSegmentLib
for module in pkgutil.walk_packages(AttentionUNetSegmentLib.__path__, "AttentionUNetSegmentLib."):
    if module.name.rpartition(".")[2] == "__main__" or ".panel" in module.name or (
            "attention_unet_effect" in module.name):
        continue  # the panel needs Qt; its tests have it
    importlib.import_module(module.name)
from AttentionUNetSegmentLib import synthetic
from AttentionUNetSegmentLib.app.main import main
fine = synthetic.synthetic_abdomen
synthetic.synthetic_abdomen = lambda seed: fine(seed, (5.0, 5.0, 6.0))  # takes a tenth of the time
model, scan, out = sys.argv[1:]
options = ["--model", model, "--device", "cpu"]
assert main(["demo", "-o", out + "/demo", *options]) == 0
assert main(["segment", scan, "-o", out + "/segment", *options]) == 0
assert main(["models"]) in (0, 2)
print("ALONE")
"""


def test_nothing_is_sent_anywhere(tmp_path: Path, model: Path) -> None:
    """Every module is imported, the demo and a scan are segmented: sockets are watched, and where
    the system allows it there is no network at all."""
    prefix = ["unshare", "--map-root-user", "--net"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*prefix, "true"], capture_output=True).returncode
    ):
        prefix = []
    image = Odd((12, 14, 16), "i2", "organ", "scanner", (8.0, 8.0, 8.0), (0.0, 0.0, 0.0), 1)
    scan = OddFile(image, ".nii.gz").write(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [*prefix, sys.executable, "-c", ALONE, str(model), str(scan), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("ALONE\n")
    assert "TALKED" not in done.stderr


# --- nobody's name --------------------------------------------------------------------------------

MARK = "ZZIDENTIFYING"
IDENTIFYING = {
    "0008_0050": MARK, "0008_0080": MARK, "0008_0081": MARK, "0008_0090": f"{MARK}^A",
    "0008_1010": MARK, "0008_1030": MARK, "0008_103e": MARK, "0008_1048": f"{MARK}^B",
    "0008_1070": f"{MARK}^C", "0010_0010": f"{MARK}^D", "0010_0020": MARK, "0010_0030": "19470523",
    "0010_1000": MARK, "0010_1001": f"{MARK}^E", "0010_1040": MARK, "0010_2154": MARK,
    "0010_4000": MARK, "0018_1000": MARK, "0018_1030": MARK, "0020_0010": MARK, "0020_4000": MARK,
    "0032_1060": MARK, "0040_0254": MARK,
}  # fmt: skip
SECRETS = (MARK, "19470523", "1.2.826.0.1.3680043.2.1125")


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A series whose headers are full of what identifies a patient, in a folder of no name."""
    image = Odd((12, 14, 16), "i2", "organ", "scanner", (8.0, 8.0, 8.0), (0.0, 0.0, 0.0), 1)
    folder = tmp_path / "study" / "series"
    tags = {f"t{key}": value for key, value in IDENTIFYING.items()}
    write_slices(folder, image.array, stack(12, (0, 0, 8)), prefix="IM", **tags)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.PixelSpacing = [8, 8]
        ds.save_as(path)
    assert MARK.encode() in next(folder.iterdir()).read_bytes()
    return folder


def assert_says_nothing(folder: Path, *printed: str) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "sources.csv"]
    assert files
    for path in files:
        content = path.read_bytes()
        start = content.find(b"\x1f\x8b\x08")
        if start >= 0:  # what is packed, in a .nii.gz or an NRRD
            content += gzip.decompress(content[start:])
        for secret in SECRETS:
            assert secret.encode() not in content, path
            assert secret not in str(path.relative_to(folder))
    for text in printed:
        assert not any(secret in text for secret in SECRETS)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is put into a picture: into a figure, or onto the page of a result."""
    from matplotlib.text import Text

    texts: list[str] = []
    set_text, write = Text.set_text, Page.text

    def remember(self: Text, text: Any) -> None:
        texts.append(str(text))
        set_text(self, text)

    def note(self: Page, x: float, y: float, text: str, *rest: Any, **how: Any) -> None:
        texts.append(text)
        write(self, x, y, text, *rest, **how)

    monkeypatch.setattr(Text, "set_text", remember)
    monkeypatch.setattr(Page, "text", note)
    return texts


@pytest.fixture
def told(
    drawn: list[str], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Callable[[], list[str]]:
    """All that was printed since it was last asked for, and all that was logged or drawn."""
    caplog.set_level(0)
    return lambda: [*capfd.readouterr(), caplog.text, *drawn]


def test_segment_tells_nothing_of_the_patient(
    named: Path, tmp_path: Path, model: Path, drawn: list[str], told: Callable[[], list[str]]
) -> None:
    """Nor a refusal, which names the series by its number."""
    out = tmp_path / "out"
    assert run("segment", named, "-o", out, "--model", model, "--device", "cpu") == 0
    assert any("series" in text for text in drawn)
    assert_says_nothing(out, *told())
    sorted(named.iterdir())[5].unlink()
    assert run("segment", named, "-o", out, "--model", model, "--device", "cpu") == 2
    assert_says_nothing(out, *told())


def test_batch_tells_nothing_of_the_patient(
    named: Path, tmp_path: Path, model: Path, told: Callable[[], list[str]]
) -> None:
    out = tmp_path / "out"
    options = ("--model", model, "--device", "cpu")
    assert run("batch", tmp_path / "study", "-o", out, *options) == 0
    assert_says_nothing(out, *told())


def test_the_scene_tells_nothing_of_the_patient(named: Path, tmp_path: Path) -> None:
    """A scene with the result, saved as MRML and its files."""
    from AttentionUNetSegmentLib import scene
    from AttentionUNetSegmentLib.inference.predictor import Predictor
    from threshold_model import threshold_model

    with scene.headlessScene() as mrml:
        node = scene.addVolumeNode(read_volume(named), named.name)
        result = scene.segmentVolumeNode(node, Predictor(threshold_model(), "cpu"))
        assert result.prediction.found
        scene.saveResult(result, tmp_path)
        mrml.SetURL(str(tmp_path / "scene.mrml"))
        assert mrml.Commit(str(tmp_path / "scene.mrml"))
    shutil.rmtree(named)
    assert_says_nothing(tmp_path)


# --- fuzzing --------------------------------------------------------------------------------------


def found_by_fuzzing() -> dict[str, tuple[str, bytes]]:
    """What broke a target once, made small: a file name and its bytes."""
    slice_ = next(fuzz.dicom_slices("JPEG 2000"))
    fragment = slice_.rindex(b"\xfe\xff\x00\xe0")
    longest = b"\x08\x00\x08\x00OB\0\0\xf0\xff\xff\xff"
    image = Odd((2, 3, 4), "f4", "noise", "scanner", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 1)
    with tempfile.TemporaryDirectory() as folder:
        nifti = OddFile(image, ".nii").write(Path(folder)).read_bytes()
    return {
        "MetaIO writes beyond its memory": (
            "a.mha",
            _meta(NDims="3305086836297111", ElementDataFile="LOCAL"),
        ),
        "GDCM takes 4 GB among the fragments": (
            "a.dcm",
            slice_[:fragment] + longest + slice_[fragment:],
        ),
        "bits and type of a NIfTI differ": ("a.nii", nifti[:72] + b"\x10\0" + nifti[74:400]),
    }


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_what_fuzzing_found_is_refused(tmp_path: Path) -> None:
    """In a process of its own, which may end by it; stdout says how far it came."""
    paths = []
    for number, (name, content) in enumerate(found_by_fuzzing().values()):
        paths.append(tmp_path / f"{number}-{name}")
        paths[-1].write_bytes(content)
    told = read_bombs(*paths)
    assert [name for name, _, _ in told] == [path.name for path in paths]
    for name, taken_mb, text in told:
        assert taken_mb < MOST_TAKEN_MB, name
        assert "damaged" in text or "cut short" in text, (name, text)


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_whole_files_and_each_cut_of_them_break_nothing(target: str) -> None:
    for content in fuzz.seeds(target):
        for keep in (1, 0.99, 0.7, 0.3, 0.1, 0.01, 0):
            fuzz.TARGETS[target](content[: int(len(content) * keep)])


def test_a_few_seconds_of_fuzzing_find_nothing(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="Atheris has no wheel for this system or Python")
    done = subprocess.run(
        [sys.executable, fuzz.__file__, *fuzz.TARGETS, "--seconds", "1", "--found", str(tmp_path)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("nothing found") == len(fuzz.TARGETS)
    assert list(tmp_path.iterdir()) == []
