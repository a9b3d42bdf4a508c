// Colours from real spherical harmonics (degrees 0 to 4), and their gradient.
//
// The basis of W directions is computed at once; the sums over coefficients then run along each Gaussian's own
// stretch of memory. Order and signs are those of the 3DGS files (Condon-Shortley phase, m = -l .. l).
#include <algorithm>
#include <memory>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr int GRAIN = 1024;
constexpr int MAX_K = 25;

// A polynomial in the unit direction: its value, and where asked its gradient in x, y, z.
template <bool WITH_GRADIENT>
struct Basis {
    vf value[MAX_K];
    vf dx[WITH_GRADIENT ? MAX_K : 1], dy[WITH_GRADIENT ? MAX_K : 1], dz[WITH_GRADIENT ? MAX_K : 1];

    void set(int k, vf v, vf gx, vf gy, vf gz) {
        value[k] = v;
        if constexpr (WITH_GRADIENT) dx[k] = gx, dy[k] = gy, dz[k] = gz;
    }

    void evaluate(int degree, vf x, vf y, vf z) {
        const vf zero = vf{};
        set(0, splat(0.28209479177387814f), zero, zero, zero);
        if (degree < 1) return;
        const float c1 = 0.4886025119029199f;
        set(1, -c1 * y, zero, splat(-c1), zero);
        set(2, c1 * z, zero, zero, splat(c1));
        set(3, -c1 * x, splat(-c1), zero, zero);
        if (degree < 2) return;
        const vf xx = x * x, yy = y * y, zz = z * z;
        const float c2 = 1.092548430592079f, c20 = 0.3153915652525200f, c22 = 0.5462742152960395f;
        set(4, c2 * x * y, c2 * y, c2 * x, zero);
        set(5, -c2 * y * z, zero, -c2 * z, -c2 * y);
        set(6, c20 * (2.0f * zz - xx - yy), -2.0f * c20 * x, -2.0f * c20 * y, 4.0f * c20 * z);
        set(7, -c2 * x * z, -c2 * z, zero, -c2 * x);
        set(8, c22 * (xx - yy), 2.0f * c22 * x, -2.0f * c22 * y, zero);
        if (degree < 3) return;
        const float a = 0.5900435899266435f, b = 2.890611442640554f, c = 0.4570457994644657f;
        const float d = 0.3731763325901154f, e = 1.445305721320277f;
        set(9, -a * y * (3.0f * xx - yy), -6.0f * a * x * y, -3.0f * a * (xx - yy), zero);
        set(10, b * x * y * z, b * y * z, b * x * z, b * x * y);
        set(11, -c * y * (4.0f * zz - xx - yy), 2.0f * c * x * y, -c * (4.0f * zz - xx - 3.0f * yy), -8.0f * c * y * z);
        set(12, d * z * (2.0f * zz - 3.0f * xx - 3.0f * yy), -6.0f * d * x * z, -6.0f * d * y * z,
            d * (6.0f * zz - 3.0f * xx - 3.0f * yy));
        set(13, -c * x * (4.0f * zz - xx - yy), -c * (4.0f * zz - 3.0f * xx - yy), 2.0f * c * x * y, -8.0f * c * x * z);
        set(14, e * z * (xx - yy), 2.0f * e * x * z, -2.0f * e * y * z, e * (xx - yy));
        set(15, -a * x * (xx - 3.0f * yy), -3.0f * a * (xx - yy), 6.0f * a * x * y, zero);
        if (degree < 4) return;
        const float f = 2.5033429417967046f, g = 1.7701307697799304f, h = 0.9461746957575601f;
        const float k = 0.6690465435572892f, m = 0.10578554691520431f, n = 0.47308734787878004f;
        const float q = 0.6258357354491761f;
        set(16, f * x * y * (xx - yy), f * y * (3.0f * xx - yy), f * x * (xx - 3.0f * yy), zero);
        set(17, -g * y * z * (3.0f * xx - yy), -6.0f * g * x * y * z, -3.0f * g * z * (xx - yy), -g * y * (3.0f * xx - yy));
        set(18, h * x * y * (7.0f * zz - 1.0f), h * y * (7.0f * zz - 1.0f), h * x * (7.0f * zz - 1.0f), 14.0f * h * x * y * z);
        set(19, -k * y * z * (7.0f * zz - 3.0f), zero, -k * z * (7.0f * zz - 3.0f), -k * y * (21.0f * zz - 3.0f));
        set(20, m * (35.0f * zz * zz - 30.0f * zz + 3.0f), zero, zero, m * (140.0f * zz - 60.0f) * z);
        set(21, -k * x * z * (7.0f * zz - 3.0f), -k * z * (7.0f * zz - 3.0f), zero, -k * x * (21.0f * zz - 3.0f));
        set(22, n * (xx - yy) * (7.0f * zz - 1.0f), 2.0f * n * x * (7.0f * zz - 1.0f), -2.0f * n * y * (7.0f * zz - 1.0f),
            14.0f * n * z * (xx - yy));
        set(23, -g * x * z * (xx - 3.0f * yy), -3.0f * g * z * (xx - yy), 6.0f * g * x * y * z, -g * x * (xx - 3.0f * yy));
        set(24, q * (xx * xx - 6.0f * xx * yy + yy * yy), 4.0f * q * x * (xx - 3.0f * yy), 4.0f * q * y * (yy - 3.0f * xx), zero);
    }
};

