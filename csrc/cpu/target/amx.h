// What the files of target amx and of its emulation share. The loops over tiles are compiled for each; what becomes of
// a stored tile, and how rows are packed, once.
#pragma once

#include "cpu/target/target.h"

namespace hnscore::amx {

// Sums of products as the tiles store them, in int32 or float32: [32][32], or of digits [level][16][16].
struct alignas(64) TileArea {
    int32_t value[32 * 32];
};
// What the rows of a tile leave to those after them: whether pairs must be handed on, sums of columns.
struct alignas(64) Carry {
    float column[32];
    uint32_t any;
};
// Rows [from, to) of a stored tile, in order; the last of them end it.
using Stage = void (*)(const TileBlock& b, const TileArea& area, int tile, int panel, int from, int to, Carry& carry);

// By recipe; the second of each with filters.
extern const Stage kDigitStages[2][kRecipes], kBf16Stages[2][kRecipes];

// Three 8-bit digits of a 24-bit number: rows [depth / 64][level][row][64], columns [depth / 64][level][16][column][4].
extern const TileFormat kDigits;
// Rows [depth / 32][row][32], columns [depth / 2][column][2].
extern const TileFormat kBf16Tiles;

}  // namespace hnscore::amx
