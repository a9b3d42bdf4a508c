"""Monocular depth that the person has: maps by name, a Depth Anything V2 folder, our own weights; and bad ones."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from fewview.recon.evidence import DepthMap, Stereo, evidence_kinds
from fewview.recon.evidence.depth_anything_v2 import DepthAnythingV2
from fewview.recon.evidence.depth_prior import BUNDLED, DepthPrior
from fewview.recon.evidence.depth_prior.prior_weights import save_prior
from fewview.recon.evidence.evidence_kinds import MONOCULAR_DEPTH, gather
from fewview.recon.evidence.given_prior import OWN
from fewview.recon.evidence.monocular_depth import MonocularDepth
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.pipeline.prepare_method import prepare_method
from fewview.recon.pipeline.reconstruct_config import ReconstructConfig
from fewview.scene.errors import BadInputError
from fewview.scene.run import Run
from support.training import HEIGHT, WIDTH, capture_of, tiny_dataset

SLOPE = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)


@pytest.fixture(autouse=True)
def wall(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stereo sees a wall three units away, and notes that it was asked."""
    asked: list[int] = []

    def sees(dataset: Dataset, seed: int, progress: object) -> Stereo:
        asked.append(seed)
        maps = [DepthMap(torch.full((HEIGHT, WIDTH), 3.0), torch.full((HEIGHT, WIDTH), 5.0)) for _ in dataset.train]
        return Stereo(dataset.cameras[list(dataset.train)], tuple(maps))

    monkeypatch.setattr(evidence_kinds, "stereo_depth", sees)
    return asked


def asked_with(tmp_path: Path, prior: Path, run: str = "run") -> MonocularDepth:
    dataset, path = tiny_dataset(2), tmp_path / run
    kept = Run.open(path) if path.is_dir() else Run.create(path, {})
    found: MonocularDepth = gather(MONOCULAR_DEPTH, kept, capture_of(dataset), dataset, 0, prior=prior)
    return found


def maps(folder: Path, *values: np.ndarray) -> Path:
    folder.mkdir()
    for number, one in enumerate(values):
        np.save(folder / f"view_{number}.npy", one)
    return folder


def test_maps_are_taken_by_name(tmp_path: Path, wall: list[int]) -> None:
    large = np.kron(SLOPE, np.ones((2, 2), np.float32))
    found = asked_with(tmp_path, maps(tmp_path / "maps", SLOPE, large - 3))
    assert wall == []
    assert np.array_equal(found.disparity[0].numpy(), SLOPE)
    assert float(found.disparity[1].min()) == pytest.approx(0, abs=0.05)  # offsets say nothing, so none is negative
    assert found.disparity[1].shape == (HEIGHT, WIDTH)
    assert np.allclose(np.diff(found.disparity[1].numpy()), np.diff(SLOPE), atol=1e-3)


def test_another_prior_is_another_evidence(tmp_path: Path) -> None:
    asked_with(tmp_path, maps(tmp_path / "one", SLOPE, SLOPE))
    other = asked_with(tmp_path, maps(tmp_path / "other", 2 * SLOPE, 3 * SLOPE))
    assert np.array_equal(other.disparity[1].numpy(), 3 * SLOPE)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones((HEIGHT, WIDTH), np.float32), "differ from pixel to pixel"),
        (np.where(SLOPE > 0.5, np.nan, SLOPE), "finite numbers"),
        (SLOPE[:, : WIDTH // 2], "does not fit a photograph"),
        (np.stack([SLOPE] * 3, -1), "one number for each pixel"),
    ],
)
def test_malformed_maps_are_one_sentence(tmp_path: Path, value: np.ndarray, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        asked_with(tmp_path, maps(tmp_path / "maps", SLOPE, value))


def test_a_prior_that_the_method_has_no_use_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="the method 3dgs does not use"):
        ReconstructConfig(method="3dgs", depth_prior=tmp_path)
    # The method is chosen later: one that takes a prior accepts no --densify.
    dataset, config = tiny_dataset(2), ReconstructConfig(depth_prior=tmp_path, densify="mcmc")
    with pytest.raises(BadInputError, match=r"--depth-prior gives monocular depth, which the method \w+ does not use"):
        prepare_method(Run.create(tmp_path / "run", {}), capture_of(dataset), dataset, config)


