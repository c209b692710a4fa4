// How a call goes through its pairs: densely, or by a cascade and which. Decided by a cost model on a sample of the
// call's own rows and columns; the same input gives the same plan, for any number of threads.
#pragma once

#include <memory>
#include <string>

#include "cpu/cascade/encode.h"
#include "cpu/engine.h"

namespace hnscore {

struct PlanRequest {
    View rows{}, columns{};
    Format format{};
    Recipe recipe = hinge;
    int64_t k = 1;                      // top recipes
    const double* tau = nullptr;        // as in Rules
    const double* kth_value = nullptr;  // likewise
    const double* floor = nullptr;      // likewise, of pairs
    const double* ceiling = nullptr;    // what no similarity of a row may exceed
    int64_t expected_rows = 0;          // that the plan will serve, the given ones among them
    bool forced = false;                // a cascade even where it does not pay
};

struct Choice {
    std::shared_ptr<const Plan> plan;  // null: dense
    std::string reason;                // of a dense choice
    // Of the sampled pairs: the share that counts, and what each pass is expected to leave. NaN: not looked at.
    double share, kept_first, kept_second;
    double work;  // expected arithmetic relative to dense
};

Choice choose(const PlanRequest& request, int n_threads);

}  // namespace hnscore
