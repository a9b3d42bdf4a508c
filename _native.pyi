"""The C++ kernels. Arrays are contiguous float32 on the CPU unless said otherwise; results are written in place.

Which of them run is chosen by a short measurement at the first use on a machine, unless FEWVIEW_ISA (one of `isas()`,
else ImportError) says it. FEWVIEW_THREADS is 1 to 256; FEWVIEW_BF16=0 denies `has_bf16()`.
"""

from collections.abc import Sequence

from numpy import ndarray

def isas() -> list[str]: ...
def isa() -> str: ...
def convolution_isa() -> str: ...
def kernel_times() -> list[tuple[str, str, float]]: ...
def set_isa(name: str) -> None: ...
def num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...

class TileLists:
    """Which Gaussians touch which tiles of one image, front to back."""

    tiles_x: int
    tiles_y: int
    n_visible: int
    n_pairs: int
    def bin(
        self,
        width: int,
        height: int,
        radii: ndarray,  # [N, 2] int32
        means2d: ndarray,  # [N, 2]
        depths: ndarray,  # [N]
        conics: ndarray,  # [N, 3]
        opacities: ndarray,  # [N]
    ) -> None: ...

# means [N, 3], quats [N, 4], scales [N, 3], opacities [N], cam_from_world [C, 4, 4], K [C, 3, 3], then width, height,
# eps2d, near_plane, far_plane, radius_clip, antialiased, then radii int32 [C, N, 2], means2d [C, N, 2],
# depths [C, N], conics [C, N, 3], compensations [C, N].
def project(*arguments: object) -> None: ...

# The same, then the gradients of the four float results, then those of means, quats, scales and cam_from_world or None.
def project_backward(*arguments: object) -> None: ...

# degree, means [N, 3], centers [C, 3], sh [N, K, 3], radii int32 [C, N, 2], colors [C, N, 3].
def sh_colors(*arguments: object) -> None: ...

# The same, then v_colors [C, N, 3], v_sh [N, K, 3] or None, where it is None the factors directions [C, N, 3] and
# seen_v_colors [C, N, 3], v_means [N, 3], v_centers [C, 3].
def sh_colors_backward(*arguments: object) -> None: ...
def sh_gradient(
    degree: int,
    directions: ndarray,  # [C, N, 3] of unit length
    v_colors: ndarray,  # [C, N, 3], zeros where nothing is seen
    v_sh: ndarray,  # [N, K, 3]
) -> None: ...
def rasterize(
    lists: TileLists,
    colors: ndarray,  # [N, 1..4]
    background: ndarray | None,  # [D]
    out_colors: ndarray,  # [H, W, D]
    out_transmittance: ndarray,  # [H, W]
) -> None: ...
def rasterize_backward(
    lists: TileLists,
    colors: ndarray,
    background: ndarray | None,
    out_colors: ndarray,
    out_transmittance: ndarray,
    v_out_colors: ndarray,  # [H, W, D]
    v_out_alphas: ndarray,  # [H, W]
    v_means2d: ndarray,  # [N, 2]
    v_conics: ndarray,  # [N, 3]
    v_colors: ndarray,  # [N, D]
    v_opacities: ndarray,  # [N]
    v_means2d_abs: ndarray | None = None,  # [N, 2] sums over pixels of absolute values
) -> None: ...
def image_loss(
    image: ndarray,  # [H, W, 3]
    target: ndarray,  # [H, W, 3]
    dssim_weight: float,
    gradient: ndarray | None,  # [H, W, 3]
) -> tuple[float, float]: ...  # the loss and the mean SSIM
def adam_step(
    param: ndarray,  # [N, D]
    grad: ndarray,
    exp_avg: ndarray,
    exp_avg_sq: ndarray,
    lr_columns: ndarray,  # [D]
    row_scale: ndarray | None,  # [N]
    visible: ndarray | None,  # [N] uint8
    beta1: float,
    beta2: float,
    eps: float,
    step: int,
) -> None: ...
def sh_adam_step(  # the gradient is that of `sh_gradient`
    param: ndarray,  # [N, 3 K]
    degree: int,
    directions: ndarray,
    v_colors: ndarray,
    exp_avg: ndarray,
    exp_avg_sq: ndarray,
    lr_columns: ndarray,
    row_scale: ndarray | None,
    visible: ndarray | None,
    beta1: float,
    beta2: float,
    eps: float,
    step: int,
) -> None: ...

