"""Small synthetic splat scenes whose answers are known or whose renders are smooth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from fewview.scene.gaussians import Gaussians
from fewview.scene.geometry import se3_from, so3_exp
from torch import Tensor


@dataclass(frozen=True)
class SplatScene:
    """Activated Gaussians, cameras and image size, in the order of `rasterization`; float64."""

    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4] wxyz
    scales: Tensor  # [N, 3]
    opacities: Tensor  # [N]
    colors: Tensor  # [N, D], or [N, K, 3] with sh_degree
    viewmats: Tensor  # [C, 4, 4]
    Ks: Tensor  # [C, 3, 3]
    width: int
    height: int
    sh_degree: int | None = None
    backgrounds: Tensor | None = None  # [C, D]

    def inputs(self, dtype: torch.dtype = torch.float64, requires_grad: bool = False) -> dict[str, Tensor]:
        """The tensors that a render depends on, by their names in `rasterization`, as fresh leaves.

        They pass through float32, so that both precisions start from the same numbers.
        """
        names = ["means", "quats", "scales", "opacities", "colors", "viewmats"]
        if self.backgrounds is not None:
            names.append("backgrounds")
        leaves = {name: getattr(self, name).float().to(dtype, copy=True) for name in names}
        return {name: leaf.requires_grad_(requires_grad) for name, leaf in leaves.items()}

    def render(
        self, rasterization: Callable[..., Any], inputs: dict[str, Tensor], **options: Any
    ) -> tuple[Tensor, Tensor, dict]:
        """(colors [C, H, W, X], alphas [C, H, W, 1], meta) by a function with gsplat's signature."""
        Ks = self.Ks.float().to(inputs["means"].dtype)
        return rasterization(**inputs, Ks=Ks, width=self.width, height=self.height, sh_degree=self.sh_degree, **options)


def cameras_around(count: int, width: int, height: int, distance: float = 4.0) -> tuple[Tensor, Tensor]:
    """viewmats [C, 4, 4] that look at the origin from slightly different sides, Ks [C, 3, 3] off centre."""
    turn = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    rotation = so3_exp(torch.stack([0.1 * turn + 0.05, 0.35 * turn - 0.1, 0.2 * turn], dim=-1))
    translation = torch.stack([0.1 * turn, -0.05 * turn, distance + 0.3 * turn], dim=-1)
    focal = 0.9 * max(width, height)
    K = torch.tensor([[focal, 0, 0.42 * width], [0, 1.07 * focal, 0.55 * height], [0, 0, 1]], dtype=torch.float64)
    return se3_from(rotation, translation), K.expand(count, 3, 3).clone()


def random_blobs(
    seed: int,
    count: int = 60,
    cameras: int = 2,
    width: int = 45,
    height: int = 37,
    sh_degree: int | None = 3,
    channels: int = 3,
    backgrounds: bool = True,
) -> SplatScene:
    """Blobs of many shapes and opacities around the origin; some reach out of the image.

    No opacity exceeds 0.97, so a pixel that stops one blob early or late differs by less than 1/255: the last blob
    then weighs at most 0.97 * 1e-4 / 0.03.
    """
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    viewmats, Ks = cameras_around(cameras, width, height)
    if sh_degree is None:
        colors = uniform(count, channels)
    else:
        channels = 3
        colors = 0.3 * normal(count, (sh_degree + 1) ** 2, 3)
    return SplatScene(
        means=1.1 * normal(count, 3),
        quats=normal(count, 4),
        scales=0.03 + 0.4 * uniform(count, 3) ** 2,
        opacities=0.02 + 0.95 * uniform(count),
        colors=colors,
        viewmats=viewmats,
        Ks=Ks,
        width=width,
        height=height,
        sh_degree=sh_degree,
        backgrounds=uniform(cameras, channels) if backgrounds else None,
    )


def smooth_scene(sh_degree: int | None = 2, cameras: int = 2) -> SplatScene:
    """Five blobs wider than the image: nothing is cut off, clamped, culled or tied in depth.

    Every alpha stays above 1/255 at every pixel, every transmittance above 1e-4 and every colour above 0, so the
    render is a smooth function of its inputs and finite differences are valid for any implementation.
    """
    viewmats, Ks = cameras_around(cameras, 14, 11)
    t = torch.arange(5, dtype=torch.float64)
    coefficients = 1 if sh_degree is None else (sh_degree + 1) ** 2
    wave = torch.sin(torch.arange(5 * coefficients * 3, dtype=torch.float64) * 1.7).reshape(5, coefficients, 3)
    colors = 0.1 * wave
    colors[:, 0] = 0.6 + 0.25 * wave[:, 0]
    return SplatScene(
        means=torch.stack([0.5 * torch.sin(2.1 * t), 0.4 * torch.cos(1.3 * t), 0.37 * t - 0.7], dim=-1),
        quats=torch.stack([1 + 0 * t, 0.5 * torch.sin(t), 0.3 * torch.cos(2 * t), -0.4 * torch.sin(3 * t)], dim=-1),
        scales=torch.stack([1.4 + 0.1 * t, 2.0 - 0.15 * t, 1.7 + 0.05 * t], dim=-1),
        opacities=0.35 + 0.08 * t,
        colors=colors[:, 0] if sh_degree is None else colors,
        viewmats=viewmats,
        Ks=Ks,
        width=14,
        height=11,
        sh_degree=sh_degree,
        backgrounds=torch.tensor([[0.3, 0.6, 0.2]], dtype=torch.float64).repeat(cameras, 1),
    )


