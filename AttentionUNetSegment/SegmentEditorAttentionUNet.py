"""Registers the Segment Editor effect. What it does is in AttentionUNetSegmentLib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

EFFECT_FILE = Path("AttentionUNetSegmentLib", "attention_unet_effect", "AttentionUNetEffect.py")


class SegmentEditorAttentionUNet(ScriptedLoadableModule):
    """A module without a panel, hidden in the list of modules."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Segment Editor Attention U-Net")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "Markups"]
        self.parent.contributors = ["The AttentionUNetSegment maintainers"]
        self.parent.hidden = True
        self.parent.helpText = _(
            "Adds the effect 'Attention U-Net' to the Segment Editor: click inside the pancreas, "
            "or outside with Ctrl, and the segment follows."
        )
        self.parent.acknowledgementText = _(
            "The method is that of Oktay et al. 2018, Attention U-Net: Learning Where to Look for "
            "the Pancreas (arXiv 1804.03999)."
        )
        slicer.app.connect("startupCompleted()", self.registerEffect)

    def registerEffect(self) -> None:
        """Offer the effect to all Segment Editors."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource((Path(__file__).parent / EFFECT_FILE).as_posix())
        effect.self().register()
