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
from ...scene.progress import Progress, silent
from ...scene.run import Run
from ..optimise.dataset import Dataset
from .depth_file import PLACED, load_stereo, save_stereo, stored_key
from .given_depth import given_depth, has_depth
from .stereo.stereo_depth import stereo_depth

DEPTH = "depth"  # `Stereo`: dense depth with confidence of the training views, in the order of `Dataset.train`


@dataclass(frozen=True)
class Provider:
    """One way to find a kind of evidence."""

    name: str
    applies: Callable[[Capture], bool]
    provide: Callable[[Capture, Dataset, int, Progress], Any]  # (capture, data set, seed, progress)


@dataclass(frozen=True)
class Kind:
    """A kind of evidence: its providers, the best first, and its file."""

    providers: tuple[Provider, ...]
    save: Callable[[Path, Any, list[str], str], None]  # (path, value, view names, key)
    load: Callable[[Path, Any, list[str]], Any]  # (path, cameras, view names)
    key: Callable[[Path], str]  # that the file was saved under


KINDS = {
    DEPTH: Kind(
        providers=(
            Provider(
                "depth maps of the input",
                has_depth,
                lambda *of: given_depth(of[0], of[1], of[3]),
            ),
            Provider("PatchMatch stereo", lambda _: True, lambda *of: stereo_depth(*of[1:])),
        ),
        save=save_stereo,
        load=load_stereo,
        key=stored_key,
    )
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
    provider = next((one for one in found.providers if one.applies(capture)), None)
    key = f"{provider.name if provider else None} {seed} {dataset.fingerprint()}"
    if path.is_file() and found.key(path) in (PLACED, key):
        return found.load(path, cameras, names)
    if provider is None:
        raise BadInputError(f"Nothing here provides evidence of kind {kind!r} for {capture.source}.")
    value = provider.provide(capture, dataset, seed, progress)
    found.save(path, value, names, key)
    return value
