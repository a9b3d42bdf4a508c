"""The reference implementation against known answers and against an independent renderer."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.render.reference_rasterization import (
    ALPHA_MIN,
    TRANSMITTANCE_MIN,
    project,
    rasterization,
    rasterize,
    sh_colors,
)
from fewview.scene.spherical_harmonics import sh_basis
from scipy.special import sph_harm_y
from support.numpy_splat import render_ply
from support.scenes import (
    SplatScene,
    degenerate_scenes,
    random_blobs,
    scene_of,
    single_blob,
    splat_of,
    viewing_directions,
    wide_scene,
)
from support.threads import one_torch_thread as one_torch_thread

F64 = torch.float64


def write_splat_by_hand(path: Path, scene: SplatScene) -> None:
    """The 3DGS layout, written without the package's exporter so that a fault there cannot hide one here."""
    g = splat_of(scene)
    rest = g.sh[:, 1:].permute(0, 2, 1).flatten(1)  # channel-major
    columns = {name: g.means[:, k] for k, name in enumerate("xyz")}
    columns |= {f"f_dc_{k}": g.sh[:, 0, k] for k in range(3)}
    columns |= {f"f_rest_{k}": rest[:, k] for k in range(rest.shape[1])}
    columns |= {"opacity": g.opacity_logits}
    columns |= {f"scale_{k}": g.log_scales[:, k] for k in range(3)}
    columns |= {f"rot_{k}": g.quats[:, k] for k in range(4)}
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(g)}\n"
    header += "".join(f"property float {name}\n" for name in columns) + "end_header\n"
    rows = torch.stack(list(columns.values()), dim=1).numpy().astype("<f4")
    path.write_bytes(header.encode() + rows.tobytes())


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_twin_equals_the_independent_renderer(tmp_path: Path, degree: int, antialiased: bool) -> None:
    scene = random_blobs(seed=11 + degree, count=600, sh_degree=degree)
    write_splat_by_hand(tmp_path / "splat.ply", scene)
    exported = scene_of(splat_of(scene), scene)
    # Both are float64 and start from the same float32 numbers, but the cameras must not be rounded here.
    image, alpha, _ = rasterization(
        exported.means, exported.quats, exported.scales, exported.opacities, exported.colors, scene.viewmats,
        scene.Ks, scene.width, scene.height, sh_degree=degree, backgrounds=scene.backgrounds,
        rasterize_mode="antialiased" if antialiased else "classic",
    )  # fmt: skip
    assert alpha.max() > 1 - 1e-3, "no pixel comes near its stop"
    for c in range(len(scene.viewmats)):
        rgb, opacity = render_ply(
            tmp_path / "splat.ply", scene.viewmats[c].numpy(), scene.Ks[c].numpy(), scene.width, scene.height,
            scene.backgrounds[c].numpy(), antialiased,
        )  # fmt: skip
        # Double rounding only: orders of magnitude under the 1e-5 that a differing rule would exceed.
        np.testing.assert_allclose(image[c].numpy(), rgb, atol=1e-9)
        np.testing.assert_allclose(alpha[c, ..., 0].numpy(), opacity, atol=1e-9)


def test_twin_and_the_independent_renderer_clamp_the_same_tangents(tmp_path: Path) -> None:
    scene = wide_scene()
    write_splat_by_hand(tmp_path / "splat.ply", scene)
    exported = scene_of(splat_of(scene), scene)
    image, _, _ = exported.render(
        rasterization, exported.inputs() | {"opacities": exported.opacities, "scales": exported.scales}
    )
    rgb, _ = render_ply(
        tmp_path / "splat.ply", scene.viewmats[0].numpy(), scene.Ks[0].float().double().numpy(), scene.width,
        scene.height, scene.backgrounds[0].float().double().numpy(),
    )  # fmt: skip
    np.testing.assert_allclose(image[0].numpy(), rgb, atol=1e-9)


