"""One version, in one place; and a model that was made for an older one goes on running."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from AttentionUNetSegmentLib import __version__, models
from AttentionUNetSegmentLib.errors import ModelError
from AttentionUNetSegmentLib.inference import Predictor, Volume
from AttentionUNetSegmentLib.models.card import FORMAT

ROOT = Path(__file__).resolve().parents[2]
OLD_MODELS = sorted((ROOT / "Testing" / "support" / "old_models").iterdir())


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_three_numbers():
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_the_package_takes_its_version_from_the_library():
    project = text("pyproject.toml")
    assert 'dynamic = ["version"]' in project
    assert 'version = { attr = "AttentionUNetSegmentLib.__version__" }' in project
    assert not re.search(r'^version = "', project, re.MULTILINE)


@pytest.mark.parametrize(
    ("file", "elsewhere"),
    [
        ("CMakeLists.txt", r"(?i)project\([^)]*version|extension_version"),
        ("AttentionUNetSegment/CMakeLists.txt", r"(?i)version"),
        ("CITATION.cff", r"(?m)^(version|date-released):"),
        ("Resources/AttentionUNetSegment.json", r'"version"'),
        ("AttentionUNetSegment/AttentionUNetSegment.py", r"__version__ ="),
    ],
)
def test_it_stands_nowhere_else(file, elsewhere):
    assert not re.search(elsewhere, text(file))


def test_the_changes_begin_with_it():
    headings = re.findall(r"^## (\S+)", text("Resources/Documentation/CHANGELOG.md"), re.MULTILINE)
    assert headings[0].rstrip(",") == __version__


@pytest.fixture(params=OLD_MODELS, ids=lambda folder: folder.name)
def old(request):
    """A model as an older version of the extension wrote it; its files are never made anew."""
    return request.param


def ball_in_a_body():
    """A body of soft tissue in air with a bright ball in it, and where the ball is."""
    k, j, i = np.indices((24, 40, 44))
    ball = ((k - 11) * 4) ** 2 + ((j - 20) * 3) ** 2 + ((i - 22) * 3) ** 2 < 30**2
    array = np.full(ball.shape, -1000, np.int16)
    array[2:-2, 4:-4, 4:-4] = 20
    array[ball] = 200
    return Volume(array, np.diag([-3.0, -3.0, 4.0, 1.0])), ball


def test_an_older_model_still_finds_what_it_found(old):
    model = models.load_model(old)
    scan, ball = ball_in_a_body()
    prediction = Predictor(model, "cpu").predict(scan)
    mask = prediction.mask > 0
    assert 2 * (mask & ball).sum() / (mask.sum() + ball.sum()) > 0.9
    assert prediction.levels == 4
    assert prediction.model_version == model.card.version == "0.0.9"


def test_there_is_an_older_model_of_each_format():
    formats = {json.loads((one / "model.json").read_text())["format"] for one in OLD_MODELS}
    assert formats == set(range(1, FORMAT + 1))


def test_a_model_of_a_later_format_is_refused_with_what_to_do(old, tmp_path):
    card = json.loads((old / "model.json").read_text(encoding="utf-8"))
    card["format"] = FORMAT + 1
    (tmp_path / "model.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ModelError, match="update the extension"):
        models.read_card(tmp_path)


def test_the_model_that_comes_along_has_a_version_of_its_own():
    assert re.fullmatch(r"\d+\.\d+\.\d+", models.read_card(models.find_model()).version)
