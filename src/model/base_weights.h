// The frozen weights of a published model: the slices that this rank holds, handed out read-only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include <ATen/ATen.h>

#include "model/architecture.h"
#include "model/weight_files.h"
#include "tensor/blockwise_quantization.h"

namespace molora {

using at::Tensor;

// How the weights are kept in memory.
struct WeightStorage {
  at::ScalarType type = at::kFloat;  // of the arithmetic, and of all that is not quantised
  // Of the matrices of the layers' linears; none: as the others. They are quantised from the values
  // in the files, so that `type` changes nothing in them.
  std::optional<BlockFormat> linears = std::nullopt;
  at::Device device = at::kCPU;
};

// Slices of the requested type that lie together in their file read the mapping in place and cannot
// be written; others, and all on a GPU, are copies of their own. They stay valid without the
// WeightFiles.
class BaseWeights {
 public:
  // The held_box() of every tensor for rank `tp_rank` of `tp`, of files whose contents have been
  // checked (WeightFiles says how); no more than that is read (and of quantised matrices what
  // shares a block with it). Matrices are quantised one after the other while they are read: at no
  // time are there more than a few MiB of them in a wider type.
  // Throws: IoError; DataError (load_quantized()). REQUIRES: as held_box().
  BaseWeights(const WeightFiles& files, const WeightStorage& storage, int64_t tp, int64_t tp_rank,
              std::string fingerprint);

  // All steps in one process: opens and checks the folder, and holds every tensor whole.
  // Throws: DataError with file, tensor and reason; IoError.
  BaseWeights(const std::filesystem::path& folder, const Architecture& architecture,
              at::ScalarType compute_type);

  // Random numbers in the place of weights, of the size that those of a model before training have:
  // norms 1, biases 0, matrices uniform with deviation 1 / sqrt(in). For measuring what a model
  // costs whose weights are not at hand. The rank's slices are drawn by themselves: ranks together
  // are no model.
  struct Random {
    WeightStorage storage;
    int64_t tp = 1;
    int64_t tp_rank = 0;
  };
  BaseWeights(const Architecture& architecture, const Random& random);

  // This rank's slice of the tensor of this published name; undefined when the architecture has
  // none (a bias, say). REQUIRES: it is not quantised.
  Tensor get(const std::string& name) const;
  // The same of a quantised matrix; nothing when the tensor is kept as it is.
  std::optional<QuantizedMatrix> quantized(const std::string& name) const;

  // WeightFiles::fingerprint() of the whole model: the same on every rank, whatever it holds.
  const std::string& fingerprint() const { return fingerprint_; }
  // Of the whole model in its files.
  int64_t stored_bytes() const { return stored_bytes_; }
  // Of the slices held here as they are kept, those that read the files in place included.
  int64_t kept_bytes() const { return kept_bytes_; }

  // A fingerprint of the slices as they are in memory now, quantised ones included: a test of
  // "frozen". Ranks of different tp_rank have different ones.
  std::string memory_fingerprint() const;

 private:
  BaseWeights(const WeightFiles& files, at::ScalarType compute_type);
  void keep(const std::string& name, const Tensor& slice);
  void keep(const std::string& name, const QuantizedMatrix& slice);

  std::map<std::string, Tensor> tensors_;
  std::map<std::string, QuantizedMatrix> quantized_;
  std::string fingerprint_;
  int64_t stored_bytes_ = 0;
  int64_t kept_bytes_ = 0;
};

}  // namespace molora
