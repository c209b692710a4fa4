// Which pairs count beside the threshold, for every engine. Each rule is a pointer, null where there is none; i is the
// row of the call, j the column. To add one: a pointer here, its line in `verdict`, its array in the two bindings.
#pragma once

#include <cstdint>

#include "core/both.h"

namespace hnscore {

enum class Verdict { excluded, counts, open };

// Label: the integers that groups and owners are given as.
template <class Label>
struct RulesOf {
    const double* max_similarity = nullptr;  // s <= that of the column, or of the row
    bool max_similarity_of_rows = false;
    const Label *row_group = nullptr, *col_group = nullptr;  // equal ones never count
    bool negative_groups_differ = false;  // one side is signed, the other is not: equal bits are then no equal labels
    const Label *row_owner = nullptr, *col_owner = nullptr;  // equal ones never count; columns without are their own
    const double* kth_value = nullptr;                       // s > kth_value_j, or equal and i <= kth_row_j
    const int64_t* kth_row = nullptr;
    const double* skip_value = nullptr;  // s < skip_value_j, or equal and i > skip_row_j
    const int64_t* skip_row = nullptr;

    HNSCORE_BOTH bool filtered() const { return max_similarity || row_group || row_owner || ranked(); }
    // Whether pairs count by their rank in a column.
    HNSCORE_BOTH bool ranked() const { return kth_value || skip_value; }

    HNSCORE_BOTH bool excluded(int64_t i, int64_t j) const {
        if (row_owner && row_owner[i] == (col_owner ? col_owner[j] : static_cast<Label>(j))) return true;
        return row_group && row_group[i] == col_group[j] && !(negative_groups_differ && row_group[i] < 0);
    }

    // Of a pair whose similarity is known within `error`.
    HNSCORE_BOTH Verdict verdict(int64_t i, int64_t j, double s, double error) const {
        if (excluded(i, j)) return Verdict::excluded;
        if (max_similarity) {
            const double most = max_similarity[max_similarity_of_rows ? i : j];
            if (s - error > most) return Verdict::excluded;
            if (!(s + error <= most)) return Verdict::open;
        }
        if (skip_value) {
            const double most = skip_value[j];
            if (s - error > most) return Verdict::excluded;
            if (!(s + error < most)) {
                if (error > 0 || s != s) return Verdict::open;
                if (i <= skip_row[j]) return Verdict::excluded;
            }
        }
        if (kth_value) {
            const double least = kth_value[j];
            if (s + error < least) return Verdict::excluded;
            if (s - error > least) return Verdict::counts;
            if (error > 0 || s != s) return Verdict::open;
            return i <= kth_row[j] ? Verdict::counts : Verdict::excluded;
        }
        return Verdict::counts;
    }
};

}  // namespace hnscore
