// The scale of a chart's axis: what part of its length a value lies at, which values get a tick,
// and how they are written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace molora {

// What a number counts, and so how people read it.
enum class Quantity {
  kNumber,   // "0.0123", "1.5e-05"
  kCount,    // "1,200", "1.5 M"
  kShare,    // 0.25 -> "25 %"
  kSeconds,  // "351 ms"
  kBytes,    // "1.50 GiB"
  kRate,     // tokens per second: "1.5 k"
};

// With three or four digits and the unit; "-" when it is not finite.
std::string quantity_text(double value, Quantity quantity);

struct Tick {
  double value = 0.0;
  std::string text;
};

class AxisScale {
 public:
  // Holds [low, high] with ends on ticks: about `num_ticks` of them at 1, 2 or 5 times a power of
  // ten. One value alone gets some room around it. REQUIRES: low <= high, both finite.
  static AxisScale linear(double low, double high, int num_ticks, Quantity quantity);
  // The same by decades. REQUIRES: 0 < low <= high.
  static AxisScale logarithmic(double low, double high, Quantity quantity);
  // From `first` to `last` exactly, with ticks at whole numbers in between. REQUIRES: first <=
  // last.
  static AxisScale steps(double first, double last, int num_ticks);

  // 0 at the low end, 1 at the high end; beyond the ends of the axis one of these.
  double position(double value) const;
  double low() const { return low_; }
  double high() const { return high_; }
  bool is_logarithmic() const { return is_logarithmic_; }
  const std::vector<Tick>& ticks() const { return ticks_; }

 private:
  double low_ = 0.0;
  double high_ = 1.0;
  bool is_logarithmic_ = false;
  std::vector<Tick> ticks_;
};

}  // namespace molora
