// Front-to-back compositing of one image, tile by tile, and its gradient.
//
// A tile is 16 rows of 16 pixels; a row is 16 / W vectors. Both passes walk the same Gaussians in the same
// order with the same arithmetic, so the backward pass meets exactly the transmittances that the forward pass
// met and needs no record of them. A pixel that has stopped keeps its transmittance with the sign turned.
#include <algorithm>
#include <cmath>
#include <memory>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr int VECTORS = TILE / W;  // in a row
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float DEGENERATE = 1e9f;  // pixels
constexpr int AHEAD_IN_ORDER = 32;  // Gaussians: the depth order is no order in memory, so that rows are fetched ahead

struct Color {
    float at[MAX_CHANNELS];
};

// Colours in depth order, beside the splats.
template <int D>
Buffer<Color> gather_colors(const RasterizeArgs &args) {
    const int visible = (int)args.lists->gaussian.size();
    Buffer<Color> colors(visible);
    constexpr int GRAIN = 8192;
    parallel_for((visible + GRAIN - 1) / GRAIN, [&](int part) {
        const uint32_t *gaussian = args.lists->gaussian.data();
        for (int k = part * GRAIN; k < std::min(visible, (part + 1) * GRAIN); k++) {
            if (k + AHEAD_IN_ORDER < visible) __builtin_prefetch(&args.colors[(size_t)gaussian[k + AHEAD_IN_ORDER] * D]);
            for (int d = 0; d < D; d++) colors[k].at[d] = args.colors[(size_t)gaussian[k] * D + d];
        }
    });
    return colors;
}

struct alignas(64) Plane {
    float at[TILE][TILE];
};

// The rows of the tile at `top` that the splat can reach, as a bit mask.
inline uint32_t rows_of(const Splat &s, int top) {
    float first = std::max(std::ceil(s.y - s.half_height - 0.5f) - top, 0.0f);
    float last = std::min(std::floor(s.y + s.half_height - 0.5f) - top, (float)(TILE - 1));
    if (!(first <= last)) return 0;
    return (2u << (int)last) - (1u << (int)first);
}

// Tile lists visit splats in depth order, which is no order in memory.
constexpr uint32_t AHEAD_IN_TILE = 8;  // pairs

inline void prefetch(const TileLists &lists, const Color *colors, uint32_t i) {
    if (i + AHEAD_IN_TILE >= lists.tile_order.size()) return;
    const uint32_t k = lists.tile_order[i + AHEAD_IN_TILE];
    __builtin_prefetch(&lists.splats[k]);
    __builtin_prefetch(&colors[k]);
}

struct RowTerms {
    float constant, linear, dy;
    RowTerms(const Splat &s, float pixel_y) {
        dy = pixel_y - s.y;
        constant = s.log2_opacity + s.yy * dy * dy;
        linear = s.xy * dy;
    }
};

// What a splat does to one vector of pixels; both passes ask here, so that they meet the same numbers.
struct Hit {
    vf power, alpha, next, weight;  // log2 of alpha before the clamp; transmittance behind; share of the splat's colour
    vmask reached, stopped, used;

    // False when no pixel is reached: those that are live and where alpha is at least 1/255.
    bool find(const Splat &s, const RowTerms &row, vf dx, vf t) {
        power = dx * (dx * s.xx + row.linear) + row.constant;
        reached = both(less_equal(splat(LOG2_ALPHA_MIN), power), less(vf{}, t));
        if (!any(reached)) return false;
        // Lanes that are not reached may have powers far below what exp2 can do; whatever it makes of them would be
        // multiplied below, and some processors take a hundred cycles over a denormal.
        alpha = exp2(max(min(power, splat(LOG2_ALPHA_MAX)), splat(LOG2_ALPHA_MIN)));
        next = t - t * alpha;
        stopped = both(reached, less_equal(next, splat(T_MIN)));
        used = not_second(reached, stopped);
        weight = where(used, t * alpha);
        return true;
    }

    vf transmittance_after(vf t) const { return select(stopped, -t, select(reached, next, t)); }
};

struct TileGeometry {
    int left, top, rows, columns;
    TileGeometry(const RasterizeArgs &args, int tile) {
        left = tile % args.lists->tiles_x * TILE;
        top = tile / args.lists->tiles_x * TILE;
        rows = std::min(TILE, args.lists->height - top);
        columns = std::min(TILE, args.lists->width - left);
    }
    uint32_t all_rows() const { return (2u << (rows - 1)) - 1; }
};

