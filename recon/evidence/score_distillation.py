"""`ScoreDistillation`: a view prior from a denoiser that knows one photograph and where it is asked to look from.

The networks are the caller's: an encoder of pictures, what the denoiser takes of a photograph, and the denoiser, as
those of Zero-1-to-3 and Stable Zero123 (Liu et al. 2023). DreamMesh4D takes the photograph of the moment that it draws,
so that the prior moves with the object.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...scene.cameras import Cameras
from .view_prior import Denoiser, distillation_loss, multi_view_sds


@dataclass(frozen=True)
class ScoreDistillation:
    """Gradients of score distillation (Poole et al. 2023), the same for the same picture and share of the run."""

    encode: Callable[[Tensor], Tensor]  # differentiable, from a picture [1, 3, S, S] in [-1, 1] to a latent
    condition: Callable[[Tensor, Tensor], object]  # from a photograph [H, W, 3] over white and a `view_condition`
    denoiser: Denoiser
    alphas_cumprod: Tensor  # [T] share of the signal that is left at each diffusion step
    center: Tensor  # [3] of the object, in the world of the cameras
    up: Tensor  # [3] unit
    side: int = 256  # pixels of the encoder's pictures
    guidance: float = 3.0  # DreamMesh4D, as released
    steps: tuple[float, float] = (0.02, 0.5)  # share of the diffusion steps that one is drawn from
    seed: int = 0

    def gradient(
        self,
        image: Tensor,
        camera: Cameras,
        photographs: Tensor,
        cameras: Cameras,
        progress: float,
        *,
        time_s: float | None = None,
    ) -> Tensor:
        """Gradient [H, W, 3] by the picture's colours, as `ViewPrior` has it; what is no number counts as 0."""
        # Drawn anew for every share of the run, so that a run that is continued draws the same.
        draw = torch.Generator().manual_seed(hash((self.seed, progress)) % 2**63)
        low, high = (share * len(self.alphas_cumprod) for share in self.steps)
        step = int(low + (high - low) * float(torch.rand((), generator=draw)))
        with torch.enable_grad():
            leaf = image.detach().requires_grad_()
            picture = torch.nn.functional.interpolate(
                2 * leaf.permute(2, 0, 1)[None] - 1, (self.side, self.side), mode="bilinear", antialias=True
            )
            latent = self.encode(picture)
            noise = torch.randn(latent.shape, generator=draw).to(latent)
            conditions = [
                self.condition(photograph, view_condition(camera, cameras[i], self.center, self.up))
                for i, photograph in enumerate(photographs)
            ]
            by_latent = multi_view_sds(
                latent.detach(), conditions, self.denoiser, step, noise, self.alphas_cumprod.to(latent), self.guidance
            )
            (found,) = torch.autograd.grad(distillation_loss(latent, torch.nan_to_num(by_latent, 0, 0, 0)), leaf)
        return found


def view_condition(camera: Cameras, reference: Cameras, center: Tensor, up: Tensor) -> Tensor:
    """[4]: by how much a camera [] is lower than another, sine and cosine of the azimuth between them, and the other's
    angle from the zenith; radians (Zero-1-to-3, as Stable Zero123 has it)."""
    (high, azimuth), (high_there, azimuth_there) = (_direction(c, center, up) for c in (camera, reference))
    turned = azimuth - azimuth_there
    return torch.tensor([high_there - high, math.sin(turned), math.cos(turned), math.pi / 2 - high_there])


def _direction(camera: Cameras, center: Tensor, up: Tensor) -> tuple[float, float]:
    """(elevation, azimuth counted from some axis at right angles to `up`) of a camera, radians."""
    offset = (camera.centers - center).double()
    axis = up.double()
    first = torch.linalg.cross(axis, torch.eye(3, dtype=torch.float64)[int(axis.abs().argmin())])
    first = first / first.norm()
    second = torch.linalg.cross(axis, first)
    level = math.hypot(float(offset @ first), float(offset @ second))
    return math.atan2(float(offset @ axis), level), math.atan2(float(offset @ second), float(offset @ first))
