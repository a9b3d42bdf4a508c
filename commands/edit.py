"""`fewview edit`: a splat dragged, cropped, cleaned, and brought into another frame, as a new one."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor

from ..scene.edit import (
    Editor,
    FloaterLimits,
    centered_at,
    edited_splat,
    floaters,
    in_box,
    in_sphere,
    median_point,
    save_edited,
    save_edited_run,
    scaled_to_length,
    turned_up,
)
from ..scene.edit.coordinate_frame import AXES
from ..scene.edit.saving import bound_mesh, lies_on_mesh, load_source, refuse_to_replace, save_bare_run
from ..scene.errors import BadInputError
from ..scene.formats import splat_camera, splat_file
from ..scene.gaussians import Gaussians
from ..scene.mesh_formats import save_mesh
from ..scene.run import Run
from ..scene.splat import Splat
from .drag_step import drag_step
from .options import Common
from .result import finish

POSED_ENDINGS = (".glb", ".obj")  # of a mesh that is dragged


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Drag, crop or clean a splat, and set its origin, up axis and unit; the original stays.

    The steps are taken in the order of the options below. All coordinates are those of the input. With a run as INPUT
    and a folder as -o the cameras, points and photographs come along into a new run.
    """

    # Splat file, or run folder.
    input: tyro.conf.Positional[Path]
    # Move parts of the scene as a JSON file says, before all else: handles are led to new places, anchors stay, and the
    # rest follows as rigidly as possible. {"version": 1, "time_s": 0.5, "handles": [{"at": [0, 1, 0], "move": [0.2, 0,
    # 0], "rotate": {"axis": [0, 0, 1], "degrees": 30}}, {"at": [0, 0, 0], "rings": 4, "anchor": true}]}; docs/drag.md
    # tells the rest, such as key frames of a film. Of a run of `fewview animate` a mesh file (-o NEW.glb,
    # NEW.obj) is the mesh itself, posed so.
    drag: Path | None = None
    # Keep what lies in this box: "x0 y0 z0 x1 y1 z1", any two opposite corners.
    crop_box: str | None = None
    # Keep what lies in this sphere: "x y z radius".
    crop_sphere: str | None = None
    # Remove Gaussians that are fainter than this, from 0 to 1.
    min_opacity: float | None = None
    # Remove Gaussians whose largest standard deviation is longer than this, in units of the input.
    max_size: float | None = None
    # Remove what is faint, huge for the scene, or stands alone in it.
    floaters: bool = False
    # Make the middle of what is left (its median) the origin.
    recentre: bool = False
    # The direction of the input that is up; it becomes +z.
    up: Literal["+x", "-x", "+y", "-y", "+z", "-z"] | None = None
    # Two points whose distance is known: "x y z x y z".
    scale_points: str | None = None
    # That distance in metres; a unit of the new splat is then a metre.
    metres: float | None = None
    # Leave the new file in the frame that these steps give, even if other viewers, which take y as down in a PLY, then
    # show it lying down.
    keep_frame: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.scale_points is None) != (self.metres is None):
            raise BadInputError("--scale-points and --metres belong together: two points, and how far they are apart.")
        if self.min_opacity is not None and not 0 <= self.min_opacity <= 1:
            raise BadInputError(f"--min-opacity {self.min_opacity} cannot be used: a number from 0 to 1 is expected.")
        if self.max_size is not None and not 0 < self.max_size < math.inf:
            raise BadInputError(f"--max-size {self.max_size} cannot be used: a positive length is expected.")


def run(options: Options) -> None:
    if options.output is None:
        raise BadInputError("`fewview edit` needs a name for the new splat: add -o NEW.ply.")
    file = splat_file(options.input)
    source = Run.open(options.input) if file is None and options.input.is_dir() else file or options.input
    folder = options.output.suffix == ""
    as_run = folder and isinstance(source, Run) and source.cameras_path.is_file()
    bare = folder and not as_run and (options.drag is not None or isinstance(source, Run))  # a run of a splat alone
    if not as_run and not bare:
        refuse_to_replace(source, options.output)
    original = load_source(source)
    as_mesh = options.drag is not None and options.output.suffix.lower() in POSED_ENDINGS and lies_on_mesh(original)
    drag = None if options.drag is None else drag_step(original, options.drag, as_film=as_mesh)
    if drag is not None:
        original = drag.splat
        if original.time_range_s is not None and options.output.suffix and not as_mesh:
            raise BadInputError(
                f"{options.drag} is a film, which a file like {options.output.name} cannot hold; name a new folder "
                "with -o, and `fewview convert --frames` makes a sequence of files of it."
            )
    editor = Editor(original.at())
    steps = _removals(options, editor) + _moves(options, editor)
    splat = edited_splat(original, editor)
    if options.up is not None:
        splat = replace(splat, up=AXES["+z"])
    lost: tuple[str, ...] = ()
    if (as_run or bare) and options.keep_frame:
        raise BadInputError("--keep-frame is for a file, as a run keeps its frame anyway; leave it out.")
    if as_run and isinstance(source, Run):
        save_edited_run(source, options.output, splat, editor.similarity, metric=options.metres is not None)
    elif bare:
        save_bare_run(source, options.output, splat)
    elif as_mesh:
        lost = _save_posed(options.output, splat, steps)
    else:
        lost = save_edited(source, options.output, splat, keep_frame=options.keep_frame)
        if file is not None and splat_camera(file)[0] is not None:
            lost = (*lost, f"The camera that {file.name} was made for is not kept.")
    lines = [] if drag is None else list(drag.lines)
    lines += [f"{name:<22} {told}" for name, _, told in steps]
    lines += [*original.notes, *lost]
    before, after = len(editor.original), editor.count
    lines.append(f"{'Saved':<22} {options.output} ({after:,} of {before:,} Gaussians)")
    lines += ["", f"Look at it:  fewview view {shlex.quote(str(options.output))}"]
    result = {
        "output": str(options.output),
        "before": before,
        "after": after,
        "drag": None if drag is None else drag.result,
        "removed": {name: count for name, count, _ in steps if count is not None},
        "new_from_old": {name: value.tolist() for name, value in vars(editor.similarity).items()},
        "notes": [*original.notes, *lost],
    }
    finish(options, result, lines)


