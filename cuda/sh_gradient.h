// Rows of the gradient of SH coefficients from its factors. Compiled once for each instruction set.
#pragma once

#include "kernels.h"

namespace fewview::FEWVIEW_ISA {

// v_sh [count, stride, 3] of the Gaussians i .. i + count of n, at most as many as a vector has lanes.
void sh_gradient_rows(const ShFactors &factors, int64_t n, int64_t i, int count, int stride, float *v_sh);

}  // namespace fewview::FEWVIEW_ISA
