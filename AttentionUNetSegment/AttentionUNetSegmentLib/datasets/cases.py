"""What a data set holds, and one case of it in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import InputError, TrainingError
from ..geometry.alignment import align_labels
from ..geometry.volume import Volume
from ..io.label_maps import read_labels
from ..io.reading import read_volume

CaseKind = Literal["scan", "region", "synthetic", "elsewhere", "corrected"]


def read_pair(files: CaseFiles) -> tuple[Volume, Volume]:
    """Image and labels from a file each, where their headers put them.

    Raises:
        InputError: one cannot be read.
    """
    return read_volume(files.image), read_labels(files.labels)


@dataclass(frozen=True)
class CaseFiles:
    """Where a case is, and what its labels say.

    Args:
        name: identifies the case in logs, tables and splits.
        image: a file, or the folder of a DICOM series.
        labels: a file.
        kind: "scan" shows the whole abdomen; "region" is a crop around the organ, beyond which
            nothing is known; "synthetic" is a made-up abdomen; "elsewhere" a made-up part of the
            body without any of the organs; "corrected" a scan whose mask a user corrected.
        organs_known: whether the labels name all organs, or the target only.
        label_map: from the file's label values to ours; what is missing becomes background.
        patient: whose scan it is, where a patient has several cases; the case's name unless given.
        read: how image and labels are read.
    """

    name: str
    image: Path
    labels: Path
    kind: CaseKind = "scan"
    organs_known: bool = True
    label_map: Mapping[int, int] | None = None
    patient: str = ""
    read: Callable[[CaseFiles], tuple[Volume, Volume]] = read_pair

    def __post_init__(self) -> None:
        if not self.patient:
            object.__setattr__(self, "patient", self.name)


@dataclass(frozen=True, eq=False)
class LabelledCase:
    """A case in memory: the scan in HU and the labels (uint8) on the same grid."""

    name: str
    ct: Volume
    labels: Volume
    kind: CaseKind
    organs_known: bool
    patient: str = ""


@dataclass(frozen=True)
class DataSet:
    """What a data folder holds; nothing but headers and lists was read yet.

    Args:
        layout: name of the layout that the folder has, as :data:`layouts.LAYOUTS` lists them.
        labels: names of the classes, by value; the first is the background.
        target: the label that is trained for and scored unless another is chosen.
        cases: all of them, the held-out ones too, sorted by name.
        held_out: names of those that this data set keeps for validation by convention; empty where
            there is none, so that they are drawn (see ``splits``).
        part_of: labels that are parts of another one's organ, as a tumour is of the pancreas.
        dimensions: 2 where the cases are single pictures, each a volume of one slice.
        named: whether the files say what the labels are called; else they are called by their
            values.
        notes: what was taken for granted, a sentence each.
        hounsfield: whether the voxels are Hounsfield units.
        problems: what is missing, a sentence each; such cases are not among ``cases``.
    """

    layout: str
    labels: tuple[str, ...]
    target: str
    cases: tuple[CaseFiles, ...]
    held_out: tuple[str, ...] = ()
    part_of: Mapping[str, str] = field(default_factory=dict)
    dimensions: int = 3
    hounsfield: bool = True
    named: bool = True
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def case(self, name: str) -> CaseFiles:
        """A case by its name.

        Raises:
            TrainingError: there is none.
        """
        for one in self.cases:
            if one.name == name:
                return one
        raise TrainingError(f"The data set has no case '{name}'.")

    def with_target(self, name: str | None) -> DataSet:
        """The same, for another label, whatever the case of its name's letters; None is its own.

        Raises:
            InputError: there is no such label.
        """
        if name is None:
            return self
        names = {label.casefold(): label for label in self.labels[1:]}
        if name.casefold() not in names:
            raise InputError(
                f"The data set has no label '{name}'; choose one of {', '.join(self.labels[1:])}."
            )
        return dataclasses.replace(self, target=names[name.casefold()])

    def with_labels(self, names: Sequence[str]) -> DataSet:
        """The same with some of its labels only, in this order, whatever the case of their letters.
        A label that is left out counts as the organ that it is part of, or else as background.

        Raises:
            InputError: there is no such label, or one stands twice.
        """
        chosen = [self.with_target(name).target for name in names]
        if len(set(chosen)) < len(chosen):
            raise InputError("A label stands twice among those that were chosen.")
        made = self.relabelled((self.labels[0], *chosen))
        parts = {part: whole for part, whole in self.part_of.items() if {part, whole} <= {*chosen}}
        return dataclasses.replace(made, part_of=parts)

    def relabelled(self, names: Sequence[str], target: str | None = None) -> DataSet:
        """The same cases with the label values of others, a model's for instance, by name.

        A label that is not among ``names`` counts as the organ that it is part of, or else as
        background.

        Args:
            names: label names by value.
            target: which of them a single label without a name is taken for.

        Raises:
            TrainingError: no label but the background is in both.
        """
        if target is not None and not self.named and len(self.labels) == 2:
            note = (
                f"The labels have no names, so what is not background was taken for {target}; a "
                "manifest.json says what it is."
            )
            named = dataclasses.replace(
                self,
                labels=(self.labels[0], target),
                target=target,
                named=True,
                notes=(*self.notes, note),
            )
            return named.relabelled(names)
        wanted = {name.casefold(): value for value, name in enumerate(names)}

        def theirs(name: str) -> int:
            own = wanted.get(name.casefold())
            return wanted.get(self.part_of.get(name, "").casefold(), 0) if own is None else own

        values = {value: theirs(name) for value, name in enumerate(self.labels) if value}
        if not any(values.values()):
            raise TrainingError(
                f"The data set has the labels {', '.join(self.labels[1:])}, of which the model "
                f"knows none: it has {', '.join(names[1:])}."
            )
        all_known = set(values.values()) | {0} == set(range(len(names)))
        cases = tuple(
            dataclasses.replace(
                case,
                label_map=(
                    {old: values.get(ours, 0) for old, ours in case.label_map.items()}
                    if case.label_map is not None
                    else values
                ),
                organs_known=case.organs_known and all_known,
            )
            for case in self.cases
        )
        its = names[values[self.labels.index(self.target)]]
        if its == names[0]:
            its = next(names[value] for value in values.values() if value)
        return dataclasses.replace(self, labels=tuple(names), target=its, cases=cases, part_of={})


def load_case(files: CaseFiles) -> LabelledCase:
    """Read a case and check that image and labels belong together.

    Raises:
        TrainingError: they do not, or one cannot be read.
    """
    try:
        ct, labels = files.read(files)
    except InputError as error:
        raise TrainingError(f"Case '{files.name}' cannot be read: {error}") from error
    return labelled_case(files, ct, labels)


def labelled_case(files: CaseFiles, ct: Volume, labels: Volume) -> LabelledCase:
    """A case from its image and its labels as ``files.read`` gave them.

    Raises:
        TrainingError: they lie on different grids, or a label is outside 0 to 254.
    """
    aligned = align_labels(ct, labels)
    if aligned is None:
        raise TrainingError(
            f"Case '{files.name}': image and labels lie on different grids; resample the labels "
            "to the image."
        )
    values = aligned.array
    if files.label_map is None and (values.min() < 0 or values.max() > 254):
        raise TrainingError(f"Case '{files.name}' has labels outside 0 to 254.")
    if files.label_map is not None:
        mapped = np.zeros(values.shape, np.uint8)
        for value, ours in files.label_map.items():
            mapped[values == value] = ours
        values = mapped
    return LabelledCase(
        files.name,
        ct,
        ct.with_array(np.ascontiguousarray(values, dtype=np.uint8)),
        files.kind,
        files.organs_known,
        files.patient,
    )
