"""The loss on optical flow: what is carried goes where the film's flow says that it goes (SC-GS, as released)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....render import rasterization
from ....scene.cameras import Cameras
from ....scene.gaussians import Gaussians
from ....scene.geometry import transform_points
from ...evidence.dense_flow import FlowField
from ...evidence.film_flow import FilmFlow
from ...optimise.dataset import Dataset

OPAQUE = 0.9  # rendered opacity above which a pixel's flow is that of the Gaussians
NEAR = 0.01  # depth under which a projection says nothing, scene scales
LEAST_TIME_WEIGHT = 0.2  # of frames far apart in time


def flow_by_view(flow: FilmFlow, dataset: Dataset) -> dict[int, list[tuple[int, FlowField]]]:
    """(neighbour, field) of each view that has some, all numbered as the data set's views are."""
    found: dict[int, list[tuple[int, FlowField]]] = {}
    for (i, j), field in flow.fields.items():
        found.setdefault(dataset.train[i], []).append((dataset.train[j], field))
    return found


def rendered_flow(
    now: Gaussians,
    means_then: Tensor,  # [N, 3]
    camera_now: Cameras,  # []
    camera_then: Cameras,  # []
) -> tuple[Tensor, Tensor]:
    """(flow [H, W, 2], opacity [H, W]) of the picture now, in the units in which each side of a picture is 2 long.

    Each Gaussian has the way of its own middle over the screen; what covers what is detached, so that a picture is not
    changed to have another flow.
    """
    before, depth_before = _on_screen(now.means, camera_now)
    after, depth_after = _on_screen(means_then, camera_then)
    seen = (depth_before > NEAR) & (depth_after > NEAR)
    way = torch.where(seen[:, None], after - before, 0.0)
    still = now.detach()
    mode: Any = "RGB"
    blended, alpha, _ = rasterization(
        still.means, still.quats, still.scales, still.opacities, way, camera_now.cam_from_world[None],
        camera_now.K[None], int(camera_now.width), int(camera_now.height), packed=False, render_mode=mode,
    )  # fmt: skip
    opacity = alpha[0, ..., 0].detach()
    return blended[0] / opacity.clamp_min(1e-3)[..., None], opacity


def flow_loss(
    flow: Tensor,  # [H, W, 2] rendered, sides of 2
    opacity: Tensor,  # [H, W]
    field: FlowField,
    photometric: Tensor,  # [H, W] error of the picture now, in [0, 1]
    apart: float,  # the time between the two, of the whole film's
) -> Tensor:
    """Mean weighted L1 distance between the rendered flow and the film's.

    It counts where the Gaussians are opaque and the way there and back agrees, more where the picture is right already
    and for frames that are near in time.
    """
    wanted, weight = _resized(field, flow.shape[0], flow.shape[1])
    weight = weight * (opacity > OPAQUE) * torch.cos(math.pi / 2 * photometric.detach().clamp(0, 1))
    near = min(1.0, max(LEAST_TIME_WEIGHT, math.cos(math.pi / 2 * min(1.0, apart))))
    return near * (weight[..., None] * (flow - wanted.to(flow)).abs()).mean()


def _on_screen(means: Tensor, camera: Cameras) -> tuple[Tensor, Tensor]:
    """(places [N, 2] in sides of 2, depth [N])."""
    x, y, z = transform_points(camera.cam_from_world, means).unbind(-1)
    K, depth = camera.K, z.clamp_min(NEAR)
    column, row = K[0, 0] * x / depth + K[0, 2], K[1, 1] * y / depth + K[1, 2]
    return torch.stack([2 * column / camera.width, 2 * row / camera.height], dim=-1), z


def _resized(field: FlowField, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(flow [height, width, 2] in sides of 2, weight [height, width]) of a field at the size of a halved picture."""
    rows, columns = field.weight.shape  # of both pictures: frames of one film are of one size
    flow = 2 * field.flow / field.flow.new_tensor([columns, rows])
    if flow.shape[:2] == (height, width):
        return flow, field.weight
    both = torch.cat([flow * field.weight[..., None], field.weight[..., None]], dim=-1).permute(2, 0, 1)[None]
    small = F.interpolate(both, (height, width), mode="area")[0].permute(1, 2, 0)
    return small[..., :2] / small[..., 2:].clamp_min(1e-6), small[..., 2]
