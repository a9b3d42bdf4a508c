// The Python face of PatchMatch: holds the pictures, checks shapes and hands over.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "kernel_choice.h"

namespace nb = nanobind;

namespace fewview {
namespace {

using Grey = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Mask = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Map = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ConstMap = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ConstPlanes = nb::ndarray<const float, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using Planes = nb::ndarray<float, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using Transforms = nb::ndarray<const float, nb::shape<-1, 3, 4>, nb::c_contig, nb::device::cpu>;

StereoLevel packed(const Grey &grey) {
    StereoLevel level;
    level.width = (int)grey.shape(1), level.height = (int)grey.shape(0);
    if (level.width < 1 || level.height < 1) throw std::invalid_argument("StereoImage: expected at least one pixel");
    level.quads.resize((size_t)level.width * level.height);
    for (int y = 0; y < level.height; y++) {
        const uint8_t *row = grey.data() + (size_t)y * level.width;
        const uint8_t *below = row + (y + 1 < level.height ? level.width : 0);
        for (int x = 0; x < level.width; x++) {
            const int next = x + 1 < level.width ? x + 1 : x;
            level.quads[(size_t)y * level.width + x] =
                (int32_t)(row[x] | (uint32_t)row[next] << 8 | (uint32_t)below[x] << 16 | (uint32_t)below[next] << 24);
        }
    }
    return level;
}

void require_shape(size_t found_h, size_t found_w, const StereoLevel &level, const char *name) {
    if (found_h != (size_t)level.height || found_w != (size_t)level.width)
        throw std::invalid_argument(std::string(name) + ": expected " + std::to_string(level.height) + " x " +
                                    std::to_string(level.width) + " pixels, found " + std::to_string(found_h) + " x " +
                                    std::to_string(found_w));
}

using Sweep = std::tuple<uint32_t, float, float, bool>;

void patch_match(const StereoImage &reference, int level, const std::vector<const StereoImage *> &sources,
                 Transforms source_from_reference, Transforms reference_from_source,
                 const std::optional<std::vector<ConstPlanes>> &source_planes, std::optional<ConstMap> prior,
                 std::optional<Mask> mask, std::array<float, 4> lens, std::array<float, 2> range, int best,
                 float sigma_grey, float noise_variance, float geometric_weight, float geometric_max_px,
                 float prior_weight, float prior_max, Planes planes, Map costs, const std::vector<Sweep> &sweeps) {
    PatchMatchArgs a{};
    const size_t S = sources.size();
    if (S < 1 || S > (size_t)MAX_STEREO_SOURCES || best < 1 || (size_t)best > S)
        throw std::invalid_argument("patch_match: expected 1 to 16 sources and 1 to that many best ones, found " +
                                    std::to_string(S) + " and " + std::to_string(best));
    if (level < 0) throw std::invalid_argument("patch_match: expected level >= 0, found " + std::to_string(level));
    for (const StereoImage *image : sources)
        if ((size_t)level >= image->levels.size()) throw std::invalid_argument("patch_match: a source lacks the level");
    if ((size_t)level >= reference.levels.size())
        throw std::invalid_argument("patch_match: the reference lacks the level");
    const StereoLevel &size = reference.levels[level];
    if (source_from_reference.shape(0) != S || reference_from_source.shape(0) != S ||
        (source_planes && source_planes->size() != S))
        throw std::invalid_argument("patch_match: expected as many transforms and source planes as sources");
    require_shape(planes.shape(0), planes.shape(1), size, "planes");
    require_shape(costs.shape(0), costs.shape(1), size, "costs");
    if (prior) require_shape(prior->shape(0), prior->shape(1), size, "prior");
    if (mask) require_shape(mask->shape(0), mask->shape(1), size, "mask");
    std::vector<const float *> hypotheses;
    for (size_t s = 0; source_planes && s < S; s++) {
        const ConstPlanes &of = (*source_planes)[s];
        require_shape(of.shape(0), of.shape(1), sources[s]->levels[level], "source_planes");
        hypotheses.push_back(of.data());
    }
    a.reference = &reference;
    a.level = level;
    a.sources = (int)S;
    a.source = sources.data();
    a.source_from_reference = source_from_reference.data();
    a.reference_from_source = reference_from_source.data();
    a.source_planes = source_planes ? hypotheses.data() : nullptr;
    a.prior = prior ? prior->data() : nullptr;
    a.mask = mask ? mask->data() : nullptr;
    a.fx = lens[0], a.fy = lens[1], a.cx = lens[2], a.cy = lens[3];
    a.low = range[0], a.high = range[1];
    a.best = best;
    a.sigma_grey = sigma_grey;
    a.noise_variance = noise_variance;
    a.geometric_weight = geometric_weight;
    a.geometric_max_px = geometric_max_px;
    a.prior_weight = prior_weight;
    a.prior_max = prior_max;
    a.planes = planes.data();
    a.costs = costs.data();
    const Kernels &kernels = rendering_kernels();
    nb::gil_scoped_release release;
    kernels.patch_match_costs(a);
    for (const auto &[seed, depth_step, slope_step, explore] : sweeps)
        kernels.patch_match_sweep(a, {seed, depth_step, slope_step, explore});
}

}  // namespace

void bind_patch_match(nb::module_ &m) {
    using namespace nb::literals;
    nb::class_<StereoImage>(m, "StereoImage", "The levels of a grey picture, as stereo samples them.")
        .def("__init__", [](StereoImage *self, const std::vector<Grey> &levels) {
            if (levels.empty()) throw std::invalid_argument("StereoImage: expected at least one level");
            new (self) StereoImage();
            for (const Grey &grey : levels) self->levels.push_back(packed(grey));
        });
    m.def("patch_match", &patch_match, "reference"_a, "level"_a, "sources"_a, "source_from_reference"_a,
          "reference_from_source"_a, "source_planes"_a.none(), "prior"_a.none(), "mask"_a.none(), "lens"_a, "range"_a,
          "best"_a, "sigma_grey"_a, "noise_variance"_a, "geometric_weight"_a, "geometric_max_px"_a, "prior_weight"_a,
          "prior_max"_a, nb::arg("planes").noconvert(), nb::arg("costs").noconvert(), "sweeps"_a);
}

}  // namespace fewview
