"""The card of a model: what it is, what it was trained on, how to run it, what its weights are."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..networks import NetworkConfig
from . import checks
from .dice_estimator import DiceEstimator

FORMAT = 1
CARD_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
CLICK_KIND, CLICK_WIDTH_MM = "gaussian", 5.0
"""How clicks are shown to a network: about a hand's precision, a few voxels wide."""
EDITOR_FILE = "editor.safetensors"
STAGES = ("locator", "refiner")
EDITOR = "editor"
TARGET, ANY_STRUCTURE = "target", "any structure"
ANSWERS = (TARGET, ANY_STRUCTURE)
"""What an editor may answer clicks at."""
OPTIONAL_KEYS = (
    "targets",
    "usual",
    "search",
    "clicks",
    "dice_estimate",
    "limitations",
    "author",
    "editor",
)
REQUIRED_STAGES, OPTIONAL_STAGES = ("refiner",), ("locator",)
IN_CHANNELS = (1, 3)  # CT alone, or CT, clicks inside, clicks outside
EDITOR_CHANNELS = 8  # scan, clicks and mask, as ``inference.editing.editor_inputs`` gives them
MOST_LEVELS = 5  # scans are cut into tiles whose sides are multiples of four poolings
MOST_BYTES = 12_000_000  # card and weights together: what an extension may install
LARGEST_BYTES = 1_000_000_000  # of a model that somebody brings along
MOST_CARD_BYTES = 1_000_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WEIGHTS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.safetensors")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_name(text: str) -> bool:
    """Whether a model may be called so."""
    return bool(_NAME.fullmatch(text))


@dataclass(frozen=True)
class Terminology:
    """What a label means, as coded entries: (coding scheme, code value, code meaning)."""

    category: tuple[str, str, str]
    type: tuple[str, str, str]

    def __post_init__(self) -> None:
        for name in ("category", "type"):
            code = checks.items(getattr(self, name), f"terminology {name}", 3, 3)
            for part in code:
                checks.text(part, f"terminology {name}", 200)
            object.__setattr__(self, name, code)


@dataclass(frozen=True)
class Label:
    """One class of the networks' output: channel ``value``, shown as ``name`` in ``color``."""

    value: int
    name: str
    color: tuple[int, int, int] | None = None
    terminology: Terminology | None = None

    def __post_init__(self) -> None:
        checks.integer(self.value, "a label's value", 0, 255)
        checks.text(self.name, f"the name of label {self.value}", 100)
        if self.color is not None:
            where = f"the color of label {self.value}"
            color = checks.items(self.color, where, 3, 3)
            for part in color:
                checks.integer(part, where, 0, 255)
            object.__setattr__(self, "color", color)


@dataclass(frozen=True)
class Target:
    """A label that is segmented.

    Args:
        name: of the label.
        part_of: name of the target that it is a part of, as a tumour is of its organ, whose segment
            then holds it too, and which stands before it; empty where it lies beside the others.
    """

    name: str
    part_of: str = ""

    def __post_init__(self) -> None:
        checks.text(self.name, "the name of a target", 100)
        if self.part_of != "":
            checks.text(self.part_of, f"part_of of the target {self.name}", 100)


@dataclass(frozen=True)
class Stage:
    """A network, and the voxel spacing (i, j, k in mm) of the images it was trained on.

    ``network`` is the configuration that ``networks.build_network`` takes. One of two dimensions
    sees a scan slice by slice, k millimetres apart.
    """

    network: Mapping[str, Any]
    spacing_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        network = checks.plain_json(self.network, "a stage's network")
        config = NetworkConfig.from_mapping(network)
        # What inference feeds the networks with is fixed, so a card cannot ask for anything else.
        if config.in_channels not in IN_CHANNELS:
            raise ModelError(
                "a stage's network must have 1 or 3 input channels (CT, clicks inside, clicks "
                f"outside), but it has {config.in_channels}."
            )
        if len(config.channels) > MOST_LEVELS:
            raise ModelError(
                f"a stage's network must have at most {MOST_LEVELS} levels, but it has "
                f"{len(config.channels)}."
            )
        spacing = checks.items(self.spacing_mm, "spacing_mm", 3, 3)
        spacing = tuple(checks.number(step, "spacing_mm", 0.1, 50.0) for step in spacing)
        object.__setattr__(self, "network", network)
        object.__setattr__(self, "spacing_mm", spacing)


