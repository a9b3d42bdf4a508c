"""The shared page: one HTML document that holds a splat and the program that shows it.

A still splat is shown by the SuperSplat Viewer (PlayCanvas, MIT), which the build takes from npm, see setup.py. It is
kept in the page as compressed text and started by `share_start.js`. A moving one is played by `moving_splat.js` and
`moving_page.js`, our own: no viewer that could be taken deforms a splat by control points as it was trained, and these
are 30 KB instead of megabytes. A content security policy names the hashes of all scripts, and lets the page reach
nothing outside itself.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...scene.errors import FewviewError
from ...scene.splat import Color
from ...scene.zlib_order import require_zlib

VIEWER_FOLDER = Path(__file__).parents[1]  # the build puts the program there, see setup.py
PROGRAM_FOLDER = VIEWER_FOLDER / "supersplat"
UNPACK, START = VIEWER_FOLDER / "share_unpack.js", VIEWER_FOLDER / "share_start.js"
PLAYER, PLAYER_STYLE = (VIEWER_FOLDER / "moving_splat.js", VIEWER_FOLDER / "moving_page.js"), "moving_page.css"
PROGRAM_FILES = ("index.js", "index.css", "LICENSE", "package.json")
MARK = '<meta name="generator" content="fewview share">'  # how a page of ours is told from other files
CANNOT_RUN = "This page needs JavaScript and WebGL 2. Any current browser has them, unless they are switched off."

_STYLE = """
html, body { height: 100%; margin: 0; overflow: hidden; background: BACKGROUND; }
#title { position: fixed; left: max(14px, env(safe-area-inset-left)); top: max(12px, env(safe-area-inset-top));
  margin: 0; max-width: calc(100% - 28px); font: 600 15px/1.3 system-ui, sans-serif; color: #fff; opacity: .92;
  text-shadow: 0 0 3px #000, 0 1px 8px #000; pointer-events: none; overflow-wrap: anywhere; z-index: 1; }
#message { position: fixed; inset: 0; display: grid; place-content: center; padding: 24px; text-align: center;
  font: 15px/1.5 system-ui, sans-serif; color: #fff; text-shadow: 0 0 4px #000, 0 0 12px #000; }
