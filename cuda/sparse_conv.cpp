// Convolution over a kernel map: a product of small matrices whose rows are gathered and scattered in registers.
//
// For one tile of outputs and one slot of the kernel, R pairs at a time: R input rows times the slot's weights, NV
// vectors of output channels wide, are added to R output rows. The sums stay in registers over all input channels, so a
// pair costs one load and one store of its output for Cin multiply-adds. Nothing is copied but the weights, once.
#include "sparse_conv.h"

#include <algorithm>
#include <limits>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"

namespace fewview::FEWVIEW_ISA {
namespace {

// Registers: R * NV sums, NV weights, one input. AVX-512 has 32, the others 16.
#if defined(__AVX512F__)
constexpr int PANEL = 4;
constexpr int ROWS[PANEL + 1] = {0, 12, 8, 8, 6};
#else
constexpr int PANEL = 2;
constexpr int ROWS[PANEL + 1] = {0, 8, 5};
#endif
constexpr int LINE = 16;        // floats of a cache line
constexpr int MAX_SLICES = 16;  // of the tiles, each with sums of its own in the gradient of the weights

#define FEWVIEW_UNROLL _Pragma("GCC unroll 16")

// A panel: up to PANEL vectors of output channels. The last one may have fewer, and its last vector be filled in part.
struct Panel {
    int first, vectors, width;  // channel, vectors, channels that there are
};

std::vector<Panel> panels_of(int channels) {
    std::vector<Panel> panels;
    for (int first = 0; first < channels; first += PANEL * W) {
        const int width = std::min(PANEL * W, channels - first);
        panels.push_back({first, (width + W - 1) / W, width});
    }
    return panels;
}

vf load_part(const float *p, int count) {
    if (count >= W) return load(p);
    alignas(64) float some[W] = {};
    for (int i = 0; i < count; i++) some[i] = p[i];
    return load(some);
}

void store_part(float *p, vf v, int count) {
    if (count >= W) return store(p, v);
    alignas(64) float some[W];
    store(some, v);
    for (int i = 0; i < count; i++) p[i] = some[i];
}

// [slot][panel][input channel][vectors * W], zeros behind the last channel.
struct Packed {
    std::vector<Panel> panels;
    std::vector<int64_t> panel_start;
    int64_t slot_size;
    std::unique_ptr<float[]> memory;
    float *values;
};

Packed pack_weights(const SparseConvArgs &a) {
    Packed packed;
    packed.panels = panels_of(a.out_channels);
    packed.slot_size = 0;
    for (const Panel &panel : packed.panels) {
        packed.panel_start.push_back(packed.slot_size);
        packed.slot_size += (int64_t)a.in_channels * panel.vectors * W;
    }
    packed.memory.reset(new float[packed.slot_size * a.map->volume + LINE]);
    packed.values = (float *)(((uintptr_t)packed.memory.get() + 63) / 64 * 64);
    parallel_for(a.map->volume, [&](int k) {
        for (size_t p = 0; p < packed.panels.size(); p++) {
            const Panel &panel = packed.panels[p];
            float *to = packed.values + k * packed.slot_size + packed.panel_start[p];
            const float *from = a.weight + k * a.slot_stride + panel.first * a.out_stride;
            const int columns = panel.vectors * W;
            if (a.out_stride == 1) {
                for (int i = 0; i < a.in_channels; i++) {
                    std::copy(from + i * a.in_stride, from + i * a.in_stride + panel.width, to + i * columns);
                    std::fill(to + i * columns + panel.width, to + (i + 1) * columns, 0.0f);
                }
            } else {
                for (int block = 0; block < a.in_channels; block += LINE)  // a cache line of the source at a time
                    for (int o = 0; o < columns; o++)
                        for (int i = block; i < std::min(block + LINE, a.in_channels); i++)
                            to[i * columns + o] = o < panel.width ? from[i * a.in_stride + o * a.out_stride] : 0.0f;
            }
        }
    });
    return packed;
}

// out[target[r]] += in[source[r]] * w for R pairs.
template <int R, int NV>
void add_products(const float *in, int depth, const float *__restrict w, float *out, int channels, int width,
                  const int32_t *source, const int32_t *target) {
    const float *rows[R];
    vf acc[R][NV];
    const bool whole = width == NV * W;
    FEWVIEW_UNROLL
    for (int r = 0; r < R; r++) {
        rows[r] = in + (int64_t)source[r] * depth;
        const float *o = out + (int64_t)target[r] * channels;
        FEWVIEW_UNROLL
        for (int v = 0; v < NV; v++) acc[r][v] = whole ? load(o + v * W) : load_part(o + v * W, width - v * W);
    }
    for (int i = 0; i < depth; i++, w += NV * W) {
        vf weights[NV];
        FEWVIEW_UNROLL
        for (int v = 0; v < NV; v++) weights[v] = load(w + v * W);
        FEWVIEW_UNROLL
        for (int r = 0; r < R; r++) {
            const vf x = splat(rows[r][i]);
            FEWVIEW_UNROLL
            for (int v = 0; v < NV; v++) acc[r][v] += x * weights[v];
        }
    }
    FEWVIEW_UNROLL
    for (int r = 0; r < R; r++) {
        float *o = out + (int64_t)target[r] * channels;
        FEWVIEW_UNROLL
        for (int v = 0; v < NV; v++)
            if (whole)
                store(o + v * W, acc[r][v]);
            else
                store_part(o + v * W, acc[r][v], width - v * W);
    }
}

using AddProducts = void (*)(const float *, int, const float *, float *, int, int, const int32_t *, const int32_t *);

template <int NV, int R = ROWS[NV]>
AddProducts products_of(int rows) {
    if constexpr (R == 0) {
        return nullptr;
    } else {
        return rows == R ? &add_products<R, NV> : products_of<NV, R - 1>(rows);
    }
}

template <int NV>
void add_slot(const SparseConvArgs &a, const float *w, const Panel &panel, const MapTile &tile, int k) {
    const int32_t *source = tile.source.data(), *target = tile.target.data(), *span = &tile.start[k];
    constexpr int R = ROWS[NV];
    float *out = a.out + panel.first;
    int32_t p = span[0];
    for (; p + R <= span[1]; p += R) {
        // Rows lie far apart, and the processor would not guess which come next.
        for (int32_t next = p + R; next < std::min(p + 2 * R, span[1]); next++)
            for (int i = 0; i < a.in_channels; i += LINE)
                __builtin_prefetch(a.in + (int64_t)source[next] * a.in_channels + i);
        add_products<R, NV>(a.in, a.in_channels, w, out, a.out_channels, panel.width, source + p, target + p);
    }
    if (p < span[1])
        products_of<NV>((int)(span[1] - p))(a.in, a.in_channels, w, out, a.out_channels, panel.width, source + p,
                                            target + p);
}

using AddSlot = void (*)(const SparseConvArgs &, const float *, const Panel &, const MapTile &, int);
#if defined(__AVX512F__)
constexpr AddSlot ADD_SLOT[PANEL + 1] = {nullptr, add_slot<1>, add_slot<2>, add_slot<3>, add_slot<4>};
#else
constexpr AddSlot ADD_SLOT[PANEL + 1] = {nullptr, add_slot<1>, add_slot<2>};
#endif

// sums[r][:] += in[source[p]][r] * v_out[target[p]][:] over all pairs p: R input channels by NV vectors.
template <int R, int NV>
void add_outer(const float *in, int in_channels, const float *v_out, int out_channels, int width, const int32_t *source,
               const int32_t *target, int64_t pairs, float *sums, int columns) {
    vf acc[R][NV];
    FEWVIEW_UNROLL
    for (int r = 0; r < R; r++) {
        FEWVIEW_UNROLL
        for (int v = 0; v < NV; v++) acc[r][v] = load(sums + r * columns + v * W);
    }
    const auto add = [&](int64_t p, auto whole) {
        const float *x = in + (int64_t)source[p] * in_channels, *g = v_out + (int64_t)target[p] * out_channels;
        vf gradient[NV];
        FEWVIEW_UNROLL
        for (int v = 0; v < NV; v++)
            gradient[v] = decltype(whole)::value ? load(g + v * W) : load_part(g + v * W, width - v * W);
        FEWVIEW_UNROLL
        for (int r = 0; r < R; r++) {
            const vf value = splat(x[r]);
            FEWVIEW_UNROLL
            for (int v = 0; v < NV; v++) acc[r][v] += value * gradient[v];
        }
    };
    if (width == NV * W)
        for (int64_t p = 0; p < pairs; p++) add(p, std::true_type());
    else
        for (int64_t p = 0; p < pairs; p++) add(p, std::false_type());
    FEWVIEW_UNROLL
    for (int r = 0; r < R; r++) {
        FEWVIEW_UNROLL
        for (int v = 0; v < NV; v++) store(sums + r * columns + v * W, acc[r][v]);
    }
}

using AddOuter = void (*)(const float *, int, const float *, int, int, const int32_t *, const int32_t *, int64_t,
                          float *, int);

template <int NV, int R = ROWS[NV]>
AddOuter outer_of(int rows) {
    if constexpr (R == 0) {
        return nullptr;
    } else {
        return rows == R ? &add_outer<R, NV> : outer_of<NV, R - 1>(rows);
    }
}

AddOuter outer_of(int vectors, int rows) {
#if defined(__AVX512F__)
    if (vectors == 4) return outer_of<4>(rows);
    if (vectors == 3) return outer_of<3>(rows);
#endif
    return vectors == 2 ? outer_of<2>(rows) : outer_of<1>(rows);
}

}  // namespace

void sparse_conv(const SparseConvArgs &a) {
    const SparseMap &map = *a.map;
    const Packed packed = pack_weights(a);
    parallel_for((int)map.tiles.size(), [&](int t) {
        const MapTile &tile = map.tiles[t];
        const int64_t begin = map.begin(t), end = map.end(t);
        for (int64_t i = begin; i < end; i++) {
            float *row = a.out + (int64_t)map.target_row(i) * a.out_channels;
            if (a.bias)
                std::copy(a.bias, a.bias + a.out_channels, row);
            else
                std::fill_n(row, a.out_channels, 0.0f);
        }
        for (int k = 0; k < map.volume; k++)
            for (size_t p = 0; p < packed.panels.size(); p++)
                ADD_SLOT[packed.panels[p].vectors](
                    a, packed.values + k * packed.slot_size + packed.panel_start[p], packed.panels[p], tile, k);
    });
}

void sparse_conv_weight(const SparseConvWeightArgs &a) {
    const SparseMap &map = *a.map;
    const std::vector<Panel> panels = panels_of(a.out_channels);
    const int columns = (a.out_channels + W - 1) / W * W;
    const int64_t slot_size = (int64_t)a.in_channels * columns, size = slot_size * map.volume;
    const int64_t tiles = (int64_t)map.tiles.size();
    const int slices = (int)std::clamp<int64_t>(tiles, 1, MAX_SLICES);
    std::unique_ptr<float[]> sums(new float[size * slices]);
    parallel_for(slices, [&](int s) {
        float *own = sums.get() + size * s;
        std::fill_n(own, size, 0.0f);
        for (int64_t t = tiles * s / slices; t < tiles * (s + 1) / slices; t++)
            for (int k = 0; k < map.volume; k++) {
                const MapTile &tile = map.tiles[t];
                const int32_t first = tile.start[k], pairs = tile.start[k + 1] - first;
                if (pairs == 0) continue;
                for (const Panel &panel : panels)
                    for (int i = 0, rows; i < a.in_channels; i += rows) {
                        rows = std::min(ROWS[panel.vectors], a.in_channels - i);
                        outer_of(panel.vectors, rows)(a.in + i, a.in_channels, a.v_out + panel.first, a.out_channels,
                                                      panel.width, &tile.source[first], &tile.target[first], pairs,
                                                      own + k * slot_size + (int64_t)i * columns + panel.first, columns);
                    }
            }
    });
    // Slices are added in their order, whoever made them.
    parallel_for(map.volume, [&](int k) {
        for (int s = 1; s < slices; s++)
            for (int64_t i = 0; i < slot_size; i++) sums[k * slot_size + i] += sums[s * size + k * slot_size + i];
        const float *slot = sums.get() + k * slot_size;
        for (int block = 0; block < a.in_channels; block += LINE)
            for (int o = 0; o < a.out_channels; o++)
                for (int i = block; i < std::min(block + LINE, a.in_channels); i++)
                    a.v_weight[((int64_t)o * map.volume + k) * a.in_channels + i] = slot[(int64_t)i * columns + o];
    });
}

void sparse_pool(const SparsePoolArgs &a) {
    const SparseMap &map = *a.map;
    const int C = a.channels;
    parallel_for((int)map.tiles.size(), [&](int t) {
        const MapTile &tile = map.tiles[t];
        const int64_t begin = map.begin(t), end = map.end(t);
        for (int64_t i = begin; i < end; i++) {
            const int64_t row = map.target_row(i);
            std::fill_n(a.out + row * C, C, a.source ? -std::numeric_limits<float>::infinity() : 0.0f);
            if (a.source) std::fill_n(a.source + row * C, C, -1);
        }
        for (int32_t p = 0; p < tile.pairs(); p++) {
            const int32_t from = tile.source[p];
            const float *x = a.in + (int64_t)from * C;
            float *out = a.out + (int64_t)tile.target[p] * C;
            if (a.source) {
                int32_t *source = a.source + (int64_t)tile.target[p] * C;
                for (int c = 0; c < C; c++) {
                    const bool better = x[c] > out[c] || source[c] < 0;
                    out[c] = better ? x[c] : out[c];
                    source[c] = better ? from : source[c];
                }
            } else {
                for (int c = 0; c < C; c++) out[c] += x[c];
            }
        }
    });
}

void sparse_pool_backward(const SparsePoolBackwardArgs &a) {
    const SparseMap &map = *a.map;
    const int C = a.channels;
    parallel_for((int)map.tiles.size(), [&](int t) {
        const MapTile &tile = map.tiles[t];
        const int64_t begin = map.begin(t), end = map.end(t);
        for (int64_t i = begin; i < end; i++) std::fill_n(a.v_in + (int64_t)map.target_row(i) * C, C, 0.0f);
        for (int32_t p = 0; p < tile.pairs(); p++) {
            const int32_t to = tile.target[p];
            const float *gradient = a.v_out + (int64_t)tile.source[p] * C;
            float *v_in = a.v_in + (int64_t)to * C;
            if (a.source) {
                const int32_t *source = a.source + (int64_t)tile.source[p] * C;
                for (int c = 0; c < C; c++) v_in[c] += source[c] == to ? gradient[c] : 0.0f;
            } else {
                for (int c = 0; c < C; c++) v_in[c] += gradient[c];
            }
        }
    });
}

}  // namespace fewview::FEWVIEW_ISA
