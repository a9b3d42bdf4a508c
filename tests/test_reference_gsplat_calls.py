"""Code written for gsplat runs unchanged: packed results, densification statistics, refusals by name."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from fewview.render import rasterization
from fewview.render import reference_rasterization as reference
from fewview.scene.errors import BadInputError
from support.scenes import degenerate_scenes, random_blobs, take
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

BLOBS = {"count": 120, "width": 70, "height": 53}


@pytest.mark.parametrize("sh_degree", [None, 3])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_packed_and_dense_are_the_same_numbers(sh_degree: int | None, rasterize_mode: str) -> None:
    scene = random_blobs(seed=90, cameras=3, sh_degree=sh_degree, **BLOBS)
    results = {}
    for packed in (False, True):
        inputs = scene.inputs(torch.float32, requires_grad=True)
        options = {"rasterize_mode": rasterize_mode, "render_mode": "RGB+ED", "packed": packed}
        image, alpha, meta = scene.render(rasterization, inputs, **options)
        meta["means2d"].retain_grad()
        (image.square().sum() + alpha.sum()).backward()
        results[packed] = image, alpha, meta, inputs
    image, alpha, meta, inputs = results[False]
    packed_image, packed_alpha, packed_meta, packed_inputs = results[True]
    assert torch.equal(image, packed_image)
    assert torch.equal(alpha, packed_alpha)
    for key, leaf in inputs.items():
        # The terms of a sum over cameras may be added in another order.
        torch.testing.assert_close(
            packed_inputs[key].grad, leaf.grad, rtol=1e-4, atol=1e-5 * float(leaf.grad.abs().max())
        )

    camera_ids, gaussian_ids = packed_meta["camera_ids"], packed_meta["gaussian_ids"]
    seen = (meta["radii"] > 0).all(-1)
    assert torch.equal(torch.stack([camera_ids, gaussian_ids]), seen.nonzero().T)  # camera by camera, in order
    for key in ("radii", "means2d", "depths", "conics", "opacities"):
        assert torch.equal(packed_meta[key], meta[key][camera_ids, gaussian_ids]), key
    torch.testing.assert_close(packed_meta["means2d"].grad, meta["means2d"].grad[camera_ids, gaussian_ids])
    assert meta["camera_ids"] is None
    assert meta["gaussian_ids"] is None


def test_meta_has_what_gsplat_documents() -> None:
    scene = random_blobs(seed=91, **BLOBS)
    for packed in (False, True):
        _, _, meta = scene.render(rasterization, scene.inputs(torch.float32), packed=packed)
        documented = [
            "batch_ids", "camera_ids", "gaussian_ids", "radii", "means2d", "depths", "conics", "opacities",
            "tile_width", "tile_height", "tiles_per_gauss", "isect_ids", "flatten_ids", "isect_offsets", "width",
            "height", "tile_size", "n_batches", "n_cameras",
        ]  # fmt: skip
        assert all(name in meta for name in documented)
        assert "means3d" not in meta
        assert meta.get("means3d", 7) == 7
        # Asked for one by one: the tile lists are only made on demand.
        assert [name for name in documented if meta[name] is None] == ([] if packed else documented[:3])
        assert meta["radii"].dtype == torch.int32
        assert (meta["width"], meta["height"], meta["n_cameras"]) == (70, 53, 2)
        assert (meta["tile_width"], meta["tile_height"], meta["tile_size"]) == (5, 4, 16)
        assert meta["isect_offsets"].shape == (2, 4, 5)
        # Asked for all at once, in a render of which nothing was asked yet.
        assert set(documented) <= set(dict(scene.render(rasterization, scene.inputs(torch.float32))[2]))


def densify_statistics(info: dict, count: int, packed: bool) -> tuple[Tensor, Tensor]:
    """(sum of image-plane gradient norms [N], times seen [N]), as gsplat's DefaultStrategy gathers them."""
    grads = info["means2d"].grad.float()
    grads[..., 0] *= info["width"] / 2.0 * info["n_cameras"]
    grads[..., 1] *= info["height"] / 2.0 * info["n_cameras"]
    if packed:
        ids = info["gaussian_ids"]
    else:
        visible = (info["radii"] > 0.0).all(dim=-1)
        ids = torch.where(visible)[1]
        grads = grads[visible]
    norms, seen = torch.zeros(count), torch.zeros(count)
    norms.index_add_(0, ids, grads.norm(dim=-1))
    seen.index_add_(0, ids, torch.ones_like(ids, dtype=torch.float32))
    return norms, seen


