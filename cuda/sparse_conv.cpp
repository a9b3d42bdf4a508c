// Convolution over a kernel map in float32, its gradient with respect to the weights, and pooling.
#include "sparse_conv.h"

#include <algorithm>
#include <limits>

#include "kernels.h"
#include "parallel.h"
#include "simd.h"
#include "sparse_products.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr int MAX_SLICES = 16;  // of the tiles, each with sums of its own in the gradient of the weights

// A word that is one float32.
struct Single {
    static vf spread(const float *p) { return splat(*p); }
    static vf add_product(vf sum, vf x, vf weight) { return sum + x * weight; }
};

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

void sparse_conv(const SparseConvArgs &a) { convolve<Single>(a); }

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
