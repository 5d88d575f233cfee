"""The notebooks of the documentation run from their first cell to their last."""

from __future__ import annotations

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient runs notebooks")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "Resources" / "Documentation" / "notebooks").glob("*.ipynb"))
TINY = {
    "segment-and-look": "SPACING_MM = (5.0, 5.0, 6.0)",
    "train-on-your-own-data": """
STEPS, CASES = 5, 3
SPACING_MM = (5.0, 5.0, 6.0)
CHANNELS, PATCH = (4, 4, 8, 8, 8), (32, 32, 16)
""",
}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_to_its_end(file: Path, tmp_path: Path, monkeypatch) -> None:
    """On budgets that a cell after that of the parameters makes tiny."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "AttentionUNetSegment"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    (parameters,) = (
        number
        for number, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", ())
    )
    notebook.cells.insert(parameters + 1, nbformat.v4.new_code_cell(TINY[file.stem]))
    client = nbclient.NotebookClient(
        notebook, timeout=900, startup_timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "error"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    if file.stem == "segment-and-look":
        assert (tmp_path / "pancreas.nii.gz").is_file()
        assert (tmp_path / "results" / "report.json").is_file()
    else:
        assert (tmp_path / "my-run" / "model" / "model.json").is_file()


def test_both_notebooks_are_there_and_hold_no_outputs() -> None:
    """Which would be of some machine, and grow with every change."""
    assert {file.stem for file in NOTEBOOKS} == set(TINY)
    for file in NOTEBOOKS:
        for cell in nbformat.read(file, as_version=4).cells:
            assert not cell.get("outputs")
