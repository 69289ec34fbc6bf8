// Bytes sent between ranks, by axis of the mesh and kind of collective, over all ranks.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "comm/mesh.h"

namespace molora {

class TrafficMeter {
 public:
  // Counts from now on. Refers to the mesh.
  explicit TrafficMeter(const Mesh& mesh) : mesh_(mesh), seen_(mesh.traffic()) {}

  // What all ranks together have sent since the last call (or the start), equal on every rank; the
  // call's own traffic is left out. Collective.
  Traffic of_all_ranks();

  // What was sent up to now does not count.
  void restart() { seen_ = mesh_.traffic(); }
  // This part of what this rank has sent does not count.
  void leave_out(const Traffic& traffic) { seen_ = seen_ + traffic; }

  // The sum of what of_all_ranks() gave.
  const Traffic& total() const { return total_; }

 private:
  const Mesh& mesh_;
  Traffic seen_;
  Traffic total_;
};

// {"tp": {"all_to_all": bytes, ...}, ...} of what is not zero.
nlohmann::json traffic_json(const Traffic& traffic);

// "sent between ranks: 1.2 GiB (tp 1.1 GiB: all_gather 0.6 GiB, all_to_all 0.5 GiB; ...)".
std::string traffic_text(const Traffic& traffic);

}  // namespace molora
