"""The native kernels against the reference implementation: the pictures they draw."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from fewview import _native
from fewview.render import rasterization
from fewview.render import reference_rasterization as reference
from support.native import isa as isa
from support.native import keep_threads as keep_threads
from support.pictures import assert_same_picture
from support.scenes import SplatScene, degenerate_scenes, random_blobs, single_blob, smooth_scene, wide_scene
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

# Wide enough for many tiles, and no multiple of their size.
BLOBS = {"count": 300, "width": 150, "height": 117}
DEGENERATE = degenerate_scenes()
blobs = functools.cache(random_blobs)


@functools.cache
def by_reference(scene: SplatScene, **options: object) -> tuple[Tensor, Tensor, dict]:
    """The reference implementation is slow and knows no instruction sets: once for each scene object is enough."""
    return scene.render(reference.rasterization, scene.inputs(torch.float64), **options)


def both(scene: SplatScene, **options: object) -> tuple[tuple, tuple]:
    """(native float32, reference float64), each as (colors, alphas, meta), from the same float32 numbers."""
    native = scene.render(rasterization, scene.inputs(torch.float32), packed=False, **options)
    return native, by_reference(scene, **options)


def assert_same_render(scene: SplatScene, **options: object) -> None:
    (image, alpha, _), (expected_image, expected_alpha, _) = both(scene, **options)
    assert image.dtype == alpha.dtype == torch.float32
    assert_same_picture(alpha, expected_alpha)
    assert_same_picture(image, expected_image)


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_harmonics(degree: int, isa: str) -> None:
    assert_same_render(blobs(seed=30 + degree, sh_degree=degree, **BLOBS))


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("backgrounds", [False, True])
def test_channels(channels: int, backgrounds: bool, isa: str) -> None:
    assert_same_render(blobs(seed=40, sh_degree=None, channels=channels, backgrounds=backgrounds, **BLOBS))


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("render_mode", reference.RENDER_MODES)
def test_modes(render_mode: str, rasterize_mode: str) -> None:
    scene = blobs(seed=50, cameras=3, **BLOBS)
    if render_mode == "ED":
        # Where alpha is nearly 0 the quotient of two small sums is not determined; a background of blobs helps.
        scene = replace(scene, opacities=scene.opacities.clamp_min(0.3))
    native, expected = both(scene, render_mode=render_mode, rasterize_mode=rasterize_mode)
    solid = expected[1] > 0.05
    assert_same_picture(native[1], expected[1])
    assert_same_picture(native[0] * solid, expected[0] * solid)


def test_colours_of_their_own_for_each_camera() -> None:
    scene = blobs(seed=51, sh_degree=None, **BLOBS)
    colors = torch.stack([scene.colors, 1 - scene.colors])
    assert_same_render(replace(scene, colors=colors))


def test_fewer_degrees_than_stored() -> None:
    assert_same_render(replace(blobs(seed=52, sh_degree=3, **BLOBS), sh_degree=1))


@pytest.mark.parametrize("scene", [smooth_scene(), smooth_scene(None), wide_scene(), single_blob()])
def test_hand_made_scenes(scene: SplatScene, isa: str) -> None:
    # No term of these is near a cut-off, so there is no boundary band.
    (image, alpha, _), (expected_image, expected_alpha, _) = both(scene)
    torch.testing.assert_close(image.double(), expected_image, atol=1e-5, rtol=0)
    torch.testing.assert_close(alpha.double(), expected_alpha, atol=1e-5, rtol=0)


@pytest.mark.parametrize("change", [{"near_plane": 4.0}, {"far_plane": 4.0}, {"radius_clip": 9.0}, {"eps2d": 1.5}])
def test_options(change: dict) -> None:
    assert_same_render(blobs(seed=53, **BLOBS), **change)


def test_projection(isa: str) -> None:
    for mode in ("classic", "antialiased"):
        (_, _, found), (_, _, expected) = both(blobs(seed=54, **BLOBS), rasterize_mode=mode)
        same = (found["radii"] == expected["radii"]).all(-1)
        # A radius is a rounded-up number: rounding may move it, or cull at the edge, in rare cases.
        assert same.double().mean() > 0.99
        assert (found["radii"][~same] - expected["radii"][~same]).abs().max() <= 1 if (~same).any() else True
        for key in ("means2d", "depths", "conics", "opacities"):
            # Conics of thin splats divide by a difference of nearly equal products, which costs digits.
            torch.testing.assert_close(found[key][same].double(), expected[key][same], atol=2e-4, rtol=2e-3)


@pytest.mark.parametrize("name", list(DEGENERATE))
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_degenerate_scenes(name: str, rasterize_mode: str, isa: str) -> None:
    scene = DEGENERATE[name]
    inputs = scene.inputs(torch.float32, requires_grad=True)
    image, alpha, _ = scene.render(rasterization, inputs, rasterize_mode=rasterize_mode)
    assert image.shape == (2, scene.height, scene.width, 3)
    assert torch.isfinite(image).all()
    assert ((alpha >= 0) & (alpha <= 1)).all()
    (image.sum() + alpha.sum()).backward()
    assert all(leaf.grad is None or torch.isfinite(leaf.grad).all() for leaf in inputs.values())
    if name not in ("huge", "astronomical", "needles", "around the camera centre", "straddling the near plane"):
        assert_same_render(scene, rasterize_mode=rasterize_mode)  # the others lose their digits in float32


def needles_across_the_image() -> SplatScene:
    """Slanting lines hundreds of pixels long and one pixel wide."""
    scene = blobs(seed=55, count=8, cameras=1, sh_degree=None, width=150, height=117)
    t = torch.arange(8, dtype=torch.float64)
    slant = torch.stack([torch.cos(0.2 + 0.35 * t), 0 * t, 0 * t, torch.sin(0.2 + 0.35 * t)], dim=-1)
    length = torch.tensor([20.0, 0.002, 0.002], dtype=torch.float64).expand(8, 3)
    viewmats = torch.eye(4, dtype=torch.float64)[None]
    means = torch.stack([0.2 * torch.sin(t), 0.2 * torch.cos(3 * t), 4 + 0.01 * t], dim=-1)
    return replace(scene, quats=slant, scales=length, means=means, viewmats=viewmats, opacities=0 * t + 0.8)


def test_long_needles_are_drawn_whole(isa: str) -> None:
    """The conic of a long line is nearly singular; no part of it may be lost to a box that comes out too small.

    Float32 conics have lost digits before the pixels are visited, so the reference is given the same ones.
    """
    scene = needles_across_the_image()
    image, alpha, meta = scene.render(rasterization, scene.inputs(torch.float32), packed=False)
    given = [meta[key].double() for key in ("means2d", "conics")]
    colors = scene.colors.float().double().expand(1, -1, -1)
    expected_image, expected_alpha = reference.rasterize(
        *given, colors, meta["opacities"].double(), meta["depths"].double(), meta["radii"], scene.width, scene.height,
        scene.backgrounds.float().double(),
    )  # fmt: skip
    assert expected_alpha.max() > 0.9
    # Sums of products a dx^2 of 10^4 that cancel to 1 carry 1e-3 in float32, whatever their order.
    for found, expected in ((alpha, expected_alpha), (image, expected_image)):
        error = (found.double() - expected).abs().amax(-1)
        assert (error > 5e-3).double().mean() < 5e-3, f"{error.max()}"


def test_instruction_sets_agree() -> None:
    scene = blobs(seed=56, **BLOBS)
    before = _native.isa()
    pictures: list[Tensor] = []
    for name in _native.isas():
        _native.set_isa(name)
        pictures.append(scene.render(rasterization, scene.inputs(torch.float32))[0])
    _native.set_isa(before)
    for picture in pictures[1:]:
        assert_same_picture(picture, pictures[0])


def test_thread_counts_give_the_same_bits(isa: str, keep_threads: None) -> None:
    scene = blobs(seed=57, count=900, width=230, height=130)
    results = []
    for threads in (1, 2, 2, 5):
        _native.set_num_threads(threads)
        inputs = scene.inputs(torch.float32, requires_grad=True)
        image, alpha, _ = scene.render(rasterization, inputs, rasterize_mode="antialiased", render_mode="RGB+ED")
        (image.square().sum() + alpha.square().sum()).backward()
        results.append([image.detach(), alpha.detach(), *(leaf.grad for leaf in inputs.values())])
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("depths", [1, 40, 20_000])
def test_the_depth_order_is_stable(depths: int, keep_threads: None) -> None:
    """Gaussians of equal depth keep their order, however many threads sort them: as if sorted before."""
    count, size = 20_000, 96
    g = torch.Generator().manual_seed(58)
    level = torch.randint(0, depths, (count,), generator=g) / depths
    means = torch.cat([torch.rand(count, 2, generator=g) * 2 - 1, 2 + 3 * level[:, None]], dim=1)
    tensors = [means, torch.randn(count, 4, generator=g), torch.full((count, 3), 0.02), torch.rand(count, generator=g)]
    tensors.append(torch.rand(count, 3, generator=g))
    order = torch.argsort(level, stable=True)
    camera = torch.eye(4)[None], torch.tensor([[[60.0, 0, 48], [0, 60, 48], [0, 0, 1]]]), size, size
    pictures = []
    for threads, given in [(1, tensors), (2, tensors), (5, tensors), (1, [t[order] for t in tensors])]:
        _native.set_num_threads(threads)
        pictures.append(rasterization(*given, *camera)[0])
    assert all(torch.equal(picture, pictures[0]) for picture in pictures[1:])
    _native.set_num_threads(1)
    # Without an order of its own the picture is another one.
    backwards = rasterization(*(t.flip(0) for t in tensors), *camera)[0]
    assert depths == 20_000 or not torch.equal(backwards, pictures[0])


@pytest.mark.parametrize("name", _native.isas())
def test_the_environment_chooses_kernels_and_threads_of_a_whole_program(name: str) -> None:
    code = "from fewview import _native as n; print(n.isa(), n.num_threads(), n.has_bf16())"
    chosen = {"FEWVIEW_ISA": name, "FEWVIEW_THREADS": "3", "FEWVIEW_BF16": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | chosen, capture_output=True, text=True)
    assert done.stdout.split() == [name, "3", "False"], done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [("FEWVIEW_ISA", "mmx", "no kernels for 'mmx'"), ("FEWVIEW_THREADS", "0", "expected 1 to 256, found '0'")],
)
def test_an_environment_that_cannot_be_is_told(variable: str, value: str, words: str) -> None:
    code = "from fewview import _native"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {variable: value}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert words in done.stderr.splitlines()[-1]
