// Perspective projection of Gaussians (EWA splatting), W at a time, and its gradient.
//
// Notation as in gsplat: L = R(q) diag(s), M = R_cam L, T = J M, and the image covariance is T T^t + eps I.
#include <algorithm>
#include <cmath>
#include <memory>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr int GRAIN = 1024;  // Gaussians a job; a multiple of W. Camera gradients are summed job by job, in order.

struct Mat3 {
    vf at[3][3];
};

// R(q) of the normalised quaternion (w, x, y, z); 1 / |q| is kept for the gradient. A zero quaternion is the identity.
struct Rotation {
    vf w, x, y, z, inverse_norm;
    Mat3 R;

    explicit Rotation(const vf q[4]) {
        vf square = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3];
        vmask zero = less_equal(square, splat(1e-30f));
        inverse_norm = 1.0f / sqrt(select(zero, splat(1.0f), square));
        w = select(zero, splat(1.0f), q[0] * inverse_norm);
        x = where_not(zero, q[1] * inverse_norm);
        y = where_not(zero, q[2] * inverse_norm);
        z = where_not(zero, q[3] * inverse_norm);
        R.at[0][0] = 1.0f - 2.0f * (y * y + z * z);
        R.at[0][1] = 2.0f * (x * y - w * z);
        R.at[0][2] = 2.0f * (x * z + w * y);
        R.at[1][0] = 2.0f * (x * y + w * z);
        R.at[1][1] = 1.0f - 2.0f * (x * x + z * z);
        R.at[1][2] = 2.0f * (y * z - w * x);
        R.at[2][0] = 2.0f * (x * z - w * y);
        R.at[2][1] = 2.0f * (y * z + w * x);
        R.at[2][2] = 1.0f - 2.0f * (x * x + y * y);
    }

    static vf where_not(vmask m, vf v) { return select(m, vf{}, v); }

    // d loss / d q from d loss / d R, through the normalisation.
    void backward(const Mat3 &v, vf v_q[4]) const {
        const auto &a = v.at;
        vf gw = 2.0f * (x * (a[2][1] - a[1][2]) + y * (a[0][2] - a[2][0]) + z * (a[1][0] - a[0][1]));
        vf gx = 2.0f * (y * (a[0][1] + a[1][0]) + z * (a[0][2] + a[2][0]) - 2.0f * x * (a[1][1] + a[2][2]) +
                        w * (a[2][1] - a[1][2]));
        vf gy = 2.0f * (x * (a[0][1] + a[1][0]) + z * (a[1][2] + a[2][1]) - 2.0f * y * (a[0][0] + a[2][2]) +
                        w * (a[0][2] - a[2][0]));
        vf gz = 2.0f * (x * (a[0][2] + a[2][0]) + y * (a[1][2] + a[2][1]) - 2.0f * z * (a[0][0] + a[1][1]) +
                        w * (a[1][0] - a[0][1]));
        vf along = gw * w + gx * x + gy * y + gz * z;
        v_q[0] = (gw - along * w) * inverse_norm;
        v_q[1] = (gx - along * x) * inverse_norm;
        v_q[2] = (gy - along * y) * inverse_norm;
        v_q[3] = (gz - along * z) * inverse_norm;
    }
};

// Everything about one camera that the loops need.
struct Camera {
    float R[3][3], t[3], fx, fy, cx, cy;
    float u_min, u_max, v_min, v_max;  // where x / z and y / z are clamped in the Jacobian: 1.3 x the half view

    Camera(const ProjectArgs &args, int c) {
        const float *m = args.cam_from_world + 16 * c, *k = args.K + 9 * c;
        for (int i = 0; i < 3; i++) {
            for (int j = 0; j < 3; j++) R[i][j] = m[4 * i + j];
            t[i] = m[4 * i + 3];
        }
        fx = k[0], fy = k[4], cx = k[2], cy = k[5];
        float width = (float)args.options.width, height = (float)args.options.height;
        u_max = (width - cx) / fx + 0.15f * width / fx;
        u_min = -cx / fx - 0.15f * width / fx;
        v_max = (height - cy) / fy + 0.15f * height / fy;
        v_min = -cy / fy - 0.15f * height / fy;
    }
};

// Rows i .. i + W of an array [N, D] as D vectors; rows from `count` on repeat row i, so that they stay harmless.
template <int D>
inline void load_rows(const float *array, int64_t i, int count, vf out[D]) {
    alignas(64) float lane[D][W];
    for (int l = 0; l < W; l++) {
        const float *row = array + (i + (l < count ? l : 0)) * D;
        for (int d = 0; d < D; d++) lane[d][l] = row[d];
    }
    for (int d = 0; d < D; d++) out[d] = load(lane[d]);
}

