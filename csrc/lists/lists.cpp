#include "lists/lists.h"

#include <algorithm>
#include <atomic>
#include <tuple>
#include <utility>
#include <vector>

#include "cpu/rows/rows.h"

namespace hnscore {

template <class Value>
void sort_lists(const Lists<Value>& lists, ListOrder order, int n_threads, const Poll& poll) {
    constexpr int64_t kStep = 256;  // lists
    using Element = std::pair<int64_t, Value>;
    const auto before = [order](const Element& a, const Element& b) {
        if (order == ListOrder::index || a.second == b.second) return a.first < b.first;
        return order == ListOrder::descending ? a.second > b.second : a.second < b.second;
    };
    const int64_t steps = (lists.rows + kStep - 1) / kStep;
    std::atomic<int64_t> next{0};
    const double operations = 40.0 * static_cast<double>(lists.rows > 0 ? lists.offsets[lists.rows] : 0);
    Team team(useful_threads(n_threads, steps, operations), steps, poll);
    team.run([&](int worker) {
        std::vector<Element> list;
        for (int64_t first; (first = next.fetch_add(kStep)) < lists.rows;) {
            for (int64_t i = first; i < std::min(lists.rows, first + kStep); ++i) {
                const int64_t start = lists.offsets[i], count = lists.offsets[i + 1] - start;
                list.clear();
                for (int64_t e = start; e < start + count; ++e) list.emplace_back(lists.indices[e], lists.values[e]);
                if (std::is_sorted(list.begin(), list.end(), before)) continue;
                std::sort(list.begin(), list.end(), before);
                for (int64_t e = 0; e < count; ++e)
                    std::tie(lists.indices[start + e], lists.values[start + e]) = list[static_cast<size_t>(e)];
            }
            if (!team.advance(worker, 1)) return;
        }
    });
}

template <class Value>
void group(const int64_t* keys, const int64_t* others, const Value* values, int64_t count, bool both, int64_t n,
           int64_t* offsets, int64_t* indices, Value* grouped) {
    std::fill(offsets, offsets + n + 1, 0);
    for (int64_t e = 0; e < count; ++e) {
        ++offsets[keys[e] + 1];
        if (both) ++offsets[others[e] + 1];
    }
    for (int64_t i = 0; i < n; ++i) offsets[i + 1] += offsets[i];
    std::vector<int64_t> at(offsets, offsets + n);
    const auto put = [&](int64_t to, int64_t other, Value value) {
        const int64_t e = at[static_cast<size_t>(to)]++;
        indices[e] = other;
        grouped[e] = value;
    };
    for (int64_t e = 0; e < count; ++e) {
        put(keys[e], others[e], values[e]);
        if (both) put(others[e], keys[e], values[e]);
    }
}

#define HNSCORE_LISTS(Value)                                                                                      \
    template void sort_lists(const Lists<Value>&, ListOrder, int, const Poll&);                                   \
    template void group(const int64_t*, const int64_t*, const Value*, int64_t, bool, int64_t, int64_t*, int64_t*, \
                        Value*);
HNSCORE_LISTS(float)
HNSCORE_LISTS(double)

}  // namespace hnscore
