// The table of kernels: an entry for each mainloop, operand and epilogue. A file in archs/ holds those of one mainloop
// and operand, since each takes seconds to compile.
#pragma once

#include <stdexcept>
#include <type_traits>

#include "cuda/device/runtime.h"
#include "cuda/epilogue/epilogue.h"
#include "cuda/tiles/work.h"
#include "recipes/recipe.h"

namespace hnscore::gpu {

// What becomes of the tiles: a recipe's sum; a count whose band is decided; all that may count is decided; the k
// largest; all that count, one by one.
enum class Pass : int { sum, exact_count, screen, top, list };

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

using Start = void (*)(Pass pass, Recipe recipe, const Launch& launch, const Problem& p);
void start_simt(Pass pass, Recipe recipe, const Launch& launch, const Problem& p);
void start_mma_half(Pass pass, Recipe recipe, const Launch& launch, const Problem& p);
void start_mma_bf16(Pass pass, Recipe recipe, const Launch& launch, const Problem& p);
void start_wgmma_half(Pass pass, Recipe recipe, const Launch& launch, const Problem& p);
void start_wgmma_bf16(Pass pass, Recipe recipe, const Launch& launch, const Problem& p);

// The kernel of a sum, of a recipe that a GPU has one for.
template <class Table>
struct StartSum {
    const Table& table;

    template <class Epilogue>
    void epilogue() const {
        if constexpr (Epilogue::kKind == Aggregate::sum && Epilogue::Term::kOnGpu)
            table.template rounded<typename Epilogue::Term>();
        else
            throw std::invalid_argument("a GPU has no kernel for this recipe");
    }
};

// Starts one of the kernels of a table. Exact counts have float16 or float32 operands.
template <class Table>
void start_in(const Table& table, Pass pass, Recipe recipe) {
    switch (pass) {
        case Pass::sum:
            return with_epilogue(recipe, StartSum<Table>{table});
        case Pass::exact_count:
            return table.exact_count();
        case Pass::screen:
            return table.screen();
        case Pass::top:
            return table.top();
        case Pass::list:
            return table.list();
    }
}

extern const Shape kSimt, kMma, kWgmma;

}  // namespace hnscore::gpu
