"""A model is a folder: a card (``model.json``) and weights (``weights.safetensors``, and
``editor.safetensors`` where a network of its own answers clicks).

>>> from AttentionUNetSegmentLib import models
>>> model = models.load_model(models.find_model("pancreas-ct"))  # doctest: +SKIP
>>> model.card.target, sorted(model.networks)                    # doctest: +SKIP
('pancreas', ['locator', 'refiner'])

Importing this package, listing the models and reading their cards needs no PyTorch; loading,
verifying and saving weights does. Pickles are never loaded.
"""

from .card import (
    ANY_STRUCTURE,
    EDITOR,
    FORMAT,
    LARGEST_BYTES,
    STAGES,
    TARGET,
    ClickEncoding,
    Editor,
    Label,
    ModelCard,
    Search,
    Stage,
    Target,
    Terminology,
    Usual,
    WeightsFile,
    read_card,
)
from .dice_estimator import DiceEstimate, DiceEstimator, Interval
from .installed import (
    DEFAULT_MODEL,
    MODELS_FOLDER,
    USER_MODELS_VARIABLE,
    InstalledModel,
    find_model,
    installed_folders,
    installed_models,
    user_models_folder,
)
from .installing import install_model, remove_model
from .store import (
    Model,
    compress_model,
    load_model,
    require_writable,
    save_model,
    verify_model,
)

__all__ = [
    "ANY_STRUCTURE",
    "DEFAULT_MODEL",
    "EDITOR",
    "FORMAT",
    "LARGEST_BYTES",
    "MODELS_FOLDER",
    "STAGES",
    "TARGET",
    "USER_MODELS_VARIABLE",
    "ClickEncoding",
    "DiceEstimate",
    "DiceEstimator",
    "Editor",
    "InstalledModel",
    "Interval",
    "Label",
    "Model",
    "ModelCard",
    "Search",
    "Stage",
    "Target",
    "Terminology",
    "Usual",
    "WeightsFile",
    "compress_model",
    "find_model",
    "install_model",
    "installed_folders",
    "installed_models",
    "load_model",
    "read_card",
    "remove_model",
    "require_writable",
    "save_model",
    "user_models_folder",
    "verify_model",
]
