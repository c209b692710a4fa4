// What the core asks of the operating system: the one place where Linux, macOS and Windows differ (system.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace hnscore::system {

// Memory that is not initialised, of a power of two as alignment; nullptr where there is none. With huge pages where
// the alignment is theirs, kHugePage, and the system has them.
inline constexpr int64_t kHugePage = 2 << 20;
void* allocate(int64_t bytes, int64_t alignment);
void free(void* memory);

// Addresses without memory; nullptr where there are none.
void* reserve(size_t bytes);
void release(void* addresses, size_t bytes);

// The processors that this process may use.
int available_processors();

// A mapped file that is cut short while it is read ends the process by SIGBUS: it then says so and exits with 2.
// Windows has no such signal.
void exit_on_bus_error(const std::string& message);

// Whether an Arm processor has FEAT_DotProd, instructions for products of 8-bit numbers.
bool has_dot_products();

// Asks for AMX's registers, once; why they were refused, or empty.
const std::string& request_matrix_registers();

}  // namespace hnscore::system
