// The cosine of two rows, as the contract defines it.
#pragma once

#include <cmath>

#include "core/both.h"

namespace hnscore {

// s = dot / sqrt(n_x n_t), clipped to [-1, 1], from the dot product and the squared norms of two rows, each an exact
// sum rounded once. The root of a rounded square is the number itself, so that equal rows have exactly 1 and opposite
// rows exactly -1. Where n_x n_t leaves the float64 range all three are scaled by powers of two first, which changes no
// bit.
HNSCORE_BOTH double cosine_of(double dot, double n_x, double n_t) {
    double product = n_x * n_t;
    if (!(product >= 0x1p-960 && product <= 0x1p960)) {
        const int e = std::ilogb(n_x) / 2, f = std::ilogb(n_t) / 2;
        product = std::ldexp(n_x, -2 * e) * std::ldexp(n_t, -2 * f);
        dot = std::ldexp(dot, -e - f);
    }
    const double s = dot / std::sqrt(product);
    return s > 1 ? 1 : s < -1 ? -1 : s;
}

}  // namespace hnscore
