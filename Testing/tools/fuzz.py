"""Fuzz what reads strangers' bytes: the model's card, its weights, and scans.

    python Testing/tools/fuzz.py card weights volume dicom --seconds 150

Atheris (libFuzzer for Python) watches which lines of the library a file reaches and changes files
that reach new ones. Each target takes bytes, and may do nothing but succeed or raise an error that
is written for the user. Its first corpus is made here, in a temporary folder; a file that breaks a
target is left in the folder of ``--found``. Only Python code is watched: ITK, GDCM and safetensors
are run, not seen into.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AttentionUNetSegment"), str(ROOT / "Testing" / "support")]

SLOWEST_S = 10  # for one file
MOST_MEMORY_MB = 3000
LONGEST_BYTES = 4096


def card(content: bytes) -> None:
    """``model.json``."""
    from AttentionUNetSegmentLib.errors import ModelError
    from AttentionUNetSegmentLib.models import read_card

    (folder() / "model.json").write_bytes(content)
    try:
        read = read_card(folder())
        assert read.from_json(read.to_json()) == read
    except ModelError as error:
        check_sentence(error)


def weights(content: bytes) -> None:
    """``weights.safetensors``, under a card that vouches for it."""
    import hashlib

    from AttentionUNetSegmentLib.errors import ModelError
    from AttentionUNetSegmentLib.models import WeightsFile, load_model

    text, _ = model()
    described = WeightsFile(
        "weights.safetensors", hashlib.sha256(content).hexdigest(), max(len(content), 1)
    )
    (folder() / "model.json").write_text(text.with_weights(described).to_json(), encoding="utf-8")
    (folder() / "weights.safetensors").write_bytes(content)
    try:
        load_model(folder())
    except ModelError as error:
        check_sentence(error)


def volume(content: bytes) -> None:
    """An image file; its first byte says which format its name promises."""
    suffixes = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
    read(f"scan{suffixes[content[0] % 6] if content else '.nii'}", content[1:])


def dicom(content: bytes) -> None:
    """A DICOM file."""
    read("scan.dcm", content)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "card": card,
    "weights": weights,
    "volume": volume,
    "dicom": dicom,
}


def read(name: str, content: bytes) -> None:
    from AttentionUNetSegmentLib.errors import InputError
    from AttentionUNetSegmentLib.io.reading import read_volume

    path = folder() / name
    path.write_bytes(content)
    try:
        found = read_volume(path, lambda warning: None)
        assert found.array.size <= 2000 * max(len(content), 1)
    except InputError as error:
        check_sentence(error)
    finally:
        path.unlink()


def check_sentence(error: Exception) -> None:
    assert str(error).strip()
    assert "Traceback" not in str(error)


_state: dict[str, object] = {}


def folder() -> Path:
    """Where the files are put."""
    made = _state.setdefault("folder", tempfile.TemporaryDirectory())
    assert isinstance(made, tempfile.TemporaryDirectory)
    return Path(made.name)


def model() -> tuple:
    """A card without weights, and the bytes of weights that fit it."""
    if "model" not in _state:
        from AttentionUNetSegmentLib.models.weights import to_bytes, to_stored
        from AttentionUNetSegmentLib.networks import build_network
        from small_cards import card_of

        network = {"name": "UNet", "dimensions": 2, "in_channels": 1, "out_channels": 2,
                   "channels": [1, 1], "norm": "instance"}  # fmt: skip
        tensors = build_network(network).state_dict()
        named = {f"refiner.{name}": tensor for name, tensor in tensors.items()}
        _state["model"] = card_of(refiner=network), to_bytes(to_stored(named))
    return _state["model"]  # type: ignore[return-value]


def seeds(target: str) -> Iterator[bytes]:
    """Small whole files for a target."""
    from AttentionUNetSegmentLib.models import WeightsFile

    if target == "card":
        text, _ = model()
        yield text.with_weights(WeightsFile("w.safetensors", "0" * 64, 100)).to_json().encode()
    elif target == "weights":
        _, tensors = model()
        yield tensors
    elif target == "volume":
        yield from _volumes()
    else:
        from odd_inputs import SYNTAXES

        for syntax in SYNTAXES:
            yield from dicom_slices(syntax)


def _volumes() -> Iterator[bytes]:
    from odd_inputs import SUFFIXES, Odd, OddFile

    for number, suffix in enumerate(SUFFIXES):
        for seed in (0, 1):  # packed or not
            image = Odd((2, 3, 4), "i2", "noise", "oblique", (0.7, 0.8, 2.5), (1.0, 2.0, 3.0), seed)
            with tempfile.TemporaryDirectory() as place:
                path = OddFile(image, suffix).write(Path(place))
                yield bytes([number]) + path.read_bytes()


def dicom_slices(syntax: str) -> Iterator[bytes]:
    """A slice, and where the transfer syntax allows it a multi-frame file."""
    from odd_inputs import COMPRESSED, OddSeries, write_frames

    def series(side: int) -> OddSeries:
        return OddSeries(
            5, side, side, "u2", 12, syntax, 1.0, -1024.0, "axial", (0.7, 0.7), 2.5, "none", 0
        )

    with tempfile.TemporaryDirectory() as place:
        yield series(33).write(Path(place))[0].read_bytes()
        if syntax not in COMPRESSED:
            write_frames(series(2), Path(place) / "frames.dcm")
            yield (Path(place) / "frames.dcm").read_bytes()


def fuzz(target: str, seconds: int, found: Path) -> None:
    """Run one target; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["AttentionUNetSegmentLib"]):
        import AttentionUNetSegmentLib.io.dicom_frames
        import AttentionUNetSegmentLib.io.dicom_lengths
        import AttentionUNetSegmentLib.io.dicom_series
        import AttentionUNetSegmentLib.io.reading
        import AttentionUNetSegmentLib.models  # noqa: F401
    corpus = folder() / "corpus"
    corpus.mkdir()
    for number, content in enumerate(seeds(target)):
        (corpus / f"seed{number}").write_bytes(content)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={SLOWEST_S}",
        f"-rss_limit_mb={MOST_MEMORY_MB}",
        f"-max_len={LONGEST_BYTES}",
        f"-artifact_prefix={found}/{target}-",
        "-print_final_stats=1",
        "-verbosity=0",
        "-seed=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], TARGETS[target])
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--found", type=Path, default=Path.cwd(), help="gets what breaks a target")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.found.mkdir(parents=True, exist_ok=True)
    if options.here:
        fuzz(options.targets[0], options.seconds, options.found)
    failed = 0
    for target in options.targets:  # libFuzzer ends its process
        command = [sys.executable, __file__, target, "--here"]
        command += ["--seconds", str(options.seconds), "--found", str(options.found)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        stats = dict(
            line.removeprefix("stat::").split(":", 1)
            for line in done.stderr.splitlines()
            if line.startswith("stat::")
        )
        runs = stats.get("number_of_executed_units", "?").strip()
        print(f"{target}: {runs} files in {options.seconds} s, ", end="")
        print("nothing found" if done.returncode == 0 else "BROKEN", flush=True)
        if done.returncode:
            print(done.stderr[-4000:], file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
