// What one rank of a run computes on, and what carries its tensors to the other ranks.
#pragma once

#include <memory>

#include <ATen/ATen.h>

#include "comm/mesh.h"
#include "comm/nccl_context.h"
#include "run_config.pb.h"

namespace molora {

class RankDevice {
 public:
  // As device and parallel.backend say; a GPU is this rank's from here on. Rank 0 logs what was
  // chosen. Collective.
  // Throws: ConfigError when it cannot be had, or when ranks come to different choices.
  RankDevice(const RunConfig& config, Communicator& world);
  ~RankDevice();
  RankDevice(const RankDevice&) = delete;
  RankDevice& operator=(const RankDevice&) = delete;
  RankDevice(RankDevice&&) = delete;
  RankDevice& operator=(RankDevice&&) = delete;

  at::Device device() const { return device_; }
  bool is_gpu() const { return !device_.is_cpu(); }

  // All communicators of a layout. Collective. Throws: ConfigError, CommError.
  Mesh make_mesh(Communicator& world, const MeshShape& shape) const;

 private:
  void start_gpu(const RunConfig& config, Communicator& world);

  at::Device device_ = at::kCPU;
  std::unique_ptr<NcclContext> nccl_;  // of several ranks on GPUs
};

}  // namespace molora
