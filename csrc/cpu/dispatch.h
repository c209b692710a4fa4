// The choice of a CPU target: once per packed side, outside every loop.
#pragma once

#include <string>
#include <vector>

#include "core/problem.h"

namespace hnscore {

// The target in use: HNSCORE_TARGET where set, else the best this machine supports. Throws std::invalid_argument,
// naming the targets there are, where HNSCORE_TARGET is unknown or unsupported here.
const Target& current_target();

// Chooses a target by name for this process (tests); throws as current_target().
void set_target(const std::string& name);

std::vector<std::string> compiled_targets();
std::vector<std::string> supported_targets();  // best last

}  // namespace hnscore
