"""A model is a folder: a card (``model.json``) and weights (``weights.safetensors``).

>>> from AttentionUNetSegmentLib import models
>>> model = models.load_model(models.find_model("pancreas-ct"))  # doctest: +SKIP
>>> model.card.target, sorted(model.networks)                    # doctest: +SKIP
('pancreas', ['locator', 'refiner'])

Importing this package, listing the models and reading their cards needs no PyTorch; loading,
verifying and saving weights does. Pickles are never loaded.
"""

from .card import (
    FORMAT,
    STAGES,
    Label,
    ModelCard,
    Stage,
    Terminology,
    WeightsFile,
    read_card,
)
from .installed import (
    DEFAULT_MODEL,
    MODELS_FOLDER,
    InstalledModel,
    find_model,
    installed_models,
)
from .store import Model, load_model, save_model, verify_model

__all__ = [
    "DEFAULT_MODEL",
    "FORMAT",
    "MODELS_FOLDER",
    "STAGES",
    "InstalledModel",
    "Label",
    "Model",
    "ModelCard",
    "Stage",
    "Terminology",
    "WeightsFile",
    "find_model",
    "installed_models",
    "load_model",
    "read_card",
    "save_model",
    "verify_model",
]
