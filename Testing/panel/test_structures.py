"""Any structure in the panel and in the effect: begun with a click, beside the model's organ."""

from __future__ import annotations

import numpy as np
import pytest
from panel_driver import add_ct, bright_scan, click, paint
from test_effect import CENTRE, Editor, wait
from threshold_model import (
    STRUCTURE_HU,
    save_card_of,
    threshold_model,
    with_structure_editor,
)

BLOCK = (slice(8, 14), slice(8, 16), slice(8, 16))
OTHER_BLOCK = (slice(8, 14), slice(8, 16), slice(40, 48))
IN_BLOCK, IN_OTHER_BLOCK = (12, 12, 11), (44, 12, 11)
"""A voxel of each: i, j, k."""


@pytest.fixture(scope="module")
def structures_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "structures"
    return save_card_of(with_structure_editor(threshold_model()), folder)


@pytest.fixture
def structures_ct(driver, structures_folder):
    volume = bright_scan()
    volume.array[BLOCK] = volume.array[OTHER_BLOCK] = STRUCTURE_HU
    driver.parameters.model = str(structures_folder)
    node = add_ct(driver, volume=volume)
    driver.pump()
    return node


def is_block(mask, block=BLOCK):
    """Whether a mask is one of the blocks but for its rim."""
    wanted = np.zeros(mask.shape, bool)
    wanted[block] = True
    return 2 * (mask & wanted).sum() > 0.85 * (mask.sum() + wanted.sum())


# The effect


@pytest.fixture
def editor(driver, structures_ct):
    driver.representation.exit()
    editor = Editor(structures_ct)
    editor.activate()
    yield editor
    editor.close()


def turn_on(editor):
    editor.effect.structureCheckBox.setChecked(True)


def test_a_click_begins_the_selected_segment_and_more_clicks_mend_it(driver, editor):
    from AttentionUNetSegmentLib.scene import segments

    organ = editor.add_segment("Pancreas")
    editor.click("Red", CENTRE)
    wait(driver, editor)
    before = editor.mask(organ)
    assert before.any()
    mine = editor.add_segment("Cyst")
    turn_on(editor)
    assert "named after" in editor.text
    editor.click("Red", IN_BLOCK)
    wait(driver, editor)
    assert is_block(editor.mask(mine))
    assert segments.isStructure(editor.segmentation_node, mine)
    assert editor.text == "Points: 1 inside, 0 outside."
    editor.click("Green", IN_OTHER_BLOCK)
    wait(driver, editor)
    assert editor.mask(mine)[OTHER_BLOCK].mean() > 0.7
    editor.click("Red", IN_OTHER_BLOCK, ctrl=True)
    wait(driver, editor)
    assert is_block(editor.mask(mine))
    np.testing.assert_array_equal(editor.mask(organ), before)


def test_each_answer_is_an_undo_step_down_to_nothing(driver, editor):
    mine = editor.add_segment("Cyst")
    turn_on(editor)
    for at in (IN_BLOCK, IN_OTHER_BLOCK):
        editor.click("Red", at)
        wait(driver, editor)
    both = editor.mask(mine)
    for left in (1, 0):
        editor.widget.undo()
        wait(driver, editor)
        assert len(editor.session.clicks) == left
    assert not editor.mask(mine).any()
    for _ in range(2):
        editor.widget.redo()
        wait(driver, editor)
    np.testing.assert_array_equal(editor.mask(mine), both)
    editor.effect.removeAll()
    wait(driver, editor)
    assert not editor.mask(mine).any()


def test_what_is_drawn_already_is_kept_and_mended(driver, editor):
    import slicer.util

    mine = editor.add_segment("Cyst")
    drawn = np.zeros(bright_scan().array.shape, np.uint8)
    drawn[OTHER_BLOCK] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        drawn, editor.segmentation_node, mine, editor.volume_node
    )
    turn_on(editor)
    editor.click("Red", IN_BLOCK)
    wait(driver, editor)
    mask = editor.mask(mine)
    assert (mask[OTHER_BLOCK] == 1).all()
    assert mask[BLOCK].mean() > 0.7
    # Taken away by a click that points at it, too.
    editor.click("Red", IN_OTHER_BLOCK, ctrl=True)
    wait(driver, editor)
    assert is_block(editor.mask(mine))


def test_the_models_organ_is_answered_as_ever(driver, editor):
    from AttentionUNetSegmentLib.scene import segments

    organ = editor.add_segment("Pancreas")
    editor.click("Red", CENTRE)
    wait(driver, editor)
    before = editor.mask(organ)
    turn_on(editor)
    editor.click("Red", IN_BLOCK, ctrl=True)
    wait(driver, editor)
    assert not segments.isStructure(editor.segmentation_node, organ)
    np.testing.assert_array_equal(editor.mask(organ), before)


def test_a_structure_stays_one_with_the_box_off(driver, editor):
    mine = editor.add_segment("Cyst")
    turn_on(editor)
    editor.click("Red", IN_BLOCK)
    wait(driver, editor)
    editor.effect.structureCheckBox.setChecked(False)
    editor.click("Red", IN_OTHER_BLOCK)
    wait(driver, editor)
    assert editor.mask(mine)[OTHER_BLOCK].mean() > 0.7
    assert not editor.mask(mine)[editor.voxel(CENTRE)]


def test_without_a_segment_or_with_a_click_outside_first_it_says_what_to_do(driver, editor):
    turn_on(editor)
    editor.click("Red", IN_BLOCK)
    wait(driver, editor)
    assert "Add a segment" in editor.text
    assert editor.session.clicks == ()
    mine = editor.add_segment("Cyst")
    editor.click("Red", IN_BLOCK, ctrl=True)
    wait(driver, editor)
    assert "click or draw a line inside it first" in editor.text
    assert not editor.mask(mine).any()
    editor.click("Red", (14, 14, 11))
    wait(driver, editor)
    assert editor.mask(mine)[BLOCK].mean() > 0.5


def test_it_is_not_offered_where_the_model_does_not_take_it(driver, editor, model_folder):
    box = editor.effect.structureCheckBox
    assert box.isEnabled()
    turn_on(editor)
    driver.parameters.model = str(model_folder)
    mine = editor.add_segment("Cyst")
    assert not box.isEnabled()
    assert "alone" in box.toolTip
    editor.click("Red", CENTRE)
    wait(driver, editor)
    assert editor.mask(mine)[editor.voxel(CENTRE)]  # as ever


def test_a_structure_of_an_earlier_model_is_refused_in_a_sentence(driver, editor, model_folder):
    mine = editor.add_segment("Cyst")
    turn_on(editor)
    editor.click("Red", IN_BLOCK)
    wait(driver, editor)
    before = editor.mask(mine)
    driver.parameters.model = str(model_folder)
    editor.click("Red", IN_OTHER_BLOCK)
    wait(driver, editor)
    assert "answers clicks at the pancreas alone" in editor.text
    np.testing.assert_array_equal(editor.mask(mine), before)
