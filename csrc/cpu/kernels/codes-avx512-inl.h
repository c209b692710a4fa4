// Rows as 8-bit codes, with AVX-512.
#pragma once

#include <immintrin.h>

#include "cpu/kernels/common-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

// q = round(y / unit), unit = max|y| / 127. Each residual is rounded by at most 2^-24 (1 + 1/127) max|y|, the sums of
// squares by less than 2.5e-4 of themselves up to n = 65536.
inline Code encode_int8(const float* y, int64_t n, void* codes) {
    __m512 largest = _mm512_setzero_ps();
    for (int64_t k = 0; k < n; k += 16) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(y + k)));
    const float most = __builtin_fmaxf(_mm512_reduce_max_ps(largest), 0x1p-40f);
    const __m512 unit = _mm512_set1_ps(most / 127.0f), inverse = _mm512_set1_ps(127.0f / most);
    const __m512i limit = _mm512_set1_epi32(127);
    __m512 error = _mm512_setzero_ps(), size = error, norm = error;
    __m512i sum = _mm512_setzero_si512();
    for (int64_t k = 0; k < n; k += 16) {
        const __m512 v = _mm512_loadu_ps(y + k);
        __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, inverse));
        q = _mm512_max_epi32(_mm512_min_epi32(q, limit), _mm512_sub_epi32(_mm512_setzero_si512(), limit));
        const __m512 read = _mm512_mul_ps(_mm512_cvtepi32_ps(q), unit), lost = _mm512_sub_ps(v, read);
        error = _mm512_fmadd_ps(lost, lost, error);
        size = _mm512_fmadd_ps(read, read, size);
        norm = _mm512_fmadd_ps(v, v, norm);
        sum = _mm512_add_epi32(sum, q);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(static_cast<int8_t*>(codes) + k), _mm512_cvtepi32_epi8(q));
    }
    Code c;
    c.unit = most / 127.0f;
    c.norm = __builtin_sqrtf(_mm512_reduce_add_ps(norm));
    c.size = __builtin_sqrtf(_mm512_reduce_add_ps(size)) * 1.0005f;
    c.error = __builtin_sqrtf(_mm512_reduce_add_ps(error)) * 1.0005f +
              __builtin_sqrtf(static_cast<float>(n)) * 0x1.1p-24f * most;
    c.sum = _mm512_reduce_add_epi32(sum);
    return c;
}

}  // namespace HNSCORE_NS
}  // namespace hnscore
