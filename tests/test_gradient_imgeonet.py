"""Gradients of the losses of boxes and of the sums over views, against finite differences."""

from __future__ import annotations

import numpy as np
import torch
from fewview.detect.common.iou_3d import aligned_iou_3d, paired_iou_3d
from fewview.detect.imgeonet.face_distances import box_from_distances
from fewview.detect.imgeonet.voxel_volume import sum_features
from support.rooms import random_rows
from torch.autograd import gradcheck


def test_overlaps_have_the_gradients_of_their_formula():
    random = np.random.default_rng(3)
    a, b = random_rows(random, 120), random_rows(random, 120)
    touching = paired_iou_3d(a, b) > 0.02  # away from where boxes begin to touch
    a, b = a[touching].requires_grad_(), b[touching].requires_grad_()
    assert len(a) > 8
    assert gradcheck(paired_iou_3d, (a, b))
    flat = [rows.detach()[:, :6].clone().requires_grad_() for rows in (a, b)]
    assert gradcheck(aligned_iou_3d, flat)


def test_boxes_that_coincide_have_finite_gradients():
    rows = torch.tensor([[0.0, 0, 0, 1, 1, 1, 0], [1, 2, 3, 2, 1, 1, 0.5]])
    found, truth = rows.clone().requires_grad_(), rows
    paired_iou_3d(found, truth).sum().backward()
    assert bool(torch.isfinite(found.grad).all())


def test_a_decoded_box_overlaps_more_as_it_is_trained():
    """Gradient descent on the loss of turned boxes finds the box."""
    truth = torch.tensor([[0.2, -0.1, 0.4, 1.6, 0.9, 1.1, 0.4]])
    log_distances, yaw = torch.zeros(1, 3, 2, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([log_distances, yaw], lr=0.02)
    overlaps = []
    for _ in range(300):
        found = paired_iou_3d(box_from_distances(torch.zeros(1, 3), log_distances.exp(), yaw), truth)
        optimizer.zero_grad()
        (1 - found).sum().backward()
        optimizer.step()
        overlaps.append(float(found.detach()))
    assert overlaps[0] < 0.5
    assert max(overlaps) > 0.93


def test_sums_over_views_have_the_gradients_of_their_formula():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    cells = torch.randint(0, 2, (2, 5, 2), generator=generator)
    seen = torch.tensor([[True, False, True, True, False], [True, True, False, True, False]])

    def both(x):
        return sum_features(x, cells, seen).mean_and_variance()

    assert gradcheck(both, (features,))
