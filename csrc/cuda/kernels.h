// The table of kernels: an entry for each mainloop, operand and epilogue. A file in archs/ holds those of one mainloop
// and operand, since each takes seconds to compile.
#pragma once

#include <type_traits>

#include "cuda/epilogue.h"
#include "cuda/runtime.h"
#include "cuda/work.h"

namespace hnscore::gpu {

// Epilogues: the weights of a sum; a count whose band is decided; all that may count is decided; the k largest.
enum class Kind : int { count, hinge, squared_hinge, similarity, exp, exact_count, screen, top };

// Sums of rounded operands, whatever acc says.
template <class Weight>
struct Rounded {
    template <int RM, int NB>
    using Epilogue = Sum<Weight, false, false, RM, NB>;
};
// Sums of float32 operands, where pairs within the band are decided.
template <class Weight>
struct Accurate {
    template <int RM, int NB>
    using Epilogue = Sum<Weight, true, true, RM, NB>;
};
template <int RM, int NB>
using ExactCount = Sum<Count, true, false, RM, NB>;

using Start = void (*)(Kind kind, const Launch& launch, const Problem& p);
void start_simt(Kind kind, const Launch& launch, const Problem& p);
void start_mma_half(Kind kind, const Launch& launch, const Problem& p);
void start_mma_bf16(Kind kind, const Launch& launch, const Problem& p);
void start_wgmma_half(Kind kind, const Launch& launch, const Problem& p);
void start_wgmma_bf16(Kind kind, const Launch& launch, const Problem& p);

// Starts one of the kernels of a table by its kind. Exact counts have float16 or float32 operands.
template <class Table>
void start_by_kind(Kind kind, const Table& table) {
    switch (kind) {
        case Kind::count:
            return table.template rounded<Count>();
        case Kind::hinge:
            return table.template rounded<Hinge>();
        case Kind::squared_hinge:
            return table.template rounded<SquaredHinge>();
        case Kind::similarity:
            return table.template rounded<Similarity>();
        case Kind::exp:
            return table.template rounded<Exp>();
        case Kind::exact_count:
            return table.exact_count();
        case Kind::screen:
            return table.screen();
        case Kind::top:
            return table.top();
    }
}

extern const Shape kSimt, kMma, kWgmma;

}  // namespace hnscore::gpu
