// Embeddings in device memory, as host and device see them.
#pragma once

#include "core/rules.h"
#include "core/view.h"

namespace hnscore::gpu {

// Row i of the call is row pick[i] of the view, or row i.
struct Rows {
    View view;
    const int64_t* pick;
    int64_t count;
};

using Rules = RulesOf<int64_t>;

// What rows are packed as.
enum class Operand : int { half, bf16, single };

constexpr int64_t operand_bytes(Operand o) { return o == Operand::single ? 4 : 2; }

}  // namespace hnscore::gpu
