// The packed side of a call, as Python holds it.
#pragma once

#include "bindings/bind.h"
#include "bindings/names.h"
#include "cpu/cascade/plan.h"

namespace hnscore {

struct PyColumns {
    pybind11::array array;  // kept alive: exact decisions read it again
    Side<double> origin;
    Columns columns;
};

struct PyPlan {
    Choice choice;
    const Target* target;
    int64_t dim;
    int64_t prefix() const { return choice.plan && choice.plan->basis ? choice.plan->basis->count : dim; }
};

Format format_of(const std::string& similarity, const std::string& precision);

}  // namespace hnscore
