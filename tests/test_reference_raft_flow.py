"""RAFT as a provider of dense flow: torchvision's own network with random weights, read from files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fewview.recon.evidence.evidence_kinds import FLOW, gather
from fewview.recon.evidence.raft_flow import WEIGHTS_VARIABLE, flow_between, raft_network
from fewview.scene.errors import BadInputError
from fewview.scene.run import Run
from support.training import capture_of, tiny_dataset
from torchvision.models.optical_flow import raft_large, raft_small


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights, as torchvision's own are kept."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


def test_flow_is_that_of_torchvisions_network(weights: Path) -> None:
    network, plain = raft_network(weights), raft_small(weights=None).eval()
    plain.load_state_dict(torch.load(weights, weights_only=True))
    g = torch.Generator().manual_seed(1)
    first, second = torch.randint(256, (2, 128, 136, 3), generator=g).to(torch.uint8)
    pair = [(p.permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5 for p in (first, second)]
    with torch.no_grad():
        wanted = plain(*pair)[-1][0].permute(1, 2, 0)
    torch.testing.assert_close(flow_between(network, first, second), wanted, atol=1e-3, rtol=1e-3)
    assert flow_between(network, first[:70, :90], second).shape == (70, 90, 2)


def test_the_person_s_network_comes_before_stereo(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights))
    dataset = tiny_dataset(2)
    run = Run.create(tmp_path / "run", {})
    flow = gather(FLOW, run, capture_of(dataset), dataset, 0)
    assert sorted(flow.fields) == [(0, 1), (1, 0)]
    assert flow.fields[0, 1].flow.shape == (24, 32, 2)
    assert not run.depth_path.exists()  # no stereo was needed


def test_files_that_are_no_raft_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=WEIGHTS_VARIABLE):
        raft_network(tmp_path / "absent.pth")
    other = tmp_path / "other.pth"
    torch.save({"conv.weight": torch.zeros(3, 3)}, other)
    with pytest.raises(BadInputError, match="is not a RAFT network of torchvision"):
        raft_network(other)
    pickled = tmp_path / "pickled.pth"
    torch.save(raft_large, pickled)
    with pytest.raises(BadInputError, match="could run code"):
        raft_network(pickled)
