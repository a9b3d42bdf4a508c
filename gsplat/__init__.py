"""gsplat 1.5's names on a CPU: `from fewview.gsplat import rasterization, DefaultStrategy` and so on."""

if __name__ == "gsplat":  # Python was started in the checkout, where this folder hides the package of that name
    raise ImportError("the folder gsplat of the checkout of fewview is in the way; start Python in another folder")

from ..render.rasterization import rasterization as rasterization
from ..render.tile_intersection import isect_offset_encode as isect_offset_encode
from ..render.tile_intersection import isect_tiles as isect_tiles
from .camera_projection import proj as proj
from .camera_projection import world_to_cam as world_to_cam
from .color_harmonics import spherical_harmonics as spherical_harmonics
from .covariances import quat_scale_to_covar_preci as quat_scale_to_covar_preci
from .fused_projection import fully_fused_projection as fully_fused_projection
from .gaussian_relocation import compute_relocation as compute_relocation
from .gradient_strategy import DefaultStrategy as DefaultStrategy
from .not_supported import RollingShutterType as RollingShutterType
from .not_supported import accumulate as accumulate
from .not_supported import accumulate_2dgs as accumulate_2dgs
from .not_supported import fully_fused_projection_2dgs as fully_fused_projection_2dgs
from .not_supported import fully_fused_projection_with_ut as fully_fused_projection_with_ut
from .not_supported import rasterization_2dgs as rasterization_2dgs
from .not_supported import rasterization_2dgs_inria_wrapper as rasterization_2dgs_inria_wrapper
from .not_supported import rasterization_inria_wrapper as rasterization_inria_wrapper
from .not_supported import rasterize_to_indices_in_range as rasterize_to_indices_in_range
from .not_supported import rasterize_to_indices_in_range_2dgs as rasterize_to_indices_in_range_2dgs
from .not_supported import rasterize_to_pixels_2dgs as rasterize_to_pixels_2dgs
from .not_supported import rasterize_to_pixels_eval3d as rasterize_to_pixels_eval3d
from .png_compression import PngCompression as PngCompression
from .sampling_strategy import MCMCStrategy as MCMCStrategy
from .selective_adam import SelectiveAdam as SelectiveAdam
from .splat_export import export_splats as export_splats
from .strategy_contract import Strategy as Strategy
from .tile_pixels import rasterize_to_pixels as rasterize_to_pixels
