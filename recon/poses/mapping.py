"""Structure from motion over a verified view graph: one view after the other, tuned for few views, or all at once."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from .verification import ViewGraph

MIN_FOCAL, MAX_FOCAL = 0.4, 4.0  # of the longer side: 103 to 14 degrees of view; outside it the solution has run away
MAX_ERROR_PX = 3.0  # of an observation of a point, in the copies that features were found in
# k1 beyond these is no photographic lens: one whose edges bulge may, from wide angles on, one whose edges shrink hardly
# does, and comes of a focal length that ran away.
LEAST_RADIAL, MOST_RADIAL = -0.5, 0.2


@dataclass(frozen=True)
class Attempt:
    """One way of asking the mapper: how strict it is about pairs and views."""

    min_angle_deg: float  # triangulation angle of the first pair
    min_inliers: int  # of the first pair
    min_seen: int  # points that a further view must see
    # Whether a view that sees too few points is placed by its matches with several views at once, which have no points
    # yet: 7 s of processor time for a view that cannot be placed, as often as it is tried. So a last resort.
    without_points: bool = False


ATTEMPTS = (
    Attempt(min_angle_deg=6.0, min_inliers=50, min_seen=20),
    Attempt(min_angle_deg=2.0, min_inliers=25, min_seen=12),
    Attempt(min_angle_deg=0.7, min_inliers=15, min_seen=8),
    Attempt(min_angle_deg=0.7, min_inliers=15, min_seen=8, without_points=True),
)


@dataclass(frozen=True)
class Model:
    """A reconstruction and how good it is; image ids are view indices + 1."""

    reconstruction: pycolmap.Reconstruction
    focal_ratio: float  # of the longer side, first camera
    focal_held: bool = False  # where it started, so that nothing tells whether it is right

    @property
    def views(self) -> list[int]:
        return sorted(i - 1 for i in self.reconstruction.reg_image_ids())

    def camera(self, view: int) -> tuple[np.ndarray, pycolmap.Camera]:
        """(cam_from_world [3, 4], lens) of a view that is placed."""
        image = self.reconstruction.image(view + 1)
        return image.cam_from_world().matrix(), self.reconstruction.camera(image.camera_id)

    @property
    def error_px(self) -> float:
        return float(self.reconstruction.compute_mean_reprojection_error())

    @property
    def observations(self) -> int:
        return int(self.reconstruction.compute_num_observations())

    @property
    def distortion(self) -> float:
        """k1 of the first view's camera, 0 for a pinhole."""
        camera = self.reconstruction.camera(self.reconstruction.image(self.views[0] + 1).camera_id)
        return float(camera.params[3]) if camera.model_name == "SIMPLE_RADIAL" else 0.0

    def is_sane(self) -> bool:
        cameras = self.reconstruction.cameras.values()
        used = {self.reconstruction.image(v + 1).camera_id for v in self.views}
        for camera in (c for c in cameras if c.camera_id in used):
            ratio = camera.mean_focal_length() / max(camera.width, camera.height)
            radial = camera.params[3] if camera.model_name == "SIMPLE_RADIAL" else 0.0
            if not (MIN_FOCAL <= ratio <= MAX_FOCAL and LEAST_RADIAL <= radial <= MOST_RADIAL):
                return False
        return bool(np.isfinite(self.error_px)) and self.observations > 0


