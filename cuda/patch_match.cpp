// PatchMatch stereo with slanted patches, red-black propagation and bilateral ZNCC; vectors run over a patch.
//
// Red-black: a sweep moves the pixels of one colour, which read only hypotheses of the other, so that the order of
// work and the number of threads never show in the bits. Neighbour choice after Xu & Tao, "Multi-Scale Geometric
// Consistency Guided Multi-View Stereo" (ACMM), 2019; bilateral ZNCC after Schoenberger et al., 2016.
#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr int SAMPLES = 32;  // every second pixel of 11 x 11 in both directions, without the corners
constexpr int VECTORS = SAMPLES / W;
constexpr float INVALID_COST = 1.0f;      // of a source that does not show the point: as bad as no correlation
constexpr float MAX_SLOPE = 5.0f;         // tangent: planes seen at less than about 11 degrees are not matched
constexpr float SPATIAL_SIGMA_PX = 5.0f;  // of the bilateral weight, about the patch's radius
constexpr float LOG2E = 1.44269504f;

struct Plane {
    float w, wx, wy;
};

struct Offsets {
    alignas(64) float x[SAMPLES], y[SAMPLES];
    Offsets() {
        int n = 0;
        for (int i = -5; i <= 5; i += 2)
            for (int j = -5; j <= 5; j += 2)
                if (i * i + j * j < 50) x[n] = (float)j, y[n++] = (float)i;
    }
};

// The reference's side of the correlation: weights that sum to 1, and those times the deviation from the mean.
struct Patch {
    alignas(64) float weight[SAMPLES], deviation[SAMPLES];
    float variance;
};

inline vi gather(const int32_t *p, vi index) {
#if defined(__AVX512F__)
    return (vi)_mm512_i32gather_epi32((__m512i)index, p, 4);
#elif defined(__AVX2__)
    return (vi)_mm256_i32gather_epi32(p, (__m256i)index, 4);
#else
    vi v;
    for (int i = 0; i < W; i++) v[i] = p[index[i]];
    return v;
#endif
}

inline vf bytes(vi quads, int shift) { return __builtin_convertvector((quads >> shift) & 255, vf); }

void make_patch(const PatchMatchArgs &a, const Offsets &offsets, int x, int y, Patch &patch) {
    const StereoLevel &level = a.reference->levels[a.level];
    const float right = (float)(level.width - 1), bottom = (float)(level.height - 1);
    const float center = (float)(level.quads[(size_t)y * level.width + x] & 255);
    vf grey[VECTORS], weight[VECTORS], total = vf{}, mean = vf{};
    for (int k = 0; k < VECTORS; k++) {
        vf dx = load(offsets.x + k * W), dy = load(offsets.y + k * W);
        vf sx = min(max(dx + (float)x, vf{}), splat(right)), sy = min(max(dy + (float)y, vf{}), splat(bottom));
        vi index = __builtin_convertvector(sy, vi) * level.width + __builtin_convertvector(sx, vi);
        grey[k] = bytes(gather(level.quads.data(), index), 0);
        vf difference = grey[k] - center;
        difference = max(difference, -difference);
        vf exponent = (dx * dx + dy * dy) * (-0.5f * LOG2E / (SPATIAL_SIGMA_PX * SPATIAL_SIGMA_PX)) -
                      difference * (LOG2E / a.sigma_grey);
        weight[k] = exp2(max(exponent, splat(-100.0f)));
        total += weight[k];
        mean += weight[k] * grey[k];
    }
    const float scale = 1.0f / sum(total), average = sum(mean) * scale;
    vf variance = vf{};
    for (int k = 0; k < VECTORS; k++) {
        vf w = weight[k] * scale, d = grey[k] - average;
        store(patch.weight + k * W, w);
        store(patch.deviation + k * W, w * d);
        variance += w * d * d;
    }
    patch.variance = sum(variance);
}

// Where a plane at pixel (x, y) puts the patch in a source: `at` + dx `right` + dy `down`, homogeneous.
struct Warp {
    float at[3], right[3], down[3];
    Warp(const float *m, float px, float py, Plane h) {
        for (int r = 0; r < 3; r++, m += 4) {
            at[r] = m[0] * px + m[1] * py + m[2] + m[3] * h.w;
            right[r] = m[0] + m[3] * h.wx;
            down[r] = m[1] + m[3] * h.wy;
        }
    }
};

