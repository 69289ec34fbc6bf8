// How long one rank of a machine takes for a matrix product, for elementwise work and for a
// collective: the formulas behind the figures of proto/hardware.proto.
//
//   product       max(2 m n k / (flops * share(smallest of m, n, k)), bytes / memory bandwidth)
//   elementwise   bytes / memory bandwidth
//   collective    latency + bytes / bandwidth, on the nearest link that connects the group; of a
//                 group that is wider than a domain, what stays in a domain goes over that link,
//                 the rest over the next, at the same time
#pragma once

#include <string>
#include <vector>

#include "comm/mesh.h"
#include "hardware.pb.h"
#include "run_config.pb.h"

namespace molora {

// [m, k] x [k, n].
struct MatrixProduct {
  double m = 0;
  double k = 0;
  double n = 0;
  double flops() const { return 2 * m * k * n; }
};

// Ranks first, first + stride, ...: one group of an axis.
struct RankGroup {
  int size = 1;
  int stride = 1;
};
RankGroup group_of_axis(const MeshShape& mesh, Axis axis);

class MachineModel {
 public:
  // Throws: ConfigError when the machine has no figure for this precision.
  MachineModel(const Hardware& hardware, ModelConfig::Precision precision);

  double product_seconds(const MatrixProduct& product) const;
  // Of flops that are done at the rate of products of this size, whatever they read.
  double arithmetic_seconds(double flops, double size) const;
  double memory_seconds(double bytes) const { return bytes / memory_bandwidth_; }
  // One rank's part of `calls` collectives in which it sends `bytes` together.
  // Throws: ConfigError when no link connects so many ranks.
  double collective_seconds(CollectiveKind kind, const RankGroup& group, double calls,
                            double bytes) const;

  double operator_latency() const { return operator_latency_; }
  double memory_bytes() const { return memory_bytes_; }
  // How many ranks the links connect; 0: as many as there are.
  int most_ranks() const { return links_.empty() ? 1 : links_.back().domain; }
  // The links that one group uses: "nvlink", "nvlink and ib400".
  std::string links_of(const RankGroup& group) const;

 private:
  struct Point {
    double log_size;
    double share;
  };
  struct Rate {
    double latency;
    double bandwidth;
  };
  struct Link {
    std::string name;
    int domain;  // 0: all ranks
    Rate rate;
    std::vector<std::pair<CollectiveKind, Rate>> better_known;
    const Rate& of(CollectiveKind kind) const;
  };
  // The link of the whole group, and the one inside it when there is a nearer one.
  struct Route {
    const Link* outer;
    const Link* inner;  // null: none
    int inner_size;     // ranks of the group in one domain of `inner`
  };
  double share_at(double size) const;
  Route route(const RankGroup& group) const;

  std::string name_;
  double peak_ = 0;
  double memory_bandwidth_ = 0;
  double memory_bytes_ = 0;
  double operator_latency_ = 0;
  double value_bytes_ = 4;
  std::vector<Point> points_;  // by size
  std::vector<Link> links_;    // nearest first
};

}  // namespace molora
