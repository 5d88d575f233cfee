"""The check box "Any structure": what the user chose, and what holds of a segment anyway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .target import noStructuresText


class StructureBox:
    """Shows whether clicks in a segment are about any structure, and lets the user say so.

    Args:
        checkBox: a QCheckBox; its tool tip is the one that it has where the user may choose.
        changed: called when the user chose.

    Attributes:
        chosen: by the user, whatever the box shows now.
    """

    def __init__(self, checkBox: Any, changed: Callable[[], None] = lambda: None) -> None:
        self._checkBox = checkBox
        self._toolTip = checkBox.toolTip
        self._changed = changed
        self.chosen = bool(checkBox.checked)
        checkBox.connect("toggled(bool)", self._onToggled)

    def show(self, offered: bool, isStructure: bool, isTarget: bool = False) -> None:
        """Bring the box in line with a segment.

        Args:
            offered: the model takes any structure.
            isStructure: the segment is one already, and stays that.
            isTarget: the segment is that of what the model is for, and stays that.
        """
        box = self._checkBox
        blocked = box.blockSignals(True)
        box.checked = isStructure or (self.chosen and not isTarget)
        box.blockSignals(blocked)
        box.enabled = offered and not isStructure and not isTarget
        if not offered:
            box.toolTip = noStructuresText()
        elif isStructure:
            box.toolTip = _(
                "The clicks in this segment are about any structure already, and stay so: choose "
                "another segment for what the model is for."
            )
        elif isTarget:
            box.toolTip = _("This segment is of what the model is for, and its clicks stay that.")
        else:
            box.toolTip = self._toolTip

    def _onToggled(self, checked: bool) -> None:
        self.chosen = bool(checked)
        self._changed()
