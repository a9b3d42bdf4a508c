"""Splats as viser draws them: one colour and one covariance for each Gaussian."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import viser
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.gaussians import Gaussians
from ...scene.geometry import rotation_from_quat
from ...scene.spherical_harmonics import sh_basis
from ..stage import Stage

MAX_SIGMA = 200.0  # page units; viser keeps covariances as float16, whose largest value is 65504
MIN_SIGMA = 0.0016  # its square is about 40 steps of float16 near zero; a pixel of the page is larger
VIEWS_FOR_COLOR = 12  # more add nothing to a mean


@dataclass(frozen=True)
class SplatArrays:
    """Arrays that viser draws a splat from, on the page: N Gaussians with the view-independent colour."""

    centers: np.ndarray  # [N, 3] float32
    covariances: np.ndarray  # [N, 3, 3] float32
    rgbs: np.ndarray  # [N, 3] float32 in [0, 1]
    opacities: np.ndarray  # [N, 1] float32

    def rows(self, rows: np.ndarray) -> SplatArrays:
        """Some of the Gaussians, by their indices [M]."""
        return SplatArrays(self.centers[rows], self.covariances[rows], self.rgbs[rows], self.opacities[rows])

    def colored(self, colors: Tensor) -> SplatArrays:
        """The same in other colours [N, 3]."""
        return replace(self, rgbs=colors.nan_to_num(0.5).clamp(0, 1).float().numpy())

    def packed(self) -> np.ndarray:
        """uint32 [N, 8], as viser's `GaussianSplatHandle.buffer` describes it: its whole state of a splat."""
        buffer = np.zeros((len(self.centers), 8), np.uint32)
        buffer[:, :3] = np.ascontiguousarray(self.centers, np.float32).view(np.uint32)
        upper = self.covariances.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]]
        buffer[:, 4:7] = np.ascontiguousarray(upper, np.float16).view(np.uint32)
        rgba = np.rint(255 * np.hstack([self.rgbs, self.opacities])).astype(np.uint8)
        buffer[:, 7:] = rgba.view(np.uint32)
        return buffer


UNSEEN = SplatArrays(*(np.zeros((1, *shape), np.float32) for shape in ((3,), (3, 3), (3,), (1,))))


def drawable(gaussians: Gaussians) -> Tensor:
    """bool [N]: what can be drawn at all: finite, and adding at least 1/255 somewhere."""
    g = gaussians
    finite = torch.isfinite(g.means).all(-1) & torch.isfinite(g.quats).all(-1) & torch.isfinite(g.sh[:, 0]).all(-1)
    return finite & ~g.log_scales.isnan().any(-1) & (g.opacities >= 1 / 255)


def most_visible(gaussians: Gaussians, count: int) -> Tensor:
    """Indices [count] of those that cover most: by the area of their two longer axes times opacity."""
    g = gaussians
    longest = g.log_scales.sort(dim=-1).values[:, 1:].sum(-1)
    weight = torch.where(drawable(g), longest.exp() * g.opacities, 0.0)
    return weight.topk(min(count, len(g))).indices.sort().values


def splat_arrays(gaussians: Gaussians, stage: Stage, colors: Tensor | None = None) -> SplatArrays:
    """Arrays on the page of all that is `drawable`; `colors` [N, 3] instead of the constant term's."""
    g = gaussians.detach().to("cpu")
    rgb = g.base_colors if colors is None else colors
    kept = drawable(g)
    if not bool(kept.all()):
        g, rgb = g[kept], rgb[kept]
    sigma = (g.scales * stage.scale).clamp(MIN_SIGMA, MAX_SIGMA)
    half = rotation_from_quat(g.quats.float()) * sigma[:, None, :]
    return SplatArrays(
        stage.place(g.means),
        (half @ half.transpose(-1, -2)).numpy(),
        rgb.clamp(0, 1).float().numpy(),
        g.opacities[:, None].float().numpy(),
    )


def view_colors(gaussians: Gaussians, cameras: Cameras | None) -> Tensor:
    """Colours [N, 3] that the splat has on average for the cameras that it was made from.

    The page's renderer knows one colour for all directions, and until a camera rests (`colors_from`) it is this one.
    From where the photographs were taken it is nearer to the truth than the constant term, which is the mean over all
    directions, most of which nobody has seen.
    """
    if cameras is None or len(cameras) == 0 or gaussians.sh_degree == 0:
        return gaussians.base_colors
    chosen = torch.linspace(0, len(cameras) - 1, min(VIEWS_FOR_COLOR, len(cameras))).round().long()
    basis = torch.zeros(len(gaussians), gaussians.sh.shape[1])
    for center in cameras.centers[chosen].float():
        basis += sh_basis(gaussians.sh_degree, gaussians.means - center)
    return 0.5 + torch.einsum("nk,nkc->nc", basis / len(chosen), gaussians.sh)


def is_view_dependent(gaussians: Gaussians) -> bool:
    """True when some colour depends on the direction that it is seen from."""
    return gaussians.sh_degree > 0 and bool(gaussians.sh[:, 1:].any())


def colors_from(gaussians: Gaussians, center: Tensor) -> Tensor:
    """Colours [N, 3] that a camera at `center` [3] in the world sees, all spherical harmonics counted."""
    basis = sh_basis(gaussians.sh_degree, gaussians.means - center)
    return 0.5 + torch.einsum("nk,nkc->nc", basis, gaussians.sh)


def draw_splat(
    server: viser.ViserServer, path: str, arrays: SplatArrays, visible: bool = True
) -> viser.GaussianSplatHandle:
    return server.scene.add_gaussian_splats(
        path, arrays.centers, arrays.covariances, arrays.rgbs, arrays.opacities, visible=visible
    )
