// Target amx with its matrix registers emulated, for tests on any machine with AVX-512.
#include "cpu/simd/avx512.h"
#define HNSCORE_NS amx_emulated
#define HNSCORE_EMULATE_AMX
namespace hnscore::amx_emulated {
using Simd = avx512::Simd;
}
#include "cpu/amx-inl.h"

namespace hnscore::amx_emulated {

extern const Kernels kExact, kRounded;
const Kernels kExact = kDigitKernels, kRounded = kBf16Kernels;
extern const ScreenKernels kScreen;
const ScreenKernels kScreen = kScreenKernels;

}  // namespace hnscore::amx_emulated
