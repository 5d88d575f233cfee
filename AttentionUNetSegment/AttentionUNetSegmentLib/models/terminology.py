"""What labels mean and how they are coloured: the one table of them."""

from __future__ import annotations

from .card import Label, Terminology

_ANATOMY = ("SCT", "123037004", "Anatomical Structure")
_ABNORMAL = ("SCT", "49755003", "Morphologically Altered Structure")
# Those of the General Anatomy terminology that abdominal data sets have, with Slicer's colours.
_KNOWN_LABELS = {
    "pancreas": (("SCT", "15776009", "Pancreas"), (249, 180, 111)),
    "liver": (("SCT", "10200004", "Liver"), (221, 130, 101)),
    "spleen": (("SCT", "78961009", "Spleen"), (157, 108, 162)),
    "stomach": (("SCT", "69695003", "Stomach"), (216, 132, 105)),
    "gallbladder": (("SCT", "28231008", "Gallbladder"), (139, 150, 98)),
    "aorta": (("SCT", "15825003", "Aorta"), (224, 97, 76)),
    "duodenum": (("SCT", "38848004", "Duodenum"), (255, 253, 229)),
    "colon": (("SCT", "71854001", "Colon"), (204, 168, 143)),
    "kidney": (("SCT", "64033007", "Kidney"), (185, 102, 83)),
}
# By what data sets call them; in the colour that Slicer has for a mass.
_MASS = ("SCT", "4147007", "Mass")
_TUMOUR = ("SCT", "108369006", "Neoplasm")
_KNOWN_LESIONS = {
    **dict.fromkeys(("tumour", "tumor", "cancer"), _TUMOUR),
    **dict.fromkeys(("lesion", "mass"), _MASS),
}
_LESION_COLOR = (144, 238, 144)


def make_label(value: int, name: str) -> Label:
    """A label with its terminology and colour where the name is in the table."""
    lesion = _KNOWN_LESIONS.get(name.casefold())
    if lesion is not None:
        return Label(value, name, _LESION_COLOR, Terminology(_ABNORMAL, lesion))
    if name.casefold() not in _KNOWN_LABELS:
        return Label(value, name)
    code, color = _KNOWN_LABELS[name.casefold()]
    return Label(value, name, color, Terminology(_ANATOMY, code))


TISSUE = Terminology(("SCT", "85756007", "Tissue"), ("SCT", "85756007", "Tissue"))
"""Of a segment that nobody has said more of, as Slicer has it."""
TARGET_COLOR = (249, 180, 111)
"""Of a target that the table does not have."""

PANCREAS = make_label(1, "pancreas")
"""What the shipped model is for, by the name that scripts know; nothing is written as it unless a
card says so."""
