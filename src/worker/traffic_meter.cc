#include "worker/traffic_meter.h"

#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/unit_text.h"
#include "comm/fixed_order_sum.h"

namespace molora {

Traffic TrafficMeter::of_all_ranks() {
  Traffic sum = mesh_.traffic() - seen_;
  std::vector<int64_t> numbers;
  for (const auto& kinds : sum.counts) {
    for (const Traffic::Count& count : kinds) {
      numbers.push_back(static_cast<int64_t>(count.calls));
      numbers.push_back(static_cast<int64_t>(count.bytes));
    }
  }
  fixed_order_sum(mesh_.host(Axis::kAll), std::span(numbers));
  seen_ = mesh_.traffic();
  size_t next = 0;
  for (size_t axis = 0; axis < kNumAxes; ++axis) {
    for (size_t kind = 0; kind < kNumCollectiveKinds; ++kind) {
      Traffic::Count& count = sum.counts[axis][kind];
      count.calls = static_cast<uint64_t>(numbers[next++]);
      count.bytes = static_cast<uint64_t>(numbers[next++]);
      total_.counts[axis][kind].calls += count.calls;
      total_.counts[axis][kind].bytes += count.bytes;
    }
  }
  return sum;
}

nlohmann::json traffic_json(const Traffic& traffic) {
  nlohmann::json json = nlohmann::json::object();
  for (const Axis axis : kAxes) {
    for (size_t kind = 0; kind < kNumCollectiveKinds; ++kind) {
      const auto as_kind = static_cast<CollectiveKind>(kind);
      const uint64_t bytes = traffic.at(axis, as_kind).bytes;
      if (bytes > 0) json[axis_name(axis)][collective_name(as_kind)] = bytes;
    }
  }
  return json;
}

std::string traffic_text(const Traffic& traffic) {
  std::string axes;
  for (const Axis axis : kAxes) {
    if (traffic.bytes(axis) == 0) continue;
    std::string kinds;
    for (size_t kind = 0; kind < kNumCollectiveKinds; ++kind) {
      const auto as_kind = static_cast<CollectiveKind>(kind);
      const uint64_t bytes = traffic.at(axis, as_kind).bytes;
      if (bytes == 0) continue;
      kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", collective_name(as_kind),
                           bytes_text(static_cast<double>(bytes)));
    }
    axes += fmt::format("{}{} {}: {}", axes.empty() ? "" : "; ", axis_name(axis),
                        bytes_text(static_cast<double>(traffic.bytes(axis))), kinds);
  }
  return fmt::format("sent between ranks: {}{}",
                     bytes_text(static_cast<double>(traffic.total_bytes())),
                     axes.empty() ? "" : " (" + axes + ")");
}

}  // namespace molora
