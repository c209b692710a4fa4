// The emulator itself, on kernels small enough to see what they must do. Each is run under many schedules, and then
// with each of its synchronising calls left out in turn: every one must be missed. Prints what failed; the exit status
// is the number of failures.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cuda/device/runtime.h"

namespace hnscore::gpu {

// ---- Kernels.

// out: the block's numbers, added up by shuffles within warps and by shared memory between them, again and again.
HNSCORE_KERNEL(96) add_up(const int* in, int* out, int rounds) {
    int* sums = reinterpret_cast<int*>(shared());
    for (int round = 0; round < rounds; ++round) {
        int value = in[(round * blocks() + block()) * 96 + thread()];
        for (int mask = 16; mask > 0; mask /= 2) value += shfl_xor(value, mask);
        if (thread() % 32 == 0) sums[thread() / 32] = value;
        sync();
        if (thread() == 0) atomic_add(out + block(), sums[0] + sums[1] + sums[2]);
        sync();
    }
}

// Neighbours in a warp exchange numbers through shared memory.
HNSCORE_KERNEL(64) neighbours(double* out) {
    double* own = reinterpret_cast<double*>(shared());
    own[thread()] = thread();
    sync_warp();
    const double next = own[thread() ^ 1];
    const double first = shfl(next, 5);
    const uint32_t odd = ballot(thread() % 2 == 1);
    out[thread()] = next + first * 100 + (odd == 0xAAAAAAAA ? 0.5 : 0);
}

// Two warpgroups, which know nothing of each other, turn their numbers round.
HNSCORE_KERNEL(256) turn_round(int* out) {
    int* numbers = reinterpret_cast<int*>(shared()) + thread() / 128 * 128;
    numbers[thread() % 128] = thread();
    thread() < 128 ? sync_group<1>() : sync_group<2>();
    out[thread()] = numbers[127 - thread() % 128];
}

// Sums of the rows of a matrix that comes in boxes of 8 x 64, the next on its way while one is read: one warp loads,
// one adds.
HNSCORE_KERNEL(64) ring(const HNSCORE_GRID_CONSTANT TensorMap in, float* out, int row_boxes, int column_boxes) {
    uint64_t* full = reinterpret_cast<uint64_t*>(shared() + 2 * 1024);
    uint64_t* empty = full + 2;
    if (thread() == 0) {
        for (int i = 0; i < 2; ++i) {
            barrier_init(full + i, 1);
            barrier_init(empty + i, 32);
        }
        fence_barrier_init();
    }
    sync();
    const int row = thread() % 32 / 4, quarter = thread() % 4;
    float sum = 0;
    for (int i = 0; i < row_boxes * column_boxes; ++i) {
        const int stage = i % 2, phase = i / 2 % 2;
        uint8_t* box = shared() + stage * 1024;
        if (thread() == 0) {
            barrier_wait(empty + stage, phase ^ 1, {});
            barrier_expect(full + stage, 1024);
            tma_load(box, &in, full + stage, i % column_boxes * 64, i / column_boxes * 8);
        } else if (thread() >= 32) {
            barrier_wait(full + stage, phase, {});
            for (int k = 0; k < 16; ++k) {
                const int chunk = quarter * 2 + k / 8;  // of 16 bytes; the swizzle moved it
                uint16_t bits;
                std::memcpy(&bits, box + row * 128 + (chunk ^ row) * 16 + k % 8 * 2, 2);
                sum += from_half(bits);
            }
            barrier_arrive(empty + stage);
            if (i % column_boxes == column_boxes - 1) {
                sum += shfl_xor(sum, 1);
                sum += shfl_xor(sum, 2);
                if (quarter == 0) out[i / column_boxes * 8 + row] = sum;
                sum = 0;
            }
        }
    }
}

constexpr uint64_t describe(uint32_t address) {
    return (address & 0x3FFFF) >> 4 | uint64_t{1} << 16 | uint64_t{64} << 32 | uint64_t{1} << 62;
}

void store_tile(const float (&d)[128], float* out, int pitch) {
    const int row = thread() % 128 / 32 * 16, lane = thread() % 32;
    for (int e = 0; e < 128; ++e)
        out[(row + lane / 4 + (e & 2) * 4) * pitch + e / 4 * 8 + lane % 4 * 2 + (e & 1)] = d[e];
}

constexpr int kStages = 3, kStageBytes = (64 + 256) * 128;

// out = rows . columns': a cluster of two blocks, each with 64 rows and all columns, of which it loads half for both.
// One warpgroup loads, one multiplies.
template <class T>
HNSCORE_KERNEL_CLUSTER2(256)
product(const HNSCORE_GRID_CONSTANT TensorMap rows, const HNSCORE_GRID_CONSTANT TensorMap columns, float* out,
        int tiles, int steps) {
    uint64_t* full = reinterpret_cast<uint64_t*>(shared() + kStages * kStageBytes);
    uint64_t* empty = full + kStages;
    const int rank = cluster_rank();
    if (thread() == 0) {
        for (int i = 0; i < kStages; ++i) {
            barrier_init(full + i, 1);
            barrier_init(empty + i, 2);
        }
        fence_barrier_init();
    }
    cluster_sync();
    int stage = 0, phase = 0;
    const auto advance = [&] {
        if (++stage == kStages) stage = 0, phase ^= 1;
    };
    if (thread() < 128) {
        registers_down<40>();
        for (int i = 0; thread() == 0 && i < tiles * steps; ++i, advance()) {
            uint8_t* a = shared() + stage * kStageBytes;
            barrier_wait(empty + stage, phase ^ 1, {});
            barrier_expect(full + stage, kStageBytes);
            tma_load(a, &rows, full + stage, i % steps * 64, block() * 64);
            tma_load_multicast(a + (64 + rank * 128) * 128, &columns, full + stage, i % steps * 64,
                               i / steps * 256 + rank * 128, 3);
        }
    } else {
        registers_up<232>();
        for (int tile = 0; tile < tiles; ++tile) {
            float d[128];
            int before = -1;
            for (int step = 0; step < steps; ++step, advance()) {
                barrier_wait(full + stage, phase, {});
                const uint32_t a = shared_address(shared() + stage * kStageBytes);
                wgmma_fence();
                for (uint32_t k = 0; k < 128; k += 32)
                    wgmma<T>(d, describe(a + k), describe(a + 64 * 128 + k), step > 0 || k > 0);
                wgmma_commit();
                if (before >= 0) {
                    wgmma_wait<1>();
                    if (thread() < 130) barrier_arrive_remote(empty + before, thread() - 128);
                }
                before = stage;
            }
            wgmma_wait<0>();
            for (float& x : d) pin(x);
            if (thread() < 130) barrier_arrive_remote(empty + before, thread() - 128);
            store_tile(d, out + int64_t{block()} * 64 * tiles * 256 + tile * 256, tiles * 256);
        }
    }
    cluster_sync();
}

// out = rows . columns' of 64 x 16, by four warps of 16 rows each: copies of the next 64 elements while these are used.
template <class T>
HNSCORE_KERNEL(128)
fragments(const uint8_t* rows, const uint8_t* columns, float* out, int pitch, int steps) {
    constexpr int kLine = 128 + 16;  // bytes of a row in shared memory
    const auto start = [&](int step) {
        const uint32_t to = shared_address(shared()) + static_cast<uint32_t>(step % 2 * 80 * kLine);
        for (int chunk = thread(); chunk < 80 * 8; chunk += 128) {
            const int row = chunk / 8, byte = chunk % 8 * 16;
            const uint8_t* from = row < 64 ? rows + row * pitch : columns + (row - 64) * pitch;
            copy_async16(to + static_cast<uint32_t>(row * kLine + byte), from + step * 128 + byte,
                         step < steps ? 16 : 0);
        }
        copy_async_commit();
    };
    const int lane = thread() % 32, warp = thread() / 32;
    float c[2][4] = {};
    start(0);
    for (int step = 0; step < steps; ++step) {
        if (step + 1 < steps) start(step + 1);
        if (step + 1 < steps)
            copy_async_wait<1>();
        else
            copy_async_wait<0>();
        sync();
        const uint32_t from = shared_address(shared()) + static_cast<uint32_t>(step % 2 * 80 * kLine);
        for (int k = 0; k < 128; k += 32) {
            uint32_t a[4], b[4];
            load_matrix4(a, from + static_cast<uint32_t>((warp * 16 + lane % 16) * kLine + k + lane / 16 * 16));
            load_matrix4(b,
                         from + static_cast<uint32_t>((64 + lane % 8 + lane / 16 * 8) * kLine + k + lane / 8 % 2 * 16));
            mma<T>(c[0], a, b[0], b[1]);
            mma<T>(c[1], a, b[2], b[3]);
        }
        sync();
    }
    for (int n = 0; n < 2; ++n)
        for (int e = 0; e < 4; ++e)
            out[(warp * 16 + lane / 4 + (e & 2) * 4) * 16 + n * 8 + lane % 4 * 2 + (e & 1)] = c[n][e];
}

// The order in which threads run.
HNSCORE_KERNEL(32) order(int* out, int* count) { out[atomic_add(count, 1)] = block() * 32 + thread(); }

// What is wrong with each is in its name.
HNSCORE_KERNEL(64) half_a_warp_shuffles(int* out) {
    if (thread() % 32 < 16) out[thread()] = shfl(thread(), 3);
}
HNSCORE_KERNEL(64) not_all_arrive(uint64_t*) {
    uint64_t* barrier = reinterpret_cast<uint64_t*>(shared());
    if (thread() == 0) barrier_init(barrier, 63);
    sync();
    if (thread() >= 2) barrier_arrive(barrier);
    barrier_wait(barrier, 0, {});
}
HNSCORE_KERNEL(64) too_many_arrive(uint64_t*) {
    uint64_t* barrier = reinterpret_cast<uint64_t*>(shared());
    if (thread() == 0) barrier_init(barrier, 60);
    sync();
    if (thread() == 1) barrier_expect(barrier, 1024);
    barrier_arrive(barrier);
}
HNSCORE_KERNEL(64) barrier_overwritten(uint64_t*) {
    uint64_t* barrier = reinterpret_cast<uint64_t*>(shared());
    if (thread() == 0) barrier_init(barrier, 64);
    sync();
    if (thread() == 5) *barrier = 0;
    sync();
    barrier_arrive(barrier);
}
HNSCORE_KERNEL_CLUSTER2(32) the_other_block_has_ended(uint64_t*) {
    uint64_t* barrier = reinterpret_cast<uint64_t*>(shared());
    if (thread() == 0) {
        barrier_init(barrier, 1);
        fence_barrier_init();
    }
    cluster_sync();
    if (thread() == 1 && cluster_rank() == 0) barrier_arrive_remote(barrier, 1);
}
HNSCORE_KERNEL(128) accumulators_are_read_early(uint64_t* out) {
    if (thread() < 64) std::memset(shared() + thread() * 640, 0, 640);
    sync();
    const uint32_t a = shared_address(shared());
    float d[128];
    wgmma_fence();
    wgmma<Half>(d, describe(a), describe(a + 8192), false);
    wgmma_commit();
    const float early = d[7];
    wgmma_wait<0>();
    const float not_pinned = d[8];
    pin(d[9]);
    if (!(early == 0) && !(not_pinned == 0) && d[9] == 0) *out = 1;
}
HNSCORE_KERNEL(128) descriptor(uint64_t value) {
    float d[128];
    wgmma_fence();
    wgmma<Half>(d, value, describe(1024), false);
    wgmma_commit();
    wgmma_wait<0>();
}
HNSCORE_KERNEL(64) beyond_shared(uint64_t*) { copy_async16(shared_address(shared()) + 60000, nullptr, 0); }

}  // namespace hnscore::gpu

