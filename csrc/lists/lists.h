// Lists of pairs put in another order: in bulk, what NumPy would need several sorts and copies for.
#pragma once

#include <cstdint>

#include "core/team.h"

namespace hnscore {

// Lists: those of row i are the elements from offsets[i] to offsets[i + 1]. Value: float or double.
template <class Value>
struct Lists {
    int64_t rows;
    const int64_t* offsets;
    int64_t* indices;
    Value* values;
};

enum class ListOrder { index, descending, ascending };  // of values, ties to the lowest index

// Sorts every list, in place.
template <class Value>
void sort_lists(const Lists<Value>& lists, ListOrder order, int n_threads, const Poll& poll);

// The lists of `n` keys: element e goes to the list of keys[e] as (others[e], values[e]), and with `both` to that of
// others[e] as (keys[e], values[e]) too. Within a list elements keep their order. offsets: n + 1 values.
template <class Value>
void group(const int64_t* keys, const int64_t* others, const Value* values, int64_t count, bool both, int64_t n,
           int64_t* offsets, int64_t* indices, Value* grouped);

}  // namespace hnscore
