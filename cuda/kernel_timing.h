// How long the families of kernels take on this machine, path by path.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace fewview {

constexpr const char *RENDERING = "rendering";      // splatting, its loss and optimiser, stereo
constexpr const char *CONVOLUTION = "convolution";  // sparse convolution
constexpr const char *BFLOAT16 = "bfloat16";        // its path with products of pairs of bfloat16

struct KernelTime {
    std::string family, path;  // the path is an instruction set, or BFLOAT16
    double milliseconds;
};

// Runs every family on every instruction set, about a tenth of a second in all, and gives the shortest of several times.
std::vector<KernelTime> time_kernels(const std::vector<const Kernels *> &candidates, bool with_bfloat16);

}  // namespace fewview
