"""Sparse voxel convolution: spconv 2's tensor and layers, and MinkowskiEngine's operators, on the CPU and the GPU."""

from .coordinates import CoordinateSet as CoordinateSet
from .coordinates import DuplicateVoxelError as DuplicateVoxelError
from .functional import avg_pool as avg_pool
from .functional import find_rows as find_rows
from .functional import generative_conv as generative_conv
from .functional import interpolate as interpolate
from .functional import inverse_conv as inverse_conv
from .functional import max_pool as max_pool
from .functional import pointwise_conv as pointwise_conv
from .functional import prune as prune
from .functional import strided_conv as strided_conv
from .functional import submanifold_conv as submanifold_conv
from .functional import transposed_conv as transposed_conv
from .functional import union_add as union_add
from .modules import SparseAvgPool3d as SparseAvgPool3d
from .modules import SparseConv3d as SparseConv3d
from .modules import SparseConvTranspose3d as SparseConvTranspose3d
from .modules import SparseInverseConv3d as SparseInverseConv3d
from .modules import SparseMaxPool3d as SparseMaxPool3d
from .modules import SparseModule as SparseModule
from .modules import SparseSequential as SparseSequential
from .modules import SubMConv3d as SubMConv3d
from .modules import ToDense as ToDense
from .tensor import SparseConvTensor as SparseConvTensor
from .weight_layouts import converted_weight as converted_weight