#message[hidden] { display: none; }
"""

_NO_SCRIPT_STYLE = "#message { display: none }"

# What the program's panels say in their HTML, so that scrolling a panel does not move the view.
_PANEL_HANDLER = "event.stopPropagation()"
# Appended to the program, in whose module `createViewer` is.
_HAND_OVER = "\ncreateViewer(globalThis.fewview).then(globalThis.fewview.started).catch(globalThis.fewview.fail);\n"


_PLAYER_BODY = """<canvas id="canvas" aria-label="3D view"></canvas>
<div id="player" hidden>
<button id="play" type="button" aria-label="Play" title="Space">&#9654;</button>
<input id="time" type="range" aria-label="Time">
<span id="moment"></span>
<select id="speed" aria-label="Speed"><option value="0.25">&frac14;&times;</option><option value="0.5">&frac12;&times;
</option><option value="1" selected>1&times;</option><option value="2">2&times;</option><option value="4">4&times;
</option></select>
<label><input id="loop" type="checkbox" checked>Loop</label>
</div>"""
_PLAYER_NOTICE = (
    "The program in this page is a part of Fewview, Copyright the Fewview authors, under the Apache License, Version "
    "2.0 (https://www.apache.org/licenses/LICENSE-2.0)."
)


def share_document(title: str, splat: bytes, view: Mapping[str, Any], background: Color) -> bytes:
    """The whole page of a still splat.

    `view` is what share_start.js reads: settings, filename, antialiased, tanX and tanY. Raises FewviewError where the
    program is not installed.
    """
    program, style, licence = _program()
    start = "\n" + _text(UNPACK) + _text(START)
    scripts = f"{_hash(start)} {_hash(program)} 'unsafe-hashes' {_hash(_PANEL_HANDLER)}"
    policy = (
        f"default-src 'none'; script-src {scripts} blob:; worker-src blob:; style-src 'unsafe-inline'; "
        "img-src data: blob:; connect-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    parts = [("program", program.encode()), ("splat", splat)]
    notice = f"The viewer in this page is the SuperSplat Viewer.\n\n{licence}"
    return _document(title, view, background, policy, notice, [style, _STYLE], "", parts, start)


def moving_document(title: str, splat: bytes, view: Mapping[str, Any], background: Color) -> bytes:
    """The whole page of a moving splat.

    `view` is what moving_pack.py tells, and tanX, tanY, position, target (page) and speed (units of time in a second).
    """
    start = "\n" + _text(UNPACK) + "".join(map(_text, PLAYER))
    styles = [_text(VIEWER_FOLDER / PLAYER_STYLE), _STYLE]
    allowed = " ".join(_hash(_colored(style, background)) for style in [*styles, _NO_SCRIPT_STYLE])
    policy = f"default-src 'none'; script-src {_hash(start)}; style-src {allowed}; base-uri 'none'; form-action 'none'"
    return _document(title, view, background, policy, _PLAYER_NOTICE, styles, _PLAYER_BODY, [("splat", splat)], start)


def _document(
    title: str,
    view: Mapping[str, Any],
    background: Color,
    policy: str,
    notice: str,
    styles: Sequence[str],
    body: str,
    parts: Sequence[tuple[str, bytes]],  # compressed into the page, by the name of their element
    start: str,  # script
) -> bytes:
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            MARK,
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">',
            f"<title>{html.escape(title)}</title>",
            f"<!-- {notice}-->",
            "".join(f"<style>{_colored(style, background)}</style>" for style in styles) + "</head><body>",
            *([body] if body else []),
            f'<h1 id="title">{html.escape(title)}</h1>',
            f'<div id="message" data-fail="{html.escape(CANNOT_RUN)}">Opening ...</div>',
            f"<noscript><style>{_NO_SCRIPT_STYLE}</style><p>{html.escape(CANNOT_RUN)}</p></noscript>",
            f'<script type="application/json" id="view">{_json(view)}</script>',
            *(f'<script type="text/plain" id="{name}">{_packed(data)}</script>' for name, data in parts),
            f'<script type="module">{start}</script>',
            "</body></html>\n",
        ]
    ).encode(errors="replace")  # a title that was the name of a file need not be text


def _colored(style: str, background: Color) -> str:
    return style.replace("BACKGROUND", "rgb({}, {}, {})".format(*(round(255 * c) for c in background)))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def program_version() -> str:
    """The version of the program that is installed. Raises FewviewError where there is none."""
    if absent := [name for name in PROGRAM_FILES if not (PROGRAM_FOLDER / name).is_file()]:
        raise FewviewError(
            f"The viewer that a shared page carries is not installed ({absent[0]} is missing): npm brings it when "
            "Fewview is built, and was not there. Install Node.js, then type `python -m pip install -e .` in the "
            "folder of Fewview's source."
        )
    return str(json.loads((PROGRAM_FOLDER / "package.json").read_text(encoding="utf-8"))["version"])


def _program() -> tuple[str, str, str]:
    """(JavaScript with our last line, CSS, licence) of the installed program."""
    program_version()
    script, style, licence = ((PROGRAM_FOLDER / name).read_text(encoding="utf-8") for name in PROGRAM_FILES[:3])
    script = re.sub(r"\n//# sourceMappingURL=\S+\s*$", "\n", script)
    if re.search(r"</style|<!--", style, re.IGNORECASE) or "--" in licence:
        raise FewviewError(f"The viewer in {PROGRAM_FOLDER} cannot be put into a page; install Fewview again.")
    return script + _HAND_OVER, style, licence


def _packed(data: bytes) -> str:
    require_zlib("The shared page")
    return base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode()


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _json(value: Mapping[str, Any]) -> str:
    """JSON that can stand inside a script element: no `<` can end it early."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
