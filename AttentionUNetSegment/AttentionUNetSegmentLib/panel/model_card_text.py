"""A model's card as text that a user reads."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from ..models import ModelCard


def modelCardHtml(card: ModelCard) -> str:
    """What the model is, its use and limitations, training, measured figures, and licence."""
    parts = [
        f"<h4>{_text(card.title)} ({_text(card.name)} {_text(card.version)})</h4>",
        f"<p>{_text(card.summary)}</p>",
        _paragraph(_("Intended use"), card.intended_use),
        _paragraph(_("Licence"), card.licence),
        _paragraph(_("Author"), card.author) if card.author else "",
        _paragraph(_("Weights"), f"SHA-256 {card.weights.sha256[:8]}") if card.weights else "",
        _texts(_("Limitations"), card.limitations),
        _list(_("Training"), card.training),
        _list(_("Figures"), card.figures),
        _list(_("Figures of the editor"), card.editor.figures) if card.editor else "",
        _texts(_("Please cite"), card.citation),
    ]
    return "".join(parts)


def _text(value: Any) -> str:
    return html.escape(str(value))


def _paragraph(title: str, text: str) -> str:
    return f"<p><b>{title}:</b> {_text(text)}</p>"


def _texts(title: str, texts: Sequence[str]) -> str:
    if not texts:
        return ""
    return f"<p><b>{title}</b></p><ul>{''.join(f'<li>{_text(one)}</li>' for one in texts)}</ul>"


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
