// Which kernels run on this machine, decided once for each process.
#pragma once

#include <string>
#include <vector>

#include "kernel_timing.h"

namespace fewview {

// Those that this machine can run, widest vectors first.
std::vector<const Kernels *> usable_kernels();

const Kernels &rendering_kernels();
const Kernels &convolution_kernels();
// Tells if the processor and the convolution kernels in use have products of pairs of bfloat16.
bool has_bf16();
// Tells if those are also faster here than rounding first and multiplying in float32.
bool prefers_bf16();

// Uses one instruction set for everything; std::invalid_argument names those there are.
void set_isa(const std::string &name);
// FEWVIEW_ISA, where it is set: the whole program runs as on another processor.
void kernels_from_environment();

// What the choice rests on; empty where nothing was measured, as with FEWVIEW_ISA or one instruction set.
std::vector<KernelTime> kernel_times();

}  // namespace fewview
