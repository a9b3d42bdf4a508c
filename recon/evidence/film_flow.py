"""Flow of a film: where each pixel lies in the frames before and after it, of what moves as well as of what stands."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.errors import BadInputError
from ...scene.geometry import Similarity
from .dense_flow import FlowField, checked_fields, flow_fields_of, read_field, save_flow_fields
from .evidence_file import opened_evidence
from .evidence_request import EvidenceRequest
from .raft_flow import WEIGHTS_VARIABLE, flow_between, raft_network

LEAST_SIDE_PX = 16  # of pictures that the patches of DIS fit into
CUT_DEG = 15.0  # a camera that turns by more than this from one frame to the next shows something else
Flow = Callable[[Tensor, Tensor], Tensor]  # pictures [H, W, 3] uint8 of two frames -> flow [H, W, 2], pixels


@dataclass(frozen=True)
class FilmFlow:
    """Flow from training views to their neighbours in time by the same camera, numbered in the order of
    `Dataset.train`, both ways. Empty where no view has such a neighbour.
    """

    fields: Mapping[tuple[int, int], FlowField]

    def transformed(self, new_from_world: Similarity) -> FilmFlow:
        """The same in another world frame: pixels know nothing of it."""
        return self


def film_flow(request: EvidenceRequest) -> FilmFlow:
    """Flow by the person's RAFT network where `WEIGHTS_VARIABLE` names one, else by dense inverse search (DIS).

    Its weights are those of the way there and back (`consistency`). Raises BadInputError for a capture without times.
    """
    views = [request.dataset.view(i).target(torch.full((3,), 0.5)) for i in request.dataset.train]
    pictures = [(255 * view.cpu()).round().to(torch.uint8) for view in views]
    pairs = neighbours_in_time(request)
    method, flows = _method(), {}
    for done, (i, j) in enumerate(pairs):
        request.progress("flow", done, len(pairs))
        flows[i, j] = method(pictures[i], pictures[j])
    return FilmFlow(checked_fields(flows))


def neighbours_in_time(request: EvidenceRequest) -> list[tuple[int, int]]:
    """Ordered pairs of training views, numbered in the order of `Dataset.train`, that follow each other in a film.

    Raises BadInputError for a capture without times.
    """
    dataset, cameras = request.dataset, request.dataset.cameras
    if cameras.times_s is None:
        raise BadInputError(f"The photographs of {request.capture.source} have no times: no film can be followed.")
    took = {frame.name: frame.camera for frame in request.capture.frames}
    films: dict[str | None, list[int]] = {}
    for number, view in enumerate(dataset.train):
        films.setdefault(took.get(dataset.names[view]), []).append(number)
    times, axes = cameras.times_s.tolist(), cameras.cam_from_world[:, 2, :3].double().cpu()
    pairs = []
    for film in films.values():
        ordered = sorted(film, key=lambda number: times[dataset.train[number]])
        for i, j in itertools.pairwise(ordered):
            a, b = dataset.train[i], dataset.train[j]
            turn = torch.rad2deg(torch.arccos((axes[a] @ axes[b]).clamp(-1, 1)))
            if times[a] < times[b] and dataset.view(a).pixels.shape == dataset.view(b).pixels.shape and turn <= CUT_DEG:
                pairs += [(i, j), (j, i)]
    return pairs


def _method() -> Flow:
    named = os.environ.get(WEIGHTS_VARIABLE)
    if not named:
        return dis_flow
    network = raft_network(Path(named))
    return lambda first, second: flow_between(network, first, second)


def dis_flow(first: Tensor, second: Tensor) -> Tensor:
    """Flow [H, W, 2] float32, pixels, from one picture [H, W, 3] uint8 to another (Kroeger et al. 2016)."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(np.ascontiguousarray(picture.numpy()), cv2.COLOR_RGB2GRAY) for picture in (first, second)]
    empty = np.zeros((*first.shape[:2], 2), np.float32)
    if min(first.shape[:2]) < LEAST_SIDE_PX:  # its patches do not fit
        return torch.from_numpy(empty)
    return torch.from_numpy(method.calc(grey[0], grey[1], empty))


def save_film_flow(path: Path, flow: FilmFlow, names: list[str], key: str) -> None:
    """Write the fields under the names of their views. `key` says what they were made from."""
    save_flow_fields(path, flow.fields, names, key)


def load_film_flow(path: Path, cameras: Cameras, names: list[str]) -> FilmFlow:
    """Read what `save_film_flow` wrote for views [V] of these sizes.

    Raises BadInputError when the file is damaged or belongs to other views.
    """
    with opened_evidence(path) as file:
        return FilmFlow({(i, j): read_field(file, cameras, names, i, j) for i, j in flow_fields_of(file, names)})