@dataclass(frozen=True)
class Usual:
    """What the model is known to answer well, and answers as usual; the rest is to be doubted.

    An entry that is None, as all are in an older card, is not known.

    Args:
        volume_ml: least and most volume of the target.
        intensity_hu: least and most mean of the scan within the target.
        least_probability: mean over the mask of the probability, below which it is unsure.
        slice_mm: distance of the thickest slices that it was trained on.
        organ_disorder: of the organs that the locator sees, above which the scan may lie otherwise
            than its file says; as of ``inference.mirrored.measure_disorder``.
    """

    volume_ml: tuple[float, float] | None = None
    intensity_hu: tuple[float, float] | None = None
    least_probability: float | None = None
    slice_mm: float | None = None
    organ_disorder: float | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("volume_ml", 0.0, 1e5), ("intensity_hu", -1e4, 1e5)):
            if getattr(self, name) is not None:
                ends = checks.items(getattr(self, name), f"usual {name}", 2, 2)
                ends = tuple(checks.number(end, f"usual {name}", low, high) for end in ends)
                if ends[0] >= ends[1]:
                    checks.refuse(f"usual {name}", "a range, its lower end first", ends)
                object.__setattr__(self, name, ends)
        for name, low, high in (
            ("least_probability", 0.0, 1.0),
            ("slice_mm", 0.1, 50.0),
            ("organ_disorder", -30.0, 30.0),
        ):
            if getattr(self, name) is not None:
                number = checks.number(getattr(self, name), f"usual {name}", low, high)
                object.__setattr__(self, name, number)


@dataclass(frozen=True)
class Search:
    """How large the target is, for what looks for it. An older card says nothing, and means the
    sizes of a pancreas that stand here.

    Args:
        least_volume_ml: less evidence of the locator (probability times volume) is no target. On
            the scans at hand the locator of the shipped model sees 44 mL and more where the
            pancreas is in view, and mostly below 12 mL where a scan ends 15 mm short of it.
        margin_mm: room around what the locator found, along R, A and S: its own error, and context
            for the refiner.
        smallest_box_mm: the least that the refiner is run on.
        largest_box_mm: the most that it is run on for the sake of a second piece; the largest piece
            is never cut. A scan that is no larger was cut out of one.
        least_side_mm: what is smaller along any axis cannot hold the target and its surroundings.
        click_margin_mm: room around lone clicks: half the size of the target or more.
    """

    least_volume_ml: float = 12.0
    margin_mm: tuple[float, float, float] = (24.0, 22.0, 24.0)
    smallest_box_mm: tuple[float, float, float] = (160.0, 128.0, 120.0)
    largest_box_mm: tuple[float, float, float] = (280.0, 220.0, 260.0)
    least_side_mm: float = 40.0
    click_margin_mm: tuple[float, float, float] = (70.0, 50.0, 50.0)

    def __post_init__(self) -> None:
        for name in ("least_volume_ml", "least_side_mm"):
            object.__setattr__(
                self, name, checks.number(getattr(self, name), f"search {name}", 0.0, 1e5)
            )
        for name in ("margin_mm", "smallest_box_mm", "largest_box_mm", "click_margin_mm"):
            lengths = checks.items(getattr(self, name), f"search {name}", 3, 3)
            lengths = tuple(checks.number(one, f"search {name}", 0.0, 5000.0) for one in lengths)
            object.__setattr__(self, name, lengths)
        if any(
            most < least
            for most, least in zip(self.largest_box_mm, self.smallest_box_mm, strict=True)
        ):
            checks.refuse(
                "search largest_box_mm", "no smaller than the smallest", self.largest_box_mm
            )


