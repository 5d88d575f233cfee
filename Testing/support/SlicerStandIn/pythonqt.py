"""Qt as PythonQt shows it to a script in Slicer, on PySide6.

What PythonQt does otherwise than PySide6, as far as a module can notice it:

- properties are attributes (``button.text = "x"``, ``label.visible``), and calling them fails;
  ``name`` is another word for ``objectName``;
- a new attribute on a Qt object is refused, as is overwriting a method;
- ``x.connect("clicked(bool)", f)`` and ``x.disconnect(...)`` beside ``x.clicked.connect(f)``;
- a file dialog's static functions return one string;
- a layout or a menu without anything in it is false, as is all that has ``isEmpty``;
- ``qt`` holds the classes of all Qt modules, ``ctk`` those of CTK.

Enumerators are to be written unscoped (``qt.Qt.AlignTop``); PySide6 knows both ways, PythonQt only
that one. A test reads the module's code for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import MethodType, ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import originals

QT_MODULES = (QtCore, QtGui, QtWidgets)
GET_ATTRIBUTE = QtCore.QObject.__getattribute__
SET_ATTRIBUTE = QtCore.QObject.__mro__[-2].__setattr__
NOT_IN_PYTHONQT = {"ClassInfo", "MetaFunction", "MetaSignal", "Property", "PyClassProperty"}
NOT_IN_PYTHONQT |= {"Signal", "SignalInstance", "Slot", "QEnum", "QFlag"}


class PropertyAsAttribute:
    """A Qt property as an attribute; on the class it is what PySide6 has there."""

    def __init__(self, name: str, original: Any, setter: Callable | None, writable: bool) -> None:
        self.name = name
        self.original = original
        self.getter = None if inspect.isbuiltin(original) else original
        self.setter = setter
        self.writable = writable

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self if self.original is None else self.original
        if self.getter is None:
            return QtCore.QObject.property(instance, self.name)
        return self.getter(instance)

    def __set__(self, instance: Any, value: Any) -> None:
        if not self.writable:
            raise AttributeError(f"Property '{self.name}' is not writable")
        if self.setter is not None:
            self.setter(instance, value)
        elif not QtCore.QObject.setProperty(instance, self.name, value):
            raise ValueError(f"Property '{self.name}' does not accept {value!r}")


def qtModule() -> ModuleType:
    """The module ``qt``, after the classes of PySide6 have been given PythonQt's manners."""
    _teach()
    module = ModuleType("qt", "Qt's classes as PythonQt shows them.")
    for part in QT_MODULES:
        for name, value in _contents(part).items():
            if isinstance(value, type) and name not in NOT_IN_PYTHONQT:
                setattr(module, name, value)
    module.QSettings = QtCore.QSettings
    return module


def _contents(part: ModuleType) -> dict[str, Any]:
    """All that a module of PySide6 has; ``vars`` lacks what has not been asked for yet."""
    return {name: getattr(part, name) for name in dir(part)}


def _teach() -> None:
    if isinstance(vars(QtCore.QObject).get("objectName"), PropertyAsAttribute):
        return
    classes = [
        value
        for part in QT_MODULES
        for value in _contents(part).values()
        if isinstance(value, type) and issubclass(value, QtCore.QObject)
    ]
    # All are looked up before any is changed: a class may find its getter in its base.
    changes = [change for cls in classes for change in _properties(cls)]
    for cls, name, attribute in changes:
        setattr(cls, name, attribute)
    for cls in classes:
        if "__setattr__" in vars(cls):
            cls.__setattr__ = _setAttribute
            # QFile and a few others have one of their own, for methods that are also static.
            own = vars(cls).get("__getattribute__", GET_ATTRIBUTE)
            cls.__getattribute__ = _getAttributeBy(own)
    QtCore.QObject.name = QtCore.QObject.objectName = PropertyAsAttribute(
        "objectName", _method(QtCore.QObject, "objectName"), QtCore.QObject.setObjectName, True
    )
    for cls in (QtWidgets.QLayout, QtWidgets.QMenu):
        # ``slicer.util.findChildren`` passes over what is false, and so does childWidgetVariables.
        cls.__bool__ = lambda self: not self.isEmpty()
    QtCore.QObject.className = lambda self: type(self).staticMetaObject.className()
    for name in ("getOpenFileName", "getSaveFileName"):
        function = _firstOf(getattr(QtWidgets.QFileDialog, name))
        setattr(QtWidgets.QFileDialog, name, staticmethod(function))


