"""What the viewer is asked to show, read into the nouns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..scene.capture import Capture
from ..scene.errors import BadInputError
from ..scene.gaussians import Gaussians
from ..scene.formats import load_splat
from ..scene.readers import load_run_capture, read_capture
from ..scene.run import Run


@dataclass(frozen=True)
class Shown:
    """A scene to look at; at least one of `gaussians` and `capture` (with cameras) is there."""

    title: str
    gaussians: Gaussians | None = None
    capture: Capture | None = None
    splat_path: Path | None = None  # offered for download
    antialiased: bool = False  # how the splat was trained, and so has to be rendered
    background: tuple[float, ...] = (0.0, 0.0, 0.0)  # sRGB that it was trained over
    notes: tuple[str, ...] = ()


def load_shown(target: Path | str | Run | Capture | Gaussians) -> Shown:
    """The scene of a run, a splat PLY, or any input with cameras that `read_capture` takes.

    Raises BadInputError when there is nothing to show: a run without cameras yet, photographs without cameras.
    """
    if isinstance(target, Gaussians):
        return Shown("Splat", gaussians=target)
    if isinstance(target, Capture):
        return _shown_capture(target)
    if isinstance(target, Run):
        return _shown_run(target)
    path = Path(target)
    if not path.exists():
        raise BadInputError(f"{path} does not exist; a run folder, a splat PLY or a capture with cameras is expected.")
    if (path / "config.json").is_file():
        return _shown_run(Run.open(path))
    if path.is_file() and path.suffix.lower() == ".ply":
        splat = load_splat(path)
        return Shown(path.name, splat.gaussians, None, path, splat.antialiased, notes=splat.notes)
    return _shown_capture(read_capture(path))


def _shown_run(run: Run) -> Shown:
    capture = load_run_capture(run) if run.cameras_path.is_file() else None
    splat = load_splat(run.splat_path) if run.splat_path.is_file() else None
    if splat is None and capture is None:
        raise BadInputError(
            f"The run {run.path} has no splat and no cameras yet, so there is nothing to show. "
            "Continue it with `fewview reconstruct --resume`."
        )
    return Shown(
        run.path.resolve().name,
        None if splat is None else splat.gaussians,
        capture,
        None if splat is None else run.splat_path,
        splat is not None and splat.antialiased,
        _background(run),
        () if splat is None else splat.notes,
    )


def _background(run: Run) -> tuple[float, ...]:
    training = run.metrics().get("training")
    background = training.get("background") if isinstance(training, dict) else None
    return tuple(map(float, background)) if isinstance(background, list) and len(background) == 3 else (0.0, 0.0, 0.0)


def _shown_capture(capture: Capture) -> Shown:
    if capture.cameras is None:
        raise BadInputError(
            f"The cameras of {capture.source} are not known, so there is nothing to show in 3D yet. "
            "Find them with `fewview poses` or `fewview reconstruct` first."
        )
    return Shown(Path(capture.source).name or capture.source, capture=capture, notes=capture.notes)
