"""The report's page: its frame, its style for light and dark, and pictures inside the file."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

_STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #ffffff; --ink: #1c1f23; --soft: #62676e; --rule: #e4e4e0;
  --accent: #2463eb; --held: #c2660a; --warn: #9a3412; }
@media (prefers-color-scheme: dark) { :root { --page: #16181b; --card: #1e2125; --ink: #e8e9eb; --soft: #9ba1a8;
  --rule: #33373d; --accent: #6c9bff; --held: #f0a04b; --warn: #fdba74; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 44px 0 12px; }
p { margin: 8px 0; max-width: 75ch; } .soft { color: var(--soft); } .small { font-size: 13px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 12px; margin-top: 24px; }
.tile, .view, .panel { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.tile { padding: 12px 14px; } .tile b { display: block; font-size: 22px; font-weight: 600; line-height: 1.25; }
.tile span { color: var(--soft); font-size: 13px; }
.panel { padding: 14px 16px; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 16px; }
.stage { display: grid; grid-template-columns: 130px 1fr 84px; gap: 12px; align-items: center; margin: 6px 0; }
.stage i { display: block; height: 12px; min-width: 2px; border-radius: 3px; background: var(--accent); }
.stage span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { font-weight: 600; color: var(--soft); font-size: 13px; } td { overflow-wrap: anywhere; }
td.n, th.n { text-align: right; white-space: nowrap; }
.view { padding: 14px; margin: 14px 0; } .view h3 { margin: 0 0 10px; font-size: 15px; overflow-wrap: anywhere; }
.view h3 small { font-weight: 400; color: var(--soft); margin-left: 10px; }
.pictures { display: grid; gap: 12px; align-items: start; margin: 12px 0; }
header { margin-bottom: 24px; } .around { margin-top: 24px; }
.three { grid-template-columns: repeat(3, minmax(0, 1fr)); }
.pairs { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.pairs figure { max-width: 320px; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 8px; margin: 14px 0; }
.sheet figcaption { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.sheet img { aspect-ratio: 4 / 3; object-fit: cover; width: 100%; }
.sheet .held-out img { outline: 3px solid var(--held); outline-offset: -3px; }
.sheet .held-out figcaption { color: var(--held); }
.badge { background: var(--ink); color: var(--page); border-radius: 20px; padding: 1px 9px; margin-left: 10px;
  font-size: 12px; font-weight: 500; white-space: nowrap; }
figure { margin: 0; min-width: 0; } figcaption { color: var(--soft); font-size: 13px; margin-top: 4px;
  overflow-wrap: anywhere; }
img { display: block; width: 100%; height: auto; max-height: 420px; object-fit: contain; border-radius: 6px; }
details { margin: 10px 0; } summary { cursor: pointer; color: var(--accent); padding: 4px 0; }
.commands { display: grid; grid-template-columns: minmax(150px, 260px) 1fr; gap: 8px 16px; align-items: baseline;
  margin: 0; } .commands dd { margin: 0; min-width: 0; } .commands pre { margin: 0; }
svg { width: 100%; height: auto; display: block; } svg.map { max-height: 460px; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; } svg text.value { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--rule); } .line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
.dot { fill: var(--accent); stroke: var(--card); stroke-width: 2; }
.mark { fill: var(--accent); fill-opacity: .45; } .mean { stroke: var(--ink); stroke-width: 2; }
.bar { stroke: var(--soft); stroke-width: 2; }
.camera { fill: var(--accent); fill-opacity: .22; stroke: var(--accent); stroke-width: 1.5; stroke-linejoin: round; }
.camera.held-out { fill: var(--held); stroke: var(--held); }
.key::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 6px 0 0;
  background: var(--accent); } .key.held-out::before { background: var(--held); } .key { margin-right: 16px; }
code, pre { font: 13px/1.5 ui-monospace, monospace; } pre { background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; padding: 10px 14px; margin: 8px 0; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.notes { border-left: 4px solid var(--held); list-style-position: inside; padding: 10px 16px; }
ul { margin: 8px 0; padding-left: 20px; } li { margin: 3px 0; overflow-wrap: anywhere; } .warn { color: var(--warn); }
@media (max-width: 640px) { main { padding: 24px 16px 48px; } h2 { margin-top: 34px; }
  .view header { margin-bottom: 24px; } .around { margin-top: 24px; }
.three { grid-template-columns: 1fr 1fr; } .view .three figure:nth-child(3) { grid-column: 1 / -1; }
  .around { grid-template-columns: 1fr 1fr; } .around figure:nth-child(2) { grid-column: 1 / -1; order: -1; }
  .view h3 small { display: block; margin: 4px 0 0; } .stage { grid-template-columns: 92px 1fr 84px; }
  .commands { grid-template-columns: 1fr; gap: 2px; } .commands dd { margin-bottom: 10px; }
  .two { grid-template-columns: 1fr; } .sheet { grid-template-columns: repeat(auto-fill, minmax(82px, 1fr)); } }
@media print { :root { color-scheme: light; --page: #fff; --card: #fff; --ink: #000; --soft: #444; --rule: #ccc;
    --accent: #2463eb; --held: #b45309; --warn: #9a3412; }
  body { font-size: 11pt; } main { max-width: none; padding: 0; } h2 { break-after: avoid; margin-top: 24px; }
  .view, .tile, .panel, figure, tr, .commands dd { break-inside: avoid; } img { max-height: 300px; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""


def document(title: str, sections: Iterable[str]) -> str:
    """A whole HTML page of ready-made sections; nothing in it can load or run anything."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(filter(None, sections))
        + "\n</main></body></html>\n"
    )


