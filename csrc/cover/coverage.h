// Facility location: how much a candidate c would add to what covers the points,
//
//     gain(c) = sum_x weight(x) max(k(x, c) - floor(x), 0),    k(x, c) = exp((s(x, c) - 1) / temperature)
//
// in float64, summed over the points by blocks that depend on nothing but their number.
#pragma once

#include <vector>

#include "core/team.h"
#include "cpu/target/target.h"

namespace hnscore {

struct Coverage {
    View rows, points;  // finite, not zero
    const Target* target = nullptr;
    const int64_t* candidates = nullptr;  // of the rows
    int64_t count = 0;
    double temperature = 1;
    bool cosine = false;  // k(x, c) = max(s(x, c), 0) instead
};

// `floor` is null where nothing covers a point yet, `weights` where all are 1.
void coverage_gains(const Coverage& coverage, const double* weights, const double* floor, double* gains, int n_threads,
                    const Poll& poll);

// floor(x) = max(floor(x), k(x, c)) for all candidates c.
void raise_floor(const Coverage& coverage, double* floor, int n_threads, const Poll& poll);

// kernels[r][x] = k(x, rows[r]), for the points that are given and at most kMostRows rows: the same bits for each row,
// whatever others there are.
constexpr size_t kMostRows = 48;
void exact_kernels(const Coverage& coverage, const std::vector<int64_t>& rows, const std::vector<int64_t>& points,
                   const std::vector<double*>& kernels, int n_threads, const Poll& poll);

}  // namespace hnscore
