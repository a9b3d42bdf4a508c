"""A pair predictor that knows the scene: true pointmaps, each pair in a unit of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from fewview.recon.evidence.depth_maps import unproject
from fewview.recon.poses.pointmaps.pair_prediction import (
    Edge,
    PairPrediction,
    PreparedImage,
    predict_each,
    prepare_image,
)
from fewview.scene.geometry import se3_inverse, transform_points
from fewview.scene.progress import Progress, silent
from PIL import Image
from support.stereo_scenes import Plane, Sphere, StereoScene, row_of_cameras, stereo_scene
from torch import Tensor

WIDTH, HEIGHT = 320, 250  # pixels; prepared at this side, a photograph keeps its scale and loses 5 rows above and below
PREPARED = (240, 320)


def wall_and_ball(count: int) -> StereoScene:
    """A slanted wall and a ball before it, all textured, from cameras side by side."""
    surfaces = [Plane((0.1, 0.05, 1.0), 5.0), Sphere((0.2, 0.1, 3.6), 0.6)]
    return stereo_scene(surfaces, row_of_cameras(count, WIDTH, HEIGHT, 0.25))


def write_photographs(folder: Path, scene: StereoScene) -> Path:
    folder.mkdir(parents=True)
    for i, image in enumerate(scene.images):
        Image.fromarray(image.numpy()).save(folder / f"photo_{i}.png")
    return folder


def prepare(image: Tensor) -> PreparedImage:
    return prepare_image(image, WIDTH)


class KnownDepth:
    """See `PairPredictor`. Photographs are recognised by their pixels; those in `alone` share nothing with others."""

    def __init__(self, scene: StereoScene, alone: tuple[int, ...] = ()) -> None:
        self._scene, self._alone = scene, alone
        self._view = {prepare(image).pixels.numpy().tobytes(): k for k, image in enumerate(scene.images)}
        self.seen: set[int] = set()

    def predict(self, image_i: Tensor, image_j: Tensor) -> PairPrediction:
        i, j = (self._view[image.numpy().tobytes()] for image in (image_i, image_j))
        self.seen |= {i, j}
        unit = 0.5 + 0.1 * ((3 * i + j) % 7)
        cameras = self._scene.cameras
        points = []
        for view in (i, j):
            image = prepare(self._scene.images[view])
            top = -round(float(image.prepared_from_image[1, 2]))
            depth = self._scene.depths[view][top : top + image.pixels.shape[0]]
            own = unproject(depth, image.prepared_camera(cameras[view]).K)
            moved = cameras.cam_from_world[i].double() @ se3_inverse(cameras.cam_from_world[view].double())
            points.append((unit * transform_points(moved, own.double().reshape(-1, 3))).float().reshape(own.shape))
        value = 1.0 if i != j and {i, j} & set(self._alone) else 5.0
        confidences = [torch.full(p.shape[:2], value) for p in points]
        return PairPrediction(*points, *confidences)

    def predict_pairs(self, images: Sequence[Tensor], progress: Progress = silent) -> dict[Edge, PairPrediction]:
        return predict_each(self.predict, images, progress)
