#include "plan/traffic_items.h"

#include <algorithm>
#include <utility>

namespace molora {

void TrafficItems::tensor_all_gather(Purpose purpose, Pass pass, double values) {
  if (mesh_.tp == 1) return;
  add({purpose, pass, Axis::kTensor, CollectiveKind::kAllGather, 1, values * (mesh_.tp - 1)});
}

void TrafficItems::tensor_reduce_scatter(Purpose purpose, Pass pass, double values) {
  if (mesh_.tp == 1) return;
  add({purpose, pass, Axis::kTensor, CollectiveKind::kAllToAll, 1, values * (mesh_.tp - 1)});
}

void TrafficItems::tensor_sum(Purpose purpose, Pass pass, double values) {
  tensor_reduce_scatter(purpose, pass, values);
  tensor_all_gather(purpose, pass, values);
}

void TrafficItems::tensor_reshape(Purpose purpose, Pass pass, double values) {
  if (mesh_.tp == 1) return;
  add({purpose, pass, Axis::kTensor, CollectiveKind::kAllToAll, 1,
       values * (mesh_.tp - 1) / mesh_.tp});
}

void TrafficItems::expert_all_to_all(Purpose purpose, Pass pass, double bytes) {
  if (mesh_.ep == 1) return;
  add({purpose, pass, Axis::kExpert, CollectiveKind::kAllToAll, 1, bytes});
}

void TrafficItems::axis_sum(Axis axis, double values, Purpose scatter, Purpose gather) {
  const int size = axis_size(mesh_, axis);
  if (size == 1) return;
  const int groups = mesh_.world() / size;
  const double bytes = values * (size - 1) * groups;
  add({scatter, Pass::kStep, axis, CollectiveKind::kAllToAll, 1, bytes});
  add({gather, Pass::kStep, axis, CollectiveKind::kAllGather, 1, bytes});
}

void TrafficItems::add_all(const std::vector<TrafficItem>& items) {
  for (const TrafficItem& item : items) add(item);
}

void TrafficItems::repeat_forward() {
  const std::vector<TrafficItem> once = items_;
  for (TrafficItem item : once) {
    if (item.pass != Pass::kForward) continue;
    item.pass = Pass::kRecompute;
    add(item);
  }
}

std::vector<TrafficItem> TrafficItems::take() { return std::move(items_); }

void TrafficItems::add(const TrafficItem& item) {
  const auto same = std::find_if(items_.begin(), items_.end(), [&](const TrafficItem& other) {
    return item.purpose == other.purpose && item.pass == other.pass && item.axis == other.axis &&
           item.kind == other.kind;
  });
  if (same == items_.end()) {
    items_.push_back(item);
  } else {
    same->calls += item.calls;
    same->bytes += item.bytes;
  }
}

}  // namespace molora
