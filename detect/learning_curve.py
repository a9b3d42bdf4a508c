"""The losses of a training, epoch by epoch, as a table beside the weights."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from ..scene.files import write_bytes

CURVE_FILE = "learning_curve.csv"
_FIRST = ("epoch", "step", "steps", "loss")


class LearningCurve:
    """Means of the losses over each epoch; called after each step, it writes the table at the end of an epoch.

    Columns: the epoch, the step at its end, the number of steps that the means are of (fewer than the epoch has where
    a run went on in its middle), the sum of the losses, and each of them. `each_epoch` gets the number of the epoch.
    """

    def __init__(self, folder: Path, steps_per_epoch: int, each_epoch: Callable[[int], None], writes: bool) -> None:
        self.path, self.steps_per_epoch = folder / CURVE_FILE, steps_per_epoch
        self.each_epoch, self.writes = each_epoch, writes  # one process of several writes
        self.sums: dict[str, float] = defaultdict(float)
        self.count = 0

    def __call__(self, step: int, losses: Mapping[str, float]) -> None:
        if not self.writes:
            return
        self.count += 1
        for name, value in losses.items():
            self.sums[name] += value
        if step % self.steps_per_epoch == 0:
            self._write(step // self.steps_per_epoch, step)
            self.each_epoch(step // self.steps_per_epoch)
            self.sums, self.count = defaultdict(float), 0

    def _write(self, epoch: int, step: int) -> None:
        means = {name: value / self.count for name, value in self.sums.items()}
        new = {"epoch": epoch, "step": step, "steps": self.count, "loss": sum(means.values()), **means}
        # A run that goes on from a checkpoint does the epochs after that again.
        rows = [row for row in read_curve(self.path) if row["epoch"] < epoch] if epoch > 1 else []
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, list(dict.fromkeys([*_FIRST, *(name for row in rows for name in row), *means])))
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in [*rows, new])
        write_bytes(self.path, table.getvalue().encode())


def read_curve(path: Path) -> list[dict[str, float]]:
    """The rows of a table; none where there is no table that can be read, as nothing depends on it."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, csv.Error):
        return []
    return rows if all("epoch" in row for row in rows) else []
