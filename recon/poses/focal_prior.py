"""Lenses before anything is placed: camera groups and starting focal lengths."""

from __future__ import annotations

from dataclasses import dataclass

import pycolmap

from ...scene.capture import Frame

# Longer side of the image to start from where EXIF says nothing: a phone's main camera (26 mm equivalent), a film
# frame or a moderate zoom (40 mm), and a short telephoto lens (60 mm).
UNKNOWN_FOCAL_RATIOS = (0.75, 1.1, 1.7)
SAME_FOCAL = 0.02  # relative difference up to which EXIF focal lengths count as the same setting of the same lens


@dataclass(frozen=True)
class Lenses:
    """Cameras shared between views: one for each image size and focal length."""

    camera_of_view: list[int]  # camera id of each view, from 1
    sizes: list[tuple[int, int]]  # width, height of each camera's images, pixels
    focal_px: list[float | None]  # of each camera, where EXIF says

    @property
    def is_known(self) -> bool:
        """True where every focal length is known beforehand."""
        return all(f is not None for f in self.focal_px)

    def cameras(self, model: str, unknown_focal_ratio: float) -> list[pycolmap.Camera]:
        """Cameras to start from, `unknown_focal_ratio` of the longer side where the focal length is not known."""
        cameras = []
        for camera_id, ((width, height), focal_px) in enumerate(zip(self.sizes, self.focal_px, strict=True), start=1):
            start_px = focal_px if focal_px is not None else unknown_focal_ratio * max(width, height)
            camera = pycolmap.Camera.create_from_model_name(camera_id, model, start_px, width, height)
            camera.has_prior_focal_length = focal_px is not None
            cameras.append(camera)
        return cameras

    def of_views(self, cameras: list[pycolmap.Camera]) -> list[pycolmap.Camera]:
        """The camera of each view."""
        return [cameras[camera_id - 1] for camera_id in self.camera_of_view]


def group_lenses(frames: list[Frame], sizes: list[tuple[int, int]]) -> Lenses:
    """One camera for all views of one working size [width, height] and one EXIF focal length (or none)."""
    groups: list[tuple[tuple[int, int], float | None]] = []
    camera_of_view = []
    for frame, (width, height) in zip(frames, sizes, strict=True):
        focal_px = None if not frame.focal_px else frame.focal_px * max(width, height) / max(frame.width, frame.height)
        for index, (size, known_px) in enumerate(groups):
            same = (focal_px is None) == (known_px is None) and (
                focal_px is None or known_px is None or abs(focal_px - known_px) <= SAME_FOCAL * known_px
            )
            if size == (width, height) and same:
                camera_of_view.append(index + 1)
                break
        else:
            groups.append(((width, height), focal_px))
            camera_of_view.append(len(groups))
    return Lenses(camera_of_view, [size for size, _ in groups], [focal for _, focal in groups])
