#include "report/axis_scale.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/check.h"
#include "base/unit_text.h"

namespace molora {

namespace {

// The distance between ticks: 1, 2 or 5 times a power of ten, the smallest that needs no more than
// `num_ticks` of them.
double nice_distance(double range, int num_ticks) {
  const double rough = range / std::max(1, num_ticks);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * (1 - 1e-9)) return factor * power;
  }
  return 10.0 * power;
}

// Digits after the point that tell neighbours at this distance apart.
int decimals_of(double distance) {
  return std::clamp(static_cast<int>(std::ceil(-std::log10(distance) - 1e-9)), 0, 12);
}

std::string without_trailing_zeros(std::string text) {
  if (text.find('.') == std::string::npos || text.find('e') != std::string::npos) return text;
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

// "950", "1.2 k", "34.5 M".
std::string scaled_text(double value) {
  const double size = std::fabs(value);
  if (size < 1000) return without_trailing_zeros(fmt::format("{:.{}f}", value, size < 10 ? 2 : 1));
  for (const auto& [unit, name] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}) {
    if (size < unit) continue;
    const double number = value / unit;
    return without_trailing_zeros(
               fmt::format("{:.{}f}", number, std::fabs(number) < 99.95 ? 1 : 0)) +
           " " + name;
  }
  return fmt::format("{}", value);
}

std::string plain_text(double value) {
  const double size = std::fabs(value);
  if (value == 0) return "0";
  if (size < 1e-3 || size >= 1e6) return fmt::format("{:.2e}", value);
  const int decimals = std::clamp(3 - static_cast<int>(std::floor(std::log10(size))), 0, 6);
  return fmt::format("{:.{}f}", value, decimals);
}

// A tick's text shows what tells it from its neighbours and no more.
// `largest`: of all ticks of the axis.
std::string tick_text(double value, double distance, double largest, Quantity quantity) {
  if (value == 0 && quantity != Quantity::kShare) return "0";
  switch (quantity) {
    case Quantity::kShare:
      return fmt::format("{:.{}f} %", 100 * value, decimals_of(100 * distance));
    case Quantity::kNumber: {
      const bool is_usual = largest >= 1e-3 && largest < 1e6;
      if (is_usual) return fmt::format("{:.{}f}", value, decimals_of(distance));
      std::string text = fmt::format("{:.1e}", value);
      const size_t zero = text.find(".0e");
      return zero == std::string::npos ? text : text.erase(zero, 2);
    }
    case Quantity::kSeconds: {
      const double unit = value < 1e-3 ? 1e-6 : value < 1 ? 1e-3 : 1;
      const char* name = value < 1e-3 ? "us" : value < 1 ? "ms" : "s";
      return without_trailing_zeros(
                 fmt::format("{:.{}f}", value / unit, decimals_of(distance / unit))) +
             " " + name;
    }
    case Quantity::kBytes:
      return bytes_text(value);
    case Quantity::kCount:
    case Quantity::kRate:
      return scaled_text(value);
  }
  return {};
}

}  // namespace

std::string quantity_text(double value, Quantity quantity) {
  if (!std::isfinite(value)) return "-";
  switch (quantity) {
    case Quantity::kNumber:
      return plain_text(value);
    case Quantity::kCount:
      return std::fabs(value) < 1e6 ? grouped_digits(std::llround(value)) : scaled_text(value);
    case Quantity::kShare:
      return fmt::format("{:.1f} %", 100 * value);
    case Quantity::kSeconds:
      return seconds_text(value);
    case Quantity::kBytes:
      return bytes_text(value);
    case Quantity::kRate:
      return scaled_text(value);
  }
  return {};
}

AxisScale AxisScale::linear(double low, double high, int num_ticks, Quantity quantity) {
  MOLORA_CHECK(std::isfinite(low) && std::isfinite(high) && low <= high, "axis from {} to {}", low,
               high);
  if (high - low <= 1e-12 * std::max(std::fabs(low), std::fabs(high))) {
    const double room = low == 0 ? 1 : 0.1 * std::fabs(low);
    low -= low == 0 ? 0 : room;
    high += room;
  }
  const double distance = nice_distance(high - low, num_ticks);
  AxisScale scale;
  const double first = std::floor(low / distance + 1e-9);
  const double last = std::ceil(high / distance - 1e-9);
  scale.low_ = first * distance;
  scale.high_ = last * distance;
  const double largest = std::max(std::fabs(scale.low_), std::fabs(scale.high_));
  for (double at = first; at <= last; ++at) {
    const double value = at * distance;
    scale.ticks_.push_back({value, tick_text(value, distance, largest, quantity)});
  }
  return scale;
}

AxisScale AxisScale::logarithmic(double low, double high, Quantity quantity) {
  MOLORA_CHECK(low > 0 && low <= high && std::isfinite(high), "axis from {} to {}", low, high);
  AxisScale scale;
  scale.is_logarithmic_ = true;
  const auto first = static_cast<int>(std::floor(std::log10(low) + 1e-9));
  const auto last = std::max(first + 1, static_cast<int>(std::ceil(std::log10(high) - 1e-9)));
  scale.low_ = std::pow(10.0, first);
  scale.high_ = std::pow(10.0, last);
  constexpr int kMostTicks = 6;
  const int every = 1 + (last - first) / kMostTicks;
  for (int decade = first; decade <= last; decade += every) {
    const double value = std::pow(10.0, decade);
    scale.ticks_.push_back({value, tick_text(value, value, value, quantity)});
  }
  return scale;
}

AxisScale AxisScale::steps(double first, double last, int num_ticks) {
  MOLORA_CHECK(std::isfinite(first) && std::isfinite(last) && first <= last, "steps {} to {}",
               first, last);
  AxisScale scale;
  scale.low_ = first;
  scale.high_ = last > first ? last : first + 1;
  const double distance = std::max(1.0, nice_distance(scale.high_ - first, num_ticks));
  // Counted, because far enough out a number and its successor are the same.
  const double begin = std::ceil(first / distance);
  for (int i = 0; i <= num_ticks && (begin + i) * distance <= last; ++i) {
    scale.ticks_.push_back({(begin + i) * distance, scaled_text((begin + i) * distance)});
  }
  return scale;
}

double AxisScale::position(double value) const {
  const double part = is_logarithmic_
                          ? std::log(std::max(value, low_) / low_) / std::log(high_ / low_)
                          : (value - low_) / (high_ - low_);
  return std::clamp(part, 0.0, 1.0);
}

}  // namespace molora
