"""`fewview view`: the browser viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro

from ..scene.errors import BadInputError
from ..scene.progress import silent
from ..viewer.app import DEFAULT_PORT, view
from .options import Common

LONG_BYTES = 50e6


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Look at a run, a splat, points or a data set in the browser, until Ctrl+C.

    Only this computer can open the page, unless --host says otherwise, and only with the address that is printed: it
    holds a new token each time.
    """

    # Run folders, splat files, points (PLY, glTF), meshes (PLY, glTF, OBJ), folders of photographs, data sets, answers
    # of `detect ground`; several are shown together, each with a toggle.
    input: tyro.conf.Positional[tuple[Path, ...]]
    # Detected boxes to show on driving data, a JSON file in the nuScenes submission layout.
    detections: Path | None = None
    # Address to listen on.
    host: str = "127.0.0.1"
    # Port to listen on; 0 takes any that is free.
    port: int = DEFAULT_PORT
    # Word that the address must carry: a new one, none (on this computer only), or your own. The variable FEWVIEW_TOKEN
    # says the same without showing in the list of processes.
    token: str | None = None
    # Open the page in this computer's browser.
    open: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.input:
            raise BadInputError("Nothing to look at was named; a run folder, a splat file or photographs are expected.")
        if not 0 <= self.port < 65536:
            raise BadInputError(f"--port {self.port} cannot be used: 0 to 65535 is expected.")


def _telling(stage: str, done: int, total: int, figures: Mapping[str, float | int | str] = {}) -> None:
    """One line where people would wait for long without knowing why."""
    if done == 0 and total > LONG_BYTES:
        print(f"Reading {total / 1e6:,.0f} MB of {stage}; the next time they come from a cache.", flush=True)


def run(options: Options) -> None:
    view(
        *options.input,
        host=options.host,
        port=options.port,
        open_browser=options.open,
        token=options.token,
        detections=options.detections,
        progress=silent if options.quiet else _telling,
    )
