// What recipes.def says of each recipe, for those who have a Recipe in hand.
#pragma once

#include <cmath>

#include "cpu/target/target.h"
#include "recipes/aggregate.h"

namespace hnscore {

constexpr const char* kRecipeNames[] = {
#define HNSCORE_RECIPE(name, ...) #name,
#include "recipes/recipes.def"
};

// Vectors of state that a row has in the kernels.
constexpr int kStates[] = {
#define HNSCORE_RECIPE(name, ...) __VA_ARGS__::kStates,
#include "recipes/recipes.def"
};

constexpr Aggregate kAggregate[] = {
#define HNSCORE_RECIPE(name, ...) __VA_ARGS__::kKind,
#include "recipes/recipes.def"
};
inline bool is_top(Recipe recipe) { return kAggregate[recipe] == Aggregate::top; }
inline bool is_list(Recipe recipe) { return kAggregate[recipe] == Aggregate::list; }

constexpr int kRowPower[] = {
#define HNSCORE_RECIPE(name, ...) __VA_ARGS__::Term::kRowPower,
#include "recipes/recipes.def"
};

constexpr bool kUsesGap[] = {
#define HNSCORE_RECIPE(name, ...) __VA_ARGS__::Term::kUsesGap,
#include "recipes/recipes.def"
};

// What one pair weighs, in float64: for pairs that are decided one by one.
HNSCORE_BOTH double weight_of(Recipe recipe, double s, double gap, double temperature) {
    switch (recipe) {
#define HNSCORE_RECIPE(name, ...) \
    case name:                    \
        return __VA_ARGS__::Term::exact(s, gap, temperature);
#include "recipes/recipes.def"
        default:
            return NAN;
    }
}

// |tau_j| must be below it, or a sum of 16 weights in row units could leave float32: (m_i tau_j)^kRowPower is at most
// 2^120, and m_i 2^kPlainExponent.
inline double most_tau(Recipe recipe) {
    const int power = kUsesGap[recipe] ? kRowPower[recipe] : 0;
    return power < 2 ? HUGE_VAL : std::ldexp(1.0, 120 / power - kPlainExponent);
}

// take.template epilogue<Epilogue>() of a recipe.
template <class Take>
void with_epilogue(Recipe recipe, const Take& take) {
    switch (recipe) {
#define HNSCORE_RECIPE(name, ...) \
    case name:                    \
        return take.template epilogue<__VA_ARGS__>();
#include "recipes/recipes.def"
        default:
            return;
    }
}

}  // namespace hnscore
