// What one pair weighs, in float64: for pairs that are decided one by one.
#pragma once

#include <cmath>

#include "core/both.h"
#include "core/problem.h"

namespace hnscore {

// w = g(gap)
HNSCORE_BOTH double weight_of(Recipe weight, double s, double gap, double temperature) {
    double value = s;
    if (weight == count) value = 1;
    if (weight == hinge) value = gap;
    if (weight == squared_hinge) value = gap * gap;
    if (weight == exp) value = std::exp(gap / temperature);
    if (weight == kernel) value = std::exp((s - 1) / temperature);
    // Beyond float32 a weight is infinite; but similarities of both signs may cancel.
    return weight != similarity && std::isinf(static_cast<float>(value)) ? HUGE_VAL : value;
}

}  // namespace hnscore
