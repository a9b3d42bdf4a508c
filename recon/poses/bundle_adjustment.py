"""Bundle adjustment of a whole reconstruction: cameras, points and focal lengths together."""

from __future__ import annotations

import numpy as np
import pycolmap

from .mapping import MAX_ERROR_PX

MAX_ITERATIONS = 20


def adjusted(reconstruction: pycolmap.Reconstruction, refine_focal: bool = True) -> pycolmap.Reconstruction:
    """The same after a robust bundle adjustment of everything but the distortion, and the focal lengths if asked."""
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = refine_focal
    options.refine_extra_params = options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.solver_options.num_threads = 1  # sums in a fixed order
    options.ceres.solver_options.max_num_iterations = MAX_ITERATIONS
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in reconstruction.reg_image_ids():
        config.add_image(image_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, config, reconstruction).solve()
    reconstruction.update_point_3d_errors()
    return reconstruction


def error_px2(reconstruction: pycolmap.Reconstruction) -> float:
    """Mean squared reprojection error of the observations, none of which counts more than MAX_ERROR_PX."""
    errors = np.array([[p.error, p.track.length()] for p in reconstruction.points3D.values()]).reshape(-1, 2)
    capped = np.minimum(np.nan_to_num(errors[:, 0], nan=MAX_ERROR_PX), MAX_ERROR_PX)
    return float((capped**2 * errors[:, 1]).sum() / max(1.0, errors[:, 1].sum()))