@dataclass(frozen=True)
class ClickEncoding:
    """How clicks are drawn into the channels of a network that is shown them; an older card means
    what stands here.

    Args:
        kind: "gaussian", one around each click.
        width_mm: its standard deviation.

    Raises:
        ModelError: this version draws clicks in another way, so that the network would take them
            for something else.
    """

    kind: str = CLICK_KIND
    width_mm: float = CLICK_WIDTH_MM

    def __post_init__(self) -> None:
        checks.text(self.kind, "clicks kind", 50)
        width = checks.number(self.width_mm, "clicks width_mm", 0.1, 100.0)
        if self.kind != CLICK_KIND or width != CLICK_WIDTH_MM:
            raise ModelError(
                f"its network was trained with clicks as {self.kind} of {width:g} mm, but this "
                f"version of the extension draws them as {CLICK_KIND} of {CLICK_WIDTH_MM:g} mm."
            )
        object.__setattr__(self, "width_mm", width)


@dataclass(frozen=True)
class WeightsFile:
    """The weights' file: its name in the model's folder, its SHA-256 and its size."""

    file: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        name = checks.text(self.file, "the weights' file", 80)
        # No separator, drive or parent can be written with these characters.
        if not _WEIGHTS_NAME.fullmatch(name):
            checks.refuse("the weights' file", "a plain file name that ends in .safetensors", name)
        digest = checks.text(self.sha256, "the weights' sha256", 64)
        if not _SHA256.fullmatch(digest):
            checks.refuse("the weights' sha256", "64 digits 0-9 and a-f", digest)
        checks.integer(self.bytes, "the weights' bytes", 1, LARGEST_BYTES)


@dataclass(frozen=True)
class Editor:
    """The network that answers clicks, beside a refiner whose answers it mends.

    Its weights are a file of their own, so that it can be trained anew, and a model without one be
    given one, while those of the other networks stay the same file.

    Args:
        network: the configuration that ``networks.build_network`` takes: two classes, in 3D.
        training: what it was trained on and how; free.
        figures: what was measured; free.
        weights: filled by ``save_model``; that of a card that is read always has it.
        answers: clicks at what it answers, of :data:`ANSWERS`: the first of the model's targets, in
            the refiner's place, or any structure that the user points at, from nothing.
    """

    network: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    weights: WeightsFile | None = None
    answers: tuple[str, ...] = (TARGET,)

    def __post_init__(self) -> None:
        network = checks.plain_json(self.network, "the editor's network")
        config = NetworkConfig.from_mapping(network)
        if (config.dimensions, config.in_channels, config.out_channels) != (3, EDITOR_CHANNELS, 2):
            raise ModelError(
                f"the editor's network must have 3 dimensions, {EDITOR_CHANNELS} input and 2 "
                "output channels."
            )
        if len(config.channels) > MOST_LEVELS:
            raise ModelError(
                f"the editor's network must have at most {MOST_LEVELS} levels, but it has "
                f"{len(config.channels)}."
            )
        answers = checks.items(self.answers, "what the editor answers", 1, len(ANSWERS))
        if len(set(answers)) < len(answers) or not set(answers) <= set(ANSWERS):
            checks.refuse("what the editor answers", f"some of {', '.join(ANSWERS)}", answers)
        object.__setattr__(self, "answers", answers)
        object.__setattr__(self, "network", network)
        object.__setattr__(self, "training", checks.plain_json(self.training, "training"))
        object.__setattr__(self, "figures", checks.plain_json(self.figures, "figures"))

    @property
    def sha256(self) -> str:
        """Of its weights' file; empty before it has one."""
        return self.weights.sha256 if self.weights else ""


