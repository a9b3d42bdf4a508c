// Vertices that K nodes of a deformation graph carry: linear blending, dual quaternions, and a blend of both.
#pragma once

#include <cstdint>

namespace fewview {

// Linear blend: sum of w (A v + T). Dual quaternions: v moved by the sum of w (q, d), divided by the length of its q.
// moved = b linear + (1 - b) dual with b = min(1, offset + sum of w share); blend = sum of w value.
struct SkinArgs {
    int64_t count;               // V
    int points, channels, near;  // M, C, K
    const float *vertices;       // [V, 3]
    const float *affine;         // [M, 3, 4] A | T
    const float *duals;          // [M, 8] q wxyz, and d = half of (0, T) q
    const float *shares;         // [M]
    const float *values;         // [M, C]
    const int32_t *index;        // [V, K] below M
    const float *weights;        // [V, K]
    float offset;
    bool antipodal;  // q and -q are one rotation: each is taken with the sign that is nearer to the heaviest node's
    float *moved, *blend;  // [V, 3] [V, C]
};

struct SkinBackwardArgs {
    SkinArgs forward;  // its outputs are not read
    const float *v_moved, *v_blend;
    float *v_vertices, *v_affine, *v_duals, *v_shares, *v_values;
};

}  // namespace fewview
