// Convolution over a kernel map: a product of small matrices whose rows are gathered and scattered in registers.
//
// For one tile of outputs and one slot of the kernel, R pairs at a time: R input rows times the slot's weights, NV
// vectors of output channels wide, are added to R output rows. The sums stay in registers over all input channels, so a
// pair costs one load and one store of its output for Cin multiply-adds. Nothing is copied but the weights, once.
//
// Inputs and weights are words of 32 bits. What a word is and how two of them are multiplied is the template's `Word`:
// one float32, or two neighbouring channels in bfloat16. Sums are float32 either way.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "parallel.h"
#include "simd.h"
#include "sparse_conv.h"

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
constexpr int LINE = 16;  // words of a cache line

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

// Words that begin on a cache line: rows of 16 words and more then touch no line but their own.
struct Words {
    std::unique_ptr<float[]> memory;
    float *values = nullptr;

    explicit Words(int64_t count) : memory(new float[count + LINE]) {
        values = (float *)(((uintptr_t)memory.get() + 63) / 64 * 64);
    }
};

// [slot][panel][input channel][vectors * W], zeros behind the last channel.
struct Packed {
    std::vector<Panel> panels;
    std::vector<int64_t> panel_start;
    int64_t slot_size = 0;
    Words words{0};
};

Packed pack_weights(const SparseConvArgs &a) {
    Packed packed;
    packed.panels = panels_of(a.out_channels);
    for (const Panel &panel : packed.panels) {
        packed.panel_start.push_back(packed.slot_size);
        packed.slot_size += (int64_t)a.in_channels * panel.vectors * W;
    }
    packed.words = Words(packed.slot_size * a.map->volume);
    parallel_for(a.map->volume, [&](int k) {
        for (size_t p = 0; p < packed.panels.size(); p++) {
            const Panel &panel = packed.panels[p];
            float *to = packed.words.values + k * packed.slot_size + packed.panel_start[p];
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
template <class Word, int R, int NV>
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
            const vf x = Word::spread(rows[r] + i);
            FEWVIEW_UNROLL
            for (int v = 0; v < NV; v++) acc[r][v] = Word::add_product(acc[r][v], x, weights[v]);
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

template <class Word, int NV, int R = ROWS[NV]>
AddProducts products_of(int rows) {
    if constexpr (R == 0) {
        return nullptr;
    } else {
        return rows == R ? &add_products<Word, R, NV> : products_of<Word, NV, R - 1>(rows);
    }
}

template <class Word, int NV>
void add_slot(const SparseConvArgs &a, const float *w, const Panel &panel, const MapTile &tile, int k) {
    const int32_t *source = tile.source, *target = tile.target, *span = &tile.start[k];
    constexpr int R = ROWS[NV];
    float *out = a.out + panel.first;
    int32_t p = span[0];
    for (; p + R <= span[1]; p += R) {
        // Rows lie far apart, and the processor would not guess which come next.
        for (int32_t next = p + R; next < std::min(p + 2 * R, span[1]); next++)
            for (int i = 0; i < a.in_channels; i += LINE)
                __builtin_prefetch(a.in + (int64_t)source[next] * a.in_channels + i);
        add_products<Word, R, NV>(a.in, a.in_channels, w, out, a.out_channels, panel.width, source + p, target + p);
    }
    if (p < span[1])
        products_of<Word, NV>((int)(span[1] - p))(a.in, a.in_channels, w, out, a.out_channels, panel.width, source + p,
                                            target + p);
}

using AddSlot = void (*)(const SparseConvArgs &, const float *, const Panel &, const MapTile &, int);

template <class Word>
AddSlot slot_of(int vectors) {
#if defined(__AVX512F__)
    if (vectors == 4) return add_slot<Word, 4>;
    if (vectors == 3) return add_slot<Word, 3>;
#endif
    return vectors == 2 ? add_slot<Word, 2> : add_slot<Word, 1>;
}

template <class Word>
void convolve(const SparseConvArgs &a) {
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
                slot_of<Word>(packed.panels[p].vectors)(
                    a, packed.words.values + k * packed.slot_size + packed.panel_start[p], packed.panels[p], tile, k);
    });
}

}  // namespace
}  // namespace fewview::FEWVIEW_ISA