@pytest.mark.parametrize("packed", [True, False])
def test_a_densification_step_of_gsplat(packed: bool) -> None:
    scene = random_blobs(seed=92, **BLOBS)
    statistics = []
    for function, dtype in ((rasterization, torch.float32), (reference.rasterization, torch.float64)):
        inputs = scene.inputs(dtype, requires_grad=True)
        options = {"packed": packed} if function is rasterization else {}
        image, _, info = scene.render(function, inputs, **options)
        info["means2d"].retain_grad()
        image.square().mean().backward()
        statistics.append(densify_statistics(info, len(scene.means), packed and function is rasterization))
    assert torch.equal(statistics[0][1], statistics[1][1])
    largest = float(statistics[1][0].max())
    torch.testing.assert_close(statistics[0][0], statistics[1][0], rtol=2e-3, atol=2e-3 * largest)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("scene", [take(random_blobs(seed=94), slice(0, 0)), degenerate_scenes()["all behind"]])
def test_nothing_to_see_is_the_background(scene: object, packed: bool) -> None:
    inputs = scene.inputs(torch.float32, requires_grad=True)
    image, alpha, meta = scene.render(rasterization, inputs, packed=packed)
    assert torch.equal(image, inputs["backgrounds"][:, None, None, :].expand_as(image))
    assert (alpha == 0).all()
    meta["means2d"].retain_grad()
    image.sum().backward()
    assert (inputs["backgrounds"].grad == scene.height * scene.width).all()
    if packed:
        assert meta["gaussian_ids"].shape == (0,)


REFUSED = {
    "distributed": True,
    "camera_model": "ftheta",
    "with_ut": True,
    "with_eval3d": True,
    "radial_coeffs": torch.zeros(2, 6),
    "tangential_coeffs": torch.zeros(2, 2),
    "thin_prism_coeffs": torch.zeros(2, 4),
    "viewmats_rs": torch.eye(4).expand(2, 4, 4),
    "tile_size": 8,
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_options_without_a_kernel_are_refused_by_name(name: str) -> None:
    scene = random_blobs(seed=95, **BLOBS)
    with pytest.raises(BadInputError, match=name):
        scene.render(rasterization, scene.inputs(torch.float32), **{name: REFUSED[name]})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("means", lambda x: x[:, :2]),
        ("quats", lambda x: x[:-1]),
        ("scales", lambda x: x[:-1]),
        ("opacities", lambda x: x[:, None]),
        ("colors", lambda x: x[:-1]),
        ("viewmats", lambda x: x[:, :3]),
        ("background", lambda x: x[:, :2]),
    ],
)
def test_wrong_shapes_are_refused_by_name(name: str, change: object) -> None:
    scene = random_blobs(seed=96, **BLOBS)
    inputs = scene.inputs(torch.float32)
    key = "backgrounds" if name == "background" else name
    inputs[key] = change(inputs[key])
    with pytest.raises(BadInputError, match=name):
        scene.render(rasterization, inputs)


def test_a_degree_above_what_is_stored_is_refused() -> None:
    scene = replace(random_blobs(seed=97, sh_degree=1), sh_degree=2)
    with pytest.raises(BadInputError, match="degree"):
        scene.render(rasterization, scene.inputs(torch.float32))


def test_tensors_that_are_not_contiguous() -> None:
    scene = random_blobs(seed=98, **BLOBS)
    inputs = scene.inputs(torch.float32)
    image, _, _ = scene.render(rasterization, inputs)
    strided = {k: torch.stack([v, v], dim=-1)[..., 0] for k, v in inputs.items()}
    strided["means"] = inputs["means"].T.contiguous().T
    assert torch.equal(scene.render(rasterization, strided)[0], image)


def test_a_gpu_gets_every_argument_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for gsplat and for a tensor on a GPU: gsplat 1.4, which has no `segmented`, must not see it."""
    calls: list[dict[str, object]] = []
    module = importlib.import_module("fewview.render.rasterization")
    monkeypatch.setattr(module, "gsplat_rasterization", lambda: lambda **arguments: calls.append(arguments))
    names = [p.name for p in inspect.signature(rasterization).parameters.values() if p.kind is not p.VAR_KEYWORD]
    given = {name: object() for name in names} | {"means": SimpleNamespace(is_cuda=True), "rolling_shutter": object()}
    rasterization(**given)
    rasterization(**given | {"segmented": False})
    assert calls == [given, {name: value for name, value in given.items() if name != "segmented"}]
