// NEON with sdot: four products of 8-bit codes added to an int32 lane in one instruction, four times the rate of
// float32. Only the passes of the cascade by codes differ; everything else is neon's.
#include "cpu/target/simd/neon.h"
#define HNSCORE_NS neondot
namespace hnscore::neondot {

// 5 x 3 sums, 4 x 3 vectors of columns and a row's four words are 28 registers of 32. Signed by signed: nothing is
// added to a row's codes.
struct Simd : neon::Simd {
    using Codes = int32x4_t;
    static constexpr int kCodeRows = 5, kCodeVectors = 3, kCodeWords = 4, kCodeOffset = 0, kLargestCode = 127;
    static constexpr double kCodeTile = 1.2 / 16;  // ScreenCosts::screen_dim, reckoned from the instructions
    static inline Codes load_codes(const void* p) { return vld1q_s32(static_cast<const int32_t*>(p)); }
    static inline void add_code_products(Codes sum[3], const char* row, const Codes columns[4][3]) {
        const int8x16_t words = vld1q_s8(reinterpret_cast<const int8_t*>(row));
#pragma GCC unroll 3
        for (int v = 0; v < 3; ++v) {
            sum[v] = vdotq_laneq_s32(sum[v], vreinterpretq_s8_s32(columns[0][v]), words, 0);
            sum[v] = vdotq_laneq_s32(sum[v], vreinterpretq_s8_s32(columns[1][v]), words, 1);
            sum[v] = vdotq_laneq_s32(sum[v], vreinterpretq_s8_s32(columns[2][v]), words, 2);
            sum[v] = vdotq_laneq_s32(sum[v], vreinterpretq_s8_s32(columns[3][v]), words, 3);
        }
    }
    static inline F32 to_f32(Codes sum) { return vcvtq_f32_s32(sum); }

    static constexpr double kCodeProduct = 1.5 / 16;
    static inline int32_t code_products(const int8_t* a, const int8_t* b, int64_t n) {
        int32x4_t sums[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
        for (int64_t k = 0; k < n; k += 64)
#pragma GCC unroll 4
            for (int s = 0; s < 4; ++s)
                sums[s] = vdotq_s32(sums[s], vld1q_s8(a + k + s * 16), vld1q_s8(b + k + s * 16));
        return vaddvq_s32(vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3])));
    }
};

}  // namespace hnscore::neondot
#include "cpu/kernels/codes-inl.h"

namespace hnscore {
namespace neondot {

extern const ScreenKernels kScreenCodes;
const ScreenKernels kScreenCodes = kScreen;

}  // namespace neondot
}  // namespace hnscore
