"""InstantSplat as a model of nerfstudio's: its tensors and exports are splatfacto's, its pictures are Fewview's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.models.splatfacto import SplatfactoModel
from nerfstudio.utils.colors import get_color
from torch import Tensor
from torch.nn import Parameter, ParameterDict

from ...render import rasterization
from ...render.loss import l1_dssim
from ...render.metrics import lpips, psnr, ssim
from ...scene.gaussians import SH_C0
from ..methods.gaussian_splatting.model import GaussianSplatting
from ..methods.instantsplat.config import InstantSplatConfig, few_view_values, instantsplat_config
from ..optimise.dataset import Dataset
from .datamanager import cam_from_world


@dataclass
class InstantSplatModelConfig(ModelConfig):
    """Settings of the model. None stands for a value that depends on the number of photographs, as in Fewview."""

    _target: type = field(default_factory=lambda: InstantSplatModel)
    """target class to instantiate"""
    sh_degree: int = 1
    """Degree of the view-dependent colour; each has an equal share of the run."""
    max_gaussians: int | None = None
    """At most so many Gaussians; their number never changes in training."""
    gaussian_dropout: float | None = None
    """Share of Gaussians left out of a step by chance, rising linearly to this at the end."""
    border: float | None = None
    """Blurred surroundings beyond each photograph, in its longer sides."""
    dssim_weight: float = 0.2
    """Share of 1 - SSIM in the loss, the rest is L1."""
    background_color: Literal["black", "white"] = "black"
    """Colour behind everything, and behind transparent pixels of photographs."""
    refine_cameras: Literal["auto", "on", "off"] = "auto"
    """Train the cameras, too; auto does so where Fewview had to find them."""

    def settings(self, dataset: Dataset, seed: int, on_cpu: bool) -> InstantSplatConfig:
        """The method's own config for these photographs."""
        asked = {name: getattr(self, name) for name in ("max_gaussians", "gaussian_dropout", "border")}
        values = few_view_values(dataset, on_cpu) | {k: v for k, v in asked.items() if v is not None}
        return instantsplat_config(**(values | {"seed": seed, "sh_degree": self.sh_degree}))


