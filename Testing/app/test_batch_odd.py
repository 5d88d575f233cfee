"""Batches over trees as people have them: names of any bytes, files that nobody may read, our own
results, tables that are open elsewhere, and patients' names that belong nowhere."""

from __future__ import annotations

import errno
import gzip
import os
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from AttentionUNetSegmentLib.app import segmenting
from AttentionUNetSegmentLib.app.batch import worker
from AttentionUNetSegmentLib.app.batch.finished import checksum
from AttentionUNetSegmentLib.app.batch.rows import ResultsFile, StudyRow, write_table
from AttentionUNetSegmentLib.app.batch.sources import SOURCES_FILE, Study, find_studies
from AttentionUNetSegmentLib.app.nifti_label_map import write_label_map
from AttentionUNetSegmentLib.errors import InputError, OutputError
from AttentionUNetSegmentLib.geometry.volume import Volume
from AttentionUNetSegmentLib.io.reading import read_volume
from batch_cases import batch, hounsfield, save_model, table, write_scan
from command_line import run
from odd_inputs import deny_private
from scan_files import stack, write_slices
from scene_helpers import hand_made

pytestmark = pytest.mark.usefixtures("one_thread", "quick_picture")
any_bytes = pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 here")
NOT_UTF8 = os.fsdecode(b"M\xfcller")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "chance")


# --- names --------------------------------------------------------------------------------------


@any_bytes
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_a_name_that_is_not_utf8_is_read(tmp_path: Path, suffix: str) -> None:
    plain = write_scan(tmp_path / f"scan{suffix}")
    expected = read_volume(plain)
    odd = plain.rename(plain.with_name(NOT_UTF8 + suffix))
    np.testing.assert_array_equal(read_volume(odd).array, expected.array)
    folder = tmp_path.rename(tmp_path.with_name(NOT_UTF8))
    np.testing.assert_array_equal(read_volume(folder / odd.name).array, expected.array)
    with pytest.raises(InputError, match="M�ller"):
        read_volume(folder / f"{NOT_UTF8}-absent{suffix}")
    folder.rename(tmp_path)


@any_bytes
def test_slices_whose_names_are_not_utf8_are_read(tmp_path: Path) -> None:
    array = hounsfield()
    paths = write_slices(tmp_path / "series", array, stack(len(array)))
    paths[3].rename(paths[3].with_name(NOT_UTF8))
    odd = (tmp_path / "series").rename(tmp_path / NOT_UTF8)
    assert (read_volume(odd).array == array).all()
    assert (read_volume(odd / NOT_UTF8).array == array).all()


