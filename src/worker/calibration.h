// What the planner needs to know of the machine that this process runs on, measured with what
// training uses: LibTorch's matrix products, and the communicators over the ranks that there are.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "comm/mesh.h"
#include "hardware.pb.h"
#include "plan/plan_input.h"

namespace molora {

struct CalibrationOptions {
  at::Device device = at::kCPU;
  std::vector<ModelConfig::Precision> precisions = {ModelConfig::fp64, ModelConfig::fp32,
                                                    ModelConfig::bf16};
  // The smallest dimension of the products; the others are the largest of these.
  std::vector<int64_t> sizes = {16, 32, 64, 128, 256, 512, 1024, 2048};
  int64_t memory_elements = int64_t{1} << 24;  // of the tensors that are added
  int64_t latency_repeats = 20000;
  // That a rank gives to a collective, about.
  std::vector<int64_t> bytes = {1 << 8,  1 << 10, 1 << 12, 1 << 14,
                                1 << 16, 1 << 18, 1 << 20, 1 << 22};
  int64_t link_repeats = 30;
};

// A mesh of these ranks for calibrate(): those of a machine are its tp groups, where every machine
// has as many and they are neighbours; else every rank is a group of its own. Collective.
MeshShape machine_shape(Communicator& world);

// All ranks measure at the same time, as they compute at the same time; numbers are the mean of
// the ranks, equal on all. Links: over the ranks of a machine, then over all. Collective.
// REQUIRES: a mesh of machine_shape().
Hardware calibrate(const Mesh& mesh, const CalibrationOptions& options);

// A line through times: seconds = latency + bytes / bandwidth.
struct LinkSample {
  double bytes = 0;
  double seconds = 0;
};
struct LinkFit {
  double latency = 0;
  double bandwidth = 0;  // 0: the times do not grow with the bytes
};
// Least squares of the relative errors, so that short messages count as much as long ones; neither
// number is negative. REQUIRES: at least one sample; times above 0.
LinkFit fit_link(const std::vector<LinkSample>& samples);

}  // namespace molora
