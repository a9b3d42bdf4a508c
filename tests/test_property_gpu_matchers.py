"""Matchers compute on the device that they are given: on a GPU that is not there they find what the CPU finds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from fewview.recon.poses import matchers, structure_from_motion
from fewview.recon.poses.matchers import Kind, load_matcher
from fewview.recon.poses.poses_config import PosesConfig
from fewview.scene.images import load_pixels
from fewview.scene.sample import sample_path
from support.pretend_gpu import OnGpu, pretend_gpu
from torch import nn


def pictures() -> list[np.ndarray]:
    """Two neighbouring photographs of the sample, small."""
    files = sorted(sample_path().glob("*.jpg"))[:2]
    return [cv2.resize(load_pixels(file), (192, 320), interpolation=cv2.INTER_AREA) for file in files]


@pytest.mark.parametrize("kind", ["xfeat", "aliked"])
def test_a_matcher_is_where_it_is_asked_to_be(kind: Kind) -> None:
    if not matchers.is_available(kind):
        pytest.skip(f"the packages with {kind}'s weights are not installed")
    found = {}
    on_cpu = load_matcher(kind, 200)
    found["cpu"] = [on_cpu.extract(p) for p in pictures()]
    pairs = on_cpu.match(*found["cpu"])
    assert len(pairs) > 5
    with pretend_gpu():
        on_gpu = load_matcher(kind, 200, "cuda")
        networks = [v for v in vars(on_gpu).values() if isinstance(v, nn.Module)]
        assert len(networks) == 2
        assert all(isinstance(p, OnGpu) for network in networks for p in network.parameters())
        found["cuda"] = [on_gpu.extract(p) for p in pictures()]
        if kind == "xfeat":  # LightGlue's early end indexes a buffer, which wrapped tensors refuse in inference mode
            # On a GPU LightGlue leaves out unlikely keypoints from another number on, so a few pairs differ.
            same = {tuple(p) for p in pairs} & {tuple(p) for p in on_gpu.match(*found["cuda"])}
            assert len(same) > 0.7 * len(pairs)
    for a, b in zip(found["cpu"], found["cuda"], strict=True):
        assert torch.equal(a.xy_px, b.xy_px)
        torch.testing.assert_close(a.descriptors, b.descriptors)


def test_structure_from_motion_asks_for_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(Exception):
        pass

    def load(kind: Kind, keypoints: int, device: str) -> None:
        raise Asked(device)

    class Photographs:
        test = None

        def __len__(self) -> int:
            return 3

    monkeypatch.setattr(structure_from_motion, "load_matcher", load)
    with pytest.raises(Asked, match="cuda"):
        structure_from_motion._placed(Photographs(), PosesConfig(device="cuda"), lambda *_: None)  # type: ignore[arg-type]
