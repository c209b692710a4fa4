// Exact sums of products: the arithmetic that decides every pair near its threshold.
//
// A sum is first formed as an unevaluated pair hi + lo with a bound on what is missing (Target::dot_pair).
// If every number within that bound rounds to the same float64, that number is the answer (Ziv's test);
// otherwise the sum is formed in a fixed-point accumulator as wide as the whole float64 product range.
#pragma once

#include <cstdint>

namespace hnscore {

// hi + lo = sum of products within (n + 16) * 2^-51 * magnitude, where magnitude is the sum of the |rounding errors|
// that lo collected: 0 when hi is already exact, infinite when a product underflowed and its error is lost.
struct PairSum {
    double hi, lo, magnitude;
};

// The exact sum of a[k] * b[k], rounded once to float64. Overflow gives an infinity, as in float64.
double exact_dot_wide(const double* a, const double* b, int64_t n);

// Rounds `sum`, which approximates the same dot product, and falls back on exact_dot_wide where it must.
double round_pair_sum(const PairSum& sum, const double* a, const double* b, int64_t n);

}  // namespace hnscore
