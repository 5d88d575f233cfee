"""Any structure in the panel and in the effect: begun with a click, beside the model's organ."""

from __future__ import annotations

import numpy as np
import pytest
from panel_driver import (
    Gate,
    add_ct,
    add_to_data_set,
    bright_scan,
    click,
    paint,
    segment_mask,
    slice_centre,
)
from test_begin_from_segment import add_segmentation
from test_effect import CENTRE, Editor, wait
from threshold_model import (
    LESION_HU,
    STRUCTURE_HU,
    liver_and_spleen_model,
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
    other = editor.add_segment("Other")
    editor.effect.structureCheckBox.click()
    editor.widget.setCurrentSegmentID(mine)
    editor.click("Red", IN_OTHER_BLOCK)
    wait(driver, editor)
    assert editor.mask(mine)[OTHER_BLOCK].mean() > 0.7
    assert not editor.mask(mine)[editor.voxel(CENTRE)]
    assert not editor.mask(other).any()


@pytest.mark.parametrize("on", [True, False])
def test_the_box_shows_that_a_segment_is_a_structure_and_what_was_chosen_for_others(
    driver, editor, on
):
    box = editor.effect.structureCheckBox
    choice = box.toolTip
    mine = editor.add_segment("Cyst")
    box.click()
    editor.click("Red", IN_BLOCK)
    wait(driver, editor)
    assert box.isChecked()
    assert not box.isEnabled()
    assert "any structure already" in box.toolTip
    box.click()
    assert box.isChecked()
    other = editor.add_segment("Other")
    assert (box.isChecked(), box.isEnabled(), box.toolTip) == (True, True, choice)
    if not on:
        box.click()
    for _ in range(2):
        editor.widget.setCurrentSegmentID(mine)
        assert (box.isChecked(), box.isEnabled()) == (True, False)
        editor.widget.setCurrentSegmentID(other)
        assert (box.isChecked(), box.isEnabled()) == (on, True)


def test_undone_to_the_beginning_a_structure_is_one_still(driver, editor):
    mine = editor.add_segment("Cyst")
    turn_on(editor)
    editor.click("Red", IN_BLOCK)
    wait(driver, editor)
    editor.widget.undo()
    wait(driver, editor)
    assert not editor.mask(mine).any()
    assert editor.effect.structureCheckBox.isChecked()
    assert not editor.effect.structureCheckBox.isEnabled()


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
    assert box.isChecked()


def test_a_structure_of_an_earlier_model_is_refused_in_a_sentence(driver, editor, model_folder):
    mine = editor.add_segment("Cyst")
    turn_on(editor)
    editor.click("Red", IN_BLOCK)
    wait(driver, editor)
    before = editor.mask(mine)
    driver.parameters.model = str(model_folder)
    editor.click("Red", IN_OTHER_BLOCK)
    wait(driver, editor)
    box = editor.effect.structureCheckBox
    assert (box.isChecked(), box.isEnabled()) == (True, False)
    assert "alone" in box.toolTip
    assert "answers clicks at the pancreas alone" in editor.text
    np.testing.assert_array_equal(editor.mask(mine), before)


# The panel


def begin(driver, name):
    """As a user does: a name, and the button."""
    driver.ui.structureNameLineEdit.setText(name)
    assert driver.ui.beginStructureButton.isEnabled()
    driver.ui.beginStructureButton.click()
    driver.pump()


def segment_named(driver, name):
    segmentation = driver.panel.resultNodes.segmentationNode.GetSegmentation()
    return segmentation.GetSegmentIdBySegmentName(name)


def mask_of(driver, name):
    import slicer.util

    node = driver.panel.resultNodes.segmentationNode
    segment_id = segment_named(driver, name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, driver.panel.volumeNode) > 0


def choose(driver, name):
    combo = driver.ui.targetComboBox
    index = [combo.itemText(n) for n in range(combo.count)].index(name)
    combo.setCurrentIndex(index)
    combo.activated.emit(index)
    driver.pump()


def test_a_structure_is_begun_beside_the_organ_and_each_keeps_its_clicks(driver, structures_ct):
    driver.segment()
    assert driver.ui.targetComboBox.isHidden()
    organ = mask_of(driver, "Pancreas")
    begin(driver, "cyst")
    assert driver.ui.structureNameLineEdit.text == ""
    assert driver.ui.insideButton.isChecked()  # the next click in a view begins it
    assert driver.ui.targetComboBox.currentText == "Cyst"
    assert "inside the Cyst" in driver.ui.clickHintLabel.text
    click(driver, structures_ct, IN_BLOCK)
    assert is_block(mask_of(driver, "Cyst"))
    assert "Cyst: " in driver.ui.resultLabel.text
    assert not driver.message  # that it is experimental is said once, beside the points
    assert len(driver.panel.clicks.clicks) == 1

    choose(driver, "Pancreas")
    assert driver.panel.clicks.clicks == ()
    click(driver, structures_ct, (31, 23, 11), inside=False)
    assert mask_of(driver, "Pancreas").sum() < organ.sum()
    assert is_block(mask_of(driver, "Cyst"))
    choose(driver, "Cyst")
    assert len(driver.panel.clicks.clicks) == 1
    click(driver, structures_ct, IN_OTHER_BLOCK)
    assert mask_of(driver, "Cyst")[OTHER_BLOCK].mean() > 0.7


def test_clicks_that_nobody_answered_yet_come_back_with_their_segment(driver, structures_ct):
    import vtk

    driver.segment()
    driver.panel.parameters.updateAfterEachClick = False
    driver.ui.outsideButton.click()
    point = vtk.vtkVector3d(*in_ras(structures_ct, (31, 23, 11)))
    driver.parameters.clicks.AddControlPointWorld(point)
    driver.pump()
    begin(driver, "cyst")
    assert driver.panel.clicks.clicks == ()
    choose(driver, "Pancreas")
    assert [one.inside for one in driver.panel.clicks.clicks] == [False]
    before = mask_of(driver, "Pancreas")
    driver.panel.parameters.updateAfterEachClick = True
    click(driver, structures_ct, (29, 23, 11), inside=False)
    assert len(driver.panel.clicks.clicks) == 2
    assert mask_of(driver, "Pancreas").sum() < before.sum()
    choose(driver, "Cyst")
    choose(driver, "Pancreas")  # all of them are answered
    assert len(driver.panel.clicks.clicks) == 2


def test_segmenting_anew_goes_back_to_the_organ_and_leaves_the_structure(driver, structures_ct):
    begin(driver, "cyst")
    click(driver, structures_ct, IN_BLOCK)
    before = mask_of(driver, "Cyst")
    for _ in range(2):  # with no organ yet, and with one
        driver.segment()
        assert driver.ui.targetComboBox.currentText == "Pancreas"
        assert driver.panel.clicks.clicks == ()
        assert mask_of(driver, "Pancreas").any()
        assert not mask_of(driver, "Pancreas")[BLOCK].any()
        np.testing.assert_array_equal(mask_of(driver, "Cyst"), before)
        choose(driver, "Cyst")
        assert len(driver.panel.clicks.clicks) == 1


def test_without_any_organ_the_panel_works_with_a_structure_alone(driver, structures_ct):
    begin(driver, "cyst")
    driver.unfold("result")
    driver.unfold("attention")
    driver.unfold("correction")
    click(driver, structures_ct, IN_BLOCK)
    driver.pump()
    assert driver.panel.hasSegment
    assert driver.panel.attention.eyes == {}
    assert not driver.ui.doubtfulPlaceButton.isEnabled()
    table = driver.ui.statisticsTable
    assert driver.pump(lambda: table.rowCount > 1)
    assert "mL" in table.item(0, 1).text()


def test_undo_takes_clicks_of_a_structure_back_one_by_one(driver, structures_ct):
    begin(driver, "cyst")
    click(driver, structures_ct, IN_BLOCK)
    one = mask_of(driver, "Cyst")
    click(driver, structures_ct, IN_OTHER_BLOCK)
    driver.ui.undoClickButton.click()
    driver.wait_for_answer()
    np.testing.assert_array_equal(mask_of(driver, "Cyst"), one)
    driver.ui.undoClickButton.click()
    driver.wait_for_answer()
    assert not mask_of(driver, "Cyst").any()
    driver.ui.redoClickButton.click()
    driver.wait_for_answer()
    np.testing.assert_array_equal(mask_of(driver, "Cyst"), one)


def test_two_of_one_name_are_two_and_a_hand_always_wins(driver, structures_ct):
    begin(driver, "cyst")
    click(driver, structures_ct, IN_BLOCK)
    begin(driver, "cyst")
    assert driver.ui.targetComboBox.currentText == "Cyst 2"
    click(driver, structures_ct, IN_OTHER_BLOCK)
    assert is_block(mask_of(driver, "Cyst"))
    assert is_block(mask_of(driver, "Cyst 2"), OTHER_BLOCK)
    region = (slice(9, 11), slice(9, 11), slice(41, 43))
    paint(driver, structures_ct, region, inside=False)
    click(driver, structures_ct, (46, 14, 12))
    assert not mask_of(driver, "Cyst 2")[region].any()


def test_another_volume_and_back(driver, structures_ct):
    begin(driver, "cyst")
    click(driver, structures_ct, IN_BLOCK)
    other = add_ct(driver, "Other")
    driver.choose(other)
    assert driver.ui.targetComboBox.isHidden()
    assert driver.panel.clicks.clicks == ()
    driver.choose(structures_ct)
    choose(driver, "Cyst")
    assert len(driver.panel.clicks.clicks) == 1
    click(driver, structures_ct, IN_OTHER_BLOCK)
    assert mask_of(driver, "Cyst")[OTHER_BLOCK].mean() > 0.7


def test_a_saved_scene_brings_structure_and_clicks_back(driver, structures_ct, tmp_path):
    from SlicerStandIn import driving

    driver.segment()
    begin(driver, "cyst")
    click(driver, structures_ct, IN_BLOCK)
    before, model = mask_of(driver, "Cyst"), driver.parameters.model
    path = tmp_path / "scene.mrb"
    driving.saveScene(path)
    driving.closeScene()
    driving.loadScene(path)
    driver.pump()
    assert driver.parameters.model == model
    assert driver.ui.targetComboBox.currentText == "Cyst"
    assert len(driver.panel.clicks.clicks) == 1
    volume_node = driver.panel.volumeNode
    click(driver, volume_node, IN_OTHER_BLOCK)
    after = mask_of(driver, "Cyst")
    assert (after[before] == 1).all()
    assert after[OTHER_BLOCK].mean() > 0.7
    choose(driver, "Pancreas")
    assert driver.panel.clicks.clicks == ()


def test_the_panel_goes_on_with_a_structure_of_the_effect(driver, editor):
    mine = editor.add_segment("Cyst")
    turn_on(editor)
    editor.click("Red", IN_BLOCK)
    wait(driver, editor)
    editor.widget.setActiveEffect(None)
    driver.representation.enter()
    driver.pump()
    assert driver.ui.targetComboBox.currentText == "Cyst"
    assert len(driver.panel.clicks.clicks) == 1
    click(driver, editor.volume_node, IN_OTHER_BLOCK)
    assert editor.mask(mine)[OTHER_BLOCK].mean() > 0.7
    driver.representation.exit()


def test_segmenting_anew_while_the_effect_is_on_a_structure(driver, editor):
    from AttentionUNetSegmentLib.scene.corrections import readClicks

    mine = editor.add_segment("Cyst")
    turn_on(editor)
    editor.click("Red", IN_BLOCK)
    wait(driver, editor)
    before, clicks = editor.mask(mine), editor.session.clicks
    driver.segment()
    organ = editor.segmentation_node.GetSegmentation().GetSegmentIdBySegmentName("Pancreas")
    assert editor.mask(organ)[editor.voxel(CENTRE)]
    assert readClicks(editor.segmentation_node, organ) == ()
    np.testing.assert_array_equal(editor.mask(mine), before)
    assert readClicks(editor.segmentation_node, mine) == clicks
    editor.click("Red", IN_OTHER_BLOCK)
    wait(driver, editor)
    assert editor.mask(mine)[OTHER_BLOCK].mean() > 0.7
    assert len(editor.session.clicks) == 2


# Begun in the panel from a segment that is there


@pytest.fixture
def kidney(structures_ct):
    """Another program's, of which the rear half is missing, beside its liver."""
    mask = np.zeros(bright_scan().array.shape, bool)
    mask[BLOCK] = True
    mask[:, 12:] = False
    return add_segmentation(structures_ct, mask, "kidney")


IN_REAR = (12, 14, 11)


def choose_kidney(driver, node):
    driver.pump()
    driver.ui.beginSegmentationSelector.setCurrentNode(node)
    driver.pump()
    combo = driver.ui.beginSegmentComboBox
    combo.setCurrentIndex([combo.itemText(n) for n in range(combo.count)].index("kidney"))
    driver.pump()


def press_begin(driver):
    driver.ui.beginButton.click()
    driver.wait_for_answer()


def test_another_programs_segment_is_begun_from_as_any_structure(driver, structures_ct, kidney):
    from AttentionUNetSegmentLib.scene import segments

    driver.segment()
    result = driver.panel.resultNodes.segmentationNode
    organ = mask_of(driver, "Pancreas")
    choose_kidney(driver, kidney)
    box = driver.ui.beginStructureCheckBox
    assert (box.isChecked(), box.isEnabled()) == (False, True)
    box.click()
    press_begin(driver)
    assert driver.ui.targetComboBox.currentText == "Kidney"
    assert driver.parameters.segmentation is kidney
    assert segments.isStructure(kidney, "kidney")
    assert "Begun from this segment" in driver.message
    assert "inside the kidney" in driver.ui.clickHintLabel.text
    before = mask_of(driver, "kidney")
    click(driver, structures_ct, IN_REAR)
    after = mask_of(driver, "kidney")
    assert is_block(after)
    assert not (before & ~after).any()
    assert segments.findSegment(kidney, structures_ct, segments.PANCREAS) is None
    driver.ui.undoClickButton.click()
    driver.wait_for_answer()
    np.testing.assert_array_equal(mask_of(driver, "kidney"), before)
    driver.parameters.segmentation = result
    driver.pump()
    np.testing.assert_array_equal(mask_of(driver, "Pancreas"), organ)


def test_the_box_is_ticked_for_one_segment_and_without_it_the_segment_is_the_organ(
    driver, structures_ct, kidney
):
    from AttentionUNetSegmentLib.scene import segments

    choose_kidney(driver, kidney)
    box = driver.ui.beginStructureCheckBox
    choice = box.toolTip
    box.click()
    driver.ui.beginSegmentComboBox.setCurrentIndex(0)
    assert box.isChecked()  # nothing was begun yet
    choose_kidney(driver, kidney)
    press_begin(driver)
    assert (box.isChecked(), box.isEnabled()) == (True, False)
    assert "any structure already" in box.toolTip
    driver.ui.beginSegmentComboBox.setCurrentIndex(0)
    assert (box.isChecked(), box.isEnabled(), box.toolTip) == (False, True, choice)
    press_begin(driver)
    assert segments.findSegment(kidney, structures_ct, segments.PANCREAS) == "liver"
    assert driver.parameters.structure == ""
    assert driver.panel.resultNodes.segmentId == "liver"
    assert segments.isStructure(kidney, "kidney")


def test_what_is_a_structure_already_is_one_without_the_box(driver, structures_ct, kidney):
    from AttentionUNetSegmentLib.scene import segments

    segments.claimStructure(kidney, "kidney", structures_ct)
    choose_kidney(driver, kidney)
    press_begin(driver)
    assert driver.ui.targetComboBox.currentText == "Kidney"
    assert segments.isStructure(kidney, "kidney")
    click(driver, structures_ct, IN_REAR)
    assert is_block(mask_of(driver, "kidney"))


def test_the_organs_own_segment_stays_the_organs(driver, structures_ct, kidney):
    driver.segment()
    choose_kidney(driver, kidney)
    box = driver.ui.beginStructureCheckBox
    box.click()
    driver.ui.beginSegmentationSelector.setCurrentNode(driver.panel.resultNodes.segmentationNode)
    driver.pump()
    assert (box.isChecked(), box.isEnabled()) == (False, False)
    assert "what the model is for" in box.toolTip
    press_begin(driver)
    assert driver.parameters.structure == ""
    assert driver.panel.session.beginsFromMask


def test_one_undo_step_takes_the_beginning_of_a_structure_back(driver, structures_ct, kidney):
    choose_kidney(driver, kidney)
    driver.ui.beginStructureCheckBox.click()
    press_begin(driver)
    mask = mask_of(driver, "kidney")
    click(driver, structures_ct, IN_REAR)
    editor = driver.panel.correction.editor
    editor.undo()
    driver.pump()
    np.testing.assert_array_equal(mask_of(driver, "kidney"), mask)
    assert driver.panel.session.beginsFromMask
    editor.undo()
    driver.pump()
    assert not driver.panel.session.beginsFromMask
    np.testing.assert_array_equal(mask_of(driver, "kidney"), mask)


def test_a_model_that_takes_no_structure_offers_no_such_beginning_and_refuses(
    driver, structures_ct, kidney, model_folder
):
    from AttentionUNetSegmentLib.scene import segments

    choose_kidney(driver, kidney)
    box = driver.ui.beginStructureCheckBox
    box.click()
    driver.parameters.model = str(model_folder)
    driver.pump()
    assert not box.isEnabled()
    assert "alone" in box.toolTip
    segments.claimStructure(kidney, "kidney", structures_ct)
    press_begin(driver)
    assert "answers clicks at the pancreas alone" in driver.message
    assert driver.parameters.segmentation is None
    assert segments.isStructure(kidney, "kidney")


def test_a_tick_of_an_earlier_model_stands_in_no_ones_way(driver, kidney, model_folder):
    choose_kidney(driver, kidney)
    driver.ui.beginStructureCheckBox.click()
    driver.parameters.model = str(model_folder)
    driver.pump()
    press_begin(driver)
    assert driver.parameters.segmentation is kidney
    assert driver.parameters.structure == ""


def test_a_model_without_such_an_editor_offers_none_and_says_why(
    driver, structures_ct, model_folder
):
    driver.parameters.model = str(model_folder)
    driver.pump()
    for control in (driver.ui.structureNameLineEdit, driver.ui.beginStructureButton):
        assert not control.isEnabled()
        assert "alone" in control.toolTip


def test_a_name_that_is_none_leaves_nothing_behind(driver, structures_ct):
    import slicer.util

    def segmentations():
        return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")

    before = segmentations()
    assert not driver.panel.beginStructure("x" * 5000)  # more than the line takes
    assert "is no name for a structure" in driver.message
    assert segmentations() == before
    assert driver.parameters.structure == ""


def test_a_structure_never_comes_into_a_data_set_as_the_organ(driver, structures_ct, tmp_path):
    begin(driver, "cyst")
    click(driver, structures_ct, IN_BLOCK)
    folder = tmp_path / "set"
    add_to_data_set(driver, folder)
    assert "segment the pancreas first" in driver.message
    assert list(folder.iterdir()) == []


# What the model's networks have a label for


SPLEEN = (slice(8, 14), slice(28, 38), slice(6, 16))
BESIDE_SPLEEN, IN_SPLEEN = (18, 33, 11), (11, 33, 11)


@pytest.fixture(scope="module")
def knowing_folder(tmp_path_factory):
    return save_card_of(liver_and_spleen_model(), tmp_path_factory.mktemp("models") / "liver")


@pytest.fixture
def spleen_ct(driver, knowing_folder):
    volume = bright_scan()
    volume.array[volume.array == 400] = 30  # the liver's place, which nothing is in
    volume.array[SPLEEN] = LESION_HU
    volume.array[BLOCK] = STRUCTURE_HU
    driver.parameters.model = str(knowing_folder)
    node = add_ct(driver, volume=volume)
    driver.pump()
    return node


def in_ras(volume_node, ijk):
    from AttentionUNetSegmentLib.scene import volumeFromNode

    return (volumeFromNode(volume_node).ijk_to_ras @ (*ijk, 1))[:3]


def test_what_the_model_knows_is_there_at_once_and_clicks_mend_it(driver, spleen_ct):
    assert "Found without a click: liver, spleen." in driver.ui.beginStructureButton.toolTip
    begin(driver, "spleen")
    driver.wait_for_answer()
    assert not driver.ui.insideButton.isChecked()  # there may be nothing to mend
    found = mask_of(driver, "Spleen")
    middle = np.argwhere(found).mean(axis=0)[::-1]
    np.testing.assert_allclose(slice_centre(), in_ras(spleen_ct, middle), atol=45)  # of its region
    assert is_block(found, SPLEEN)
    assert driver.panel.clicks.clicks == ()
    assert driver.ui.targetComboBox.currentText == "Spleen"
    click(driver, spleen_ct, BESIDE_SPLEEN)
    more = mask_of(driver, "Spleen")
    assert not (found & ~more).any()
    assert more.sum() > found.sum()
    elsewhere = in_ras(spleen_ct, (40, 20, 12))
    driver.panel.views.jumpTo(elsewhere)
    driver.ui.undoClickButton.click()
    driver.wait_for_answer()
    np.testing.assert_array_equal(mask_of(driver, "Spleen"), found)
    np.testing.assert_allclose(slice_centre(), elsewhere, atol=6)  # the user's view stays


def test_by_another_name_it_is_still_what_was_found(driver, spleen_ct, tmp_path):
    from SlicerStandIn import driving

    begin(driver, "Spleen")
    driver.wait_for_answer()
    found = mask_of(driver, "Spleen")
    node, its = driver.panel.resultNodes.segmentationNode, segment_named(driver, "Spleen")
    node.GetSegmentation().GetSegment(its).SetName("Milz")
    click(driver, spleen_ct, BESIDE_SPLEEN)
    assert (mask_of(driver, "Milz") & found).sum() == found.sum()
    # Also in another session.
    before = mask_of(driver, "Milz")
    driving.saveScene(tmp_path / "scene.mrb")
    driving.closeScene()
    driving.loadScene(tmp_path / "scene.mrb")
    driver.pump()
    driver.ui.undoClickButton.click()
    driver.wait_for_answer()
    after = mask_of(driver, "Milz")
    np.testing.assert_array_equal(after, found)
    assert before.sum() > after.sum()


def test_what_was_found_is_begun_from_by_another_name(driver, spleen_ct):
    begin(driver, "Spleen")
    driver.wait_for_answer()
    found = mask_of(driver, "Spleen")
    node, its = driver.panel.resultNodes.segmentationNode, segment_named(driver, "Spleen")
    node.GetSegmentation().GetSegment(its).SetName("Milz")
    driver.pump()
    driver.ui.beginSegmentationSelector.setCurrentNode(node)
    driver.pump()
    press_begin(driver)
    assert "Begun from this segment" in driver.message
    assert driver.ui.targetComboBox.currentText == "Milz"
    click(driver, spleen_ct, BESIDE_SPLEEN)
    assert not (found & ~mask_of(driver, "Milz")).any()
    assert mask_of(driver, "Milz").sum() > found.sum()


def test_where_it_is_not_found_a_click_begins_it(driver, spleen_ct):
    import slicer.util

    array = slicer.util.arrayFromVolume(spleen_ct)
    array[SPLEEN] = 30
    slicer.util.arrayFromVolumeModified(spleen_ct)
    begin(driver, "spleen")
    driver.wait_for_answer()
    assert "was not found in this scan; click inside it" in driver.message
    click(driver, spleen_ct, IN_BLOCK)
    assert is_block(mask_of(driver, "Spleen"))


def test_another_model_does_not_draw_over_what_this_one_found(driver, spleen_ct, structures_folder):
    begin(driver, "spleen")
    driver.wait_for_answer()
    found = mask_of(driver, "Spleen")
    driver.parameters.model = str(structures_folder)
    driver.pump()
    click(driver, spleen_ct, BESIDE_SPLEEN)
    assert "began with the spleen as another model found it" in driver.message
    np.testing.assert_array_equal(mask_of(driver, "Spleen"), found)


UPPER = np.s_[11:]
"""Slices that are in :func:`add_roi`: half of the spleen, and half of the block."""


def add_roi(driver, volume_node):
    import slicer

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    k, j, i = volume_node.GetImageData().GetDimensions()[::-1]
    ends = [in_ras(volume_node, ijk) for ijk in ((0, 0, UPPER.start - 0.4), (i - 1, j - 1, k - 1))]
    roi.SetCenter(*np.mean(ends, axis=0))
    roi.SetSize(*np.abs(np.subtract(*ends)))
    driver.ui.roiSelector.setCurrentNode(roi)
    driver.pump()
    return roi


def test_in_a_region_of_interest_it_is_looked_for_there_alone(driver, spleen_ct):
    begin(driver, "spleen")
    driver.wait_for_answer()
    whole = mask_of(driver, "Spleen")
    add_roi(driver, spleen_ct)
    begin(driver, "spleen")
    driver.wait_for_answer()
    mask = mask_of(driver, "Spleen 2")
    assert not mask[: UPPER.start].any()
    np.testing.assert_array_equal(mask[UPPER], whole[UPPER])
    assert "The spleen reaches the edge of the region of interest (feet)" in driver.message
    click(driver, spleen_ct, (11, 33, 8))
    assert "A click lies outside the region of interest" in driver.message
    np.testing.assert_array_equal(mask_of(driver, "Spleen 2"), mask)
    assert driver.panel.clicks.clicks == (), "it would be in the way of the next ones"
    click(driver, spleen_ct, BESIDE_SPLEEN)
    more = mask_of(driver, "Spleen 2")
    assert more.sum() > mask.sum()
    assert not more[: UPPER.start].any()


def test_what_clicks_begin_is_not_cut_by_a_region_of_interest(driver, spleen_ct):
    add_roi(driver, spleen_ct)
    begin(driver, "cyst")
    click(driver, spleen_ct, (12, 12, 9))  # outside
    assert is_block(mask_of(driver, "Cyst"))
    assert not driver.message


def test_what_is_not_in_the_region_begins_there_with_a_click(driver, spleen_ct):
    import slicer.util

    array = slicer.util.arrayFromVolume(spleen_ct)
    array[SPLEEN] = 30
    slicer.util.arrayFromVolumeModified(spleen_ct)
    add_roi(driver, spleen_ct)
    begin(driver, "spleen")
    driver.wait_for_answer()
    assert "not found in the region of interest; click inside it, or enlarge" in driver.message
    click(driver, spleen_ct, (12, 12, 12))
    mask = mask_of(driver, "Spleen")
    assert mask[UPPER][np.s_[:3, 8:16, 8:16]].mean() > 0.7
    assert not mask[: UPPER.start].any()


def test_a_mask_to_begin_from_is_not_cut_by_a_region_of_interest(driver, spleen_ct):
    begin(driver, "spleen")
    driver.wait_for_answer()
    found = mask_of(driver, "Spleen")
    add_roi(driver, spleen_ct)
    driver.representation.exit()
    editor = Editor(spleen_ct, driver.panel.resultNodes.segmentationNode)
    editor.activate()
    editor.widget.setCurrentSegmentID(segment_named(driver, "Spleen"))
    editor.effect.beginButton.click()
    wait(driver, editor)
    editor.click("Red", (18, 33, 9))  # outside
    wait(driver, editor)
    assert "Points: 1 inside, 0 outside." in editor.text
    assert not (found & ~editor.mask()).any()
    assert editor.mask()[editor.voxel((18, 33, 9))]
    editor.close()


def test_in_the_effect_the_region_of_interest_holds_too(driver, spleen_ct):
    add_roi(driver, spleen_ct)
    driver.representation.exit()
    editor = Editor(spleen_ct)
    editor.activate()
    mine = editor.add_segment("Spleen")
    turn_on(editor)
    editor.click("Red", (11, 33, 9))
    wait(driver, editor)
    assert "A click lies outside the region of interest" in editor.text
    editor.click("Red", (11, 33, 12))
    wait(driver, editor)
    mask = editor.mask(mine)
    assert mask[UPPER][np.s_[:3, 28:38, 6:16]].mean() > 0.9
    assert not mask[: UPPER.start].any()
    editor.close()


def test_in_the_effect_the_first_click_brings_all_of_it(driver, spleen_ct):
    driver.representation.exit()
    editor = Editor(spleen_ct)
    editor.activate()
    mine = editor.add_segment("Spleen")
    turn_on(editor)
    editor.click("Red", IN_SPLEEN)
    wait(driver, editor)
    assert is_block(editor.mask(mine), SPLEEN)
    assert editor.text == "Points: 1 inside, 0 outside."
    editor.widget.undo()
    wait(driver, editor)
    assert not editor.mask(mine).any()
    editor.close()


def test_a_click_in_another_segment_leaves_the_one_before_its_answer(driver, editor, monkeypatch):
    from AttentionUNetSegmentLib.scene.corrections import readClicks

    organ, mine = editor.add_segment("Pancreas"), editor.add_segment("Cyst")
    turn_on(editor)
    editor.widget.setCurrentSegmentID(organ)
    gate = Gate(monkeypatch, "Segmenting")
    editor.click("Red", CENTRE)
    assert driver.pump(lambda: editor.effect._hub.busy)
    editor.widget.setCurrentSegmentID(mine)
    editor.click("Red", IN_BLOCK)
    driver.pump()
    gate.opened.set()
    wait(driver, editor)
    for each, block in ((organ, None), (mine, BLOCK)):
        assert len(readClicks(editor.segmentation_node, each)) == 1
        assert editor.mask(each).any()
        assert block is None or is_block(editor.mask(each), block)
    assert editor.session.target == (editor.segmentation_node, mine)
    editor.widget.setCurrentSegmentID(organ)
    editor.click("Red", IN_BLOCK, ctrl=True)
    wait(driver, editor)
    assert len(readClicks(editor.segmentation_node, organ)) == 2


@pytest.mark.parametrize("what", ["segment removed", "removed", "another", "new one"])
def test_its_clicks_do_not_go_into_the_organ_when_its_segment_is_no_longer_there(
    driver, structures_ct, what
):
    import slicer

    begin(driver, "cyst")
    click(driver, structures_ct, IN_BLOCK)
    node, mine = driver.parameters.segmentation, driver.parameters.structure
    editor, selector = driver.panel.correction.editor, driver.ui.segmentationSelector
    other = add_segmentation(structures_ct, np.zeros(bright_scan().array.shape, bool))
    if what == "segment removed":
        editor.saveStateForUndo()
        node.GetSegmentation().RemoveSegment(mine)
    elif what == "removed":
        slicer.mrmlScene.RemoveNode(node)
    else:
        selector.setCurrentNode(other if what == "another" else None)
    driver.pump()
    assert driver.panel.structure is None
    assert driver.panel.clicks.clicks == ()
    assert "Experimental" not in driver.ui.clickHintLabel.text
    if what == "segment removed":
        editor.undo()
        driver.pump()
        assert len(driver.panel.clicks.clicks) == 1
        editor.saveStateForUndo()
        node.GetSegmentation().RemoveSegment(mine)
        driver.pump()
    elif what == "new one":
        choose(driver, "Cyst")
        click(driver, structures_ct, IN_OTHER_BLOCK)
        assert (driver.parameters.segmentation, driver.parameters.structure) == (node, mine)
        assert mask_of(driver, "Cyst")[OTHER_BLOCK].mean() > 0.7
        selector.setCurrentNode(None)
        driver.pump()
    click(driver, structures_ct, CENTRE)
    assert len(driver.panel.clicks.clicks) == 1
    assert not mask_of(driver, "Pancreas")[BLOCK].any()


def test_two_of_one_name_are_exported_as_two_surfaces(driver, structures_ct, tmp_path, monkeypatch):
    import qt

    for name, at in (("cyst", IN_BLOCK), ("lesion", IN_OTHER_BLOCK)):
        begin(driver, name)
        click(driver, structures_ct, at)
    segmentation = driver.parameters.segmentation.GetSegmentation()
    segmentation.GetSegment(segment_named(driver, "Lesion")).SetName("Cyst")
    driver.unfold("result")
    path = str(tmp_path / "all.stl")
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", staticmethod(lambda *_: path))
    driver.ui.exportStlButton.click()
    driver.ui.resultCollapsibleButton.collapsed = True
    assert sorted(file.name for file in tmp_path.iterdir()) == ["all-Cyst-2.stl", "all-Cyst.stl"]


def test_volumes_of_one_name_are_told_of_each(driver, structures_ct):
    begin(driver, "cyst")
    click(driver, structures_ct, IN_BLOCK)
    segmentation = driver.parameters.segmentation.GetSegmentation()
    segmentation.GetSegment(driver.parameters.structure).SetName("pancreas")
    driver.segment()
    shown = driver.ui.resultLabel.text
    assert shown.casefold().count("pancreas: ") == 2
    organ_ml = segment_mask(driver, structures_ct).sum() * 4 * 4 * 6 / 1000
    assert shown.startswith(f"Pancreas: {organ_ml:.1f} mL, ")
