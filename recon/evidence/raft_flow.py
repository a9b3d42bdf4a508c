"""Dense flow by RAFT (Teed and Deng 2020), for people who have torchvision's weights; nothing is downloaded."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...learn.foreign_weights import check_weights, fill_network, read_weights
from ...scene.errors import BadInputError
from .dense_flow import DenseFlow, checked_flow
from .evidence_request import EvidenceRequest

WEIGHTS_VARIABLE = "FEWVIEW_RAFT_WEIGHTS"  # names a file such as raft_large_C_T_SKHT_V2-ff5fadd5.pth
MULTIPLE_PX, LEAST_PX = 8, 128  # that sides must be multiples of, and the least that the correlation pyramid takes


def raft_flow(request: EvidenceRequest) -> DenseFlow | None:
    """Flow between all training views by the person's RAFT network; None where the variable names no file.

    Raises BadInputError for a file that is no RAFT of torchvision's, small or large.
    """
    named = os.environ.get(WEIGHTS_VARIABLE)
    if not named:
        return None
    network = raft_network(Path(named))
    views = [request.dataset.view(i).pixels[..., :3].cpu() for i in request.dataset.train]
    pairs = list(itertools.permutations(range(len(views)), 2))
    flows = {}
    for done, (i, j) in enumerate(pairs):
        request.progress("flow", done, len(pairs))
        flows[i, j] = flow_between(network, views[i], views[j])
    return checked_flow(flows)


def raft_network(path: Path) -> Any:
    """Torchvision's RAFT with the weights of a file, the small one or the large one by their names."""
    from torchvision.models.optical_flow import raft_large, raft_small

    if not path.is_file():
        raise BadInputError(f"{path}, which the variable {WEIGHTS_VARIABLE} names, is not there.")
    state, _ = read_weights(path)
    # The large one predicts how to upsample its flow, the small one does not.
    make = raft_large if any(name.startswith("mask_predictor") for name in state) else raft_small
    network = make(weights=None)
    fill_network(network, check_weights(state, network, path, "a RAFT network of torchvision"), "cpu")
    return network


@torch.no_grad()
def flow_between(
    network: Any,
    first: Tensor,  # [H, W, 3] uint8
    second: Tensor,  # [Hj, Wj, 3] uint8
) -> Tensor:
    """Flow [H, W, 2] float32; both pictures are filled up at their right and lower borders to one size."""
    height, width = (_fitting(max(first.shape[axis], second.shape[axis])) for axis in (0, 1))
    pair = [_filled_up(picture, height, width) for picture in (first, second)]
    flow = network(*pair)[-1][0].permute(1, 2, 0)
    return flow[: first.shape[0], : first.shape[1]].contiguous()


def _fitting(size: int) -> int:
    return max(LEAST_PX, -(-size // MULTIPLE_PX) * MULTIPLE_PX)


def _filled_up(picture: Tensor, height: int, width: int) -> Tensor:
    """[1, 3, height, width] in [-1, 1], the last row and column repeated."""
    values = (picture.float() / 127.5 - 1).permute(2, 0, 1)[None]
    return F.pad(values, (0, width - picture.shape[1], 0, height - picture.shape[0]), mode="replicate")
