"""Photographs to pairwise pointmaps by `scripts/two_view_pointmaps.py`, and from those to cameras."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fewview.recon.poses.matchers import is_available
from fewview.recon.poses.pointmaps.global_alignment import align_pairs
from fewview.recon.poses.pointmaps.pair_prediction import prepare_image
from fewview.recon.poses.pose_errors import pose_errors
from fewview.scene.errors import BadInputError
from fewview.scene.readers import read_photos
from fewview.scene.sample import sample_path
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor
from two_view_pointmaps import TwoViewConfig, TwoViewPredictor

VIEWS = (0, 1)
SIDE_PX = 256  # the smallest at which the sample's photographs still match well


@pytest.fixture(scope="module")
def predictor() -> TwoViewPredictor:
    if not is_available("xfeat"):
        pytest.skip("the package with the weights of xfeat is not installed")
    return TwoViewPredictor(TwoViewConfig(features="xfeat"))


def sample() -> tuple[list[Tensor], Tensor, float]:
    """Two photographs at 256 x 192, their true cam_from_world [2, 4, 4] and focal length."""
    capture = read_photos(sample_path())
    prepared = [prepare_image(capture.image(v), SIDE_PX) for v in VIEWS]
    truth = json.loads((Path(__file__).parent / "data" / "sample_cameras.json").read_text())
    world_from_cam = torch.tensor([truth["frames"][v]["transform_matrix"] for v in VIEWS], dtype=torch.float64)
    opencv = world_from_cam @ torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))
    return [p.pixels for p in prepared], torch.linalg.inv(opencv), truth["fl_x"] * SIDE_PX / truth["w"]


def test_the_sample_is_placed_from_pairs(predictor: TwoViewPredictor) -> None:
    images, true, focal_px = sample()
    pairs = predictor.predict_pairs(images)
    assert sorted(pairs) == [(0, 1), (1, 0)]
    pair = pairs[0, 1]
    assert float((pair.confidence_i > 1).float().mean()) > 0.2
    # Both orders say the same in two frames: distances between points of both views do not change.
    other = pairs[1, 0]
    apart = (pair.points_i[::16, ::16] - pair.points_j[::16, ::16]).norm(dim=-1)
    torch.testing.assert_close(apart, (other.points_j[::16, ::16] - other.points_i[::16, ::16]).norm(dim=-1),
                               rtol=1e-4, atol=1e-4)  # fmt: skip
    aligned = align_pairs(pairs)
    assert aligned.views == list(VIEWS)
    errors = pose_errors(aligned.stereo.cameras.cam_from_world, true)
    # The focal length of two views is loose, and with it the turn between them.
    assert float(errors.pairs.rotation_deg.max()) < 5
    assert float(aligned.stereo.cameras.K[0, 0, 0]) == pytest.approx(focal_px, rel=0.25)


def test_pictures_with_nothing_in_common_say_so(predictor: TwoViewPredictor) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (96, 128, 3), generator=generator, dtype=torch.uint8)
    flat = torch.full((128, 96, 3), 90, dtype=torch.uint8)
    pair = predictor.predict(noise, flat)
    assert pair.is_empty
    assert pair.points_i.shape == (96, 128, 3)
    assert pair.points_j.shape == (128, 96, 3)
    assert torch.isfinite(pair.points_j).all()


def test_config_refuses_nonsense() -> None:
    with pytest.raises(BadInputError, match="positive focal_px"):
        TwoViewConfig(focal_px=-1.0)