template <int D>
void forward_tile(const RasterizeArgs &args, const Color *colors, int tile) {
    const TileLists &lists = *args.lists;
    const TileGeometry geometry(args, tile);
    Plane T, C[D];
    for (int r = 0; r < TILE; r++)
        for (int v = 0; v < VECTORS; v++) {
            // Columns beyond the image are born stopped, so that they never keep a row alive.
            vf x = lanes() + (float)(v * W);
            store(&T.at[r][v * W], select(less(x, splat((float)geometry.columns)), splat(1.0f), splat(-1.0f)));
            for (int d = 0; d < D; d++) store(&C[d].at[r][v * W], vf{});
        }
    uint32_t live = geometry.all_rows();
    for (uint32_t i = lists.tile_start[tile]; i < lists.tile_start[tile + 1] && live; i++) {
        prefetch(lists, colors, i);
        const Splat &s = lists.splats[lists.tile_order[i]];
        const float *color = colors[lists.tile_order[i]].at;
        vf dx[VECTORS];
        for (int v = 0; v < VECTORS; v++) dx[v] = lanes() + ((float)(geometry.left + v * W) + 0.5f - s.x);
        for (uint32_t rows = rows_of(s, geometry.top) & live; rows; rows &= rows - 1) {
            const int r = __builtin_ctz(rows);
            const RowTerms row(s, (float)(geometry.top + r) + 0.5f);
            bool lives = false;
            for (int v = 0; v < VECTORS; v++) {
                float *t_at = &T.at[r][v * W];
                vf t = load(t_at);
                Hit hit;
                if (hit.find(s, row, dx[v], t)) {
                    for (int d = 0; d < D; d++) {
                        float *c_at = &C[d].at[r][v * W];
                        store(c_at, load(c_at) + hit.weight * color[d]);
                    }
                    t = hit.transmittance_after(t);
                    store(t_at, t);
                }
                lives |= any(less(vf{}, t));
            }
            if (!lives) live &= ~(1u << r);
        }
    }
    for (int r = 0; r < geometry.rows; r++) {
        size_t pixel = (size_t)(geometry.top + r) * lists.width + geometry.left;
        for (int x = 0; x < geometry.columns; x++, pixel++) {
            float t = std::fabs(T.at[r][x]);
            args.out_transmittance[pixel] = t;
            for (int d = 0; d < D; d++)
                args.out_colors[pixel * D + d] = C[d].at[r][x] + (args.background ? t * args.background[d] : 0.0f);
        }
    }
}

// Where one (Gaussian, tile) pair leaves its gradient: colours, then mean, conic and the power's own; where ABSOLUTE,
// also the sums over pixels of the absolute gradients of the mean.
template <int D, bool ABSOLUTE>
constexpr int PAIR_FLOATS = D + 6 + (ABSOLUTE ? 2 : 0);

