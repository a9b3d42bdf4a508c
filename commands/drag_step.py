"""The step of `fewview edit --drag`: handles led as a file says, and what is told about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..scene.edit.drag_file import FoundHandle, handles_in, read_drag
from ..scene.edit.frozen_moment import freeze
from ..scene.edit.node_drag import DragFacts, DragKey, dragged, dragged_film
from ..scene.errors import BadInputError
from ..scene.splat import Splat


@dataclass(frozen=True)
class DragStep:
    """The splat that a drag file gives, and what came of its handles."""

    splat: Splat
    lines: list[str]
    result: dict[str, Any]


def drag_step(original: Splat, path: Path, *, as_film: bool = False) -> DragStep:
    """Edit a splat as a drag file says; `as_film` gives a film of one moment where it has no key frames.

    Raises BadInputError where the file or the scene does not allow it.
    """
    file = read_drag(path)
    if file.time_s is not None and original.time_range_s is None:
        raise BadInputError(f"{path} freezes {file.time_s:g} s, and the splat does not move; leave 'time_s' out.")
    frozen = freeze(original, file.time_s)
    keys, handles = handles_in(file, frozen)
    splat: Splat
    if file.keys or as_film:
        splat, facts = dragged_film(frozen, keys, file.mode)
    else:
        splat, facts = dragged(frozen, keys[0].handles, file.mode)
    kinds = [_kind(keys, i) for i in range(len(handles))]
    when = "" if frozen.time_s is None else f"frozen at {frozen.time_s:g} s, "
    lines = [
        f"{'drag':<22} {when}{len(frozen.points):,} control points, {file.mode.replace('_', ' ')}",
        *(_line(handle, kind) for handle, kind in zip(handles, kinds, strict=True)),
        f"{'':<22} handles reached to {facts.distance:.3g}; edges stretch by {100 * facts.mean_stretch:.2f} % on "
        f"average, {100 * facts.max_stretch:.1f} % at most",
        f"{'':<22} {facts.moved:,} of {len(splat):,} Gaussians moved",
    ]
    if file.keys:
        lines.append(f"{'':<22} {len(keys)} key frames from {keys[0].time_s:g} s to {keys[-1].time_s:g} s")
    return DragStep(splat, lines, _result(frozen.time_s, handles, kinds, facts))


def _kind(keys: list[DragKey], index: int) -> str:
    return "anchor" if all(key.handles[index].is_anchor for key in keys) else "handle"


def _line(handle: FoundHandle, kind: str) -> str:
    near = "" if handle.distance is None else f", the nearest {handle.distance:.3g} from the place"
    return f"{'':<22} {kind} {handle.name}: {len(handle.points)} control points{near}"


def _result(time_s: float | None, handles: list[FoundHandle], kinds: list[str], facts: DragFacts) -> dict[str, Any]:
    return {
        "time_s": time_s,
        "handles": [
            {"name": handle.name, "kind": kind, "nodes": handle.points.tolist(), "distance": handle.distance}
            for handle, kind in zip(handles, kinds, strict=True)
        ],
        "reached_within": facts.distance,
        "mean_stretch": facts.mean_stretch,
        "max_stretch": facts.max_stretch,
        "gaussians_moved": facts.moved,
    }
