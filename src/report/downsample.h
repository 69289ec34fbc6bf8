// Long series made short enough to draw without hiding anything: what is left out of a line is
// inside its band.
#pragma once

#include <cstddef>
#include <vector>

namespace molora {

struct Point {
  double x = 0.0;
  double y = 0.0;
};

// Some values that follow each other.
struct BandPoint {
  double x = 0.0;  // in the middle of them
  double low = 0.0;
  double high = 0.0;
  double mean = 0.0;
};

// How many values share one of at most `most` parts: 1 when there are no more than those.
// REQUIRES: most > 0.
size_t values_per_part(size_t num_values, size_t most);

// The series in parts of that many values (the last may have fewer). Values that are not finite are
// left out, and parts without any other.
std::vector<BandPoint> value_band(const std::vector<Point>& series, size_t most);

// The mean of the means of `window` parts around each one; at the ends of as many as there are on
// the shorter side. REQUIRES: window is odd.
std::vector<Point> moving_mean(const std::vector<BandPoint>& band, size_t window);

}  // namespace molora
