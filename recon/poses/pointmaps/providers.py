"""Learned stereo: photographs to placed cameras and dense depth by a network whose weights a person has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import safetensors
import torch
from torch import Tensor
from torch.nn.functional import pad

from ....scene.cameras import Cameras
from ....scene.capture import Capture
from ....scene.errors import BadInputError, FewviewError
from ....scene.progress import Progress, silent
from ...evidence.depth_maps import DepthMap, Stereo
from ..correspondences import counted_pixels, timed
from ..pose_estimator import Poses
from ..world_frame import upright_from_world
from .depth_anything import DepthAnything3
from .dust3r import Dust3r
from .global_alignment import align_pairs
from .pair_prediction import PairPredictor, PreparedImage
from .sample_points import sample_points

MAX_PAIRWISE = 24  # photographs: their 552 pairs of pointmaps take 4 GB
MIN_POINTS = 50  # confident ones; with fewer nothing says where the scene is
WEIGHTS = "a DUSt3R or MASt3R checkpoint (.pth or .safetensors), or the folder of a Depth Anything 3 model"


class Provider(Protocol):
    """A network that places photographs, all of which it may learn from: `PointmapEstimator` gives it no others."""

    def place(self, capture: Capture, progress: Progress = ...) -> Poses:
        """Cameras, points and depths of all frames that belong together; cameras of the capture are not looked at.

        Each depth map covers its whole photograph. Raises BadInputError for photographs that the network cannot be
        given, FewviewError where it sees nothing in them.
        """


def load_provider(path: Path, device: torch.device | str = "cpu") -> Provider:
    """The network in a file or folder of weights, recognised by the names of its tensors.

    Raises BadInputError when that is not there, not whole, not safe or of another network.
    """
    if not path.exists():
        raise BadInputError(f"There are no weights at {path}, and Fewview downloads none: give {WEIGHTS}.")
    weights = path / "model.safetensors" if path.is_dir() else path
    if not weights.is_file():
        raise BadInputError(f"The folder {path} holds no {weights.name}: give {WEIGHTS}.")
    if (path.is_dir() or weights.with_name("config.json").is_file()) and not _has_two_decoders(weights):
        return JointProvider(DepthAnything3.load(path, device))
    network = Dust3r.load(weights, device)
    return PairwiseProvider(network, network.prepare)


def _has_two_decoders(weights: Path) -> bool:
    """True where safetensors hold the one projection that only the pairwise networks have."""
    try:
        with safetensors.safe_open(weights, framework="pt") as file:
            return "decoder_embed.weight" in file.keys()  # noqa: SIM118
    except (safetensors.SafetensorError, OSError):  # another kind of file, or damaged: its reader says how
        return True


@dataclass(frozen=True)
class PairwiseProvider:
    """Pointmaps of all ordered pairs, brought together by global alignment, as InstantSplat does."""

    predictor: PairPredictor
    prepare: Callable[[Tensor], PreparedImage]  # of a uint8 [H, W, 3] photograph, as the predictor wants it

    def place(self, capture: Capture, progress: Progress = silent) -> Poses:
        """See `Provider`. Raises BadInputError for more photographs than memory has room for."""
        _check_number(capture, MAX_PAIRWISE)
        seconds: dict[str, float] = {}
        with timed("pointmaps", seconds):
            prepared = [self.prepare(_colors(capture.image(i))) for i in range(len(capture))]
            predictions = self.predictor.predict_pairs([p.pixels for p in prepared], progress)
        with timed("alignment", seconds):
            aligned = align_pairs(predictions, progress=progress)
        stereo = _whole(aligned.stereo, [prepared[view] for view in aligned.views])
        unplaced = {
            view: f"{capture.names[view]} shares nothing with the others that the network is sure of."
            for view in aligned.unaligned
        }
        return _placed(capture, aligned.views, stereo, unplaced, seconds, {"pairs": len(aligned.world_from_edge)})


@dataclass(frozen=True)
class JointProvider:
    """One network that sees all photographs at once."""

    network: DepthAnything3

    def place(self, capture: Capture, progress: Progress = silent) -> Poses:
        """See `Provider`; every photograph is placed."""
        _check_number(capture)
        seconds: dict[str, float] = {}
        progress("Estimating depth", 0, 1)
        with timed("depth", seconds):
            stereo = self.network.predict([_colors(capture.image(i)) for i in range(len(capture))])
        progress("Estimating depth", 1, 1)
        return _placed(capture, list(range(len(capture))), stereo, {}, seconds, {})


def _check_number(capture: Capture, most: int | None = None) -> None:
    if len(capture) < 2 or (most is not None and len(capture) > most):
        wanted = "two or more" if most is None else f"2 to {most}"
        raise BadInputError(
            f"{capture.source} gives this network {len(capture)} of its photographs to place; it takes {wanted}. "
            "Choose how many with --views, or leave --stereo out."
        )


def _colors(pixels: Tensor) -> Tensor:
    return pixels[..., :3].contiguous()


def _whole(stereo: Stereo, prepared: Sequence[PreparedImage]) -> Stereo:
    """Maps of the photographs' cropped middles as maps of all of them, at the same scale.

    Beyond the crop the depth of its edge goes on, with confidence 1. Rays stay exactly what they were, so that an odd
    number of cropped pixels leaves the principal point half a pixel from the middle.
    """
    cameras, maps = [], []
    for view, (depth_map, image) in enumerate(zip(stereo.maps, prepared, strict=True)):
        height, width = depth_map.depth.shape
        matrix = image.prepared_from_image
        left, top = -round(float(matrix[0, 2])), -round(float(matrix[1, 2]))
        whole_w = round(float(matrix[0, 0]) * image.image_width)
        whole_h = round(float(matrix[1, 1]) * image.image_height)
        border = (left, whole_w - width - left, top, whole_h - height - top)
        depth = pad(depth_map.depth[None], border, mode="replicate")[0]
        maps.append(DepthMap(depth, pad(depth_map.confidence, border, value=1.0)))
        cameras.append(image.image_camera(stereo.cameras[view]).resized(whole_w, whole_h))
    return Stereo(Cameras.stack(cameras), tuple(maps))


def _placed(
    given: Capture,
    views: list[int],  # those of the maps
    stereo: Stereo,  # in any world
    unplaced: dict[int, str],
    seconds: dict[str, float],
    stats: dict[str, object],
) -> Poses:
    """Everything in an upright world. Raises FewviewError where hardly any depth can be trusted."""
    capture = given.subset(views)
    colors, maps = [], []
    for frame, depth_map, index in zip(capture.frames, stereo.maps, range(len(capture)), strict=True):
        height, width = depth_map.depth.shape
        pixels = capture.image(index, width, height)
        counts = counted_pixels(frame, pixels.numpy())
        colors.append(_colors(pixels))
        if counts is not None:
            confidence = torch.where(torch.from_numpy(counts), depth_map.confidence, 1.0)
            depth_map = replace(depth_map, confidence=confidence)
        maps.append(depth_map)
    stereo = Stereo(stereo.cameras, tuple(maps))
    points = sample_points(stereo, colors)
    if len(points) < MIN_POINTS:
        raise FewviewError(
            f"The network is sure of next to nothing in the {len(capture)} photographs of {capture.source}. Take "
            "photographs that overlap by half or more, sharp and of things that do not move."
        )
    assert points.seen_point is not None
    assert points.seen_view is not None
    upright = upright_from_world(
        stereo.cameras.cam_from_world.double(), points.xyz.double(), points.seen_point, points.seen_view
    )
    stereo = stereo.transformed(upright)
    # A point that one view alone believes in is no observation; where views overlap too little, it is all there is.
    confirmed = points.in_views(list(range(len(capture))))
    points = confirmed if len(confirmed) >= MIN_POINTS else points
    points = replace(points, xyz=upright(points.xyz.double()).float())
    sizes = torch.tensor([[frame.width, frame.height] for frame in capture.frames])
    cameras = stereo.cameras.resized(sizes[:, 0], sizes[:, 1])
    stats |= {
        "photographs": len(capture) + len(unplaced),
        "placed": len(capture),
        "points": len(points),
        "focal_px": [round(float(f), 2) for f in cameras.K[:, 0, 0].unique()],
    }
    return Poses(capture.with_cameras(cameras, points), views, unplaced, seconds, stats, depths=stereo)
