"""`fewview share`: one HTML file for others to look at a splat with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ..scene.errors import BadInputError
from ..viewer.share import write_share
from ..viewer.share_page import program_version
from ..viewer.target import load_shown
from .options import Common
from .result import finish

MAX_TITLE = 200
BACKGROUNDS = {"auto": None, "black": (0.0, 0.0, 0.0), "gray": (0.5, 0.5, 0.5), "white": (1.0, 1.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """A run or a splat file to one HTML page that anybody can open.

    The page carries the splat and a viewer: it opens with a double click in any current browser, on a computer or a
    phone, and needs no server, no network and no Fewview. It holds no photographs and no names but the title.
    """

    # Run folder, or splat file.
    input: tyro.conf.Positional[Path]
    # What the page is called; auto takes the name of the file that is written.
    title: str | None = None
    # Colour behind the splat; auto takes the one that it was trained over.
    background: Literal["auto", "black", "gray", "white"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.title is not None and len(self.title) > MAX_TITLE:
            raise BadInputError(f"--title has {len(self.title)} characters; at most {MAX_TITLE} are expected.")


def run(options: Options) -> None:
    program_version()  # before the splat is read: it takes longer to be told then
    shown = load_shown(options.input)
    path = options.output or _default_path(options.input)
    if not path.parent.is_dir():
        raise BadInputError(f"The folder {path.parent} does not exist; make it, or choose another with -o.")
    title = path.stem if options.title is None else options.title
    shared = write_share(shown, path, title, BACKGROUNDS[options.background])
    result = {
        "page": str(shared.path),
        "bytes": shared.size_bytes,
        "gaussians": shared.gaussians,
        "notes": shared.notes,
    }
    lines = [
        f"{'Page':<12} {shared.path} ({shared.size_bytes / 1e6:.1f} MB, {shared.gaussians:,} Gaussians)",
        *(f"{'Note':<12} {note}" for note in shared.notes),
        "",
        "It opens with a double click, without a network, and can be sent or put on a web site as it is.",
    ]
    finish(options, result, lines)


def _default_path(source: Path) -> Path:
    """`scene.html` in a run; beside a splat file, and called like it."""
    if source.is_dir():
        return source / "scene.html"
    return source.with_name(source.name.split(".")[0] + ".html")
