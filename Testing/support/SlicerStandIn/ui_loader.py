"""``qt.QUiLoader``: reads the module's ``.ui`` files with Slicer's and CTK's widgets in them.

Unlike the original it does not overlook a mistake: an unknown widget class, a property that the
class does not have, or a connection of signals and slots that do not exist raises ``ValueError``.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import originals, pythonqt

DESIGNER_ONLY = {"buddy"}
"""Properties that ``.ui`` files alone have: Qt's loader calls a setter for them."""


class QUiLoader(QtUiTools.QUiLoader):
    customWidgets: dict[str, type] = {}  # noqa: RUF012
    """The widget classes that are not Qt's own, under their real names; filled by ``start``."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        for widgetClass in self.customWidgets.values():
            self.registerCustomWidget(widgetClass)

    def load(
        self, device: QtCore.QIODevice, parentWidget: QtWidgets.QWidget | None = None
    ) -> QtWidgets.QWidget:
        root = ElementTree.fromstring(device.readAll().data())
        connections = root.findall("connections/connection")
        for element in root.findall("connections"):
            root.remove(element)
        for widget in root.iter("widget"):
            self._check(widget)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        # PySide6 makes every child an attribute of the root; PythonQt does not.
        with pythonqt.attributesDropped():
            widget = super().load(buffer, parentWidget)
        if widget is None:
            raise ValueError(self.errorString())
        for connection in connections:
            _connect(widget, {part.tag: part.text or "" for part in connection})
        return widget

    def _check(self, element: ElementTree.Element) -> None:
        className = element.get("class", "")
        widgetClass = self.customWidgets.get(className) or getattr(QtWidgets, className, None)
        if widgetClass is None:
            raise ValueError(f"{element.get('name')}: unknown widget class {className}")
        meta = widgetClass.staticMetaObject
        for prop in element.findall("property"):
            name = prop.get("name", "")
            dynamic = prop.get("stdset") == "0" or name in DESIGNER_ONLY
            if not dynamic and meta.indexOfProperty(name) < 0:
                raise ValueError(f"{element.get('name')}: {className} has no property {name}")


def _connect(root: QtWidgets.QWidget, connection: dict[str, str]) -> None:
    sender, receiver = (_named(root, connection[end]) for end in ("sender", "receiver"))
    slot = originals.parse(connection["slot"])
    receiverClass = type(receiver).__name__
    known = [one.name for one in originals.calls(receiverClass)]
    isQtSlot = receiver.metaObject().indexOfSlot(connection["slot"]) >= 0
    if slot.name not in known and not isQtSlot:
        raise ValueError(f"{receiverClass} has no slot {connection['slot']}")
    sender.connect(connection["signal"], getattr(receiver, slot.name))


def _named(root: QtWidgets.QWidget, name: str) -> Any:
    found = root if root.objectName == name else root.findChild(QtCore.QObject, name)
    if found is None:
        raise ValueError(f"the .ui file connects '{name}', which it does not contain")
    return found