namespace {

using namespace hnscore::gpu;
using hnscore::DType;

int failures = 0;

void expect(bool ok, const std::string& what) {
    if (ok) return;
    ++failures;
    std::printf("FAILED %s\n", what.c_str());
}

std::string error_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const std::exception& error) {
        return error.what();
    }
    return "no error";
}

void expect_error(const std::string& part, const std::function<void()>& action) {
    for (unsigned seed = 0; seed < 8; ++seed) {
        emulator::seed(seed);
        if (const std::string text = error_of(action); text.find(part) != std::string::npos) return;
    }
    emulator::seed(0);
    expect(false, "expected \"" + part + "\", came \"" + error_of(action) + "\"");
}

// `wrong` runs a kernel and says whether its result is wrong. It must be right under every schedule, and wrong or an
// error under some schedule without any one of the kernel's synchronising calls.
void check_kernel(const std::string& name, const std::function<bool()>& wrong) {
    emulator::disable("");
    emulator::forget_sites();
    for (unsigned seed = 0; seed < 12; ++seed) {
        emulator::seed(seed);
        bool bad = true;
        const std::string text = error_of([&] { bad = wrong(); });
        expect(!bad, name + ", seed " + std::to_string(seed) + ": " + text);
        if (bad) return;
    }
    for (const std::string& site : emulator::sites()) {
        emulator::disable(site);
        unsigned seed = 0;
        for (bool noticed = false; !noticed && seed < 60; ++seed) {
            emulator::seed(seed);
            try {
                noticed = wrong();
            } catch (const emulator::Error&) {
                noticed = true;
            }
        }
        expect(seed < 60, name + ": nothing misses " + site);
    }
    emulator::disable("");
}

