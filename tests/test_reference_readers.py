"""Real data sets, against figures that were measured or stated elsewhere."""

from __future__ import annotations

import numpy as np
import pycolmap
import pytest
import torch
from fewview.scene.geometry import align_similarity
from fewview.scene.readers import read_capture
from support.data import shared_data


def test_fox_colmap_model_as_pycolmap_reads_it() -> None:
    folder = shared_data("fox")
    capture = read_capture(folder / "colmap_half", images=folder / "images")
    truth = pycolmap.Reconstruction(str(folder / "colmap_half"))
    assert len(capture) == truth.num_reg_images() == 50
    assert capture.points is not None
    assert capture.cameras is not None
    assert len(capture.points) == len(truth.points3D) == 10_846
    by_name = {image.name: image for image in truth.images.values()}
    for i, name in enumerate(capture.names):
        expected = torch.from_numpy(by_name[name].cam_from_world().matrix()).float()
        torch.testing.assert_close(capture.cameras.cam_from_world[i, :3], expected, rtol=0, atol=2e-6)
    # The model is of photographs of 540 x 960; these have 1080 x 1920.
    half = next(iter(truth.cameras.values()))
    assert float(capture.cameras.K[0, 0, 0]) == pytest.approx(2 * half.params[0])
    xyz = {tuple(np.float32(p.xyz).tolist()) for p in truth.points3D.values()}
    assert {tuple(p) for p in capture.points.xyz.tolist()} == xyz


def test_fox_reprojects_as_well_as_its_readme_says() -> None:
    folder = shared_data("fox")
    capture = read_capture(folder / "colmap_half")
    truth = pycolmap.Reconstruction(str(folder / "colmap_half"))
    points, cameras = capture.points, capture.cameras
    assert points is not None
    assert cameras is not None
    assert points.seen_point is not None
    assert points.seen_view is not None
    lens = next(iter(truth.cameras.values()))
    image = next(image for image in truth.images.values() if image.name == capture.names[10])
    seen = [p for p in image.points2D if p.has_point3D()]
    # COLMAP's own undistorted rays of the keypoints, against our pinhole camera's projection of the points.
    rays = np.concatenate([lens.cam_from_img(np.array([p.xy for p in seen])), np.ones((len(seen), 1))], 1)
    measured = (cameras.K[10].double().numpy() @ rays.T).T[:, :2]
    xyz = np.array([truth.points3D[p.point3D_id].xyz for p in seen])
    local = (cameras.cam_from_world[10].double().numpy() @ np.c_[xyz, np.ones(len(xyz))].T).T[:, :3]
    projected = (cameras.K[10].double().numpy() @ local.T).T
    error = np.linalg.norm(projected[:, :2] / projected[:, 2:] - measured, axis=1)
    assert np.mean(error) < 2 * 0.60 * 1.5  # mean 0.60 px at half size over all photographs; one may be half worse


def test_fox_transforms_agree_with_the_colmap_model() -> None:
    folder = shared_data("fox")
    capture = read_capture(folder)
    assert len(capture) == 50
    assert any("17 of the 67 photographs" in note for note in capture.notes)
    other = read_capture(folder / "colmap_half")
    assert capture.names == [f"images/{name}" for name in other.names]
    assert capture.cameras is not None
    assert other.cameras is not None
    centers = other.cameras.centers
    alignment = align_similarity(centers, capture.cameras.centers)
    error = (alignment(capture.cameras.centers) - centers).norm(dim=1)
    extent = (centers - centers.mean(0)).norm(dim=1).max()
    # Two reconstructions of the same photographs: 1 % of the extent of the camera path.
    assert float(error.median() / extent) < 0.01
    turned = other.cameras.cam_from_world[:, :3, :3] @ alignment.rotation @ capture.cameras.world_from_cam[:, :3, :3]
    cosine = (turned.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    assert float(torch.rad2deg(cosine.clamp(-1, 1).acos()).median()) < 1.0


@pytest.mark.parametrize(
    ("name", "count", "focal"), [("banana", 16, 2593), ("sceaux_castle", 11, 1453), ("lund_street", 29, 970)]
)
def test_exif_focal_lengths_are_near_the_truth(name: str, count: int, focal: float) -> None:
    capture = read_capture(shared_data(name))
    assert len(capture) == count
    assert capture.cameras is None
    for frame in capture.frames:
        # EXIF rounds the 35 mm equivalent to a millimetre, and makers round generously.
        assert frame.focal_px == pytest.approx(focal, rel=0.08)


@pytest.mark.parametrize(("name", "train", "test"), [("nerf_chair", 100, 50), ("dynamic_fox_walk", 100, 20)])
def test_synthetic_scenes(name: str, train: int, test: int) -> None:
    capture = read_capture(shared_data(name))
    indices = capture.split()
    assert (len(indices[0]), len(indices[1])) == (train, test)
    assert capture.cameras is not None
    # As the data sets say: cameras at distance about 4 that look at the origin.
    distance = capture.cameras.centers.norm(dim=1)
    assert float((distance - 4).abs().max()) < 0.2
    forward = capture.cameras.world_from_cam[:, :3, 2]
    assert float((forward * -capture.cameras.centers / distance[:, None]).sum(1).min()) > 0.95
    image = capture.image(0)
    assert image.shape == (400, 400, 4)
    assert 0.02 < float((image[..., 3] > 0).float().mean()) < 0.6
    assert (capture.times_s is None) == (name == "nerf_chair")


# Two reflecting stickers on the platform of multicam_person, at z = 0, as they lie in the first undistorted frame of
# each camera (pixels; read off by eye, to a pixel or two).
STICKERS = (
    ((107.7, 1052.9), (439.3, 1033.1), (875.4, 1235.6), (838.3, 1412.3)),
    ((317.4, 1328.4), (326.1, 1200.3), (515.6, 1091.7), (890.6, 1070.3)),
)


def test_calibrated_videos_see_the_platform_where_it_is() -> None:
    """Four rays to each sticker meet on the plane z = 0, as far as the calibration allows: 7.4 pixels on average."""
    capture = read_capture(shared_data("multicam_person"), video_frames=1)
    assert capture.cameras is not None
    K, pose = capture.cameras.K.double().numpy(), capture.cameras.cam_from_world.double().numpy()
    errors = []
    for sticker in STICKERS:
        rows = []
        for at, k, E in zip(sticker, K, pose, strict=True):
            P = k @ E[:3]
            rows += [at[0] * P[2] - P[0], at[1] * P[2] - P[1]]
        point = np.linalg.svd(np.stack(rows))[2][-1]
        point /= point[3]
        assert abs(point[2]) < 0.05  # metres
        for at, k, E in zip(sticker, K, pose, strict=True):
            seen = k @ (E @ point)[:3]
            errors.append(seen[:2] / seen[2] - at)
    # Principal points mirrored in x give 19.
    assert float(np.sqrt(np.mean(np.square(errors)))) < 12
