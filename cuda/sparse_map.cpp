// Sets of voxels and kernel maps. Everything rests on sorted order: targets of one slot ascend with their positions, so
// that finding them is a walk along the sorted keys and not a search for each.
#include <algorithm>
#include <numeric>

#include "parallel.h"
#include "sparse_conv.h"

namespace fewview {
namespace {

constexpr int DIGIT_BITS = 11;  // 2048 counters fit the first cache
constexpr int LARGEST_TILE = 512;
constexpr int SMALLEST_TILE = 128;
constexpr int TILES_WANTED = 16;  // enough to share among threads
constexpr int BITMAP_WORDS = 64;  // of 64 cells, for each voxel, that may be looked through

// Least significant digit first, only the digits that differ; `rows` moves along where it is given.
void radix_sort(std::vector<int64_t> &keys, std::vector<int32_t> *rows) {
    const size_t n = keys.size();
    if (n == 0 || std::is_sorted(keys.begin(), keys.end())) return;
    int64_t differing = 0;
    for (int64_t key : keys) differing |= key ^ keys[0];
    std::vector<int64_t> other(n);
    std::vector<int32_t> other_rows(rows ? n : 0);
    for (int shift = 0; shift < 64; shift += DIGIT_BITS) {
        const int64_t mask = (1 << DIGIT_BITS) - 1;
        if ((differing >> shift & mask) == 0) continue;
        std::vector<size_t> begin(1 << DIGIT_BITS, 0);
        for (int64_t key : keys) begin[key >> shift & mask]++;
        size_t sum = 0;
        for (size_t &b : begin) {
            const size_t count = b;
            b = sum;
            sum += count;
        }
        for (size_t i = 0; i < n; i++) {
            const size_t at = begin[keys[i] >> shift & mask]++;
            other[at] = keys[i];
            if (rows) other_rows[at] = (*rows)[i];
        }
        keys.swap(other);
        if (rows) rows->swap(other_rows);
    }
}

VoxelSet unique_set(std::vector<int64_t> keys) {
    radix_sort(keys, nullptr);
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    keys.shrink_to_fit();
    return {std::move(keys), nullptr};
}

int64_t floor_div(int64_t a, int64_t b) {
    const int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

void prepare_tiles(SparseMap &map) {
    map.tile_rows = LARGEST_TILE;
    while (map.tile_rows > SMALLEST_TILE && map.n_target < (int64_t)map.tile_rows * TILES_WANTED) map.tile_rows /= 2;
    map.tiles.resize((map.n_target + map.tile_rows - 1) / map.tile_rows);
    map.memory = std::make_shared<PairMemory>(map.n_target);
}

// What one thread needs for a tile, kept for the next one: fresh memory costs more than the search.
struct Scratch {
    std::vector<int64_t> base, ends;
    std::vector<int32_t> places, askers, source, target;
};

// A row of slots, along the third axis. What is found for slot k goes to [k * count, ends[k]) of `places` and `askers`.
struct RowWalk {
    const int64_t *keys, *base;  // ascending; of the askers, `count` of them
    int64_t n, count, row;       // keys, askers, what the first two axes add to a key
    const int64_t *offsets;      // of the third axis, `width` of them, ascending
    int64_t width;
    int32_t *places, *askers;
    int64_t *ends;

    int64_t start() const { return std::lower_bound(keys, keys + n, base[0] + row + offsets[0]) - keys; }

    void add(int64_t slot, int64_t asker, int64_t place) const {
        const int64_t to = ends[slot]++;
        places[to] = (int32_t)place;
        askers[to] = (int32_t)asker;
    }
};

void walk(const RowWalk &w, int64_t from, int64_t at) {
    for (int64_t i = from; i < w.count; i++) {
        const int64_t here = w.base[i] + w.row;
        while (at < w.n && w.keys[at] < here + w.offsets[0]) at++;
        for (int64_t k = 0, j = at; k < w.width; k++) {
            while (j < w.n && w.keys[j] < here + w.offsets[k]) j++;
            if (j < w.n && w.keys[j] == here + w.offsets[k]) w.add(k, i, j);
        }
    }
}

// Where the third axis is looked at cell by cell, the next WIDTH keys hold all that can be found, and which slot each of
// them fills is its distance: no branch that depends on the scene. What lies beyond goes to one more slot.
template <int WIDTH>
void walk_cells(const RowWalk &walked) {
    const RowWalk w = walked;
    const int64_t beyond = WIDTH * w.count;
    int64_t at = w.start(), i = 0;
    for (; i < w.count && at + WIDTH + 2 <= w.n; i++) {
        const int64_t here = w.base[i] + w.row + w.offsets[0];
        at += w.keys[at] < here;  // twice is mostly enough
        at += w.keys[at] < here;
        while (at < w.n && w.keys[at] < here) at++;
        if (at + WIDTH > w.n) break;
        for (int m = 0; m < WIDTH; m++) {
            w.ends[WIDTH] = beyond;
            w.add(std::min<int64_t>(w.keys[at + m] - here, WIDTH), i, at + m);
        }
    }
    walk(w, i, at);
}

// The pairs of the first `slots` slots for the askers at [begin, end): places in the sorted orders, not yet rows.
void find_tile(const VoxelSet &asking, const VoxelSet &found, const VoxelSearch &search, int slots, int64_t begin,
               int64_t end, PairMemory &memory, MapTile &out) {
    static thread_local Scratch scratch;
    const int64_t count = end - begin, width = (int64_t)search.offsets[2].size();
    const int64_t *base = asking.keys.data() + begin;
    if (search.scale[0] != 1 || search.scale[1] != 1 || search.scale[2] != 1) {
        scratch.base.resize(count);
        for (int64_t i = 0; i < count; i++) {
            const Voxel v = unpack_voxel(base[i]);
            scratch.base[i] = pack_voxel(v.batch, v.axis[0] * search.scale[0], v.axis[1] * search.scale[1],
                                         v.axis[2] * search.scale[2]);
        }
        base = scratch.base.data();
    }
    const size_t most = (size_t)slots * count, most_in_row = (size_t)(width + 1) * count;
    if (scratch.source.size() < most) scratch.source.resize(most), scratch.target.resize(most);
    if (scratch.places.size() < most_in_row) scratch.places.resize(most_in_row), scratch.askers.resize(most_in_row);
    scratch.ends.resize(width + 1);
    RowWalk w{found.keys.data(), base, (int64_t)found.keys.size(), count, 0, search.offsets[2].data(), width,
              scratch.places.data(), scratch.askers.data(), scratch.ends.data()};
    int64_t pairs = 0;
    out.start.assign(1, 0);
    for (int slot = 0; slot < slots; slot += (int)width) {
        const int64_t row = slot / width, first = search.offsets[0][row / search.offsets[1].size()],
                      second = search.offsets[1][row % search.offsets[1].size()];
        w.row = first * ((int64_t)1 << 2 * VOXEL_AXIS_BITS) + second * ((int64_t)1 << VOXEL_AXIS_BITS);
        w.width = std::min<int64_t>(width, slots - slot);
        for (int64_t k = 0; k <= w.width; k++) w.ends[k] = k * count;
        const bool by_cells = w.offsets[w.width - 1] - w.offsets[0] == w.width - 1;
        if (by_cells && w.width == 3)
            walk_cells<3>(w);
        else if (by_cells && w.width == 1)
            walk_cells<1>(w);
        else
            walk(w, 0, w.start());
        for (int64_t k = 0; k < w.width; k++) {
            const int64_t hits = w.ends[k] - k * count;
            int32_t *target = scratch.target.data() + pairs;
            std::copy(w.places + k * count, w.places + w.ends[k], scratch.source.data() + pairs);
            for (int64_t h = 0; h < hits; h++) target[h] = (int32_t)(begin + w.askers[k * count + h]);
            pairs += hits;
            out.start.push_back((int32_t)pairs);
        }
    }
    out.make_room(memory, pairs);
    std::copy_n(scratch.source.data(), pairs, out.source);
    std::copy_n(scratch.target.data(), pairs, out.target);
}

void to_rows(int32_t *places, int32_t count, const Order &order) {
    if (!order) return;
    const int32_t *rows = order->data();
    for (int32_t i = 0; i < count; i++) places[i] = rows[places[i]];
}

void to_rows(const SparseMap &map, MapTile &tile) {
    to_rows(tile.source, tile.pairs(), map.source_order);
    to_rows(tile.target, tile.pairs(), map.target_order);
}

struct Stretch {
    const int32_t *source, *target;
    int64_t count;
};

// The tile of a submanifold map from the first halves of all tiles: for slot K - 1 - k, the pairs of slot k whose source
// is in this tile, with the roles swapped. They ascend, so that each list gives one stretch.
void complete_tile(const SparseMap &map, const std::vector<MapTile> &halves, const std::vector<std::vector<int32_t>> &last,
                   int t, MapTile &out) {
    static thread_local std::vector<Stretch> stretches;
    const int half = map.volume / 2;
    const MapTile &own = halves[t];
    const int32_t begin = (int32_t)map.begin(t), end = (int32_t)map.end(t), count = end - begin;
    stretches.clear();
    out.start = own.start;
    out.start.push_back(own.pairs() + count);
    for (int k = half - 1; k >= 0; k--) {
        int32_t so_far = out.start.back();
        const size_t first = std::lower_bound(last[k].begin(), last[k].end(), begin) - last[k].begin();
        for (size_t u = first; u < halves.size(); u++) {
            const MapTile &from = halves[u];
            const int32_t *low = from.source + from.start[k], *high = from.source + from.start[k + 1];
            if (low == high) continue;
            if (*low >= end) break;
            const int32_t *a = std::lower_bound(low, high, begin), *b = std::lower_bound(a, high, end);
            stretches.push_back({from.target + (a - from.source), a, b - a});
            so_far += (int32_t)(b - a);
        }
        out.start.push_back(so_far);
    }
    out.make_room(*map.memory, out.pairs());
    int32_t *source = std::copy_n(own.source, own.pairs(), out.source);
    int32_t *target = std::copy_n(own.target, own.pairs(), out.target);
    std::iota(source, source + count, begin);
    std::iota(target, target + count, begin);
    source += count;
    target += count;
    for (const Stretch &s : stretches) {
        source = std::copy_n(s.source, s.count, source);
        target = std::copy_n(s.target, s.count, target);
    }
}

// The tiles of a map from its pairs: `each_pair` calls what it is given with slot, source row and target row, in one order
// each time that it is asked; within a tile and a slot they keep that order.
template <class EachPair>
void fill_tiles(SparseMap &map, const EachPair &each_pair) {
    prepare_tiles(map);
    std::vector<int32_t> place;  // of each row in the sorted order of the target
    if (map.target_order) {
        place.resize(map.n_target);
        for (int64_t i = 0; i < map.n_target; i++) place[(*map.target_order)[i]] = (int32_t)i;
    }
    const auto tile_of = [&](int32_t row) -> MapTile & {
        return map.tiles[(place.empty() ? row : place[row]) / map.tile_rows];
    };
    for (MapTile &tile : map.tiles) tile.start.assign(map.volume + 1, 0);
    each_pair([&](int k, int32_t, int32_t target) { tile_of(target).start[k + 1]++; });
    for (MapTile &tile : map.tiles) {
        std::partial_sum(tile.start.begin(), tile.start.end(), tile.start.begin());
        map.n_pairs += tile.pairs();
        tile.make_room(*map.memory, tile.pairs());
        tile.start.insert(tile.start.begin(), 0);  // start[k + 1] is where the next pair of slot k goes, for now
    }
    each_pair([&](int k, int32_t source, int32_t target) {
        MapTile &tile = tile_of(target);
        const int32_t at = tile.start[k + 1]++;
        tile.source[at] = source;
        tile.target[at] = target;
    });
    for (MapTile &tile : map.tiles) tile.start.pop_back();
}

}  // namespace

VoxelSet sort_voxels(const int32_t *indices, int64_t n) {
    VoxelSet set;
    set.keys.resize(n);
    for (int64_t i = 0; i < n; i++)
        set.keys[i] = pack_voxel(indices[4 * i], indices[4 * i + 1], indices[4 * i + 2], indices[4 * i + 3]);
    if (std::is_sorted(set.keys.begin(), set.keys.end())) return set;
    auto rows = std::make_shared<std::vector<int32_t>>(n);
    for (int64_t i = 0; i < n; i++) (*rows)[i] = (int32_t)i;
    radix_sort(set.keys, rows.get());
    set.order = rows;
    return set;
}

VoxelSet strided_voxels(const VoxelSet &voxels, const VoxelSearch &search, const int64_t *shape) {
    if (voxels.keys.empty()) return {};
    const int64_t batches = unpack_voxel(voxels.keys.back()).batch + 1, words = (shape[2] + 63) / 64;
    const int64_t rows = batches * shape[0] * shape[1];
    // One bit a cell of the output grid sorts and merges for nothing, unless the grid is huge and all but empty.
    const bool by_bits = rows * words <= (int64_t)voxels.keys.size() * BITMAP_WORDS;
    std::vector<uint64_t> bits(by_bits ? rows * words : 0, 0);
    std::vector<int64_t> keys, reached[3];
    for (int64_t key : voxels.keys) {
        const Voxel v = unpack_voxel(key);
        for (int axis = 0; axis < 3; axis++) {
            reached[axis].clear();
            for (int64_t offset : search.offsets[axis]) {
                const int64_t moved = v.axis[axis] - offset, out = moved / search.scale[axis];
                if (moved >= 0 && out * search.scale[axis] == moved && out < shape[axis]) reached[axis].push_back(out);
            }
        }
        for (int64_t a : reached[0])
            for (int64_t b : reached[1])
                for (int64_t c : reached[2])
                    if (by_bits)
                        bits[((v.batch * shape[0] + a) * shape[1] + b) * words + c / 64] |= (uint64_t)1 << c % 64;
                    else
                        keys.push_back(pack_voxel(v.batch, a, b, c));
    }
    if (!by_bits) return unique_set(std::move(keys));
    for (int64_t row = 0, at = 0; row < rows; row++) {
        const int64_t first = pack_voxel(row / (shape[0] * shape[1]), row / shape[1] % shape[0], row % shape[1], 0);
        for (int64_t word = 0; word < words; word++, at++)
            for (uint64_t left = bits[at]; left; left &= left - 1)
                keys.push_back(first + word * 64 + __builtin_ctzll(left));
    }
    return {std::move(keys), nullptr};
}

VoxelSet scattered_voxels(const VoxelSet &voxels, const VoxelSearch &search, const int64_t *shape) {
    std::vector<int64_t> keys;
    keys.reserve(voxels.keys.size() * search.volume());
    const auto inside = [&](int64_t at, int axis) { return !shape || (at >= 0 && at < shape[axis]); };
    for (int64_t key : voxels.keys) {
        const Voxel v = unpack_voxel(key);
        for (int64_t first : search.offsets[0])
            for (int64_t second : search.offsets[1])
                for (int64_t third : search.offsets[2]) {
                    const int64_t a = v.axis[0] * search.scale[0] + first, b = v.axis[1] * search.scale[1] + second,
                                  c = v.axis[2] * search.scale[2] + third;
                    if (inside(a, 0) && inside(b, 1) && inside(c, 2)) keys.push_back(pack_voxel(v.batch, a, b, c));
                }
    }
    return unique_set(std::move(keys));
}

VoxelSet floored_voxels(const VoxelSet &voxels, const int64_t *step) {
    std::vector<int64_t> keys;
    keys.reserve(voxels.keys.size());
    for (int64_t key : voxels.keys) {
        const Voxel v = unpack_voxel(key);
        keys.push_back(pack_voxel(v.batch, floor_div(v.axis[0], step[0]) * step[0],
                                  floor_div(v.axis[1], step[1]) * step[1], floor_div(v.axis[2], step[2]) * step[2]));
    }
    return unique_set(std::move(keys));
}

SparseMap find_pairs(const VoxelSet &asking, const VoxelSet &found, const VoxelSearch &search) {
    SparseMap map;
    map.n_source = (int64_t)found.keys.size();
    map.n_target = (int64_t)asking.keys.size();
    map.volume = search.volume();
    prepare_tiles(map);
    map.source_order = found.order;
    map.target_order = asking.order;
    parallel_for((int)map.tiles.size(), [&](int t) {
        find_tile(asking, found, search, map.volume, map.begin(t), map.end(t), *map.memory, map.tiles[t]);
        to_rows(map, map.tiles[t]);
    });
    for (const MapTile &tile : map.tiles) map.n_pairs += tile.pairs();
    return map;
}

SparseMap find_symmetric_pairs(const VoxelSet &voxels, const VoxelSearch &search) {
    SparseMap map;
    map.n_source = map.n_target = (int64_t)voxels.keys.size();
    map.volume = search.volume();
    prepare_tiles(map);
    map.source_order = map.target_order = voxels.order;
    const int half = map.volume / 2;
    PairMemory memory(map.n_target);
    std::vector<MapTile> halves(map.tiles.size());
    parallel_for((int)halves.size(),
                 [&](int t) { find_tile(voxels, voxels, search, half, map.begin(t), map.end(t), memory, halves[t]); });
    std::vector<std::vector<int32_t>> last(half, std::vector<int32_t>(halves.size()));  // source so far, by slot and tile
    parallel_for(half, [&](int k) {
        int32_t so_far = -1;
        for (size_t t = 0; t < halves.size(); t++) {
            if (halves[t].start[k + 1] > halves[t].start[k]) so_far = halves[t].source[halves[t].start[k + 1] - 1];
            last[k][t] = so_far;
        }
    });
    parallel_for((int)map.tiles.size(), [&](int t) {
        complete_tile(map, halves, last, t, map.tiles[t]);
        to_rows(map, map.tiles[t]);
    });
    for (const MapTile &tile : map.tiles) map.n_pairs += tile.pairs();
    return map;
}

SparseMap transposed(const SparseMap &map) {
    SparseMap out;
    out.n_source = map.n_target;
    out.n_target = map.n_source;
    out.volume = map.volume;
    out.source_order = map.target_order;
    out.target_order = map.source_order;
    fill_tiles(out, [&](const auto &visit) {
        for (const MapTile &tile : map.tiles)
            for (int k = 0; k < map.volume; k++)
                for (int32_t p = tile.start[k]; p < tile.start[k + 1]; p++) visit(k, tile.target[p], tile.source[p]);
    });
    return out;
}

SparseMap map_of_pairs(const int64_t *source, const int64_t *target, const int64_t *slot_start, int volume,
                       int64_t n_source, int64_t n_target) {
    SparseMap out;
    out.n_source = n_source;
    out.n_target = n_target;
    out.volume = volume;
    fill_tiles(out, [&](const auto &visit) {
        for (int k = 0; k < volume; k++)
            for (int64_t p = slot_start[k]; p < slot_start[k + 1]; p++) visit(k, (int32_t)source[p], (int32_t)target[p]);
    });
    return out;
}

}  // namespace fewview