// Unit directions from a camera centre to W means, and 1 / distance.
struct Directions {
    vf x, y, z, inverse_length;

    Directions(const float *means, const float *center, int64_t i, int count) {
        alignas(64) float lane[3][W];
        for (int l = 0; l < W; l++)
            for (int d = 0; d < 3; d++) lane[d][l] = means[3 * (i + (l < count ? l : 0)) + d] - center[d];
        x = load(lane[0]), y = load(lane[1]), z = load(lane[2]);
        inverse_length = 1.0f / sqrt(max(x * x + y * y + z * z, splat(1e-24f)));
        x = x * inverse_length, y = y * inverse_length, z = z * inverse_length;
    }
};

inline bool is_visible(const ShArgs &args, int64_t row) { return args.radii[2 * row] > 0 && args.radii[2 * row + 1] > 0; }

inline bool any_visible(const ShArgs &args, int64_t row, int count) {
    for (int l = 0; l < count; l++)
        if (is_visible(args, row + l)) return true;
    return false;
}

void colors_block(const ShArgs &args, int64_t i, int count) {
    const int used = (args.degree + 1) * (args.degree + 1);
    for (int c = 0; c < args.cameras; c++) {
        const int64_t row = c * args.n + i;
        float *out = args.colors + 3 * row;
        std::fill(out, out + 3 * count, 0.0f);
        if (!any_visible(args, row, count)) continue;
        const Directions dir(args.means, args.centers + 3 * c, i, count);
        Basis<false> basis;
        basis.evaluate(args.degree, dir.x, dir.y, dir.z);
        alignas(64) float value[MAX_K][W];
        for (int k = 0; k < used; k++) store(value[k], basis.value[k]);
        for (int l = 0; l < count; l++) {
            if (!is_visible(args, row + l)) continue;
            const float *sh = args.sh + (i + l) * args.stride * 3;
            float r = 0.5f, g = 0.5f, b = 0.5f;
            for (int k = 0; k < used; k++) {
                r += value[k][l] * sh[3 * k];
                g += value[k][l] * sh[3 * k + 1];
                b += value[k][l] * sh[3 * k + 2];
            }
            out[3 * l] = std::max(r, 0.0f);
            out[3 * l + 1] = std::max(g, 0.0f);
            out[3 * l + 2] = std::max(b, 0.0f);
        }
    }
}

