#include "plan/machine_model.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

namespace {

double flops_of(const Hardware& hardware, ModelConfig::Precision precision) {
  switch (precision) {
    case ModelConfig::fp64:
      return hardware.flops().fp64();
    case ModelConfig::bf16:
      return hardware.flops().bf16();
    default:
      return hardware.flops().fp32();
  }
}

double bytes_of(ModelConfig::Precision precision) {
  return precision == ModelConfig::fp64 ? 8 : precision == ModelConfig::bf16 ? 2 : 4;
}

std::string precisions_of(const Hardware& hardware) {
  std::string text;
  for (const auto precision : {ModelConfig::fp64, ModelConfig::fp32, ModelConfig::bf16}) {
    if (flops_of(hardware, precision) == 0) continue;
    text += (text.empty() ? "" : ", ") + ModelConfig::Precision_Name(precision);
  }
  return text.empty() ? "none" : text;
}

}  // namespace

RankGroup group_of_axis(const MeshShape& mesh, Axis axis) {
  switch (axis) {
    case Axis::kAll:
      return {mesh.world(), 1};
    case Axis::kTensor:
      return {mesh.tp, 1};
    case Axis::kData:
      return {mesh.dp, mesh.tp};
    case Axis::kExpert:
      return {mesh.ep, 1};
    case Axis::kExpertData:
      return {mesh.edp, mesh.ep};
    case Axis::kKvReplicas:
      // kv_replicas neighbours of every tp group.
      return {mesh.dp * mesh.kv_replicas, std::max(1, mesh.tp / mesh.kv_replicas)};
  }
  return {};
}

MachineModel::MachineModel(const Hardware& hardware, ModelConfig::Precision precision)
    : name_(hardware.name()),
      peak_(flops_of(hardware, precision)),
      memory_bandwidth_(hardware.memory_bandwidth()),
      memory_bytes_(hardware.memory_bytes()),
      operator_latency_(hardware.operator_latency()),
      value_bytes_(bytes_of(precision)) {
  if (peak_ <= 0) {
    throw ConfigError(fmt::format(
        "'{}' has no flops for {} (it has: {}); set model.precision to one that it has, or add "
        "the figure to its file",
        name_, ModelConfig::Precision_Name(precision), precisions_of(hardware)));
  }
  for (const GemmEfficiency& point : hardware.gemm_efficiency()) {
    if (point.precision() != precision) continue;
    points_.push_back({std::log2(static_cast<double>(point.size())), point.share()});
  }
  std::sort(points_.begin(), points_.end(),
            [](const Point& a, const Point& b) { return a.log_size < b.log_size; });
  for (const HardwareLink& link : hardware.links()) {
    Link known{link.name(),
               static_cast<int>(link.ranks_per_domain()),
               {link.latency(), link.bandwidth()},
               {}};
    for (const CollectiveSpeed& speed : link.collectives()) {
      const Rate rate{speed.latency(),
                      speed.bandwidth() > 0 ? speed.bandwidth() : link.bandwidth()};
      if (speed.kind() == CollectiveSpeed::all_gather)
        known.better_known.emplace_back(CollectiveKind::kAllGather, rate);
      if (speed.kind() == CollectiveSpeed::all_to_all)
        known.better_known.emplace_back(CollectiveKind::kAllToAll, rate);
    }
    links_.push_back(std::move(known));
  }
}

const MachineModel::Rate& MachineModel::Link::of(CollectiveKind kind) const {
  for (const auto& [known, better] : better_known) {
    if (known == kind) return better;
  }
  return rate;
}

double MachineModel::share_at(double size) const {
  if (points_.empty()) return 1;
  const double log_size = std::log2(std::max(1.0, size));
  if (log_size <= points_.front().log_size) return points_.front().share;
  for (size_t i = 1; i < points_.size(); ++i) {
    const Point& low = points_[i - 1];
    const Point& high = points_[i];
    if (log_size > high.log_size) continue;
    const double part = (log_size - low.log_size) / (high.log_size - low.log_size);
    return low.share + part * (high.share - low.share);
  }
  return points_.back().share;
}

double MachineModel::arithmetic_seconds(double flops, double size) const {
  return flops / (peak_ * share_at(size));
}

double MachineModel::product_seconds(const MatrixProduct& product) const {
  if (product.flops() == 0) return 0;
  const double values = product.m * product.k + product.k * product.n + product.m * product.n;
  return std::max(arithmetic_seconds(product.flops(), std::min({product.m, product.k, product.n})),
                  memory_seconds(values * value_bytes_));
}

MachineModel::Route MachineModel::route(const RankGroup& group) const {
  const int span = (group.size - 1) * group.stride + 1;
  Route route{nullptr, nullptr, 1};
  for (const Link& link : links_) {
    if (link.domain == 0 || span <= link.domain) {
      route.outer = &link;
      return route;
    }
    // Some of the group are within this link's reach of each other.
    const int inside = std::max(1, link.domain / group.stride);
    if (inside > 1 && route.inner == nullptr) {
      route.inner = &link;
      route.inner_size = std::min(inside, group.size);
    }
  }
  throw ConfigError(fmt::format(
      "no link of '{}' connects {} ranks; say what lies between machines: --link nvlink+ib400",
      name_, span));
}

double MachineModel::collective_seconds(CollectiveKind kind, const RankGroup& group, double calls,
                                        double bytes) const {
  if (group.size <= 1 || calls == 0) return 0;
  const Route by = route(group);
  const Rate& outer = by.outer->of(kind);
  if (by.inner == nullptr) return calls * outer.latency + bytes / outer.bandwidth;
  const Rate& inner = by.inner->of(kind);
  const double stays = static_cast<double>(by.inner_size - 1) / (group.size - 1);
  return calls * (outer.latency + inner.latency) +
         std::max(bytes * stays / inner.bandwidth, bytes * (1 - stays) / outer.bandwidth);
}

std::string MachineModel::links_of(const RankGroup& group) const {
  if (group.size <= 1) return {};
  const Route by = route(group);
  return by.inner == nullptr ? by.outer->name : by.inner->name + " and " + by.outer->name;
}

}  // namespace molora