template <int D>
inline void store_rows(float *array, int64_t i, int count, const vf in[D]) {
    alignas(64) float lane[D][W];
    for (int d = 0; d < D; d++) store(lane[d], in[d]);
    for (int l = 0; l < count; l++)
        for (int d = 0; d < D; d++) array[(i + l) * D + d] = lane[d][l];
}

// What the forward and the backward pass both compute for W Gaussians in one camera.
struct Projected {
    vf p[3];          // mean in the camera frame
    vf inverse_z, u, v;
    vmask u_free, v_free;  // not clamped
    Mat3 M;
    vf T[2][3];

    Projected(const Camera &camera, const vf mean[3], const Mat3 &L) {
        for (int i = 0; i < 3; i++)
            p[i] = camera.R[i][0] * mean[0] + camera.R[i][1] * mean[1] + camera.R[i][2] * mean[2] + camera.t[i];
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                M.at[i][j] = camera.R[i][0] * L.at[0][j] + camera.R[i][1] * L.at[1][j] + camera.R[i][2] * L.at[2][j];
        inverse_z = 1.0f / p[2];
        vf raw_u = p[0] * inverse_z, raw_v = p[1] * inverse_z;
        u = min(max(raw_u, splat(camera.u_min)), splat(camera.u_max));
        v = min(max(raw_v, splat(camera.v_min)), splat(camera.v_max));
        u_free = both(less_equal(splat(camera.u_min), raw_u), less_equal(raw_u, splat(camera.u_max)));
        v_free = both(less_equal(splat(camera.v_min), raw_v), less_equal(raw_v, splat(camera.v_max)));
        vf jx = camera.fx * inverse_z, jy = camera.fy * inverse_z;
        for (int j = 0; j < 3; j++) {
            T[0][j] = jx * (M.at[0][j] - u * M.at[2][j]);
            T[1][j] = jy * (M.at[1][j] - v * M.at[2][j]);
        }
    }
};

inline Mat3 scaled_columns(const Mat3 &R, const vf scale[3]) {
    Mat3 L;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) L.at[i][j] = R.at[i][j] * scale[j];
    return L;
}

void project_block(const ProjectArgs &args, int64_t i, int count) {
    const ProjectOptions &o = args.options;
    vf mean[3], quat[4], scale[3], opacity[1];
    load_rows<3>(args.means, i, count, mean);
    load_rows<4>(args.quats, i, count, quat);
    load_rows<3>(args.scales, i, count, scale);
    load_rows<1>(args.opacities, i, count, opacity);
    const Mat3 L = scaled_columns(Rotation(quat).R, scale);
    for (int c = 0; c < args.cameras; c++) {
        const Camera camera(args, c);
        const Projected q(camera, mean, L);
        vf xx = q.T[0][0] * q.T[0][0] + q.T[0][1] * q.T[0][1] + q.T[0][2] * q.T[0][2];
        vf xy = q.T[0][0] * q.T[1][0] + q.T[0][1] * q.T[1][1] + q.T[0][2] * q.T[1][2];
        vf yy = q.T[1][0] * q.T[1][0] + q.T[1][1] * q.T[1][1] + q.T[1][2] * q.T[1][2];
        // |T0 x T1|^2 is xx yy - xy^2 without the cancellation that would erase long thin Gaussians.
        vf nx = q.T[0][1] * q.T[1][2] - q.T[0][2] * q.T[1][1];
        vf ny = q.T[0][2] * q.T[1][0] - q.T[0][0] * q.T[1][2];
        vf nz = q.T[0][0] * q.T[1][1] - q.T[0][1] * q.T[1][0];
        vf det_before = nx * nx + ny * ny + nz * nz;
        vf det = det_before + o.eps2d * (xx + yy) + o.eps2d * o.eps2d;
        xx += o.eps2d;
        yy += o.eps2d;
        vf inverse_det = 1.0f / det;
        vf compensation = sqrt(max(det_before * inverse_det, vf{}));
        vf visible_opacity = o.antialiased ? opacity[0] * compensation : opacity[0];
        vf x = camera.fx * q.p[0] * q.inverse_z + camera.cx;
        vf y = camera.fy * q.p[1] * q.inverse_z + camera.cy;

        // Extents are few operations on few survivors, and want a logarithm and whole numbers: lane by lane.
        alignas(64) float lane[6][W];
        store(lane[0], x), store(lane[1], y), store(lane[2], q.p[2]);
        store(lane[3], xx), store(lane[4], yy), store(lane[5], visible_opacity);
        alignas(64) float det_lane[W], keep[W];
        store(det_lane, det);
        int32_t *radii = args.radii + 2 * (c * args.n + i);
        for (int l = 0; l < W; l++) {
            keep[l] = -1.0f;
            if (l >= count) continue;
            radii[2 * l] = radii[2 * l + 1] = 0;
            const float z = lane[2][l], alpha = lane[5][l];
            // Written so that NaN fails every one of them.
            if (!(z >= o.near_plane && z <= o.far_plane && det_lane[l] > 0.0f && alpha >= ALPHA_MIN &&
                  alpha < 1e9f))
                continue;
            float extent = std::min(3.33f, std::sqrt(2.0f * std::log(alpha / ALPHA_MIN)));
            float rx = std::ceil(extent * std::sqrt(lane[3][l])), ry = std::ceil(extent * std::sqrt(lane[4][l]));
            if (!(rx < 1e9f && ry < 1e9f) || (rx <= o.radius_clip && ry <= o.radius_clip)) continue;
            if (!(lane[0][l] + rx > 0.0f && lane[0][l] - rx < (float)o.width && lane[1][l] + ry > 0.0f &&
                  lane[1][l] - ry < (float)o.height))
                continue;
            radii[2 * l] = (int32_t)rx;
            radii[2 * l + 1] = (int32_t)ry;
            keep[l] = 1.0f;
        }
        const vmask kept = less(vf{}, load(keep));
        const vf mean2d[2] = {where(kept, x), where(kept, y)};
        const vf conic[3] = {where(kept, yy * inverse_det), where(kept, -xy * inverse_det), where(kept, xx * inverse_det)};
        const vf depth[1] = {where(kept, q.p[2])}, comp[1] = {where(kept, compensation)};
        const int64_t row = c * args.n + i;
        store_rows<2>(args.means2d, row, count, mean2d);
        store_rows<1>(args.depths, row, count, depth);
        store_rows<3>(args.conics, row, count, conic);
        store_rows<1>(args.compensations, row, count, comp);
    }
}