void colors_block_backward(const ShBackwardArgs &args, int64_t i, int count, vf (*v_centers)[3]) {
    const ShArgs &f = args.forward;
    const int used = (f.degree + 1) * (f.degree + 1);
    float *v_sh = args.v_sh + i * f.stride * 3;
    std::fill(v_sh, v_sh + (int64_t)count * f.stride * 3, 0.0f);
    vf v_mean[3] = {};
    for (int c = 0; c < f.cameras; c++) {
        const int64_t row = c * f.n + i;
        if (!any_visible(f, row, count)) continue;
        const Directions dir(f.means, f.centers + 3 * c, i, count);
        Basis<true> basis;
        basis.evaluate(f.degree, dir.x, dir.y, dir.z);
        alignas(64) float value[MAX_K][W], weight[MAX_K][W] = {};
        for (int k = 0; k < used; k++) store(value[k], basis.value[k]);
        for (int l = 0; l < count; l++) {
            if (!is_visible(f, row + l)) continue;
            const float *color = f.colors + 3 * (row + l), *v = args.v_colors + 3 * (row + l);
            // Nothing flows through the clamp at zero.
            const float r = color[0] > 0.0f ? v[0] : 0.0f, g = color[1] > 0.0f ? v[1] : 0.0f,
                        b = color[2] > 0.0f ? v[2] : 0.0f;
            const float *sh = f.sh + (i + l) * f.stride * 3;
            float *out = v_sh + (int64_t)l * f.stride * 3;
            for (int k = 0; k < used; k++) {
                out[3 * k] += value[k][l] * r;
                out[3 * k + 1] += value[k][l] * g;
                out[3 * k + 2] += value[k][l] * b;
                weight[k][l] = sh[3 * k] * r + sh[3 * k + 1] * g + sh[3 * k + 2] * b;
            }
        }
        vf gx = vf{}, gy = vf{}, gz = vf{};
        for (int k = 1; k < used; k++) {
            const vf w = load(weight[k]);
            gx += w * basis.dx[k];
            gy += w * basis.dy[k];
            gz += w * basis.dz[k];
        }
        // Through the normalisation of the direction.
        const vf along = gx * dir.x + gy * dir.y + gz * dir.z;
        const vf v_dir[3] = {(gx - along * dir.x) * dir.inverse_length, (gy - along * dir.y) * dir.inverse_length,
                             (gz - along * dir.z) * dir.inverse_length};
        for (int d = 0; d < 3; d++) {
            v_mean[d] += v_dir[d];
            v_centers[c][d] -= v_dir[d];
        }
    }
    alignas(64) float lane[3][W];
    for (int d = 0; d < 3; d++) store(lane[d], v_mean[d]);
    for (int l = 0; l < count; l++)
        for (int d = 0; d < 3; d++) args.v_means[3 * (i + l) + d] = lane[d][l];
}

}  // namespace

void sh_colors(const ShArgs &args) {
    parallel_for((int)((args.n + GRAIN - 1) / GRAIN), [&](int job) {
        const int64_t end = std::min(args.n, (int64_t)(job + 1) * GRAIN);
        for (int64_t i = (int64_t)job * GRAIN; i < end; i += W)
            colors_block(args, i, (int)std::min<int64_t>(W, end - i));
    });
}

void sh_colors_backward(const ShBackwardArgs &args) {
    const ShArgs &f = args.forward;
    const int jobs = (int)((f.n + GRAIN - 1) / GRAIN), per_job = 3 * f.cameras;
    std::unique_ptr<float[]> partial(new float[(size_t)jobs * per_job + 1]);
    parallel_for(jobs, [&](int job) {
        std::unique_ptr<vf[][3]> v_centers(new vf[f.cameras][3]());
        const int64_t end = std::min(f.n, (int64_t)(job + 1) * GRAIN);
        for (int64_t i = (int64_t)job * GRAIN; i < end; i += W)
            colors_block_backward(args, i, (int)std::min<int64_t>(W, end - i), v_centers.get());
        for (int k = 0; k < per_job; k++) partial[(size_t)job * per_job + k] = sum(v_centers[k / 3][k % 3]);
    });
    for (int k = 0; k < per_job; k++) {
        double total = 0.0;
        for (int job = 0; job < jobs; job++) total += partial[(size_t)job * per_job + k];
        args.v_centers[k] = (float)total;
    }
}

}  // namespace fewview::FEWVIEW_ISA
