"""The shared page: one HTML document that holds a splat and the program that shows it.

The program is the SuperSplat Viewer (PlayCanvas, MIT), which the build takes from npm, see setup.py. It is kept in the
page as compressed text and started by `share_start.js`. A content security policy names the hashes of both, and lets
the page reach nothing outside itself.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...scene.errors import FewviewError
from ...scene.zlib_order import require_zlib

VIEWER_FOLDER = Path(__file__).parents[1]  # the build puts the program there, see setup.py
PROGRAM_FOLDER = VIEWER_FOLDER / "supersplat"
START = VIEWER_FOLDER / "share_start.js"
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

# What the program's panels say in their HTML, so that scrolling a panel does not move the view.
_PANEL_HANDLER = "event.stopPropagation()"
# Appended to the program, in whose module `createViewer` is.
_HAND_OVER = "\ncreateViewer(globalThis.fewview).then(globalThis.fewview.started).catch(globalThis.fewview.fail);\n"


def share_document(title: str, splat: bytes, view: Mapping[str, Any], background: tuple[float, float, float]) -> bytes:
    """The whole page. `view` is what share_start.js reads: settings, filename, antialiased, tanX and tanY.

    Raises FewviewError where the program is not installed.
    """
    program, style, licence = _program()
    start = "\n" + START.read_text(encoding="utf-8")
    scripts = f"{_hash(start)} {_hash(program)} 'unsafe-hashes' {_hash(_PANEL_HANDLER)}"
    policy = (
        f"default-src 'none'; script-src {scripts} blob:; worker-src blob:; style-src 'unsafe-inline'; "
        "img-src data: blob:; connect-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    color = "rgb({}, {}, {})".format(*(round(255 * c) for c in background))
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            MARK,
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">',
            f"<title>{html.escape(title)}</title>",
            f"<!-- The viewer in this page is the SuperSplat Viewer.\n\n{licence}-->",
            f"<style>{style}</style><style>{_STYLE.replace('BACKGROUND', color)}</style></head><body>",
            f'<h1 id="title">{html.escape(title)}</h1>',
            f'<div id="message" data-fail="{html.escape(CANNOT_RUN)}">Opening ...</div>',
            f"<noscript><style>#message {{ display: none }}</style><p>{html.escape(CANNOT_RUN)}</p></noscript>",
            f'<script type="application/json" id="view">{_json(view)}</script>',
            f'<script type="text/plain" id="program">{_packed(program.encode())}</script>',
            f'<script type="text/plain" id="splat">{_packed(splat)}</script>',
            f'<script type="module">{start}</script>',
            "</body></html>\n",
        ]
    ).encode()


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
