// One pool of threads for all kernels.
#pragma once

#include <functional>

namespace fewview {

int num_threads();
void set_num_threads(int n);      // 1 .. 256; takes effect at the next parallel_for
void threads_from_environment();  // FEWVIEW_THREADS, where it is set

// Calls work(i) for i in [0, count), each once, in any order and on any thread of the pool, and waits.
// Kernels write their results where i says, so the order never shows in the bits.
void parallel_for(int count, const std::function<void(int)> &work);

}  // namespace fewview
