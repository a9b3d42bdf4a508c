// The Python face of sparse convolution: holds sets and maps, checks shapes and hands over.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>
#include <string>

#include "kernel_choice.h"

namespace nb = nanobind;

namespace fewview {
namespace {

using Indices = nb::ndarray<const int32_t, nb::shape<-1, 4>, nb::c_contig, nb::device::cpu>;
using IndicesOut = nb::ndarray<int32_t, nb::shape<-1, 4>, nb::c_contig, nb::device::cpu>;
using Longs = nb::ndarray<int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using MatrixOut = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Weight = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using WeightOut = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Vector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Rows = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using RowsOut = nb::ndarray<int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Three = std::array<int64_t, 3>;
using Offsets = std::array<std::vector<int64_t>, 3>;

VoxelSearch search_of(const Three &scale, const Offsets &offsets) {
    VoxelSearch search;
    for (int axis = 0; axis < 3; axis++) {
        if (offsets[axis].empty() || scale[axis] < 1)
            throw std::invalid_argument("a kernel needs at least one slot an axis and a scale of 1 or more");
        search.scale[axis] = scale[axis];
        search.offsets[axis] = offsets[axis];
    }
    return search;
}

template <class Array>
auto *sized(const Array &array, const char *name, int64_t rows, int64_t columns) {
    if ((int64_t)array.shape(0) != rows || (int64_t)array.shape(1) != columns)
        throw std::invalid_argument(std::string(name) + ": expected shape [" + std::to_string(rows) + ", " +
                                    std::to_string(columns) + "], found [" + std::to_string(array.shape(0)) + ", " +
                                    std::to_string(array.shape(1)) + "]");
    return array.data();
}

void write_indices(const VoxelSet &set, IndicesOut out) {
    sized(out, "indices", (int64_t)set.keys.size(), 4);
    for (size_t i = 0; i < set.keys.size(); i++) {
        const Voxel v = unpack_voxel(set.keys[i]);
        int32_t *to = out.data() + 4 * (set.order ? (size_t)(*set.order)[i] : i);
        to[0] = (int32_t)v.batch;
        for (int axis = 0; axis < 3; axis++) to[axis + 1] = (int32_t)v.axis[axis];
    }
}

void write_sorted(const VoxelSet &set, Longs keys, std::optional<Longs> order) {
    if (keys.shape(0) != set.keys.size() || (order && (!set.order || order->shape(0) != set.keys.size())))
        throw std::invalid_argument("keys and order: expected one for each voxel of the set");
    std::copy(set.keys.begin(), set.keys.end(), keys.data());
    if (order) std::copy(set.order->begin(), set.order->end(), order->data());
}

// All pairs slot by slot, as plain PyTorch wants them.
void write_pairs(const SparseMap &map, Longs source, Longs target, Longs slot_start) {
    if ((int64_t)source.shape(0) != map.n_pairs || (int64_t)target.shape(0) != map.n_pairs ||
        slot_start.shape(0) != (size_t)map.volume + 1)
        throw std::invalid_argument("pairs: expected source and target [P] and slot_start [K + 1]");
    int64_t at = 0;
    for (int k = 0; k < map.volume; k++) {
        slot_start.data()[k] = at;
        for (const MapTile &tile : map.tiles)
            for (int32_t p = tile.start[k]; p < tile.start[k + 1]; p++, at++) {
                source.data()[at] = tile.source[p];
                target.data()[at] = tile.target[p];
            }
    }
    slot_start.data()[map.volume] = at;
}

SparseMap checked_map_of_pairs(Longs source, Longs target, Longs slot_start, int64_t n_source, int64_t n_target) {
    const int64_t pairs = (int64_t)source.shape(0), slots = (int64_t)slot_start.shape(0) - 1;
    const auto beyond = [](const Longs &rows, int64_t n) {
        return std::any_of(rows.data(), rows.data() + rows.shape(0), [n](int64_t row) { return row < 0 || row >= n; });
    };
    const int64_t *start = slot_start.data();
    if ((int64_t)target.shape(0) != pairs || slots < 1 || start[0] != 0 || start[slots] != pairs ||
        !std::is_sorted(start, start + slots + 1) || beyond(source, n_source) || beyond(target, n_target))
        throw std::invalid_argument("pairs: expected source and target [P] in range and slot_start [K + 1] up to P");
    return map_of_pairs(source.data(), target.data(), start, (int)slots, n_source, n_target);
}

// `backward`: from outputs to inputs, over the transposed map; `flip`: over the map itself, slots in reverse.
void conv(const SparseMap &map, Matrix in, Weight weight, std::optional<Vector> bias, MatrixOut out, bool backward,
          bool flip, bool rounded) {
    const int64_t O = (int64_t)weight.shape(0), K = (int64_t)weight.shape(1), I = (int64_t)weight.shape(2);
    if (K != map.volume)
        throw std::invalid_argument("weight: expected " + std::to_string(map.volume) + " slots, found " +
                                    std::to_string(K));
    if (rounded && (backward || flip || !has_bf16()))
        throw std::invalid_argument("rounded: only forward, and only where has_bf16() holds");
    SparseConvArgs a{};
    a.map = &map;
    a.in_channels = (int)(backward ? O : I);
    a.out_channels = (int)(backward ? I : O);
    a.in = sized(in, "in", map.n_source, a.in_channels);
    a.out = sized(out, "out", map.n_target, a.out_channels);
    a.weight = weight.data() + (flip ? (K - 1) * I : 0);
    a.slot_stride = flip ? -I : I;
    a.in_stride = backward ? K * I : 1;
    a.out_stride = backward ? 1 : K * I;
    if (bias && (int64_t)bias->shape(0) != a.out_channels)
        throw std::invalid_argument("bias: expected one value for each output channel");
    a.bias = bias ? bias->data() : nullptr;
    const Kernels &kernels = convolution_kernels();
    nb::gil_scoped_release release;
    (rounded ? kernels.sparse_conv_bf16 : kernels.sparse_conv)(a);
}

void conv_weight(const SparseMap &map, Matrix in, Matrix v_out, WeightOut v_weight) {
    SparseConvWeightArgs a{};
    const int64_t O = (int64_t)v_weight.shape(0), I = (int64_t)v_weight.shape(2);
    if ((int64_t)v_weight.shape(1) != map.volume) throw std::invalid_argument("v_weight: expected the map's slots");
    a.map = &map;
    a.in_channels = (int)I;
    a.out_channels = (int)O;
    a.in = sized(in, "in", map.n_source, I);
    a.v_out = sized(v_out, "v_out", map.n_target, O);
    a.v_weight = v_weight.data();
    const Kernels &kernels = convolution_kernels();
    nb::gil_scoped_release release;
    kernels.sparse_conv_weight(a);
}

void pool(const SparseMap &map, Matrix in, MatrixOut out, std::optional<RowsOut> source) {
    SparsePoolArgs a{};
    const int64_t C = (int64_t)in.shape(1);
    a.map = &map;
    a.channels = (int)C;
    a.in = sized(in, "in", map.n_source, C);
    a.out = sized(out, "out", map.n_target, C);
    a.source = source ? sized(*source, "source", map.n_target, C) : nullptr;
    const Kernels &kernels = convolution_kernels();
    nb::gil_scoped_release release;
    kernels.sparse_pool(a);
}

void pool_backward(const SparseMap &map, Matrix v_out, std::optional<Rows> source, MatrixOut v_in) {
    SparsePoolBackwardArgs a{};
    const int64_t C = (int64_t)v_out.shape(1);
    a.map = &map;
    a.channels = (int)C;
    a.v_out = sized(v_out, "v_out", map.n_source, C);
    a.source = source ? sized(*source, "source", map.n_source, C) : nullptr;
    a.v_in = sized(v_in, "v_in", map.n_target, C);
    const Kernels &kernels = convolution_kernels();
    nb::gil_scoped_release release;
    kernels.sparse_pool_backward(a);
}

}  // namespace

void bind_sparse_conv(nb::module_ &m) {
    using namespace nb::literals;
    const auto release = nb::call_guard<nb::gil_scoped_release>();
    nb::class_<VoxelSet>(m, "VoxelSet", "Voxels in sorted order, and the row of each.")
        .def("__init__",
             [](VoxelSet *self, Indices indices) { new (self) VoxelSet(sort_voxels(indices.data(), indices.shape(0))); })
        .def("__len__", [](const VoxelSet &set) { return set.keys.size(); })
        .def_prop_ro("in_order", [](const VoxelSet &set) { return !set.order; })
        .def_prop_ro("nbytes", [](const VoxelSet &s) { return 8 * s.keys.size() + (s.order ? 4 * s.order->size() : 0); })
        .def("write_indices", &write_indices, "indices"_a)
        .def("write_sorted", &write_sorted, "keys"_a, "order"_a.none())
        .def(
            "strided",
            [](const VoxelSet &set, const Three &scale, const Offsets &offsets, const Three &shape) {
                return strided_voxels(set, search_of(scale, offsets), shape.data());
            },
            "scale"_a, "offsets"_a, "shape"_a, release)
        .def(
            "scattered",
            [](const VoxelSet &set, const Three &scale, const Offsets &offsets, const std::optional<Three> &shape) {
                return scattered_voxels(set, search_of(scale, offsets), shape ? shape->data() : nullptr);
            },
            "scale"_a, "offsets"_a, "shape"_a.none(), release)
        .def(
            "floored", [](const VoxelSet &set, const Three &step) { return floored_voxels(set, step.data()); }, "step"_a,
            release);
    nb::class_<SparseMap>(m, "SparseMap", "Pairs of source and target rows, by tiles of the target and slots.")
        .def("__init__",
             [](SparseMap *self, const VoxelSet &asking, const VoxelSet &found, const Three &scale,
                const Offsets &offsets) {
                 const VoxelSearch search = search_of(scale, offsets);
                 bool mirrored = &asking == &found;
                 for (int axis = 0; axis < 3; axis++) {
                     const std::vector<int64_t> &o = search.offsets[axis];
                     mirrored = mirrored && search.scale[axis] == 1 && o.size() % 2 == 1;
                     for (size_t k = 0; k < o.size(); k++) mirrored = mirrored && o[k] == -o[o.size() - 1 - k];
                 }
                 new (self) SparseMap(mirrored ? find_symmetric_pairs(found, search) : find_pairs(asking, found, search));
             },
             release)
        .def_static("of_pairs", &checked_map_of_pairs, "source"_a, "target"_a, "slot_start"_a, "n_source"_a, "n_target"_a,
                    release)
        .def("transposed", [](const SparseMap &map) { return transposed(map); }, release)
        .def_prop_ro("n_pairs", [](const SparseMap &map) { return map.n_pairs; })
        .def_prop_ro("nbytes", [](const SparseMap &map) { return 8 * map.n_pairs + 4 * (map.volume + 1) * map.tiles.size(); })
        .def("write_pairs", &write_pairs, "source"_a, "target"_a, "slot_start"_a);
    m.def("sparse_conv", &conv, "map"_a, "features"_a, "weight"_a, "bias"_a.none(), nb::arg("out").noconvert(),
          "backward"_a, "flip"_a, "rounded"_a = false);
    m.def("has_bf16", &has_bf16, "Whether the instruction set in use multiplies pairs of bfloat16.");
    m.def("prefers_bf16", &prefers_bf16, "Whether that is also faster than float32 on this machine.");
    m.def("sparse_conv_weight", &conv_weight, "map"_a, "features"_a, "v_out"_a, nb::arg("v_weight").noconvert());
    m.def("sparse_pool", &pool, "map"_a, "features"_a, nb::arg("out").noconvert(), nb::arg("source").none().noconvert());
    m.def("sparse_pool_backward", &pool_backward, "map"_a, "v_out"_a, "source"_a.none(), nb::arg("v_in").noconvert());
}

}  // namespace fewview
