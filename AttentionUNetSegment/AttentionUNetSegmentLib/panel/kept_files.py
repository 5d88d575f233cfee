"""What stays on the computer when the extension is uninstalled, as text that a user reads."""

from __future__ import annotations

import html

import slicer
from slicer.i18n import tr as _

from ..models.installed import user_models_folder

SETTINGS_GROUP = "AttentionUNetSegment"
"""Of the application's settings: all that the panel keeps there."""


def keptFilesHtml() -> str:
    """Each kind of file: where it is, and how to delete it."""
    kept = [
        _("sample scans that you downloaded, in {folder}: delete them there").format(
            folder=_code(slicer.app.cachePath)
        ),
        _(
            "PyTorch and safetensors in Slicer's Python: enter {command} in the Python console"
        ).format(command=_code("slicer.util.pip_uninstall('torch safetensors')")),
        _("models that you imported, in {folder}: delete them there").format(
            folder=_code(str(user_models_folder()))
        ),
        _("scenes, results and data sets, in the folders that you chose: delete them there"),
        _("one setting, the folder of your data set: enter {command} in the Python console").format(
            command=_code(f"slicer.app.userSettings().remove('{SETTINGS_GROUP}')")
        ),
    ]
    items = "".join(f"<li>{one}</li>" for one in kept)
    introduction = _(
        "Uninstalling removes the extension and the models that came with it. What stays on this "
        "computer:"
    )
    return f"{introduction}<ul>{items}</ul>"


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"
