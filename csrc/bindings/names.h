// Options that come as names.
#pragma once

#include <stdexcept>
#include <string>

namespace hnscore {

// The number of a name among these.
template <class Names>
int index_of(const Names& names, const std::string& name, const char* what) {
    int i = 0;
    for (const char* known : names) {
        if (name == known) return i;
        ++i;
    }
    throw std::invalid_argument(std::string(what) + " '" + name + "' is unknown to the core");
}

}  // namespace hnscore
