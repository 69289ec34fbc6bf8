// Collects predicted collectives: the bytes of each kind on each axis, by the formulas of the
// communicators.
#pragma once

#include <vector>

#include "plan/traffic_plan.h"

namespace molora {

class TrafficItems {
 public:
  explicit TrafficItems(const MeshShape& mesh) : mesh_(mesh) {}

  // Over tp, each once for `values`, the bytes of the whole tensor over all groups of the axis:
  // every rank gets what the others have; every rank gets the sum of its part; the sum everywhere.
  void tensor_all_gather(Purpose purpose, Pass pass, double values);
  void tensor_reduce_scatter(Purpose purpose, Pass pass, double values);
  void tensor_sum(Purpose purpose, Pass pass, double values);
  // Over tp: from a slice of the rows with all columns to all rows with a slice of the columns, or
  // back.
  void tensor_reshape(Purpose purpose, Pass pass, double values);
  // Over ep; `bytes` over all ranks.
  void expert_all_to_all(Purpose purpose, Pass pass, double bytes);
  // Each rank's `values` bytes summed over the groups of an axis: scattered, then gathered.
  void axis_sum(Axis axis, double values, Purpose scatter, Purpose gather);

  void add_all(const std::vector<TrafficItem>& items);
  // The forward items once more, as recomputed ones.
  void repeat_forward();
  // Items that differ in nothing but numbers are added up.
  std::vector<TrafficItem> take();

 private:
  void add(const TrafficItem& item);

  MeshShape mesh_;
  std::vector<TrafficItem> items_;
};

}  // namespace molora