def text(value: object) -> str:
    """Anything as escaped text."""
    return html.escape(str(value))


def section(heading: str, *parts: str) -> str:
    body = "".join(filter(None, parts))
    return f"<section><h2>{text(heading)}</h2>{body}</section>" if body else ""


def paragraph(content: str, kind: str = "") -> str:
    return f'<p class="{kind}">{text(content)}</p>'


def tiles(facts: Sequence[tuple[str, str]]) -> str:
    """Large figures: (value, what it is)."""
    inner = "".join(f'<div class="tile"><b>{text(v)}</b><span>{text(what)}</span></div>' for v, what in facts)
    return f'<div class="tiles">{inner}</div>'


def bars(values: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars: (name, value, value as text)."""
    longest = max((v for _, v, _ in values), default=0) or 1
    rows = "".join(
        f'<div class="stage"><span>{text(name)}</span><i style="width:{100 * v / longest:.1f}%"></i>'
        f"<span>{text(told)}</span></div>"
        for name, v, told in values
    )
    return f'<div class="panel">{rows}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric_from: int) -> str:
    """Columns from `numeric_from` on are aligned to the right."""

    def row(cells: Sequence[str], tag: str) -> str:
        inner = "".join(
            f"<{tag}{' class=n' if i >= numeric_from else ''}>{text(cell)}</{tag}>" for i, cell in enumerate(cells)
        )
        return f"<tr>{inner}</tr>"

    return f"<table>{row(head, 'th')}{''.join(row(r, 'td') for r in rows)}</table>"


def folded(summary: str, content: str) -> str:
    """Content that opens when it is asked for, and on paper."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def commands(lines: Sequence[tuple[str, str]]) -> str:
    """Commands that can be typed: (what for, command)."""
    rows = "".join(f"<dt>{text(what)}</dt><dd><pre>{text(command)}</pre></dd>" for what, command in lines)
    return f'<dl class="commands">{rows}</dl>'


def figure(pixels: np.ndarray, caption: str, quality: int, kind: str = "") -> str:
    """uint8 [H, W, 3] as a JPEG inside the page."""
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    source = base64.b64encode(data.tobytes()).decode()
    height, width = pixels.shape[:2]
    return (
        f'<figure class="{kind}"><img width="{width}" height="{height}" alt="{text(caption)}" '
        f'src="data:image/jpeg;base64,{source}"><figcaption>{text(caption)}</figcaption></figure>'
    )
