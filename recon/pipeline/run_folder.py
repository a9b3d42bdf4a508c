"""The folder of a run, new or continued."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from ... import __version__
from ...scene.errors import BadInputError
from ...scene.run import Run
from .reconstruct_config import ReconstructConfig, continued, input_digest, options_as_json


@contextlib.contextmanager
def open_run(
    source: Path | str, output: Path | str, config: ReconstructConfig, *, resume: bool, command: str
) -> Iterator[tuple[Run, ReconstructConfig]]:
    """The run at `output`, new or continued, with its config.

    A new one vanishes when the block fails, but for one that is interrupted while photographs are matched: it can be
    continued.
    """
    path = Path(output)
    if resume and (path / "config.json").is_file():
        run = Run.open(path)
        yield run, continued(run, source, config)
        return
    if (path / "config.json").is_file() and Path(source).resolve() == path.resolve():
        raise BadInputError(
            f"{path} is a run, and no new one can begin in it. Go on with it by `fewview reconstruct {path} --resume`, "
            "look at it by `fewview view`, or name its input and another folder with -o."
        )
    if (path / "config.json").is_file() and not _same_input(Run.open(path), Path(source)):
        raise BadInputError(
            f"The output folder {path} holds a run of another input, {Run.open(path).config().get('input')}; nothing "
            "was changed. Choose another folder with -o."
        )
    absent = [p for p in (path, *path.absolute().parents) if not p.exists()]
    description = {"command": command, "input": str(source), "version": __version__, "options": options_as_json(config)}
    description["input_digest"] = input_digest(Path(source))
    run = Run.create(path, description)
    try:
        yield run, config
    except BaseException as error:  # also Ctrl-C
        if not (isinstance(error, KeyboardInterrupt) and run.matches_path.is_file()):
            _vanish(run, absent)
        raise


def _same_input(run: Run, source: Path) -> bool:
    """True where the run was begun with the files that are at `source` now, as far as it says."""
    config = run.config()
    same_name = Path(str(config.get("input"))).name == source.name
    return same_name and config.get("input_digest") in (None, input_digest(source))


def _vanish(run: Run, absent: list[Path]) -> None:
    """Take back a run that has come to nothing, with the folders that were made for it. It was new or empty before."""
    for folder in (run.images_path, run.masks_path, run.depths_path, run.checkpoints_path, run.depth_path.parent):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (run.config_path, run.cameras_path, run.points_path, run.metrics_path, run.lock_path):
        with contextlib.suppress(OSError):  # Windows keeps a file that is open
            file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # folders that hold something stay
        for folder in absent:
            folder.rmdir()