class StereoImage:
    def __init__(
        self, levels: list[ndarray]
    ) -> None: ...  # uint8 [H, W] each, every one half as large as the one before

def patch_match(
    reference: StereoImage,
    level: int,  # of the reference, and of the source planes
    sources: list[StereoImage],
    source_from_reference: ndarray,  # [S, 3, 4] (A | b): A (x, y, 1) + b / depth, to pixels of level 0
    reference_from_source: ndarray,  # [S, 3, 4] from pixels of `level`
    source_planes: list[ndarray] | None,  # S of [Hs, Ws, 3]
    prior: ndarray | None,  # [H, W] inverse depth
    mask: ndarray | None,  # [H, W] uint8
    lens: tuple[float, float, float, float],  # fx, fy, cx, cy
    range: tuple[float, float],  # of inverse depth
    best: int,
    sigma_grey: float,
    noise_variance: float,
    geometric_weight: float,
    geometric_max_px: float,
    prior_weight: float,
    prior_max: float,
    planes: ndarray,  # [H, W, 3] inverse depth, change per pixel to the right, down; replaced by better ones
    costs: ndarray,  # [H, W] of the planes at the end
    sweeps: list[tuple[int, float, float, bool]],  # seed, depth step, slope step, whether to explore
) -> None: ...

# points 2E of [H, W, 3], weights 2E of [H, W], view_of_side int32 [2E], share [2E], sizes int32 [N, 2] height and
# width, intrinsics [N, 4] fx, fy, cx, cy, log_depth [P], cam_from_side [2E, 3, 4], then the gradients of the focal
# lengths [N, 2], log_depth and cam_from_side. Returns the loss.
def alignment_loss(*arguments: object) -> float: ...

# Control points: N Gaussians, M points, K neighbours each (index int32 [N, K], below M).
def nearest_points(queries: ndarray, candidates: ndarray, index: ndarray) -> None: ...  # [N, D], [M, D]
def node_weights(
    means: ndarray,  # [N, 3]
    mean_hyper: ndarray,  # [N, H]
    nodes: ndarray,  # [M, 3]
    node_hyper: ndarray,  # [M, H]
    log_radius: ndarray,  # [M]
    strength_logits: ndarray,  # [M]
    index: ndarray,
    weights: ndarray,  # [N, K]
) -> None: ...
def node_weights_backward(
    means: ndarray,
    mean_hyper: ndarray,
    nodes: ndarray,
    node_hyper: ndarray,
    log_radius: ndarray,
    strength_logits: ndarray,
    index: ndarray,
    weights: ndarray,  # as they came out
    v_weights: ndarray,
    v_mean_hyper: ndarray,
    v_node_hyper: ndarray,
    v_log_radius: ndarray,
    v_strength_logits: ndarray,
) -> None: ...
def carry(
    means: ndarray,  # [N, 3]
    nodes: ndarray,  # [M, 3]
    transforms: ndarray,  # [M, 12] rows of [rotation | shift]
    values: ndarray,  # [M, C]
    index: ndarray,
    weights: ndarray,  # [N, K]
    moved: ndarray,  # [N, 3]
    blend: ndarray,  # [N, C]
) -> None: ...
def carry_backward(
    means: ndarray,
    nodes: ndarray,
    transforms: ndarray,
    values: ndarray,
    index: ndarray,
    weights: ndarray,
    v_moved: ndarray,
    v_blend: ndarray,
    v_means: ndarray,
    v_nodes: ndarray,
    v_transforms: ndarray,
    v_values: ndarray,
    v_weights: ndarray,
) -> None: ...

