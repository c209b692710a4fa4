// What the files of one target share: the shape of its tile. HNSCORE_NS names the namespace that holds its Simd.
#pragma once

#include "cpu/target/target.h"

#define HNSCORE_INLINE inline __attribute__((always_inline))

namespace hnscore {
namespace HNSCORE_NS {

constexpr int kRows = Simd::kRows, kVectors = Simd::kVectors, kLanes = Simd::kLanes, kCols = kVectors * kLanes;

}  // namespace HNSCORE_NS
}  // namespace hnscore
