"""`fewview share`: one HTML file for others to look at a splat with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ..scene.errors import BadInputError
from ..viewer.share import write_share
from ..viewer.subjects.loader import load_subject
from .chosen_moment import require_moment
from .options import Common
from .result import finish

MAX_TITLE = 200
BACKGROUNDS = {"auto": None, "black": (0.0, 0.0, 0.0), "gray": (0.5, 0.5, 0.5), "white": (1.0, 1.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """A run or a splat file to one HTML page that anybody can open.

    The page carries the splat and a viewer: it opens with a double click in any current browser, on a computer or a
    phone, and needs no server, no network and no Fewview. It holds no photographs and no names but the title. A splat
    that control points move is played in it.
    """

    # Run folder, or splat file.
    input: tyro.conf.Positional[Path]
    # What the page is called; auto takes the name of the file that is written.
    title: str | None = None
    # Colour behind the splat; auto takes the one that it was trained over.
    background: Literal["auto", "black", "gray", "white"] = "auto"
    # Moment to share of a splat that moves, in the times of its photographs; auto is the whole motion.
    time: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.title is not None and len(self.title) > MAX_TITLE:
            raise BadInputError(f"--title has {len(self.title)} characters; at most {MAX_TITLE} are expected.")
        if self.time is not None and not math.isfinite(self.time):
            raise BadInputError(f"--time {self.time} cannot be used: a moment of the splat is expected.")


def run(options: Options) -> None:
    subject = load_subject(options.input)
    if subject.splat is None:
        raise BadInputError(f"{subject.title} holds no splat to share; make one with `fewview reconstruct`.")
    require_moment(options.input, subject.splat, options.time)
    path = options.output or _default_path(options.input)
    if not path.parent.is_dir():
        raise BadInputError(f"The folder {path.parent} does not exist; make it, or choose another with -o.")
    title = path.stem if options.title is None else options.title
    shared = write_share(subject.splat, path, title, subject.cameras, BACKGROUNDS[options.background], options.time)
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
