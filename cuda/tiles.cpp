// Depth order and tile lists: a radix sort of the visible Gaussians, then a counting scatter into tiles.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

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

// Keys that one thread counts and moves by itself.
struct Stretch {
    int64_t begin, end;
};

Stretch part_of(int64_t count, int part, int parts) { return {count * part / parts, count * (part + 1) / parts}; }

// Some bits of the depth beyond the nearest one.
struct Digit {
    uint32_t nearest;
    int shift, bits;
    uint32_t of(const Key &key) const { return (key.depth - nearest) >> shift & ((1u << bits) - 1); }
};

// Calls place(where, key) for every key of the stretches, where it belongs in the order of its digit; keys that are
// equal there keep their order, so the result is the same for any number of stretches.
template <class Place>
void radix_pass(const Key *keys, const std::vector<Stretch> &stretches, const Digit &digit, const Place &place) {
    const int parts = (int)stretches.size();
    const uint32_t buckets = 1u << digit.bits;
    std::vector<uint32_t> next((size_t)parts * buckets, 0);  // counts, later the next place
    parallel_for(parts, [&](int p) {
        uint32_t *count = next.data() + (size_t)p * buckets;
        for (int64_t i = stretches[p].begin; i < stretches[p].end; i++) count[digit.of(keys[i])]++;
    });
    uint32_t total = 0;
    for (uint32_t bucket = 0; bucket < buckets; bucket++)
        for (int p = 0; p < parts; p++) {
            uint32_t &here = next[(size_t)p * buckets + bucket];
            const uint32_t count = here;
            here = total;
            total += count;
        }
    parallel_for(parts, [&](int p) {
        uint32_t *place_of = next.data() + (size_t)p * buckets;
        for (int64_t i = stretches[p].begin; i < stretches[p].end; i++)
            place(place_of[digit.of(keys[i])]++, keys[i]);
    });
}

// The visible Gaussians, nearest first: a radix sort of the bits in which their depths differ.
void order_by_depth(const BinArgs &args, Buffer<Key> &keys, Buffer<Key> &spare, Buffer<uint32_t> &order) {
    constexpr int BITS = 11;        // of a pass at most: counts stay in the nearest cache
    constexpr int64_t GRAIN = 4096;  // Gaussians a part at least
    const int parts = (int)std::max<int64_t>(1, std::min<int64_t>({num_threads() * 2, args.n / GRAIN, 64}));
    std::vector<Stretch> stretches(parts);
    std::vector<uint32_t> least(parts, UINT32_MAX), largest(parts, 0);
    keys.resize(args.n);
    parallel_for(parts, [&](int p) {
        const Stretch all = part_of(args.n, p, parts);
        int64_t end = all.begin;
        for (int64_t i = all.begin; i < all.end; i++) {
            if (!(args.radii[2 * i] > 0 && args.radii[2 * i + 1] > 0)) continue;
            const uint32_t depth = ordered_bits(args.depths[i]);
            least[p] = std::min(least[p], depth);
            largest[p] = std::max(largest[p], depth);
            keys[end++] = {depth, (uint32_t)i};
        }
        stretches[p] = {all.begin, end};
    });
    int64_t visible = 0;
    for (const Stretch &s : stretches) visible += s.end - s.begin;
    order.resize(visible);
    if (visible == 0) return;
    const uint32_t nearest = *std::min_element(least.begin(), least.end());
    const uint32_t span = *std::max_element(largest.begin(), largest.end()) - nearest;
    int bits = 1;
    while (bits < 32 && span >> bits) bits++;
    const int passes = (bits + BITS - 1) / BITS, width = (bits + passes - 1) / passes;
    spare.resize(passes > 1 ? visible : 0);
    Buffer<Key> *from = &keys, *to = &spare;
    for (int pass = 0; pass < passes; pass++) {
        const Digit digit{nearest, pass * width, width};
        if (pass + 1 == passes) {
            radix_pass(from->data(), stretches, digit, [&](uint32_t where, const Key &key) { order[where] = key.gaussian; });
        } else {
            radix_pass(from->data(), stretches, digit, [&](uint32_t where, const Key &key) { (*to)[where] = key; });
            std::swap(from, to);
            for (int p = 0; p < parts; p++) stretches[p] = part_of(visible, p, parts);
        }
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
    Buffer<Key> keys, spare;
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

    order_by_depth(args, s.keys, s.spare, lists.gaussian);
    const int visible = (int)lists.gaussian.size();
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
