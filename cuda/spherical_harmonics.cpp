// Colours from real spherical harmonics (degrees 0 to 4), and their gradient.
//
// The basis of W directions is computed at once; the sums over coefficients then run along each Gaussian's own
// stretch of memory. Order and signs are those of the 3DGS files (Condon-Shortley phase, m = -l .. l).
#include <algorithm>
#include <memory>

#include "kernels.h"
#include "parallel.h"
#include "sh_gradient.h"
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

// Rows of three floats as three vectors; rows from `count` on repeat the first, so that they stay harmless.
inline void load_rows(const float *rows, int count, vf out[3]) {
    alignas(64) float lane[3][W];
    for (int l = 0; l < W; l++)
        for (int d = 0; d < 3; d++) lane[d][l] = rows[3 * (l < count ? l : 0) + d];
    for (int d = 0; d < 3; d++) out[d] = load(lane[d]);
}

inline void store_rows(float *rows, int count, const vf in[3]) {
    alignas(64) float lane[3][W];
    for (int d = 0; d < 3; d++) store(lane[d], in[d]);
    for (int l = 0; l < count; l++)
        for (int d = 0; d < 3; d++) rows[3 * l + d] = lane[d][l];
}

// Unit directions from a camera centre to W means, and 1 / distance.
struct Directions {
    vf at[3], inverse_length;

    Directions(const float *means, const float *center, int count) {
        load_rows(means, count, at);
        for (int d = 0; d < 3; d++) at[d] -= center[d];
        inverse_length = 1.0f / sqrt(max(at[0] * at[0] + at[1] * at[1] + at[2] * at[2], splat(1e-24f)));
        for (int d = 0; d < 3; d++) at[d] *= inverse_length;
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
        const Directions dir(args.means + 3 * i, args.centers + 3 * c, count);
        Basis<false> basis;
        basis.evaluate(args.degree, dir.at[0], dir.at[1], dir.at[2]);
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

// Adds basis(direction) x colour gradient, one camera's share, to v_sh [count, stride, 3]. One function for all who ask,
// never inlined, so that all get the same bits.
[[gnu::noinline]] void add_products(int degree, const vf direction[3], const float *v_colors, int count, int stride, float *v_sh) {
    const int used = (degree + 1) * (degree + 1);
    Basis<false> basis;
    basis.evaluate(degree, direction[0], direction[1], direction[2]);
    alignas(64) float value[MAX_K][W];
    for (int k = 0; k < used; k++) store(value[k], basis.value[k]);
    for (int l = 0; l < count; l++) {
        const float r = v_colors[3 * l], g = v_colors[3 * l + 1], b = v_colors[3 * l + 2];
        if (r == 0.0f && g == 0.0f && b == 0.0f) continue;
        float *out = v_sh + (int64_t)l * stride * 3;
        for (int k = 0; k < used; k++) {
            out[3 * k] += value[k][l] * r;
            out[3 * k + 1] += value[k][l] * g;
            out[3 * k + 2] += value[k][l] * b;
        }
    }
}

void colors_block_backward(const ShBackwardArgs &args, int64_t i, int count, vf (*v_centers)[3]) {
    const ShArgs &f = args.forward;
    const int used = (f.degree + 1) * (f.degree + 1);
    float *v_sh = args.v_sh ? args.v_sh + i * f.stride * 3 : nullptr;
    if (v_sh) std::fill(v_sh, v_sh + (int64_t)count * f.stride * 3, 0.0f);
    vf v_mean[3] = {};
    for (int c = 0; c < f.cameras; c++) {
        const int64_t row = c * f.n + i;
        alignas(64) float seen[3 * W] = {};  // v_colors, nothing where nothing is seen
        bool any_seen = false;
        for (int l = 0; l < count; l++) {
            if (!is_visible(f, row + l)) continue;
            any_seen = true;
            // Nothing flows through the clamp at zero.
            for (int d = 0; d < 3; d++)
                seen[3 * l + d] = f.colors[3 * (row + l) + d] > 0.0f ? args.v_colors[3 * (row + l) + d] : 0.0f;
        }
        if (!v_sh) {
            std::copy(seen, seen + 3 * count, args.seen_v_colors + 3 * row);
            if (!any_seen) std::fill_n(args.directions + 3 * row, 3 * count, 0.0f);
        }
        if (!any_seen) continue;
        const Directions dir(f.means + 3 * i, f.centers + 3 * c, count);
        Basis<true> basis;
        basis.evaluate(f.degree, dir.at[0], dir.at[1], dir.at[2]);
        if (v_sh)
            add_products(f.degree, dir.at, seen, count, f.stride, v_sh);
        else
            store_rows(args.directions + 3 * row, count, dir.at);
        alignas(64) float weight[MAX_K][W] = {};
        for (int l = 0; l < count; l++) {
            if (!is_visible(f, row + l)) continue;
            const float r = seen[3 * l], g = seen[3 * l + 1], b = seen[3 * l + 2];
            const float *sh = f.sh + (i + l) * f.stride * 3;
            for (int k = 1; k < used; k++) weight[k][l] = sh[3 * k] * r + sh[3 * k + 1] * g + sh[3 * k + 2] * b;
        }
        vf gx = vf{}, gy = vf{}, gz = vf{};
        for (int k = 1; k < used; k++) {
            const vf w = load(weight[k]);
            gx += w * basis.dx[k];
            gy += w * basis.dy[k];
            gz += w * basis.dz[k];
        }
        // Through the normalisation of the direction.
        const vf along = gx * dir.at[0] + gy * dir.at[1] + gz * dir.at[2];
        const vf v_dir[3] = {(gx - along * dir.at[0]) * dir.inverse_length, (gy - along * dir.at[1]) * dir.inverse_length,
                             (gz - along * dir.at[2]) * dir.inverse_length};
        for (int d = 0; d < 3; d++) {
            v_mean[d] += v_dir[d];
            v_centers[c][d] -= v_dir[d];
        }
    }
    store_rows(args.v_means + 3 * i, count, v_mean);
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

void sh_gradient_rows(const ShFactors &factors, int64_t n, int64_t i, int count, int stride, float *v_sh) {
    std::fill_n(v_sh, (int64_t)count * stride * 3, 0.0f);
    for (int c = 0; c < factors.cameras; c++) {
        const int64_t row = c * n + i;
        vf direction[3];
        load_rows(factors.directions + 3 * row, count, direction);
        add_products(factors.degree, direction, factors.v_colors + 3 * row, count, stride, v_sh);
    }
}

void sh_gradient(const ShFactors &factors, int64_t n, int stride, float *v_sh) {
    parallel_for((int)((n + GRAIN - 1) / GRAIN), [&](int job) {
        const int64_t end = std::min(n, (int64_t)(job + 1) * GRAIN);
        for (int64_t i = (int64_t)job * GRAIN; i < end; i += W)
            sh_gradient_rows(factors, n, i, (int)std::min<int64_t>(W, end - i), stride, v_sh + i * stride * 3);
    });
}

}  // namespace fewview::FEWVIEW_ISA