struct Matrix {
    int rows, depth;
    std::vector<uint16_t> bits;
    std::vector<float> values;
    const uint8_t* data() const { return reinterpret_cast<const uint8_t*>(bits.data()); }
    TensorMap map(int box_rows, DType dtype) const {
        return tensor_map(data(), rows, depth * 2, depth, box_rows, dtype);
    }
};

template <class T>
Matrix random_matrix(int rows, int depth) {
    static std::mt19937 random(7);
    std::normal_distribution<float> normal;
    Matrix m{rows, depth, {}, {}};
    for (int i = 0; i < rows * depth; ++i) {
        m.bits.push_back(std::is_same_v<T, Half> ? to_half(normal(random)) : to_bf16(normal(random)));
        m.values.push_back(emulator::element(T{}, m.bits.back()));
    }
    return m;
}

// Whether a product of two matrices is wrong: each of depth/16 steps aligns 17 addends and a sum to 24 bits of the
// largest of them, none of which is beyond the sum of all magnitudes, and cuts off less than a unit of that: 18 *
// 2^-23.
bool wrong_product(const Matrix& a, const Matrix& b, const std::vector<float>& out) {
    for (int i = 0; i < a.rows; ++i)
        for (int j = 0; j < b.rows; ++j) {
            double sum = 0, size = 0;
            for (int k = 0; k < a.depth; ++k) {
                const double p = double{a.values[size_t(i * a.depth + k)]} * b.values[size_t(j * b.depth + k)];
                sum += p;
                size += std::fabs(p);
            }
            if (!(std::fabs(out[size_t(i * b.rows + j)] - sum) <= size * (a.depth / 16) * 18 * 0x1p-23)) return true;
        }
    return false;
}

