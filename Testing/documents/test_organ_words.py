"""Which organ a model is for stands in its card: the code knows none, but where it says so.

Comments and docstrings may give examples; names and texts that do something may not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

EXTENSION = Path(__file__).resolve().parents[2] / "AttentionUNetSegment"
WORD = "pancreas"
EXPECTED = {
    "AttentionUNetSegment.py": "what the extension ships: its help, and the self test of that",
    "SegmentEditorAttentionUNet.py": "what the extension ships: its help",
    "app/commands/__init__.py": "the command's first line of help",
    "app/commands/importing.py": "an example of labels",
    "app/segmenting.py": "the synthetic abdomen's target",
    "datasets/layouts/__init__.py": "names of public data sets",
    "datasets/layouts/btcv.py": "the labels of public data sets",
    "datasets/layouts/decathlon.py": "the target of a public data set that has it",
    "datasets/layouts/pairs.py": "endings of label files, and the target of data that have it",
    "datasets/layouts/pancreas_ct.py": "the labels of a public data set",
    "datasets/layouts/slices.py": "the labels of a public data set",
    "datasets/loading.py": "the label's value in BTCV",
    "datasets/manifest.py": "an example of labels",
    "inference/quality.py": "what cards of before there were usual ranges mean",
    "models/installed.py": "the name of the shipped model",
    "models/terminology.py": "one organ of the table, and the label by the name of before",
    "panel/sample_data.py": "the name of a sample scan",
    "scene/__init__.py": "the label by the name of before",
    "scene/segments.py": "the label by the name of before",
    "training/model_card.py": "the title of the work that describes the method",
    "training/recipes.py": "the recipe of the shipped model, whose target each data set replaces",
}
"""Why the word stands where it does; the synthetic abdomen has a pancreas to be found."""


def words(tree: ast.AST) -> Iterator[str]:
    """Names and texts of a module, but for its docstrings."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in documentation:
                yield node.value
        else:
            for field in ("id", "attr", "arg", "name", "asname", "module"):
                value = getattr(node, field, None)
                if isinstance(value, str):
                    yield value


def where_the_word_is() -> set[str]:
    library = EXTENSION / "AttentionUNetSegmentLib"
    found = set()
    for file in sorted(EXTENSION.rglob("*.py")):
        inside = library in file.parents
        name = str(file.relative_to(library if inside else EXTENSION)).replace("\\", "/")
        if name.startswith("synthetic/"):
            continue
        if any(WORD in word.lower() for word in words(ast.parse(file.read_text("utf-8")))):
            found.add(name)
    return found


def test_the_organ_stands_in_the_card_and_where_it_is_said_why() -> None:
    assert where_the_word_is() == set(EXPECTED)


@pytest.mark.parametrize(
    ("code", "expected"),
    [('"""A pancreas."""\nx = 1', False), ('x = "pancreas"', True), ("PANCREAS = 1", True)],
)
def test_what_counts_as_code(code: str, expected: bool) -> None:
    assert any(WORD in word.lower() for word in words(ast.parse(code))) == expected
