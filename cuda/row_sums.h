// Sums over many rows into a small table, the same bits for any number of threads. Compiled once per instruction set.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "parallel.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr int64_t GRAIN = 2048;  // rows a job
constexpr int PARTS = 16;        // sums that are made side by side, then added in their order

inline int jobs_of(int64_t count) { return (int)((count + GRAIN - 1) / GRAIN); }

// Calls work(first, last, sums) for PARTS ranges of [0, count), each with zeroed sums of its own, and adds these to total.
template <class Work>
void in_parts(int64_t count, int64_t size, float *total, const Work &work) {
    std::unique_ptr<float[]> sums(new float[PARTS * size]());
    parallel_for(PARTS, [&](int part) {
        work(count * part / PARTS, count * (part + 1) / PARTS, sums.get() + part * size);
    });
    std::fill_n(total, size, 0.0f);
    for (int part = 0; part < PARTS; part++)
        for (int64_t i = 0; i < size; i++) total[i] += sums[part * size + i];
}

}  // namespace
}  // namespace fewview::FEWVIEW_ISA
