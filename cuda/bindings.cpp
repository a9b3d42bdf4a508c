// The Python face of the kernels: checks shapes, picks the instruction set, lets go of the interpreter lock.
//
// Arrays come as NumPy views of contiguous float32 tensors; results are written into arrays that the caller made.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "checked.h"
#include "kernel_choice.h"
#include "parallel.h"

namespace nb = nanobind;

namespace fewview {

namespace {

using Floats = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using Ints = nb::ndarray<int32_t, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu>;

std::vector<std::string> isas() {
    std::vector<std::string> names;
    for (const Kernels *k : usable_kernels()) names.emplace_back(k->name);
    return names;
}

std::vector<std::tuple<std::string, std::string, double>> times() {
    std::vector<std::tuple<std::string, std::string, double>> rows;
    for (const KernelTime &time : kernel_times()) rows.emplace_back(time.family, time.path, time.milliseconds);
    return rows;
}

ProjectArgs project_args(Floats means, Floats quats, Floats scales, Floats opacities, Floats cam_from_world, Floats K,
                         int width, int height, float eps2d, float near_plane, float far_plane, float radius_clip,
                         bool antialiased, Ints radii, Floats means2d, Floats depths, Floats conics,
                         Floats compensations) {
    ProjectArgs a{};
    const int64_t N = (int64_t)means.shape(0), C = (int64_t)cam_from_world.shape(0);
    a.n = N;
    a.cameras = (int)C;
    a.means = checked(means, "means", {N, 3});
    a.quats = checked(quats, "quats", {N, 4});
    a.scales = checked(scales, "scales", {N, 3});
    a.opacities = checked(opacities, "opacities", {N});
    a.cam_from_world = checked(cam_from_world, "cam_from_world", {C, 4, 4});
    a.K = checked(K, "K", {C, 3, 3});
    a.options = {width, height, eps2d, near_plane, far_plane, radius_clip, antialiased};
    a.radii = checked(radii, "radii", {C, N, 2});
    a.means2d = checked(means2d, "means2d", {C, N, 2});
    a.depths = checked(depths, "depths", {C, N});
    a.conics = checked(conics, "conics", {C, N, 3});
    a.compensations = checked(compensations, "compensations", {C, N});
    return a;
}

void project(Floats means, Floats quats, Floats scales, Floats opacities, Floats cam_from_world, Floats K, int width,
             int height, float eps2d, float near_plane, float far_plane, float radius_clip, bool antialiased, Ints radii,
             Floats means2d, Floats depths, Floats conics, Floats compensations) {
    rendering_kernels().project(project_args(means, quats, scales, opacities, cam_from_world, K, width, height, eps2d, near_plane,
                                 far_plane, radius_clip, antialiased, radii, means2d, depths, conics, compensations));
}

void project_backward(Floats means, Floats quats, Floats scales, Floats opacities, Floats cam_from_world, Floats K,
                      int width, int height, float eps2d, float near_plane, float far_plane, float radius_clip,
                      bool antialiased, Ints radii, Floats means2d, Floats depths, Floats conics, Floats compensations,
                      Floats v_means2d, Floats v_depths, Floats v_conics, Floats v_compensations, Floats v_means,
                      Floats v_quats, Floats v_scales, std::optional<Floats> v_cam_from_world) {
    ProjectBackwardArgs a{};
    a.forward = project_args(means, quats, scales, opacities, cam_from_world, K, width, height, eps2d, near_plane,
                             far_plane, radius_clip, antialiased, radii, means2d, depths, conics, compensations);
    const int64_t N = a.forward.n, C = a.forward.cameras;
    a.v_means2d = checked(v_means2d, "v_means2d", {C, N, 2});
    a.v_depths = checked(v_depths, "v_depths", {C, N});
    a.v_conics = checked(v_conics, "v_conics", {C, N, 3});
    a.v_compensations = checked(v_compensations, "v_compensations", {C, N});
    a.v_means = checked(v_means, "v_means", {N, 3});
    a.v_quats = checked(v_quats, "v_quats", {N, 4});
    a.v_scales = checked(v_scales, "v_scales", {N, 3});
    a.v_cam_from_world = checked(v_cam_from_world, "v_cam_from_world", {C, 4, 4});
    rendering_kernels().project_backward(a);
}

ShArgs sh_args(int degree, Floats means, Floats centers, Floats sh, Ints radii, Floats colors) {
    ShArgs a{};
    const int64_t N = (int64_t)means.shape(0), C = (int64_t)centers.shape(0);
    const int64_t K = sh.ndim() == 3 ? (int64_t)sh.shape(1) : 0;
    if (degree < 0 || degree > 4 || (degree + 1) * (degree + 1) > K)
        throw std::invalid_argument("sh: degree " + std::to_string(degree) + " wants 0 <= degree <= 4 and (degree + 1)^2 <= K, found K = " + std::to_string(K));
    a.n = N;
    a.cameras = (int)C;
    a.degree = degree;
    a.stride = (int)K;
    a.means = checked(means, "means", {N, 3});
    a.centers = checked(centers, "centers", {C, 3});
    a.sh = checked(sh, "sh", {N, K, 3});
    a.radii = checked(radii, "radii", {C, N, 2});
    a.colors = checked(colors, "colors", {C, N, 3});
    return a;
}

void sh_colors(int degree, Floats means, Floats centers, Floats sh, Ints radii, Floats colors) {
    rendering_kernels().sh_colors(sh_args(degree, means, centers, sh, radii, colors));
}

void sh_colors_backward(int degree, Floats means, Floats centers, Floats sh, Ints radii, Floats colors, Floats v_colors,
                        std::optional<Floats> v_sh, std::optional<Floats> directions,
                        std::optional<Floats> seen_v_colors, Floats v_means, Floats v_centers) {
    ShBackwardArgs a{};
    a.forward = sh_args(degree, means, centers, sh, radii, colors);
    const int64_t N = a.forward.n, C = a.forward.cameras;
    if (v_sh.has_value() == directions.has_value() || directions.has_value() != seen_v_colors.has_value())
        throw std::invalid_argument("sh_colors_backward: expected v_sh, or directions and seen_v_colors in its place");
    a.v_colors = checked(v_colors, "v_colors", {C, N, 3});
    a.v_sh = checked(v_sh, "v_sh", {N, a.forward.stride, 3});
    a.directions = checked(directions, "directions", {C, N, 3});
    a.seen_v_colors = checked(seen_v_colors, "seen_v_colors", {C, N, 3});
    a.v_means = checked(v_means, "v_means", {N, 3});
    a.v_centers = checked(v_centers, "v_centers", {C, 3});
    rendering_kernels().sh_colors_backward(a);
}

ShFactors sh_factors(int degree, const Floats &directions, const Floats &v_colors, int64_t N, int64_t K) {
    if (degree < 0 || degree > 4 || (degree + 1) * (degree + 1) > K)
        throw std::invalid_argument("degree: expected 0 to 4 with (degree + 1)^2 <= K = " + std::to_string(K) + ", found " +
                                    std::to_string(degree));
    const int64_t C = (int64_t)directions.shape(0);
    return {(int)C, degree, checked(directions, "directions", {C, N, 3}), checked(v_colors, "v_colors", {C, N, 3})};
}

void sh_gradient(int degree, Floats directions, Floats v_colors, Floats v_sh) {
    const int64_t N = (int64_t)v_sh.shape(0), K = v_sh.ndim() == 3 ? (int64_t)v_sh.shape(1) : 0;
    const ShFactors factors = sh_factors(degree, directions, v_colors, N, K);
    rendering_kernels().sh_gradient(factors, N, (int)K, checked(v_sh, "v_sh", {N, K, 3}));
}

void bin(TileLists &lists, int width, int height, Ints radii, Floats means2d, Floats depths, Floats conics,
         Floats opacities) {
    if (width < 1 || height < 1 || (int64_t)width * height > (int64_t)1 << 31)
        throw std::invalid_argument("width and height: expected a positive image size below 2^31 pixels");
    BinArgs a{};
    const int64_t N = (int64_t)means2d.shape(0);
    a.n = N;
    a.width = width;
    a.height = height;
    a.radii = checked(radii, "radii", {N, 2});
    a.means2d = checked(means2d, "means2d", {N, 2});
    a.depths = checked(depths, "depths", {N});
    a.conics = checked(conics, "conics", {N, 3});
    a.opacities = checked(opacities, "opacities", {N});
    bin_gaussians(a, rendering_kernels(), lists);
}

RasterizeArgs rasterize_args(const TileLists &lists, Floats colors, std::optional<Floats> background, Floats out_colors,
                             Floats out_transmittance) {
    RasterizeArgs a{};
    const int64_t N = (int64_t)colors.shape(0), D = colors.ndim() == 2 ? (int64_t)colors.shape(1) : 0;
    if (D < 1 || D > MAX_CHANNELS)
        throw std::invalid_argument("colors: expected [N, 1..4] in one pass, found " + std::to_string(D) + " channels");
    if (N != lists.gaussians)
        throw std::invalid_argument("colors: the tile lists were made for " + std::to_string(lists.gaussians) +
                                    " Gaussians, found " + std::to_string(N));
    a.lists = &lists;
    a.channels = (int)D;
    a.colors = colors.data();
    a.background = checked(background, "background", {D});
    a.out_colors = checked(out_colors, "out_colors", {lists.height, lists.width, D});
    a.out_transmittance = checked(out_transmittance, "out_transmittance", {lists.height, lists.width});
    return a;
}

void rasterize(const TileLists &lists, Floats colors, std::optional<Floats> background, Floats out_colors,
               Floats out_transmittance) {
    rendering_kernels().rasterize(rasterize_args(lists, colors, background, out_colors, out_transmittance));
}

void rasterize_backward(const TileLists &lists, Floats colors, std::optional<Floats> background, Floats out_colors,
                        Floats out_transmittance, Floats v_out_colors, Floats v_out_alphas, Floats v_means2d,
                        Floats v_conics, Floats v_colors, Floats v_opacities, std::optional<Floats> v_means2d_abs) {
    RasterizeBackwardArgs a{};
    a.forward = rasterize_args(lists, colors, background, out_colors, out_transmittance);
    const int64_t N = lists.gaussians, D = a.forward.channels;
    a.v_out_colors = checked(v_out_colors, "v_out_colors", {lists.height, lists.width, D});
    a.v_out_alphas = checked(v_out_alphas, "v_out_alphas", {lists.height, lists.width});
    a.v_means2d = checked(v_means2d, "v_means2d", {N, 2});
    a.v_conics = checked(v_conics, "v_conics", {N, 3});
    a.v_colors = checked(v_colors, "v_colors", {N, D});
    a.v_opacities = checked(v_opacities, "v_opacities", {N});
    a.v_means2d_abs = checked(v_means2d_abs, "v_means2d_abs", {N, 2});
    rendering_kernels().rasterize_backward(a);
}

std::tuple<double, double> image_loss(Floats image, Floats target, float dssim_weight, std::optional<Floats> gradient) {
    ImageLossArgs a{};
    const int64_t H = (int64_t)image.shape(0), Wd = image.ndim() == 3 ? (int64_t)image.shape(1) : 0;
    a.height = (int)H;
    a.width = (int)Wd;
    a.image = checked(image, "image", {H, Wd, 3});
    a.target = checked(target, "target", {H, Wd, 3});
    a.gradient = checked(gradient, "gradient", {H, Wd, 3});
    a.dssim_weight = dssim_weight;
    rendering_kernels().image_loss(a);
    return {a.loss, a.ssim};
}

AdamArgs adam_args(const Floats &param, const Floats &exp_avg, const Floats &exp_avg_sq, const Floats &lr_columns,
                   const std::optional<Floats> &row_scale, const std::optional<Bytes> &visible, float beta1, float beta2,
                   float eps, int64_t step) {
    AdamArgs a{};
    const int64_t N = (int64_t)param.shape(0), D = param.ndim() == 2 ? (int64_t)param.shape(1) : 0;
    if (D < 1 || step < 1) throw std::invalid_argument("adam_step: expected param [N, D >= 1] and step >= 1");
    a.rows = N;
    a.columns = (int)D;
    a.param = checked(param, "param", {N, D});
    a.exp_avg = checked(exp_avg, "exp_avg", {N, D});
    a.exp_avg_sq = checked(exp_avg_sq, "exp_avg_sq", {N, D});
    a.lr_columns = checked(lr_columns, "lr_columns", {D});
    a.row_scale = checked(row_scale, "row_scale", {N});
    a.visible = checked(visible, "visible", {N});
    a.beta1 = beta1;
    a.beta2 = beta2;
    a.eps = eps;
    a.step = step;
    return a;
}

void adam_step(Floats param, Floats grad, Floats exp_avg, Floats exp_avg_sq, Floats lr_columns,
               std::optional<Floats> row_scale, std::optional<Bytes> visible, float beta1, float beta2, float eps,
               int64_t step) {
    AdamArgs a = adam_args(param, exp_avg, exp_avg_sq, lr_columns, row_scale, visible, beta1, beta2, eps, step);
    a.grad = checked(grad, "grad", {a.rows, a.columns});
    rendering_kernels().adam_step(a);
}

void sh_adam_step(Floats param, int degree, Floats directions, Floats v_colors, Floats exp_avg, Floats exp_avg_sq,
                  Floats lr_columns, std::optional<Floats> row_scale, std::optional<Bytes> visible, float beta1,
                  float beta2, float eps, int64_t step) {
    AdamArgs a = adam_args(param, exp_avg, exp_avg_sq, lr_columns, row_scale, visible, beta1, beta2, eps, step);
    if (a.columns % 3) throw std::invalid_argument("sh_adam_step: expected param [N, 3 K]");
    const ShFactors factors = sh_factors(degree, directions, v_colors, a.rows, a.columns / 3);
    a.factors = &factors;
    rendering_kernels().adam_step(a);
}

double alignment_loss(const std::vector<Floats> &points, const std::vector<Floats> &weights, Ints view_of_side,
                      Floats share, Ints sizes, Floats intrinsics, Floats log_depth, Floats cam_from_side,
                      Floats v_focal, Floats v_log_depth, Floats v_cam_from_side) {
    AlignmentArgs a{};
    const int64_t N = (int64_t)sizes.shape(0), S = (int64_t)points.size();
    a.views = (int)N;
    a.sizes = checked(sizes, "sizes", {N, 2});
    const int32_t *views = checked(view_of_side, "view_of_side", {S});
    const float *shares = checked(share, "share", {S});
    int64_t P = 0;
    for (int64_t n = 0; n < N; n++) {
        if (a.sizes[2 * n] < 1 || a.sizes[2 * n + 1] < 1) throw std::invalid_argument("sizes: expected positive ones");
        P += (int64_t)a.sizes[2 * n] * a.sizes[2 * n + 1];
    }
    if ((int64_t)weights.size() != S) throw std::invalid_argument("weights: expected one for each of points");
    for (int64_t s = 0; s < S; s++) {
        if (views[s] < 0 || views[s] >= N) throw std::invalid_argument("view_of_side: expected indices of views");
        const int64_t H = a.sizes[2 * views[s]], Wd = a.sizes[2 * views[s] + 1];
        a.sides.push_back({views[s], shares[s], checked(points[s], "points", {H, Wd, 3}),
                           checked(weights[s], "weights", {H, Wd})});
    }
    a.intrinsics = checked(intrinsics, "intrinsics", {N, 4});
    a.log_depth = checked(log_depth, "log_depth", {P});
    a.cam_from_side = checked(cam_from_side, "cam_from_side", {S, 3, 4});
    a.v_focal = checked(v_focal, "v_focal", {N, 2});
    a.v_log_depth = checked(v_log_depth, "v_log_depth", {P});
    a.v_cam_from_side = checked(v_cam_from_side, "v_cam_from_side", {S, 3, 4});
    rendering_kernels().alignment_loss(a);
    return a.loss;
}

}  // namespace

void bind_patch_match(nb::module_ &m);
void bind_sparse_conv(nb::module_ &m);
void bind_control_points(nb::module_ &m);

}  // namespace fewview

