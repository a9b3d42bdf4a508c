"""Kinds of evidence: what is known about a scene before training, asked for by kind and never by who provides it.

Each kind has providers, tried in order, and a file in the run. A method names the kinds that it needs.
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
from .depth_file import PLACED, load_stereo, save_stereo, stored_key
from .depth_maps import Stereo
from .given_depth import given_depth
from .mesh_file import load_static_mesh, save_static_mesh
from .static_mesh import mesh_of_first_moment
from .stereo.stereo_depth import stereo_depth

DEPTH = "depth"  # `Stereo`: dense depth with confidence of the training views, in the order of `Dataset.train`
STATIC_MESH = "static mesh"  # `Mesh`: the object as it is at the first moment, in the frame of the cameras


# (capture, data set, seed, progress) -> the evidence; None where it cannot be had that way
Provider = Callable[[Capture, Dataset, int, Progress], Any]


@dataclass(frozen=True)
class Kind:
    """A kind of evidence: its providers, the best first, and its file."""

    providers: tuple[Provider, ...]
    save: Callable[[Path, Any, list[str], str], None]  # (path, value, view names, key)
    load: Callable[[Path, Any, list[str]], Any]  # (path, cameras, view names)
    key: Callable[[Path], str]  # that the file was saved under
    transformed: Callable[[Any, Similarity], Any]  # (value, new_from_world) -> the same in another world frame


def _depth_by_stereo(capture: Capture, dataset: Dataset, seed: int, progress: Progress) -> Any:
    # Tolerances of matching are lengths in the normalised frame.
    to_world = world_from_normalised(dataset.cameras[list(dataset.train)])
    return stereo_depth(dataset.transformed(to_world.inverse()), seed, progress).transformed(to_world)


KINDS = {
    DEPTH: Kind(
        (given_depth, _depth_by_stereo),
        save=save_stereo,
        load=load_stereo,
        key=stored_key,
        transformed=Stereo.transformed,
    ),
    STATIC_MESH: Kind(
        (mesh_of_first_moment,),
        save=save_static_mesh,
        load=load_static_mesh,
        key=stored_key,
        transformed=Mesh.moved,
    ),
}


def gather(kind: str, run: Run, capture: Capture, dataset: Dataset, seed: int, progress: Progress = silent) -> Any:
    """Evidence of a kind about the training views; computed once for a run and its photographs, cameras and points.

    Raises BadInputError for an unknown kind, for one that nothing here can provide, and for a damaged file.
    """
    if kind not in KINDS:
        raise BadInputError(f"There is no evidence of kind {kind!r}; there is {', '.join(KINDS)}.")
    found, path = KINDS[kind], run.evidence_path(kind)
    views = list(dataset.train)
    names, cameras = [dataset.names[i] for i in views], dataset.cameras[views].to("cpu")
    key = f"{seed} {dataset.fingerprint()}"
    if path.is_file() and found.key(path) in (PLACED, key):
        return found.load(path, cameras, names)
    for provide in found.providers:
        value = provide(capture, dataset, seed, progress)
        if value is not None:
            found.save(path, value, names, key)
            return found.load(path, cameras, names)  # the same bits as when the run is continued
    raise BadInputError(f"Nothing here provides evidence of kind {kind!r} for {capture.source}.")
