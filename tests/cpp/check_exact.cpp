// Exact sums of products on made-up numbers: core/wide_sum.h and cuda/rows/exact.h against arithmetic that is too
// simple to be wrong.
#include "cuda/rows/exact.h"

#include <algorithm>

#include "properties.h"

namespace {

using namespace properties;

// ---- A number as its bits, one after the other ----------------------------------------------------------------------

class Bits {  // bit 0 weighs 2^-2148
  public:
    static constexpr int kCount = 4400, kLowest = -2148;

    void add(double a, double b) {
        int ea, eb;
        const int64_t ia = whole(a, ea), ib = whole(b, eb);
        const auto product = static_cast<unsigned __int128>(std::abs(ia)) * static_cast<uint64_t>(std::abs(ib));
        std::vector<bool>& sum = (ia < 0) == (ib < 0) ? plus_ : minus_;
        for (int i = 0; i < 106; ++i)
            if (product >> i & 1) increment(sum, static_cast<size_t>(ea + eb - kLowest + i));
    }
    // To nearest, ties to even; below the smallest normal number as coarse as subnormals are.
    double round() const {
        std::vector<bool> larger = plus_, smaller = minus_;
        const bool negative =
            std::lexicographical_compare(plus_.rbegin(), plus_.rend(), minus_.rbegin(), minus_.rend());
        if (negative) larger.swap(smaller);
        bool borrow = false;
        for (size_t i = 0; i < kCount; ++i) {
            const int bit = larger[i] - smaller[i] - borrow;
            larger[i] = bit & 1;
            borrow = bit < 0;
        }
        int top = kCount - 1;
        while (top >= 0 && !larger[static_cast<size_t>(top)]) --top;
        const int last = std::max(top - 52, -1074 - kLowest);  // the bit of the unit in the last place
        double value = 0;
        for (int i = std::max(top, last); i >= last; --i) value = 2 * value + larger[static_cast<size_t>(i)];
        bool rest = false;
        for (int i = 0; i < last - 1; ++i) rest = rest || larger[static_cast<size_t>(i)];
        if (larger[static_cast<size_t>(last - 1)] && (rest || larger[static_cast<size_t>(last)])) value += 1;
        value = std::ldexp(value, last + kLowest);
        return negative ? -value : value;
    }

