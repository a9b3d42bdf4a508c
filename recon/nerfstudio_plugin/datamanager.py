"""Photographs at a size that the device can train on, and as the data set that Fewview's methods start from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras as NerfstudioCameras
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager, FullImageDatamanagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.capture import Capture, Frame
from ...scene.geometry import se3_inverse
from ..optimise.dataset import Dataset
from ..pipeline.reconstruct_config import MAX_SIDE_CPU_PX, MAX_SIDE_CUDA_PX
from ..poses import PosesConfig, triangulate
from .dataparser import AnyCaptureConfig


@dataclass
class PhotographsConfig(FullImageDatamanagerConfig):
    """Whole photographs, all in memory."""

    _target: type = field(default_factory=lambda: Photographs)
    """target class to instantiate"""
    dataparser: AnyCaptureConfig = field(default_factory=AnyCaptureConfig)
    """what reads the data"""
    resolution: int | None = None
    """Longer side of the photographs in training, in pixels; when not given, 640 on a CPU and 1600 on a GPU."""


class ResizedPhotographs(InputDataset):
    """Photographs whose cameras have the sizes that resizing gave: nerfstudio rounds sizes down, but not intrinsics."""

    def __init__(self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        if scale_factor == 1.0:
            return
        before, after = dataparser_outputs.cameras, self.cameras
        after.width = (before.width.double() * scale_factor).long()  # as `get_numpy_image` computes it
        after.height = (before.height.double() * scale_factor).long()
        x, y = after.width / before.width, after.height / before.height
        after.fx, after.cx, after.fy, after.cy = before.fx * x, before.cx * x, before.fy * y, before.cy * y


class Photographs(FullImageDatamanager[ResizedPhotographs]):
    """nerfstudio's manager of whole photographs, with a size bound."""

    config: PhotographsConfig

    def create_train_dataset(self) -> ResizedPhotographs:
        cameras = self.train_dataparser_outputs.cameras
        longest = max(int(cameras.width.max()), int(cameras.height.max()))
        on_cpu = torch.device(self.device).type == "cpu"
        most = self.config.resolution or (MAX_SIDE_CPU_PX if on_cpu else MAX_SIDE_CUDA_PX)
        if longest > most:  # half a pixel more, so that rounding down gives the size that is asked for
            self.config.camera_res_scale_factor = (most + 0.5) / longest
        return super().create_train_dataset()

    def dataset(self) -> Dataset:
        """The training photographs, undistorted, with points from matches between them."""
        batches = self.cached_train  # undistorts, and changes the cameras
        cameras = fewview_cameras(self.train_dataset.cameras)
        frames = [_frame(str(i), batch) for i, batch in enumerate(batches)]
        capture = Capture(tuple(frames), str(self.get_datapath()), cameras)
        return Dataset.from_capture(capture.with_cameras(cameras, triangulate(capture, PosesConfig())))


def fewview_cameras(cameras: NerfstudioCameras) -> Cameras:
    """The same cameras [V] with OpenCV axes and as transforms from the world; their distortion is left out."""
    return Cameras(
        cam_from_world(cameras.camera_to_worlds).cpu(),
        cameras.get_intrinsics_matrices().float().cpu(),
        cameras.width[..., 0].long().cpu(),
        cameras.height[..., 0].long().cpu(),
    )


def cam_from_world(
    world_from_gl: Tensor,  # [..., 3, 4] OpenGL axes
) -> Tensor:
    """[..., 4, 4] OpenCV axes; differentiable."""
    last = world_from_gl.new_tensor([0.0, 0, 0, 1]).expand(*world_from_gl.shape[:-2], 1, 4)
    flip = world_from_gl.new_tensor([1.0, -1, -1, 1])
    return se3_inverse(torch.cat([world_from_gl * flip, last], dim=-2))


def _frame(name: str, batch: dict[str, Tensor]) -> Frame:
    pixels = batch["image"].cpu()
    if pixels.is_floating_point():
        pixels = (pixels * 255).round().to(torch.uint8)
    mask: np.ndarray | None = batch["mask"][..., 0].cpu().numpy().astype(bool) if "mask" in batch else None
    height, width = pixels.shape[:2]
    return Frame(name, width, height, pixels.numpy, load_mask=None if mask is None else lambda: mask)
