// (1 - w) * mean |a - b| + w * (1 - mean SSIM), with its gradient in the same call.
//
// SSIM uses an 11 x 11 Gaussian window (sigma 1.5) with zeros beyond the border, as the 3DGS code does. The
// three channels stay interleaved: the window is the same for each, so a row is one array whose taps are three
// floats apart. Both filters run column-first, so that the only buffers are single rows.
#include <algorithm>
#include <cmath>
#include <memory>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr int RADIUS = 5, CHANNELS = 3, MARGIN = RADIUS * CHANNELS;
constexpr float C1 = 0.01f * 0.01f, C2 = 0.03f * 0.03f;
constexpr int BAND = 8;  // rows a job
// exp(-k^2 / (2 * 1.5^2)), normalised over k = -5 .. 5.
constexpr float TAP[RADIUS + 1] = {0.26601172f, 0.21300554f, 0.10936069f, 0.03600077f, 0.00759876f, 0.00102838f};

// A row with room for the taps on both sides and a whole vector at the end; the margins stay zero.
struct Row {
    std::unique_ptr<float[]> memory;
    explicit Row(int length) : memory(new float[length + 2 * MARGIN + W]()) {}
    float *data() { return memory.get() + MARGIN; }
};

// Calls column(offset, tap) for the rows of the window around y that lie in the image.
template <class F>
inline void window_rows(int y, int height, F &&row) {
    for (int k = -RADIUS; k <= RADIUS; k++)
        if (y + k >= 0 && y + k < height) row(y + k, TAP[k < 0 ? -k : k]);
}

inline vf along_row(const float *row, int x) {
    vf total = load(row + x) * TAP[0];
    for (int k = 1; k <= RADIUS; k++)
        total += (load(row + x - k * CHANNELS) + load(row + x + k * CHANNELS)) * TAP[k];
    return total;
}

// The first `count` lanes from memory, zeros behind; whole vectors take the short way.
inline vf load_some(const float *p, int count) {
    if (count >= W) return load(p);
    alignas(64) float lane[W] = {};
    std::copy(p, p + count, lane);
    return load(lane);
}

inline void store_some(float *p, int count, vf v) {
    if (count >= W) return store(p, v);
    alignas(64) float lane[W];
    store(lane, v);
    std::copy(lane, lane + count, p);
}

}  // namespace

void image_loss(ImageLossArgs &args) {
    const int length = args.width * CHANNELS, height = args.height;
    const int jobs = (height + BAND - 1) / BAND;
    const size_t size = (size_t)length * height;
    // d mean-SSIM / d (mean, second moment, product) before the window's transpose, for the gradient.
    std::unique_ptr<float[]> parts(args.gradient ? new float[3 * size] : nullptr);
    std::unique_ptr<double[]> sums(new double[2 * jobs]);

    parallel_for(jobs, [&](int job) {
        Row rows[5] = {Row(length), Row(length), Row(length), Row(length), Row(length)};
        double ssim_sum = 0.0, l1_sum = 0.0;
        for (int y = job * BAND; y < std::min(height, (job + 1) * BAND); y++) {
            for (int x = 0; x < length; x += W) {
                const int count = std::min(W, length - x);
                vf a1 = vf{}, b1 = vf{}, aa = vf{}, bb = vf{}, ab = vf{};
                window_rows(y, height, [&](int row, float tap) {
                    vf a = load_some(args.image + (size_t)row * length + x, count);
                    vf b = load_some(args.target + (size_t)row * length + x, count);
                    vf ta = a * tap, tb = b * tap;
                    a1 += ta, b1 += tb, aa += ta * a, bb += tb * b, ab += ta * b;
                });
                store_some(rows[0].data() + x, count, a1);
                store_some(rows[1].data() + x, count, b1);
                store_some(rows[2].data() + x, count, aa);
                store_some(rows[3].data() + x, count, bb);
                store_some(rows[4].data() + x, count, ab);
            }
            vf ssim_row = vf{}, l1_row = vf{};
            for (int x = 0; x < length; x += W) {
                const int count = std::min(W, length - x);
                const vf inside = where(less(lanes(), splat((float)count)), splat(1.0f));
                vf mu_a = along_row(rows[0].data(), x), mu_b = along_row(rows[1].data(), x);
                vf var_a = along_row(rows[2].data(), x) - mu_a * mu_a;
                vf var_b = along_row(rows[3].data(), x) - mu_b * mu_b;
                vf cov = along_row(rows[4].data(), x) - mu_a * mu_b;
                vf n1 = 2.0f * mu_a * mu_b + C1, n2 = 2.0f * cov + C2;
                vf d1 = mu_a * mu_a + mu_b * mu_b + C1, d2 = var_a + var_b + C2;
                vf inverse = 1.0f / (d1 * d2);
                vf ssim = n1 * n2 * inverse;
                ssim_row += ssim * inside;
                vf difference = load_some(args.image + (size_t)y * length + x, count) -
                                load_some(args.target + (size_t)y * length + x, count);
                l1_row += max(difference, -difference);
                if (!parts) continue;
                vf by_product = 2.0f * n1 * inverse;           // d ssim / d cov
                vf by_square = -ssim / d2;                     // d ssim / d var_a
                vf by_mean = 2.0f * mu_b * n2 * inverse - 2.0f * mu_a * ssim / d1 - mu_b * by_product -
                             2.0f * mu_a * by_square;          // var and cov hold the mean too
                float *part = parts.get() + (size_t)y * length + x;
                store_some(part, count, by_mean);
                store_some(part + size, count, by_square);
                store_some(part + 2 * size, count, by_product);
            }
            ssim_sum += sum(ssim_row);
            l1_sum += sum(l1_row);
        }
        sums[2 * job] = ssim_sum;
        sums[2 * job + 1] = l1_sum;
    });

    double ssim_total = 0.0, l1_total = 0.0;
    for (int job = 0; job < jobs; job++) ssim_total += sums[2 * job], l1_total += sums[2 * job + 1];
    args.ssim = ssim_total / (double)size;
    args.loss = (1.0 - args.dssim_weight) * l1_total / (double)size + args.dssim_weight * (1.0 - args.ssim);
    if (!args.gradient) return;

    const float l1_scale = (1.0f - args.dssim_weight) / (float)size, ssim_scale = -args.dssim_weight / (float)size;
    parallel_for(jobs, [&](int job) {
        Row rows[3] = {Row(length), Row(length), Row(length)};
        for (int y = job * BAND; y < std::min(height, (job + 1) * BAND); y++) {
            for (int x = 0; x < length; x += W) {
                const int count = std::min(W, length - x);
                vf total[3] = {};
                window_rows(y, height, [&](int row, float tap) {
                    const float *part = parts.get() + (size_t)row * length + x;
                    for (int p = 0; p < 3; p++) total[p] += load_some(part + p * size, count) * tap;
                });
                for (int p = 0; p < 3; p++) store_some(rows[p].data() + x, count, total[p]);
            }
            for (int x = 0; x < length; x += W) {
                const int count = std::min(W, length - x);
                vf a = load_some(args.image + (size_t)y * length + x, count);
                vf b = load_some(args.target + (size_t)y * length + x, count);
                vf by_ssim = along_row(rows[0].data(), x) + 2.0f * a * along_row(rows[1].data(), x) +
                             b * along_row(rows[2].data(), x);
                vf sign = where(less(b, a), splat(1.0f)) - where(less(a, b), splat(1.0f));
                store_some(args.gradient + (size_t)y * length + x, count, l1_scale * sign + ssim_scale * by_ssim);
            }
        }
    });
}

}  // namespace fewview::FEWVIEW_ISA
