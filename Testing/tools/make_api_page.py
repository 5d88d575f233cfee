"""Make the page about the library's Python interface from its docstrings.

    python Testing/tools/make_api_page.py

writes ``Resources/Documentation/python.md``; ``Testing/documents/test_api_page.py`` says when to.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "AttentionUNetSegment"))

import AttentionUNetSegmentLib
from AttentionUNetSegmentLib import inference, models, networks
from AttentionUNetSegmentLib.datasets import checker
from AttentionUNetSegmentLib.datasets import loading as datasets
from AttentionUNetSegmentLib.evaluation import evaluate as evaluation
from AttentionUNetSegmentLib.evaluation import trust
from AttentionUNetSegmentLib.inference import session
from AttentionUNetSegmentLib.training import (
    finetuning,
    naming,
    pipeline,
    recipes,
    training_options,
)

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "Resources" / "Documentation" / "python.md"
WIDTH = 88

HEAD = """# Python

Made by `python Testing/tools/make_api_page.py` from the docstrings. Research use only.

```python
from AttentionUNetSegmentLib import segment

prediction = segment("scan.nii.gz")
prediction.statistics["volume_ml"], prediction.warnings
prediction.plot()
prediction.save("pancreas.nii.gz")
```

Two notebooks show it at work: [segment and look at the
attention](notebooks/segment-and-look.ipynb), and [train on your own
data](notebooks/train-on-your-own-data.ipynb).

**How an array lies.** Files and images carry their directions. An array carries none, and a
network draws a plausible organ in a transposed one too. So `segment` compares what the image shows
with how it is said to lie: the body is cut off at the feet and at the head only, bones lie at the
back, lungs at the top. A transposed array is always refused. An array whose directions were only
assumed is always warned of, and refused where the image contradicts them; where directions that
were given are contradicted, there is a warning. `check_orientation=False` leaves the look out.