NB_MODULE(_native, m) {
    using namespace fewview;
    using namespace nb::literals;
    auto release = nb::call_guard<nb::gil_scoped_release>();
    nb::set_leak_warnings(false);  // tensors may still hold tile lists when the interpreter ends
    kernels_from_environment();
    threads_from_environment();
    m.doc() = "CPU kernels; arrays are contiguous float32 NumPy arrays, results are written in place.";

    m.def("isas", &isas, "Instruction sets that this machine can run, widest vectors first.");
    m.def("isa", [] { return std::string(rendering_kernels().name); }, "The instruction set of the rendering kernels.");
    m.def("convolution_isa", [] { return std::string(convolution_kernels().name); }, "That of sparse convolution.");
    m.def("kernel_times", &times, "(family, path, milliseconds) that the choice rests on; empty where none was needed.");
    m.def("set_isa", &set_isa, "name"_a, "Use another instruction set for all; ValueError names those there are.");
    m.def("num_threads", &num_threads);
    m.def("set_num_threads", &set_num_threads, "n"_a);

    nb::class_<TileLists>(m, "TileLists", "Which Gaussians touch which tiles of one image, front to back.")
        .def(nb::init<>())
        .def_ro("tiles_x", &TileLists::tiles_x)
        .def_ro("tiles_y", &TileLists::tiles_y)
        .def_prop_ro("n_visible", [](const TileLists &l) { return l.gaussian.size(); })
        .def_prop_ro("n_pairs", [](const TileLists &l) { return l.tile_pairs.size(); })
        .def("bin", &bin, "width"_a, "height"_a, "radii"_a, "means2d"_a, "depths"_a, "conics"_a, "opacities"_a, release);

    m.def("project", &project, release);
    m.def("project_backward", &project_backward, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
          nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
          nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
          nb::arg().none(), release);
    m.def("sh_colors", &sh_colors, release);
    m.def("sh_colors_backward", &sh_colors_backward, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
          nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg().none(), nb::arg(), nb::arg(), release);
    m.def("sh_gradient", &sh_gradient, "degree"_a, "directions"_a, "v_colors"_a, "v_sh"_a, release);
    m.def("rasterize", &rasterize, "lists"_a, "colors"_a, "background"_a.none(), "out_colors"_a, "out_transmittance"_a,
          release);
    m.def("rasterize_backward", &rasterize_backward, "lists"_a, "colors"_a, "background"_a.none(), "out_colors"_a,
          "out_transmittance"_a, "v_out_colors"_a, "v_out_alphas"_a, "v_means2d"_a, "v_conics"_a, "v_colors"_a,
          "v_opacities"_a, "v_means2d_abs"_a.none() = nb::none(), release);
    m.def("image_loss", &image_loss, "image"_a, "target"_a, "dssim_weight"_a, "gradient"_a.none(), release);
    m.def("adam_step", &adam_step, "param"_a, "grad"_a, "exp_avg"_a, "exp_avg_sq"_a, "lr_columns"_a, "row_scale"_a.none(),
          "visible"_a.none(), "beta1"_a, "beta2"_a, "eps"_a, "step"_a, release);
    m.def("sh_adam_step", &sh_adam_step, "param"_a, "degree"_a, "directions"_a, "v_colors"_a, "exp_avg"_a,
          "exp_avg_sq"_a, "lr_columns"_a, "row_scale"_a.none(), "visible"_a.none(), "beta1"_a, "beta2"_a, "eps"_a,
          "step"_a, release);
    m.def("alignment_loss", &alignment_loss, release);
    bind_patch_match(m);
    bind_sparse_conv(m);
    bind_control_points(m);
}