class InstantSplatModel(SplatfactoModel):
    """Gaussians whose number stays as dense stereo made it.

    `gauss_params["means"]` are offsets: a Gaussian lies at `start + reach * offset`. Adam's steps do not depend on the
    unit, so `reach` is each Gaussian's own factor on the learning rate (the camera extent times distrust of stereo).
    """

    config: InstantSplatModelConfig

    def populate_modules(self) -> None:
        one = torch.zeros(1, 3)
        self.gauss_params = ParameterDict()
        self.start: Tensor
        self.reach: Tensor
        self.register_buffer("start", one)
        self.register_buffer("reach", torch.ones(1))
        rest = torch.zeros(1, (self.config.sh_degree + 1) ** 2 - 1, 3)
        self._set(one, torch.ones(1, 4), one, torch.zeros(1, 1), one, rest)
        self.camera_optimizer = CameraOptimizerConfig(
            mode="SO3xR3" if self._refines_cameras() else "off", trans_l2_penalty=0.0, rot_l2_penalty=0.0
        ).setup(num_cameras=self.num_train_data, device="cpu")
        self.background_color = get_color(self.config.background_color)
        self.crop_box = None
        self.gaussian_dropout = 0.0
        self.step, self.steps = 0, 1

    def _refines_cameras(self) -> bool:
        if self.config.refine_cameras == "auto":
            return bool(self.kwargs["metadata"].get("cameras_are_estimated"))
        return self.config.refine_cameras == "on"

    def _set(self, offsets: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, dc: Tensor, rest: Tensor) -> None:
        tensors = {"means": offsets, "quats": quats, "scales": scales, "opacities": opacities}
        for name, tensor in {**tensors, "features_dc": dc, "features_rest": rest}.items():
            self.gauss_params[name] = Parameter(tensor.clone())

    def start_from(self, start: GaussianSplatting, gaussian_dropout: float) -> None:
        """Take the Gaussians and the factors of a model of Fewview's as they are before its first step."""
        g = start.splat().detach()
        factor = start.table.columns["means"].row_scale
        self.start = g.means.clone()
        self.reach = start.scene_scale * (torch.ones(len(g)) if factor is None else factor.clone())
        rest = torch.zeros(len(g), self.gauss_params["features_rest"].shape[1], 3)
        self._set(torch.zeros_like(g.means), g.quats, g.log_scales, g.opacity_logits[:, None], g.sh[:, 0], rest)
        self.gaussian_dropout = gaussian_dropout

    def load_state_dict(self, state: Mapping[str, Tensor], **kwargs: Any) -> Any:
        """Take as many Gaussians as the checkpoint has; their parameters stay the same objects where they fit."""
        for name in ("start", "reach"):
            if getattr(self, name).shape != state[name].shape:
                setattr(self, name, torch.empty_like(state[name], device=self.device))
        for name, parameter in self.gauss_params.items():
            saved = state[f"gauss_params.{name}"]
            if saved.shape != parameter.shape:
                self.gauss_params[name] = Parameter(torch.empty_like(saved, device=self.device))
        return torch.nn.Module.load_state_dict(self, state, **kwargs)

    @property
    def means(self) -> Tensor:
        return self.start + self.reach[:, None] * self.gauss_params["means"]

    @property
    def colors(self) -> Tensor:
        """[N, 3] without what depends on the view. Splatfacto holds other values in the tensor at degree 0."""
        return self.features_dc * SH_C0 + 0.5

    @property
    def shs_0(self) -> Tensor:
        return self.features_dc

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        groups: dict[str, list[Parameter]] = self.get_gaussian_param_groups()
        self.camera_optimizer.get_param_groups(param_groups=groups)
        return groups

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        trainer = attributes.trainer
        self.steps = trainer._start_step + trainer.config.max_num_iterations  # as `Trainer.train` counts

        def before(step: int) -> None:
            self.step = step

        return [TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], before)]

    def get_outputs(self, camera: Cameras) -> dict[str, Tensor]:
        """Colour [H, W, 3], accumulation [H, W, 1], background [3] and, outside of training, depth [H, W, 1]."""
        pose = self.camera_optimizer.apply_to_camera(camera) if self.training else camera.camera_to_worlds
        background = self.background_color.to(self.device)
        pictures, alphas, _ = rasterization(
            self.means,
            self.quats,
            self.scales.exp(),
            self._drawn_opacities(),
            torch.cat([self.features_dc[:, None], self.features_rest], dim=1),
            cam_from_world(pose),
            camera.get_intrinsics_matrices().to(self.device),
            int(camera.width.item()),
            int(camera.height.item()),
            sh_degree=self._degree(),
            packed=False,
            backgrounds=background[None],
            render_mode="RGB" if self.training else "RGB+ED",
        )
        picture, alpha = pictures[0], alphas[0]
        if self.training:
            return {"rgb": picture, "accumulation": alpha, "background": background}
        depth = torch.where(alpha > 0, picture[..., 3:], picture[..., 3:].max())
        rgb = picture[..., :3].clamp(0, 1)
        return {"rgb": rgb, "depth": depth, "accumulation": alpha, "background": background}

    def _degree(self) -> int:
        """All degrees once trained; before, coefficients that are not in use yet are zero and get no gradient."""
        highest = self.config.sh_degree
        return min(highest, int(self.step / self.steps * (highest + 1))) if self.training else highest

    def _drawn_opacities(self) -> Tensor:
        """[N] in [0, 1]; some made invisible by chance in training, as Fewview's trainer does it."""
        opacities = self.opacities[:, 0].sigmoid()
        if not self.training:
            return opacities if self.crop_box is None else opacities * self.crop_box.within(self.means).reshape(-1)
        rate = self.gaussian_dropout * self.step / self.steps
        kept = torch.rand_like(opacities) >= rate
        return (opacities * (kept / (1 - rate))).clamp(max=1)

    def _target(self, batch: Mapping[str, Tensor], background: Tensor) -> Tensor:
        """The photograph [H, W, 3] in [0, 1], on the background where it is transparent."""
        image = batch["image"].to(self.device)
        image = image if image.is_floating_point() else image.float() / 255
        return self.composite_with_background(image, background)

    def get_metrics_dict(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Any]:
        target = self._target(batch, outputs["background"])
        metrics: dict[str, Any] = {
            "psnr": psnr(outputs["rgb"].clamp(0, 1), target),
            "gaussian_count": self.num_points,
        }
        self.camera_optimizer.get_metrics_dict(metrics)
        return metrics

    def get_loss_dict(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], metrics_dict: Any = None
    ) -> dict[str, Tensor]:
        rgb, target = outputs["rgb"], self._target(batch, outputs["background"])
        if "mask" in batch:  # black on both sides, so that SSIM's windows see nothing of what does not count
            counts = batch["mask"].to(self.device)
            rgb, target = rgb * counts, target * counts
        return {"main_loss": l1_dssim(rgb, target, self.config.dssim_weight)}

    def get_image_metrics_and_images(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR, SSIM and, where its weights are here already, LPIPS; the photograph and the picture side by side."""
        target, rgb = self._target(batch, outputs["background"]), outputs["rgb"]
        metrics = {"psnr": psnr(rgb, target), "ssim": ssim(rgb, target)}
        distance = lpips(rgb, target)
        if distance is not None:
            metrics["lpips"] = distance
        return metrics, {"img": torch.cat([target, rgb], dim=1)}
