"""``slicer.parameterNodeWrapper``: typed fields kept in a parameter node and bound to widgets.

Values are stored under the same parameter names and in the same text form as by the original, so
that a scene saved by either can be read by the other. All types of fields are here but parameter
packs, ranges and colors. Those, widgets made from types, and connectors of a module's own are
refused where they are used.
"""

from ..not_imitated import Refused
from .annotations import (
    Choice,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    Validator,
    WithinRange,
)
from .annotations import first as findFirstAnnotation
from .annotations import split as splitAnnotations
from .gui_connectors import (
    Decimals,
    SingleStep,
    createGuiConnector,
    getNodeTypes,
    isNodeOrUnionOfNodes,
)
from .serializers import (
    AnySerializer,
    BoolSerializer,
    DictSerializer,
    ListSerializer,
    NodeSerializer,
    NumberSerializer,
    PathSerializer,
    Serializer,
    StringSerializer,
    TupleSerializer,
    UnionSerializer,
    ValidatedSerializer,
    parameterNodeSerializer,
)
from .wrapper import (
    SlicerParameterNamePropertyName,
    findChildWidgetForParameter,
    isParameterNodeWrapper,
    parameterNodeWrapper,
)

(
    FloatRange,
    GuiConnector,
    GuiCreator,
    Label,
    QColorSerializer,
    RangeBounds,
    SlicerPackParameterNamePropertyName,
    createGui,
    isParameterPack,
    nestedParameterNames,
    parameterNodeGuiConnector,
    parameterNodeGuiCreator,
    parameterPack,
) = (
    Refused(f"slicer.parameterNodeWrapper.{name}")
    for name in (
        "FloatRange",
        "GuiConnector",
        "GuiCreator",
        "Label",
        "QColorSerializer",
        "RangeBounds",
        "SlicerPackParameterNamePropertyName",
        "createGui",
        "isParameterPack",
        "nestedParameterNames",
        "parameterNodeGuiConnector",
        "parameterNodeGuiCreator",
        "parameterPack",
    )
)

__all__ = [
    "AnySerializer",
    "BoolSerializer",
    "Choice",
    "Decimals",
    "Default",
    "DictSerializer",
    "Exclude",
    "FloatRange",
    "GuiConnector",
    "GuiCreator",
    "IsInstance",
    "Label",
    "ListSerializer",
    "Maximum",
    "Minimum",
    "NodeSerializer",
    "NotNone",
    "NumberSerializer",
    "PathSerializer",
    "QColorSerializer",
    "RangeBounds",
    "Serializer",
    "SingleStep",
    "SlicerPackParameterNamePropertyName",
    "SlicerParameterNamePropertyName",
    "StringSerializer",
    "TupleSerializer",
    "UnionSerializer",
    "ValidatedSerializer",
    "Validator",
    "WithinRange",
    "createGui",
    "createGuiConnector",
    "findChildWidgetForParameter",
    "findFirstAnnotation",
    "getNodeTypes",
    "isNodeOrUnionOfNodes",
    "isParameterNodeWrapper",
    "isParameterPack",
    "nestedParameterNames",
    "parameterNodeGuiConnector",
    "parameterNodeGuiCreator",
    "parameterNodeSerializer",
    "parameterNodeWrapper",
    "parameterPack",
    "splitAnnotations",
]
