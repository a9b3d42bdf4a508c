"""Evidence and photographs that CoherentGS cannot use: one sentence each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from fewview.recon.evidence.dense_flow import DenseFlow, FlowField, load_flow, save_flow
from fewview.recon.evidence.monocular_depth import MonocularDepth
from fewview.recon.methods.coherentgs.config import CoherentConfig, configure
from fewview.recon.methods.coherentgs.prepared_views import prepared_views
from fewview.recon.methods.method_contract import Inputs
from fewview.scene.errors import BadInputError
from support.coherent_scenes import evidence_of
from support.few_views import wall_and_ball
from support.training import capture_of, tiny_dataset

INVERSE = CoherentConfig(alignment="inverse")


@pytest.mark.parametrize("views", [1, 10])
def test_too_few_or_too_many_photographs(views: int) -> None:
    dataset = tiny_dataset(views)
    with pytest.raises(BadInputError, match=f"needs 2 to 9 photographs to train on, found {views}"):
        configure(Inputs(dataset, capture_of(dataset)), {})


def test_cameras_in_one_place() -> None:
    scene = wall_and_ball(3)
    dataset, monocular, _ = evidence_of(scene)
    one = dataset.cameras[torch.tensor([0, 0, 0])]
    still = {
        (i, j): FlowField(torch.zeros(36, 48, 2), torch.ones(36, 48)) for i in range(3) for j in range(3) if i != j
    }
    with pytest.raises(BadInputError, match="taken from one place"):
        prepared_views(replace(dataset, cameras=one), monocular, DenseFlow(still), INVERSE)


def test_flow_that_fails_its_check_everywhere() -> None:
    dataset, monocular, flow = evidence_of(wall_and_ball(3))
    failed = DenseFlow({pair: replace(f, weight=0 * f.weight) for pair, f in flow.fields.items()})
    with pytest.raises(BadInputError, match="fails its check everywhere"):
        prepared_views(dataset, monocular, failed, INVERSE)


def test_flow_of_other_views() -> None:
    dataset, monocular, _ = evidence_of(wall_and_ball(3))
    _, _, flow = evidence_of(wall_and_ball(2))
    with pytest.raises(BadInputError, match="Flow between 2 views was given for 3"):
        prepared_views(dataset, monocular, flow, INVERSE)
    with pytest.raises(ValueError, match="ordered pairs"):
        DenseFlow({(0, 1): flow.fields[0, 1]})
    with pytest.raises(ValueError, match="expected flow"):
        FlowField(torch.zeros(3, 4), torch.zeros(3, 4))


def test_monocular_depth_that_is_one_value_or_of_another_size() -> None:
    dataset, monocular, flow = evidence_of(wall_and_ball(3))
    flat = MonocularDepth((*monocular.disparity[:2], torch.full((36, 48), 0.4)))
    with pytest.raises(BadInputError, match="depth of view_2 is the same everywhere"):
        prepared_views(dataset, flat, flow, INVERSE)
    small = MonocularDepth((*monocular.disparity[:2], torch.rand(18, 24)))
    with pytest.raises(BadInputError, match=r"\(18, 24\).*for training photographs of"):
        prepared_views(dataset, small, flow, INVERSE)


def test_photographs_of_which_nothing_counts() -> None:
    dataset, monocular, flow = evidence_of(wall_and_ball(2))
    nothing = tuple(replace(v, mask=torch.zeros(36, 48, dtype=torch.bool)) for v in dataset.views)
    with pytest.raises(BadInputError, match="masked or transparent"):
        prepared_views(replace(dataset, views=nothing), monocular, flow, INVERSE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alignment": "guess"}, "alignment is 'guess'; learned, inverse, off is expected"),
        ({"initial_opacity": 1.0}, "initial_opacity in"),
        ({"layers": 0}, "layers is 0"),
        ({"spacing_px": 0}, "spacing_px is 0"),
        ({"reset_until": 1.5}, "reset_until is 1.5"),
    ],
)
def test_settings_out_of_bounds(changes: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        CoherentConfig(**changes)  # type: ignore[arg-type]


def test_a_file_of_flow_goes_through_and_damage_is_told(tmp_path: Path) -> None:
    dataset, _, flow = evidence_of(wall_and_ball(3))
    names, path = list(dataset.names), tmp_path / "evidence" / "flow.safetensors"
    save_flow(path, flow, names, "key")
    read = load_flow(path, dataset.cameras, names)
    for pair, field in flow.fields.items():
        assert torch.equal(read.fields[pair].flow, field.flow)
        assert torch.equal(read.fields[pair].weight, field.weight)
    with pytest.raises(BadInputError, match="Delete it, and --resume computes it again"):
        load_flow(path, dataset.cameras, ["other", *names[1:]])
    with pytest.raises(BadInputError, match=r"flow \[18, 24, 2\].*are expected"):
        load_flow(path, dataset.cameras.resized(24, 18), names)
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(BadInputError, match="cannot be used"):
        load_flow(path, dataset.cameras, names)
    tensors = safetensors.torch.load(whole)
    for key, wrong in (("flow/view_0|view_1", float("nan")), ("weight/view_0|view_1", 2.0)):
        safetensors.torch.save_file(tensors | {key: torch.full_like(tensors[key], wrong)}, path)
        with pytest.raises(BadInputError, match="finite flow and weights from 0 to 1"):
            load_flow(path, dataset.cameras, names)