def _properties(cls: type) -> list[tuple[type, str, PropertyAsAttribute]]:
    meta = cls.staticMetaObject
    if meta.className().rpartition("::")[2] != cls.__name__:
        return []
    found = []
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        prop = meta.property(index)
        name = prop.name()
        capital = name[0].upper() + name[1:]
        setter = getattr(cls, f"set{capital}", None)
        # "checked" is read by isChecked(), "text" by text().
        original = _method(cls, name)
        attribute = PropertyAsAttribute(name, original, setter, prop.isWritable())
        if original is None:
            attribute.getter = getattr(cls, f"is{capital}", None)
        found.append((cls, name, attribute))
    return found


def _method(cls: type, name: str) -> Any:
    value = getattr(cls, name, None)
    return value.original if isinstance(value, PropertyAsAttribute) else value


_dropping = False


@contextmanager
def attributesDropped() -> Iterator[None]:
    """Attributes that would be new on a Qt object are not set, without an error."""
    global _dropping
    _dropping = True
    try:
        yield
    finally:
        _dropping = False


def _setAttribute(self: Any, name: str, value: Any) -> None:
    cls = type(self)
    if isinstance(value, QtCore.SignalInstance):  # PySide6 keeps a signal that was asked for
        SET_ATTRIBUTE(self, name, value)
        return
    attribute = _ofClass(cls, name)
    isNew = attribute is None
    if _dropping and isNew and name[0] != "_" and isinstance(value, QtCore.QObject):
        return
    if cls.__module__.startswith(("PySide6.", "SlicerStandIn.")) and name[0] != "_":
        if isNew:
            raise AttributeError(
                f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++ "
                "objects is not allowed"
            )
        if isinstance(attribute, QtCore.Property):
            if attribute.fset is None:
                raise AttributeError(f"Property '{name}' of {cls.__name__} is not writable")
            attribute.fset(self, value)
            return
        if not isinstance(attribute, PropertyAsAttribute):
            raise AttributeError(f"'{name}' can not be overwritten on a {cls.__name__} object")
    SET_ATTRIBUTE(self, name, value)


@cache
def _ofClass(cls: type, name: str) -> Any:
    """The attribute itself, not what it gives; to look for it takes longer than to set it."""
    return inspect.getattr_static(cls, name, None)


def _getAttributeBy(original: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def getAttribute(self: Any, name: str) -> Any:
        # PySide6 answers for these two in C++, whatever the class holds.
        if name == "connect":
            return MethodType(_connect, self)
        if name == "disconnect":
            return MethodType(_disconnect, self)
        return original(self, name)

    return getAttribute


def _firstOf(function: Callable) -> Callable:
    return lambda *args, **kwargs: function(*args, **kwargs)[0]


def _connect(self: QtCore.QObject, signature: str, slot: Callable) -> bool:
    _signal(self, signature).connect(slot)
    return True


def _disconnect(self: QtCore.QObject, signature: str, slot: Callable) -> bool:
    return bool(_signal(self, signature).disconnect(slot))


def _signal(sender: QtCore.QObject, signature: str) -> Any:
    """The signal of this C++ signature.

    Raises:
        ValueError: the original has none; PythonQt only writes a warning then and goes on.
    """
    wanted = originals.parse(signature)
    className = type(sender).__name__
    same = [one for one in originals.signals(className) if one.name == wanted.name]
    known = [_plain(one) for one in same]
    # Of the class: one got from the object would end with it, for all others of its class.
    inQt = type(sender).staticMetaObject.indexOfSignal(_normalized(signature)) >= 0
    if _plain(wanted) not in known and (known or not inQt):
        raise ValueError(f"{className} has no signal {signature}; it has {known}")
    signal = getattr(sender, wanted.name)
    return signal[bool] if len(same) > 1 and wanted.types == ("bool",) else signal


def _normalized(signature: str) -> str:
    return bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()


def _plain(call: originals.Call) -> str:
    """A signature without names, const and references."""
    types = [one.replace("const ", "").replace("&", "").replace(" ", "") for one in call.types]
    return f"{call.name}({','.join(types)})"
