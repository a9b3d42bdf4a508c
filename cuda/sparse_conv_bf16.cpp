// Convolution over a kernel map in bfloat16, two channels to a multiply-add, with float32 sums.
//
// Compiled for AVX-512 with AVX512_BF16 only. Processors without it run the float32 kernel on the rounded values.
#include "kernels.h"
#include "sparse_products.h"

namespace fewview::FEWVIEW_ISA {
namespace {

constexpr int64_t ROWS_AT_ONCE = 256;

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

// [rows, channels] float32 to words, rounded to nearest, ties to even. An odd channel is paired with zero.
std::unique_ptr<float[]> rounded(const float *from, int64_t rows, int channels) {
    const int words = (channels + 1) / 2;
    std::unique_ptr<float[]> made(new float[rows * words]);
    parallel_for((int)((rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE), [&](int block) {
        for (int64_t row = block * ROWS_AT_ONCE; row < std::min((block + 1) * ROWS_AT_ONCE, rows); row++)
            for (int i = 0; i < channels; i += W) {
                const int there = std::min(W, channels - i);
                const __m512 values = _mm512_maskz_loadu_ps((__mmask16)((1u << there) - 1), from + row * channels + i);
                const __mmask8 kept = (__mmask8)((1u << (there + 1) / 2) - 1);
                _mm256_mask_storeu_epi32(made.get() + row * words + i / 2, kept, (__m256i)_mm512_cvtneps_pbh(values));
            }
    });
    return made;
}

}  // namespace

void sparse_conv_bf16(const SparseConvArgs &a) {
    const auto in = rounded(a.in, a.map->n_source, a.in_channels);
    const auto weight = rounded(a.weight, (int64_t)a.out_channels * a.map->volume, a.in_channels);
    SparseConvArgs words = a;
    words.in_channels = (a.in_channels + 1) / 2;
    words.in = in.get();
    words.weight = weight.get();
    words.slot_stride = words.in_channels;
    words.out_stride = (int64_t)a.map->volume * words.in_channels;
    convolve<Pair>(words);
}

}  // namespace fewview::FEWVIEW_ISA