  private:
    // x = whole * 2^exponent
    static int64_t whole(double x, int& exponent) {
        exponent = x == 0 ? 0 : std::max(std::ilogb(x) - 52, -1074);
        return static_cast<int64_t>(std::ldexp(x, -exponent));
    }
    static void increment(std::vector<bool>& sum, size_t at) {
        while (sum[at]) sum[at++] = false;
        sum[at] = true;
    }
    std::vector<bool> plus_ = std::vector<bool>(kCount), minus_ = plus_;
};

double exact(const double* a, const double* b, int64_t n) {
    Bits sum;
    for (int64_t k = 0; k < n; ++k) sum.add(a[k], b[k]);
    return sum.round();
}
double exact(const std::vector<double>& a, const std::vector<double>& b) {
    return exact(a.data(), b.data(), static_cast<int64_t>(a.size()));
}

double wide(const std::vector<double>& a, const std::vector<double>& b) {
    int64_t limbs[WideSum::kLimbs];
    WideSum sum(limbs);
    for (size_t k = 0; k < a.size(); ++k) sum.add_product(a[k], b[k]);
    return sum.round();
}

double any_double(Random& random, int low, int high) {
    const double x = std::ldexp(random.uniform(1, 2), static_cast<int>(random.integer(low, high)));
    return random.sign() * (random.chance(0.2) ? std::ldexp(1, std::ilogb(x)) : x);
}

// Products whose sum is hard to round: of very different sizes, cancelling, in the middle between two numbers or
// nearly so, in random order.
void hard_products(Random& random, std::vector<double>& a, std::vector<double>& b) {
    const int range = random.of({3, 60, 500, 1020}), low = random.chance(0.3) ? -1074 : -range;
    const auto push = [&](double x, double y) {
        a.push_back(x);
        b.push_back(y);
    };
    for (int64_t i = random.integer(0, 12); i > 0; --i) {
        const double x = any_double(random, low, range / 2), y = any_double(random, low, range / 2);
        push(x, y);
        if (random.chance(0.7)) push(-x, y);
    }
    if (random.chance(0.7)) {  // x plus half a unit of its last place, plus or minus very little
        const double x = any_double(random, random.chance(0.3) ? -1074 : -600, 600);
        const double unit = std::nextafter(std::fabs(x), HUGE_VAL) - std::fabs(x);
        push(x, 1);
        push(random.sign() * unit, 0.5);
        if (random.chance(0.6)) push(random.sign() * unit, std::ldexp(1, -static_cast<int>(random.integer(2, 900))));
    }
    if (a.empty()) push(0, random.uniform());
    for (size_t i = a.size(); i > 1; --i) {
        const auto j = static_cast<size_t>(random.integer(0, static_cast<int64_t>(i) - 1));
        std::swap(a[i - 1], a[j]);
        std::swap(b[i - 1], b[j]);
    }
}

void check_wide_sum() {
    for_cases("WideSum", 1500, [](Random& random) {
        std::vector<double> a, b;
        hard_products(random, a, b);
        const double right = exact(a, b), came = wide(a, b);
        expect(right == came, a.size(), " products add up to ", right, ", not ", came);
    });
    the_case = "WideSum of chosen numbers";
    const double least = 0x1p-1074, most = std::numeric_limits<double>::max();
    expect(wide({least}, {0.5}) == 0, "half the smallest number is a tie, and 0 is even");
    expect(wide({least, 0x1p-1000}, {0.5, 0x1p-1000}) == least, "a little more is not");
    expect(wide({least, least}, {1, 0.5}) == 2 * least, "one and a half is a tie, and 2 is even");
    expect(wide({least}, {least}) == 0 && wide({-least}, {least}) == 0, "far below the smallest number");
    expect(
        wide({1, 0x1p-53, 2 * least, least, least, least, least}, {1, 1, -2 * least, least, least, least, least}) == 1,
        "a tie, and products of subnormals that cancel");
    expect(wide({most}, {2}) == HUGE_VAL && wide({-most}, {most}) == -HUGE_VAL, "beyond the largest number");
    expect(wide({most, -most, 3}, {most, most, 1}) == 3, "what cancels leaves nothing");
    const std::vector<double> many(40000, most);
    expect(wide(many, many) == HUGE_VAL && !std::signbit(wide({1, -1}, {1, 1})), "many; and zero is not negative");
}

// value: of any number within `error` of hi + lo that the test says rounds surely.
void check_rounds_surely() {
    int sure = 0;
    for_cases("rounds_surely, near the middle", 1500, [&](Random& random) {
        const double hi = any_double(random, -900, 900);
        const double unit = std::nextafter(std::fabs(hi), HUGE_VAL) - std::fabs(hi);
        const double lo = random.sign() * unit / 2 * (1 + random.sign() * std::pow(2, random.uniform(-50, 0)));
        const double magnitude = std::fabs(lo) * random.uniform(1, 4);
        const int64_t n = random.integer(1, 2000);
        double value;
        if (!rounds_surely(hi, lo, magnitude, n, value)) return;
        ++sure;
        const double error = static_cast<double>(n + 16) * 0x1p-51 * magnitude;
        for (const double part : {-0.9, 0.0, 0.9}) {
            const double right = exact({hi, lo, error}, {1, 1, part});
            expect(value == right, "hi ", hi, " lo ", lo, " and an error of ", part * error, " is ", right, ", not ",
                   value);
        }
    });
    the_case = "rounds_surely";
    expect(sure > 700, "it is sure of ", sure, " of 1500 sums only");
    double value;
    expect(rounds_surely(3, 0, 0, 5, value) && value == 3, "no rounding errors, no doubt");
    expect(!rounds_surely(HUGE_VAL, 0, 0, 5, value) && !rounds_surely(NAN, NAN, NAN, 5, value), "not finite");
    expect(!rounds_surely(1, 0, HUGE_VAL, 5, value), "a lost error");
}

// ---- cuda/rows/exact.h
// ---------------------------------------------------------------------------------------------------

const DType kAll[] = {DType::f16, DType::bf16, DType::f32, DType::f64, DType::i8,  DType::u8,
                      DType::i16, DType::u16,  DType::i32, DType::u32, DType::i64, DType::u64};

double any_value(Random& random, DType type, int range, int scale) {
    const int bits = integer_bits(type);
    if (type == DType::f64) return std::ldexp(any_double(random, -range, std::min(range, 14)), scale);
    if (bits == 0) return any_double(random, type == DType::f16 ? std::max(-range, -14) : -range, std::min(range, 14));
    const double x = std::floor(random.uniform() * std::ldexp(1, static_cast<int>(random.integer(0, bits))) * 0.999);
    return is_unsigned(type) ? x : random.sign() * x;
}

struct Layout {
    int64_t row_stride, col_stride, shift;
};
Layout any_layout(Random& random, DType type, int64_t dim) {
    const int64_t col = random.of<int64_t>({1, 1, 1, 2, 3, -1});
    const int64_t shift = random.of({0, 0, 0, 1, 2, 4}) * element_bytes(type);
    const int64_t row = std::abs(col) * dim + random.of<int64_t>({0, 0, 1, 4});
    return {random.chance(0.2) ? -row : row, col, shift};
}

struct Answer {
    double plain, exact;
};

// Four pairs, one for each group of a warp; -1 is no pair. Lanes of a group must agree.
std::vector<Answer> four_pairs(const Rows& x, const Rows& t, const int64_t (&i)[4], const int64_t (&j)[4]) {
    std::vector<Answer> answers(32);
    Fenced<int64_t> limbs(WideSum::kLimbs, true);
    on_warps(1, 0, [&] {
        const int g = lane() / kGroupLanes;
        const bool wanted = i[g] >= 0;
        const char *row = wanted ? row_address(x, i[g]) : nullptr, *column = wanted ? row_address(t, j[g]) : nullptr;
        const double plain = plain_dot(x.view, row, t.view, column, wanted);
        answers[static_cast<size_t>(lane())] = {plain, exact_dot(x.view, row, t.view, column, wanted, limbs.data())};
    });
    for (int l = 0; l < 32; ++l) {
        const Answer &own = answers[static_cast<size_t>(l)], &first = answers[static_cast<size_t>(l / 8 * 8)];
        expect(same(own.plain, first.plain) && same(own.exact, first.exact), "lane ", l, " differs from its group");
    }
    return {answers[0], answers[8], answers[16], answers[24]};
}

void check_dots() {
    for_cases("dot products", 1200, [](Random& random) {
        const bool tiny = random.chance(0.1);  // products among the subnormals, whose rounding errors are lost
        const DType any = kAll[random.integer(0, 11)], other = kAll[random.integer(0, 11)];
        const DType short_or_single = random.of({DType::f16, DType::bf16, DType::f32});  // read four at a time
        const DType first = tiny ? DType::f64 : random.chance(0.5) ? short_or_single : any;
        const DType types[] = {first, tiny || random.chance(0.6) ? first : other};
        const int64_t dim = random.of<int64_t>({1, 3, 4, 7, 8, 31, 32, 33, 36, 64, 100, 128});
        const int64_t rows = random.integer(1, 6);
        const int range = tiny ? 2 : random.of({1, 14, 200, 500}), scale = tiny ? -515 : 0;
        const int64_t zeros = tiny && random.chance(0.5) ? 4 : 0;  // the first lane of a group has nothing to lose
        const Layout la = any_layout(random, types[0], dim), lb = any_layout(random, types[1], dim);
        const bool behind = random.chance(0.5);
        Table a(types[0], rows, dim, la.row_stride, la.col_stride, la.shift, behind);
        Table b(types[1], rows, dim, lb.row_stride, lb.col_stride, lb.shift, behind);
        const bool hard = random.chance(0.5);
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t k = 0; k < dim; ++k) {
                a.set(i, k, k < zeros ? 0 : any_value(random, types[0], range, scale));
                b.set(i, k, any_value(random, types[1], range, scale));
                if (hard && k % 2 == 1) {  // cancels, but for what the last values leave
                    a.set(i, k, a.row(i)[k - 1]);
                    b.set(i, k, k > dim - 3 || is_unsigned(types[1]) ? b.row(i)[k] : -b.row(i)[k - 1]);
                }
            }
        std::vector<int64_t> pick;
        for (int64_t i = 0; i < rows; ++i) pick.push_back(random.integer(0, rows - 1));
        const bool picks = random.chance(0.4);
        const Rows x{a.view, picks ? pick.data() : nullptr, rows}, t{b.view, nullptr, rows};
        int64_t i[4], j[4];
        for (int g = 0; g < 4; ++g) {
            i[g] = random.chance(0.25) ? -1 : random.integer(0, rows - 1);
            j[g] = random.integer(0, rows - 1);
        }
        const std::vector<Answer> answers = four_pairs(x, t, i, j);
        for (int g = 0; g < 4; ++g) {
            if (i[g] < 0) continue;
            const auto at = static_cast<size_t>(i[g]);
            const double *p = a.row(picks ? pick[at] : i[g]), *q = b.row(j[g]);
            const double right = exact(p, q, dim);
            const Answer& answer = answers[static_cast<size_t>(g)];
            const std::string what = "types " + std::to_string(int(types[0])) + " and " +
                                     std::to_string(int(types[1])) + ", dim " + std::to_string(dim) + ", group " +
                                     std::to_string(g) + ": ";
            expect(answer.exact == right, what, answer.exact, " is not the rounded sum ", right);
            double pp = 0, qq = 0;
            for (int64_t k = 0; k < dim; ++k) pp += p[k] * p[k], qq += q[k] * q[k];
            // The bound of plain_dot, with the rounding of `right` and of the two norms.
            const double bound =
                static_cast<double>(dim + 24) * 0x1p-53 * std::sqrt(pp) * std::sqrt(qq) * (1 + 0x1p-40);
            const double last = std::fabs(right) * 0x1p-53 + static_cast<double>(dim) * 0x1p-1074;
            expect(!(std::fabs(answer.plain - right) > bound + last), what, "plain ", answer.plain, ", exact ", right);
        }
    });
}

