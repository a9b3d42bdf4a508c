"""The parts of ImGeoNet against plain implementations, by the definitions."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.detect.imgeonet.face_distances import box_from_distances, centerness, face_distances
from fewview.detect.imgeonet.feature_pyramid import FeaturePyramid, normalised_images
from fewview.detect.imgeonet.model import ImGeoNet
from fewview.detect.imgeonet.occupancy_labels import occupancy_labels
from fewview.detect.imgeonet.room_losses import box_rows, losses, room_losses
from fewview.detect.imgeonet.room_preparation import RoomPreparation
from fewview.detect.imgeonet.voxel_head import ScaleOutput
from fewview.detect.imgeonet.voxel_targets import VoxelTargets, voxel_targets
from fewview.detect.imgeonet.voxel_volume import (
    Grid,
    cells_seen,
    project,
    reference_mean_and_variance,
    seen_at_scales,
    sum_features,
)
from fewview.scene.boxes import Boxes
from support.detection import project as project_by_definition
from support.plain_boxes import plain_iou
from support.rooms import SMALLEST_ROOMS, cameras_inside, made_room, random_rows, room_boxes, small_config, wall_depth
from support.threads import one_torch_thread as one_torch_thread
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork


def test_the_volume_begins_at_lower_corners_and_runs_fastest_along_z():
    grid = Grid((8, 4, 4), 0.5)
    middles = torch.tensor([[1.0, 2, 3], [0, 0, 0]])
    points = grid.points(middles)
    assert points.shape == (2, 128, 3)
    assert points[0, 0].tolist() == [-1.0, 1.0, 2.0]  # the middle less half of 4 m, 2 m, 2 m
    assert points[0, 1].tolist() == [-1.0, 1.0, 2.5]
    volume = grid.shaped(points)
    assert volume.shape == (2, 3, 8, 4, 4)
    assert volume[1, :, 7, 3, 2].tolist() == [1.5, 0.5, 0.0]
    coarse = grid.points(middles, 1)
    assert coarse.shape == (2, 16, 3)
    assert coarse[0, 0].tolist() == points[0, 0].tolist()
    assert coarse[0, 1].tolist() == points[0, 2].tolist()


def test_points_are_projected_by_the_definition():
    cameras = cameras_inside()
    points = torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) * 3 - 1.5
    pixels, depths = project(points, cameras.cam_from_world, cameras.K)
    for v in range(len(cameras)):
        for n in range(20):
            pixel, depth = project_by_definition(cameras.cam_from_world[v], cameras.K[v], points[n])
            assert float(depths[v, n]) == pytest.approx(float(depth), abs=1e-5)
            if float(depth) > 0.1:
                torch.testing.assert_close(pixels[v, n], pixel, atol=1e-3, rtol=1e-4)
    assert bool(torch.isfinite(project(cameras.centers, cameras.cam_from_world, cameras.K)[0]).all())


def test_mean_and_variance_of_the_views_that_see_a_voxel():
    random = torch.Generator().manual_seed(1)
    cameras = cameras_inside(6)
    features = torch.randn(6, 5, 12, 16, generator=random)
    points = Grid((8, 8, 4), 0.5).points(torch.tensor([[0.0, 0, 1.1]]))[0]
    valid = torch.tensor([[64.0, 48.0]]).expand(6, 2).clone()
    valid[2] = torch.tensor([30.0, 20.0])  # the rest of this one is padding
    cells, depths, seen = cells_seen(points, cameras.cam_from_world, cameras.K, valid, 4, 0.0)
    assert 0 < int(seen.sum()) < seen.numel()
    assert bool((seen.sum(dim=0) == 0).any())
    sums = sum_features(features, cells, seen)
    found = sums.mean_and_variance()
    expected = reference_mean_and_variance(features, cells, seen)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
        assert not bool(a[sums.count == 0].any())
    assert float(found[1].min()) >= 0
    halves = sum_features(features[:2], cells[:2], seen[:2]) + sum_features(features[2:], cells[2:], seen[2:])
    torch.testing.assert_close(halves.mean_and_variance()[0], found[0], atol=1e-6, rtol=0)
    for v in range(6):
        for n in range(len(points)):
            pixel, depth = project_by_definition(cameras.cam_from_world[v], cameras.K[v], points[n])
            cell = ((pixel - 0.5) / 4).round()
            within = bool((cell >= 0).all()) and bool((cell * 4 < valid[v]).all()) and float(depth) > 0
            edge = bool((((pixel - 0.5) / 4 % 1 - 0.5).abs() < 1e-3).any())  # rounding may go either way there
            if not edge and abs(float(depth)) > 1e-3:
                assert bool(seen[v, n]) == within
                if within:
                    assert cells[v, n].tolist() == cell.tolist()
                    assert float(depths[v, n]) == pytest.approx(float(depth), abs=1e-5)


def test_the_pyramid_is_the_finest_level_of_torchvisions():
    config = small_config(feature_channels=12)
    torch.manual_seed(0)
    ours = FeaturePyramid(config).eval()
    theirs = FeaturePyramidNetwork(list(config.light_channels), 12)
    with torch.no_grad():
        for i, conv in enumerate(ours.sideways):
            theirs.inner_blocks[i][0].load_state_dict(conv.state_dict())
        theirs.layer_blocks[0][0].load_state_dict(ours.smooth.state_dict())
        images = torch.randint(0, 255, (2, 3, 64, 96), dtype=torch.uint8)
        valid = torch.tensor([[96.0, 64.0], [50.0, 40.0]])
        levels = ours.backbone(normalised_images(images, valid))
        expected = theirs(OrderedDict((str(i), level) for i, level in enumerate(levels)))["0"]
        torch.testing.assert_close(ours(images, valid), expected, atol=1e-5, rtol=1e-5)


def test_photographs_are_normalised_as_imagenets_and_padding_is_the_mean_colour():
    images = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    out = normalised_images(images, torch.tensor([[5.0, 3.0]]))
    white = [(255 - m) / s for m, s in ((123.675, 58.395), (116.28, 57.12), (103.53, 57.375))]
    torch.testing.assert_close(out[0, :, 2, 4], torch.tensor(white))
    assert not bool(out[0, :, 3:].any())
    assert not bool(out[0, :, :, 5:].any())


@pytest.mark.parametrize("seed", range(3))
def test_decoded_boxes_of_target_distances_are_the_boxes(seed: int):
    random = np.random.default_rng(seed)
    boxes = random_rows(random, 20).float()
    points = torch.from_numpy(random.uniform(-2, 2, (30, 1, 3))).float()
    distances = face_distances(points, boxes[None])
    decoded = box_from_distances(points.expand(30, 20, 3), distances, boxes[None, :, 6].expand(30, 20))
    torch.testing.assert_close(decoded, boxes.expand(30, 20, 7), atol=1e-5, rtol=0)
    # Inside is where no distance is negative.
    as_boxes = Boxes.upright(boxes[:, :3], boxes[:, 3:6], boxes[:, 6], torch.zeros(20).long(), ["x"])
    inside = (distances > 0).flatten(2).all(dim=2)
    assert torch.equal(inside, as_boxes.contains(points[:, 0]).T)


def test_centerness_is_one_in_the_middle_and_none_on_a_face():
    boxes = torch.tensor([[0.0, 0, 0, 2, 4, 1, 0.3]])
    middle = centerness(face_distances(torch.zeros(1, 3), boxes))
    assert float(middle) == pytest.approx(1.0)
    distances = torch.tensor([[0.5, 1.5], [1.0, 3.0], [0.25, 0.75]])
    assert float(centerness(distances)) == pytest.approx(math.sqrt(1 / 27))
    assert float(centerness(torch.tensor([[0.0, 1.0], [1, 1], [1, 1]]))) == 0


def _plain_targets(points, boxes, needed, positives):
    """Anchor by anchor: (box, centre-ness) for each."""
    anchors = [(scale, p.tolist()) for scale, part in enumerate(points) for p in part]
    chosen = [(-1, 0.0)] * len(anchors)
    volumes = [math.inf] * len(anchors)
    for row, box in enumerate(boxes.tolist()):
        inside = {}
        for i, (scale, p) in enumerate(anchors):
            dx, dy, dz = (p[k] - box[k] for k in range(3))
            cos, sin = math.cos(box[6]), math.sin(box[6])
            local = (dx * cos + dy * sin, dy * cos - dx * sin, dz)
            faces = [(box[3 + k] / 2 + local[k], box[3 + k] / 2 - local[k]) for k in range(3)]
            if all(min(f) > 0 for f in faces):
                inside[i] = (scale, math.sqrt(math.prod(min(f) / max(f) for f in faces)))
        scale = 0
        while scale < len(points) and sum(s == scale for s, _ in inside.values()) >= needed:
            scale += 1
        scale = max(scale - 1, 0)
        own = sorted((middle for s, middle in inside.values() if s == scale), reverse=True)
        cut = own[positives] if len(own) > positives else -1.0
        for i, (s, middle) in inside.items():
            if s == scale and middle > cut and math.prod(box[3:6]) < volumes[i]:
                chosen[i], volumes[i] = (row, middle), math.prod(box[3:6])
    return chosen


@pytest.mark.parametrize("seed", range(4))
def test_targets_are_those_chosen_anchor_by_anchor(seed: int):
    random = np.random.default_rng(seed)
    grid = Grid((16, 16, 8), 0.21)
    points = [grid.points(torch.tensor([[0.02, -0.03, 0.01]]).double(), scale)[0] for scale in range(3)]
    boxes = random_rows(random, 9)
    boxes[0, 3:6] = torch.tensor([3.0, 3.0, 1.6])  # on the coarsest scale
    boxes[1, 3:6] = 0.25  # on the finest, with an anchor or two
    found = voxel_targets(points, boxes, 27, 18)
    expected = _plain_targets(points, boxes, 27, 18)
    assert found.boxes.tolist() == [row for row, _ in expected]
    np.testing.assert_allclose(found.centerness.numpy(), [middle for _, middle in expected], atol=1e-9)
    assert int((found.boxes == 0).sum()) > 0


def test_losses_of_one_room_by_hand():
    boxes = Boxes.upright(
        torch.tensor([[0.0, 0, 0], [3, 0, 0]]), torch.full((2, 3), 2.0), torch.zeros(2), torch.tensor([2, 0]), "abc"
    )
    anchors = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [3, 0, 0], [9, 9, 9]])
    targets = VoxelTargets(torch.tensor([0, 0, 1, -1]), torch.tensor([1.0, math.sqrt(1 / 3), 1.0, 0.0]))
    logits = torch.tensor([[0.1, -0.2, 0.3], [0.0, 0.5, 1.0], [2.0, -1, 0], [-1.0, -2, 0.4]])
    answers = ScaleOutput(torch.tensor([0.5, -0.5, 1.0, 0.0]), torch.ones(4, 3, 2), torch.zeros(4), logits)
    seen = torch.tensor([True, True, False, True])
    found = room_losses(answers, anchors, targets, boxes, seen, yaw=False)

    def focal(x: float, positive: bool) -> float:
        p = 1 / (1 + math.exp(-x))
        return -0.25 * (1 - p) ** 2 * math.log(p) if positive else -0.75 * p**2 * math.log(1 - p)

    classes = sum(focal(float(logits[i, c]), (i in (0, 1)) and c == 2) for i in range(4) if seen[i] for c in range(3))
    assert float(found["class"]) == pytest.approx(classes / 2, abs=1e-6)  # two positives are seen
    weights = [1.0, math.sqrt(1 / 3)]
    middle = sum(
        -w * math.log(1 / (1 + math.exp(-x))) - (1 - w) * math.log(1 - 1 / (1 + math.exp(-x)))
        for w, x in zip(weights, (0.5, -0.5), strict=True)
    )
    assert float(found["middle"]) == pytest.approx(middle / 2, abs=1e-6)
    overlaps = [plain_iou([x, 0, 0, 2, 2, 2, 0], [0, 0, 0, 2, 2, 2, 0]) for x in (0.0, 0.5)]
    box = sum(w * (1 - o) for w, o in zip(weights, overlaps, strict=True)) / sum(weights)
    assert float(found["box"]) == pytest.approx(box, abs=1e-6)
    turned = room_losses(answers, anchors, targets, boxes, seen, yaw=True)
    assert float(turned["box"]) == pytest.approx(box, abs=1e-5)
    nothing = room_losses(answers, anchors, targets, boxes, torch.zeros(4, dtype=torch.bool), yaw=False)
    assert {name: float(value) for name, value in nothing.items()} == {"class": 0, "middle": 0, "box": 0}


def test_the_occupancy_loss_is_ten_times_the_mean_over_all_voxels():
    config = SMALLEST_ROOMS
    preparation = RoomPreparation(config)
    random = np.random.default_rng(0)
    batch = preparation.collate([preparation.prepare(preparation.read(made_room(i)), random) for i in range(2)])
    torch.manual_seed(0)
    network = ImGeoNet(config)
    output = network(batch)
    found = losses(output, batch, config)
    points = Grid(config.voxels, config.voxel_m).points(batch.middles)
    total = 0.0
    for b in range(2):
        labels = occupancy_labels(points[b], batch.cam_from_room[b], batch.K[b], batch.depths[b], 0.32)
        chance = output.occupancy[b].detach().flatten().sigmoid()
        right = torch.where(labels, chance, 1 - chance)
        total += float((torch.where(labels, 0.25, 0.75) * (1 - right) ** 2 * -right.log()).mean())
    assert float(found["occupancy"]) == pytest.approx(10 * total / 2, rel=1e-4)
    assert set(found) == {"class", "middle", "box", "occupancy"}
    plain = losses(replace(output, occupancy=None), batch, config)
    assert set(plain) == {"class", "middle", "box"}
    assert float(plain["class"]) == float(found["class"])


def test_occupancy_labels_view_by_view():
    cameras = cameras_inside(4)
    depths = torch.from_numpy(np.stack([wall_depth(cameras[i]) for i in range(4)]))
    depths[1, :10] = 0  # not measured
    points = Grid((16, 16, 12), 0.31).points(torch.tensor([[0.1, 0, 1.0]]))[0]
    found = occupancy_labels(points, cameras.cam_from_world, cameras.K, depths, 0.32)
    expected, doubtful = torch.zeros(len(points), dtype=torch.bool), torch.zeros(len(points), dtype=torch.bool)
    for n in range(len(points)):
        for v in range(4):
            pixel, depth = project_by_definition(cameras.cam_from_world[v], cameras.K[v], points[n])
            x, y = (round(float(c) - 0.5) for c in pixel)
            if float(depth) <= 0 or not (0 <= x < 64 and 0 <= y < 48):
                continue
            measured = float(depths[v, y, x])
            expected[n] |= measured > 0 and abs(measured - float(depth)) <= 0.32
            near_edge = any(abs(float(c) % 1) < 1e-3 or abs(float(c) % 1 - 1) < 1e-3 for c in pixel)
            doubtful[n] |= near_edge or abs(abs(measured - float(depth)) - 0.32) < 1e-4
    assert torch.equal(found[~doubtful], expected[~doubtful])
    assert 0.02 < float(found.float().mean()) < 0.7


def test_coarser_anchors_are_seen_where_most_of_their_voxels_are():
    seen = torch.zeros(1, 8, 8, 4, dtype=torch.bool)
    seen[0, :2, :2, 0] = True  # four of eight: a half is not enough
    seen[0, 2:4, :2, :2] = True
    seen[0, 2, 0, 0] = False  # seven of eight
    fine, coarse, _ = seen_at_scales(seen)
    assert torch.equal(fine, seen.flatten(1))
    middle = coarse.reshape(4, 4, 2)
    assert middle.nonzero().tolist() == [[1, 0, 0]]
    expected = F.interpolate(seen[:, None].float(), scale_factor=0.25, mode="trilinear").round().bool().flatten(1)
    assert torch.equal(seen_at_scales(seen)[2], expected)


def test_boxes_become_rows_with_their_yaw():
    boxes = room_boxes(np.random.default_rng(0), ("a",), 3)
    turned = Boxes.upright(boxes.centers, boxes.sizes, torch.tensor([0.1, -2.0, 3.0]), boxes.labels, ("a",))
    torch.testing.assert_close(box_rows(turned)[:, 6], torch.tensor([0.1, -2.0, 3.0]))
    assert torch.equal(box_rows(turned)[:, :3], boxes.centers)
