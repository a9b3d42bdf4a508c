"""`Step`: what the trainer hands to a method at each optimisation step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...render import rasterization
from ...render.loss import l1_dssim
from ...scene.cameras import Cameras
from ...scene.gaussians import Gaussians
from .appearance import Appearance, within_range
from .dataset import Dataset, View
from .gaussian_dropout import dropped_opacities
from .train_config import TrainConfig
from .transient_mask import lasting_pixels


@dataclass(frozen=True)
class Render:
    """One rendered picture, and the Gaussians that it shows."""

    gaussians: Gaussians
    opacities: Tensor  # [N] before dropout, so that losses need not compute them again
    scales: Tensor  # [N, 3] likewise
    rgb: Tensor  # [H, W, 3]
    alpha: Tensor  # [H, W]
    depth: Tensor | None  # [H, W] expected depth, where it was asked for
    features: Tensor | None  # [H, W, C] blended features, where some were given
    info: dict[str, Any]  # the rasteriser's own: means2d [1, N, 2], radii [1, N, 2], width, height

    def visible(self) -> Tensor:
        """Mask [N] of the Gaussians that reach a pixel."""
        return (self.info["radii"][0] > 0).all(dim=-1)


class Step:
    """One step: the views that were drawn for it, and everything that a loss may ask about them."""

    def __init__(
        self,
        index: int,
        steps: int,
        stage: int,
        stage_step: int,
        views: Sequence[int],
        *,
        dataset: Dataset,
        config: TrainConfig,
        splat: Callable[[float | None], Gaussians],
        pose: Callable[[int], Tensor],
        background: Tensor | None,
        generator: torch.Generator,
        appearance: Appearance | None = None,
    ) -> None:
        self.index = index  # of the run, from 0
        self.steps = steps  # of the whole run
        self.stage = stage  # number of the stage, from 0
        self.stage_step = stage_step  # within the stage, from 0
        self.views = tuple(views)  # indices into the data set
        self.dataset = dataset
        self.generator = generator  # of all random choices of the method, so that a resumed run makes the same
        self.background = background  # [3] of this step; None for black
        self.level = config.coarse_level(index)
        self.renders: dict[int, Render] = {}  # of this step's views, as they were drawn
        self._config, self._splat, self._pose, self._appearance = config, splat, pose, appearance

    def camera(self, view: int) -> Cameras:
        """The camera [] of a view at this step's size, as far as it is refined; differentiable in its pose."""
        photograph = self._photograph(view)
        size = torch.tensor(photograph.width), torch.tensor(photograph.height)
        return Cameras(self._pose(view), photograph.K, *size)

    def time_s(self, view: int) -> float | None:
        """The moment of a view; None where no times are known."""
        return self.dataset.time_s(view)

    def target(self, view: int) -> tuple[Tensor, Tensor | None]:
        """The photograph [H, W, 3] over this step's background, and the mask [H, W] of the pixels that count."""
        photograph = self._photograph(view)
        background = photograph.K.new_zeros(3) if self.background is None else self.background
        return photograph.target(background), photograph.mask

    def draw(
        self,
        view: int,
        *,
        depth: bool = False,
        features: Tensor | None = None,  # [N, C] of each Gaussian
        gaussians: Gaussians | None = None,
    ) -> Render:
        """Render a view at its own time and this step's size, and remember it for `photometric` and `after_step`.

        Other Gaussians than the model's own can be given; their picture is not remembered.
        """
        photograph = self._photograph(view)
        drawn = self._splat(self.time_s(view)) if gaussians is None else gaussians
        size = photograph.width, photograph.height
        render = self._draw(drawn, self._pose(view), photograph.K, *size, depth=depth, features=features)
        if gaussians is None:
            self.renders[view] = render
        return render

    def draw_from(
        self,
        camera: Cameras,  # []
        *,
        time_s: float | None = None,
        depth: bool = False,
        features: Tensor | None = None,  # [N, C] of each Gaussian
    ) -> Render:
        """Render from any camera at any moment, e.g. between the photographs."""
        size = int(camera.width), int(camera.height)
        drawn = self._splat(time_s)
        return self._draw(drawn, camera.cam_from_world, camera.K, *size, depth=depth, features=features)

    def as_photographed(self, view: int, render: Render) -> Tensor:
        """The rendered picture [H, W, 3] in the colours of a training photograph, where these are learned."""
        if self._appearance is None:
            return render.rgb
        return self._appearance.shown(view, render.rgb, render.alpha, self.background)

    def photometric(self, views: Sequence[int] | None = None) -> Tensor:
        """Mean over the views of (1 - w) L1 + w (1 - SSIM) between picture and photograph (3DGS, equation 7).

        Those of the step when None.
        """
        losses = [self._photometric(view) for view in (self.views if views is None else views)]
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def compared(self, view: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """(picture [H, W, 3] in the photograph's colours, photograph [H, W, 3], mask [H, W] of the pixels that count).

        The mask leaves out what stands in one photograph alone, where that is asked for; None where all count.
        """
        render = self.renders.get(view) or self.draw(view)
        image, (target, mask) = self.as_photographed(view, render), self.target(view)
        if self._appearance is not None:
            image = within_range(image, target)
        if self._config.transient_masks and self.index >= self._config.transient_from * self.steps:
            lasting = lasting_pixels(image - target, self._config.transient_share, mask)
            mask = lasting if mask is None else mask & lasting
        return image, target, mask

    def _photometric(self, view: int) -> Tensor:
        image, target, mask = self.compared(view)
        if mask is not None:  # black on both sides, so that SSIM's windows see nothing of what does not count
            image, target = image * mask[..., None], target * mask[..., None]
        return l1_dssim(image, target, self._config.dssim_weight)

    def _photograph(self, view: int) -> View:
        return self.dataset.view(view, self.level)

    def _draw(
        self,
        gaussians: Gaussians,
        cam_from_world: Tensor,  # [4, 4]
        K: Tensor,  # [3, 3]
        width: int,
        height: int,
        *,
        depth: bool,
        features: Tensor | None = None,
    ) -> Render:
        opacities, scales = gaussians.opacities, gaussians.scales
        rate = self._config.gaussian_dropout * self.index / self.steps
        drawn_opacities = dropped_opacities(opacities, rate, self.generator)
        camera = (cam_from_world[None], K[None], width, height)
        mode: Any = "antialiased" if self._config.antialiased else "classic"
        colors, alphas, info = rasterization(
            gaussians.means,
            gaussians.quats,
            scales,
            drawn_opacities,
            gaussians.sh,
            *camera,
            sh_degree=gaussians.sh_degree,
            packed=False,
            backgrounds=None if self.background is None else self.background[None],
            render_mode="RGB+ED" if depth else "RGB",
            rasterize_mode=mode,
        )
        blended = None
        if features is not None:
            blended = rasterization(
                gaussians.means, gaussians.quats, scales, drawn_opacities, features, *camera,
                packed=False, rasterize_mode=mode,
            )[0][0]  # fmt: skip
        rgb, seen_depth = (colors[0, ..., :3], colors[0, ..., 3]) if depth else (colors[0], None)
        return Render(gaussians, opacities, scales, rgb, alphas[0, ..., 0], seen_depth, blended, info)
