// The loops of target amx on emulated registers, against plain sums: every pair of every tile is handed to its epilogue
// once, with its own products, rows in order, whatever the numbers of tiles, panels and steps.
#define HNSCORE_NS amx_emulated
#define HNSCORE_EMULATE_AMX
#include "cpu/target/simd/avx512.h"
namespace hnscore::amx_emulated {
using Simd = avx512::Simd;
}
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cpu/kernels/amx/tables-inl.h"

using namespace hnscore;
using namespace hnscore::amx_emulated;

namespace hnscore::amx {
const Stage kDigitStages[2][kRecipes] = {}, kBf16Stages[2][kRecipes] = {};
const TileFormat kDigits = {}, kBf16Tiles = {};
}  // namespace hnscore::amx

namespace {

std::mt19937 random_bits(1);

void fail(const char* what, int tile, int panel, int row, int column) {
    std::printf("%s: tile %d panel %d row %d column %d\n", what, tile, panel, row, column);
    std::exit(1);
}

template <class T>
T* aligned(int64_t count) {
    return static_cast<T*>(std::aligned_alloc(64, static_cast<size_t>((count * sizeof(T) + 127) / 64 * 64)));
}

// What an epilogue is to find: expected[tile][panel][level][row][column], and how many rows it has seen.
struct Expected {
    int rows, columns, levels;
    std::vector<int32_t> sums;
    std::vector<int> seen;
    int panels;
    int64_t at(int tile, int panel) const { return static_cast<int64_t>(tile) * panels + panel; }
} expected;

void compare(const TileBlock&, const TileArea& area, int tile, int panel, int from, int to, Carry&) {
    const int64_t at = expected.at(tile, panel);
    int& seen = expected.seen[static_cast<size_t>(at)];
    if (from != seen || to <= from) fail("rows are not in order", tile, panel, from, seen);
    seen = to;
    const int size = expected.rows * expected.columns;
    for (int l = 0; l < expected.levels; ++l)
        for (int r = from; r < to; ++r)
            for (int c = 0; c < expected.columns; ++c) {
                const int i = l * size + r * expected.columns + c;
                if (area.value[i] != expected.sums[static_cast<size_t>(at * expected.levels * size + i)])
                    fail("another sum", tile, panel, r, c);
            }
}

void all_seen(int tiles) {
    for (int t = 0; t < tiles; ++t)
        for (int p = 0; p < expected.panels; ++p)
            if (expected.seen[static_cast<size_t>(expected.at(t, p))] != expected.rows) fail("not seen", t, p, 0, 0);
}

int digit() { return static_cast<int>(random_bits() % 256) - 128; }

void check_digits(int tiles, int panels, int steps, bool fine) {
    const int depth = steps * 64;
    const int64_t bytes = steps * kDigitStep;
    auto* rows = aligned<int8_t>(tiles * bytes);
    auto* cols = aligned<int8_t>((panels + 1) * bytes);
    for (int64_t i = 0; i < tiles * bytes; ++i) rows[i] = static_cast<int8_t>(digit());
    for (int64_t i = 0; i < panels * bytes; ++i) cols[i] = static_cast<int8_t>(digit());
    auto* scratch = aligned<float>((3 + tiles * 3) * 256);
    auto *row_spread = aligned<float>(tiles * 16), *col_spread = aligned<float>(panels * 16);
    for (int i = 0; i < tiles * 16; ++i) row_spread[i] = fine && random_bits() % 20 == 0 ? 2.0f : 0.5f;
    for (int i = 0; i < panels * 16; ++i) col_spread[i] = 1;
    const auto row_digit = [&](int t, int l, int r, int k) {
        return int64_t{rows[t * bytes + k / 64 * kDigitStep + l * 1024 + r * 64 + k % 64]};
    };
    const auto col_digit = [&](int p, int l, int c, int k) {
        return int64_t{cols[p * bytes + k / 64 * kDigitStep + l * 1024 + k % 64 / 4 * 64 + c * 4 + k % 4]};
    };
    expected = {16, 16, 3, {}, std::vector<int>(static_cast<size_t>(tiles * panels)), panels};
    for (int t = 0; t < tiles; ++t)
        for (int p = 0; p < panels; ++p) {
            std::vector<int64_t> sums(4 * 256);
            for (int a = 0; a < 3; ++a)
                for (int b = 0; b < 3; ++b)
                    for (int r = 0; r < 16; ++r)
                        for (int c = 0; c < 16; ++c)
                            for (int k = 0; k < depth && a + b < 4; ++k)
                                sums[static_cast<size_t>((a + b) * 256 + r * 16 + c)] +=
                                    row_digit(t, a, r, k) * col_digit(p, b, c, k);
            for (int i = 0; i < 256; ++i)
                if (row_spread[t * 16 + i / 16] * col_spread[p * 16 + i % 16] > 1)
                    sums[static_cast<size_t>(512 + i)] += (sums[static_cast<size_t>(768 + i)] + 128) >> 8;
            for (int i = 0; i < 768; ++i) expected.sums.push_back(static_cast<int32_t>(sums[static_cast<size_t>(i)]));
        }
    TileBlock b{};
    b.rows = reinterpret_cast<char*>(rows);
    b.cols = reinterpret_cast<char*>(cols);
    b.tile_bytes = b.panel_bytes = bytes;
    b.tiles = tiles;
    b.panels = panels;
    b.depth = depth;
    b.scratch = scratch;
    b.row_spread = row_spread;
    b.col_spread = col_spread;
    run_digits(b, compare);
    all_seen(tiles);
    for (void* p : {static_cast<void*>(rows), static_cast<void*>(cols), static_cast<void*>(scratch),
                    static_cast<void*>(row_spread), static_cast<void*>(col_spread)})
        std::free(p);
}

// Whole numbers of up to 8 bits: their products and sums are exact in float32 in any order.
void check_bf16(int tiles, int panels, int steps) {
    const int depth = steps * 32;
    const int64_t bytes = steps * kWideStep;
    auto* rows = aligned<uint16_t>(tiles * bytes / 2);
    auto* cols = aligned<uint16_t>((panels + 1) * bytes / 2);
    const auto some = [] {
        const auto value = static_cast<float>(static_cast<int>(random_bits() % 17) - 8);
        uint32_t bits;
        std::memcpy(&bits, &value, 4);
        return static_cast<uint16_t>(bits >> 16);
    };
    const auto value = [](uint16_t half) {
        const uint32_t bits = static_cast<uint32_t>(half) << 16;
        float v;
        std::memcpy(&v, &bits, 4);
        return v;
    };
    for (int64_t i = 0; i < tiles * bytes / 2; ++i) rows[i] = some();
    for (int64_t i = 0; i < panels * bytes / 2; ++i) cols[i] = some();
    expected = {32, 32, 1, {}, std::vector<int>(static_cast<size_t>(tiles * panels)), panels};
    for (int t = 0; t < tiles; ++t)
        for (int p = 0; p < panels; ++p)
            for (int r = 0; r < 32; ++r)
                for (int c = 0; c < 32; ++c) {
                    float sum = 0;
                    for (int k = 0; k < depth; ++k)
                        sum += value(rows[t * bytes / 2 + k / 32 * 1024 + r * 32 + k % 32]) *
                               value(cols[p * bytes / 2 + k / 2 * 64 + c * 2 + k % 2]);
                    int32_t bits;
                    std::memcpy(&bits, &sum, 4);
                    expected.sums.push_back(bits);
                }
    TileBlock b{};
    b.rows = reinterpret_cast<char*>(rows);
    b.cols = reinterpret_cast<char*>(cols);
    b.tile_bytes = b.panel_bytes = bytes;
    b.tiles = tiles;
    b.panels = panels;
    b.depth = depth;
    run_bf16(b, compare);
    all_seen(tiles);
    std::free(rows);
    std::free(cols);
}

// Codes against thresholds: which pairs survive, which are surely above, which a running threshold drops.
void check_screen(int tiles, int steps, int kind) {
    const int depth = steps * 64;
    const int64_t bytes = steps * kWideStep;
    auto* rows = aligned<int8_t>(tiles * bytes);
    auto* cols = aligned<int8_t>(2 * bytes);
    for (int64_t i = 0; i < tiles * bytes; ++i) rows[i] = static_cast<int8_t>(digit());
    for (int64_t i = 0; i < bytes; ++i) cols[i] = static_cast<int8_t>(digit());
    auto *unit = aligned<float>(tiles * 32), *bound = aligned<float>(tiles * 32), *least = aligned<float>(tiles * 32);
    float* column[5];  // bound, tau, above, unit, base
    for (float*& c : column) c = aligned<float>(32);
    const auto whole = [](int range) { return static_cast<float>(random_bits() % static_cast<unsigned>(range)); };
    for (int i = 0; i < tiles * 32; ++i) {
        unit[i] = 1;
        bound[i] = whole(4);
        least[i] = whole(1000);
    }
    const auto dot = [&](int i, int c) {
        int64_t sum = 0;
        for (int k = 0; k < depth; ++k)
            sum += rows[i / 32 * bytes + k / 64 * 2048 + i % 32 * 64 + k % 64] * cols[k / 4 * 128 + c * 4 + k % 4];
        return static_cast<float>(sum);  // all whole and below 2^24
    };
    for (int c = 0; c < 32; ++c) {
        column[0][c] = whole(1000);
        // Every other threshold is met exactly: what may be equal survives.
        column[1][c] = c % 2 ? dot(c, c) + bound[c] * column[0][c] : whole(200000) - 100000;
        column[2][c] = column[1][c];
        column[3][c] = whole(50);
        column[4][c] = whole(1000);
    }
    std::vector<uint32_t> pairs(static_cast<size_t>(tiles * 32), 0x55555555u);
    std::vector<int32_t> sure(static_cast<size_t>(tiles * 32));
    std::vector<const char*> ahead(5, reinterpret_cast<const char*>(rows));
    ScreenBlock b{};
    b.rows = reinterpret_cast<char*>(rows);
    b.cols = reinterpret_cast<char*>(cols);
    b.tile_bytes = b.panel_bytes = bytes;
    b.tiles = tiles;
    b.panels = 1;
    b.row_unit = unit;
    b.row_bound = bound;
    b.row_least = least;
    b.col_bound = column[0];
    b.col_tau = column[1];
    b.col_above = column[2];
    b.col_unit = column[3];
    b.col_base = column[4];
    b.depth = depth / 4;
    b.pairs = pairs.data();
    b.pitch = tiles * 32;
    b.sure = kind == 1 ? sure.data() : nullptr;
    b.ahead = ahead.data();
    b.n_ahead = 5;
    b.ahead_bytes = 128;
    kind == 2 ? kScreenKernels.top(b) : kScreenKernels.sums(b);
    for (int t = 0; t < tiles; ++t)
        for (int r = 0; r < 32; ++r) {
            uint32_t survives = 0;
            int above = 0;
            for (int c = 0; c < 32; ++c) {
                const int i = t * 32 + r;
                const float product = dot(i, c);
                bool in = product + bound[i] * column[0][c] >= column[1][c];
                if (kind == 2) in = in && product + bound[i] * column[0][c] >= least[i] * column[3][c] + column[4][c];
                if (kind == 1 && product - bound[i] * column[0][c] > column[2][c]) {
                    ++above;
                    in = false;
                }
                survives |= static_cast<uint32_t>(in) << c;
            }
            if (pairs[static_cast<size_t>(t * 32 + r)] != survives) fail("other survivors", t, 0, r, kind);
            if (kind == 1 && sure[static_cast<size_t>(t * 32 + r)] != above) fail("another count", t, 0, r, kind);
        }
    for (void* p : {static_cast<void*>(rows), static_cast<void*>(cols), static_cast<void*>(unit),
                    static_cast<void*>(bound), static_cast<void*>(least)})
        std::free(p);
    for (float* c : column) std::free(c);
}

}  // namespace

int main() {
    // Phases: five blocks and more. Steps: 1, 2, few, and more than stay in a cache, in parts.
    for (const int tiles : {1, 2, 4, 7})
        for (const int steps : {1, 2, 3, 11, 25}) check_digits(tiles, 2, steps, false);
    check_digits(5, 3, 3, true);
    check_digits(4, 2, 12, true);
    for (const int tiles : {1, 3, 7})
        for (const int steps : {1, 2, 3, 9, 40}) check_bf16(tiles, 2, steps);
    for (const int tiles : {1, 6})
        for (const int steps : {1, 2, 5})
            for (const int kind : {0, 1, 2}) check_screen(tiles, steps, kind);
    std::puts("ok");
}