def wide_scene() -> SplatScene:
    """`smooth_scene` with big blobs whose centres lie beyond each of the four limits of the tangent clamp."""
    scene = smooth_scene(cameras=1)
    viewmats = torch.eye(4, dtype=torch.float64)[None]
    far_out = torch.tensor(
        [[4.8, 0.3, 4.0], [-4.4, 0.1, 4.2], [0.2, 4.1, 4.5], [0.1, -4.9, 4.7], [0.0, 0.0, 5.0]], dtype=torch.float64
    )
    sizes = torch.tensor([3.5, 3.6, 3.7, 3.8, 1.5], dtype=torch.float64)[:, None]
    spread = torch.tensor([1.0, 1.1, 0.9], dtype=torch.float64)
    return replace(scene, means=far_out, scales=sizes * spread, opacities=0.9 - 0.05 * sizes[:, 0], viewmats=viewmats)


def single_blob(opacity: float = 0.7, depth: float = 5.0, scale: float = 0.2, focal: float = 40.0) -> SplatScene:
    """One round white blob whose centre falls on the centre of pixel (8, 6) of a 17 x 13 image."""
    as_tensor = lambda *values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    return SplatScene(
        means=as_tensor(0, 0, depth)[None],
        quats=as_tensor(2, 0, 0, 0)[None],
        scales=as_tensor(scale, scale, scale)[None],
        opacities=as_tensor(opacity),
        colors=as_tensor(1, 1, 1)[None],
        viewmats=torch.eye(4, dtype=torch.float64)[None],
        Ks=as_tensor(focal, 0, 8.5, 0, focal, 6.5, 0, 0, 1).reshape(1, 3, 3),
        width=17,
        height=13,
    )


def take(scene: SplatScene, index: Any) -> SplatScene:
    """The scene with only the Gaussians of `index`."""
    names = ("means", "quats", "scales", "opacities", "colors")
    return replace(scene, **{name: getattr(scene, name)[index] for name in names})


def degenerate_scenes() -> dict[str, SplatScene]:
    """Scenes at the edges of what is sensible, by name; every number in them is finite."""
    base = random_blobs(5, count=12, width=33, height=18)
    column = torch.ones(12, 1, dtype=torch.float64)
    needle = torch.tensor([1e-7, 1e-7, 30.0], dtype=torch.float64)
    planes = base.means.clone()
    planes[:, 2] = torch.linspace(-4.5, -3.5, 12, dtype=torch.float64)  # the cameras stand near z = -4
    at_camera = torch.linalg.inv(base.viewmats[0])[:3, 3] + 1e-3 * base.means
    wide = replace(base, Ks=base.Ks.clone(), width=1, height=1)
    wide.Ks[:, :2, 2] = 0.5
    return {
        "no Gaussians": take(base, slice(0, 0)),
        "one Gaussian": take(base, slice(0, 1)),
        "all behind": replace(base, means=base.means - torch.tensor([0, 0, 50.0], dtype=torch.float64)),
        "straddling the near plane": replace(base, means=planes),
        "around the camera centre": replace(base, means=at_camera),
        "huge": replace(base, scales=1e6 * column.expand(12, 3)),
        "astronomical": replace(base, scales=1e18 * column.expand(12, 3)),
        "needles": replace(base, scales=needle.expand(12, 3).clone()),
        "points": replace(base, scales=torch.zeros_like(base.scales)),
        "zero quaternions": replace(base, quats=torch.zeros_like(base.quats)),
        "transparent": replace(base, opacities=torch.zeros_like(base.opacities)),
        "opaque": replace(base, opacities=torch.ones_like(base.opacities)),
        "equal depths": replace(base, means=base.means * torch.tensor([1, 1, 0.0], dtype=torch.float64)),
        "one pixel": wide,
        "one row": replace(base, height=1),
        "not a multiple of the tile": replace(base, width=49, height=31),
    }


def splat_of(scene: SplatScene) -> Gaussians:
    """The raw float32 Gaussians of a scene with spherical harmonics; opacities must lie inside (0, 1)."""
    if scene.sh_degree is None:
        raise ValueError("the scene has no spherical harmonics")
    raw = (scene.means, scene.quats, scene.scales.log(), scene.opacities.logit(), scene.colors)
    return Gaussians(*(tensor.float() for tensor in raw))


def scene_of(gaussians: Gaussians, like: SplatScene) -> SplatScene:
    """Raw Gaussians activated in float64, seen by the cameras of `like`."""
    g = Gaussians(*(getattr(gaussians, name).double() for name in gaussians.__dataclass_fields__))
    return replace(
        like, means=g.means, quats=g.quats, scales=g.scales, opacities=g.opacities, colors=g.sh, sh_degree=g.sh_degree
    )


def viewing_directions(count: int) -> Tensor:
    """Unit vectors [count, 3] float64 spread evenly over the sphere (a Fibonacci spiral)."""
    i = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * i / count
    turn = math.pi * (1 + 5**0.5) * i
    ring = (1 - z * z).sqrt()
    return torch.stack([ring * turn.cos(), ring * turn.sin(), z], dim=-1)
