"""Monocular depth that the person has: maps, a Depth Anything V2 model, or weights of Fewview's own network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import torch

from ...learn.bundled_weights import named_by_word
from ...scene.errors import BadInputError
from ...scene.images import load_numbers
from ..optimise.dataset import Dataset
from .depth_anything_v2 import DepthAnythingV2
from .depth_file import check_size
from .depth_maps import Stereo
from .depth_prior import BUNDLED, load_prior
from .evidence_request import EvidenceRequest
from .learned_disparity import learned_disparity
from .monocular_depth import MonocularDepth

OWN = Path("network")  # the word for the weights that come with Fewview
WANTED = (
    "the word network for Fewview's own weights, a folder with one map of relative inverse depth for each photograph "
    "(NAME.npy or NAME.png), the folder of a Depth Anything V2 model in Hugging Face's layout, or a file of "
    "scripts/train_priors/depth.py"
)
_SUFFIXES = (".npy", ".png", ".tif", ".tiff")


def given_prior(request: EvidenceRequest, depth_kind: str) -> MonocularDepth | None:
    """The request's `prior`; None where it has none. `depth_kind` names the evidence that our own network continues.

    Raises BadInputError where the path holds nothing of the kind, or something damaged or unsafe.
    """
    if request.prior is None:
        return None
    path, dataset = prior_path(request.prior), request.dataset
    if path.is_file():
        network = load_prior(path)
        stereo: Stereo = request.gather(depth_kind)
        return learned_disparity(network, dataset, stereo, request.seed, request.progress)
    if not (path / "config.json").is_file():
        return MonocularDepth(tuple(_given_map(path, dataset, index) for index in dataset.train))
    model, maps = DepthAnythingV2.load(path), []
    for done, index in enumerate(dataset.train):
        request.progress("monocular depth", done, len(dataset.train))
        maps.append(model.disparity(dataset.view(index).pixels[..., :3].cpu()))
    return MonocularDepth(tuple(maps))


def prior_path(given: Path) -> Path:
    """Place of a prior that was given, by its path or a word. Raises BadInputError where there is nothing."""
    path = named_by_word(given, OWN, BUNDLED, may_be_folder=True)
    if not path.exists():
        raise BadInputError(f"There is nothing at {path}, and Fewview downloads nothing: give {WANTED}.")
    return path


def check_prior(given: Path) -> None:
    """Raise BadInputError where a prior is missing, or is a file that holds no weights of our own network."""
    path = prior_path(given)
    if path.is_file():
        load_prior(path)


def prior_digest(request: EvidenceRequest) -> str:
    """The digest of the request's prior, "" where there is none."""
    return "" if request.prior is None else digest_of(prior_path(request.prior))


def digest_of(path: Path) -> str:
    """A digest of the names, sizes and times of a file, or of those in a folder."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    told = "\n".join(f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)
    return hashlib.blake2b(told.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _given_map(folder: Path, dataset: Dataset, index: int) -> torch.Tensor:
    """A photograph's map [H, W] at the size of its view."""
    name, view = Path(dataset.names[index]), dataset.view(index)
    if name.is_absolute() or ".." in name.parts:
        raise BadInputError(f"The photograph {name} names no place inside of {folder}.")
    stems = [(folder / name).with_suffix(suffix) for suffix in _SUFFIXES]
    found = next((path for path in stems if path.is_file()), None)
    if found is None:
        raise BadInputError(
            f"{folder} has no map for the photograph {name}: {stems[0].name} is missing. Give {WANTED}."
        )
    values = load_numbers(found)
    try:
        check_size(torch.from_numpy(values), view.width, view.height)
    except ValueError as error:
        raise BadInputError(f"{found} cannot be used: {error}.") from error
    if not np.isfinite(values).all() or float(values.max()) == float(values.min()):
        raise BadInputError(f"{found} cannot be used: finite numbers that differ from pixel to pixel are expected.")
    values = values - min(0.0, float(values.min()))  # the offset says nothing
    sized = cv2.resize(values.astype(np.float32), (view.width, view.height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(sized.reshape(view.height, view.width))
