// Lists of pairs for Python.
#include "bindings/bind.h"
#include "lists/lists.h"

namespace py = pybind11;
using hnscore::ListOrder;
using hnscore::without_gil;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class Value>
void sort_lists(const Array<int64_t>& offsets, Array<int64_t>& indices, Array<Value>& values, const std::string& order,
                int n_threads) {
    const hnscore::Lists<Value> lists{offsets.size() - 1, offsets.data(), indices.mutable_data(),
                                      values.mutable_data()};
    if (lists.rows < 0 || indices.size() != values.size() || lists.offsets[0] != 0 ||
        lists.offsets[lists.rows] != indices.size())
        throw std::invalid_argument("offsets, indices and values do not fit together");
    const ListOrder by = order == "index"        ? ListOrder::index
                         : order == "descending" ? ListOrder::descending
                                                 : ListOrder::ascending;
    without_gil(py::none(), [&](const auto& poll) {
        hnscore::sort_lists(lists, by, n_threads, poll);
        return 0;
    });
}

template <class Value>
py::tuple group(const Array<int64_t>& keys, const Array<int64_t>& others, const Array<Value>& values, int64_t n,
                bool both) {
    const int64_t count = keys.size();
    if (others.size() != count || values.size() != count) throw std::invalid_argument("lengths differ");
    for (int64_t e = 0; e < count; ++e)
        if (keys.data()[e] < 0 || keys.data()[e] >= n || (both && (others.data()[e] < 0 || others.data()[e] >= n)))
            throw std::invalid_argument("keys out of range");
    const int64_t total = both ? 2 * count : count;
    Array<int64_t> offsets(n + 1), indices(total);
    Array<Value> grouped(total);
    int64_t *o = offsets.mutable_data(), *i = indices.mutable_data();
    Value* g = grouped.mutable_data();
    without_gil(py::none(), [&](const auto&) {
        hnscore::group(keys.data(), others.data(), values.data(), count, both, n, o, i, g);
        return 0;
    });
    return py::make_tuple(offsets, indices, grouped);
}

template <class Value>
void register_of(py::module_& m) {
    m.def("sort_lists", &sort_lists<Value>, py::arg("offsets").noconvert(), py::arg("indices").noconvert(),
          py::arg("values").noconvert(), py::arg("order"), py::arg("n_threads"));
    m.def("group", &group<Value>, py::arg("keys").noconvert(), py::arg("others").noconvert(),
          py::arg("values").noconvert(), py::arg("n"), py::arg("both") = false);
}

}  // namespace

void register_lists(py::module_& m) {
    register_of<float>(m);
    register_of<double>(m);
}
