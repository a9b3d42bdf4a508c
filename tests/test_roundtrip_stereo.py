"""The depth maps of a run: written, read, damaged, computed again; and training that goes on from them."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fewview.recon.evidence import DepthMap, Stereo
from fewview.recon.evidence.depth_file import load_stereo, save_stereo
from fewview.recon.evidence.depth_maps import MAX_CONFIDENCE, unproject
from fewview.recon.evidence.stereo import stereo_depth
from fewview.recon.methods.instantsplat.config import instantsplat_config
from fewview.recon.methods.instantsplat.model import initialise
from fewview.recon.optimise.normalised_frame import world_from_normalised
from fewview.recon.optimise.trainer import fit
from fewview.recon.pipeline.prepare_method import prepare_method
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError
from fewview.scene.run import Run
from support.few_views import few_views, masked, wall_and_ball
from support.stereo_scenes import row_of_cameras
from support.threads import one_torch_thread as one_torch_thread
from support.training import capture_of, same_bits
from torch import Tensor

NAMES = ["a.jpg", "folder/b.jpg", "ü c.png"]


def saved(tmp_path: Path) -> tuple[Path, Stereo]:
    path = tmp_path / "stereo.safetensors"
    _, stereo = few_views(wall_and_ball(3), confidences=[1.0, 7.5, MAX_CONFIDENCE])
    save_stereo(path, stereo, NAMES)
    return path, stereo


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, stereo = saved(tmp_path)
    again = load_stereo(path, stereo.cameras, NAMES)
    for a, b in zip(stereo.maps, again.maps, strict=True):
        assert torch.equal(a.depth, b.depth)
        assert torch.equal(a.confidence, b.confidence)
    assert torch.equal(again.cameras.K, stereo.cameras.K)
    assert torch.equal(again.points(1), stereo.points(1))


def test_any_of_the_views_can_be_read_in_any_order(tmp_path: Path) -> None:
    path, stereo = saved(tmp_path)
    again = load_stereo(path, stereo.cameras[[2, 0]], [NAMES[2], NAMES[0]])
    assert torch.equal(again.maps[0].confidence, stereo.maps[2].confidence)
    assert torch.equal(again.maps[1].depth, stereo.maps[0].depth)


def test_cameras_of_another_size_are_brought_to_that_of_the_maps(tmp_path: Path) -> None:
    path, stereo = saved(tmp_path)
    again = load_stereo(path, stereo.cameras.resized(477, 360), NAMES)  # 480 rounded otherwise
    assert again.cameras.width.tolist() == [48, 48, 48]
    torch.testing.assert_close(again.cameras.K, stereo.cameras.K, rtol=1e-6, atol=1e-4)


def test_views_of_different_sizes_are_kept(tmp_path: Path) -> None:
    wide, tall = row_of_cameras(2, 30, 20, 0.3), row_of_cameras(2, 18, 26, 0.3)
    cameras = Cameras.stack([wide[0], tall[1]])
    maps = tuple(DepthMap(torch.full(s, 2.0), torch.full(s, 3.0)) for s in ((20, 30), (26, 18)))
    save_stereo(tmp_path / "s", Stereo(cameras, maps), ["a", "b"])
    again = load_stereo(tmp_path / "s", cameras, ["a", "b"])
    assert [tuple(m.depth.shape) for m in again.maps] == [(20, 30), (26, 18)]


def refused(path: Path, stereo: Stereo, names: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        load_stereo(path, stereo.cameras, names)
    assert str(caught.value).startswith(f"{path} cannot be used: ")
    assert str(caught.value).endswith("Delete it, and --resume computes the depth again.")


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.5, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    path, stereo = saved(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    refused(path, stereo, NAMES, "cannot be used")


@pytest.mark.parametrize(
    "data",
    [b"not a tensor", b"\xff" * 64, (1 << 62).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"{}"],
    ids=["text", "ones", "a header of exabytes", "empty"],
)
def test_other_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    path, stereo = saved(tmp_path)
    path.write_bytes(data)
    refused(path, stereo, NAMES, "cannot be used")


def test_a_tensor_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    path, stereo = saved(tmp_path)
    header = b'{"depth/a.jpg":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    refused(path, stereo, NAMES, "cannot be used")


@pytest.mark.parametrize("what", ["a folder", "nothing"])
def test_no_file_is_refused(tmp_path: Path, what: str) -> None:
    path, stereo = saved(tmp_path)
    path.unlink()
    if what == "a folder":
        path.mkdir()
    refused(path, stereo, NAMES, "cannot be used")


def test_the_file_of_other_photographs_is_refused(tmp_path: Path) -> None:
    path, stereo = saved(tmp_path)
    refused(path, stereo, ["a.jpg", "b.jpg", "c.jpg"], "depth/b.jpg")


GOOD = torch.full((36, 48), 2.0)


def with_one(value: float) -> Tensor:
    bad = GOOD.clone()
    bad[3, 4] = value
    return bad


@pytest.mark.parametrize(
    ("depth", "confidence", "message"),
    [
        (with_one(float("nan")), GOOD, "depth above 0"),
        (with_one(float("inf")), GOOD, "depth above 0"),
        (with_one(0.0), GOOD, "depth above 0"),
        (with_one(-1.0), GOOD, "depth above 0"),
        (GOOD, with_one(float("nan")), "confidence from 1 to 20"),
        (GOOD, with_one(0.999), "confidence from 1 to 20"),
        (GOOD, with_one(20.5), "confidence from 1 to 20"),
        (GOOD, GOOD[:, :10].contiguous(), "expected depth and confidence"),
        (GOOD[None], GOOD[None], r"depth \[H, W\] is expected, found \[1, 36, 48\]"),
        (GOOD[:0], GOOD[:0], r"depth \[H, W\] is expected, found \[0, 48\]"),
        (GOOD.T.contiguous(), GOOD.T.contiguous(), "a map of 36 x 48 does not fit a photograph of 48 x 36"),
        (torch.ones(1, 400), torch.ones(1, 400), "a map of 400 x 1 does not fit a photograph of 48 x 36"),
        (GOOD.double(), GOOD, "float32 is expected, found torch.float64"),
        (GOOD, GOOD.to(torch.int32), "float32 is expected, found torch.float32 and torch.int32"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_that_are_no_depth_are_refused(tmp_path: Path, depth: Tensor, confidence: Tensor, message: str) -> None:
    path, stereo = saved(tmp_path)
    tensors = safetensors.torch.load_file(path)
    tensors |= {f"depth/{NAMES[1]}": depth, f"confidence/{NAMES[1]}": confidence.clone()}
    path.write_bytes(safetensors.torch.save(tensors))
    refused(path, stereo, NAMES, message)


def test_the_contract_refuses_what_does_not_belong_together() -> None:
    _, stereo = few_views(wall_and_ball(2))
    with pytest.raises(ValueError, match="expected depth and confidence"):
        DepthMap(GOOD, GOOD[:5])
    with pytest.raises(ValueError, match="one map for each camera"):
        Stereo(stereo.cameras, stereo.maps[:1])
    with pytest.raises(ValueError, match="of its size"):
        Stereo(stereo.cameras.resized(24, 18), stereo.maps)


def test_unprojected_pixels_project_to_their_centres() -> None:
    scene = wall_and_ball(2)
    K, depth = scene.cameras.K[0], scene.depths[0]
    points = unproject(depth, K)
    pixel = points @ K.T
    column, row = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(36) + 0.5, indexing="xy")
    # Pixels up to 50 in float32.
    torch.testing.assert_close(pixel[..., :2] / pixel[..., 2:], torch.stack([column, row], dim=-1), atol=2e-5, rtol=0)
    assert torch.equal(points[..., 2], depth)


def test_a_run_computes_depth_once_and_again_after_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = wall_and_ball(3)
    dataset, stereo = few_views(scene, test=[1])
    left = torch.arange(48).expand(36, 48) < 24
    dataset = replace(masked(dataset, 2, left), points=scene.points)
    calls: list[int] = []
    trained_on = scene.cameras[[0, 2]]
    normalised = trained_on.transformed(world_from_normalised(trained_on).inverse())

    def exact(images, cameras, points, *, masks, **options):
        assert torch.allclose(cameras.cam_from_world, normalised.cam_from_world, atol=1e-5)
        assert torch.equal(images[1], scene.images[2])
        assert masks[0] is None
        assert torch.equal(masks[1], left)
        # Only what both training photographs see, with views counted among these.
        assert sorted(set(points.seen_view.tolist())) == [0, 1]
        assert (torch.bincount(points.seen_point) == 2).all()
        assert 0 < len(points) < len(scene.points)
        calls.append(len(images))
        return stereo.maps

    monkeypatch.setattr(stereo_depth, "estimate_depths", exact)
    run = Run.create(tmp_path / "run", {})
    config = ReconstructConfig(method="instantsplat", steps=5)

    def starting_means() -> Tensor:
        return prepare_method(run, capture_of(dataset), dataset, config).model.tables["gaussians"]["means"].detach()

    first, second = starting_means(), starting_means()
    assert calls == [2]  # the training views, once
    assert torch.equal(first, second)
    run.depth_path.write_bytes(run.depth_path.read_bytes()[:-10])
    with pytest.raises(BadInputError, match="--resume computes it again"):
        starting_means()
    run.depth_path.unlink()
    assert torch.equal(starting_means(), first)
    assert calls == [2, 2]


@pytest.mark.parametrize("stops", [[1], [9, 10], [20, 39]], ids=str)
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, stops: list[int]) -> None:
    """The degree rises at 20; dropping, poses, the border and the rates by confidence are all in play."""
    dataset, stereo = few_views(wall_and_ball(3), confidences=[2.0, 8.0, 1.0])
    config = instantsplat_config(
        40, border=0.25, gaussian_dropout=0.4, sh_degree=1, sh_every=0.5, max_gaussians=900, checkpoint_every_s=0
    )
    save_stereo(tmp_path / "stereo", stereo, list(dataset.names))
    kept = load_stereo(tmp_path / "stereo", dataset.cameras, list(dataset.names))
    whole = fit(initialise(dataset, stereo, config), dataset, config)
    run = Run.create(tmp_path / "run", {})
    for i, stop in enumerate(stops):

        def interrupt(step, model, figures, stop=stop):
            if step == stop:
                os.kill(os.getpid(), signal.SIGINT)

        model = initialise(dataset, kept, config)
        part = fit(model, dataset, config, run=run, resume=i > 0, callbacks=[interrupt])
        assert part.interrupted
        assert part.step == stop
    rest = fit(initialise(dataset, kept, config), dataset, config, run=run, resume=True)
    assert len(rest.splat.gaussians) == 900
    assert same_bits(rest.splat.gaussians, whole.splat.gaussians)
    assert torch.equal(rest.cameras.cam_from_world, whole.cameras.cam_from_world)
    other = replace(config, confidence_rates=False)
    with pytest.raises(BadInputError, match="confidence_rates"):
        fit(initialise(dataset, kept, config), dataset, other, run=run, resume=True)
