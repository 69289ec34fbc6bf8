#include "report/downsample.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "base/check.h"

namespace molora {

namespace {

// False when no value is finite.
bool summarize(std::span<const Point> values, BandPoint& part) {
  double sum = 0.0;
  size_t count = 0;
  for (const Point& value : values) {
    if (!std::isfinite(value.y)) continue;
    part.low = count > 0 ? std::min(part.low, value.y) : value.y;
    part.high = count > 0 ? std::max(part.high, value.y) : value.y;
    sum += value.y;
    ++count;
  }
  part.x = 0.5 * (values.front().x + values.back().x);
  part.mean = count > 0 ? sum / static_cast<double>(count) : 0.0;
  return count > 0;
}

}  // namespace

size_t values_per_part(size_t num_values, size_t most) {
  MOLORA_CHECK(most > 0);
  return std::max<size_t>(1, (num_values + most - 1) / most);
}

std::vector<BandPoint> value_band(const std::vector<Point>& series, size_t most) {
  const size_t size = values_per_part(series.size(), most);
  const std::span<const Point> all(series);
  std::vector<BandPoint> band;
  for (size_t begin = 0; begin < all.size(); begin += size) {
    BandPoint part;
    if (summarize(all.subspan(begin, std::min(size, all.size() - begin)), part)) {
      band.push_back(part);
    }
  }
  return band;
}

std::vector<Point> moving_mean(const std::vector<BandPoint>& band, size_t window) {
  MOLORA_CHECK(window % 2 == 1, "window {}", window);
  std::vector<Point> means;
  for (size_t i = 0; i < band.size(); ++i) {
    const size_t reach = std::min({window / 2, i, band.size() - 1 - i});
    double sum = 0.0;
    for (size_t at = i - reach; at <= i + reach; ++at) sum += band[at].mean;
    means.push_back({band[i].x, sum / static_cast<double>(2 * reach + 1)});
  }
  return means;
}

}  // namespace molora