Measured on the 16 BTCV scans at hand, in all 48 orders of their voxels with the directions left as
they were (`python Testing/tools/measure_orientation.py SCAN...`): of 512 transposed ones all were
refused, of 112 that were only flipped 82 were noticed, and nothing was said of the 16 as they are.
Left and right are not told apart, and in a crop nothing is seen.
"""
# The members of a class that are shown, or None for all.
PARTS: list[tuple[str, ModuleType, dict[str, tuple[str, ...] | None]]] = [
    (
        "A scan in, a result out",
        AttentionUNetSegmentLib,
        {
            "segment": (),
            "ImagePrediction": None,
            "Click": ("parse",),
            "Scribble": ("parse", "clicks"),
            "Lasso": ("parse", "box", "contains"),
        },
    ),
    (
        "The steps below it",
        inference,
        {
            "Volume": None,
            "read_volume": (),
            "Predictor": ("predict",),
            "Prediction": None,
            "DoubtfulPlace": None,
        },
    ),
    (
        "Clicks, one after the other",
        session,
        {
            "Session": (
                *("predict", "add_click", "add_scribble", "add_lasso", "add_box"),
                *("remove_click", "move_click"),
                *("undo", "redo", "reset"),
            ),
            "Update": (),
        },
    ),
    (
        "Networks",
        networks,
        {
            "AttentionUNet": ("get_attention_maps", "set_gates_open", "from_config"),
            "SegmentationNetwork": ("forward",),
            "UNet": (),
            "ResUNet": (),
            "FCN": (),
            "NetworkConfig": (),
            "build_network": (),
        },
    ),
    (
        "Models",
        models,
        {
            "find_model": (),
            "installed_models": (),
            "load_model": (),
            "read_card": (),
            "save_model": (),
            "verify_model": (),
            "install_model": (),
            "remove_model": (),
            "ModelCard": (),
            "DiceEstimator": ("estimate",),
            "DiceEstimate": (),
            "Model": (),
        },
    ),
    ("Data sets", datasets, {"find_data_set": (), "find_cases": (), "load_cases": ()}),
    ("What is wrong with a data set", checker, {"check_data": ()}),
    ("Training", pipeline, {"train_model": ()}),
    ("What to train, and for how long", training_options, {"TrainingOptions": ()}),
    ("What to change in the recipe", recipes, {"Choices": ()}),
    ("What a trained model is called", naming, {"Naming": ()}),
    (
        "Finetuning",
        finetuning,
        {"finetune_model": (), "FinetuningOptions": (), "Outcome": ()},
    ),
    ("Evaluation", evaluation, {"evaluate_model": (), "Evaluation": ()}),
    ("How far a result's word can be trusted", trust, {"measure_trust": ()}),
]


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for title, module, things in PARTS:
        lines += [f"## {title}", "", f"`from {module.__name__} import {', '.join(things)}`", ""]
        for name, members in things.items():
            lines += described(name, getattr(module, name), members)
    return "\n".join(lines).rstrip() + "\n"


def described(name: str, thing: Any, members: tuple[str, ...] | None) -> list[str]:
    """A heading, the signature and the docstring of a function or class, and of its members."""
    lines = [f"### {name}", "", "```python", signature(name, thing), "```", "", *text_of(thing), ""]
    if inspect.isclass(thing):
        chosen = public_members(thing) if members is None else members
        for member in chosen:
            raw = inspect.getattr_static(thing, member)
            owner = f"{name}.{member}"
            if isinstance(raw, property) or hasattr(
                raw, "func"
            ):  # a property, perhaps a cached one
                lines += [f"**`{owner}`**", ""]
                documented = getattr(raw, "fget", None) or getattr(raw, "func", None)
            else:
                documented = getattr(thing, member)
                lines += ["```python", signature(owner, documented), "```", ""]
            lines += [*text_of(documented), ""]
    return lines


def public_members(thing: type) -> list[str]:
    """Methods and properties that are its own and have a docstring, in the order of the source."""
    return [
        name
        for name, value in vars(thing).items()
        if not name.startswith("_")
        and (
            callable(value) or isinstance(value, (classmethod, property)) or hasattr(value, "func")
        )
        and inspect.getdoc(getattr(thing, name, value))
    ]


def is_property(value: Any) -> bool:
    """Whether it is one, perhaps a cached one."""
    return isinstance(value, property) or hasattr(value, "func")


def signature(name: str, thing: Any) -> str:
    """As it is called, one line or a line for each argument."""
    parameters = [
        parameter
        for parameter in inspect.signature(thing).parameters.values()
        if parameter.name != "self"
    ]
    shown: list[str] = []
    keyword_only = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            shown.append("*")
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        text = f"{star}{parameter.name}"
        if parameter.annotation is not parameter.empty:
            text += f": {annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {default(parameter.default)}"
        shown.append(text)
    result = inspect.signature(thing).return_annotation
    arrow = "" if inspect.isclass(thing) or result is inspect.Signature.empty else " -> "
    arrow += annotation(result) if arrow else ""
    line = f"{name}({', '.join(shown)}){arrow}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {one}," for one in shown), f"){arrow}"])


def annotation(value: Any) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", str(value))


def default(value: Any) -> str:
    """A default value as it would be written; one that cannot be is three dots."""
    text = repr(value)
    return "..." if "<" in text or " at 0x" in text else text


def text_of(thing: Any) -> list[str]:
    """A docstring as Markdown: its arguments, results and errors as lists."""
    return list(_lines(inspect.getdoc(thing) or ""))


def _lines(doc: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", doc):
        first, *rest = block.splitlines()
        if re.fullmatch(r"(Args|Raises|Attributes):", first.strip()):
            yield f"*{first.strip()}*"
            yield ""
            yield from _entries(inspect.cleandoc("\n" + "\n".join(rest)).splitlines())
        elif first.strip() == "Returns:":
            yield "*Returns:* " + " ".join(line.strip() for line in rest)
        elif first.startswith((" ", ">>>")) or re.match(r"\S[\w, ]* {2,}\S", first):
            yield from ("```", *block.splitlines(), "```")  # code, or columns
        else:
            yield from block.splitlines()
        yield ""


def _entries(lines: list[str]) -> Iterator[str]:
    """`name: text`, with what goes on below it indented."""
    for line in lines:
        if line.startswith(" "):
            yield f"  {line.strip()}"
            continue
        names, colon, text = line.partition(":")
        yield f"- `{names}`: {text.strip()}" if colon else f"- {line}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
