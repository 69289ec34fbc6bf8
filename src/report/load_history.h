// How often experts were chosen, over the whole of a run in a bounded number of spans of steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace molora {

// Choices per router and expert, in steps that follow each other.
struct LoadSpan {
  int64_t first_step = 0;
  int64_t last_step = 0;
  std::vector<std::vector<double>> counts;  // [routers][experts]
};

// Each span holds the same number of added steps (the last may hold fewer); when there are too many
// spans, neighbours become one.
class LoadHistory {
 public:
  static constexpr size_t kMostSpans = 48;

  // Steps come in order. Counts of another shape than those before begin a new history.
  void add(int64_t step, const std::vector<std::vector<double>>& counts);
  void clear();

  const std::vector<LoadSpan>& spans() const { return spans_; }
  // The sum over the latest tenth of the spans, at least one. REQUIRES: not empty.
  LoadSpan latest() const;
  // The sum over all.
  LoadSpan total() const;

 private:
  std::vector<LoadSpan> spans_;
  size_t steps_per_span_ = 1;
  size_t steps_in_last_ = 0;
};

// Each expert's part of its router's choices; zeros where there are none.
std::vector<double> shares_of(const std::vector<double>& counts);

// How evenly the choices are spread over the experts: entropy of the shares over that of equal
// ones, 1 for equal, 0 for one expert alone. NaN without choices; 1 for a single expert.
double evenness(const std::vector<double>& counts);

}  // namespace molora
