"""Parts that trainings of all detectors share: the folder of a run, weights on the way, and the words of the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..detect.learning_curve import CURVE_FILE
from ..learn import Trained
from ..learn.network_files import WEIGHTS_FILE
from ..learn.processes import peak_memory_gb
from ..scene.errors import BadInputError
from ..scene.progress import duration

BOUNDS = {
    "epochs": (1, 10_000),
    "batch_size": (1, 1024),
    "workers": (0, 256),
    "keep_every": (0, 10_000),
}


def require_within(options: Any, bounds: Mapping[str, tuple[int, int]]) -> None:
    """Raises BadInputError where a number of the options is outside of what is possible."""
    for name, (low, high) in bounds.items():
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            option = name.replace("_", "-")
            raise BadInputError(f"--{option} {value} cannot be used: {low} to {high} are possible.")


def make_run_folder(folder: Path, resume: bool) -> None:
    """Raises BadInputError where the folder holds a run that would be lost, or cannot be made."""
    if not resume and has_checkpoint(folder):
        raise BadInputError(
            f"{folder} holds a training run already; add --resume to continue it, or choose another folder with -o."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error


def has_checkpoint(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("step_*.safetensors"))


def keeper(folder: Path, every: int, save: Callable[[Path], None]) -> Callable[[int], None]:
    """A function that saves the weights after an epoch, where `every` says so; 0 is never."""

    def keep(epoch: int) -> None:
        if every and epoch % every == 0:
            (folder / "epochs").mkdir(exist_ok=True)
            save(folder / "epochs" / f"epoch_{epoch:04d}.safetensors")

    return keep


def outcome(trained: Trained, folder: Path, processes: int) -> tuple[dict[str, Any], list[str]]:
    """(result for programs, lines for people)"""
    done = trained.step == trained.steps
    result: dict[str, Any] = {
        "output": str(folder),
        "step": trained.step,
        "steps": trained.steps,
        "finished": done,
        "seconds": round(trained.seconds, 1),
        "processes": processes,
        "losses": dict(trained.losses),
        "loss": sum(trained.losses.values()),
        "learning_curve": str(folder / CURVE_FILE),
    }
    how = "Trained" if done else "Interrupted after"
    lines = [f"{how} {trained.step} of {trained.steps} steps in {duration(trained.seconds)}."]
    if (folder / CURVE_FILE).is_file():
        lines.append(f"Losses of each epoch: {folder / CURVE_FILE}")
    return result, lines


def last_lines(result: dict[str, Any], folder: Path, device: Any, following: str) -> list[str]:
    """The memory, which `result` gets too, the weights, and the command that comes next."""
    memory_gb = peak_memory_gb(device)
    result["peak_memory_gb"] = None if memory_gb is None else round(memory_gb, 2)
    memory = [] if memory_gb is None else [f"Peak memory: {memory_gb:.2f} GB"]
    weights = f"Weights: {folder / WEIGHTS_FILE}"
    return [*memory, weights, following if result["finished"] else "Go on with the same command and --resume."]
