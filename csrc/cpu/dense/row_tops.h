// The largest keys of the rows of a block.
#pragma once

#include "cpu/dense/pair_test.h"
#include "cpu/dense/top.h"
#include "recipes/recipe.h"

namespace hnscore {

class RowTops {
  public:
    RowTops(PairTest& test, const ColumnLimits& limits, int64_t size)
        : test_(test), job_(test.job), limits_(limits), tops_(static_cast<size_t>(size)) {}

    void reset(int64_t i, float least) {
        tops_[static_cast<size_t>(i)].reset(job_.k, std::isnan(least) ? -HUGE_VALF : least);
    }
    // A pair whose similarity is off by at most `error`; whether it counts for sure. The row's least key that is
    // wanted.
    float push(int64_t i, int64_t j, double s, double error, bool sure) {
        const double key = job_.recipe == top_gap ? s - test_.tau_of(j) : s, m = test_.m_of(i);
        return push(
            i, {0, bound((key - error) * m, -1), bound((key + error) * m, 1), static_cast<int32_t>(j), 0, false}, sure);
    }
    // The same of a float32 product.
    float push(int64_t i, int64_t j, float acc, bool sure) {
        const RowLimits& own = test_.own;
        const bool gap = job_.recipe == top_gap;
        const double x = gap ? acc - static_cast<double>(own.scale[i]) * static_cast<double>(limits_.tau[j]) : acc;
        const double scale = limits_.scale[j], band = static_cast<double>(own.band[i]) * limits_.band[j];
        return push(
            i, {0, bound((x - band) * scale, -1), bound((x + band) * scale, 1), static_cast<int32_t>(j), acc, false},
            sure && test_.columns.format.precision == Precision::exact);
    }

    void finish(int64_t i) {
        TopRow& top = tops_[static_cast<size_t>(i)];
        top.finish([&](TopRow::Entry& e) { return decide(i, e); });
        const auto& entries = top.entries();
        const int64_t row = test_.first + i, found = static_cast<int64_t>(entries.size());
        if (job_.rank_weights != nullptr) {
            double sum = 0;
            for (int64_t r = 0; r < found; ++r) {
                const double key = entries[static_cast<size_t>(r)].key;
                sum += job_.rank_weights[r] * weight_of(job_.weight, key, key, job_.temperature);
            }
            job_.values[row] = sum;
            return;
        }
        for (int64_t r = 0; r < job_.k; ++r) {
            job_.values[row * job_.k + r] = r < found ? entries[static_cast<size_t>(r)].key : -HUGE_VAL;
            job_.entries[row * job_.k + r] = r < found ? entries[static_cast<size_t>(r)].col : -1;
        }
    }

  private:
    // Bounds serve where the pair surely counts; NaN bounds never do.
    float push(int64_t i, TopRow::Entry e, bool sure) {
        TopRow& top = tops_[static_cast<size_t>(i)];
        const auto decide_entry = [&](TopRow::Entry& entry) { return decide(i, entry); };
        if ((sure && e.lower <= e.upper) || decide_entry(e)) top.push(e, decide_entry);
        return top.least();
    }
    bool decide(int64_t i, TopRow::Entry& e) {
        const double s = test_.similarity_of(i, e.col, e.acc);
        if (!test_.counts(i, e.col, s)) return false;
        e.key = job_.recipe == top_gap ? s - test_.tau_of(e.col) : s;
        if (job_.rules.floor && !(e.key > job_.rules.floor[test_.first + i])) return false;
        const double in_row_units = e.key * test_.m_of(i);
        e.lower = bound(in_row_units, -1);
        e.upper = bound(in_row_units, 1);
        e.decided = true;
        return true;
    }
    // A float32 surely below (side -1) or above (+1) x and its float32 neighbours by rounding.
    static float bound(double x, int side) { return static_cast<float>(x + side * (std::abs(x) * 0x1p-20 + 0x1p-120)); }

    PairTest& test_;
    const Job& job_;
    const ColumnLimits& limits_;
    std::vector<TopRow> tops_;
};

}  // namespace hnscore
