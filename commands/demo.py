"""`fewview demo`: the bundled photographs to a splat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..scene.errors import BadInputError
from ..scene.run import Run
from ..scene.sample import sample_path
from .device import prepare
from .options import Common
from .reconstruct import config_of, run_to_report
from .result import finish
from .summary import lines_of, result_of
from .terminal_progress import TerminalProgress

STEPS = 400  # the sample is sharp by then; a first look should not take longer


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """Twelve bundled photographs to a splat, then how to look at it."""

    # Continue a demo that was interrupted.
    resume: bool = False


def run(options: Options) -> None:
    output = options.output or _free_folder(Path("demo"), options.resume)
    device = prepare(options)
    config = replace(config_of(options, device=device.type), eval=True, steps=STEPS)
    with TerminalProgress(options.quiet) as progress:
        progress.say(f"Reconstructing the twelve photographs in {sample_path()} into {output}")
        finished = run_to_report(sample_path(), output, config, progress, resume=options.resume, command="demo")
    finish(options, result_of(finished), [*lines_of(finished), *_what_next(finished)])


def _free_folder(wanted: Path, resume: bool) -> Path:
    """`demo`, or `demo-2` and so on where there is one; with `resume` the last that exists."""
    folders = [wanted, *(wanted.with_name(f"{wanted.name}-{n}") for n in range(2, 1000))]
    for previous, folder in zip([wanted, *folders], folders, strict=False):
        if not folder.exists() or not any(folder.iterdir()):
            return previous if resume else folder
    raise BadInputError(f"There are {len(folders)} folders called {wanted}; choose another with -o.")


def _what_next(finished: Run) -> list[str]:
    commands = {
        f"fewview view {finished.path}": "walk around in the browser",
        f"fewview share {finished.path}": "one page to send to others",
        f"fewview render {finished.path}": "a film of an orbit",
        "fewview reconstruct FOLDER": "your own photographs",
    }
    return ["", "What to type next:", *(f"  {command:<30} {what}" for command, what in commands.items())]
