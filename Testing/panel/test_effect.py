"""The Segment Editor effect in an editor of its own: clicks with the mouse in real views."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import panel_driver
import pytest
from panel_driver import Gate

EFFECT = "AttentionUNet"
VIEWS = ("Red", "Green", "Yellow")
CENTRE = (27, 23, 11)
"""Of the bright ball: i, j, k."""


class Editor:
    """The Segment Editor module, as far as it is its editor, and the mouse in the views."""

    def __init__(self, volume_node, segmentation_node=None):
        import slicer

        self.widget = slicer.qMRMLSegmentEditorWidget()
        self.widget.setMRMLScene(slicer.mrmlScene)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.widget.setMRMLSegmentEditorNode(node)
        if segmentation_node is None:
            segmentation_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
            segmentation_node.CreateDefaultDisplayNodes()
            segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        self.volume_node, self.segmentation_node = volume_node, segmentation_node
        self.widget.setSegmentationNode(segmentation_node)
        self.widget.setSourceVolumeNode(volume_node)
        manager = slicer.app.layoutManager()
        for name in VIEWS:
            manager.sliceWidget(name).sliceView().resize(500, 500)
            manager.sliceWidget(name).sliceView().forceRender()
        manager.threeDWidget(0).threeDView().resize(400, 400)
        slicer.util.setSliceViewerLayers(background=volume_node, fit=True)

    @property
    def node(self):
        return self.widget.mrmlSegmentEditorNode()

    @property
    def effect(self):
        return self.widget.effectByName(EFFECT).self()

    @property
    def text(self):
        return self.effect.stateLabel.text

    @property
    def session(self):
        return self.effect._hub.session(self.volume_node)

    def activate(self):
        self.widget.setActiveEffectByName(EFFECT)
        assert self.widget.activeEffect() is not None

    def add_segment(self, name="mine"):
        segment_id = self.segmentation_node.GetSegmentation().AddEmptySegment(name, name)
        self.widget.setCurrentSegmentID(segment_id)
        return segment_id

    def close(self):
        self.widget.setActiveEffect(None)
        self.effect.cleanup()
        self.widget.removeViewObservations()
        self.widget.setMRMLScene(None)
        self.widget.deleteLater()

    def world(self, ijk):
        from AttentionUNetSegmentLib import scene

        return (scene.volumeFromNode(self.volume_node).ijk_to_ras @ (*ijk, 1))[:3]

    def pixel(self, view_name, ijk):
        """Where a voxel is in a slice view, which is moved to its slice."""
        import slicer
        import vtk

        widget = slicer.app.layoutManager().sliceWidget(view_name)
        point = self.world(ijk)
        widget.mrmlSliceNode().JumpSliceByOffsetting(*point)
        widget.sliceView().forceRender()
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(widget.mrmlSliceNode().GetXYToRAS(), inverse)
        x, y, z, _ = inverse.MultiplyPoint((*point, 1))
        assert abs(z) < 0.5
        return widget.sliceView(), (round(x), round(y))

    def click(self, view_name, ijk, ctrl=False):
        from SlicerStandIn import driving

        view, (x, y) = self.pixel(view_name, ijk)
        driving.clickInView(view, x, y, ctrl)

    def voxel(self, ijk):
        return tuple(round(index) for index in reversed(ijk))

    def mask(self, segment_id=None):
        import slicer.util

        return (
            slicer.util.arrayFromSegmentBinaryLabelmap(
                self.segmentation_node,
                segment_id or self.node.GetSelectedSegmentID(),
                self.volume_node,
            )
            > 0
        )


@pytest.fixture
def editor(driver, ct):
    driver.representation.exit()
    editor = Editor(ct)
    yield editor
    editor.close()


def wait(driver, editor):
    """Until the clicks are answered."""
    hub = editor.effect._hub
    assert driver.pump(lambda: hub.idle), editor.text
    driver.pump()


def distance_mm(a, b):
    return float(np.linalg.norm(np.subtract(a, b)))


@pytest.mark.parametrize("view", VIEWS)
def test_one_click_in_a_view_of_any_orientation_segments(driver, editor, view):
    editor.activate()
    editor.click(view, CENTRE)
    wait(driver, editor)
    (click,) = editor.session.clicks
    assert click.inside
    assert distance_mm(click.position_ras, editor.world(CENTRE)) < 3
    truth = panel_driver.bright_scan().array > 200
    mask = editor.mask()
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.85
    assert editor.segmentation_node.GetSegmentation().GetNumberOfSegments() == 1
    assert "1 inside" in editor.text


def test_with_ctrl_the_point_is_outside(driver, editor):
    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    outside = (31, 23, 11)
    assert editor.mask()[editor.voxel(outside)]
    editor.click("Red", outside, ctrl=True)
    wait(driver, editor)
    assert [click.inside for click in editor.session.clicks] == [True, False]
    assert not editor.mask()[editor.voxel(outside)]
    assert editor.mask()[editor.voxel(CENTRE)]


@pytest.mark.parametrize("ctrl", [False, True])
def test_a_double_click_does_not_fill_the_window_with_the_view(driver, editor, ctrl):
    import slicer
    from SlicerStandIn import driving

    layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    view, place = editor.pixel("Red", CENTRE)
    display = editor.volume_node.GetDisplayNode()
    window = display.GetWindow(), display.GetLevel()
    driving.doubleClickInView(view, *place)
    assert layout.GetNumberOfMaximizedViewNodes() == 1  # as Slicer's views do
    driving.doubleClickInView(view, *place)
    editor.activate()
    driving.doubleClickInView(view, *place, ctrl)
    assert layout.GetNumberOfMaximizedViewNodes() == 0
    assert (display.GetWindow(), display.GetLevel()) == window


def test_an_editor_whose_source_is_one_of_our_volumes_is_told_to_choose_the_ct(
    driver,
    editor,
):
    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    driver.representation.enter()
    driver.segment()
    attention = driver.panel.resultNodes.attentionNodes[1]
    driver.representation.exit()
    editor.widget.setSourceVolumeNode(attention)
    editor.activate()
    editor.click("Red", CENTRE)
    assert "Choose the CT" in editor.text


def test_a_press_with_shift_alone_is_no_click(driver, editor):
    editor.activate()
    view, (x, y) = editor.pixel("Red", CENTRE)
    view.interactor().SetEventInformation(x, y, 0, 1)
    view.interactor().InvokeEvent("LeftButtonPressEvent")
    view.interactor().InvokeEvent("LeftButtonReleaseEvent")
    view.interactor().SetEventInformation(x, y, 0, 0)
    driver.pump()
    assert editor.session.clicks == ()


def test_a_point_can_be_dragged_and_the_mask_follows_when_it_is_let_go(
    driver,
    editor,
    monkeypatch,
):
    from SlicerStandIn import driving

    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    place, other = (37, 23, 11), (31, 23, 11)
    editor.click("Red", place, ctrl=True)
    wait(driver, editor)
    view, start = editor.pixel("Red", place)
    _, end = editor.pixel("Red", other)
    view.forceRender()
    asked = []
    hub, begin = editor.effect._hub, editor.effect._hub._begin
    monkeypatch.setattr(
        hub, "_begin", lambda request: asked.append(request.afterwards) or begin(request)
    )
    driving.dragInView(view, start, end)
    wait(driver, editor)
    assert len(editor.session.clicks) == 2  # none was added
    assert distance_mm(editor.session.clicks[1].position_ras, editor.world(other)) < 3
    assert not editor.mask()[editor.voxel(other)]
    assert asked.count(False) == 1


def test_a_point_that_is_dragged_again_cancels_the_answer_to_its_first_place(
    driver,
    editor,
    monkeypatch,
):
    from AttentionUNetSegmentLib.scene.tasks import SegmentationTask
    from SlicerStandIn import driving

    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    places = [(37, 23, 11), (31, 23, 11), (23, 23, 11)]
    editor.click("Red", places[0], ctrl=True)
    wait(driver, editor)
    view, _ = editor.pixel("Red", CENTRE)
    pixels = [editor.pixel("Red", place)[1] for place in places]
    view.forceRender()
    written = []
    write = SegmentationTask.write
    monkeypatch.setattr(
        SegmentationTask,
        "write",
        lambda task, *rest: written.append(task.clicks[-1]) or write(task, *rest),
    )
    gate = Gate(monkeypatch, "Segmenting")
    driving.dragInView(view, *pixels[:2])
    assert driver.pump(gate.reached.is_set)
    driving.dragInView(view, *pixels[1:])
    driver.pump()
    gate.opened.set()
    wait(driver, editor)
    assert editor.session.clicks[-1] in written
    assert len(set(written)) == 1  # nothing of the place before
    mask = editor.mask()
    assert mask[editor.voxel(places[1])]
    assert not mask[editor.voxel(places[2])]


def test_backspace_removes_the_point_under_the_mouse_else_the_last_one(
    driver,
    editor,
):
    from SlicerStandIn import driving

    editor.activate()
    places = [CENTRE, (31, 23, 11), (27, 35, 11)]
    for place in places:
        editor.click("Red", place)
        wait(driver, editor)
    first, second, third = editor.session.clicks
    view, (x, y) = editor.pixel("Red", places[1])
    view.forceRender()
    driving.moveMouse(view, x, y)
    editor.effect.takeBack()
    wait(driver, editor)
    assert editor.session.clicks == (first, third)
    driving.moveMouse(view, 5, 5)
    editor.effect.bringBack()
    wait(driver, editor)
    assert editor.session.clicks == (first, third, second)
    editor.effect.takeBack()
    wait(driver, editor)
    editor.effect.takeBack()
    wait(driver, editor)
    assert editor.session.clicks == (first,)
    editor.effect.bringBack()
    wait(driver, editor)
    assert editor.session.clicks == (first, third)


def test_a_point_that_is_deleted_in_the_views_is_forgotten(driver, editor):
    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    assert editor.mask().any()
    editor.session.points.node.RemoveNthControlPoint(0)
    wait(driver, editor)
    assert not editor.mask().any()


def test_each_answer_is_one_undo_step_that_the_points_follow(driver, editor):
    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    before, one = editor.mask(), editor.session.clicks
    editor.click("Red", (31, 23, 11), ctrl=True)
    wait(driver, editor)
    after, two = editor.mask(), editor.session.clicks
    assert (before != after).any()
    hub = editor.effect._hub
    started = hub.runner.start
    try:
        hub.runner.start = None  # nobody may start the network
        editor.widget.undo()
        driver.pump()
        assert editor.session.clicks == one
        np.testing.assert_array_equal(editor.mask(), before)
        editor.widget.redo()
        driver.pump()
        assert editor.session.clicks == two
        np.testing.assert_array_equal(editor.mask(), after)
    finally:
        hub.runner.start = started


def test_undo_in_an_editor_stops_the_answer_that_is_under_way(
    driver,
    editor,
    monkeypatch,
):
    editor.activate()
    editor.add_segment()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    editor.click("Red", (31, 23, 11), ctrl=True)
    wait(driver, editor)
    gate = Gate(monkeypatch, "Segmenting")
    editor.click("Red", (24, 23, 11), ctrl=True)
    assert driver.pump(gate.reached.is_set)
    editor.widget.undo()
    driver.pump()
    gate.opened.set()
    assert not editor.effect._hub.busy
    driver.pump()
    assert len(editor.session.clicks) == 1
    assert editor.mask()[editor.voxel((24, 23, 11))]


def test_clicks_while_it_computes_are_answered_all_at_once(
    driver,
    editor,
    monkeypatch,
):
    from AttentionUNetSegmentLib.scene.tasks import SegmentationTask

    gate = Gate(monkeypatch, "Segmenting")
    computed = []
    compute = SegmentationTask.compute
    monkeypatch.setattr(
        SegmentationTask,
        "compute",
        lambda task, *rest: computed.append(len(task.clicks)) or compute(task, *rest),
    )
    editor.activate()
    editor.click("Red", CENTRE)
    assert driver.pump(gate.reached.is_set)
    first = editor.effect._hub.runner._job
    for i in (22, 31, 33):
        editor.click("Red", (i, 23, 11), ctrl=True)
        driver.pump()
    assert computed == [1]
    hub = editor.effect._hub
    assert hub.runner._job is first  # what it has seen is needed for the next answer
    gate.opened.set()
    assert driver.pump(lambda: not hub.busy)
    assert computed == [1, 4, 4]  # and at last the attention
    for i in (22, 31, 33):
        assert not editor.mask()[editor.voxel((i, 23, 11))]


def test_the_selected_segment_is_drawn_in_and_no_other_one(driver, editor):
    import slicer

    editor.node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    other = editor.add_segment("other")
    truth = np.zeros(panel_driver.bright_scan().array.shape, np.uint8)
    truth[8:14, 20:40, 20:40] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        truth, editor.segmentation_node, other, editor.volume_node
    )
    mine = editor.add_segment("mine")
    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    assert editor.mask(mine).any()
    np.testing.assert_array_equal(editor.mask(other), truth > 0)
    editor.node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
    editor.click("Red", (31, 23, 11), ctrl=True)
    wait(driver, editor)
    editor.effect.takeBack()
    wait(driver, editor)
    assert (editor.mask(other) & ~(truth > 0)).sum() == 0
    assert editor.mask(other).sum() < truth.sum()


def test_masking_of_the_editor_is_obeyed(driver, editor):
    editor.add_segment()
    editor.node.SourceVolumeIntensityMaskOn()
    editor.node.SetSourceVolumeIntensityMaskRange(-2000, 0)
    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    assert not editor.mask().any()  # all that is bright is out of the range


def test_each_segment_has_its_own_clicks(driver, editor):
    first = editor.add_segment("first")
    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    clicks = editor.session.clicks
    editor.add_segment("second")
    driver.pump()
    assert editor.session.clicks == ()
    editor.widget.setCurrentSegmentID(first)
    driver.pump()
    assert editor.session.clicks == clicks
    assert not editor.effect._hub.busy


def test_panel_and_effect_share_clicks_and_segment(driver, editor):
    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    clicks = editor.session.clicks
    editor.widget.setActiveEffect(None)
    driver.representation.enter()
    driver.pump()
    assert driver.panel.clicks.clicks == clicks
    assert driver.panel.hasSegment
    assert driver.panel.resultNodes.segmentationNode is editor.segmentation_node
    assert driver.ui.clickList.count == 1
    driver.ui.undoClickButton.click()
    driver.ui.redoClickButton.click()
    driver.wait_for_answer()
    driver.representation.exit()
    editor.activate()
    assert editor.session.clicks == clicks


def test_the_panel_goes_on_with_the_segment_that_the_user_chose(driver, editor):
    from AttentionUNetSegmentLib.scene import segments

    mine = editor.add_segment("mine")
    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    ours = segments.findSegmentation(editor.volume_node, segments.PANCREAS)
    assert ours is editor.segmentation_node
    editor.widget.setActiveEffect(None)
    driver.representation.enter()
    driver.pump()
    assert driver.panel.resultNodes.segmentId == mine
    driver.segment()
    assert driver.panel.resultNodes.segmentId == mine
    assert editor.segmentation_node.GetSegmentation().GetNumberOfSegments() == 1


def test_to_another_volume_and_back_keeps_the_clicks(driver, editor):
    import slicer.util
    from AttentionUNetSegmentLib import scene

    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    clicks = editor.session.clicks
    other = scene.addVolumeNode(panel_driver.bright_scan(), "other")
    editor.widget.setSourceVolumeNode(other)
    driver.pump()
    assert editor.effect._session.clicks == ()
    points = slicer.util.getNode("CT clicks")
    assert points.GetDisplayVisibility(), "the panel has that volume"
    driver.choose(other)
    assert not points.GetDisplayVisibility()
    editor.widget.setSourceVolumeNode(editor.volume_node)
    driver.pump()
    assert editor.effect._session.clicks == clicks
    assert points.GetDisplayVisibility()


def test_another_image_in_the_scan_is_told(driver, editor):
    import slicer.util

    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    slicer.util.arrayFromVolume(editor.volume_node)[:] += 1
    slicer.util.arrayFromVolumeModified(editor.volume_node)
    driver.pump()
    assert "became another one" in editor.text
    editor.click("Red", (31, 23, 11))
    wait(driver, editor)
    assert "became another one" not in editor.text


def test_points_that_were_saved_unseen_are_seen_when_their_volume_is_worked_on(
    driver, ct, tmp_path
):
    import slicer.util
    from SlicerStandIn import driving

    panel_driver.click(driver, ct, CENTRE)
    panel_driver.add_ct(driver, "other")
    driving.saveScene(tmp_path / "two.mrb")
    driving.loadScene(tmp_path / "two.mrb")
    driver.pump()
    points = slicer.util.getNode("CT clicks")
    assert not points.GetDisplayVisibility()
    driver.representation.exit()
    editor = Editor(slicer.util.getNode("CT"))
    editor.activate()
    assert points.GetDisplayVisibility()
    editor.close()


def test_a_click_in_3d_is_on_the_surface_and_turning_the_view_is_none(
    driver,
    editor,
):
    import slicer
    from SlicerStandIn import driving

    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    editor.segmentation_node.CreateClosedSurfaceRepresentation()
    view = slicer.app.layoutManager().threeDWidget(0).threeDView()
    view.resetCamera()
    view.forceRender()
    width, height = view.renderWindow().GetSize()
    driving.dragInView(view, (width // 2, height // 2), (width // 2 + 40, height // 2))
    driver.pump()
    assert len(editor.session.clicks) == 1
    view.forceRender()
    driving.clickInView(view, 3, 3)
    driver.pump()
    assert len(editor.session.clicks) == 1  # nothing is there
    driving.clickInView(view, width // 2, height // 2, ctrl=True)
    wait(driver, editor)
    click = editor.session.clicks[1]
    assert not click.inside
    assert 15 < distance_mm(click.position_ras, editor.world(CENTRE)) < 30


def test_a_volume_under_a_transform_and_another_geometry_of_the_segmentation(
    driver,
    ct,
):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    transform = vtk.vtkTransform()
    transform.Translate(20, -10, 30)
    transform.RotateZ(20)
    transform.RotateX(10)
    matrix.DeepCopy(transform.GetMatrix())
    transform_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform_node.SetMatrixTransformToParent(matrix)
    ct.SetAndObserveTransformNodeID(transform_node.GetID())
    driver.representation.exit()
    editor = Editor(ct)
    try:
        segmentation = editor.segmentation_node.GetSegmentation()
        coarse = slicer.vtkOrientedImageData()
        coarse.SetExtent(0, 60, 0, 60, 0, 60)
        coarse.SetSpacing(5, 5, 5)
        coarse.SetOrigin(-140, -120, -60)
        segmentation.SetConversionParameter(
            "Reference image geometry",
            slicer.vtkSegmentationConverter.SerializeImageGeometry(coarse),
        )
        editor.activate()
        for view, place in zip(VIEWS, (CENTRE, (27, 23, 7), (34, 23, 11)), strict=True):
            editor.click(view, place)
            wait(driver, editor)
            click = editor.session.clicks[-1]
            assert distance_mm(click.position_ras, editor.world(place)) < 3
            assert editor.mask()[editor.voxel(place)]
    finally:
        editor.close()


def shortcuts():
    import qt
    import slicer.util

    window = slicer.util.mainWindow()
    return sorted(one.key.toString() for one in window.findChildren(qt.QShortcut))


def test_keys_are_there_only_while_the_effect_is_active(driver, editor):
    import SlicerStandIn

    window = SlicerStandIn.showMainWindow()
    before = shortcuts()
    editor.activate()
    assert sorted(set(shortcuts()) - set(before)) == ["Backspace", "Shift+Backspace"]
    editor.widget.setActiveEffect(None)
    assert shortcuts() == before
    window.hide()


def test_after_deactivation_clicks_are_the_views(driver, editor):
    editor.activate()
    editor.widget.setActiveEffect(None)
    editor.click("Red", CENTRE)
    driver.pump()
    assert editor.session.clicks == ()


def assert_one_sentence(text):
    assert text
    assert text.count(". ") == 0
    assert "Traceback" not in text


def test_without_the_packages_it_says_what_to_do(driver, editor, monkeypatch):
    from AttentionUNetSegmentLib.panel import installation

    monkeypatch.setattr(installation, "installed", lambda package: False)
    editor.activate()
    assert "not installed yet: open the module" in editor.text
    assert_one_sentence(editor.text)
    editor.click("Red", CENTRE)
    assert editor.session.clicks == ()
    assert "not installed yet: open the module" in editor.text


def test_a_model_that_is_missing(driver, editor):
    driver.parameters.model = "/nowhere/model"
    editor.activate()
    editor.click("Red", CENTRE)
    driver.pump()
    assert "no model" in editor.text


def test_a_click_beside_the_scan_is_no_click(driver, editor):
    editor.activate()
    editor.effect.click((1000.0, 0.0, 0.0), True)
    assert editor.session.clicks == ()
    assert "outside" in editor.text


def test_a_click_outside_alone_segments_nothing(driver, editor):
    editor.activate()
    editor.click("Red", CENTRE, ctrl=True)
    driver.pump()
    assert "place a click inside" in editor.text
    assert editor.segmentation_node.GetSegmentation().GetNumberOfSegments() == 0
    editor.click("Red", (31, 23, 11))
    wait(driver, editor)
    assert not editor.mask()[editor.voxel(CENTRE)]


def test_an_editor_whose_own_node_is_removed_raises_nothing(driver, editor):
    import slicer

    editor.activate()
    slicer.mrmlScene.RemoveNode(editor.node)
    driver.pump()
    driver.segment()
    editor.effect.takeBack()
    assert driver.panel.hasSegment


def test_a_completed_segment_is_refused_in_one_sentence(driver, editor):
    import slicer

    segment_id = editor.add_segment()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segment = editor.segmentation_node.GetSegmentation().GetSegment(segment_id)
    logic.SetSegmentStatus(segment, logic.Completed)
    editor.activate()
    editor.click("Red", CENTRE)
    driver.pump()
    assert "marked as completed" in editor.text
    assert_one_sentence(editor.text)
    assert not editor.mask().any()


def test_without_a_volume_it_says_so(driver, editor):
    editor.activate()
    editor.node.SetAndObserveSourceVolumeNode(None)
    editor.effect.click((0.0, 0.0, 0.0), True)
    assert "source volume" in editor.text


def test_closing_the_scene_forgets_the_scans(driver, editor, monkeypatch):
    from SlicerStandIn import driving

    editor.activate()
    editor.click("Red", CENTRE)
    wait(driver, editor)
    hub = editor.effect._hub
    assert hub.cache._sessions
    driving.closeScene()
    assert driver.pump(lambda: not hub.cache._sessions)
    assert not hub._sessions


def test_the_module_is_hidden_and_registers_the_effect_when_slicer_has_started(module):
    import slicer

    representation = slicer.modules.segmenteditorattentionunet
    assert representation.hidden
    assert "Segmentations" in representation.dependencies
    names = [
        effect.name
        for effect in slicer.qSlicerSegmentEditorEffectFactory.instance().registeredEffects()
    ]
    slicer.app.startupCompleted.emit()
    assert names.count(EFFECT) == 1


def test_it_has_an_icon_and_explains_itself(driver, editor):
    from PySide6.QtGui import QIcon

    icon = editor.effect.icon()
    assert isinstance(icon, QIcon)
    assert not icon.pixmap(64).isNull()
    help_text = editor.widget.effectByName(EFFECT).helpText()
    for words in ("Ctrl", "Backspace", "Drag", "not a medical device"):
        assert words in help_text


def test_an_editor_with_the_effect_needs_no_torch():
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import panel_driver; panel_driver.start_module()\n"
        "import slicer\n"
        "editor = slicer.qMRMLSegmentEditorWidget()\n"
        "assert editor.effectByName('AttentionUNet') is not None\n"
        "assert 'torch' not in sys.modules\n"
    )
    paths = [str(panel_driver.ROOT / name) for name in ("Testing/support", "AttentionUNetSegment")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, timeout=120)
