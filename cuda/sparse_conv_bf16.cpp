// Convolution over a kernel map in bfloat16, two channels to a multiply-add, with float32 sums.
//
// Compiled for AVX-512 with AVX512_BF16 only. Processors without it run the float32 kernel on the rounded values.
#include "kernels.h"
#include "sparse_products.h"

namespace fewview::FEWVIEW_ISA {
namespace {

// A word that is two neighbouring channels in bfloat16, the first one in the lower half.
struct Pair {
    static vf spread(const float *p) {
        int32_t bits;
        std::memcpy(&bits, p, sizeof bits);
        return (vf)_mm512_set1_epi32(bits);
    }
    static vf add_product(vf sum, vf x, vf weight) {
        return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)weight);
    }
};

}  // namespace

void sparse_conv_bf16(const SparseConvArgs &a) { convolve<Pair>(a); }

}  // namespace fewview::FEWVIEW_ISA