// 1 - ZNCC of the patch and its picture in a source, 0 .. 2; INVALID_COST where the source does not show it.
float source_cost(const PatchMatchArgs &a, const Offsets &offsets, const Patch &patch, const StereoImage &source,
                  const Warp &warp) {
    const StereoLevel &finest = source.levels[0];
    if (!(warp.at[2] > 1e-9f)) return INVALID_COST;
    const float inverse = 1.0f / warp.at[2], u = warp.at[0] * inverse, v = warp.at[1] * inverse;
    if (!(u >= 0 && v >= 0 && u < (float)finest.width && v < (float)finest.height)) return INVALID_COST;
    // The source's level whose pixels are nearest in size to the reference's, as this plane maps them.
    const float ux = (warp.right[0] - u * warp.right[2]) * inverse, uy = (warp.down[0] - u * warp.down[2]) * inverse;
    const float vx = (warp.right[1] - v * warp.right[2]) * inverse, vy = (warp.down[1] - v * warp.down[2]) * inverse;
    float area = std::fabs(ux * vy - uy * vx);
    size_t level = 0;
    for (; area > 2.0f && level + 1 < source.levels.size(); area *= 0.25f) level++;
    const StereoLevel &image = source.levels[level];
    const float scale_x = (float)image.width / (float)finest.width, scale_y = (float)image.height / (float)finest.height;

    vf mean = vf{}, square = vf{}, product = vf{};
    const vf last_x = splat((float)(image.width - 1)), last_y = splat((float)(image.height - 1));
    for (int k = 0; k < VECTORS; k++) {
        vf dx = load(offsets.x + k * W), dy = load(offsets.y + k * W);
        vf z = dx * warp.right[2] + (dy * warp.down[2] + warp.at[2]);
        if (any(less_equal(z, splat(1e-9f)))) return INVALID_COST;
        vf r = 1.0f / z;
        vf sx = (dx * warp.right[0] + (dy * warp.down[0] + warp.at[0])) * r * scale_x - 0.5f;
        vf sy = (dx * warp.right[1] + (dy * warp.down[1] + warp.at[1])) * r * scale_y - 0.5f;
        sx = min(max(sx, vf{}), last_x), sy = min(max(sy, vf{}), last_y);
        vi ix = __builtin_convertvector(sx, vi), iy = __builtin_convertvector(sy, vi);
        vf fx = sx - __builtin_convertvector(ix, vf), fy = sy - __builtin_convertvector(iy, vf);
        vi quads = gather(image.quads.data(), iy * image.width + ix);
        vf top = bytes(quads, 0), bottom = bytes(quads, 16);
        top += (bytes(quads, 8) - top) * fx;
        bottom += (bytes(quads, 24) - bottom) * fx;
        vf grey = top + (bottom - top) * fy;
        vf weighted = load(patch.weight + k * W) * grey;
        mean += weighted;
        square += weighted * grey;
        product += load(patch.deviation + k * W) * grey;
    }
    const float average = sum(mean), variance = std::max(0.0f, sum(square) - average * average);
    const float scale = (patch.variance + a.noise_variance) * (variance + a.noise_variance);
    return 1.0f - sum(product) / std::sqrt(scale);
}

// How far a hypothesis lands from its pixel by way of the source's own hypothesis, pixels of the reference.
float geometric_error(const PatchMatchArgs &a, int s, const Warp &warp, float px, float py) {
    const StereoLevel &finest = a.source[s]->levels[0], &level = a.source[s]->levels[a.level];
    if (!(warp.at[2] > 1e-9f)) return a.geometric_max_px;
    const float u = warp.at[0] / warp.at[2] * ((float)level.width / (float)finest.width);
    const float v = warp.at[1] / warp.at[2] * ((float)level.height / (float)finest.height);
    if (!(u >= 0 && v >= 0 && u < (float)level.width && v < (float)level.height)) return a.geometric_max_px;
    const float *h = a.source_planes[s] + 3 * ((size_t)(int)v * level.width + (int)u);
    const float w = h[0] + h[1] * (u - (int)u - 0.5f) + h[2] * (v - (int)v - 0.5f);
    const float *m = a.reference_from_source + 12 * s;
    const float z = m[8] * u + m[9] * v + m[10] + m[11] * w;
    if (!(z > 1e-9f)) return a.geometric_max_px;
    const float dx = (m[0] * u + m[1] * v + m[2] + m[3] * w) / z - px;
    const float dy = (m[4] * u + m[5] * v + m[6] + m[7] * w) / z - py;
    return std::min(std::sqrt(dx * dx + dy * dy), a.geometric_max_px);
}

// The sources that a pixel is compared with.
struct Choice {
    int count;
    int source[MAX_STEREO_SOURCES];
};