def test_one_blob_is_the_gaussian_that_it_should_be() -> None:
    scene = single_blob(opacity=0.7, depth=5.0, scale=0.2, focal=40.0)
    _, alpha, meta = scene.render(rasterization, {k: v for k, v in scene.inputs().items()})
    variance = (40.0 * 0.2 / 5.0) ** 2 + 0.3
    x = torch.arange(scene.width, dtype=F64) - 8
    y = torch.arange(scene.height, dtype=F64) - 6
    expected = 0.7 * torch.exp(-(x**2 + y[:, None] ** 2) / (2 * variance))
    expected[expected < ALPHA_MIN] = 0
    # The scene passes through float32, where 0.7 and 0.2 are off by 3e-8.
    torch.testing.assert_close(alpha[0, ..., 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(meta["means2d"], torch.tensor([[[8.5, 6.5]]], dtype=F64))
    radius = math.ceil(math.sqrt(2 * math.log(255 * 0.7)) * math.sqrt(variance))
    assert meta["radii"].tolist() == [[[radius, radius]]]


def test_radii_hold_every_visible_pixel() -> None:
    """Nothing at or above 1/255 lies outside the box, so culling by boxes cannot change an image."""
    for antialiased in (False, True):
        scene = random_blobs(seed=3, count=200)
        i = scene.inputs()
        radii, _, _, conics, compensations = project(
            i["means"], i["quats"], i["scales"], i["opacities"], i["viewmats"], scene.Ks, scene.width, scene.height,
            antialiased=antialiased,
        )  # fmt: skip
        opacity = i["opacities"] * compensations if antialiased else i["opacities"].expand(compensations.shape)
        seen = (radii > 0).all(-1)
        assert 0 < seen.sum() < seen.numel()
        xx, xy, yy = conics[seen].unbind(-1)
        level = 2 * (255 * opacity[seen]).log()
        reach = torch.stack([(level * yy / (xx * yy - xy**2)).sqrt(), (level * xx / (xx * yy - xy**2)).sqrt()], -1)
        # 3.33 is rounded up from sqrt(2 ln 255) = 3.3290, so the box is never too small.
        assert (radii[seen] >= reach - 1e-9).all()
        assert (radii[seen] < reach + 1.01 + 0.001 * reach).all()


def test_culled_rows_are_zero_and_carry_no_gradient() -> None:
    scene = replace(random_blobs(seed=4, count=40), viewmats=torch.eye(4, dtype=F64).repeat(2, 1, 1))
    i = scene.inputs(requires_grad=True)  # at the origin: half of the blobs are behind the cameras
    outputs = project(
        i["means"], i["quats"], i["scales"], i["opacities"], i["viewmats"], scene.Ks, scene.width, scene.height
    )
    culled = (outputs[0] == 0).any(-1)
    assert culled.any()
    assert not culled.all()
    assert all((o[culled] == 0).all() for o in outputs)
    sum(o.sum() for o in outputs[1:]).backward()
    unseen = culled.all(0)
    assert all((i[name].grad[unseen] == 0).all() for name in ("means", "quats", "scales"))
    assert all(torch.isfinite(i[name].grad).all() for name in ("means", "quats", "scales", "viewmats"))


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({}, True),
        ({"near_plane": 5.1}, False),
        ({"far_plane": 4.9}, False),
        ({"near_plane": 5.0, "far_plane": 5.0}, True),
        ({"radius_clip": 8.0}, False),  # the radius is 6 px
        ({"radius_clip": 6.0}, False),
        ({"radius_clip": 5.9}, True),
        ({"eps2d": 0.0}, True),
    ],
)
def test_planes_and_radius_clip_cull(change: dict, seen: bool) -> None:
    scene = single_blob()
    _, alpha, meta = scene.render(rasterization, scene.inputs(), **change)
    assert bool((meta["radii"] > 0).all()) is seen
    assert bool(alpha.max() > 0) is seen


def test_opacity_below_the_cut_is_culled() -> None:
    for factor, seen in ((0.99, False), (1.01, True)):
        _, _, meta = (s := single_blob(opacity=factor / 255)).render(rasterization, s.inputs())
        assert bool((meta["radii"] > 0).all()) is seen


