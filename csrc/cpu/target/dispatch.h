// The choice of a CPU target: once per packed side, outside every loop.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cpu/target/target.h"

namespace hnscore {

// The target in use: HNSCORE_TARGET where set, else the best this machine supports. Throws std::invalid_argument,
// naming what is missing and the targets there are, where HNSCORE_TARGET is unknown or unsupported here. The first call
// asks the system for what must be asked for (AMX).
const Target& current_target();

// Why that one.
std::string target_reason();

// Chooses a target by name for this process (tests); throws as current_target().
void set_target(const std::string& name);

std::vector<std::string> compiled_targets();
std::vector<std::string> supported_targets();                        // best last
std::vector<std::string> emulated_targets();                         // for tests
std::vector<std::pair<std::string, std::string>> missing_targets();  // those that cannot be used here, and why

}  // namespace hnscore
