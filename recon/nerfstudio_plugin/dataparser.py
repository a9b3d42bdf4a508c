"""nerfstudio's own data sets as nerfstudio reads them, and everything else that Fewview reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio, NerfstudioDataParserConfig
from nerfstudio.utils.rich_utils import CONSOLE

from ...scene.capture import evenly_spaced
from ...scene.run import Run
from ..pipeline.first_stage import placed_input
from ..pipeline.reconstruct_config import MAX_SIDE_CUDA_PX, ReconstructConfig
from ..pipeline.run_folder import open_run


@dataclass
class AnyCaptureConfig(NerfstudioDataParserConfig):
    """A nerfstudio data set, or photographs without cameras, a video, a COLMAP model, a run of Fewview."""

    _target: type = field(default_factory=lambda: AnyCapture)
    """target class to instantiate"""
    views: int | None = None
    """Train on this many of the training photographs, evenly spaced in file-name order; all when not given."""
    hold_out: bool = False
    """Hold out every 8th photograph; for data that are no nerfstudio data set, which says itself what to hold out."""
    placed: Path = Path("outputs/fewview")
    """Folder that keeps photographs without a transforms.json, with the cameras that were found for them."""


@dataclass
class AnyCapture(Nerfstudio):
    """Finds cameras where there are none, then reads the result as nerfstudio reads its data sets."""

    config: AnyCaptureConfig

    def _generate_dataparser_outputs(self, split: str = "train") -> DataparserOutputs:
        data = self.config.data
        if not (data.suffix == ".json" or (data / "transforms.json").is_file()):
            self.config.data = self._placed(data)
        outputs = super()._generate_dataparser_outputs(split)
        outputs.metadata["cameras_are_estimated"] = _estimated(self.config.data)
        files = outputs.image_filenames
        kept = [i for i, file in enumerate(files) if file.is_file()]
        if len(kept) < len(files):
            CONSOLE.log(f"[yellow]{len(files) - len(kept)} {split} photographs that the data set lists are not there")
        if split == "train" and self.config.views is not None:
            kept = evenly_spaced(kept, self.config.views)
        return outputs if len(kept) == len(files) else _subset(outputs, kept)

    def _placed(self, data: Path) -> Path:
        """The cameras.json of a run of Fewview with these photographs; made once, found again the next time."""
        if (data / "config.json").is_file() and (data / "cameras.json").is_file():
            return data / "cameras.json"
        config = ReconstructConfig(eval=self.config.hold_out, resolution=MAX_SIDE_CUDA_PX)
        key = hashlib.blake2b(f"{data.resolve()} {config.eval}".encode(), digest_size=4).hexdigest()
        with open_run(data, self.config.placed / f"{data.name}-{key}", config, resume=True, command="poses") as (
            run,
            config,
        ):
            placed_input(run, data, config, _Told())
        return run.cameras_path


class _Told:
    """Says each stage once."""

    def __init__(self) -> None:
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, Any] = {}) -> None:
        if stage != self._stage:
            CONSOLE.log(f"Fewview: {stage}")
            self._stage = stage


def _estimated(data: Path) -> bool:
    """True where Fewview found these cameras, as the run says in whose folder they lie."""
    return data.name == "cameras.json" and Run(data.parent).cameras_are_estimated()


def _subset(outputs: DataparserOutputs, kept: list[int]) -> DataparserOutputs:
    metadata = dict(outputs.metadata)
    if metadata.get("depth_filenames") is not None:
        metadata["depth_filenames"] = [metadata["depth_filenames"][i] for i in kept]
    return replace(
        outputs,
        image_filenames=[outputs.image_filenames[i] for i in kept],
        mask_filenames=None if outputs.mask_filenames is None else [outputs.mask_filenames[i] for i in kept],
        cameras=outputs.cameras[torch.tensor(kept)],
        metadata=metadata,
    )
