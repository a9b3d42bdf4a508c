"""Kinds of evidence: what is known about a scene before training, asked for by kind and never by who provides it.

Each kind has providers, tried in order, and a file in the run. A method names the kinds that it needs; a provider asks
for other kinds in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...scene.capture import Capture
from ...scene.errors import BadInputError
from ...scene.geometry import Similarity
from ...scene.progress import Progress, silent
from ...scene.run import Run
from ...scene.triangle_mesh import Mesh
from ..optimise.dataset import Dataset
from ..optimise.normalised_frame import world_from_normalised
from .dense_flow import DenseFlow, load_flow, save_flow
from .depth_file import load_stereo, save_stereo
from .depth_maps import Stereo
from .depth_prior import BUNDLED, load_prior
from .evidence_file import PLACED, stored_key
from .evidence_request import EvidenceRequest
from .filled_disparity import filled_disparity
from .film_flow import FilmFlow, film_flow, load_film_flow, save_film_flow
from .flow_by_depth import flow_by_depth
from .given_depth import given_depth
from .given_prior import digest_of, given_prior, prior_digest
from .learned_disparity import continued_disparity
from .mesh_file import load_static_mesh, save_static_mesh
from .monocular_depth import MonocularDepth, load_monocular, save_monocular
from .patch_features import PatchFeatures, classical_patch_features, load_patch_features, save_patch_features
from .raft_flow import raft_flow
from .static_mesh import mesh_of_first_moment
from .stereo.stereo_depth import stereo_depth

DEPTH = "depth"  # `Stereo`: dense depth with confidence of the training views, in the order of `Dataset.train`
CONTINUED_DEPTH = "continued_depth"  # `MonocularDepth`: known depth as the depth network that comes along goes on
MONOCULAR_DEPTH = "monocular_depth"  # `MonocularDepth`: relative inverse depth of the training views, in that order
FILM_FLOW = "film_flow"  # `FilmFlow`: pixel flow between training views that follow each other in a film
FLOW = "flow"  # `DenseFlow`: pixel flow between every two training views, with weights of consistency
PATCH_FEATURES = "patch_features"  # `PatchFeatures`: grids of unit vectors of the training views, in that order
STATIC_MESH = "static_mesh"  # `Mesh`: the object as it is at the first moment, in the frame of the cameras


Provider = Callable[[EvidenceRequest], Any]  # -> the evidence; None where it cannot be had that way


@dataclass(frozen=True)
class Kind:
    """A kind of evidence: its providers, the best first, and its file."""

    providers: tuple[Provider, ...]
    save: Callable[[Path, Any, list[str], str], None]  # (path, value, view names, key)
    load: Callable[[Path, Any, list[str]], Any]  # (path, cameras, view names)
    transformed: Callable[[Any, Similarity], Any]  # (value, new_from_world) -> the same in another world frame
    # Whatever decides the value besides the seed and the data set, for the key of its file.
    made_with: Callable[[EvidenceRequest], str] = lambda request: ""


def _depth_by_stereo(request: EvidenceRequest) -> Stereo:
    # Tolerances of matching are lengths in the normalised frame.
    dataset = request.dataset
    to_world = world_from_normalised(dataset.cameras[list(dataset.train)])
    return stereo_depth(dataset.transformed(to_world.inverse()), request.seed, request.progress).transformed(to_world)


def _given_prior(request: EvidenceRequest) -> MonocularDepth | None:
    return given_prior(request, DEPTH)


def _continued(request: EvidenceRequest) -> MonocularDepth:
    return continued_disparity(load_prior(BUNDLED), request.dataset, request.gather(DEPTH), request.progress)


def _filled(request: EvidenceRequest) -> MonocularDepth:
    return filled_disparity(request.dataset, request.gather(DEPTH))


def _flow_by_depth(request: EvidenceRequest) -> DenseFlow:
    return flow_by_depth(request.gather(DEPTH))


def _static_mesh(request: EvidenceRequest) -> Mesh | None:
    return mesh_of_first_moment(request.capture, request.dataset)


KINDS = {
    DEPTH: Kind(
        (given_depth, _depth_by_stereo),
        save=save_stereo,
        load=load_stereo,
        transformed=Stereo.transformed,
    ),
    MONOCULAR_DEPTH: Kind(
        (_given_prior, _filled),
        save=save_monocular,
        load=load_monocular,
        transformed=MonocularDepth.transformed,
        made_with=prior_digest,
    ),
    CONTINUED_DEPTH: Kind(
        (_continued,),
        save=save_monocular,
        load=load_monocular,
        transformed=MonocularDepth.transformed,
        made_with=lambda request: digest_of(BUNDLED),
    ),
    FLOW: Kind(
        (raft_flow, _flow_by_depth),
        save=save_flow,
        load=load_flow,
        transformed=DenseFlow.transformed,
    ),
    FILM_FLOW: Kind(
        (film_flow,),
        save=save_film_flow,
        load=load_film_flow,
        transformed=FilmFlow.transformed,
    ),
    PATCH_FEATURES: Kind(
        (classical_patch_features,),
        save=save_patch_features,
        load=load_patch_features,
        transformed=PatchFeatures.transformed,
    ),
    STATIC_MESH: Kind(
        (_static_mesh,),
        save=save_static_mesh,
        load=load_static_mesh,
        transformed=Mesh.moved,
    ),
}


def gather(
    kind: str,
    run: Run,
    capture: Capture,
    dataset: Dataset,
    seed: int,
    progress: Progress = silent,
    prior: Path | None = None,  # of monocular depth that the person has
) -> Any:
    """Evidence of a kind about the training views; computed once for a run and its photographs, cameras and points.

    What it is made of, such as the depth behind a monocular one, is gathered and kept in the same way. Raises
    BadInputError for an unknown kind, for one that nothing here can provide, and for a damaged file.
    """
    if kind not in KINDS:
        raise BadInputError(f"There is no evidence of kind {kind!r}; there is {', '.join(KINDS)}.")
    found, path = KINDS[kind], run.evidence_path(kind)
    views = list(dataset.train)
    names, cameras = [dataset.names[i] for i in views], dataset.cameras[views].to("cpu")

    def other(wanted: str) -> Any:
        return gather(wanted, run, capture, dataset, seed, progress, prior)

    request = EvidenceRequest(capture, dataset, seed, other, progress, prior)
    key = f"{seed} {dataset.fingerprint()} {found.made_with(request)}".rstrip()
    if path.is_file() and stored_key(path) in (PLACED, key):
        return found.load(path, cameras, names)
    for provide in found.providers:
        value = provide(request)
        if value is not None:
            found.save(path, value, names, key)
            return found.load(path, cameras, names)  # the same bits as when the run is continued
    raise BadInputError(f"Nothing here provides evidence of kind {kind!r} for {capture.source}.")
