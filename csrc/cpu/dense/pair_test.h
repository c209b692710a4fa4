// Whether pairs of a row block count, decided one by one: what the kernels leave open.
#pragma once

#include <cmath>
#include <limits>

#include "cpu/dense/row_limits.h"

namespace hnscore {

// i: a row of the block that begins at row `first` of the call; j: a column.
struct PairTest {
    PairTest(const Job& of, const RowLimits& own_limits)
        : job(of),
          columns(*of.columns),
          own(own_limits),
          rows(columns.format, of.rows),
          texts(columns.format, columns.view) {}

    double m_of(int64_t i) const { return own.m[static_cast<size_t>(i)]; }
    double tau_of(int64_t j) const {
        return job.rules.tau ? job.rules.tau[j] : -std::numeric_limits<double>::infinity();
    }
    double floor_of(int64_t i) const {
        return job.rules.floor ? job.rules.floor[first + i] : -std::numeric_limits<double>::infinity();
    }
    double similarity_of(int64_t i, int64_t j, float acc) {
        if (columns.format.precision != Precision::exact)
            return static_cast<double>(acc) / (m_of(i) * columns.packed_m(j));
        return exact_similarity(i, j);
    }
    double exact_similarity(int64_t i, int64_t j) { return rows.exact_similarity(first + i, texts, j); }
    // The contract's own words: whether the pair counts.
    bool counts(int64_t i, int64_t j, double s) const {
        const Rules& r = job.rules;
        return (!r.tau || s - r.tau[j] > 0) && (!job.lists || s > floor_of(i)) &&
               r.verdict(first + i, j, s, 0) == Verdict::counts;
    }
    // Whether a similarity that is off by at most `error` decides it as well.
    bool clear_of_limits(int64_t i, int64_t j, double s, double error) const {
        return std::abs(s - tau_of(j)) > error &&  // false for NaN
               (!job.lists || std::abs(s - floor_of(i)) > error) &&
               job.rules.verdict(first + i, j, s, error) != Verdict::open;
    }

    const Job& job;
    const Columns& columns;
    const RowLimits& own;
    RowReader rows, texts;
    int64_t first = 0;
};

}  // namespace hnscore
