// The kernels of control_points.h.
//
// A Gaussian reads K rows of tables that fit the second cache, so all of it runs at the speed of what is read and written
// for each Gaussian. Gradients of control points are summed in a fixed number of parts, which are then added in their
// order: the number of threads does not show in the bits.
#include "control_points.h"

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "parallel.h"
#include "row_sums.h"
#include "simd.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr float FLOOR = 1e-7f;   // of a weight before all are made to sum to one (as released)
constexpr float LOG2E = 1.44269504f;

float squared_distance(const NodeWeightArgs &a, int64_t row, int node) {
    float sum = 0.0f;
    for (int d = 0; d < 3; d++) {
        const float e = a.means[3 * row + d] - a.nodes[3 * node + d];
        sum += e * e;
    }
    for (int d = 0; d < a.hyper; d++) {
        const float e = a.mean_hyper[a.hyper * row + d] - a.node_hyper[a.hyper * node + d];
        sum += e * e;
    }
    return sum;
}

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// exp(-d2 / (2 radius^2)) * strength, the weight before its floor and normalisation, for W Gaussians of one neighbour.
vf kernel(vf d2, vf inverse_2r2, vf strength) {
    return exp2(max(-d2 * inverse_2r2 * LOG2E, splat(-126.0f))) * strength;
}

struct NodeTable {
    std::vector<float> inverse_2r2, strength;
    explicit NodeTable(const NodeWeightArgs &a) : inverse_2r2(a.points), strength(a.points) {
        for (int m = 0; m < a.points; m++) {
            inverse_2r2[m] = 0.5f * std::exp(-2.0f * a.log_radius[m]);
            strength[m] = sigmoid(a.strength_logits[m]);
        }
    }
};

// The squared distances and kernels of up to W Gaussians from `first` on, [K][W].
struct Block {
    alignas(64) float d2[MAX_NEIGHBOURS][W], inverse[MAX_NEIGHBOURS][W], kernels[MAX_NEIGHBOURS][W];

    void fill(const NodeWeightArgs &a, const NodeTable &table, int64_t first, int lanes) {
        for (int k = 0; k < a.near; k++) {
            alignas(64) float strength[W] = {};
            for (int l = 0; l < lanes; l++) {
                const int node = a.index[a.near * (first + l) + k];
                d2[k][l] = squared_distance(a, first + l, node);
                inverse[k][l] = table.inverse_2r2[node];
                strength[l] = table.strength[node];
            }
            for (int l = lanes; l < W; l++) d2[k][l] = inverse[k][l] = 0.0f;
            store(kernels[k], kernel(load(d2[k]), load(inverse[k]), load(strength)));
        }
    }
};

}  // namespace

void nearest_points(const NearestArgs &a) {
    const int D = a.dimensions, K = a.near;
    parallel_for(jobs_of(a.count), [&](int job) {
        std::vector<float> lanes_of((size_t)D * W);
        for (int64_t first = job * GRAIN; first < std::min(a.count, (job + 1) * GRAIN); first += W) {
            const int lanes = (int)std::min<int64_t>(W, a.count - first);
            for (int d = 0; d < D; d++)
                for (int l = 0; l < W; l++) lanes_of[(size_t)d * W + l] = a.queries[D * (first + std::min(l, lanes - 1)) + d];
            vf best[MAX_NEIGHBOURS], which[MAX_NEIGHBOURS];
            for (int k = 0; k < K; k++) best[k] = splat(3e38f), which[k] = vf{};
            for (int m = 0; m < a.points; m++) {
                vf d2 = vf{};
                for (int d = 0; d < D; d++) {
                    const vf e = load(&lanes_of[(size_t)d * W]) - a.candidates[(int64_t)D * m + d];
                    d2 += e * e;
                }
                if (!any(less(d2, best[K - 1]))) continue;
                vf number = splat((float)m);  // exact: there are fewer than 2^24
                for (int k = 0; k < K; k++) {
                    const vmask nearer = less(d2, best[k]);
                    const vf d2_on = select(nearer, best[k], d2), number_on = select(nearer, which[k], number);
                    best[k] = select(nearer, d2, best[k]);
                    which[k] = select(nearer, number, which[k]);
                    d2 = d2_on, number = number_on;
                }
            }
            for (int l = 0; l < lanes; l++)
                for (int k = 0; k < K; k++) a.index[K * (first + l) + k] = (int32_t)which[k][l];
        }
    });
}

void node_weights(const NodeWeightArgs &a) {
    const NodeTable table(a);
    parallel_for(jobs_of(a.count), [&](int job) {
        Block block;
        for (int64_t first = job * GRAIN; first < std::min(a.count, (job + 1) * GRAIN); first += W) {
            const int lanes = (int)std::min<int64_t>(W, a.count - first);
            block.fill(a, table, first, lanes);
            vf total = vf{};
            for (int k = 0; k < a.near; k++) total += load(block.kernels[k]) + FLOOR;
            for (int k = 0; k < a.near; k++) {
                const vf weight = (load(block.kernels[k]) + FLOOR) / total;
                for (int l = 0; l < lanes; l++) a.weights[a.near * (first + l) + k] = weight[l];
            }
        }
    });
}

