"""Detectors on a GPU that is not there: a training step and a prediction, and how often they wait for the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fewview.detect.detector import Detector
from fewview.detect.imgeonet.imgeonet_detector import ImGeoNetDetector
from fewview.detect.imgeonet.model import ImGeoNet
from fewview.detect.measure import Predictor
from fewview.detect.sparse import CoordinateSet, kernel_map
from fewview.detect.sparsefusion.driving_detector import SparseFusionDetector
from fewview.detect.sparsefusion.model import SparseFusionModel
from fewview.detect.training import DetectorTraining
from fewview.detect.tsp3d.grounding_detector import TSP3DDetector
from fewview.detect.tsp3d.model import TSP3DModel
from fewview.learn import TrainRun, fit
from support import detection, grounding, rooms
from support.pretend_gpu import OnGpu, pretend_gpu


def sparsefusion() -> tuple[Detector, Any]:
    return SparseFusionDetector(SparseFusionModel(detection.SMALLEST)), detection.MadeSamples(2)


def tsp3d() -> tuple[Detector, Any]:
    return TSP3DDetector(TSP3DModel(grounding.SMALLEST)), grounding.TwoRooms()


def imgeonet() -> tuple[Detector, Any]:
    config = rooms.small_config()
    return ImGeoNetDetector(ImGeoNet(config)), rooms.MadeRooms(4, config.classes)


@pytest.mark.parametrize("make", [sparsefusion, tsp3d, imgeonet], ids=["SparseFusion", "TSP3D", "ImGeoNet"])
def test_a_detector_trains_and_predicts_on_a_gpu(make: Callable[[], tuple[Detector, Any]]) -> None:
    torch.manual_seed(0)
    detector, samples = make()
    with pretend_gpu():
        detector.network.to("cuda")
        assert all(isinstance(p, OnGpu) for p in detector.network.parameters())
        result = fit(detector.network, DetectorTraining(detector, samples, 3), TrainRun(stop_after=2))
        assert result.step == 2
        assert all(np.isfinite(value) for value in result.losses.values())
        boxes = Predictor(detector, torch.device("cuda"))(samples[0])
        assert not isinstance(boxes.centers, OnGpu)


def test_a_kernel_map_waits_once_and_a_convolution_for_nothing() -> None:
    present = (torch.rand(2, 6, 7, 8, generator=torch.Generator().manual_seed(0)) < 0.3).nonzero().int()
    with pretend_gpu() as gpu:
        voxels = CoordinateSet.checked(present.to("cuda"), 2, (6, 7, 8))
        voxels.sorted_keys()
        kernel_map.submanifold_map(voxels, (3, 3, 3), (2, 2, 2))  # copies the slots' offsets, once in a program
        kernel_map.submanifold_map(voxels, (3, 3, 3), (1, 1, 1))
        voxels.cache.pop(next(reversed(voxels.cache)))
        with gpu.waits() as waits:
            found = kernel_map.submanifold_map(voxels, (3, 3, 3), (1, 1, 1))
        assert waits.count == 1, f"\n{waits}"
        assert found.n_pairs > len(voxels)
        with gpu.waits() as waits:
            found.slot(5)
            found.counts()
            found.transposed().slot(3)
        assert waits.count == 0, f"\n{waits}"
