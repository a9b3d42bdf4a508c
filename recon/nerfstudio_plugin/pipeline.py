"""nerfstudio's pipeline, whose model starts from dense stereo of the training photographs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE

from ..evidence.stereo.stereo_depth import stereo_depth
from ..methods.instantsplat.config import FEW_VIEWS
from ..methods.instantsplat.model import initialise
from .datamanager import PhotographsConfig
from .model import InstantSplatModelConfig


@dataclass
class InstantSplatPipelineConfig(VanillaPipelineConfig):
    """InstantSplat's data and model."""

    _target: type = field(default_factory=lambda: InstantSplatPipeline)
    """target class to instantiate"""
    datamanager: PhotographsConfig = field(default_factory=PhotographsConfig)
    """specifies the datamanager config"""
    model: InstantSplatModelConfig = field(default_factory=InstantSplatModelConfig)
    """specifies the model config"""


class InstantSplatPipeline(VanillaPipeline):
    """The start costs seconds of stereo, so only training makes it; what loads a checkpoint needs none."""

    def __init__(self, config: InstantSplatPipelineConfig, device: str, test_mode: str = "val", **kwargs: Any) -> None:
        super().__init__(config, device, test_mode, **kwargs)
        if test_mode != "val":
            return
        dataset = self.datamanager.dataset()
        if len(dataset) > FEW_VIEWS:
            CONSOLE.log(
                f"[yellow]InstantSplat is for up to {FEW_VIEWS} photographs, and there are {len(dataset)}: choose some "
                "with --pipeline.datamanager.dataparser.views, or train splatfacto."
            )
        seed = torch.initial_seed() % 2**31  # --machine.seed, which ns-train has set
        CONSOLE.log(f"Fewview: dense stereo of {len(dataset)} photographs")
        settings = config.model.settings(dataset, seed, on_cpu=torch.device(device).type == "cpu")
        start = initialise(dataset, stereo_depth(dataset, seed), settings)
        self.model.start_from(start, settings.gaussian_dropout)
        self.model.to(device)
        if torch.device(device).type == "cpu":
            torch.set_num_threads(1)  # Fewview's kernels have threads of their own, which PyTorch's would displace