template <int D, bool ABSOLUTE>
void backward_tile(const RasterizeBackwardArgs &args, const Color *colors, float *pairs, int tile) {
    const RasterizeArgs &forward = args.forward;
    const TileLists &lists = *forward.lists;
    const TileGeometry geometry(forward, tile);
    // `behind` is the gradient-weighted colour that lies behind the current Gaussian, with what the final
    // transmittance feeds (background and alpha): it shrinks from the whole pixel to nothing.
    Plane T, behind, V[D];
    for (int r = 0; r < TILE; r++)
        for (int x = 0; x < TILE; x++) {
            bool inside = r < geometry.rows && x < geometry.columns;
            size_t pixel = (size_t)(geometry.top + r) * lists.width + geometry.left + x;
            T.at[r][x] = inside ? 1.0f : -1.0f;
            float whole = inside ? -args.v_out_alphas[pixel] * forward.out_transmittance[pixel] : 0.0f;
            for (int d = 0; d < D; d++) {
                float v = inside ? args.v_out_colors[pixel * D + d] : 0.0f;
                V[d].at[r][x] = v;
                if (inside) whole += v * forward.out_colors[pixel * D + d];
            }
            behind.at[r][x] = whole;
        }
    uint32_t live = geometry.all_rows();
    for (uint32_t i = lists.tile_start[tile]; i < lists.tile_start[tile + 1]; i++) {
        prefetch(lists, colors, i);
        if (i + AHEAD_IN_TILE < lists.tile_pairs.size())
            __builtin_prefetch(pairs + (size_t)lists.tile_pairs[i + AHEAD_IN_TILE] * PAIR_FLOATS<D, ABSOLUTE>, 1);
        const Splat &s = lists.splats[lists.tile_order[i]];
        const float *color = colors[lists.tile_order[i]].at;
        float *out = pairs + (size_t)lists.tile_pairs[i] * PAIR_FLOATS<D, ABSOLUTE>;
        vf dx[VECTORS], g0[VECTORS], g1[VECTORS], g2[VECTORS], c_sum[D];
        vf abs_x = vf{}, abs_y = vf{};
        for (int v = 0; v < VECTORS; v++) {
            dx[v] = lanes() + ((float)(geometry.left + v * W) + 0.5f - s.x);
            g0[v] = g1[v] = g2[v] = vf{};
        }
        for (int d = 0; d < D; d++) c_sum[d] = vf{};
        bool touched = false;
        for (uint32_t rows = rows_of(s, geometry.top) & live; rows; rows &= rows - 1) {
            const int r = __builtin_ctz(rows);
            const RowTerms row(s, (float)(geometry.top + r) + 0.5f);
            bool lives = false;
            for (int v = 0; v < VECTORS; v++) {
                float *t_at = &T.at[r][v * W];
                vf t = load(t_at);
                Hit hit;
                if (hit.find(s, row, dx[v], t)) {
                    touched = true;
                    vf shade = vf{};
                    for (int d = 0; d < D; d++) {
                        vf v_color = load(&V[d].at[r][v * W]);
                        shade += v_color * color[d];
                        c_sum[d] += hit.weight * v_color;
                    }
                    float *behind_at = &behind.at[r][v * W];
                    vf rest = load(behind_at) - hit.weight * shade;
                    store(behind_at, rest);
                    // d loss / d sigma = -alpha * d loss / d alpha; nothing flows where alpha is clamped.
                    vf v_sigma = -hit.alpha * (t * shade - rest / (1.0f - hit.alpha));
                    v_sigma = where(both(hit.used, less(hit.power, splat(LOG2_ALPHA_MAX))), v_sigma);
                    g0[v] += v_sigma;
                    g1[v] += v_sigma * row.dy;
                    g2[v] += v_sigma * (row.dy * row.dy);
                    if constexpr (ABSOLUTE) {
                        // The powers of a splat are in base 2: these are the mean's gradients but for one factor.
                        const vf x = v_sigma * (2.0f * s.xx * dx[v] + s.xy * row.dy);
                        const vf y = v_sigma * (s.xy * dx[v] + 2.0f * s.yy * row.dy);
                        abs_x += max(x, -x);
                        abs_y += max(y, -y);
                    }
                    t = hit.transmittance_after(t);
                    store(t_at, t);
                }
                lives |= any(less(vf{}, t));
            }
            if (!lives) live &= ~(1u << r);
        }
        if (!touched) {
            std::fill(out, out + PAIR_FLOATS<D, ABSOLUTE>, 0.0f);
            continue;
        }
        // Colours, then the moments x, y, xx, xy, yy and 1 of d loss / d sigma.
        vf sums[PAIR_FLOATS<D, ABSOLUTE>] = {};
        for (int d = 0; d < D; d++) sums[d] = c_sum[d];
        vf *moment = sums + D;
        for (int v = 0; v < VECTORS; v++) {
            moment[0] += g0[v] * dx[v];
            moment[1] += g1[v];
            moment[2] += g0[v] * dx[v] * dx[v];
            moment[3] += g1[v] * dx[v];
            moment[4] += g2[v];
            moment[5] += g0[v];
        }
        if constexpr (ABSOLUTE) moment[6] = abs_x, moment[7] = abs_y;
        store_sums(sums, out);
    }
}

// Adds up each Gaussian's pairs in their order and turns moments of d loss / d sigma into gradients.
template <int D, bool ABSOLUTE>
void reduce_pairs(const RasterizeBackwardArgs &args, const float *pairs) {
    const TileLists &lists = *args.forward.lists;
    const int visible = (int)lists.gaussian.size();
    constexpr int GRAIN = 2048;
    parallel_for((visible + GRAIN - 1) / GRAIN, [&](int part) {
        for (int k = part * GRAIN; k < std::min(visible, (part + 1) * GRAIN); k++) {
            constexpr int FLOATS = PAIR_FLOATS<D, ABSOLUTE>;
            float total[FLOATS] = {};
            for (uint32_t p = lists.first_pair[k]; p < lists.first_pair[k + 1]; p++)
                for (int j = 0; j < FLOATS; j++) total[j] += pairs[(size_t)p * FLOATS + j];
            if (k + AHEAD_IN_ORDER < visible) {
                const size_t later = lists.gaussian[k + AHEAD_IN_ORDER];
                __builtin_prefetch(&args.v_colors[later * D], 1);
                __builtin_prefetch(&args.v_means2d[2 * later], 1);
                __builtin_prefetch(&args.v_conics[3 * later], 1);
                __builtin_prefetch(&args.v_opacities[later], 1);
            }
            const size_t g = lists.gaussian[k];
            const Splat &s = lists.splats[k];
            const float a = s.xx * (-2.0f / LOG2_E), b = s.xy * (-1.0f / LOG2_E), c = s.yy * (-2.0f / LOG2_E);
            const float *moment = total + D;
            for (int d = 0; d < D; d++) args.v_colors[g * D + d] = total[d];
            args.v_means2d[2 * g] = -(a * moment[0] + b * moment[1]);
            args.v_means2d[2 * g + 1] = -(b * moment[0] + c * moment[1]);
            args.v_conics[3 * g] = 0.5f * moment[2];
            args.v_conics[3 * g + 1] = moment[3];
            args.v_conics[3 * g + 2] = 0.5f * moment[4];
            args.v_opacities[g] = -moment[5] * std::exp2(-s.log2_opacity);
            if constexpr (ABSOLUTE)
                for (int j = 0; j < 2; j++) args.v_means2d_abs[2 * g + j] = moment[6 + j] * (1.0f / LOG2_E);
        }
    });
}