def _save_posed(path: Path, splat: Splat, steps: Sequence[Step]) -> tuple[str, ...]:
    """Write the mesh under a dragged splat."""
    if steps:
        raise BadInputError(f"{path.name} is the mesh of a drag, for which --{steps[0][0]} does nothing: leave it out.")
    return save_mesh(path, bound_mesh(splat))


Step = tuple[str, int | None, str]  # name, Gaussians removed, and what to tell


def _removals(options: Options, editor: Editor) -> list[Step]:
    steps: list[Step] = []
    g = editor.original

    def step(name: str, count: int) -> None:
        steps.append((name, count, f"{count:,} removed, {editor.count:,} left"))

    if options.crop_box is not None:
        a, b = _numbers("--crop-box", options.crop_box, 6).reshape(2, 3)
        world_from_box = torch.eye(4, dtype=torch.float64)
        world_from_box[:3, 3] = (a + b) / 2
        step("crop-box", editor.keep(in_box(g.means.double(), world_from_box, (a - b).abs() / 2)))
    if options.crop_sphere is not None:
        x = _numbers("--crop-sphere", options.crop_sphere, 4)
        if not x[3] > 0:
            raise BadInputError(f"--crop-sphere has the radius {x[3]:g}; a positive number is expected.")
        step("crop-sphere", editor.keep(in_sphere(g.means, x[:3], float(x[3]))))
    if options.min_opacity is not None:
        step("min-opacity", editor.delete(g.opacities < options.min_opacity))
    if options.max_size is not None:
        step("max-size", editor.delete(g.log_scales.amax(-1) > math.log(options.max_size)))
    if options.floaters:
        _remove_floaters(editor, step)
    return steps


def _remove_floaters(editor: Editor, step: Callable[[str, int], None]) -> None:
    """Remove floaters. Which these are depends on the rest of the scene: on what the steps before have left of it."""
    alive = editor.alive
    told = {"min_opacity": "floaters, faint", "max_size": "floaters, huge", "max_isolation": "floaters, alone"}
    found = floaters(editor.original[alive], FloaterLimits())
    for name, mask in found.items():
        selected = torch.zeros(len(alive), dtype=torch.bool)
        selected[alive] = mask
        step(told[name], editor.delete(selected))


def _moves(options: Options, editor: Editor) -> list[Step]:
    steps: list[Step] = []
    if options.recentre:
        middle = median_point(_left(editor).means)
        editor.move(centered_at(editor.similarity(middle)))
        steps.append(("recentre", None, f"the origin is at {_place(middle)} of the input"))
    if options.up is not None:
        direction = torch.tensor(AXES[options.up], dtype=torch.float64)
        editor.move(turned_up(editor.similarity.rotation @ direction))
        steps.append(("up", None, f"{options.up} of the input is +z"))
    if options.scale_points is not None and options.metres is not None:
        a, b = _numbers("--scale-points", options.scale_points, 6).reshape(2, 3)
        move = scaled_to_length(editor.similarity(a), editor.similarity(b), options.metres)
        editor.move(move)
        steps.append(("scale", None, f"{float(move.scale):.6g} times; a unit is a metre"))
    return steps


def _left(editor: Editor) -> Gaussians:
    return editor.original[editor.alive]


def _place(point: Tensor) -> str:
    return "(" + ", ".join(f"{float(x):.4g}" for x in point) + ")"


def _numbers(option: str, text: str, count: int) -> Tensor:
    """`count` finite numbers [count] float64, separated by spaces or commas."""
    words = text.replace(",", " ").split()
    try:
        values = torch.tensor([float(word) for word in words], dtype=torch.float64)
    except ValueError:
        values = torch.zeros(0)
    if len(values) != count or not bool(torch.isfinite(values).all()):
        raise BadInputError(f'{option} "{text[:80]}" cannot be used: {count} numbers separated by spaces are expected.')
    return values