def test_malformed_folders_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nothing at"):
        asked_with(tmp_path, tmp_path / "absent")
    with pytest.raises(BadInputError, match=r"view_1\.npy is missing"):
        asked_with(tmp_path, maps(tmp_path / "maps", SLOPE), "other")
    (tmp_path / "maps" / "view_1.npy").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(BadInputError, match="not a NumPy array file"):
        asked_with(tmp_path, tmp_path / "maps", "third")


def test_weights_of_our_own_continue_what_stereo_knows(tmp_path: Path, wall: list[int]) -> None:
    torch.manual_seed(0)
    save_prior(tmp_path / "w.safetensors", DepthPrior())
    found = asked_with(tmp_path, tmp_path / "w.safetensors")
    assert wall == [0]
    known = safetensors.torch.load_file(tmp_path / "run" / "evidence" / "depth.safetensors")["depth/view_0"]
    assert torch.allclose(found.disparity[0], 1 / known, rtol=1e-3)


def test_the_word_network_means_the_weights_that_come_with_fewview(tmp_path: Path, wall: list[int]) -> None:
    assert BUNDLED.stat().st_size < 12e6
    found = asked_with(tmp_path, OWN)
    assert wall == [0]
    known = safetensors.torch.load_file(tmp_path / "run" / "evidence" / "depth.safetensors")["depth/view_0"]
    assert torch.allclose(found.disparity[0], 1 / known, rtol=1e-3)


def test_a_config_of_another_model_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BadInputError, match="'depth_anything' with its backbone_config is expected"):
        asked_with(tmp_path, folder)
    (folder / "config.json").write_text("[1, 2")
    with pytest.raises(BadInputError, match="cannot be read"):
        asked_with(tmp_path, folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Depth Anything V2 with random weights, saved as the released ones are."""
    transformers = pytest.importorskip("transformers", reason="the optional package transformers is not installed")
    backbone = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=4, num_attention_heads=2, patch_size=14, image_size=56,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, patch_size=14, reassemble_hidden_size=24, neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8, head_hidden_size=8, head_in_index=-1,
    )  # fmt: skip
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("model")
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder, safe_serialization=True)
    return folder


def test_reference_depth_anything_equals_the_package(model: Path) -> None:
    transformers = pytest.importorskip("transformers")
    generator = torch.Generator().manual_seed(2)
    image = torch.randint(256, (56, 70, 3), generator=generator).to(torch.uint8)
    ours = DepthAnythingV2.load(model)
    ours.short_side_px = 56
    network = transformers.DepthAnythingForDepthEstimation.from_pretrained(model, local_files_only=True).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        truth = network(pixel_values=((image / 255 - mean) / std).permute(2, 0, 1)[None].float()).predicted_depth[0]
    assert torch.allclose(ours.disparity(image), truth, atol=1e-5)
    wide = torch.randint(256, (90, 140, 3), generator=generator).to(torch.uint8)
    assert ours.disparity(wide).shape == (90, 140)


def test_malformed_models_are_one_sentence(model: Path, tmp_path: Path) -> None:
    state = safetensors.torch.load_file(model / "model.safetensors")
    name = next(iter(state))
    (tmp_path / "config.json").write_bytes((model / "config.json").read_bytes())
    safetensors.torch.save_file({k: v for k, v in state.items() if k != name}, tmp_path / "model.safetensors")
    with pytest.raises(BadInputError, match="holds no Depth Anything V2 network: 1 of its tensors"):
        DepthAnythingV2.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(BadInputError, match="pickle"):
        DepthAnythingV2.load(tmp_path)
    safetensors.torch.save_file({k: v * torch.nan for k, v in state.items()}, tmp_path / "model.safetensors")
    with pytest.raises(BadInputError, match="not finite"):
        DepthAnythingV2.load(tmp_path)
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    config = json.loads((model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"backbone_config": {"model_type": "nothing"}}))
    with pytest.raises(BadInputError, match="that can be read"):
        DepthAnythingV2.load(tmp_path)
