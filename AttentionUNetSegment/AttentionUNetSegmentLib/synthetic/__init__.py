"""A synthetic contrast-enhanced abdomen with labels, drawn from a seed; and parts of the body that
have no pancreas.

It is what the demonstration and the tests run on where there is no real scan. It is not a patient
and not a substitute for one: say "synthetic" wherever it is shown.
"""

from .abdomen import ORGAN_LABELS, SyntheticAbdomen, synthetic_abdomen
from .body_parts import BODY_PARTS, BodyPart, synthetic_body_part

__all__ = [
    "BODY_PARTS",
    "ORGAN_LABELS",
    "BodyPart",
    "SyntheticAbdomen",
    "synthetic_abdomen",
    "synthetic_body_part",
]