// Twelve running sums of d loss / d [R | t], W at a time, for one camera.
struct CameraGradient {
    vf at[3][4] = {};
};

void project_block_backward(const ProjectBackwardArgs &args, int64_t i, int count, CameraGradient *v_cameras) {
    const ProjectArgs &f = args.forward;
    vf mean[3], quat[4], scale[3];
    load_rows<3>(f.means, i, count, mean);
    load_rows<4>(f.quats, i, count, quat);
    load_rows<3>(f.scales, i, count, scale);
    const Rotation rotation(quat);
    const Mat3 L = scaled_columns(rotation.R, scale);
    Mat3 v_L = {};
    vf v_mean[3] = {};
    for (int c = 0; c < f.cameras; c++) {
        const int64_t row = c * f.n + i;
        alignas(64) float keep[W];
        bool some = false;
        for (int l = 0; l < W; l++) {
            bool kept = l < count && f.radii[2 * (row + l)] > 0 && f.radii[2 * (row + l) + 1] > 0;
            keep[l] = kept ? 1.0f : -1.0f;
            some |= kept;
        }
        if (!some) continue;
        const vmask kept = less(vf{}, load(keep));
        vf conic[3], comp[1], v_mean2d[2], v_depth[1], v_conic[3], v_comp[1];
        load_rows<3>(f.conics, row, count, conic);
        load_rows<1>(f.compensations, row, count, comp);
        load_rows<2>(args.v_means2d, row, count, v_mean2d);
        load_rows<1>(args.v_depths, row, count, v_depth);
        load_rows<3>(args.v_conics, row, count, v_conic);
        load_rows<1>(args.v_compensations, row, count, v_comp);
        const Camera camera(f, c);
        const Projected q(camera, mean, L);

        // Through the inverse: V = -Y G Y with Y the conic and G its gradient as a symmetric matrix.
        const vf a = conic[0], b = conic[1], d = conic[2];
        const vf half = 0.5f * v_conic[1];
        const vf m00 = a * v_conic[0] + b * half, m01 = a * half + b * v_conic[2];
        const vf m10 = b * v_conic[0] + d * half, m11 = b * half + d * v_conic[2];
        vf vxx = -(m00 * a + m01 * b), vxy = -(m00 * b + m01 * d), vyy = -(m10 * b + m11 * d);
        // Through the compensation sqrt(det / det'): see add_blur in gsplat for the same algebra.
        const vf v_square = 0.5f * v_comp[0] / (comp[0] + 1e-6f), one_minus = 1.0f - comp[0] * comp[0];
        const vf eps_det = f.options.eps2d * (a * d - b * b);
        vxx += v_square * (one_minus * a - eps_det);
        vxy += v_square * (one_minus * b);
        vyy += v_square * (one_minus * d - eps_det);

        // Through T T^t, then T = J M.
        const vf jx = camera.fx * q.inverse_z, jy = camera.fy * q.inverse_z;
        vf v_p[3] = {vf{}, vf{}, vf{}};
        vf j00 = vf{}, j02 = vf{}, j11 = vf{}, j12 = vf{};
        Mat3 v_M;
        for (int j = 0; j < 3; j++) {
            const vf t0 = 2.0f * (vxx * q.T[0][j] + vxy * q.T[1][j]);
            const vf t1 = 2.0f * (vxy * q.T[0][j] + vyy * q.T[1][j]);
            v_M.at[0][j] = where(kept, jx * t0);
            v_M.at[1][j] = where(kept, jy * t1);
            v_M.at[2][j] = where(kept, -(jx * q.u * t0 + jy * q.v * t1));
            j00 += t0 * q.M.at[0][j];
            j02 += t0 * q.M.at[2][j];
            j11 += t1 * q.M.at[1][j];
            j12 += t1 * q.M.at[2][j];
        }
        const vf v_u = where(q.u_free, -jx * j02), v_v = where(q.v_free, -jy * j12);
        const vf x_over_z = q.p[0] * q.inverse_z, y_over_z = q.p[1] * q.inverse_z;
        v_p[0] = (camera.fx * v_mean2d[0] + v_u) * q.inverse_z;
        v_p[1] = (camera.fy * v_mean2d[1] + v_v) * q.inverse_z;
        v_p[2] = v_depth[0] - q.inverse_z * (camera.fx * x_over_z * v_mean2d[0] +
                                             camera.fy * y_over_z * v_mean2d[1] + v_u * x_over_z + v_v * y_over_z +
                                             jx * (j00 - q.u * j02) + jy * (j11 - q.v * j12));
        for (int k = 0; k < 3; k++) v_p[k] = where(kept, v_p[k]);

        for (int k = 0; k < 3; k++) {
            v_mean[k] += camera.R[0][k] * v_p[0] + camera.R[1][k] * v_p[1] + camera.R[2][k] * v_p[2];
            for (int j = 0; j < 3; j++)
                v_L.at[k][j] +=
                    camera.R[0][k] * v_M.at[0][j] + camera.R[1][k] * v_M.at[1][j] + camera.R[2][k] * v_M.at[2][j];
        }
        if (v_cameras) {
            CameraGradient &g = v_cameras[c];
            for (int r = 0; r < 3; r++) {
                for (int k = 0; k < 3; k++)
                    g.at[r][k] += v_p[r] * mean[k] + v_M.at[r][0] * L.at[k][0] + v_M.at[r][1] * L.at[k][1] +
                                  v_M.at[r][2] * L.at[k][2];
                g.at[r][3] += v_p[r];
            }
        }
    }
    Mat3 v_R;
    vf v_scale[3], v_quat[4];
    for (int j = 0; j < 3; j++) {
        v_scale[j] = v_L.at[0][j] * rotation.R.at[0][j] + v_L.at[1][j] * rotation.R.at[1][j] +
                     v_L.at[2][j] * rotation.R.at[2][j];
        for (int k = 0; k < 3; k++) v_R.at[k][j] = v_L.at[k][j] * scale[j];
    }
    rotation.backward(v_R, v_quat);
    store_rows<3>(args.v_means, i, count, v_mean);
    store_rows<3>(args.v_scales, i, count, v_scale);
    store_rows<4>(args.v_quats, i, count, v_quat);
}

}  // namespace

