// Whether two models that answered the same items differ by more than chance.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "eval/bootstrap.h"
#include "eval/task_score.h"

namespace molora {

// The exact two-sided p value of McNemar's test: of the items that exactly one of two models gets
// right, `only_first` and `only_second`, each would be a fair coin if the models were equally good.
// Binomial, without approximation (Q. McNemar, Psychometrika 12, 1947); 1 when there are none.
// REQUIRES: neither is negative.
double mcnemar_p(int64_t only_first, int64_t only_second);

// For any score: in each of `options.resamples` rounds, each item's two results change sides with
// probability 1/2. Returns, by round, the score of the second side minus that of the first.
// `both`: the items of the first model, then the same items, in the same order, of the second.
std::vector<double> permuted_differences(const TaskScorer& both, std::string_view task,
                                         const ResamplingOptions& options);

// (1 + how many are at least as far from 0 as `observed`) / (1 + number): two-sided, never 0
// (B. Phipson and G. K. Smyth, "Permutation p-values should never be zero", 2010).
double permutation_p(const std::vector<double>& differences, double observed);

// Holm's adjusted p values, for all of which together the chance of one false finding stays below
// the level (S. Holm, Scandinavian Journal of Statistics 6, 1979); by place.
std::vector<double> holm_adjusted(const std::vector<double>& p_values);

}  // namespace molora
