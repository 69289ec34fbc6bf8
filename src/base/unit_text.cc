#include "base/unit_text.h"

#include <span>

#include <fmt/format.h>

namespace molora {

namespace {

struct Unit {
  double size = 1;
  const char* name = "";
};
constexpr double kKibi = 1024;
constexpr Unit kByteUnits[] = {{kKibi * kKibi * kKibi * kKibi * kKibi * kKibi, "EiB"},
                               {kKibi * kKibi * kKibi * kKibi * kKibi, "PiB"},
                               {kKibi * kKibi * kKibi * kKibi, "TiB"},
                               {kKibi * kKibi * kKibi, "GiB"},
                               {kKibi * kKibi, "MiB"},
                               {kKibi, "KiB"},
                               {1, "B"}};
constexpr Unit kFlopUnits[] = {{1e18, "EFLOP"}, {1e15, "PFLOP"}, {1e12, "TFLOP"},
                               {1e9, "GFLOP"},  {1e6, "MFLOP"},  {1, "FLOP"}};
constexpr Unit kTimeUnits[] = {{1, "s"}, {1e-3, "ms"}, {1e-6, "us"}};

// In the largest unit that leaves at least 1, else in the smallest.
std::string with_unit(double value, std::span<const Unit> largest_first) {
  if (value == 0) return "0";
  const Unit* unit = &largest_first.back();
  for (const Unit& candidate : largest_first) {
    if (value < candidate.size) continue;
    unit = &candidate;
    break;
  }
  const double number = value / unit->size;
  const int decimals = number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}", number, decimals, unit->name);
}

}  // namespace

std::string bytes_text(double bytes) { return with_unit(bytes, kByteUnits); }

std::string flops_text(double flops) { return with_unit(flops, kFlopUnits); }

std::string seconds_text(double seconds) { return with_unit(seconds, kTimeUnits); }

std::string grouped_digits(int64_t number) {
  std::string digits = std::to_string(number);
  const std::ptrdiff_t first = number < 0 ? 1 : 0;
  for (std::ptrdiff_t at = std::ssize(digits) - 3; at > first; at -= 3) {
    digits.insert(static_cast<size_t>(at), 1, ',');
  }
  return digits;
}

}  // namespace molora
