// Vectors of W floats, for whichever instruction set this file is being compiled for.
//
// Arithmetic is the compiler's (GCC and Clang vector extensions); only what they cannot say well, comparing,
// choosing and asking whether any lane holds, is written out for each instruction set.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#ifndef FEWVIEW_ISA
#error "FEWVIEW_ISA names the namespace of this instruction set"
#endif

namespace fewview::FEWVIEW_ISA {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));

inline vf load(const float *p) {
    vf v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store(float *p, vf v) { std::memcpy(p, &v, sizeof v); }
inline vf splat(float x) { return x - vf{}; }
// 0, 1, 2, ... A function, not a constant: a constant would be set up at load time, with instructions that the
// machine may not have.
inline vf lanes() {
    vf v;
    for (int i = 0; i < W; i++) v[i] = (float)i;
    return v;
}

#if defined(__AVX512F__)
typedef __mmask16 vmask;
inline vmask less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline vmask less_equal(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
inline vmask both(vmask a, vmask b) { return a & b; }
inline vmask not_second(vmask a, vmask b) { return a & ~b; }
inline bool any(vmask m) { return m != 0; }
inline vf select(vmask m, vf yes, vf no) { return _mm512_mask_blend_ps(m, no, yes); }
inline vf where(vmask m, vf yes) { return _mm512_maskz_mov_ps(m, yes); }
inline vf max(vf a, vf b) { return _mm512_max_ps(a, b); }
inline vf min(vf a, vf b) { return _mm512_min_ps(a, b); }
inline vf sqrt(vf a) { return _mm512_sqrt_ps(a); }
inline float sum(vf v) { return _mm512_reduce_add_ps(v); }
#elif defined(__AVX2__)
typedef __m256 vmask;
inline vmask less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
inline vmask less_equal(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
inline vmask both(vmask a, vmask b) { return _mm256_and_ps(a, b); }
inline vmask not_second(vmask a, vmask b) { return _mm256_andnot_ps(b, a); }
inline bool any(vmask m) { return _mm256_movemask_ps(m) != 0; }
inline vf select(vmask m, vf yes, vf no) { return _mm256_blendv_ps(no, yes, m); }
inline vf where(vmask m, vf yes) { return _mm256_and_ps(m, yes); }
inline vf max(vf a, vf b) { return _mm256_max_ps(a, b); }
inline vf min(vf a, vf b) { return _mm256_min_ps(a, b); }
inline vf sqrt(vf a) { return _mm256_sqrt_ps(a); }
inline float sum(vf v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
#else
typedef vi vmask;
inline vmask less(vf a, vf b) { return a < b; }
inline vmask less_equal(vf a, vf b) { return a <= b; }
inline vmask both(vmask a, vmask b) { return a & b; }
inline vmask not_second(vmask a, vmask b) { return a & ~b; }
#if defined(__SSE2__)
inline bool any(vmask m) { return _mm_movemask_ps((__m128)m) != 0; }
#elif defined(__aarch64__)
inline bool any(vmask m) { return vmaxvq_u32((uint32x4_t)m) != 0; }
#else
inline bool any(vmask m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
#endif
inline vf select(vmask m, vf yes, vf no) { return (vf)((m & (vi)yes) | (~m & (vi)no)); }
inline vf where(vmask m, vf yes) { return (vf)(m & (vi)yes); }
inline vf max(vf a, vf b) { return select(a > b, a, b); }
inline vf min(vf a, vf b) { return select(a < b, a, b); }
inline vf sqrt(vf a) {
    for (int i = 0; i < W; i++) a[i] = std::sqrt(a[i]);
    return a;
}
inline float sum(vf v) { return (v[0] + v[2]) + (v[1] + v[3]); }
#endif

// Writes sum(v[i]) to out[i], N of them, with the same bits: shuffles that halve several vectors at once.
template <int N>
inline void store_sums(const vf (&v)[N], float *out) {
#if defined(__AVX512F__)
    static_assert(N <= 16);
    const auto eighths = [](vf a, vf b) {  // a's 8 sums of pairs, then b's
        return (vf)_mm512_shuffle_f32x4(a, b, 0x44) + (vf)_mm512_shuffle_f32x4(a, b, 0xEE);
    };
    vf four[4];  // of inputs 4 i .. 4 i + 3, a quarter of the vector each
    for (int i = 0; i < 4; i++) {
        const auto input = [&](int j) { return 4 * i + j < N ? v[4 * i + j < N ? 4 * i + j : 0] : vf{}; };
        if (4 * i >= N) {
            four[i] = vf{};
            continue;
        }
        const vf ab = eighths(input(0), input(1)), cd = 4 * i + 2 < N ? eighths(input(2), input(3)) : vf{};
        four[i] = (vf)_mm512_shuffle_f32x4(ab, cd, 0x88) + (vf)_mm512_shuffle_f32x4(ab, cd, 0xDD);
    }
    const auto halves = [](vf a, vf b) {
        const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
        return (vf)_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)) + (vf)_mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
    };
    const vf p = halves(four[0], four[1]), q = N > 8 ? halves(four[2], four[3]) : vf{};
    const vf all = (vf)_mm512_shuffle_ps(p, q, 0x88) + (vf)_mm512_shuffle_ps(p, q, 0xDD);  // input 4 e + j at 4 j + e
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_mask_storeu_ps(out, (__mmask16)((1u << N) - 1), _mm512_permutexvar_ps(order, all));
#elif defined(__AVX2__)
    const auto quarters = [](vf a, vf b) {
        return (vf)_mm256_permute2f128_ps(a, b, 0x20) + (vf)_mm256_permute2f128_ps(a, b, 0x31);
    };
    const auto halves = [](vf a, vf b) {
        const __m256d x = _mm256_castps_pd(a), y = _mm256_castps_pd(b);
        return (vf)_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)) + (vf)_mm256_castpd_ps(_mm256_unpackhi_pd(x, y));
    };
    int i = 0;
    for (; i + 8 <= N; i += 8) {
        const vf p = halves(quarters(v[i], v[i + 1]), quarters(v[i + 2], v[i + 3]));
        const vf q = halves(quarters(v[i + 4], v[i + 5]), quarters(v[i + 6], v[i + 7]));
        const vf all = (vf)_mm256_shuffle_ps(p, q, 0x88) + (vf)_mm256_shuffle_ps(p, q, 0xDD);
        _mm256_storeu_ps(out + i, _mm256_permutevar8x32_ps(all, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    }
    for (; i < N; i++) out[i] = sum(v[i]);
#else
    for (int i = 0; i < N; i++) out[i] = sum(v[i]);
#endif
}

// 2^x for x in [-126, 127], relative error below 2e-7.
//
// Adding 1.5 * 2^23 leaves round(x) in the low bits of the float, which become the exponent; the remainder in
// [-0.5, 0.5] goes through the degree-6 Taylor-like polynomial of 2^f with coefficients ln(2)^k / k!.
inline vf exp2(vf x) {
    const float magic = 12582912.0f;
    vf shifted = x + magic;
    vf f = x - (shifted - magic);
    vf p = f * 1.5403530e-4f + 1.3333558e-3f;
    p = p * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    return (vf)((vi)p + ((vi)shifted << 23));
}

// log2(x) for normal x > 0, absolute error below 2e-7 near 1.
//
// The mantissa is brought into [sqrt(1/2), sqrt(2)) and goes through ln m = 2 atanh((m - 1) / (m + 1)).
inline vf log2(vf x) {
    vi bits = (vi)x;
    vi exponent = (bits - 0x3F3504F3) >> 23;  // 0x3F3504F3 is sqrt(1/2)
    vf m = (vf)(bits - (exponent << 23));
    vf t = (m - 1.0f) / (m + 1.0f), tt = t * t;
    vf p = tt * 0.32059889f + 0.41219858f;
    p = p * tt + 0.57707802f;
    p = p * tt + 0.96179669f;
    p = p * tt + 2.88539008f;
    return p * t + __builtin_convertvector(exponent, vf);
}

}  // namespace fewview::FEWVIEW_ISA