// The same values wherever they lie, of any type that has them, in any group, beside any other pair: the same bits.
void check_places() {
    for_cases("places", 120, [](Random& random) {
        const int64_t dim = random.of<int64_t>({4, 8, 9, 32, 60, 64, 100});
        std::vector<double> x, t;
        // 8 bits, so that every type has them, of sizes so different that float64 rounds their sums.
        const auto value = [&] {
            return random.sign() * std::ldexp(random.integer(128, 255), static_cast<int>(random.integer(-21, 7)));
        };
        for (int64_t k = 0; k < dim; ++k) x.push_back(value()), t.push_back(value());
        std::vector<Answer> all;
        const auto look = [&](DType type, const Layout& at, DType other) {
            Table a(type, 1, dim, at.row_stride, at.col_stride, at.shift, false);
            Table b(other, 2, dim, dim + random.of<int64_t>({0, 1, 4}), 1, 0, random.chance(0.3));
            for (int64_t k = 0; k < dim; ++k) {
                a.set(0, k, x[static_cast<size_t>(k)]);
                for (int64_t i = 0; i < 2; ++i) b.set(i, k, t[static_cast<size_t>(k)]);
            }
            const int64_t none = random.integer(-1, 0);
            const int64_t i[4] = {0, none, 0, none}, j[4] = {0, 0, 1, 1};
            const std::vector<Answer> four = four_pairs({a.view, nullptr, 1}, {b.view, nullptr, 2}, i, j);
            for (const size_t g : {size_t{0}, size_t{2}}) all.push_back(four[g]);
        };
        for (const DType type : {DType::f16, DType::bf16, DType::f32, DType::f64})
            for (const Layout at :
                 {Layout{dim, 1, 0}, Layout{dim, 1, 8}, Layout{dim + 4, 1, 16}, Layout{2 * dim, 2, 8}})
                look(type, at, random.chance(0.7) ? type : DType::f32);
        for (const Answer& answer : all)
            expect(same(answer.plain, all[0].plain) && same(answer.exact, all[0].exact), "dim ", dim, ": ",
                   answer.plain, " in one place, ", all[0].plain, " in another");
    });
}

}  // namespace

int main() {
    catch_fences();
    check_wide_sum();
    check_rounds_surely();
    check_dots();
    check_places();
    return report();
}
