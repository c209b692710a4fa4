// What an x86 processor can do, and the system lets it: read from CPUID, so that it needs no compiler's run-time
// library.
#pragma once

#if defined(__x86_64__)
#include <string>

namespace hnscore::processor {

// The names that CPUID's documentation gives the sets of instructions.
enum class Set {
    avx2,
    fma,
    bmi2,
    f16c,
    avx512f,
    avx512bw,
    avx512dq,
    avx512vl,
    avx512cd,
    avx512_vbmi2,
    avx512_vnni,
    avx512_bf16,
    amx_tile,
    amx_int8,
    amx_bf16
};

// The processor has the instructions, and the system keeps their registers.
bool has(Set set);

bool is_intel();

// The matrix registers are at least 8 of 16 rows of 64 bytes, which is palette 1.
bool has_palette();

}  // namespace hnscore::processor
#endif