// What is minimised: the mean over the sources that agree best, and the distance from what is expected. With
// `ranked`, also the choice of sources in the order in which they agree.
float total_cost(const PatchMatchArgs &a, const Offsets &offsets, const Patch &patch, const Choice &choice, int x, int y,
                 Plane h, Choice *ranked = nullptr) {
    const float px = (float)x + 0.5f, py = (float)y + 0.5f;
    float lowest[MAX_STEREO_SOURCES];
    for (int i = 0; i < choice.count; i++) {
        const int s = choice.source[i];
        const Warp warp(a.source_from_reference + 12 * s, px, py, h);
        float cost = std::min(source_cost(a, offsets, patch, *a.source[s], warp), INVALID_COST);
        if (a.source_planes) cost += a.geometric_weight * geometric_error(a, s, warp, px, py);
        int k = i;
        for (; k > 0 && lowest[k - 1] > cost; k--) {
            lowest[k] = lowest[k - 1];
            if (ranked) ranked->source[k] = ranked->source[k - 1];
        }
        lowest[k] = cost;
        if (ranked) ranked->source[k] = s;
    }
    float total = 0.0f;
    for (int k = 0; k < a.best; k++) total += lowest[k];
    total /= (float)a.best;
    if (a.prior) {
        const float expected = a.prior[(size_t)y * a.reference->levels[a.level].width + x];
        // Squared, so that it decides between far depths and leaves the last tenth of a pixel to the photographs.
        const float off = (h.w - expected) / (expected * a.prior_max);
        total += a.prior_weight * std::min(off * off, 1.0f);
    }
    return total;
}

Choice all_sources(const PatchMatchArgs &a) {
    Choice all{a.sources, {}};
    for (int s = 0; s < a.sources; s++) all.source[s] = s;
    return all;
}

// Numbers that depend on nothing but the seed and the pixel (a 32-bit hash chain, "lowbias32").
struct Random {
    uint32_t state;
    static uint32_t mix(uint32_t x) {
        x ^= x >> 16, x *= 0x7feb352dU;
        x ^= x >> 15, x *= 0x846ca68bU;
        return x ^ (x >> 16);
    }
    Random(uint32_t seed, uint32_t pixel) : state(mix(seed ^ mix(pixel + 0x9e3779b9U))) {}
    float uniform() {  // [0, 1)
        state = mix(state + 0x9e3779b9U);
        return (float)(state >> 8) * (1.0f / 16777216.0f);
    }
    float symmetric() { return 2.0f * uniform() - 1.0f; }
};

bool is_possible(const PatchMatchArgs &a, Plane h) {
    const float sx = h.wx * a.fx, sy = h.wy * a.fy, limit = MAX_SLOPE * h.w;
    return h.w >= a.low && h.w <= a.high && sx * sx + sy * sy <= limit * limit;
}

// Slopes of a plane whose normal points anywhere within 75 degrees of the camera's axis.
Plane with_random_slope(const PatchMatchArgs &a, float x, float y, float w, Random &random) {
    const float cosine = 0.26f + 0.74f * random.uniform(), sine = std::sqrt(1.0f - cosine * cosine);
    const float angle = 6.2831853f * random.uniform(), nx = sine * std::cos(angle), ny = sine * std::sin(angle);
    const float toward = nx * (x + 0.5f - a.cx) / a.fx + ny * (y + 0.5f - a.cy) / a.fy + cosine;
    if (toward < 0.1f) return {w, 0.0f, 0.0f};
    return {w, w * nx / (toward * a.fx), w * ny / (toward * a.fy)};
}

// Regions in which the best of the other colour is tried: four near V shapes and four far lines, each turned to one
// of the sides. Offsets (dx, dy) are for the upper side.
constexpr int NEAR = 7, FAR = 11;
constexpr int NEAR_REGION[NEAR][2] = {{0, -1}, {-1, -2}, {1, -2}, {-2, -3}, {2, -3}, {-3, -4}, {3, -4}};
constexpr int FAR_LINE[FAR] = {-3, -5, -7, -9, -11, -13, -15, -17, -19, -21, -23};

struct Pixel {
    const PatchMatchArgs &a;
    const Offsets &offsets;
    int x, y, width, height;
    Patch patch;
    Choice choice;
    Plane best;
    float cost;

    void attempt(Plane h) {
        if (!is_possible(a, h)) return;
        // Most neighbours say the same as the pixel itself once the sweeps have settled.
        const float same = 2e-4f * best.w;
        if (std::fabs(h.w - best.w) < same && std::fabs(h.wx - best.wx) * 5.0f < same &&
            std::fabs(h.wy - best.wy) * 5.0f < same)
            return;
        const float c = total_cost(a, offsets, patch, choice, x, y, h);
        if (c < cost) cost = c, best = h;
    }