def stack_of(alphas: list[float], colors: list[float], background: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """One pixel behind which flat splats lie at depths 1, 2, ..."""
    n = len(alphas)
    means2d = torch.full((1, n, 2), 0.5, dtype=F64)
    conics = torch.tensor([1.0, 0.0, 1.0], dtype=F64).expand(1, n, 3)
    depths = torch.arange(1, n + 1, dtype=F64)[None]
    radii = torch.ones(1, n, 2, dtype=torch.int32)
    color = torch.tensor(colors, dtype=F64)[None, :, None]
    back = torch.full((1, 1), background, dtype=F64)
    image, alpha = rasterize(means2d, conics, color, torch.tensor([alphas], dtype=F64), depths, radii, 1, 1, back)
    return image.flatten(), alpha.flatten()


def test_a_pixel_stops_before_its_transmittance_reaches_the_limit() -> None:
    # 0.02^2 = 4e-4 is above the limit; the third would leave 8e-6, so neither it nor the faint fourth is added.
    image, alpha = stack_of([0.98, 0.98, 0.98, 0.1], [1, 2, 100, 100], background=5)
    torch.testing.assert_close(image, torch.tensor([0.98 + 0.02 * 0.98 * 2 + 4e-4 * 5], dtype=F64))
    torch.testing.assert_close(alpha, torch.tensor([1 - 4e-4], dtype=F64))
    assert 1 - alpha > TRANSMITTANCE_MIN


def test_a_faint_splat_is_skipped_and_those_behind_are_not() -> None:
    image, _ = stack_of([0.0039, 0.5], [100, 1])
    torch.testing.assert_close(image, torch.tensor([0.5], dtype=F64))


def test_alpha_is_clamped_and_the_clamp_has_no_gradient() -> None:
    scene = single_blob(opacity=1.0, focal=400.0)
    i = scene.inputs(requires_grad=True)
    _, alpha, _ = scene.render(rasterization, i)
    torch.testing.assert_close(alpha[0, 6, 8, 0], torch.tensor(0.999, dtype=F64))
    (gradient,) = torch.autograd.grad(alpha[0, 6, 8, 0], i["opacities"])
    assert gradient.item() == 0


def test_equal_depths_keep_their_order() -> None:
    scene = degenerate_scenes()["equal depths"]
    flat = replace(scene, viewmats=scene.viewmats[:1] * 0 + torch.eye(4, dtype=F64), backgrounds=None, Ks=scene.Ks[:1])
    flat = replace(flat, means=flat.means + torch.tensor([0, 0, 5.0], dtype=F64))
    one = flat.render(rasterization, flat.inputs())[0]
    i = {k: v.flip(0) if v.shape[0] == len(flat.means) else v for k, v in flat.inputs().items()}
    assert not torch.allclose(one, flat.render(rasterization, i)[0])


@pytest.mark.parametrize("mode", ["D", "ED", "RGB+D", "RGB+ED"])
def test_depth_modes(mode: str) -> None:
    scene = random_blobs(seed=8)
    i = scene.inputs()
    rgb, alpha, meta = scene.render(rasterization, i)
    image, alpha_too, _ = scene.render(rasterization, i, render_mode=mode)
    assert torch.equal(alpha, alpha_too)
    if mode.startswith("RGB"):
        torch.testing.assert_close(image[..., :3], rgb)
    depth, _ = rasterize(
        meta["means2d"], meta["conics"], meta["depths"][..., None], meta["opacities"], meta["depths"], meta["radii"],
        scene.width, scene.height,
    )  # fmt: skip
    torch.testing.assert_close(image[..., -1:], depth / alpha.clamp_min(1e-10) if "ED" in mode else depth)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = random_blobs(seed=9)
    results = []
    for elements in (1 << 22, 3000):
        monkeypatch.setattr("fewview.render.reference_rasterization._CHUNK_ELEMENTS", elements)
        i = scene.inputs(requires_grad=True)
        image, _, _ = scene.render(rasterization, i)
        image.square().sum().backward()
        results.append([image.detach(), *(leaf.grad for leaf in i.values())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", list(degenerate_scenes()))
@pytest.mark.parametrize("mode", ["classic", "antialiased"])
def test_degenerate_scenes_render_finite_with_finite_gradients(name: str, mode: str) -> None:
    scene = degenerate_scenes()[name]
    for dtype in (torch.float32, torch.float64):
        i = scene.inputs(dtype, requires_grad=True)
        image, alpha, _ = scene.render(rasterization, i, rasterize_mode=mode)
        assert image.shape == (2, scene.height, scene.width, 3)
        assert torch.isfinite(image).all()
        assert ((alpha >= 0) & (alpha <= 1)).all()
        (image.sum() + alpha.sum()).backward()
        assert all(leaf.grad is None or torch.isfinite(leaf.grad).all() for leaf in i.values())


def test_harmonics_are_orthonormal() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(8)  # exact to degree 15; products reach degree 8
    turn = np.arange(16) * 2 * np.pi / 16
    z, phi = (torch.from_numpy(a) for a in np.meshgrid(nodes, turn, indexing="ij"))
    ring = (1 - z * z).sqrt()
    basis = sh_basis(4, torch.stack([ring * phi.cos(), ring * phi.sin(), z], dim=-1))
    weight = torch.from_numpy(weights)[:, None].expand_as(z) * 2 * math.pi / 16
    gram = torch.einsum("ijk,ijl,ij->kl", basis, basis, weight)
    # The constants have sixteen digits.
    torch.testing.assert_close(gram, torch.eye(25, dtype=F64), atol=1e-12, rtol=0)


def test_harmonics_have_the_signs_of_the_condon_shortley_phase() -> None:
    directions = viewing_directions(100)
    theta, phi = torch.arccos(directions[:, 2]).numpy(), torch.atan2(directions[:, 1], directions[:, 0]).numpy()
    basis = sh_basis(4, 3.0 * directions)  # any length will do
    for degree in range(5):
        for m in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(m), theta, phi)
            real = value.real if m == 0 else math.sqrt(2) * (value.imag if m < 0 else value.real)
            np.testing.assert_allclose(basis[:, degree * (degree + 1) + m].numpy(), real, atol=1e-12)


def test_colours_are_not_negative() -> None:
    colors = sh_colors(0, torch.ones(2, 3, dtype=F64), torch.tensor([[[-9.0] * 3], [[9.0] * 3]], dtype=F64))
    assert (colors[0] == 0).all()
    torch.testing.assert_close(colors[1], torch.full((3,), 0.5 + 9 * 0.28209479177387814, dtype=F64))


def test_unknown_modes_and_degrees_are_refused() -> None:
    scene = single_blob()
    with pytest.raises(ValueError, match="render_mode 'normals'"):
        scene.render(rasterization, scene.inputs(), render_mode="normals")
    with pytest.raises(ValueError, match="degree: expected 0 to 4, found 5"):
        sh_basis(5, torch.ones(1, 3))
