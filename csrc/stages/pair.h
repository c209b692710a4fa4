// What one pair weighs, in float64: for pairs that are decided one by one.
#pragma once

#include <cmath>

#include "core/both.h"
#include "core/problem.h"

namespace hnscore {

// w = g(gap)
HNSCORE_BOTH double weight_of(Recipe weight, double s, double gap, double temperature) {
    if (weight == similarity) return s;  // of both signs, which may cancel
    double value = 1;
    if (weight == hinge) value = gap;
    if (weight == squared_hinge) value = gap * gap;
    if (weight == exp) value = std::exp(gap / temperature);
    if (weight == kernel) value = std::exp((s - 1) / temperature);
    return std::isinf(static_cast<float>(value)) ? HUGE_VAL : value;  // float32 has no such weight
}

}  // namespace hnscore
