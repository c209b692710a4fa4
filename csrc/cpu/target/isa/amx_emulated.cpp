// Target amx with its matrix registers emulated, for tests on any machine with AVX-512.
#include "cpu/target/simd/avx512.h"
#define HNSCORE_NS amx_emulated
#define HNSCORE_EMULATE_AMX
namespace hnscore::amx_emulated {
using Simd = avx512::Simd;
}
#include "cpu/kernels/amx/tables-inl.h"

namespace hnscore::amx_emulated {

extern const Kernels kExact, kRounded;
const Kernels kExact = kDigitKernels, kRounded = kBf16Kernels;
extern const ScreenKernels kScreen;
const ScreenKernels kScreen = kScreenKernels;
extern const Burst kInt8Burst, kBf16Burst;
const Burst kInt8Burst = tile_burst<Int8Products>, kBf16Burst = tile_burst<Bf16Products>;

}  // namespace hnscore::amx_emulated
