// The frozen weights of a published model: the slices that this rank holds, handed out read-only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include <ATen/ATen.h>

#include "model/architecture.h"
#include "model/weight_files.h"

namespace molora {

using at::Tensor;

// Slices of the requested type that lie together in their file read the mapping in place and cannot
// be written; others, and all on a GPU, are copies of their own. They stay valid without the
// WeightFiles.
class BaseWeights {
 public:
  // The held_box() of every tensor for rank `tp_rank` of `tp`, of files whose contents have been
  // checked (WeightFiles says how); no more than that is read.
  // Throws: IoError. REQUIRES: as held_box().
  BaseWeights(const WeightFiles& files, at::ScalarType compute_type, int64_t tp, int64_t tp_rank,
              std::string fingerprint, at::Device device = at::kCPU);

  // All steps in one process: opens and checks the folder, and holds every tensor whole.
  // Throws: DataError with file, tensor and reason; IoError.
  BaseWeights(const std::filesystem::path& folder, const Architecture& architecture,
              at::ScalarType compute_type);

  // This rank's slice of the tensor of this published name; undefined when the architecture has
  // none (a bias, say).
  Tensor get(const std::string& name) const;

  // WeightFiles::fingerprint() of the whole model: the same on every rank, whatever it holds.
  const std::string& fingerprint() const { return fingerprint_; }
  // Of the whole model in its files.
  int64_t stored_bytes() const { return stored_bytes_; }
  // Of the slices held here in the compute type, those that read the files in place included.
  int64_t kept_bytes() const { return kept_bytes_; }

  // A fingerprint of the slices as they are in memory now: a test of "frozen". Ranks of different
  // tp_rank have different ones.
  std::string memory_fingerprint() const;

 private:
  BaseWeights(const WeightFiles& files, at::ScalarType compute_type);

  std::map<std::string, Tensor> tensors_;
  std::string fingerprint_;
  int64_t stored_bytes_ = 0;
  int64_t kept_bytes_ = 0;
};

}  // namespace molora
