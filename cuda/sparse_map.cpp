// Sets of voxels and kernel maps. Everything rests on sorted order: targets of one slot ascend with their positions, so
// that finding them is a walk along the sorted keys and not a search for each.
#include <algorithm>
#include <cstring>

#include "parallel.h"
#include "sparse_conv.h"

namespace fewview {
namespace {

constexpr int DIGIT_BITS = 11;  // 2048 counters fit the first cache
constexpr int LARGEST_TILE = 512;
constexpr int SMALLEST_TILE = 128;
constexpr int TILES_WANTED = 64;  // enough to share among threads

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

int tile_size(int64_t rows) {
    int tile = LARGEST_TILE;
    while (tile > SMALLEST_TILE && rows < (int64_t)tile * TILES_WANTED) tile /= 2;
    return tile;
}

// One tile's pairs while they are being found.
struct TilePairs {
    std::vector<int32_t> source, target;
    std::vector<int64_t> counts;  // [volume]
};

void find_tile(const VoxelSet &asking, const VoxelSet &found, const VoxelSearch &search, int64_t begin, int64_t end,
               TilePairs &out) {
    const int64_t *keys = found.keys.data(), n = (int64_t)found.keys.size(), count = end - begin;
    const int width = (int)search.offsets[2].size();
    std::vector<int64_t> base(count);
    for (int64_t i = 0; i < count; i++) {
        const int64_t key = asking.keys[begin + i];
        if (search.scale[0] == 1 && search.scale[1] == 1 && search.scale[2] == 1) {
            base[i] = key;
        } else {
            const Voxel v = unpack_voxel(key);
            base[i] = pack_voxel(v.batch, v.axis[0] * search.scale[0], v.axis[1] * search.scale[1],
                                 v.axis[2] * search.scale[2]);
        }
    }
    std::vector<int32_t> hits_source((size_t)width * count), hits_target((size_t)width * count);
    std::vector<int64_t> hits(width);
    for (int64_t first : search.offsets[0])
        for (int64_t second : search.offsets[1]) {
            const int64_t row = first * ((int64_t)1 << 2 * VOXEL_AXIS_BITS) + second * ((int64_t)1 << VOXEL_AXIS_BITS);
            std::fill(hits.begin(), hits.end(), 0);
            int64_t at = std::lower_bound(keys, keys + n, base[0] + row + search.offsets[2][0]) - keys;
            for (int64_t i = 0; i < count; i++) {
                const int64_t here = base[i] + row;
                while (at < n && keys[at] < here + search.offsets[2][0]) at++;
                int64_t j = at;
                for (int k = 0; k < width && j < n; k++) {
                    const int64_t wanted = here + search.offsets[2][k];
                    while (j < n && keys[j] < wanted) j++;
                    if (j < n && keys[j] == wanted) {
                        const size_t slot = (size_t)k * count + hits[k]++;
                        hits_source[slot] = found.order ? (*found.order)[j] : (int32_t)j;
                        hits_target[slot] = asking.order ? (*asking.order)[begin + i] : (int32_t)(begin + i);
                    }
                }
            }
            for (int k = 0; k < width; k++) {
                const auto from = hits_source.begin() + (int64_t)k * count, to = hits_target.begin() + (int64_t)k * count;
                out.source.insert(out.source.end(), from, from + hits[k]);
                out.target.insert(out.target.end(), to, to + hits[k]);
                out.counts.push_back(hits[k]);
            }
        }
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
    std::vector<int64_t> keys;
    keys.reserve(voxels.keys.size() * 4);
    std::vector<int64_t> reached[3];
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
                for (int64_t c : reached[2]) keys.push_back(pack_voxel(v.batch, a, b, c));
    }
    return unique_set(std::move(keys));
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
    map.tile = tile_size(map.n_target);
    map.tiles = (int)((map.n_target + map.tile - 1) / map.tile);
    map.source_order = found.order;
    map.target_order = asking.order;
    std::vector<TilePairs> tiles(map.tiles);
    parallel_for(map.tiles, [&](int t) {
        const int64_t begin = (int64_t)t * map.tile;
        find_tile(asking, found, search, begin, std::min(map.n_target, begin + map.tile), tiles[t]);
    });
    map.start.assign(1, 0);
    map.start.reserve((size_t)map.tiles * map.volume + 1);
    for (const TilePairs &tile : tiles)
        for (int64_t count : tile.counts) map.start.push_back(map.start.back() + count);
    map.source.resize(map.start.back());
    map.target.resize(map.start.back());
    parallel_for(map.tiles, [&](int t) {
        std::copy(tiles[t].source.begin(), tiles[t].source.end(), map.source.begin() + *map.span(t, 0));
        std::copy(tiles[t].target.begin(), tiles[t].target.end(), map.target.begin() + *map.span(t, 0));
        tiles[t] = TilePairs();
    });
    return map;
}

SparseMap transposed(const SparseMap &map) {
    SparseMap out;
    out.n_source = map.n_target;
    out.n_target = map.n_source;
    out.volume = map.volume;
    out.tile = tile_size(out.n_target);
    out.tiles = (int)((out.n_target + out.tile - 1) / out.tile);
    out.source_order = map.target_order;
    out.target_order = map.source_order;
    std::vector<int32_t> place;  // of each row in the sorted order of the new target
    if (out.target_order) {
        place.resize(out.n_target);
        for (int64_t i = 0; i < out.n_target; i++) place[(*out.target_order)[i]] = (int32_t)i;
    }
    const auto bucket = [&](int64_t pair, int slot) {
        const int32_t row = map.source[pair];
        return (size_t)((place.empty() ? row : place[row]) / out.tile) * out.volume + slot;
    };
    const auto each_pair = [&](const auto &visit) {
        for (int t = 0; t < map.tiles; t++)
            for (int k = 0; k < map.volume; k++)
                for (int64_t p = map.span(t, k)[0]; p < map.span(t, k)[1]; p++) visit(p, bucket(p, k));
    };
    out.start.assign((size_t)out.tiles * out.volume + 1, 0);
    each_pair([&](int64_t, size_t b) { out.start[b + 1]++; });
    for (size_t b = 0; b + 1 < out.start.size(); b++) out.start[b + 1] += out.start[b];
    std::vector<int64_t> next(out.start.begin(), out.start.end() - 1);
    out.source.resize(map.source.size());
    out.target.resize(map.target.size());
    each_pair([&](int64_t p, size_t b) {
        out.source[next[b]] = map.target[p];
        out.target[next[b]++] = map.source[p];
    });
    return out;
}

}  // namespace fewview