void project(const ProjectArgs &args) {
    parallel_for((int)((args.n + GRAIN - 1) / GRAIN), [&](int job) {
        const int64_t end = std::min(args.n, (int64_t)(job + 1) * GRAIN);
        for (int64_t i = (int64_t)job * GRAIN; i < end; i += W)
            project_block(args, i, (int)std::min<int64_t>(W, end - i));
    });
}

void project_backward(const ProjectBackwardArgs &args) {
    const ProjectArgs &f = args.forward;
    const int jobs = (int)((f.n + GRAIN - 1) / GRAIN);
    const size_t per_job = args.v_cam_from_world ? (size_t)f.cameras * 12 : 0;
    std::unique_ptr<float[]> partial(new float[jobs * per_job + 1]);
    parallel_for(jobs, [&](int job) {
        std::unique_ptr<CameraGradient[]> sums(per_job ? new CameraGradient[f.cameras] : nullptr);
        const int64_t end = std::min(f.n, (int64_t)(job + 1) * GRAIN);
        for (int64_t i = (int64_t)job * GRAIN; i < end; i += W)
            project_block_backward(args, i, (int)std::min<int64_t>(W, end - i), sums.get());
        for (size_t k = 0; k < per_job; k++)
            partial[job * per_job + k] = sum(sums[k / 12].at[k % 12 / 4][k % 4]);
    });
    for (size_t k = 0; k < per_job; k++) {
        double total = 0.0;
        for (int job = 0; job < jobs; job++) total += partial[job * per_job + k];
        args.v_cam_from_world[k / 12 * 16 + k % 12] = (float)total;
    }
}

}  // namespace fewview::FEWVIEW_ISA