    void attempt_neighbour(int dx, int dy) {
        const float *h = a.planes + 3 * ((size_t)(y + dy) * width + x + dx);
        attempt({h[0] - h[1] * (float)dx - h[2] * (float)dy, h[1], h[2]});
    }

    // The cheapest pixel among the offsets, turned by `side` quarters.
    template <class F>
    void attempt_region(int count, int side, F &&offset) {
        float lowest = 1e30f;
        int found_x = 0, found_y = 0;
        for (int k = 0; k < count; k++) {
            int dx, dy;
            offset(k, dx, dy);
            for (int turn = 0; turn < side; turn++) {
                const int swap = dx;
                dx = -dy, dy = swap;
            }
            if (x + dx < 0 || x + dx >= width || y + dy < 0 || y + dy >= height) continue;
            const float c = a.costs[(size_t)(y + dy) * width + x + dx];
            if (c < lowest) lowest = c, found_x = dx, found_y = dy;
        }
        if (lowest < 1e30f) attempt_neighbour(found_x, found_y);
    }

    void propagate() {
        for (int side = 0; side < 4; side++) {
            attempt_region(NEAR, side, [](int k, int &dx, int &dy) { dx = NEAR_REGION[k][0], dy = NEAR_REGION[k][1]; });
            attempt_region(FAR, side, [](int k, int &dx, int &dy) { dx = 0, dy = FAR_LINE[k]; });
        }
    }

    void refine(const PatchMatchSweep &sweep, Random &random) {
        const float step = sweep.depth_step, slope = sweep.slope_step;
        const auto slanted = [&](Plane h) {
            h.wx += slope * h.w * random.symmetric() / a.fx;
            h.wy += slope * h.w * random.symmetric() / a.fy;
            return h;
        };
        const auto moved = [&](Plane h, float by) {
            const float factor = 1.0f + by * random.symmetric();
            return Plane{h.w * factor, h.wx * factor, h.wy * factor};
        };
        attempt(moved(best, step));
        attempt(moved(best, 0.25f * step));
        attempt(slanted(best));
        attempt(slanted(moved(best, step)));
        if (!sweep.explore) return;
        const float anywhere = a.low + (a.high - a.low) * random.uniform();
        const float factor = anywhere / best.w;
        attempt({anywhere, best.wx * factor, best.wy * factor});
        attempt(with_random_slope(a, (float)x, (float)y, best.w, random));
        attempt(with_random_slope(a, (float)x, (float)y, a.low + (a.high - a.low) * random.uniform(), random));
    }
};

}  // namespace

void patch_match_costs(const PatchMatchArgs &a) {
    const StereoLevel &level = a.reference->levels[a.level];
    const Offsets offsets;
    const Choice all = all_sources(a);
    parallel_for(level.height, [&](int y) {
        Patch patch;
        for (int x = 0; x < level.width; x++) {
            const size_t at = (size_t)y * level.width + x;
            if (a.mask && !a.mask[at]) {
                a.costs[at] = 1e3f;
                continue;
            }
            make_patch(a, offsets, x, y, patch);
            const float *h = a.planes + 3 * at;
            a.costs[at] = total_cost(a, offsets, patch, all, x, y, {h[0], h[1], h[2]});
        }
    });
}

void patch_match_sweep(const PatchMatchArgs &a, const PatchMatchSweep &sweep) {
    const StereoLevel &level = a.reference->levels[a.level];
    const Offsets offsets;
    const Choice all = all_sources(a);
    for (int color = 0; color < 2; color++)
        parallel_for(level.height, [&](int y) {
            for (int x = (y + color) & 1; x < level.width; x += 2) {
                const size_t at = (size_t)y * level.width + x;
                if (a.mask && !a.mask[at]) continue;
                float *h = a.planes + 3 * at;
                Pixel pixel{a, offsets, x, y, level.width, level.height, {}, all, {h[0], h[1], h[2]}, a.costs[at]};
                make_patch(a, offsets, x, y, pixel.patch);
                // Once the depth is roughly known, the sources that agree best with it are the only ones asked.
                if (!sweep.explore && all.count > a.best) {
                    total_cost(a, offsets, pixel.patch, all, x, y, pixel.best, &pixel.choice);
                    pixel.choice.count = a.best;
                }
                Random random(sweep.seed, (uint32_t)at);
                pixel.propagate();
                pixel.refine(sweep, random);
                h[0] = pixel.best.w, h[1] = pixel.best.wx, h[2] = pixel.best.wy;
                a.costs[at] = pixel.cost;
            }
        });
}

}  // namespace fewview::FEWVIEW_ISA
