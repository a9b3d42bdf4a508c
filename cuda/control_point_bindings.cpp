// The Python face of the kernels of control points and of skinning: checks shapes and indices, lets go of the
// interpreter lock.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>
#include <string>

#include "checked.h"
#include "control_points.h"
#include "kernel_choice.h"

namespace nb = nanobind;

namespace fewview {
namespace {

using Table = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Column = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Index = nb::ndarray<int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void require_near(int64_t near) {
    if (near < 1 || near > MAX_NEIGHBOURS)
        throw std::invalid_argument("index: expected 1 to " + std::to_string(MAX_NEIGHBOURS) + " neighbours, found " +
                                    std::to_string(near));
}

// Every kernel reads rows by what stands in it.
void require_below(const Index &index, int64_t points) {
    const size_t size = index.shape(0) * index.shape(1);
    for (size_t i = 0; i < size; i++)
        if (index.data()[i] < 0 || index.data()[i] >= points)
            throw std::invalid_argument("index: expected numbers from 0 to " + std::to_string(points - 1) + ", found " +
                                        std::to_string(index.data()[i]));
}

void nearest_points(Table queries, Table candidates, Index index) {
    NearestArgs a{};
    a.count = (int64_t)queries.shape(0), a.points = (int)candidates.shape(0), a.dimensions = (int)queries.shape(1);
    a.near = (int)index.shape(1);
    require_near(a.near);
    if (a.near > a.points || a.points >= 1 << 24)
        throw std::invalid_argument("candidates: expected as many as there are neighbours, and fewer than 2^24");
    a.queries = queries.data();
    a.candidates = checked(candidates, "candidates", {a.points, a.dimensions});
    a.index = checked(index, "index", {a.count, a.near});
    nb::gil_scoped_release unlocked;
    rendering_kernels().nearest_points(a);
}

NodeWeightArgs weight_args(const Table &means, const Table &mean_hyper, const Table &nodes, const Table &node_hyper,
                           const Column &log_radius, const Column &strength_logits, const Index &index,
                           const Table &weights) {
    NodeWeightArgs a{};
    a.count = (int64_t)means.shape(0), a.points = (int)nodes.shape(0), a.hyper = (int)mean_hyper.shape(1);
    a.near = (int)index.shape(1);
    require_near(a.near);
    require_below(index, a.points);
    a.means = checked(means, "means", {a.count, 3});
    a.mean_hyper = checked(mean_hyper, "mean_hyper", {a.count, a.hyper});
    a.nodes = checked(nodes, "nodes", {a.points, 3});
    a.node_hyper = checked(node_hyper, "node_hyper", {a.points, a.hyper});
    a.log_radius = checked(log_radius, "log_radius", {a.points});
    a.strength_logits = checked(strength_logits, "strength_logits", {a.points});
    a.index = checked(index, "index", {a.count, a.near});
    a.weights = checked(weights, "weights", {a.count, a.near});
    return a;
}

void node_weights(Table means, Table mean_hyper, Table nodes, Table node_hyper, Column log_radius,
                  Column strength_logits, Index index, Table weights) {
    const NodeWeightArgs a =
        weight_args(means, mean_hyper, nodes, node_hyper, log_radius, strength_logits, index, weights);
    nb::gil_scoped_release unlocked;
    rendering_kernels().node_weights(a);
}

void node_weights_backward(Table means, Table mean_hyper, Table nodes, Table node_hyper, Column log_radius,
                           Column strength_logits, Index index, Table weights, Table v_weights, Table v_mean_hyper,
                           Table v_node_hyper, Column v_log_radius, Column v_strength_logits) {
    NodeWeightBackwardArgs b{};
    b.forward = weight_args(means, mean_hyper, nodes, node_hyper, log_radius, strength_logits, index, weights);
    const NodeWeightArgs &a = b.forward;
    b.v_weights = checked(v_weights, "v_weights", {a.count, a.near});
    b.v_mean_hyper = checked(v_mean_hyper, "v_mean_hyper", {a.count, a.hyper});
    b.v_node_hyper = checked(v_node_hyper, "v_node_hyper", {a.points, a.hyper});
    b.v_log_radius = checked(v_log_radius, "v_log_radius", {a.points});
    b.v_strength_logits = checked(v_strength_logits, "v_strength_logits", {a.points});
    nb::gil_scoped_release unlocked;
    rendering_kernels().node_weights_backward(b);
}

CarryArgs carry_args(const Table &means, const Table &nodes, const Table &transforms, const Table &values,
                     const Index &index, const Table &weights) {
    CarryArgs a{};
    a.count = (int64_t)means.shape(0), a.points = (int)nodes.shape(0), a.channels = (int)values.shape(1);
    a.near = (int)index.shape(1);
    require_near(a.near);
    require_below(index, a.points);
    a.means = checked(means, "means", {a.count, 3});
    a.nodes = checked(nodes, "nodes", {a.points, 3});
    a.transforms = checked(transforms, "transforms", {a.points, 12});
    a.values = checked(values, "values", {a.points, a.channels});
    a.index = checked(index, "index", {a.count, a.near});
    a.weights = checked(weights, "weights", {a.count, a.near});
    return a;
}

void carry(Table means, Table nodes, Table transforms, Table values, Index index, Table weights, Table moved,
           Table blend) {
    CarryArgs a = carry_args(means, nodes, transforms, values, index, weights);
    a.moved = checked(moved, "moved", {a.count, 3});
    a.blend = checked(blend, "blend", {a.count, a.channels});
    nb::gil_scoped_release unlocked;
    rendering_kernels().carry(a);
}

void carry_backward(Table means, Table nodes, Table transforms, Table values, Index index, Table weights, Table v_moved,
                    Table v_blend, Table v_means, Table v_nodes, Table v_transforms, Table v_values, Table v_weights) {
    CarryBackwardArgs b{};
    b.forward = carry_args(means, nodes, transforms, values, index, weights);
    const CarryArgs &a = b.forward;
    b.v_moved = checked(v_moved, "v_moved", {a.count, 3});
    b.v_blend = checked(v_blend, "v_blend", {a.count, a.channels});
    b.v_means = checked(v_means, "v_means", {a.count, 3});
    b.v_nodes = checked(v_nodes, "v_nodes", {a.points, 3});
    b.v_transforms = checked(v_transforms, "v_transforms", {a.points, 12});
    b.v_values = checked(v_values, "v_values", {a.points, a.channels});
    b.v_weights = checked(v_weights, "v_weights", {a.count, a.near});
    nb::gil_scoped_release unlocked;
    rendering_kernels().carry_backward(b);
}

SkinArgs skin_args(const Table &vertices, const Table &affine, const Table &duals, const Column &shares,
                   const Table &values, const Index &index, const Table &weights, float offset, bool antipodal) {
    SkinArgs a{};
    a.count = (int64_t)vertices.shape(0), a.points = (int)affine.shape(0), a.channels = (int)values.shape(1);
    a.near = (int)index.shape(1);
    require_near(a.near);
    require_below(index, a.points);
    a.vertices = checked(vertices, "vertices", {a.count, 3});
    a.affine = checked(affine, "affine", {a.points, 12});
    a.duals = checked(duals, "duals", {a.points, 8});
    a.shares = checked(shares, "shares", {a.points});
    a.values = checked(values, "values", {a.points, a.channels});
    a.index = checked(index, "index", {a.count, a.near});
    a.weights = checked(weights, "weights", {a.count, a.near});
    a.offset = offset, a.antipodal = antipodal;
    return a;
}

void skin(Table vertices, Table affine, Table duals, Column shares, Table values, Index index, Table weights,
          float offset, bool antipodal, Table moved, Table blend) {
    SkinArgs a = skin_args(vertices, affine, duals, shares, values, index, weights, offset, antipodal);
    a.moved = checked(moved, "moved", {a.count, 3});
    a.blend = checked(blend, "blend", {a.count, a.channels});
    nb::gil_scoped_release unlocked;
    rendering_kernels().skin(a);
}

void skin_backward(Table vertices, Table affine, Table duals, Column shares, Table values, Index index, Table weights,
                   float offset, bool antipodal, Table v_moved, Table v_blend, Table v_vertices, Table v_affine,
                   Table v_duals, Column v_shares, Table v_values) {
    SkinBackwardArgs b{};
    b.forward = skin_args(vertices, affine, duals, shares, values, index, weights, offset, antipodal);
    const SkinArgs &a = b.forward;
    b.v_moved = checked(v_moved, "v_moved", {a.count, 3});
    b.v_blend = checked(v_blend, "v_blend", {a.count, a.channels});
    b.v_vertices = checked(v_vertices, "v_vertices", {a.count, 3});
    b.v_affine = checked(v_affine, "v_affine", {a.points, 12});
    b.v_duals = checked(v_duals, "v_duals", {a.points, 8});
    b.v_shares = checked(v_shares, "v_shares", {a.points});
    b.v_values = checked(v_values, "v_values", {a.points, a.channels});
    nb::gil_scoped_release unlocked;
    rendering_kernels().skin_backward(b);
}

}  // namespace

void bind_control_points(nb::module_ &m) {
    using namespace nb::literals;
    m.def("nearest_points", &nearest_points, "queries"_a, "candidates"_a, "index"_a);
    m.def("node_weights", &node_weights, "means"_a, "mean_hyper"_a, "nodes"_a, "node_hyper"_a, "log_radius"_a,
          "strength_logits"_a, "index"_a, "weights"_a);
    m.def("node_weights_backward", &node_weights_backward, "means"_a, "mean_hyper"_a, "nodes"_a, "node_hyper"_a,
          "log_radius"_a, "strength_logits"_a, "index"_a, "weights"_a, "v_weights"_a, "v_mean_hyper"_a,
          "v_node_hyper"_a, "v_log_radius"_a, "v_strength_logits"_a);
    m.def("carry", &carry, "means"_a, "nodes"_a, "transforms"_a, "values"_a, "index"_a, "weights"_a, "moved"_a,
          "blend"_a);
    m.def("carry_backward", &carry_backward, "means"_a, "nodes"_a, "transforms"_a, "values"_a, "index"_a, "weights"_a,
          "v_moved"_a, "v_blend"_a, "v_means"_a, "v_nodes"_a, "v_transforms"_a, "v_values"_a, "v_weights"_a);
    m.def("skin", &skin, "vertices"_a, "affine"_a, "duals"_a, "shares"_a, "values"_a, "index"_a, "weights"_a,
          "offset"_a, "antipodal"_a, "moved"_a, "blend"_a);
    m.def("skin_backward", &skin_backward, "vertices"_a, "affine"_a, "duals"_a, "shares"_a, "values"_a, "index"_a,
          "weights"_a, "offset"_a, "antipodal"_a, "v_moved"_a, "v_blend"_a, "v_vertices"_a, "v_affine"_a, "v_duals"_a,
          "v_shares"_a, "v_values"_a);
}

}  // namespace fewview
