"""`fewview convert`: between splat file formats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import tyro

from ..scene.errors import BadInputError
from ..scene.files import make_folder
from ..scene.formats import (
    format_name,
    holds_motion,
    load_splat,
    save_splat,
    side_path,
    splat_camera,
    splat_ending,
    splat_file,
)
from ..scene.formats.axes import parse_axis
from ..scene.gaussians import Gaussians
from ..scene.one_moment import one_moment
from ..scene.run import Run
from ..scene.run_splat import load_run_splat
from ..scene.splat import Splat
from .chosen_moment import require_moment, require_motion
from .options import Common
from .result import finish

S = TypeVar("S", bound=Splat)
MAX_FILES = 10_000  # of a sequence
MAX_FPS = 240.0


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """A splat file to another format: the name's ending says which.

    What the new format cannot keep is listed. The scene stands upright where other viewers open the file: y is down in
    PLY, compressed PLY, .splat and SOG, and up in SPZ and glTF. A side file beside it (NAME.EXT.json) lets Fewview
    bring it back into the frame that it came from.

    A moving splat goes whole into one .sog4d file; into others go one moment, or with --frames or --fps a sequence of
    files, which SuperSplat plays when their folder is dropped on it.
    """

    # Splat file of any known format, the folder of an unbundled SOG scene, or a run folder.
    input: tyro.conf.Positional[Path]
    # File to write; its ending says the format.
    target: tyro.conf.Positional[Path]
    # What is up in INPUT, whatever the file says: x, y, z, -x, -y, -z, or three numbers in quotes.
    up: str | None = None
    # Highest degree of spherical harmonics to keep, 0 to 4; auto keeps what is there.
    sh_degree: int | None = None
    # Moment of a moving splat that is written; auto is its first.
    time: float | None = None
    # Write this many files of a moving splat, evenly over its motion, as TARGET_0000 and so on: a sequence.
    frames: int | None = None
    # The same with so many files for each second of the motion, its first and its last moment included.
    fps: float | None = None
    # Leave the coordinates as they are in INPUT, even if other viewers then show the scene lying down.
    keep_frame: bool = False
    # Take the scales and opacities of a PLY as they are drawn, for files whose exporter has undone the logarithm and
    # the logit already; a note tells when a file looks like that.
    linear: bool = False
    # Version of an SPZ file, 2, 3 or 4; auto is 3, which most viewers read well.
    spz_version: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output is not None:
            raise BadInputError(f"-o {self.output} is not needed here: the second name, {self.target}, is written.")
        if self.sh_degree is not None and not 0 <= self.sh_degree <= 4:
            raise BadInputError(f"--sh-degree {self.sh_degree} cannot be used: 0 to 4 are possible.")
        if self.spz_version is not None and self.spz_version not in (2, 3, 4):
            raise BadInputError(f"--spz-version {self.spz_version} cannot be used: 2, 3 and 4 can be written.")
        if self.frames is not None and not 1 <= self.frames <= MAX_FILES:
            raise BadInputError(f"--frames {self.frames} cannot be used: 1 to {MAX_FILES} files are possible.")
        if self.fps is not None and not 0 < self.fps <= MAX_FPS:
            raise BadInputError(f"--fps {self.fps:g} cannot be used: above 0 and up to {MAX_FPS:g} are possible.")
        if self.frames is not None and self.fps is not None:
            raise BadInputError("--frames and --fps both say how many files there are; leave one of them out.")
        if self.time is not None and (several := self.sequence()) is not None:
            raise BadInputError(f"--time is one moment and {several.split()[0]} are many; leave one of them out.")
        asked = self.sequence() or (None if self.time is None else f"--time {self.time:g}")
        if asked is not None and holds_motion(self.target):
            raise BadInputError(f"{self.target.name} takes the whole motion; leave {asked} out.")
        if self.up is not None:
            parse_axis(self.up)

    def sequence(self) -> str | None:
        """The option that asks for a sequence, as it was typed; None where none does."""
        if self.frames is not None:
            return f"--frames {self.frames}"
        return None if self.fps is None else f"--fps {self.fps:g}"


def run(options: Options) -> None:
    finished = _run(options.input)
    source = splat_file(options.input) or options.input if finished is None else finished.splat_path
    format_name(options.target)  # an unknown ending is told before a big file is read
    _refuse_to_replace(source, options.target)
    found = load_splat(source, linear=options.linear) if finished is None else load_run_splat(finished)
    moments = _moments(options, found)
    several = options.sequence() is not None
    targets = _targets(options.target, len(moments)) if several else [options.target]
    for target in targets:
        _refuse_to_replace(source, target)
    notes = list(found.notes)
    if finished is None and splat_camera(source)[0] is not None:
        notes.append(f"The camera that {source.name} was made for is not kept.")
    found_degree = found.gaussians.sh_degree
    if options.sh_degree is not None and options.sh_degree < found_degree:
        notes.append(
            f"Spherical harmonics of degree {found_degree} were cut down to {options.sh_degree}, as asked for."
        )
    splat = _as_asked(options, found)
    for target, moment in zip(targets, moments, strict=True):
        written, lost = (splat, ()) if holds_motion(target) else one_moment(splat, moment)
        told = save_splat(
            target, written, spz_version=options.spz_version, keep_frame=options.keep_frame, side_file=not several
        )
        notes += [note for note in (*(() if several else lost), *told) if note not in notes]
    sides = [side_path(target) for target in targets if side_path(target).exists()]
    result = {
        "input": {
            "path": str(source),
            "bytes": source.stat().st_size,
            "gaussians": len(found),
            "sh_degree": found_degree,
        },
        "output": {
            "path": str(targets[0]),
            "format": format_name(targets[0]),
            "bytes": sum(target.stat().st_size for target in targets),
            "files": len(targets),
        },
        "side_file": str(sides[0]) if sides else None,
        "up": None if splat.up is None else list(splat.up),
        "antialiased": splat.antialiased,
        "notes": notes,
    }
    finish(options, result, _lines(result))


def _run(path: Path) -> Run | None:
    """The run at `path`, whose splat is there; None for a splat file or a folder that is one."""
    if not path.is_dir() or splat_file(path) is not None:
        return None
    run = Run.open(path)
    if not run.splat_path.is_file():
        raise BadInputError(f"The run {path} has no splat yet; continue it with `fewview reconstruct --resume`.")
    return run


def _refuse_to_replace(source: Path, target: Path) -> None:
    if target.exists() and source.exists() and target.samefile(source):
        raise BadInputError(f"{target} is the input itself, which is never overwritten; choose another name.")


def _targets(target: Path, count: int) -> list[Path]:
    """The files of a sequence, numbered before the ending; SuperSplat plays those that share all but a last number.

    No side files lie between them: SuperSplat then takes the folder for separate scenes.
    """
    ending = splat_ending(target)
    assert ending is not None  # `format_name` has told so
    if ending == "meta.json":
        raise BadInputError("A sequence of loose SOG images would write over itself; name a .sog file as the target.")
    make_folder(target.parent)
    stem = target.name[: -len(ending)]
    return [target.with_name(f"{stem}_{i:04d}{ending}") for i in range(count)]


def _moments(options: Options, splat: Splat) -> list[float | None]:
    """The moments that are written, None for the first one. Raises BadInputError where the splat has none such."""
    several = options.sequence()
    if several is None:
        require_moment(options.input, splat, options.time)
        return [options.time]
    first, last = require_motion(options.input, splat, several)
    count = options.frames if options.fps is None else round((last - first) * options.fps) + 1
    assert count is not None
    if count > MAX_FILES:
        raise BadInputError(f"{several} of {last - first:g} s would be {count} files; up to {MAX_FILES} are possible.")
    return [first + (last - first) * i / max(1, count - 1) for i in range(count)]


def _as_asked(options: Options, splat: S) -> S:
    if options.up is not None:
        splat = replace(splat, up=parse_axis(options.up))
    if options.sh_degree is not None and options.sh_degree < splat.gaussians.sh_degree:
        splat = replace(splat, gaussians=_lowered(splat.gaussians, options.sh_degree))
    return splat


def _lowered(g: Gaussians, degree: int) -> Gaussians:
    return Gaussians(g.means, g.quats, g.log_scales, g.opacity_logits, g.sh[:, : (degree + 1) ** 2])


def _lines(result: dict[str, Any]) -> list[str]:
    before, after = result["input"], result["output"]
    up = "not known, taken as -y" if result["up"] is None else " ".join(f"{value:g}" for value in result["up"])
    size = f"{after['bytes']:,} bytes, {after['bytes'] / before['bytes']:.1%} of what was read"
    if after["files"] > 1:
        size = f"the first of {after['files']}, {after['bytes']:,} bytes together"
    lines = [
        f"{'Read':<12} {before['path']} ({before['bytes']:,} bytes)",
        f"{'Written':<12} {after['path']} ({size})",
        f"{'Gaussians':<12} {before['gaussians']:,}, spherical harmonics of degree {before['sh_degree']}",
        f"{'Up':<12} {up}",
    ]
    if result["side_file"] is not None:
        lines.append(f"{'Side file':<12} {result['side_file']} (for coming back to the same frame)")
    return [*lines, *(f"{'Note':<12} {note}" for note in result["notes"])]
