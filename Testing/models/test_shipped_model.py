"""The model that comes with the extension: what a user relies on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from AttentionUNetSegmentLib.datasets.loading import BTCV_LABELS, BTCV_VALIDATION, PANCREAS
from AttentionUNetSegmentLib.evaluation.simulated_user import click_on_largest_error
from AttentionUNetSegmentLib.geometry.volume import reorder_axes
from AttentionUNetSegmentLib.inference import Click, Predictor, Volume, read_volume
from AttentionUNetSegmentLib.inference.prediction import Prediction
from AttentionUNetSegmentLib.inference.session import Session
from AttentionUNetSegmentLib.models import DEFAULT_MODEL, MODELS_FOLDER, find_model, load_model
from AttentionUNetSegmentLib.synthetic import (
    BODY_PARTS,
    BodyPart,
    SyntheticAbdomen,
    synthetic_abdomen,
    synthetic_body_part,
)
from geometry import rotation
from moved_scans import model_without_estimate

RIGHT_KIDNEY = BTCV_LABELS.index("right kidney")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(load_model(find_model(DEFAULT_MODEL)), "cpu")


@pytest.fixture(scope="module")
def plain() -> Predictor:
    """It alone, for what is asked of its mask: its estimate moves no voxel, and takes as long."""
    return Predictor(model_without_estimate(), "cpu")


@pytest.fixture(scope="module")
def abdomen() -> SyntheticAbdomen:
    return synthetic_abdomen(7)


@pytest.fixture(scope="module")
def prediction(predictor: Predictor, abdomen: SyntheticAbdomen) -> Prediction:
    return predictor.predict(abdomen.ct)


@pytest.fixture(scope="module")
def mask(prediction: Prediction) -> np.ndarray:
    return prediction.mask != 0


def test_the_folder_is_small_enough_to_ship() -> None:
    files = list((MODELS_FOLDER / DEFAULT_MODEL).iterdir())
    assert {file.name for file in files} == {
        "editor.safetensors",
        "model.json",
        "weights.safetensors",
    }
    assert sum(file.stat().st_size for file in files) <= 12_000_000


def test_the_card_says_what_was_measured_and_on_what(predictor: Predictor) -> None:
    card = predictor.card
    figures = card.figures["validation"]
    for clicks in ("0", "1"):
        assert set(figures["clicks"][clicks]["cases"]) == set(BTCV_VALIDATION)
    assert set(card.training["held_out"]) == set(BTCV_VALIDATION)
    assert not set(BTCV_VALIDATION) & set(card.training["cases"]["scan"])
    assert "research" in card.intended_use.lower()
    assert card.target_label.terminology is not None
    assert card.target_label.terminology.type[1] == "15776009"


def test_it_finds_the_pancreas_of_an_unseen_synthetic_abdomen(
    abdomen: SyntheticAbdomen, mask: np.ndarray
) -> None:
    assert dice(mask, abdomen.labels.array == PANCREAS) > 0.8


def test_a_few_clicks_outline_another_organ(
    predictor: Predictor, abdomen: SyntheticAbdomen
) -> None:
    """One that is synthetic, too, and that the editor has seen no synthetic one of."""
    kidney = abdomen.labels.array == RIGHT_KIDNEY
    session = Session(predictor, abdomen.ct, structure="right kidney")
    mask = np.zeros(kidney.shape, bool)
    for _ in range(3):
        click = click_on_largest_error(mask, kidney, abdomen.ct)
        assert click is not None
        mask = session.add_click(click.position_ras, click.inside).mask != 0
    assert dice(mask, kidney) > 0.7


def test_attention_narrows_with_depth_onto_the_organ(
    prediction: Prediction, abdomen: SyntheticAbdomen
) -> None:
    ratios = prediction.focus_ratios
    assert list(ratios) == sorted(ratios, reverse=True)
    assert 0.02 < ratios[-1] < ratios[0] < 0.7
    organ = (abdomen.labels.array == PANCREAS)[prediction.region]
    for level in range(1, 5):
        alpha = prediction.attention_in_region(level)
        assert alpha[organ].mean() > alpha[~organ].mean() + 0.3


@pytest.mark.parametrize(
    ("axes", "flips"), [((2, 0, 1), (False, True, False)), ((1, 2, 0), (True, True, True))]
)
def test_the_order_in_which_voxels_are_stored_changes_nothing(
    plain: Predictor,
    abdomen: SyntheticAbdomen,
    mask: np.ndarray,
    axes: tuple[int, int, int],
    flips: tuple[bool, ...],
) -> None:
    stored = plain.predict(reorder_axes(abdomen.ct, axes, flips)).mask
    undone = np.flip(stored, [axis for axis in range(3) if flips[axis]])
    assert dice(np.transpose(undone, np.argsort(axes)) != 0, mask) > 0.97


def test_a_scan_that_was_moved_and_turned_a_little_gives_the_same_organ(
    plain: Predictor, abdomen: SyntheticAbdomen, mask: np.ndarray
) -> None:
    """The matrix is all that changes: as under a parent transform, or on a tilted table."""
    move = rotation(2, 6) @ rotation(0, -4)
    move[:3, 3] = (312.0, -75.5, 1040.25)
    moved = plain.predict(Volume(abdomen.ct.array, move @ abdomen.ct.ijk_to_ras))
    assert dice(moved.mask != 0, mask) > 0.9


@pytest.mark.parametrize("part", BODY_PARTS)
@pytest.mark.parametrize("seed", [3, 4])
def test_thighs_and_heads_have_no_pancreas(plain: Predictor, part: BodyPart, seed: int) -> None:
    prediction = plain.predict(synthetic_body_part(part, seed))
    assert not prediction.found
    assert not prediction.mask.any()


def test_a_click_inside_mends_a_missed_part(
    plain: Predictor, abdomen: SyntheticAbdomen, mask: np.ndarray
) -> None:
    """Near the click, the truth is met better than without it, or as well."""
    truth = abdomen.labels.array == PANCREAS
    k, j, i = np.argwhere(truth & ~mask)[0]
    r, a, s = (abdomen.ct.ijk_to_ras @ [i, j, k, 1.0])[:3]
    after = plain.predict(abdomen.ct, [Click((float(r), float(a), float(s)), True)]).mask != 0
    near = tuple(
        slice(max(at - reach, 0), at + reach)
        for at, reach in zip((k, j, i), (3, 7, 7), strict=True)
    )
    assert (truth & after)[near].sum() >= (truth & mask)[near].sum()
    assert dice(after, truth) > 0.8


@pytest.mark.parametrize("name", ["case0031"])
def test_real_scans_that_it_never_saw(predictor: Predictor, shared_data: Path, name: str) -> None:
    folder = shared_data / "btcv" / "train"
    truth = read_volume(folder / f"{name}_organs.nii.gz").array == PANCREAS
    prediction = predictor.predict(read_volume(folder / f"{name}_ct.nii.gz"))
    assert dice(prediction.mask != 0, truth) > 0.75


def test_the_lower_half_of_a_real_scan_has_no_pancreas(
    predictor: Predictor, shared_data: Path
) -> None:
    folder = shared_data / "btcv" / "train"
    scan = read_volume(folder / "case0027_ct.nii.gz")
    organ = read_volume(folder / "case0027_organs.nii.gz").array == PANCREAS
    below = int(np.flatnonzero(organ.any(axis=(1, 2)))[0]) - 3
    assert not predictor.predict(Volume(scan.array[:below], scan.ijk_to_ras)).found
