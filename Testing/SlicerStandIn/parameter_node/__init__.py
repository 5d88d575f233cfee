"""``slicer.parameterNodeWrapper``: typed fields kept in a parameter node and bound to widgets.

Values are stored under the same parameter names and in the same text form as by the original, so
that a scene saved by either can be read by the other. Offered are the types that the module uses:
``int``, ``float``, ``bool``, ``str``, paths, enumerations, nodes, lists, ``Optional`` and unions of
these; not dictionaries, tuples and parameter packs.
"""

from .annotations import (
    Choice,
    Default,
    Exclude,
    IsInstance,
    IsNone,
    Maximum,
    Minimum,
    NotNone,
    Validator,
    WithinRange,
)
from .gui_connectors import Decimals, SingleStep
from .serializers import ObservedList
from .wrapper import (
    SlicerParameterNamePropertyName,
    findChildWidgetForParameter,
    isParameterNodeWrapper,
    parameterNodeWrapper,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "IsInstance",
    "IsNone",
    "Maximum",
    "Minimum",
    "NotNone",
    "ObservedList",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "findChildWidgetForParameter",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]
