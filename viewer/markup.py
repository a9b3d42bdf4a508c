"""Bits of HTML for the panel; everything that comes from outside is escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping


def small(text: str) -> str:
    return f'<div style="padding:0 0.75em;font-size:0.8em;opacity:0.7">{html.escape(text)}</div>'


def caption(name: str, *facts: str) -> str:
    told = html.escape(" · ".join(filter(None, facts)))
    return f'<div style="padding:0 0.75em;font-size:0.85em"><b>{html.escape(name)}</b><br>{told}</div>'


def header(title: str, facts: list[str]) -> str:
    return (
        f'<div style="padding:0 0.75em"><div style="font-size:1.15em;font-weight:600">{html.escape(title)}</div>'
        f'<div style="opacity:0.65;font-size:0.85em">{html.escape(" · ".join(facts))}</div></div>'
    )


def figures(values: Mapping[str, float | int | str]) -> str:
    """A table of names and figures."""
    name = '<td style="opacity:0.65;padding-right:1em">'
    rows = "".join(
        f"<tr>{name}{html.escape(str(k))}</td><td>{html.escape(_figure(v))}</td></tr>" for k, v in values.items()
    )
    return f'<table style="margin:0 0.75em;font-size:0.85em;font-variant-numeric:tabular-nums">{rows}</table>'


def _figure(value: float | int | str) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
