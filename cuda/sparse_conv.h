// Sparse convolution: sets of voxels, kernel maps and the arguments of the kernels that run over them.
//
// A voxel is one integer that sorts like (batch, first, second, third axis): 18 bits an axis with an offset, batch above.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "buffer.h"

namespace fewview {

constexpr int VOXEL_AXIS_BITS = 18;
constexpr int64_t VOXEL_ZERO = 1 << (VOXEL_AXIS_BITS - 1);  // what coordinate 0 is stored as

inline int64_t pack_voxel(int64_t batch, int64_t a, int64_t b, int64_t c) {
    return (((batch << VOXEL_AXIS_BITS | (a + VOXEL_ZERO)) << VOXEL_AXIS_BITS | (b + VOXEL_ZERO)) << VOXEL_AXIS_BITS) |
           (c + VOXEL_ZERO);
}

struct Voxel {
    int64_t batch, axis[3];
};

inline Voxel unpack_voxel(int64_t key) {
    const int64_t mask = (1 << VOXEL_AXIS_BITS) - 1;
    return {key >> 3 * VOXEL_AXIS_BITS,
            {(key >> 2 * VOXEL_AXIS_BITS & mask) - VOXEL_ZERO, (key >> VOXEL_AXIS_BITS & mask) - VOXEL_ZERO,
             (key & mask) - VOXEL_ZERO}};
}

using Order = std::shared_ptr<const std::vector<int32_t>>;  // the row at each place of the sorted order; null: the same

struct VoxelSet {
    std::vector<int64_t> keys;  // [N] ascending
    Order order;
};

// Where a slot of the kernel looks: position * scale + offset, the third axis fastest.
struct VoxelSearch {
    int64_t scale[3];
    std::vector<int64_t> offsets[3];  // ascending

    int volume() const { return (int)(offsets[0].size() * offsets[1].size() * offsets[2].size()); }
};

// Where the pairs of a map's tiles lie: few large pieces, which a later map gets again. An allocation of its own for each
// tile would be handed back to the system and be filled with zeros anew, a third of the time that a map takes.
class PairMemory {
  public:
    explicit PairMemory(int64_t rows) : piece_(std::max<size_t>(rows * PAIRS_PER_ROW, SMALLEST_PIECE)) {}

    int32_t *take(size_t count) {  // may be asked by several threads
        std::lock_guard<std::mutex> lock(mutex_);
        if (pieces_.empty() || used_ + count > pieces_.back().size()) {
            pieces_.emplace_back(std::max(piece_, count));
            used_ = 0;
        }
        used_ += count;
        return pieces_.back().data() + used_ - count;
    }

  private:
    static constexpr size_t PAIRS_PER_ROW = 8, SMALLEST_PIECE = 1 << 14;
    std::mutex mutex_;
    std::vector<Buffer<int32_t>> pieces_;
    size_t piece_, used_ = 0;
};

// The pairs of one tile: source and target rows, slot by slot, in the memory of its map.
struct MapTile {
    int32_t *source = nullptr, *target = nullptr;  // [pairs]
    std::vector<int32_t> start;                    // [volume + 1]

    int32_t pairs() const { return start.back(); }
    void make_room(PairMemory &memory, size_t pairs) {
        source = memory.take(pairs);
        target = memory.take(pairs);
    }
};

// Pairs of source and target rows, by tiles of the target set in its sorted order.
//
// A tile's rows and what they need lie close together, so that they stay in the second cache while all slots pass over
// them. A tile belongs to one thread, which adds slot after slot: no atomics, and the same bits for any number of threads.
struct SparseMap {
    int64_t n_source = 0, n_target = 0, n_pairs = 0;
    int volume = 0, tile_rows = 0;  // target rows in each tile but the last
    std::shared_ptr<PairMemory> memory;
    std::vector<MapTile> tiles;
    Order source_order, target_order;

    int64_t begin(int tile) const { return (int64_t)tile * tile_rows; }  // places in the target's sorted order
    int64_t end(int tile) const { return tile + 1 < (int)tiles.size() ? begin(tile + 1) : n_target; }
    int32_t target_row(int64_t place) const { return target_order ? (*target_order)[place] : (int32_t)place; }
};

VoxelSet sort_voxels(const int32_t *indices, int64_t n);  // [N, 4]; keys may repeat
// The outputs inside [0, shape) for which output * scale + offset is present.
VoxelSet strided_voxels(const VoxelSet &voxels, const VoxelSearch &search, const int64_t *shape);
// All position * scale + offset, inside [0, shape) where it is given.
VoxelSet scattered_voxels(const VoxelSet &voxels, const VoxelSearch &search, const int64_t *shape);
VoxelSet floored_voxels(const VoxelSet &voxels, const int64_t *step);  // at floor(c / step) step

// Pairs (row of `found` at position * scale + offset, row of `asking`), the second one as the target.
SparseMap find_pairs(const VoxelSet &asking, const VoxelSet &found, const VoxelSearch &search);
// The same from a set to itself for offsets that mirror each other: each pair is searched for once and used twice.
SparseMap find_symmetric_pairs(const VoxelSet &voxels, const VoxelSearch &search);
SparseMap transposed(const SparseMap &map);  // source and target swapped, each pair in its slot
// Pairs that were found elsewhere, those of slot k at [slot_start[k], slot_start[k + 1]); rows in range.
SparseMap map_of_pairs(const int64_t *source, const int64_t *target, const int64_t *slot_start, int volume,
                       int64_t n_source, int64_t n_target);

struct SparseConvArgs {
    const SparseMap *map;
    int in_channels, out_channels;
    const float *in;      // [n_source, in_channels]
    const float *weight;  // of slot k, input i, output o: weight[k * slot + i * input + o * output]
    int64_t slot_stride, in_stride, out_stride;
    const float *bias;    // [out_channels] or null
    float *out;           // [n_target, out_channels], all of it is written
};

struct SparseConvWeightArgs {
    const SparseMap *map;
    int in_channels, out_channels;
    const float *in, *v_out;  // [n_source, in_channels] [n_target, out_channels]
    float *v_weight;          // [out_channels, K, in_channels], all of it is written
};

struct SparsePoolArgs {
    const SparseMap *map;
    int channels;
    const float *in;    // [n_source, C]
    float *out;         // [n_target, C], all of it is written
    int32_t *source;    // [n_target, C] the row that is largest, the first of equal ones; null: the mean
};

struct SparsePoolBackwardArgs {
    const SparseMap *map;   // transposed: from outputs to inputs
    int channels;
    const float *v_out;     // [n_source, C] divided by the count already, for the mean
    const int32_t *source;  // [n_source, C] or null
    float *v_in;            // [n_target, C], all of it is written
};

}  // namespace fewview
