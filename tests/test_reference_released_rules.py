"""SparseFusion's small rules, against the released code's as they are written down here from its sources."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fewview.detect.sparsefusion.config import preset
from fewview.detect.sparsefusion.decode import in_kept_range
from fewview.detect.sparsefusion.model import SparseFusionModel
from fewview.detect.sparsefusion.parameter_groups import make_optimizer
from fewview.detect.sparsefusion.prepare import prepare
from fewview.detect.sparsefusion.query_assignment import assign_image
from fewview.detect.sparsefusion.stage_losses import losses
from fewview.detect.tasks.camera_objects import camera_objects
from fewview.detect.tasks.driving_task import CLASS_NAMES
from fewview.scene.boxes import Boxes
from support.detection import SMALLEST, make_batch, make_sample
from support.threads import one_torch_thread as one_torch_thread
from torchvision.ops import sigmoid_focal_loss


def boxes_at(centers: list[tuple[float, float, float]], height: float = 1.6) -> Boxes:
    n = len(centers)
    return Boxes.upright(
        torch.tensor(centers),
        torch.tensor([[4.6, 1.9, height]] * n),
        torch.zeros(n),
        torch.zeros(n, dtype=torch.int64),
        CLASS_NAMES,
        velocities=torch.zeros(n, 3),
        point_counts=torch.ones(n, 2, dtype=torch.int64),
    )


def test_sightings_end_with_the_birds_eye_view() -> None:
    """Two cars ahead in one camera, one of them beyond the range: the released filter drops both its targets."""
    sample = make_sample(0)
    reach = SMALLEST.point_range_m[3]
    boxes = boxes_at([(reach - 20.0, 0.5, -0.5), (reach + 2.0, 0.5, -0.5)])
    seen = camera_objects(boxes, sample.cameras)
    assert {0, 1} <= set(seen.boxes.tolist())  # a camera sees both
    targets = prepare(replace(sample, boxes=boxes, camera_objects=seen), None, SMALLEST).targets
    assert targets is not None
    assert len(targets.boxes) == 1
    assert targets.visible.tolist() == [True]
    assert len(targets.sightings.views) == int((seen.boxes == 0).sum())
    assert float(targets.sightings.codes[:, 2].max()) < reach  # depths of the near one only


def test_rates_and_decays_of_swin_t() -> None:
    """MMCV takes the longest part of a name that has a rule: see `custom_keys` of the released configuration."""
    config = replace(SMALLEST, image_backbone="swin_t", image_frozen=False, learning_rate=1.0, weight_decay=1.0,
                     trunk_lr_factor=0.1, lidar_lr_factor=0.1, backbone_decay_factor=5.0)  # fmt: skip
    model = SparseFusionModel(config)
    names = {id(p): n for n, p in model.named_parameters()}
    found = {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in make_optimizer(model, config).param_groups
        for p in group["params"]
    }
    assert set(found) == {n for n, p in model.named_parameters() if p.requires_grad}
    trunk = "image_trunk.backbone"
    expected = {
        f"{trunk}.features.1.0.attn.qkv.weight": (0.1, 5.0),
        f"{trunk}.features.1.0.norm1.weight": (0.1, 5.0),  # "img_backbone" is longer than "norm"
        f"{trunk}.norms.2.bias": (0.1, 5.0),
        f"{trunk}.features.1.0.attn.relative_position_bias_table": (1.0, 0.0),  # the longest of all
        "image_trunk.neck.inner_blocks.0.0.weight": (0.1, 1.0),
        "camera_branch.decoder.norm2.weight": (1.0, 0.0),
        "view_transform.view_projection.1.weight": (1.0, 0.0),  # view_projection.norm there
        "fusion.lidar_projection.1.bias": (1.0, 0.0),
        "semantic_transfer.lidar_projection.1.weight": (1.0, 1.0),  # heatmap_pts_proj.1 there: no "norm" in it
        "camera_branch.heads.cls.1.weight": (1.0, 1.0),
        "fusion.heads.center.1.weight": (1.0, 1.0),  # a batch norm called bn
        "fusion.decoder.linear1.weight": (1.0, 1.0),
        "lidar_branch.decoder.norm2.weight": (0.1, 1.0),  # "pts_bbox_head.point_transformer" is longer than "norm"
    }
    assert {name: found[name] for name in expected} == expected
    r50 = replace(preset("paper"), lidar_frozen=False, image_frozen=False)
    with torch.device("meta"):
        groups = make_optimizer(SparseFusionModel(r50), r50).param_groups
    assert {group["weight_decay"] for group in groups} == {0.01}


def test_boxes_are_kept_by_their_floors() -> None:
    tall = boxes_at([(0, 0, 11.5), (0, 0, -9.0), (0, 0, 12.5), (61, 0, 0), (61.3, 0, 0)], height=4.0)
    assert in_kept_range(tall).tolist() == [True, False, False, True, False]


def test_matches_in_a_wrong_view_share_the_losses() -> None:
    """They have no loss of their own, but count in the number that the losses are divided by."""
    torch.manual_seed(0)
    model = SparseFusionModel(SMALLEST).eval()
    batch = make_batch(SMALLEST, (0,))
    assert batch.targets is not None
    sightings = batch.targets[0].sightings
    elsewhere = sightings.views != 5
    sightings = type(sightings)(*(value[elsewhere] for value in vars(sightings).values()))
    targets = replace(batch.targets[0], sightings=sightings)
    batch = replace(batch, targets=(targets,))
    with torch.no_grad():
        output = model(batch)
    assert output.image is not None
    assert output.image_queries is not None
    views = torch.full_like(output.image_queries.views, 5)  # in which nothing is to be seen
    output = replace(output, image_queries=replace(output.image_queries, views=views))
    codes, logits = output.image[0]
    queries, _ = assign_image(codes, logits, views[0], 0, targets, batch.views, SMALLEST)
    assert len(queries) > 1
    unmatched = torch.ones(len(logits), dtype=torch.bool)
    unmatched[queries] = False
    background = sigmoid_focal_loss(logits[unmatched], torch.zeros_like(logits[unmatched]), 0.25, 2.0).sum()
    found = losses(output, batch, SMALLEST)
    assert float(found["image_class"]) == pytest.approx(float(background) / len(queries), rel=1e-4)  # float32 sums
    assert float(found["image_center"]) == 0


def test_the_border_of_the_photograph() -> None:
    """Semantic transfer looks at points up to the photograph's border, sparse depth up to a pixel before it."""
    views = make_batch(SMALLEST, (0,)).views
    pose, K = views.cam_from_lidar[0, 0].double(), views.K[0, 0].double()
    width, height = views.valid_px[0, 0].tolist()
    pixels = torch.tensor([[x, height / 2] for x in (0.25, width - 1.5, width - 0.5, width + 0.5)]).double()
    rays = torch.cat([pixels, torch.ones(4, 1).double()], dim=1) @ torch.linalg.inv(K).T * 10.0
    points = ((rays - pose[:3, 3]) @ pose[:3, :3]).float()
    _, _, inside = views.project(0, points, 1e-5)
    assert inside[0].tolist() == [True, True, True, False]
    _, _, inside = views.project(0, points, 1e-4, border_px=1.0)
    assert inside[0].tolist() == [True, True, False, False]
