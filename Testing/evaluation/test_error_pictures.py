"""The slices on which a model is most wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from AttentionUNetSegmentLib.datasets.loading import PANCREAS
from AttentionUNetSegmentLib.evaluation.error_figures import (
    MOST_CASES,
    CaseErrors,
    ErrorSlice,
    draw_errors,
    find_worst_slices,
)
from AttentionUNetSegmentLib.geometry.volume import reorder_axes
from PIL import Image
from small_cases import small_case

WINDOW = (-125.0, 275.0)
AREA_MM2 = 4.0  # of a voxel in its slice; the pictures have pixels of 1 mm


def errors_of(truth: np.ndarray, mask: np.ndarray) -> CaseErrors:
    return find_worst_slices("a", 0.5, small_case().ct, truth, mask, WINDOW)


def test_the_worst_slices_are_shown() -> None:
    organ = small_case().labels.array == PANCREAS
    mask = organ.copy()
    mask[13, 22:26] = False  # the most that is missed in a slice
    mask[12, 26:28] = False
    extra = np.zeros_like(organ)
    extra[17, 20:30, 40:50] = True  # and the most that is too much
    mask |= extra
    missed, wrong, coronal = errors_of(organ, mask).slices
    voxels = np.count_nonzero(organ[13, 22:26])
    assert np.count_nonzero(missed.truth & ~missed.mask) == pytest.approx(AREA_MM2 * voxels)
    assert np.count_nonzero(wrong.mask & ~wrong.truth) == pytest.approx(AREA_MM2 * 100)
    total = np.count_nonzero(organ & ~mask) * 0.012
    assert missed.title == f"most missed ({total:.0f} mL in all)"
    assert coronal.image.shape[0] != missed.image.shape[0]
    # 25 mm around what is marked or should be, as far as the scan goes.
    height, width = missed.image.shape
    rows = np.argwhere(organ | mask)[:, 1]
    assert width == 120
    assert height == pytest.approx(2 * (rows.max() - rows.min()) + 50, abs=2)


def test_the_patients_right_is_on_the_left_whatever_the_order() -> None:
    """A scan stored the other way round shows the same."""
    case = small_case()
    organ = case.labels.array == PANCREAS
    mask = np.roll(organ, 4, axis=2)
    straight = errors_of(organ, mask).slices
    axes, flips = (1, 0, 2), (True, False, True)
    stored = [
        reorder_axes(case.ct.with_array(array.astype(np.uint8)), axes, flips).array > 0
        for array in (organ, mask)
    ]
    turned = find_worst_slices("a", 0.5, reorder_axes(case.ct, axes, flips), *stored, WINDOW).slices
    for one, other in zip(straight, turned, strict=True):
        # A pixel halfway between two voxels may go to either.
        assert (one.truth != other.truth).mean() < 0.01
        assert (one.mask != other.mask).mean() < 0.01
    # The liver is at high i, which in this scan is the patient's left: here, on the right.
    left, right = np.array_split(straight[0].image, 2, axis=1)
    assert right.mean() > left.mean()


def test_the_worst_cases_come_first_and_nothing_found_is_drawn_too(tmp_path: Path) -> None:
    organ = small_case().labels.array == PANCREAS
    nothing = np.zeros_like(organ)
    panels = errors_of(nothing, nothing).slices
    assert not panels[0].truth.any()
    draw_errors([CaseErrors("none", 1.0, panels)], tmp_path / "one.png")
    flat = ErrorSlice("flat", np.zeros((5, 9)), np.zeros((5, 9), bool), np.ones((5, 9), bool))
    many = [CaseErrors(f"case {n}", n / 10, (flat, flat, flat)) for n in range(MOST_CASES + 3)]
    draw_errors(many[::-1], tmp_path / "many.png")
    draw_errors(many[:MOST_CASES], tmp_path / "worst.png")
    one, drawn, worst = (
        np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        for name in ("one", "many", "worst")
    )
    assert one.std() > 0
    np.testing.assert_array_equal(drawn, worst)


def test_the_greys_of_the_scan_stay_in_the_picture(tmp_path: Path) -> None:
    """A picture of 256 colours in all keeps a dozen greys of a smooth rise."""
    rise = np.tile(np.linspace(0, 1, 200), (60, 1))
    nothing = np.zeros(rise.shape, bool)
    panel = ErrorSlice("rise", rise, nothing, nothing)
    draw_errors([CaseErrors("case", 0.5, (panel, panel, panel))], tmp_path / "errors.png")
    with Image.open(tmp_path / "errors.png") as picture:
        greys = {pixel for _, pixel in picture.convert("RGB").getcolors(1 << 20)}
    assert len({r for r, g, b in greys if r == g == b}) > 100
