"""Where samples come from: a nuScenes-format folder, or an info file with single key frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...scene.datasets import read_driving_log
from ...scene.driving import DrivingLog
from ...scene.errors import BadInputError
from ..nuscenes.dataset import DetectionData
from ..nuscenes.from_frame import sample_of
from ..nuscenes.sample import DetectionSample
from .config import SparseFusionConfig


@dataclass(frozen=True)
class LogSamples:
    """The key frames of a log as samples. What cannot be used is said when it is read."""

    log: DrivingLog

    @property
    def tokens(self) -> tuple[str, ...]:
        return self.log.tokens

    def __len__(self) -> int:
        return len(self.log)

    def __getitem__(self, index: int) -> DetectionSample:
        return sample_of(self.log[index])

    def class_balanced(self, seed: int) -> list[int]:
        """Single frames are not balanced: each once."""
        return list(range(len(self)))


def open_samples(path: Path, config: SparseFusionConfig, split: str = "all") -> DetectionData | LogSamples:
    """The samples at `path`. An info file has no splits, and one sweep a sample. Raises BadInputError."""
    if path.is_dir():
        return DetectionData(path, split, sweeps=config.sweeps - 1)
    if split != "all":
        raise BadInputError(f"{path} is no folder in the nuScenes format, so it has no split {split!r}; leave it out.")
    return LogSamples(read_driving_log(path))
