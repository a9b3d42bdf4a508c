// The kernels of skinning.h.
//
// A vertex reads K rows of a table that fits the second cache; all else is read and written once. With the sum (w, u)
// of quaternions, (e, d) of dual parts and n its squared length, the dual quaternion moves v to v + 2 / n g, where
// g = u x a + w d - e u and a = w v + u x v + d (Kavan et al. 2008, unrolled).
#include "skinning.h"

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "row_sums.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr float LEAST_SQUARE = 1e-20f;  // of a summed quaternion; opposite ones may cancel

struct Vec {
    float x, y, z;
};

Vec read(const float *p) { return {p[0], p[1], p[2]}; }
Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
Vec operator*(float s, Vec a) { return {s * a.x, s * a.y, s * a.z}; }
float dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
Vec cross(Vec a, Vec b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
void write(Vec a, float *p) { p[0] = a.x, p[1] = a.y, p[2] = a.z; }

// The sums of one vertex.
struct Blended {
    float sign[MAX_NEIGHBOURS];
    float m[12] = {}, q[8] = {};
    float share;  // before it is cut at 1
    Vec v, linear, a, g, dual;
    float two_over_n, b;

    Blended(const SkinArgs &args, int64_t row) : share(args.offset), v(read(args.vertices + 3 * row)) {
        const int K = args.near;
        const int32_t *index = args.index + K * row;
        const float *weights = args.weights + K * row;
        const int heaviest = (int)(std::max_element(weights, weights + K) - weights);
        const float *first = args.duals + 8 * (int64_t)index[heaviest];
        for (int k = 0; k < K; k++) {
            const float *t = args.affine + 12 * (int64_t)index[k], *d = args.duals + 8 * (int64_t)index[k];
            const float along = d[0] * first[0] + d[1] * first[1] + d[2] * first[2] + d[3] * first[3];
            sign[k] = args.antipodal && along < 0 ? -weights[k] : weights[k];
            for (int i = 0; i < 12; i++) m[i] += weights[k] * t[i];
            for (int i = 0; i < 8; i++) q[i] += sign[k] * d[i];
            share += weights[k] * args.shares[index[k]];
        }
        linear = {m[0] * v.x + m[1] * v.y + m[2] * v.z + m[3], m[4] * v.x + m[5] * v.y + m[6] * v.z + m[7],
                  m[8] * v.x + m[9] * v.y + m[10] * v.z + m[11]};
        const Vec u = read(q + 1), d = read(q + 5);
        a = q[0] * v + cross(u, v) + d;
        g = cross(u, a) + q[0] * d - q[4] * u;
        two_over_n = 2.0f / std::max(q[0] * q[0] + dot(u, u), LEAST_SQUARE);
        dual = v + two_over_n * g;
        b = std::min(1.0f, share);
    }
};

}  // namespace

void skin(const SkinArgs &a) {
    const int C = a.channels, K = a.near;
    parallel_for(jobs_of(a.count), [&](int job) {
        for (int64_t row = job * GRAIN; row < std::min(a.count, (job + 1) * GRAIN); row++) {
            const Blended s(a, row);
            write(s.b * s.linear + (1.0f - s.b) * s.dual, a.moved + 3 * row);
            float *blend = a.blend + C * row;
            std::fill_n(blend, C, 0.0f);
            for (int k = 0; k < K; k++) {
                const float w = a.weights[K * row + k], *value = a.values + C * (int64_t)a.index[K * row + k];
                for (int c = 0; c < C; c++) blend[c] += w * value[c];
            }
        }
    });
}

void skin_backward(const SkinBackwardArgs &args) {
    const SkinArgs &a = args.forward;
    const int C = a.channels, K = a.near, row_size = 21 + C;  // affine, duals, share, values
    std::vector<float> sums((size_t)a.points * row_size);
    in_parts(a.count, (int64_t)sums.size(), sums.data(), [&](int64_t begin, int64_t end, float *own) {
        for (int64_t row = begin; row < end; row++) {
            const Blended s(a, row);
            const Vec v_moved = read(args.v_moved + 3 * row), v_linear = s.b * v_moved, v_dual = (1.0f - s.b) * v_moved;
            const float v_share = s.share <= 1.0f ? dot(v_moved, s.linear - s.dual) : 0.0f;
            const float m[12] = {v_linear.x * s.v.x, v_linear.x * s.v.y, v_linear.x * s.v.z, v_linear.x,
                                 v_linear.y * s.v.x, v_linear.y * s.v.y, v_linear.y * s.v.z, v_linear.y,
                                 v_linear.z * s.v.x, v_linear.z * s.v.y, v_linear.z * s.v.z, v_linear.z};
            const Vec u = read(s.q + 1), d = read(s.q + 5), v_g = s.two_over_n * v_dual, v_a = cross(v_g, u);
            const float v_n = -0.5f * s.two_over_n * s.two_over_n * dot(v_dual, s.g);
            float q[8];
            q[0] = dot(v_g, d) + dot(v_a, s.v) + 2.0f * v_n * s.q[0];
            write(cross(s.a, v_g) + cross(s.v, v_a) - s.q[4] * v_g + 2.0f * v_n * u, q + 1);
            q[4] = -dot(v_g, u);
            write(s.q[0] * v_g + v_a, q + 5);
            const Vec back = {s.m[0] * v_linear.x + s.m[4] * v_linear.y + s.m[8] * v_linear.z,
                              s.m[1] * v_linear.x + s.m[5] * v_linear.y + s.m[9] * v_linear.z,
                              s.m[2] * v_linear.x + s.m[6] * v_linear.y + s.m[10] * v_linear.z};
            write(back + v_dual + s.q[0] * v_a + cross(v_a, u), args.v_vertices + 3 * row);
            const float *v_blend = args.v_blend + C * row;
            for (int k = 0; k < K; k++) {
                const float w = a.weights[K * row + k];
                float *sum = own + (int64_t)a.index[K * row + k] * row_size;
                for (int i = 0; i < 12; i++) sum[i] += w * m[i];
                for (int i = 0; i < 8; i++) sum[12 + i] += s.sign[k] * q[i];
                sum[20] += w * v_share;
                for (int c = 0; c < C; c++) sum[21 + c] += w * v_blend[c];
            }
        }
    });
    for (int m = 0; m < a.points; m++) {
        const float *from = sums.data() + (size_t)m * row_size;
        std::copy(from, from + 12, args.v_affine + 12 * (int64_t)m);
        std::copy(from + 12, from + 20, args.v_duals + 8 * (int64_t)m);
        args.v_shares[m] = from[20];
        std::copy(from + 21, from + row_size, args.v_values + (int64_t)C * m);
    }
}

}  // namespace fewview::FEWVIEW_ISA
