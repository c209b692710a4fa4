// THE tile loops of target amx: 16-row matrix registers instead of vectors. A tile of products is stored to memory, a
// few KiB that never leave the first-level cache, and the epilogue of the recipe works on it from there.
//
// A product takes 16 cycles. In the table of record (benchmarks/results, 2026-11-28: rates beside the peaks of the
// units), whole calls at dim 512 run at 65 % (six products of digits) and 39 % (bf16) of what the unit can do. What it
// takes:
// - Five accumulators in rotation. The sums of one block leave their registers while the next block begins: its first
//   product goes to the fifth register, every later one to a register that was stored just before. Register numbers are
//   part of the instructions, so that the five phases are five copies of a block, and a switch picks one.
// - The epilogue of the last block runs between the products of this one, some rows after each step of the depth: it is
//   vector code, on other ports.
// - One side, a panel of columns of at most kStaying bytes, stays in the first-level cache. The rows stream from the
//   second level by loads that do not push it out. The next panel is fetched from the third level, some lines with
//   every block: that level gives 8 bytes a cycle.
#pragma once

#include "cpu/kernels/amx/digits-inl.h"
#include "cpu/kernels/amx/screen-inl.h"
#include "cpu/kernels/codes-avx512-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

template <int recipe, bool kFiltered>
void digits(const TileBlock& b) {
    run_digits(b, amx::kDigitStages[kFiltered][recipe]);
}
template <int recipe, bool kFiltered>
void bf16(const TileBlock& b) {
    run_bf16(b, amx::kBf16Stages[kFiltered][recipe]);
}

// Rows of 768 KiB, or 1 MiB, stay in a second-level cache of 2 MiB.
constexpr Kernels kDigitKernels = {
    .operand = &amx::kDigits,
    .rows = 16,
    .cols = 16,
    .lanes = 16,
    .most_tiles = 64,
    .most_bytes = 768 * 1024,
    .scratch_per_tile = 3,
    .plain =
        {
#define HNSCORE_RECIPE(name, ...) digits<name, false>,
#include "recipes/recipes.def"
        },
    .filtered =
        {
#define HNSCORE_RECIPE(name, ...) digits<name, true>,
#include "recipes/recipes.def"
        },
};
constexpr Kernels kBf16Kernels = {
    .operand = &amx::kBf16Tiles,
    .rows = 32,
    .cols = 32,
    .lanes = 16,
    .most_tiles = 32,
    .most_bytes = 1024 * 1024,
    .scratch_per_tile = 0,
    .plain =
        {
#define HNSCORE_RECIPE(name, ...) bf16<name, false>,
#include "recipes/recipes.def"
        },
    .filtered =
        {
#define HNSCORE_RECIPE(name, ...) bf16<name, true>,
#include "recipes/recipes.def"
        },
};

// All values always: a prefix on a basis of 128 would cost half of this and leave ten times the pairs, at 110 each.
constexpr ScreenKernels kScreenKernels = {
    .rows = 32,
    .cols = 32,
    .row_words = 16,
    .code_bytes = 1,
    .depth_step = 64,
    .row_offset = 0,
    .second_offset = 0,
    .has_basis = false,
    .refines = false,
    .by_column = true,
    .typical_error = 0.0062f,
    .second_error = 0,
    .encode = encode_int8,
    .encode_int8 = nullptr,
    .sums = screen_sums,
    .top = run_screen<Screening::top>,
    .list = nullptr,
    .refine = nullptr,
    .costs = {.dense_dim = 0.008,
              .dense_pair = 0.4,
              .screen_dim = 0.0012,
              .screen_pair = 0.15,
              .refine_dim = 0,
              .refine_pair = 0,
              .exact_dim = 0.15,
              .exact_pair = 40,
              .project_dim = 0,
              .encode_dim = 2},
};

}  // namespace HNSCORE_NS
}  // namespace hnscore
