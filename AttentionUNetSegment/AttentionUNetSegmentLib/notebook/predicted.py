"""A result in the terms of the image that was given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..errors import InputError
from ..geometry.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk
    from matplotlib.figure import Figure

    from ..inference.prediction import Prediction
    from ..inference.uncertainty import DoubtfulPlace
    from ..models import DiceEstimate, Model
    from .images import GivenImage


class ImagePrediction:
    """What ``segment`` found.

    All arrays are on the grid of the image that was given and have their axes in its order: k, j, i
    for a file or a SimpleITK image, as GetArrayFromImage gives it; i, j, k for a nibabel image or
    an array with an affine; its own for an array with a spacing.

    Args:
        given: the scan.
        prediction: on it.
        model: that made it.
    """

    def __init__(self, given: GivenImage, prediction: Prediction, model: Model) -> None:
        self._given = given
        self._model = model
        self.prediction = prediction

    @property
    def mask(self) -> np.ndarray:
        """uint8, 1 in the organ."""
        return self._given.as_given(self.prediction.mask)

    @cached_property
    def probability(self) -> np.ndarray:
        """float32 in [0, 1]; zero where the network did not look closely."""
        return self._given.as_given(self.prediction.probability())

    @cached_property
    def uncertainty(self) -> np.ndarray:
        """float32 in [0, 1]: 0 where the network is sure, either way, and 1 where it cannot decide;
        zero where it did not look closely."""
        return self._given.as_given(self.prediction.uncertainty())

    @property
    def dice_estimate(self) -> DiceEstimate | None:
        """The Dice that the result probably has, with the interval that it lies in; None where
        nothing was found, or the model's card does not tell how to estimate it."""
        return self.prediction.dice_estimate

    @property
    def doubtful_places(self) -> tuple[DoubtfulPlace, ...]:
        """The places most worth a look, each with its position (R, A, S in mm) and the volume that
        may be on the wrong side of the outline around it; the first one first."""
        return self.prediction.doubtful_places

    @property
    def attention(self) -> AttentionMaps:
        """The attention maps, one a gated level, the shallowest (level 1) first: float32 in [0, 1],
        zero where the network did not look closely. Each is computed when it is taken."""
        return AttentionMaps(self)

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """Measures of the mask: ``volume_ml``; ``mean_hu``, ``sd_hu``, ``median_hu``;
        ``surface_mm2``; ``extent_mm`` along R, A, S; ``length_mm`` (the longest way within it);
        ``pieces``; ``mean_probability``; and ``focus_ratios``, the share of each attention map
        above 0.5. None where there is nothing to measure."""
        from dataclasses import asdict

        from ..inference.statistics import mask_statistics

        measured = asdict(mask_statistics(self.prediction.volume, self.prediction.mask))
        return measured | {
            "pieces": self.prediction.pieces,
            "mean_probability": self.prediction.mean_probability,
            "focus_ratios": self.prediction.focus_ratios,
        }

    @property
    def targets(self) -> dict[str, ImagePrediction]:
        """The results of all targets of the model by name, this one first: an organ and its lesion,
        for instance."""
        others = {
            one.target: ImagePrediction(self._given, one, self._model)
            for one in self.prediction.others
        }
        return {self.label: self, **others}

    @property
    def label_map(self) -> np.ndarray:
        """uint8: 1 in the first target, 2 in the second and so on; a part lies over its whole."""
        return self._given.as_given(self.prediction.label_map())

    @property
    def found(self) -> bool:
        """False where the scan shows no such organ."""
        return self.prediction.found

    @property
    def place(self) -> str | None:
        """How the place was found that the network looked at: "located" in the whole scan;
        "second candidate", where the first look was unsure; "whole scan", one so small that all of
        it was looked at; "region of interest", "clicks" or "mask", as given. None where nothing was
        found."""
        return self.prediction.place

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why somebody should look at it before using it, a sentence each."""
        return (*self._given.warnings, *self.prediction.warnings)

    @property
    def label(self) -> str:
        """Name of what was segmented."""
        label = self.prediction.label
        return self._model.card.target if label is None else label.name

    def to_sitk(self, what: str = "mask") -> sitk.Image:
        """A SimpleITK image on the scan's grid.

        Args:
            what: "mask", "probability", "uncertainty", or "attention-1" and so on.

        Raises:
            InputError: there is no such result, or the scan's axes are sheared.
        """
        return self._volume(what).to_sitk()

    def to_nibabel(self, what: str = "mask") -> Any:
        """A nibabel image on the scan's grid; as :meth:`to_sitk`."""
        return self._volume(what).to_nibabel()

    def save(self, path: str | Path) -> Path:
        """Write the result.

        Args:
            path: a file that ends in ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha`` gets the mask as
                a label map, one in ``.seg.nrrd`` or ``.stl`` the segment as Slicer writes it; any
                other name is a folder, which gets all that the command ``segment`` writes.

        Returns:
            The path.

        Raises:
            OutputError: it cannot be written; nothing is changed.
            InputError: the format cannot hold it.
        """
        from .saving import save

        save(self._given, self.prediction, self._model, Path(path))
        return Path(path)

    def plot(self, title: str | None = None) -> Figure:
        """The organ in three planes and, below, each attention map: a Matplotlib figure, which a
        notebook shows.

        Args:
            title: what the scan is; its file's name unless given.
        """
        from ..app.overlay import draw_overlay
        from ..app.requirements import extra_needed

        with extra_needed("standalone"):
            return draw_overlay(
                self.prediction, self._given.name if title is None else title, organ=self.label
            )

    def _volume(self, what: str) -> Volume:
        prediction = self.prediction
        kind, _, level = what.partition("-")
        if what == "mask":
            array = prediction.mask
        elif what == "probability":
            array = prediction.probability()
        elif what == "uncertainty":
            array = prediction.uncertainty()
        elif kind == "attention" and level.isdecimal() and 1 <= int(level) <= prediction.levels:
            array = prediction.attention(int(level))
        else:
            levels = ", ".join(f"attention-{number + 1}" for number in range(prediction.levels))
            raise InputError(
                f"There is no '{what}' in the result; there are mask, probability, uncertainty"
                + (f", {levels}." if levels else ".")
            )
        return prediction.volume.with_array(array)

    def __repr__(self) -> str:
        model = f"{self.prediction.model_name} {self.prediction.model_version}"
        if not self.found:
            what = f"no {self.label} found"
        else:
            what = f"{self.label} {self.prediction.volume_ml:.1f} mL"
        count = len(self.warnings)
        told = f", {count} warning{'s' * (count > 1)}: {self.warnings[0]}" if count else ""
        return f"<ImagePrediction of {self._given.name}: {what}, by {model}{told}>"


class AttentionMaps(Sequence[np.ndarray]):
    """The maps of a prediction, computed one at a time."""

    def __init__(self, of: ImagePrediction) -> None:
        self._of = of

    def __len__(self) -> int:
        return self._of.prediction.levels

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | Sequence[np.ndarray]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        return self._of._given.as_given(self._of.prediction.attention(number + 1))

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))