void node_weights_backward(const NodeWeightBackwardArgs &args) {
    const NodeWeightArgs &a = args.forward;
    const NodeTable table(a);
    const int H = a.hyper, K = a.near, row_size = H + 2;
    std::vector<float> sums((size_t)a.points * row_size);
    in_parts(a.count, (int64_t)sums.size(), sums.data(), [&](int64_t begin, int64_t end, float *own) {
        Block block;
        for (int64_t first = begin; first < end; first += W) {
            const int lanes = (int)std::min<int64_t>(W, end - first);
            block.fill(a, table, first, lanes);
            for (int l = 0; l < lanes; l++) {
                const int64_t row = first + l;
                const float *w = a.weights + K * row, *v = args.v_weights + K * row;
                float *v_own = args.v_mean_hyper + H * row;
                float mean = 0.0f, total = 0.0f;
                for (int k = 0; k < K; k++) mean += w[k] * v[k], total += block.kernels[k][l] + FLOOR;
                std::fill_n(v_own, H, 0.0f);
                for (int k = 0; k < K; k++) {
                    const int node = a.index[K * row + k];
                    const float v_kernel = (v[k] - mean) / total * block.kernels[k][l];  // per relative change
                    const float v_d2 = -v_kernel * block.inverse[k][l];
                    float *v_node = own + (int64_t)node * row_size;
                    for (int d = 0; d < H; d++) {
                        const float e = 2.0f * v_d2 * (a.mean_hyper[H * row + d] - a.node_hyper[(int64_t)H * node + d]);
                        v_own[d] += e;
                        v_node[d] -= e;
                    }
                    v_node[H] -= 2.0f * v_d2 * block.d2[k][l];
                    v_node[H + 1] += v_kernel * (1.0f - table.strength[node]);
                }
            }
        }
    });
    for (int m = 0; m < a.points; m++) {
        const float *from = sums.data() + (size_t)m * row_size;
        std::copy(from, from + H, args.v_node_hyper + (int64_t)H * m);
        args.v_log_radius[m] = from[H];
        args.v_strength_logits[m] = from[H + 1];
    }
}

void carry(const CarryArgs &a) {
    const int C = a.channels, K = a.near;
    parallel_for(jobs_of(a.count), [&](int job) {
        for (int64_t row = job * GRAIN; row < std::min(a.count, (job + 1) * GRAIN); row++) {
            const float *x = a.means + 3 * row;
            float to[3] = {x[0], x[1], x[2]};
            float *blend = a.blend + C * row;
            std::fill_n(blend, C, 0.0f);
            for (int k = 0; k < K; k++) {
                const int64_t node = a.index[K * row + k];
                const float w = a.weights[K * row + k], *p = a.nodes + 3 * node, *t = a.transforms + 12 * node;
                const float e[3] = {x[0] - p[0], x[1] - p[1], x[2] - p[2]};
                for (int i = 0; i < 3; i++)
                    to[i] += w * (t[4 * i] * e[0] + t[4 * i + 1] * e[1] + t[4 * i + 2] * e[2] + t[4 * i + 3] - e[i]);
                for (int c = 0; c < C; c++) blend[c] += w * a.values[C * node + c];
            }
            std::copy(to, to + 3, a.moved + 3 * row);
        }
    });
}

void carry_backward(const CarryBackwardArgs &args) {
    const CarryArgs &a = args.forward;
    const int C = a.channels, K = a.near, row_size = 15 + C;  // nodes, transforms, values
    std::vector<float> sums((size_t)a.points * row_size);
    in_parts(a.count, (int64_t)sums.size(), sums.data(), [&](int64_t begin, int64_t end, float *own) {
        for (int64_t row = begin; row < end; row++) {
            const float *x = a.means + 3 * row, *v = args.v_moved + 3 * row, *v_blend = args.v_blend + C * row;
            float v_x[3] = {v[0], v[1], v[2]};
            for (int k = 0; k < K; k++) {
                const int64_t node = a.index[K * row + k];
                const float w = a.weights[K * row + k], *p = a.nodes + 3 * node, *t = a.transforms + 12 * node;
                const float e[3] = {x[0] - p[0], x[1] - p[1], x[2] - p[2]};
                float *sum = own + node * row_size;
                float v_w = 0.0f;
                for (int i = 0; i < 3; i++) {
                    const float *r = t + 4 * i;
                    v_w += v[i] * (r[0] * e[0] + r[1] * e[1] + r[2] * e[2] + r[3] - e[i]);
                    for (int j = 0; j < 3; j++) sum[3 + 4 * i + j] += w * v[i] * e[j];
                    sum[3 + 4 * i + 3] += w * v[i];
                }
                for (int j = 0; j < 3; j++) {  // R^T v - v
                    const float back = w * (t[j] * v[0] + t[4 + j] * v[1] + t[8 + j] * v[2] - v[j]);
                    v_x[j] += back;
                    sum[j] -= back;
                }
                for (int c = 0; c < C; c++) {
                    v_w += v_blend[c] * a.values[C * node + c];
                    sum[15 + c] += w * v_blend[c];
                }
                args.v_weights[K * row + k] = v_w;
            }
            std::copy(v_x, v_x + 3, args.v_means + 3 * row);
        }
    });
    for (int m = 0; m < a.points; m++) {
        const float *from = sums.data() + (size_t)m * row_size;
        std::copy(from, from + 3, args.v_nodes + 3 * (int64_t)m);
        std::copy(from + 3, from + 15, args.v_transforms + 12 * (int64_t)m);
        std::copy(from + 15, from + row_size, args.v_values + (int64_t)C * m);
    }
}

}  // namespace fewview::FEWVIEW_ISA
