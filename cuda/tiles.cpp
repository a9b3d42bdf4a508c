// Depth order and tile lists: one radix sort of the visible Gaussians, then a counting scatter into tiles.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "parallel.h"

namespace fewview {
namespace {

struct Key {
    uint32_t depth, gaussian;
};

// Floats as unsigned integers in the same order, negative ones included.
uint32_t ordered_bits(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

void sort_by_depth(std::vector<Key> &keys, std::vector<Key> &scratch) {
    constexpr int BITS[3] = {11, 11, 10};
    scratch.resize(keys.size());
    std::vector<uint32_t> counts[3];
    for (int p = 0; p < 3; p++) counts[p].assign(1u << BITS[p], 0);
    for (const Key &key : keys) {
        counts[0][key.depth & 2047]++;
        counts[1][(key.depth >> 11) & 2047]++;
        counts[2][key.depth >> 22]++;
    }
    int shift = 0;
    for (int p = 0; p < 3; p++) {
        uint32_t mask = (1u << BITS[p]) - 1, total = 0;
        bool one_bucket = false;
        for (uint32_t &c : counts[p]) {
            one_bucket |= c == keys.size();
            uint32_t here = c;
            c = total;
            total += here;
        }
        if (!one_bucket) {
            for (const Key &key : keys) scratch[counts[p][(key.depth >> shift) & mask]++] = key;
            keys.swap(scratch);
        }
        shift += BITS[p];
    }
}

// Calls tile(tx, ty) for every tile with a pixel centre inside the splat's ellipse.
//
// In a tile row the widest part of the ellipse is at its extreme point if that lies in the row, else at the
// nearest edge of the row (Speedy-Splat's AccuTile). Where the bounding box spans one row or one column of tiles
// there is nothing to cut away.
template <class F>
void walk_tiles(const Splat &s, const TileLists &lists, F &&tile) {
    const float top = std::max(s.y - s.half_height - 0.5f, -1.0f), left = std::max(s.x - s.half_width - 0.5f, -1.0f);
    const float bottom = std::min(s.y + s.half_height - 0.5f, (float)lists.height);
    const float right = std::min(s.x + s.half_width - 0.5f, (float)lists.width);
    if (!(top <= bottom && left <= right)) return;
    const int row0 = std::max(0, (int)std::ceil(top)), row1 = std::min(lists.height - 1, (int)std::floor(bottom));
    const int col0 = std::max(0, (int)std::ceil(left)), col1 = std::min(lists.width - 1, (int)std::floor(right));
    if (row0 > row1 || col0 > col1) return;
    const int ty0 = row0 / TILE, ty1 = row1 / TILE, tx0 = col0 / TILE, tx1 = col1 / TILE;
    if (ty0 == ty1 || tx0 == tx1 || s.half_width >= 1e9f || s.half_height >= 1e9f) {
        for (int ty = ty0; ty <= ty1; ty++)
            for (int tx = tx0; tx <= tx1; tx++) tile(tx, ty);
        return;
    }
    constexpr float SLACK = 1e-3f;  // pixels: float rounding here must never lose what the rasteriser draws
    const float a = -s.xx, b = -0.5f * s.xy, c = -s.yy, det = a * c - b * b;
    const float level_a = (s.log2_opacity - LOG2_ALPHA_MIN) * a, inverse_a = 1.0f / a;
    const float extreme_dy = -b / c * s.half_width;  // of the right-most point; the left-most mirrors it
    auto half_chord = [&](float dy) { return std::sqrt(std::max(0.0f, level_a - det * dy * dy)) * inverse_a + SLACK; };
    for (int ty = ty0; ty <= ty1; ty++) {
        const float dy0 = (float)std::max(ty * TILE, row0) + 0.5f - s.y;
        const float dy1 = (float)std::min(ty * TILE + TILE - 1, row1) + 0.5f - s.y;
        const float right_dy = std::min(std::max(extreme_dy, dy0), dy1);
        const float left_dy = std::min(std::max(-extreme_dy, dy0), dy1);
        const float from = s.x - b * inverse_a * left_dy - half_chord(left_dy) - 0.5f;
        const float to = s.x - b * inverse_a * right_dy + half_chord(right_dy) - 0.5f;
        const int first = std::max(col0, (int)std::ceil(std::max(from, -1.0f)));
        const int last = std::min(col1, (int)std::floor(std::min(to, (float)lists.width)));
        if (first > last) continue;
        for (int tx = first / TILE; tx <= last / TILE; tx++) tile(tx, ty);
    }
}

// A stretch of the depth order that one thread bins by itself.
struct Part {
    std::vector<uint32_t> pair_tile;  // tile of each pair, Gaussian by Gaussian
    std::vector<uint32_t> next;       // [tiles] counts, later the next place in tile_pairs
};

struct Scratch {
    std::vector<Key> keys, spare;
    std::vector<Part> parts;
};

Scratch &scratch() {
    thread_local Scratch s;
    return s;
}

}  // namespace

void bin_gaussians(const BinArgs &args, const Kernels &kernels, TileLists &lists) {
    Scratch &s = scratch();
    lists.gaussians = args.n;
    lists.width = args.width;
    lists.height = args.height;
    lists.tiles_x = (args.width + TILE - 1) / TILE;
    lists.tiles_y = (args.height + TILE - 1) / TILE;
    const int tiles = lists.tiles_x * lists.tiles_y;

    s.keys.clear();
    for (int64_t i = 0; i < args.n; i++)
        if (args.radii[2 * i] > 0 && args.radii[2 * i + 1] > 0)
            s.keys.push_back({ordered_bits(args.depths[i]), (uint32_t)i});
    sort_by_depth(s.keys, s.spare);

    const int visible = (int)s.keys.size();
    lists.gaussian.resize(visible);
    for (int k = 0; k < visible; k++) lists.gaussian[k] = s.keys[k].gaussian;
    kernels.make_splats(args, lists);
    lists.first_pair.resize(visible + 1);
    const int n_parts = std::max(1, std::min({num_threads() * 2, visible / 512, 64}));
    if ((int)s.parts.size() < n_parts) s.parts.resize(n_parts);
    auto begin_of = [&](int part) { return (int)((int64_t)visible * part / n_parts); };

    // `parts` is reached through a pointer: the workers have thread-local scratch of their own.
    Scratch *shared = &s;
    parallel_for(n_parts, [&, shared](int p) {
        Part &part = shared->parts[p];
        part.pair_tile.clear();
        part.next.assign(tiles, 0);
        for (int k = begin_of(p); k < begin_of(p + 1); k++) {
            lists.first_pair[k] = (uint32_t)part.pair_tile.size();  // within the part, for now
            walk_tiles(lists.splats[k], lists, [&](int tx, int ty) {
                uint32_t tile = (uint32_t)(ty * lists.tiles_x + tx);
                part.pair_tile.push_back(tile);
                part.next[tile]++;
            });
        }
    });

    lists.tile_start.resize(tiles + 1);
    uint32_t total = 0;
    for (int t = 0; t < tiles; t++) {
        lists.tile_start[t] = total;
        for (int p = 0; p < n_parts; p++) {
            uint32_t here = s.parts[p].next[t];
            s.parts[p].next[t] = total;
            total += here;
        }
    }
    lists.tile_start[tiles] = total;
    lists.first_pair[visible] = total;
    lists.tile_pairs.resize(total);
    lists.tile_order.resize(total);

    std::vector<uint32_t> part_base(n_parts + 1, 0);
    for (int p = 0; p < n_parts; p++) part_base[p + 1] = part_base[p] + (uint32_t)s.parts[p].pair_tile.size();
    parallel_for(n_parts, [&, shared](int p) {
        Part &part = shared->parts[p];
        uint32_t local = 0;
        for (int k = begin_of(p); k < begin_of(p + 1); k++) {
            uint32_t end = k + 1 < begin_of(p + 1) ? lists.first_pair[k + 1] : (uint32_t)part.pair_tile.size();
            lists.first_pair[k] += part_base[p];
            for (; local < end; local++) {
                uint32_t place = part.next[part.pair_tile[local]]++;
                lists.tile_pairs[place] = part_base[p] + local;
                lists.tile_order[place] = (uint32_t)k;
            }
        }
    });
}

}  // namespace fewview
