"""A synthetic contrast-enhanced abdomen with labels, drawn from a seed.

It is what the demonstration and the tests run on where there is no real scan. It is not a patient
and not a substitute for one: say "synthetic" wherever it is shown.
"""

from .abdomen import ORGAN_LABELS, SyntheticAbdomen, synthetic_abdomen

__all__ = ["ORGAN_LABELS", "SyntheticAbdomen", "synthetic_abdomen"]
