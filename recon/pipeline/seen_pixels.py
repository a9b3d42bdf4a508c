"""Pixels of a new view that show something which at least one training photograph shows, too.

What none shows is empty, or a guess, and no method can be right about it but by chance. So figures are taken on whole
pictures and on what was seen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...render import render
from ...scene.cameras import Cameras
from ...scene.gaussians import Gaussians
from ...scene.geometry import transform_points
from ..evidence.depth_maps import unproject
from ..evidence.stereo.source_views import project

OPAQUE = 0.5  # alpha from which a pixel shows something
STRIPE_PX, STRIPE_COLOR = 6, (0.75, 0.25, 0.75)  # of what was not seen
NOT_BEHIND = 1.05  # so many times farther than what a training view shows a point is hidden from it


def marked_unseen(
    image: Tensor,  # [H, W, 3] in [0, 1]
    seen: Tensor,  # [H, W] bool
) -> Tensor:
    """The picture [H, W, 3] with slanted stripes over what was not seen, and half of its own colour between them."""
    height, width = seen.shape
    row, column = torch.meshgrid(*(torch.arange(n, device=image.device) for n in (height, width)), indexing="ij")
    striped = ((row + column) // STRIPE_PX) % 2 == 0
    stripe = image.new_tensor(STRIPE_COLOR)
    plain = torch.where(striped[..., None], 0.25 * image + 0.75 * stripe, 0.5 * image)
    return torch.where(seen[..., None], image, plain)


class SeenPixels:
    """The training views' depth, by a splat, and what of another view they have seen."""

    @torch.no_grad()
    def __init__(self, gaussians: Gaussians, training: Cameras) -> None:
        """Draw the splat in the training cameras [V]."""
        self.gaussians, self.training = gaussians, training
        self.depths = [self.depth_in(training[v])[0] for v in range(len(training))]

    @torch.no_grad()
    def of(self, camera: Cameras) -> Tensor:
        """bool [H, W] of a camera []: opaque, inside a training picture, and not behind what that shows."""
        return self.by_photograph(camera).any(0)

    @torch.no_grad()
    def by_photograph(self, camera: Cameras) -> Tensor:
        """bool [V, H, W] of a camera []: what each training photograph has seen of its picture."""
        depth, opaque = self.depth_in(camera)
        points = unproject(depth, camera.K).reshape(-1, 3)
        points = transform_points(camera.world_from_cam, points)
        seen = torch.zeros(len(self.depths), len(points), dtype=torch.bool, device=points.device)
        for number, shown in enumerate(self.depths):
            pixel, z = project(self.training[number], points)
            size = pixel.new_tensor([shown.shape[1], shown.shape[0]])
            inside = (z > 1e-6) & ((pixel >= 0) & (pixel < size)).all(-1)
            column, row = pixel[inside].long().unbind(-1)
            seen[number, inside] = z[inside] < NOT_BEHIND * shown[row, column]
        return seen.reshape(-1, *opaque.shape) & opaque

    @torch.no_grad()
    def depth_in(self, camera: Cameras) -> tuple[Tensor, Tensor]:
        """Depth [H, W] of a camera [], infinite where nothing is, and the mask of where something is."""
        drawn = render(self.gaussians, camera)
        opaque = drawn.alpha >= OPAQUE
        return torch.where(opaque, drawn.expected_depth, torch.inf), opaque
