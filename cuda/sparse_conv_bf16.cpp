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
Words rounded(const float *from, int64_t rows, int channels) {
    const int words = (channels + 1) / 2;
    Words made(rows * words);
    parallel_for((int)((rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE), [&](int block) {
        for (int64_t row = block * ROWS_AT_ONCE; row < std::min((block + 1) * ROWS_AT_ONCE, rows); row++) {
            const float *values = from + row * channels;
            float *to = made.values + row * words;
            int i = 0;
            for (; i + W <= channels; i += W)
                _mm256_storeu_si256((__m256i *)(to + i / 2), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(values + i)));
            if (i < channels) {
                const __m512 rest = _mm512_maskz_loadu_ps((__mmask16)((1u << (channels - i)) - 1), values + i);
                const __mmask8 kept = (__mmask8)((1u << (words - i / 2)) - 1);
                _mm256_mask_storeu_epi32(to + i / 2, kept, (__m256i)_mm512_cvtneps_pbh(rest));
            }
        }
    });
    return made;
}

}  // namespace

void sparse_conv_bf16(const SparseConvArgs &a) {
    const Words in = rounded(a.in, a.map->n_source, a.in_channels);
    const Words weight = rounded(a.weight, (int64_t)a.out_channels * a.map->volume, a.in_channels);
    SparseConvArgs words = a;
    words.in_channels = (a.in_channels + 1) / 2;
    words.in = in.values;
    words.weight = weight.values;
    words.slot_stride = words.in_channels;
    words.out_stride = (int64_t)a.map->volume * words.in_channels;
    convolve<Pair>(words);
}

}  // namespace fewview::FEWVIEW_ISA
