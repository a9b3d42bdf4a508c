"""`fewview reconstruct`: photographs to a splat."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tyro

from ..recon.pipeline.reconstruction import ReconstructConfig, reconstruct
from ..scene.errors import BadInputError
from ..scene.run import Run
from ..viewer.report import write_report
from .device import prepare
from .options import Common
from .result import finish
from .summary import lines_of, result_of
from .terminal_progress import TerminalProgress
from .watch_training import Watcher


@dataclass(frozen=True, kw_only=True)
class Options(Common, ReconstructConfig):
    """Photographs, a video, or a data set with cameras, to a Gaussian splat.

    Where the input has no cameras they are estimated. The output folder holds the splat, a report with pictures and
    figures, and everything needed to continue, look at, render and measure it.
    """

    # Folder of photographs, video file, COLMAP model, transforms.json or its folder, or a folder from `fewview poses`.
    input: tyro.conf.Positional[Path]
    # Look at the training live in the browser.
    view: bool = False
    # Continue the run in the output folder, or that is the input; options left out are those it was begun with.
    resume: bool = False

    def __post_init__(self) -> None:
        Common.__post_init__(self)
        ReconstructConfig.__post_init__(self)


def run(options: Options) -> None:
    source, output = options.input, options.output or default_output(options.input)
    if options.resume and options.output is None and (begun_with := _input_of_run(source)) is not None:
        source, output = begun_with, source
    device = prepare(options)
    config = config_of(options, device=device.type)
    with TerminalProgress(options.quiet) as progress, Watcher(output) as watcher:
        finished = run_to_report(
            source,
            output,
            config,
            progress,
            resume=options.resume,
            command="reconstruct",
            watcher=watcher if options.view else None,
        )
    finish(options, result_of(finished), [*lines_of(finished), "", f"Look at it:  fewview view {_quoted(output)}"])


def run_to_report(
    source: Path,
    output: Path,
    config: ReconstructConfig,
    progress: TerminalProgress,
    *,
    resume: bool,
    command: str,
    watcher: Watcher | None = None,
) -> Run:
    """Reconstruct and write the report; an interruption says how to continue."""
    try:
        finished = reconstruct(
            source,
            output,
            config,
            resume=resume,
            command=command,
            progress=progress,
            callbacks=[] if watcher is None else [watcher],
            keep_when_stopped=lambda: watcher is not None and watcher.stopped,
        )
        write_report(finished)
        return finished
    except KeyboardInterrupt:
        if not (output / "config.json").is_file():
            raise KeyboardInterrupt("Interrupted before the cameras were found; nothing was written.") from None
        again = f"fewview {command}" if command == "demo" else f"fewview {command} {_quoted(source)}"
        raise KeyboardInterrupt(
            f"Interrupted; what is finished is kept in {output}. Continue with `{again} -o {_quoted(output)} --resume`."
        ) from None


def config_of(options: Any, **changes: Any) -> ReconstructConfig:
    """The part of command-line options that decides the reconstruction."""
    values = {f.name: getattr(options, f.name) for f in fields(ReconstructConfig) if hasattr(options, f.name)}
    return ReconstructConfig(**(values | changes))


def default_output(source: Path) -> Path:
    """`runs/NAME` for an input called NAME. Raises BadInputError where the input has no name, like `/`."""
    name = source.absolute().resolve().stem if source.is_file() else source.absolute().resolve().name
    if not name:
        raise BadInputError(f"{source} has no name to call the run by; choose a folder with -o.")
    return Path("runs") / name


def _input_of_run(folder: Path) -> Path | None:
    """The input of a reconstruction that was begun in this folder; None where it is none.

    A folder from `fewview poses` is an input itself.
    """
    if not (folder / "config.json").is_file():
        return None
    config = Run.open(folder).config()
    begun_with = config.get("input")
    return Path(begun_with) if config.get("command") == "reconstruct" and isinstance(begun_with, str) else None


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
