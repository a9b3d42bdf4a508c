"""The splat of a run: `splat.ply` for every viewer, and `motion.safetensors` with `motion.json` where it moves.

`splat.ply` is the first moment, with y down as other viewers take it; `splat.ply.json` brings it back into the frame of
the run's cameras. The canonical Gaussians, which are of no moment, lie with the motion, in the run's frame.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from .errors import BadInputError
from .files import read_json, write_bytes, write_json
from .formats import load_splat, save_splat, side_path
from .formats.side_file import remove_side_file
from .gaussians import Gaussians
from .motion_kinds import MOTIONS
from .run import Run
from .splat import BLACK, Color, MovingSplat, Splat, StaticSplat

VERSION = 1
_CANONICAL, _MOTION = "canonical/", "motion/"


def save_run_splat(run: Run, splat: Splat) -> None:
    """Write the splat of a run. A motion is written first, so that `splat.ply` says that all of it is there."""
    if isinstance(splat, MovingSplat):
        tensors = {_CANONICAL + f.name: getattr(splat.gaussians, f.name) for f in fields(Gaussians)}
        tensors |= {_MOTION + name: tensor for name, tensor in splat.motion.tensors().items()}
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_bytes(run.motion_path, safetensors.torch.save(plain))
        description = {"version": VERSION, "kind": splat.motion.kind, "time_range_s": list(splat.time_range_s)}
        write_json(run.motion_description_path, description | {"gaussians": len(splat)})
    # `splat.ply` says that training is done, so its frame, without which it would stand beside the cameras, goes first.
    whole = run.splat_path.with_name(f".{run.splat_path.name}")
    save_splat(whole, splat.still())
    if side_path(whole).exists():
        side_path(whole).replace(side_path(run.splat_path))
    else:
        remove_side_file(run.splat_path)  # of a splat that a person has removed
    whole.replace(run.splat_path)


def load_run_splat(run: Run) -> Splat:
    """The splat of a run, over the background that it was trained over.

    Raises BadInputError where it is missing, or damaged.
    """
    if not run.splat_path.is_file():
        raise BadInputError(f"{run.path} has no splat yet; continue it with `fewview reconstruct --resume`.")
    still = load_splat(run.splat_path, even_if_changed=True)
    background = _background(run)
    if not run.motion_description_path.is_file():
        return StaticSplat(still.gaussians, still.antialiased, still.up, still.notes, background)
    description = read_json(run.motion_description_path)
    kind = description.get("kind") if isinstance(description, dict) else None
    if not isinstance(kind, str) or kind not in MOTIONS or description.get("version") != VERSION:
        raise BadInputError(
            f"{run.motion_description_path} describes a motion of kind {str(kind)[:40]!r}, version "
            f"{str(description.get('version') if isinstance(description, dict) else None)[:10]}; this Fewview reads "
            f"version {VERSION} of {', '.join(MOTIONS)}. Remove the file to see the first moment alone."
        )
    tensors = _read_tensors(run.motion_path)
    try:
        canonical = Gaussians(*(tensors[_CANONICAL + f.name].float() for f in fields(Gaussians)))
        parts = {name.removeprefix(_MOTION): t for name, t in tensors.items() if name.startswith(_MOTION)}
        motion = MOTIONS[kind].from_tensors(parts, len(canonical))
    except (ValueError, KeyError, IndexError) as error:
        raise BadInputError(f"{run.motion_path} is damaged: {error}. Train the run again, or remove it.") from error
    return MovingSplat(canonical, still.antialiased, still.up, still.notes, background, motion=motion)


def _background(run: Run) -> Color:
    training = run.metrics().get("training")
    background = training.get("background") if isinstance(training, dict) else None
    if not isinstance(background, list) or len(background) != 3:
        return BLACK
    if not all(isinstance(value, int | float) for value in background):
        raise BadInputError(f"{run.metrics_path}: 'background' should be three numbers, found {str(background)[:60]}.")
    red, green, blue = map(float, background)
    return red, green, blue


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # no mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise BadInputError(f"{path} cannot be read: {error}. Train the run again, or remove it.") from error