class Mapper:
    """The mapper of pycolmap over one view graph; its database lives in a temporary folder."""

    def __init__(self, graph: ViewGraph, camera_of_view: list[int], seed: int) -> None:
        self._graph = graph
        self._camera_of_view = camera_of_view
        self._seed = seed

    def run(self, cameras: list[pycolmap.Camera], attempt: Attempt, refine_focal: bool = True) -> Model | None:
        """The largest model that this attempt gives from these starting intrinsics, or None."""
        options = self._options(attempt)
        options.ba_refine_focal_length = options.mapper.abs_pose_refine_focal_length = refine_focal
        return self._largest(
            cameras, functools.partial(pycolmap.incremental_mapping, options=options), not refine_focal
        )

    def run_globally(self, cameras: list[pycolmap.Camera], refine_focal: bool = True) -> Model | None:
        """The largest model of all views at once, from intrinsics that are nearly right, or None.

        All rotations are averaged, then all places are found (GLOMAP, Pan et al., ECCV 2024): no error adds up along a
        chain of views, and every wrong pair bends the whole.
        """
        options = pycolmap.GlobalPipelineOptions()
        options.num_threads = options.mapper.num_threads = 1  # sums in a fixed order
        options.random_seed = options.mapper.random_seed = self._seed
        options.mapper.rotation_averaging.random_seed = options.mapper.global_positioning.random_seed = self._seed
        options.mapper.retriangulation.random_seed = self._seed
        options.mapper.global_positioning.use_gpu = options.mapper.bundle_adjustment.ceres.use_gpu = False
        options.mapper.bundle_adjustment.ceres.solver_options.num_threads = 1
        options.mapper.bundle_adjustment.refine_focal_length = refine_focal
        return self._largest(cameras, functools.partial(pycolmap.global_mapping, options=options), not refine_focal)

    def _largest(
        self,
        cameras: list[pycolmap.Camera],
        mapping: Callable[[Path, str, Path], Mapping[int, pycolmap.Reconstruction]],  # of database, images, output
        focal_held: bool,
    ) -> Model | None:
        with tempfile.TemporaryDirectory(prefix="fewview-poses-") as folder:
            database = Path(folder) / "database.db"
            write_database(database, self._graph, cameras, self._camera_of_view)
            (Path(folder) / "models").mkdir()
            pycolmap.set_random_seed(self._seed)
            found = mapping(database, folder, Path(folder) / "models")
        models = [Model(r, _focal_ratio(r), focal_held) for r in found.values() if r.num_reg_images() >= 2]
        return max(models, key=lambda m: (len(m.views), m.observations), default=None)

    def _options(self, attempt: Attempt) -> pycolmap.IncrementalPipelineOptions:
        options = pipeline_options(min(1.0, attempt.min_angle_deg), self._seed)
        options.min_num_matches = 10
        options.min_model_size = 2
        options.structure_less_registration_fallback = attempt.without_points
        options.max_num_models = 5
        # All cameras and points are refined when there are so many times as many as the last time, each time until it
        # settles, three times at most: half of the time of COLMAP's 1.1 and five, and the same within rounding.
        options.ba_global_frames_ratio = options.ba_global_points_ratio = 1.3
        options.ba_global_max_refinements = 3
        options.min_focal_length_ratio, options.max_focal_length_ratio = MIN_FOCAL / 2, MAX_FOCAL * 2
        mapper = options.mapper
        mapper.init_min_tri_angle = attempt.min_angle_deg
        mapper.init_min_num_inliers = attempt.min_inliers
        # Where somebody walks ahead every right pair moves along the view. COLMAP's limit to begin with, 0.95, left the
        # wrong ones only; what forward motion leaves open, the least angle asks for.
        mapper.init_max_forward_motion = 1.0
        mapper.abs_pose_min_num_inliers = attempt.min_seen
        mapper.abs_pose_min_inlier_ratio = 0.15
        mapper.abs_pose_max_error = 6.0
        return options


def write_database(
    path: Path,
    graph: ViewGraph,
    cameras: list[pycolmap.Camera],
    camera_of_view: list[int],  # camera id of each view
) -> None:
    """A new database of COLMAP's with keypoints and verified matches; image ids are view indices + 1."""
    with pycolmap.Database.open(path) as database:
        for camera in cameras:
            database.write_camera(camera, use_camera_id=True)
            rig = pycolmap.Rig(rig_id=camera.camera_id)
            rig.add_ref_sensor(camera.sensor_id)
            database.write_rig(rig, use_rig_id=True)
        for view, features in enumerate(graph.features):
            camera_id = camera_of_view[view]
            image = pycolmap.Image(name=f"{view:06d}", camera_id=camera_id, image_id=view + 1)
            frame = pycolmap.Frame(frame_id=view + 1, rig_id=camera_id)
            frame.add_data_id(image.data_id)
            database.write_image(image, use_image_id=True)
            database.write_frame(frame, use_frame_id=True)
            database.write_keypoints(view + 1, features.xy_px.numpy())
        for (a, b), geometry in graph.geometries.items():
            database.write_matches(a + 1, b + 1, geometry.inlier_matches)
            database.write_two_view_geometry(a + 1, b + 1, geometry)


def pipeline_options(min_angle_deg: float, seed: int) -> pycolmap.IncrementalPipelineOptions:
    """Options that mapping and triangulation share: points need this triangulation angle and at most MAX_ERROR_PX."""
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = seed
    options.num_threads = options.mapper.num_threads = 1  # sums in a fixed order: the same photographs, the same bits
    options.extract_colors = False
    options.mapper.filter_max_reproj_error = MAX_ERROR_PX
    options.mapper.filter_min_tri_angle = min_angle_deg
    triangulation = options.triangulation
    # With three views most tracks have two of them; without those there is little left to stand on.
    triangulation.ignore_two_view_tracks = False
    triangulation.min_angle = min_angle_deg
    triangulation.complete_max_reproj_error = triangulation.merge_max_reproj_error = MAX_ERROR_PX
    return options


def _focal_ratio(reconstruction: pycolmap.Reconstruction) -> float:
    image = reconstruction.image(min(reconstruction.reg_image_ids()))
    camera = reconstruction.camera(image.camera_id)
    return camera.mean_focal_length() / max(camera.width, camera.height)


@contextlib.contextmanager
def quiet_pycolmap() -> Iterator[None]:
    """Failed attempts are expected, and its remarks about them are for developers: only fatal ones are printed."""
    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before
