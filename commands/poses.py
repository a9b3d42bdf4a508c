"""`fewview poses`: only the cameras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from ..recon.pipeline.first_stage import placed_input
from ..recon.pipeline.reconstruct_config import ReconstructConfig
from ..recon.pipeline.run_folder import open_run
from ..scene.run_lock import locked
from .device import prepare
from .options import Common
from .reconstruct import default_output
from .result import finish
from .summary import lines_of, result_of
from .terminal_progress import TerminalProgress


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Only the cameras: where each photograph was taken from.

    The output folder holds cameras.json in the layout of transforms.json, the photographs beside it, and the sparse
    points as points.ply. `fewview reconstruct` and `fewview view` take that folder as INPUT.
    """

    # Folder of photographs, or video file.
    input: tyro.conf.Positional[Path]
    # Place only this many photographs, evenly spaced in file-name order.
    views: int | None = None
    # The photographs are frames of a film, so many a second, in the order of their names.
    fps: float | None = None
    # Longer side of the photographs that are written, in pixels.
    resolution: int = 1600
    # Improve cameras of photographs of one object with masks or transparency by making the object from them, and look
    # around it for photographs that could not be placed; takes minutes.
    synthesis: bool = False
    # ADen network that proposes cameras for photographs of one object that could not be placed, for --synthesis to look
    # at; and places all of them where structure from motion is sure of fewer than three and does not place all. The
    # word aden for the weights that come with Fewview, or a file of scripts/train_priors/aden.py.
    pose_network: Path | None = None
    # Leave out photographs whose camera is less likely right than this, 0 to 1.
    min_confidence: float = 0.0
    # Go on with a run that was interrupted.
    resume: bool = False
    # Refuse photographs with more pixels than this, in millions.
    max_megapixels: float = 100.0
    # Accept data sets that name files outside their own folder.
    allow_outside: bool = False


def run(options: Options) -> None:
    output = options.output or default_output(options.input)
    device = prepare(options)
    config = ReconstructConfig(
        views=options.views,
        fps=options.fps,
        resolution=options.resolution,
        min_confidence=options.min_confidence,
        synthesis=options.synthesis,
        pose_network=options.pose_network,
        max_megapixels=options.max_megapixels,
        allow_outside=options.allow_outside,
        device=device.type,
        seed=options.seed,
    )
    try:
        with (
            TerminalProgress(options.quiet) as progress,
            open_run(options.input, output, config, resume=options.resume, command="poses") as (folder, _),
            locked(folder),
        ):
            placed_input(folder, options.input, config, progress)
    except KeyboardInterrupt:
        if not (output / "config.json").is_file():
            raise KeyboardInterrupt("Interrupted before the cameras were found; nothing was written.") from None
        raise KeyboardInterrupt(
            f"Interrupted before the cameras were found; what was matched is kept in {output}. Add --resume to the "
            "same command to go on."
        ) from None
    lines = [*lines_of(folder), f"{'Cameras':<12} {folder.cameras_path}", ""]
    finish(
        options,
        {**result_of(folder), "cameras": str(folder.cameras_path), "points": str(folder.points_path)},
        [*lines, f"Look at them:  fewview view {output}", f"Then type:     fewview reconstruct {output}"],
    )
