// Sparse control points that carry Gaussians: which ones are near, how much each counts, and where they take them.
#pragma once

#include <cstdint>

namespace fewview {

constexpr int MAX_NEIGHBOURS = 64;

struct NearestArgs {
    int64_t count;                // N
    int points, dimensions, near;  // M, D, K <= min(M, MAX_NEIGHBOURS)
    const float *queries;         // [N, D]
    const float *candidates;      // [M, D]
    int32_t *index;               // [N, K] nearest first, the lower number first where two are as far
};

// How much each of its K control points counts for a Gaussian (SC-GS, equation 5, as released).
struct NodeWeightArgs {
    int64_t count;
    int points, hyper, near;         // M, H, K
    const float *means;              // [N, 3]
    const float *mean_hyper;         // [N, H]
    const float *nodes, *node_hyper;  // [M, 3] [M, H]
    const float *log_radius;         // [M]
    const float *strength_logits;    // [M]
    const int32_t *index;            // [N, K] below M
    float *weights;                  // [N, K] sum to 1
};

struct NodeWeightBackwardArgs {
    NodeWeightArgs forward;  // its weights are read
    const float *v_weights;  // [N, K]
    float *v_mean_hyper, *v_node_hyper, *v_log_radius, *v_strength_logits;
};

// moved = mean + sum of w (R (mean - p) + p + shift - mean), blend = sum of w value
struct CarryArgs {
    int64_t count;
    int points, channels, near;  // M, C, K
    const float *means;          // [N, 3]
    const float *nodes;          // [M, 3] p
    const float *transforms;     // [M, 3, 4] R | shift
    const float *values;         // [M, C]
    const int32_t *index;        // [N, K] below M
    const float *weights;        // [N, K]
    float *moved, *blend;        // [N, 3] [N, C]
};

struct CarryBackwardArgs {
    CarryArgs forward;  // its outputs are not read
    const float *v_moved, *v_blend;
    float *v_means, *v_nodes, *v_transforms, *v_values, *v_weights;
};

}  // namespace fewview