void check_half() {
    for (uint32_t bits = 0; bits < 65536; ++bits) {
        const auto h = static_cast<uint16_t>(bits);
        const float x = from_half(h), y = from_bf16(h);
        if (x == x) expect(to_half(x) == h, "half " + std::to_string(bits));
        if (y == y) expect(to_bf16(y) == h, "bf16 " + std::to_string(bits));
        if (std::fabs(x) < 60000 && h % 0x8000 < 0x7BFF) {  // between it and the next: the nearer, or the even
            const float next = from_half(static_cast<uint16_t>(h + 1)), middle = x + (next - x) / 2;
            expect(to_half(middle) == (h % 2 == 0 ? h : h + 1), "half after " + std::to_string(bits));
            expect(to_half(std::nextafter(middle, x)) == h, "half near " + std::to_string(bits));
        }
    }
    expect(from_half(0x3555) == 0.333251953125f && from_half(0x0001) == 0x1p-24f && from_half(0xC000) == -2, "half");
    expect(to_half(65519.9f) == 0x7BFF && to_half(65520) == 0x7C00 && from_half(to_half(NAN)) != 1, "half, large");
    expect(std::isnan(from_half(to_half(NAN))) && std::isnan(from_bf16(to_bf16(-NAN))), "half, NaN");
}