@dataclass(frozen=True)
class ModelCard:
    """All that is known about a model.

    Args:
        name: short name, also that of the installed folder: letters, digits, ``.``, ``_``, ``-``.
        version: of the model, not of the extension.
        title, summary, intended_use, licence: for the reader.
        citation: works to cite, one text each.
        intensity_window_hu: lower and upper Hounsfield unit that the images are clipped to.
        labels: the networks' output channels, in order; the first (0) is the background.
        target: name of the label that is segmented, the first of them where there are several.
        stages: "locator" and "refiner"; or "refiner" alone, which then sees the whole scan.
        targets: all labels that are segmented, ``target`` first; none where that is the only one.
        training: what it was trained on and how; free.
        figures: what was measured; free.
        usual: beyond which a result is to be doubted.
        search: how large the target is, for what looks for it.
        clicks: how a network that is shown clicks was shown them.
        dice_estimate: tells how good a result probably is; None where that was never measured.
        limitations: where it fails, and what it was not tested on, a sentence each.
        author: who made it and answers for it; empty where nobody is named.
        editor: the network that answers clicks; None where the refiner does.
        weights: filled by ``save_model``; a card that is read always has it.

    Raises:
        ModelError: a value has the wrong type or is out of range.
    """

    name: str
    version: str
    title: str
    summary: str
    intended_use: str
    licence: str
    citation: tuple[str, ...]
    intensity_window_hu: tuple[float, float]
    labels: tuple[Label, ...]
    target: str
    stages: Mapping[str, Stage]
    targets: tuple[Target, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    usual: Usual = field(default_factory=Usual)
    search: Search = field(default_factory=Search)
    clicks: ClickEncoding = field(default_factory=ClickEncoding)
    dice_estimate: DiceEstimator | None = None
    limitations: tuple[str, ...] = ()
    author: str = ""
    editor: Editor | None = None
    weights: WeightsFile | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(checks.text(self.name, "name", 64)):
            checks.refuse("name", "made of letters, digits, '.', '_' and '-'", self.name)
        checks.text(self.version, "version", 64)
        for key in ("title", "summary", "intended_use", "licence"):
            checks.text(getattr(self, key), key)
        if self.author != "":
            checks.text(self.author, "author", 300)
        citation = checks.items(self.citation, "citation", 0, 100)
        limitations = checks.items(self.limitations, "limitations", 0, 100)
        for name, texts in (("citation", citation), ("limitations", limitations)):
            for text in texts:
                checks.text(text, f"an entry of {name}")

        low, high = (
            checks.number(value, "intensity_window_hu", -10_000.0, 100_000.0)
            for value in checks.items(self.intensity_window_hu, "intensity_window_hu", 2, 2)
        )
        if low >= high:
            raise ModelError(
                f"intensity_window_hu must have its lower end first, but it is {low:g}, {high:g}."
            )

        labels = checks.items(self.labels, "labels", 2, 256)
        names = [label.name for label in labels]
        if [label.value for label in labels] != list(range(len(labels))):
            raise ModelError("labels must have the values 0, 1, 2 and so on, in that order.")
        if len(set(names)) != len(names):
            raise ModelError("labels must have different names.")
        if self.target not in names[1:]:
            checks.refuse("target", "the name of a label other than the first", self.target)

        targets = self._checked_targets(names[1:])

        stages = checks.entries(self.stages, "stages", REQUIRED_STAGES, OPTIONAL_STAGES)
        for name, stage in stages.items():
            if stage.network["out_channels"] != len(labels):
                raise ModelError(
                    f"the {name}'s network has {stage.network['out_channels']} output channels, "
                    f"but there are {len(labels)} labels."
                )
        if self.editor is not None and stages["refiner"].network["dimensions"] != 3:
            raise ModelError("an editor needs a refiner in 3D.")
        object.__setattr__(self, "citation", citation)
        object.__setattr__(self, "limitations", limitations)
        object.__setattr__(self, "intensity_window_hu", (low, high))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "targets", targets)
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "training", checks.plain_json(self.training, "training"))
        object.__setattr__(self, "figures", checks.plain_json(self.figures, "figures"))

    def _checked_targets(self, names: list[str]) -> tuple[Target, ...]:
        if not self.targets:
            return ()
        targets = checks.items(self.targets, "targets", 1, len(names))
        wanted = [target.name for target in targets]
        if wanted[0] != self.target:
            checks.refuse("the first of targets", f"the target, '{self.target}'", wanted[0])
        if len(set(wanted)) != len(wanted):
            raise ModelError("targets must be different ones.")
        wholes: set[str] = set()
        for target in targets:
            if target.name not in names:
                checks.refuse("a target", "the name of a label other than the first", target.name)
            if target.part_of and target.part_of not in wholes:
                checks.refuse(
                    f"part_of of the target {target.name}",
                    "the name of a target before it that is no part itself",
                    target.part_of,
                )
            if not target.part_of:
                wholes.add(target.name)
        return targets

    @property
    def target_label(self) -> Label:
        """The label that is segmented, the first of them where there are several."""
        return next(label for label in self.labels if label.name == self.target)

    @property
    def target_labels(self) -> tuple[Label, ...]:
        """All labels that are segmented, in the card's order."""
        by_name = {label.name: label for label in self.labels}
        return tuple(by_name[one.name] for one in self.targets) or (self.target_label,)

    @property
    def knows_more(self) -> bool:
        """Whether the networks know labels beside the targets and the background."""
        return len(self.labels) - 1 > len(self.target_labels)

    def channels_of(self, label: Label) -> tuple[int, ...]:
        """The networks' output channels that make up a target: its own, and those of its parts."""
        parts = {one.name for one in self.targets if one.part_of == label.name}
        return (label.value, *(one.value for one in self.labels if one.name in parts))

    def part_of(self, label: Label) -> str:
        """Name of the target that a target is a part of; empty where it is none."""
        return next((one.part_of for one in self.targets if one.name == label.name), "")

    @property
    def takes_any_structure(self) -> bool:
        """Whether the editor answers clicks at structures that the model has no label for."""
        return self.editor is not None and ANY_STRUCTURE in self.editor.answers

    @property
    def networks(self) -> dict[str, Mapping[str, Any]]:
        """The configuration of each network, by its name: of the stages and of the editor."""
        networks = {name: stage.network for name, stage in self.stages.items()}
        return networks if self.editor is None else {**networks, EDITOR: self.editor.network}

    @property
    def weights_files(self) -> dict[str, WeightsFile | None]:
        """Which networks' weights are in which file: of the stages (""), and of the editor."""
        files = {"": self.weights}
        return files if self.editor is None else {**files, EDITOR: self.editor.weights}

    def with_weights(self, weights: WeightsFile, editor: WeightsFile | None = None) -> ModelCard:
        card = dataclasses.replace(self, weights=weights)
        if self.editor is None:
            return card
        return dataclasses.replace(card, editor=dataclasses.replace(self.editor, weights=editor))

    def to_json(self) -> str:
        """The text of ``model.json``: the same text for the same card."""
        card = {"format": FORMAT} | dataclasses.asdict(self)
        for label in card["labels"]:
            for key in ("color", "terminology"):
                if label[key] is None:
                    del label[key]
        card["usual"] = {key: value for key, value in card["usual"].items() if value is not None}
        for target in card["targets"]:
            if not target["part_of"]:
                del target["part_of"]
        if self.editor is not None and self.editor.answers == (TARGET,):
            del card["editor"]["answers"]
        for key, usual in (("search", Search()), ("clicks", ClickEncoding())):
            if getattr(self, key) == usual:
                del card[key]
        for key in (*OPTIONAL_KEYS, "weights"):
            if not card.get(key, True):
                del card[key]
        return json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read the text of ``model.json``.

        Raises:
            ModelError: it is no JSON, or no valid card of this format.
        """
        try:
            content = json.loads(
                text, object_pairs_hook=_without_repeats, parse_constant=_no_constant
            )
        except (ValueError, RecursionError) as error:
            raise ModelError(f"it is not valid JSON ({error}).") from error
        card = checks.mapping(content, "the card")
        version = card.pop("format", None)
        if version != FORMAT or isinstance(version, bool):
            raise ModelError(
                f"its format is {checks.shown(version)}, but this version of the extension reads "
                f"format {FORMAT}; update the extension or get the model in that format."
            )
        required = [one.name for one in dataclasses.fields(cls) if one.name not in OPTIONAL_KEYS]
        checks.entries(card, "the card", required, OPTIONAL_KEYS)
        estimator = card.get("dice_estimate")
        stages = checks.entries(card["stages"], "stages", REQUIRED_STAGES, OPTIONAL_STAGES)
        return cls(
            **card
            | {
                "labels": tuple(
                    _label(one) for one in checks.items(card["labels"], "labels", 2, 256)
                ),
                "stages": {name: _stage(stage, name) for name, stage in stages.items()},
                "targets": tuple(
                    Target(**checks.entries(one, "a target", ("name",), ("part_of",)))
                    for one in checks.items(card.get("targets", ()), "targets", 0, 255)
                ),
                "dice_estimate": None
                if estimator is None
                else DiceEstimator.from_mapping(estimator),
                "usual": Usual(**_known_entries(card, "usual", Usual)),
                "search": Search(**_known_entries(card, "search", Search)),
                "clicks": ClickEncoding(**_known_entries(card, "clicks", ClickEncoding)),
                "weights": _weights(card["weights"], "weights"),
                "editor": None if card.get("editor") is None else _editor(card["editor"]),
            }
        )


def read_card(folder: str | Path) -> ModelCard:
    """The card in a model's folder; the weights are not looked at.

    Raises:
        ModelError: there is no card, or it is not valid.
    """
    path = Path(folder) / CARD_FILE
    if not path.is_file():
        raise ModelError(f"'{folder}' is not a model's folder: there is no {CARD_FILE} in it.")
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_CARD_BYTES + 1)
    except OSError as error:
        raise ModelError(f"The card '{path}' cannot be read: {error.strerror}.") from error
    if len(content) > MOST_CARD_BYTES:
        raise ModelError(f"The card '{path}' is larger than {MOST_CARD_BYTES // 1000} kB.")
    try:
        return _card_of(content)
    except UnicodeDecodeError as error:
        raise ModelError(f"The card '{path}' is not a UTF-8 text file.") from error
    except ModelError as error:
        raise ModelError(f"The card '{path}' cannot be used: {error}") from error


@lru_cache(maxsize=32)  # the panel asks again and again
def _card_of(content: bytes) -> ModelCard:
    return ModelCard.from_json(content.decode("utf-8"))


def _label(value: object) -> Label:
    content = checks.entries(value, "a label", ("value", "name"), ("color", "terminology"))
    if content.get("terminology") is not None:
        codes = checks.entries(content["terminology"], "a terminology", ("category", "type"))
        content["terminology"] = Terminology(**codes)
    return Label(**content)


def _weights(value: object, where: str) -> WeightsFile:
    return WeightsFile(**checks.entries(value, where, ("file", "sha256", "bytes")))


def _editor(value: object) -> Editor:
    known = ("network", "training", "figures", "weights")
    content = checks.entries(value, "the editor", known, ("answers",))
    content["weights"] = _weights(content["weights"], "the editor's weights")
    return Editor(**content)


def _known_entries(
    card: Mapping[str, Any], key: str, kind: type[Usual | Search | ClickEncoding]
) -> dict[str, Any]:
    known = [one.name for one in dataclasses.fields(kind)]
    return checks.entries(card.get(key, {}), key, (), known)


def _stage(value: object, name: str) -> Stage:
    return Stage(**checks.entries(value, f"the {name}", ("network", "spacing_mm")))


def _without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"{checks.shown(key)} stands there twice")
        result[key] = value
    return result


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