# Skinning: V vertices, M nodes, K of them each.
def skin(
    vertices: ndarray,  # [V, 3]
    affine: ndarray,  # [M, 12] rows of [matrix | translation]
    duals: ndarray,  # [M, 8] unit quaternion wxyz, and half of (0, translation) times it
    shares: ndarray,  # [M] of linear blending
    values: ndarray,  # [M, C]
    index: ndarray,
    weights: ndarray,  # [V, K]
    offset: float,
    antipodal: bool,
    moved: ndarray,  # [V, 3]
    blend: ndarray,  # [V, C]
) -> None: ...
def skin_backward(
    vertices: ndarray,
    affine: ndarray,
    duals: ndarray,
    shares: ndarray,
    values: ndarray,
    index: ndarray,
    weights: ndarray,
    offset: float,
    antipodal: bool,
    v_moved: ndarray,
    v_blend: ndarray,
    v_vertices: ndarray,
    v_affine: ndarray,
    v_duals: ndarray,
    v_shares: ndarray,
    v_values: ndarray,
) -> None: ...

class VoxelSet:
    """Voxels in sorted order, and the row of each."""

    in_order: bool  # the rows are sorted already
    nbytes: int
    def __init__(self, indices: ndarray) -> None: ...  # int32 [N, 4]
    def __len__(self) -> int: ...
    def write_indices(self, indices: ndarray) -> None: ...  # int32 [N, 4]
    def write_sorted(self, keys: ndarray, order: ndarray | None) -> None: ...  # int64 [N]; order if not in_order
    def strided(self, scale: Sequence[int], offsets: Sequence[Sequence[int]], shape: Sequence[int]) -> VoxelSet: ...
    def scattered(
        self, scale: Sequence[int], offsets: Sequence[Sequence[int]], shape: Sequence[int] | None
    ) -> VoxelSet: ...
    def floored(self, step: Sequence[int]) -> VoxelSet: ...

class SparseMap:
    """Pairs of source and target rows, by tiles of the target and slots."""

    n_pairs: int
    nbytes: int
    def __init__(
        self, asking: VoxelSet, found: VoxelSet, scale: Sequence[int], offsets: Sequence[Sequence[int]]
    ) -> None: ...  # asking is the target, found (at position * scale + offset) the source
    @staticmethod
    def of_pairs(
        source: ndarray, target: ndarray, slot_start: ndarray, n_source: int, n_target: int
    ) -> SparseMap: ...  # int64 rows, those of slot k at slot_start[k] .. slot_start[k + 1]
    def transposed(self) -> SparseMap: ...
    def write_pairs(self, source: ndarray, target: ndarray, slot_start: ndarray) -> None: ...  # int64

def sparse_conv(
    map: SparseMap,
    features: ndarray,  # [n_source, Cin], or [n_source, Cout] backward
    weight: ndarray,  # [Cout, K, Cin]
    bias: ndarray | None,
    out: ndarray,
    backward: bool,  # multiply with the weights transposed
    flip: bool,  # take the slots in reverse
    rounded: bool = False,  # round features and weights to bfloat16; forward, and only where has_bf16() holds
) -> None: ...
def has_bf16() -> bool: ...  # whether the instruction set in use multiplies pairs of bfloat16
def prefers_bf16() -> bool: ...  # whether that is also faster than float32 on this machine
def sparse_conv_weight(map: SparseMap, features: ndarray, v_out: ndarray, v_weight: ndarray) -> None: ...
def sparse_pool(map: SparseMap, features: ndarray, out: ndarray, source: ndarray | None) -> None: ...  # int32 source
def sparse_pool_backward(map: SparseMap, v_out: ndarray, source: ndarray | None, v_in: ndarray) -> None: ...