void check_tensor_core() {
    const auto sum = [](float start, std::vector<float> addends) {
        float a[16], b[16][4] = {}, sums[4] = {start, start, start, start};
        addends.resize(16);
        for (int k = 0; k < 16; ++k) {
            a[k] = 1;
            std::fill(b[k], b[k] + 4, addends[size_t(k)]);
        }
        emulator::add_products(a, b[0], 4, sums, 4);
        return sums[2];
    };
    expect(sum(0, {}) == 0 && sum(1, {2, 3, -7}) == -1 && sum(0, {0x1p-60f}) == 0x1p-60f, "small sums are exact");
    expect(sum(1, {0x1p-23f}) == 1 + 0x1p-23f, "24 bits stay");
    expect(sum(1, {0x1p-24f, 0x1p-24f}) == 1 && sum(-1, {0x1.8p-23f}) == -1 + 0x1p-23f, "what is below 24 bits is cut");
    expect(sum(0x1p24f - 1, {0x1p24f - 1, 1, 1, 1}) == 0x1p25f && sum(1 - 0x1p24f, {1 - 0x1p24f, -1}) == 2 - 0x1p25f,
           "sums are cut towards zero");
    expect(std::isnan(sum(NAN, {1})) && std::isnan(sum(0, {INFINITY, -INFINITY})) && sum(3, {-INFINITY}) == -INFINITY,
           "NaN and infinities");
}

void check_schedules() {
    const auto run = [](unsigned seed) {
        std::vector<int> out(8 * 32);
        int count = 0;
        emulator::seed(seed);
        launch({8, 32}, order, out.data(), &count);
        return out;
    };
    expect(run(1) == run(1), "a seed gives one schedule");
    expect(run(1) != run(2), "seeds differ");
    const std::vector<int> all = run(3);
    expect(std::set<int>(all.begin(), all.end()).size() == 8 * 32, "every thread runs once");
}

void check_errors() {
    uint64_t unused = 0;
    std::vector<int> out(64);
    expect_error("32 threads of block 0: ended", [&] { launch({1, 64}, half_a_warp_shuffles, out.data()); });
    expect_error("deadlock: no thread can go on\n  64 threads of block 0: check_emulator.cpp:",
                 [&] { launch({1, 64, 64}, not_all_arrive, &unused); });
    expect_error("lacks 1 arrivals and 0 bytes", [&] { launch({1, 64, 64}, not_all_arrive, &unused); });
    expect_error("all 60 arrivals of this phase are there already",
                 [&] { launch({1, 64, 64}, too_many_arrive, &unused); });
    expect_error("no initialised barrier", [&] { launch({1, 64, 64}, barrier_overwritten, &unused); });
    expect_error("of the cluster has ended", [&] { launch({2, 32, 64, 2}, the_other_block_has_ended, &unused); });
    expect_error("outside the block's 64 bytes", [&] { launch({1, 64, 64}, beyond_shared, &unused); });
    launch({1, 128, 64 * 640}, accumulators_are_read_early, &unused);
    expect(unused == 1, "accumulators are NaN until they are waited for and pinned");

    const auto describe_to = [](uint64_t value) { return [=] { launch({1, 128, 65536}, descriptor, value); }; };
    expect_error("nothing was written to", describe_to(describe(1024)));
    expect_error("128-byte swizzle", describe_to(describe(1024) & ~(uint64_t{3} << 62)));
    expect_error("8 rows must be 1024 bytes", describe_to(describe(1024) + (uint64_t{1} << 32)));
    expect_error("all other bits", describe_to(describe(1024) | uint64_t{1} << 49));
    expect_error("multiple of 1024 plus", describe_to(describe(1024 + 128)));
    expect_error("multiple of 1024 plus", describe_to(describe(1024 + 16)));
    expect_error("outside the block's", describe_to(describe(1024 + 65536)));

    emulator::set_capability(8, 0, 4);
    expect_error("needs compute capability 9.0; the device has 8.0", describe_to(describe(1024)));
    expect_error("a driver would refuse", [&] { launch({2, 32, 64, 2}, the_other_block_has_ended, &unused); });
    emulator::set_capability(9, 0, 4);
    expect_error("a driver would refuse", [&] { launch({1, 64, 1 << 20}, not_all_arrive, &unused); });
}

