"""A model's card as text that a user reads."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from ..models import ModelCard


def modelCardHtml(card: ModelCard) -> str:
    """What the model is, what it was trained on, its measured figures, licence and use."""
    parts = [
        f"<h4>{_text(card.title)} ({_text(card.name)} {_text(card.version)})</h4>",
        f"<p>{_text(card.summary)}</p>",
        _paragraph(_("Intended use"), card.intended_use),
        _paragraph(_("Licence"), card.licence),
        _list(_("Training"), card.training),
        _list(_("Figures"), card.figures),
    ]
    if card.citation:
        works = "".join(f"<li>{_text(work)}</li>" for work in card.citation)
        parts.append(f"<p><b>{_('Please cite')}</b></p><ul>{works}</ul>")
    return "".join(parts)


def _text(value: Any) -> str:
    return html.escape(str(value))


def _paragraph(title: str, text: str) -> str:
    return f"<p><b>{title}:</b> {_text(text)}</p>"


def _list(title: str, content: Mapping[str, Any]) -> str:
    if not content:
        return ""
    return f"<p><b>{title}</b></p>{_items(content)}"


def _items(content: Mapping[str, Any]) -> str:
    lines = []
    for key, value in content.items():
        name = _name(key)
        if isinstance(value, Mapping) and any(isinstance(one, Mapping) for one in value.values()):
            lines.append(f"<li>{name}{_items(value)}</li>")
        elif isinstance(value, Mapping):
            # The measures of a case: a line each would be hundreds.
            row = ", ".join(f"{_name(one)} {_in_brackets(entry)}" for one, entry in value.items())
            lines.append(f"<li>{name}: {row}</li>")
        else:
            lines.append(f"<li>{name}: {_plain(value)}</li>")
    return f"<ul>{''.join(lines)}</ul>"


def _name(key: str) -> str:
    return _text(key.replace("_", " "))


def _in_brackets(value: Any) -> str:
    return f"[{_plain(value)}]" if isinstance(value, (list, tuple)) else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "; ".join(_plain(entry) for entry in value)
    if value is None:
        return "none"
    return _text(f"{value:.4g}" if isinstance(value, float) else value)