template <int D>
void rasterize_channels(const RasterizeArgs &args) {
    const auto colors = gather_colors<D>(args);
    parallel_for(args.lists->tiles_x * args.lists->tiles_y, [&](int tile) { forward_tile<D>(args, colors.data(), tile); });
}

template <int D, bool ABSOLUTE>
void backward_with_pairs(const RasterizeBackwardArgs &args) {
    const TileLists &lists = *args.forward.lists;
    const auto colors = gather_colors<D>(args.forward);
    Buffer<float> pairs(lists.tile_pairs.size() * PAIR_FLOATS<D, ABSOLUTE>);
    parallel_for(lists.tiles_x * lists.tiles_y,
                 [&](int tile) { backward_tile<D, ABSOLUTE>(args, colors.data(), pairs.data(), tile); });
    reduce_pairs<D, ABSOLUTE>(args, pairs.data());
}

template <int D>
void rasterize_channels_backward(const RasterizeBackwardArgs &args) {
    args.v_means2d_abs ? backward_with_pairs<D, true>(args) : backward_with_pairs<D, false>(args);
}

}  // namespace

void make_splats(const BinArgs &args, TileLists &lists) {
    const int visible = (int)lists.gaussian.size();
    lists.splats.resize(visible);
    constexpr int GRAIN = 2048;
    parallel_for((visible + GRAIN - 1) / GRAIN, [&](int part) {
        const int end = std::min(visible, (part + 1) * GRAIN);
        for (int k = part * GRAIN; k < end; k += W) {
            alignas(64) float lane[6][W];
            for (int l = 0; l < W; l++) {
                const uint32_t g = lists.gaussian[std::min(k + l, end - 1)];
                const size_t later = lists.gaussian[std::min(k + l + AHEAD_IN_ORDER, visible - 1)];
                __builtin_prefetch(&args.conics[3 * later]);
                __builtin_prefetch(&args.opacities[later]);
                __builtin_prefetch(&args.means2d[2 * later]);
                lane[0][l] = args.conics[3 * g];
                lane[1][l] = args.conics[3 * g + 1];
                lane[2][l] = args.conics[3 * g + 2];
                lane[3][l] = args.opacities[g];
            }
            const vf a = load(lane[0]), b = load(lane[1]), c = load(lane[2]);
            const vf log2_opacity = log2(max(load(lane[3]), splat(1e-30f)));
            // 2 ln(255 o), and a little more: rounding here must never lose what the pixel loops would draw.
            const vf level = max((log2_opacity - LOG2_ALPHA_MIN) * (2.0f / LOG2_E), vf{}) / (a * c - b * b);
            const vf half_width = sqrt(level * c) + 1e-3f, half_height = sqrt(level * a) + 1e-3f;
            const vf degenerate = splat(DEGENERATE);
            store(lane[3], log2_opacity);
            store(lane[4], select(less(half_width, degenerate), half_width, degenerate));
            store(lane[5], select(less(half_height, degenerate), half_height, degenerate));
            for (int l = 0; l < std::min(W, end - k); l++) {
                const uint32_t g = lists.gaussian[k + l];
                lists.splats[k + l] = {args.means2d[2 * g], args.means2d[2 * g + 1], -0.5f * LOG2_E * lane[0][l],
                                       -LOG2_E * lane[1][l], -0.5f * LOG2_E * lane[2][l], lane[3][l], lane[4][l], lane[5][l]};
            }
        }
    });
}

void rasterize(const RasterizeArgs &args) {
    switch (args.channels) {
        case 1: return rasterize_channels<1>(args);
        case 2: return rasterize_channels<2>(args);
        case 3: return rasterize_channels<3>(args);
        default: return rasterize_channels<4>(args);
    }
}

void rasterize_backward(const RasterizeBackwardArgs &args) {
    switch (args.forward.channels) {
        case 1: return rasterize_channels_backward<1>(args);
        case 2: return rasterize_channels_backward<2>(args);
        case 3: return rasterize_channels_backward<3>(args);
        default: return rasterize_channels_backward<4>(args);
    }
}

}  // namespace fewview::FEWVIEW_ISA
