"""Gradients of TSP3D's own parts against finite differences, and a network that learns eight sentences by heart."""

from __future__ import annotations

from dataclasses import replace

import torch
from fewview.detect.common.iou_3d import aligned_iou_3d
from fewview.detect.tsp3d.grounding_detector import TSP3DDetector
from fewview.detect.tsp3d.grounding_losses import distance_iou_loss, focal_loss
from fewview.detect.tsp3d.model import TSP3DModel
from fewview.detect.tsp3d.text_fusion import Fusion
from support.grounding import SMALLEST, batch, sample
from support.threads import one_torch_thread as one_torch_thread
from torch.autograd import gradcheck


def test_of_the_losses() -> None:
    generator = torch.Generator().manual_seed(0)
    # Overlapping boxes whose faces are apart, so that no minimum changes sides within the step.
    a = torch.rand(6, 6, generator=generator, dtype=torch.float64) + torch.tensor([0.0] * 3 + [1.0] * 3)
    b = torch.rand(6, 6, generator=generator, dtype=torch.float64) + torch.tensor([0.0] * 3 + [1.3] * 3)
    assert gradcheck(distance_iou_loss, (a.requires_grad_(), b))
    logits = torch.randn(9, generator=generator, dtype=torch.float64).requires_grad_()
    positive = torch.arange(9) % 3 == 0
    assert gradcheck(lambda x: focal_loss(x, positive), (logits,))


def test_of_the_fusion() -> None:
    torch.manual_seed(0)
    fusion = Fusion(replace(SMALLEST, attention_layers=2)).double().eval()
    voxels, places = (torch.randn(5, 16, dtype=torch.float64, requires_grad=True) for _ in range(2))
    words = [torch.randn(n, 16, dtype=torch.float64, requires_grad=True) for n in (3, 2)]
    rows = [torch.tensor([0, 2, 3]), torch.tensor([1, 4])]

    def out(v: torch.Tensor, p: torch.Tensor, *w: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features, said = fusion(v, p, rows, list(w), (0, 1))
        return features, *said

    assert gradcheck(out, (voxels, places, *words))


def test_eight_sentences_are_learnt_by_heart() -> None:
    """Every box overlaps its target by more than half after training on the eight alone."""
    torch.manual_seed(0)
    config = replace(
        SMALLEST,
        stage_channels=(16, 32, 32, 32),
        ffn_channels=32,
        coarse_cap=400,
        middle_cap=400,
        middle_top=400,
        fine_top_range=(399, 400),
    )
    detector = TSP3DDetector(TSP3DModel(config))
    network, optimizer = detector.network.train(), detector.optimizer()
    batches = [batch(config, (0, 1, 2, 3), (seed,) * 4) for seed in (0, 1)]
    steps = 200
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - step / steps)
        given = batches[step % 2]
        optimizer.zero_grad()
        sum(detector.loss(network(given), given).values()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
    network.eval()
    overlaps = []
    for seed, given in enumerate(batches):
        with torch.no_grad():
            boxes = detector.decode(network(given))
        for i, found in enumerate(boxes):
            target = sample(seed, i).boxes
            pair = (torch.cat([b.centers[0], b.sizes[0]]) for b in (found, target))
            overlaps.append(float(aligned_iou_3d(*pair)))
    assert min(overlaps) > 0.5, overlaps

    # At the published thresholds the network that knows what is meant leaves a part of the voxels.
    seen = {}
    for name, thresholds in (("default", {}), ("none", {"coarse_threshold": 0.0, "middle_threshold": 0.0})):
        network.config = replace(config, **thresholds)
        with torch.no_grad():
            seen[name] = network(batches[0]).counts
    for stage, factor in (("middle seen", 1), ("out", 2)):
        assert factor * seen["default"][stage] < seen["none"][stage], seen