template <class T>
void check_products(const std::string& name, DType dtype) {
    {
        const Matrix a = random_matrix<T>(128, 192), b = random_matrix<T>(512, 192);
        check_kernel("product of " + name, [&] {
            std::vector<float> out(128 * 512, NAN);
            launch({2, 256, kStages * kStageBytes + 48, 2}, product<T>, a.map(64, dtype), b.map(128, dtype), out.data(),
                   2, 3);
            return wrong_product(a, b, out);
        });
    }
    const Matrix a = random_matrix<T>(64, 256), b = random_matrix<T>(16, 256);
    check_kernel("fragments of " + name, [&] {
        std::vector<float> out(64 * 16, NAN);
        launch({1, 128, 2 * 80 * 144}, fragments<T>, a.data(), b.data(), out.data(), 512, 4);
        return wrong_product(a, b, out);
    });
}

void check_exchanges() {
    std::vector<int> in(4 * 3 * 96), right(3);
    for (size_t i = 0; i < in.size(); ++i) {
        in[i] = static_cast<int>(i * i % 1013);
        right[i / 96 % 3] += in[i];
    }
    check_kernel("add_up", [&] {
        std::vector<int> out(3);
        launch({3, 96, 12}, add_up, in.data(), out.data(), 4);
        return out != right;
    });
    check_kernel("neighbours", [&] {
        std::vector<double> out(64);
        launch({1, 64, 512}, neighbours, out.data());
        for (int i = 0; i < 64; ++i)
            if (out[size_t(i)] != (i ^ 1) + (i / 32 * 32 + 4) * 100 + 0.5) return true;
        return false;
    });
    check_kernel("turn_round", [&] {
        std::vector<int> out(256);
        launch({1, 256, 1024}, turn_round, out.data());
        for (int i = 0; i < 256; ++i)
            if (out[size_t(i)] != i / 128 * 128 + 127 - i % 128) return true;
        return false;
    });

    Matrix m = random_matrix<Half>(21, 136);  // neither whole boxes of rows nor of columns: zeros come beyond the end
    check_kernel("ring", [&] {
        std::vector<float> out(24, NAN);
        launch({1, 64, 4096}, ring, m.map(8, DType::f16), out.data(), 3, 3);
        for (int i = 0; i < 24; ++i) {
            double sum = 0;
            for (int k = 0; i < m.rows && k < m.depth; ++k) sum += double{m.values[size_t(i * m.depth + k)]};
            if (!(std::fabs(out[size_t(i)] - sum) < 1e-4)) return true;  // 136 additions of numbers below 5
        }
        return false;
    });
}

}  // namespace

int main() {
    check_half();
    check_tensor_core();
    check_schedules();
    check_exchanges();
    check_errors();
    check_products<Half>("half", DType::f16);
    check_products<Bf16>("bf16", DType::bf16);
    if (failures == 0) std::printf("ok\n");
    return std::min(failures, 100);
}
