// Many measured times in a few honest numbers: medians, quartiles, and the ratio of two series that
// were measured in turns.
#pragma once

#include <cstdint>
#include <vector>

namespace molora {

// The value below which this share of the sorted numbers lies, between two of them linearly.
// REQUIRES: not empty; 0 <= share <= 1.
double quantile(std::vector<double> values, double share);
inline double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

struct Spread {
  double least = 0;
  double first_quartile = 0;
  double median = 0;
  double third_quartile = 0;
  double most = 0;
};
Spread spread_of(const std::vector<double>& values);

// How many times as long `second` takes as `first`: the ratio of the medians, and where it lies
// with 95 % certainty.
struct TimeRatio {
  double ratio = 1;
  double low = 1;
  double high = 1;
};
// The interval is that of the percentile bootstrap (Efron and Tibshirani 1993): pairs, which were
// measured one after the other and share what the machine was doing, are drawn together. The draws
// are a function of `seed`. REQUIRES: as many of both, at least one.
TimeRatio paired_ratio(const std::vector<double>& first, const std::vector<double>& second,
                       uint64_t seed);

}  // namespace molora
