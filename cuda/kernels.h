// What every instruction set offers: one table of functions over plain pointers, chosen once at import.
//
// Arrays are dense and row-major; the shapes stand in brackets. N Gaussians, C cameras, D channels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "alignment.h"
#include "buffer.h"
#include "control_points.h"
#include "patch_match.h"
#include "skinning.h"
#include "sparse_conv.h"

namespace fewview {

constexpr int TILE = 16;                    // pixels a side
constexpr float ALPHA_MIN = 1.0f / 255.0f;  // weaker contributions are skipped (3DGS)
constexpr float LOG2_ALPHA_MIN = -7.994353436858858f;
constexpr float ALPHA_MAX = 0.999f;         // stronger ones are clamped (gsplat 1.5)
constexpr float LOG2_ALPHA_MAX = -0.0014434169f;
constexpr float T_MIN = 1e-4f;              // a pixel stops before its transmittance falls to this (3DGS)
constexpr int MAX_CHANNELS = 4;             // in one pass of the rasteriser

struct ProjectOptions {
    int width, height;
    float eps2d, near_plane, far_plane, radius_clip;
    bool antialiased;  // opacities are multiplied by the compensation when extents are computed
};

struct ProjectArgs {
    int64_t n;
    int cameras;
    const float *means, *quats, *scales, *opacities;  // [N, 3] [N, 4] [N, 3] [N]
    const float *cam_from_world, *K;                  // [C, 4, 4] [C, 3, 3]
    ProjectOptions options;
    int32_t *radii;                                       // [C, N, 2]
    float *means2d, *depths, *conics, *compensations;     // [C, N, 2] [C, N] [C, N, 3] [C, N]
};

struct ProjectBackwardArgs {
    ProjectArgs forward;  // outputs of the forward pass are inputs here
    const float *v_means2d, *v_depths, *v_conics, *v_compensations;
    float *v_means, *v_quats, *v_scales;  // [N, 3] [N, 4] [N, 3]
    float *v_cam_from_world;              // [C, 4, 4] or null
};

struct ShArgs {
    int64_t n;
    int cameras, degree, stride;        // stride: coefficients stored per Gaussian (K)
    const float *means, *centers, *sh;  // [N, 3] [C, 3] [N, K, 3]
    const int32_t *radii;               // [C, N, 2]
    float *colors;                      // [C, N, 3], max(0, SH + 0.5); 0 where radii are 0
};

// The gradient of SH coefficients as its factors: that of row n is the sum over cameras of basis(direction) x colour.
// Six numbers a camera in place of 3 K.
struct ShFactors {
    int cameras, degree;
    const float *directions;  // [C, N, 3] of unit length
    const float *v_colors;    // [C, N, 3], zeros where nothing is seen
};

struct ShBackwardArgs {
    ShArgs forward;
    const float *v_colors;             // [C, N, 3]
    float *v_sh;                       // [N, K, 3], all of it is written; or null, and the factors are written instead
    float *directions, *seen_v_colors;  // the factors, as in ShFactors, or null
    float *v_means;                    // [N, 3]
    float *v_centers;                  // [C, 3]
};

// A projected Gaussian as the pixel loops want it. The exponent is to base 2:
// log2(alpha) = xx dx^2 + xy dx dy + yy dy^2 + log2_opacity.
struct Splat {
    float x, y;                     // pixels
    float xx, xy, yy;               // -log2(e) * (a / 2, b, c / 2) of the conic (a, b, c)
    float log2_opacity;
    float half_width, half_height;  // of the ellipse alpha = 1/255, pixels; huge where the conic is degenerate
};

// Which Gaussians touch which tiles of one image, front to back.
//
// A pair is (Gaussian, tile). Pairs are numbered Gaussian by Gaussian in depth order; `first_pair[k]` is where
// the k-th nearest Gaussian begins. `tile_pairs` holds the pair numbers tile by tile, still front to back.
// The backward pass leaves its sums at the pair's number, so adding them up for a Gaussian reads one stretch
// of memory in a fixed order: no atomics, and the same bits for any number of threads.
struct TileLists {
    int64_t gaussians = 0;  // in the input, visible or not
    int width = 0, height = 0, tiles_x = 0, tiles_y = 0;
    Buffer<Splat> splats;         // [visible] nearest first
    Buffer<uint32_t> gaussian;    // [visible] index into the input, nearest first
    Buffer<uint32_t> first_pair;  // [visible + 1]
    Buffer<uint32_t> tile_start;  // [tiles + 1]
    Buffer<uint32_t> tile_pairs;  // [pairs]
    Buffer<uint32_t> tile_order;  // [pairs] rank k of the pair's Gaussian, beside tile_pairs
};

struct BinArgs {
    int64_t n;
    int width, height;
    const int32_t *radii;                                  // [N, 2]
    const float *means2d, *depths, *conics, *opacities;    // [N, 2] [N] [N, 3] [N]
};

struct RasterizeArgs {
    const TileLists *lists;  // made from the same Gaussians
    int channels;
    const float *colors;                    // [N, D]
    const float *background;                // [D] or null
    float *out_colors, *out_transmittance;  // [H, W, D] [H, W]
};

struct RasterizeBackwardArgs {
    RasterizeArgs forward;
    const float *v_out_colors, *v_out_alphas;              // [H, W, D] [H, W]
    float *v_means2d, *v_conics, *v_colors, *v_opacities;  // zeroed by the caller
    float *v_means2d_abs = nullptr;  // [N, 2] sums of absolute values (AbsGS), zeroed by the caller, or null
};

struct ImageLossArgs {
    int width, height;           // three interleaved channels
    const float *image, *target;  // [H, W, 3]
    float dssim_weight;
    float *gradient;  // [H, W, 3] or null
    double loss;      // (1 - w) * mean |a - b| + w * (1 - mean SSIM)
    double ssim;      // mean SSIM
};

struct AdamArgs {
    int64_t rows;
    int columns;
    float *param;             // [N, D]
    const float *grad;        // [N, D], or null where `factors` tell it
    const ShFactors *factors;  // of D = 3 K, or null
    float *exp_avg, *exp_avg_sq;
    const float *lr_columns;  // [D]
    const float *row_scale;   // [N] or null
    const uint8_t *visible;   // [N] or null: rows that are left alone
    float beta1, beta2, eps;
    int64_t step;  // 1 at the first update
};

struct Kernels {
    const char *name;
    void (*project)(const ProjectArgs &);
    void (*project_backward)(const ProjectBackwardArgs &);
    void (*sh_colors)(const ShArgs &);
    void (*sh_colors_backward)(const ShBackwardArgs &);
    void (*sh_gradient)(const ShFactors &, int64_t n, int stride, float *v_sh);  // v_sh [N, K, 3] from its factors
    void (*make_splats)(const BinArgs &, TileLists &);  // `splats` from `gaussian`
    void (*rasterize)(const RasterizeArgs &);
    void (*rasterize_backward)(const RasterizeBackwardArgs &);
    void (*image_loss)(ImageLossArgs &);
    void (*adam_step)(const AdamArgs &);
    void (*alignment_loss)(AlignmentArgs &);
    void (*patch_match_costs)(const PatchMatchArgs &);
    void (*patch_match_sweep)(const PatchMatchArgs &, const PatchMatchSweep &);
    void (*sparse_conv)(const SparseConvArgs &);
    void (*sparse_conv_bf16)(const SparseConvArgs &);  // null, or where there is AVX512_BF16; weights as [O, K, I]
    void (*sparse_conv_weight)(const SparseConvWeightArgs &);
    void (*sparse_pool)(const SparsePoolArgs &);
    void (*sparse_pool_backward)(const SparsePoolBackwardArgs &);
    void (*nearest_points)(const NearestArgs &);
    void (*node_weights)(const NodeWeightArgs &);
    void (*node_weights_backward)(const NodeWeightBackwardArgs &);
    void (*carry)(const CarryArgs &);
    void (*carry_backward)(const CarryBackwardArgs &);
    void (*skin)(const SkinArgs &);
    void (*skin_backward)(const SkinBackwardArgs &);
};

// Fills the lists; everything in them but `splats` is made here.
void bin_gaussians(const BinArgs &args, const Kernels &kernels, TileLists &lists);

}  // namespace fewview