@any_bytes
def test_results_go_into_a_folder_of_any_name(tmp_path: Path, model: Path) -> None:
    (tmp_path / "scans").mkdir()
    write_scan(tmp_path / "scans" / "a.nrrd").rename(tmp_path / "scans" / f"{NOT_UTF8}.nrrd")
    out = tmp_path / NOT_UTF8
    assert batch(tmp_path / "scans", "-o", out, "--model", model, "--also", "nifti") == 0
    (row,) = table(out)
    assert row["status"] == "done"
    assert (out / "studies" / row["study"] / "segmentation.nii.gz").is_file()
    assert "M\\udcfcller.nrrd" in (out / SOURCES_FILE).read_text("utf-8")
    assert find_studies([tmp_path / "scans"], skip=out).studies[0].name == row["study"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_tilde_in_front_of_a_name_is_nobodys_home(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(tmp_path / f"~scan{suffix}")
    monkeypatch.chdir(tmp_path)
    expected = hounsfield()
    np.testing.assert_array_equal(read_volume(f"~scan{suffix}").array, expected)
    (tmp_path / "list.csv").write_text(f"scan\n~scan{suffix}\n")
    (study,) = find_studies([Path("list.csv")]).studies
    assert Path(study.path).is_file()


# --- what is found ------------------------------------------------------------------------------


def left_out(plan: Any) -> dict[str, str]:
    return {os.path.basename(one.path): one.reason for one in plan.left_out}


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins with 'private' may not be read, also by root."""
    deny_private(monkeypatch)


@pytest.mark.usefixtures("private")
def test_what_may_not_be_read_is_left_out_and_said_so(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nrrd")
    (tmp_path / "private.txt").write_text("x" * 200)
    (tmp_path / "private").mkdir()
    paths = write_slices(tmp_path / "series", hounsfield(), stack(len(hounsfield())))
    paths[0].rename(tmp_path / "series" / "private.dcm")
    plan = find_studies([tmp_path])
    assert [Path(study.path).name for study in plan.studies] == ["a.nrrd", "series"]
    reasons = " ".join(one.reason for one in plan.left_out)
    assert "cannot be opened (Permission denied)" in reasons
    assert "It cannot be opened" in left_out(plan)["private"]


def test_a_link_to_a_folder_is_said_not_to_be_followed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "elsewhere").mkdir()
    write_scan(tmp_path / "tree" / "a.nrrd")
    write_scan(tmp_path / "elsewhere" / "b.nrrd")
    (tmp_path / "tree" / "linked").symlink_to(tmp_path / "elsewhere")
    plan = find_studies([tmp_path / "tree"])
    assert len(plan.studies) == 1
    assert "link to a folder" in left_out(plan)["linked"]


def test_our_own_results_beside_the_scans_are_no_studies(tmp_path: Path) -> None:
    for name in ("ct.nrrd", "segmentation.seg.nrrd", "probability.nrrd", "attention-level-2.nrrd",
                 "segmentation.nii.gz"):  # fmt: skip
        write_scan(tmp_path / "one" / name)
    write_scan(tmp_path / "two" / "probability.nrrd")  # somebody's scan: no report beside it
    (tmp_path / "one" / "report.json").write_text("{}")
    plan = find_studies([tmp_path])
    found = [str(Path(study.path).relative_to(tmp_path)) for study in plan.studies]
    assert found == [os.path.join("one", "ct.nrrd"), os.path.join("two", "probability.nrrd")]
    assert "earlier run" in left_out(plan)["one"]


def test_a_further_scan_of_a_name_renames_no_study(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_scan(tmp_path / "scans" / "p1" / "ct.nrrd")

    def names() -> dict[str, str]:
        plan = find_studies([tmp_path / "scans"], skip=out)
        rows = [(study.name, study.path, "") for study in plan.studies]
        write_table(out / SOURCES_FILE, ("study", "source", "left_out_because"), rows)
        return {Path(study.path).parent.name: study.name for study in plan.studies}

    assert names() == {"p1": "ct"}
    write_scan(tmp_path / "scans" / "p0" / "ct.nrrd")  # before it in order
    second = names()
    assert second["p1"] == "ct"
    assert second["p0"].startswith("ct-")
    write_scan(tmp_path / "scans" / "p2" / "ct.nrrd")
    assert names().items() > second.items()


def test_empty_columns_and_rows_of_a_spreadsheet_are_nothing(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nrrd")
    (tmp_path / "list.csv").write_text("scan,name,,\na.nrrd,one,,\n,,,\n")
    (study,) = find_studies([tmp_path / "list.csv"]).studies
    assert study.name == "one"
    (tmp_path / "list.csv").write_bytes("scan\nMüller.nrrd\n".encode("latin-1"))
    with pytest.raises(InputError, match="CSV UTF-8"):
        find_studies([tmp_path / "list.csv"])


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_of_a_spreadsheet_in_another_country_is_read(tmp_path: Path, mark: str) -> None:
    write_scan(tmp_path / "a.nrrd")
    manifest = tmp_path / "list.csv"
    rows = [["scan", "clicks", "name"], ["a.nrrd", '"1,2,3,+; 4,5,6,-"', "one"], ["", "", ""]]
    text = "".join(mark.join(row) + "\r\n" for row in rows)
    manifest.write_bytes(text.encode("utf-8-sig"))
    (study,) = find_studies([manifest]).studies
    assert (study.name, len(study.clicks)) == ("one", 2)


def test_a_table_that_would_be_guessed_at_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    for text, said in (("scan,scan\na,b\n", "column twice"), ("scan\na\0.nii\n", "NUL|zero byte")):
        manifest.write_text(text)
        with pytest.raises(InputError, match=said):
            find_studies([manifest])
    manifest.write_text("scan,name\n\n")
    assert left_out(find_studies([manifest])) == {"list.csv": "It lists no scan."}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nrrd")
    os.mkfifo(tmp_path / "b.nrrd")
    plan = find_studies([tmp_path])
    assert [study.name for study in plan.studies] == ["a"]
    assert left_out(plan) == {"b.nrrd": "It is neither a file nor a folder."}


def test_scans_in_archives_and_pairs_of_files_are_said_to_be_left_out(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nrrd")
    for name in ("b.zip", "c.tar.gz", "d.hdr", "d.img", "notes.txt"):
        (tmp_path / name).write_bytes(b"x" * 200)
    plan = find_studies([tmp_path])
    assert [study.name for study in plan.studies] == ["a"]
    archive = "It is an archive; unpack it."
    pair = "It is one of a pair of files (Analyze); save the scan as .nii.gz."
    assert left_out(plan) == {"b.zip": archive, "c.tar.gz": archive, "d.hdr": pair}
    assert left_out(find_studies([tmp_path / "b.zip"])) == {"b.zip": archive}


def test_voxels_in_numbered_files_are_part_of_a_scan(tmp_path: Path) -> None:
    """Whose header stays the same where they are replaced."""
    for number in range(3):
        (tmp_path / f"slice{number}.raw").write_bytes(bytes(84))
    header = tmp_path / "a.mhd"
    header.write_text("NDims = 3\nDimSize = 7 6 3\nElementDataFile = slice%d.raw 0 2 1\n")
    before = checksum(Study("a", str(header)))
    assert checksum(Study("a", str(header))) == before
    (tmp_path / "slice1.raw").write_bytes(bytes(83) + b"1")
    assert checksum(Study("a", str(header))) != before


# --- what is written ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["results.csv", "sources.csv", "summary.html"])
def test_somebody_elses_files_in_the_folder_are_left_alone(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Such as the list of the scans, beside them."""
    write_scan(tmp_path / "a.nrrd")
    mine = tmp_path / name
    mine.write_text("scan,name\na.nrrd,one\n")
    source = mine if name.endswith(".csv") else tmp_path / "a.nrrd"
    before = sorted(tmp_path.iterdir())
    assert run("batch", source, "-o", tmp_path, "--model", model) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert name in said
    assert "would be written over" in said
    assert sorted(tmp_path.iterdir()) == before
    assert mine.read_text() == "scan,name\na.nrrd,one\n"
    mine.unlink()
    for _ in range(2):  # its own are not in its way, nor as a spreadsheet saves them
        assert run("batch", tmp_path / "a.nrrd", "-o", tmp_path, "--model", model) == 0
        sources = (tmp_path / "sources.csv").read_text(encoding="utf-8")
        (tmp_path / "sources.csv").write_text(
            sources.replace(",", ";"), encoding="utf-8-sig", newline="\r\n"
        )


def test_the_name_of_a_file_is_in_the_list_of_sources_alone(
    tmp_path: Path,
    model: Path,
) -> None:
    secret = "Mustermann_Erika"
    write_scan(tmp_path / secret / f"{secret}.nrrd")
    (tmp_path / secret / f"{secret}2.nii").write_bytes(b"no image" * 50)
    (tmp_path / secret / f"{secret}3").mkdir()
    (tmp_path / "list.csv").write_text(
        f"scan,name\n{secret}/{secret}.nrrd,A1\n{secret}/{secret}2.nii,A2\n"
        f"{secret}/{secret}4.mha,A3\n"
    )
    out = tmp_path / "out"
    assert batch(tmp_path / "list.csv", "-o", out, "--model", model, "--also", "nifti") == 2
    assert [row["study"] for row in table(out)] == ["A1", "A2", "A3"]
    assert "'A2'" in table(out)[1]["error"]
    told = [path.name for path in out.rglob("*") if secret in path.name]
    for path in out.rglob("*"):
        if path.is_file() and secret.encode() in path.read_bytes():
            told.append(path.name)
    assert told == [SOURCES_FILE]
    scan = worker.reader(Study("A1", str(tmp_path / secret / f"{secret}.nrrd")))()
    assert scan.name == "A1"  # which is drawn on the picture


def test_reasons_of_a_failure_name_no_file() -> None:
    study = Study("A1", "/data/Doe^Jane/Jane.nii.gz")
    answer = worker._failed(study, "Bad /data/Doe^Jane/Jane.nii.gz: 'Jane' of Jane.nii.gz.", False)
    assert "Jane" not in answer.row.error
    assert answer.row.error == "Bad A1: 'A1' of A1."


def test_a_format_that_cannot_be_written_loses_that_file_only(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problems = [InputError("It is odd."), KeyError("tag")]

    def fails(*_: object) -> None:
        raise problems[number]

    monkeypatch.setattr(segmenting, "write_label_map", fails)
    write_scan(tmp_path / "scans" / "a.nrrd")
    for number in range(2):
        out = tmp_path / f"out{number}"
        arguments = (tmp_path / "scans", "-o", out, "--model", model)
        assert batch(*arguments, "--also", "nifti", "--also", "stl") == 0
        (row,) = table(out)
        assert row["status"] == "done"
        assert "'segmentation.nii.gz' was not written" in row["warnings"]
        written = {path.name for path in (out / "studies" / "a").iterdir()}
        assert {"segmentation.seg.nrrd", "segmentation.stl"} <= written
        assert "segmentation.nii.gz" not in written


@pytest.mark.parametrize("shear", [0.0, 0.6])
def test_a_label_map_keeps_the_place_of_a_tilted_stack(tmp_path: Path, shear: float) -> None:
    place = np.array([[-0.7, 0, 0, 5], [0, -0.8, shear, 6], [0, 0, 2.5, 7], [0, 0, 0, 1]])
    prediction = hand_made(Volume(np.zeros((9, 11, 13), np.int16), place))
    write_label_map(prediction.mask, prediction.volume.ijk_to_ras, tmp_path / "a.nii.gz")
    image = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, prediction.mask)
    np.testing.assert_allclose(image.affine, place, atol=1e-5)
    warnings: list[str] = []
    read_volume(tmp_path / "a.nii.gz", warnings.append)
    assert warnings == []


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_label_map_is_what_nibabel_would_write(tmp_path: Path, suffix: str) -> None:
    place = np.array([[-0.7, 0, 0, 5], [0, -0.8, 0.1, 6], [0, 0.1, 2.5, 7], [0, 0, 0, 1]])
    prediction = hand_made(Volume(np.zeros((9, 11, 13), np.int16), place))
    write_label_map(prediction.mask, place, tmp_path / f"ours{suffix}")
    image = nibabel.load(tmp_path / f"ours{suffix}")
    nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header).to_filename(
        tmp_path / "theirs.nii"
    )
    ours = (tmp_path / f"ours{suffix}").read_bytes()
    plain = gzip.decompress(ours) if suffix == ".nii.gz" else ours
    assert plain == (tmp_path / "theirs.nii").read_bytes()


@pytest.mark.parametrize("missing", ["nothing", "patient", "character set", "day of birth"])
def test_a_dicom_segmentation_of_odd_patients(tmp_path: Path, missing: str) -> None:
    from AttentionUNetSegmentLib.app.batch.dicom_seg import write_dicom_seg
    from AttentionUNetSegmentLib.scene import PANCREAS

    array = np.zeros((9, 11, 13), np.int16)
    paths = write_slices(tmp_path / "series", array, stack(9), t0020_0052="1.2.3")
    for path in paths:
        data = pydicom.dcmread(path)
        if missing == "patient":
            for name in ("PatientName", "PatientID", "AccessionNumber", "StudyDate"):
                data.pop(name, None)
        elif missing == "character set":
            data.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
            data.PatientName = "Yamada^Tarou=山田^太郎"
        elif missing == "day of birth":  # an anonymiser leaves the year
            for name, vr, text in (
                ("PatientBirthDate", "DA", "1970"), ("StudyDate", "DA", "2020-13-01"),
                ("StudyTime", "TM", "noon"),
            ):  # fmt: skip
                data[name] = pydicom.DataElement(
                    name, vr, text, validation_mode=pydicom.config.IGNORE
                )
        data.save_as(path)
    prediction = hand_made(read_volume(tmp_path / "series", lambda _: None))
    files = [str(path) for path in paths]
    write_dicom_seg(prediction, PANCREAS, files, tmp_path / "a.dcm")
    written = pydicom.dcmread(tmp_path / "a.dcm")
    assert written.NumberOfFrames > 0
    if missing == "character set":
        assert written.PatientName == "Yamada^Tarou=山田^太郎"


@pytest.mark.parametrize("name", ["StudyInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_dicom_segmentation_refers_to_nothing_without_a_uid(
    tmp_path: Path, name: str, is_there: bool
) -> None:
    from AttentionUNetSegmentLib.app.batch.dicom_seg import write_dicom_seg
    from AttentionUNetSegmentLib.scene import PANCREAS

    series = np.zeros((9, 11, 13), np.int16)
    paths = write_slices(tmp_path / "series", series, stack(9), t0020_0052="1.2.3")
    for path in paths:
        data = pydicom.dcmread(path)
        if is_there:
            data[name].value = ""
        else:
            del data[name]
        data.save_as(path)
    prediction = hand_made(read_volume(tmp_path / "series", lambda _: None))
    with pytest.raises(InputError, match=f"has no {name}; choose another format"):
        write_dicom_seg(prediction, PANCREAS, [str(path) for path in paths], tmp_path / "a.dcm")
    assert not (tmp_path / "a.dcm").exists()


def test_a_table_that_is_open_elsewhere_is_written_with_the_next_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Windows has it: who shows the file keeps others from writing and replacing it."""
    results = ResultsFile(tmp_path)
    shown = False
    real_open, real_replace = Path.open, os.replace

    def opened(self: Path, *arguments: Any, **options: Any) -> Any:
        if shown and self.name == "results.csv":
            raise PermissionError(errno.EACCES, "in use")
        return real_open(self, *arguments, **options)

    def replaced(source: Any, target: Any) -> None:
        if shown and Path(target).name == "results.csv":
            raise PermissionError(errno.EACCES, "in use")
        real_replace(source, target)

    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setattr(os, "replace", replaced)
    rows = [StudyRow(name, "done") for name in "abcd"]
    results.add(rows[0])
    shown = True
    results.add(rows[1])
    results.add(rows[2])
    with pytest.raises(OutputError, match="open in another program"):
        results.finish(rows)
    ResultsFile(tmp_path)  # another run begins
    shown = False
    results.add(rows[3])
    assert [row["study"] for row in table(tmp_path)] == list("abcd")
