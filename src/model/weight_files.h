// The files of a published model's weights: found, and checked whole before any rank keeps a slice.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/architecture.h"
#include "model/expected_tensors.h"
#include "model/weight_folder.h"

namespace molora {

// The weights of one model folder (model.safetensors, or the shards of
// model.safetensors.index.json).
//
// No function here communicates. Ranks that check together: each makes the object, checks its share
// of the contents, gathers the digests of all shares and makes the fingerprint of them.
class WeightFiles {
 public:
  // Opens and maps the files: every expected tensor is there once with its shape and a
  // floating-point type, and none is left over that would be ignored. Values are not read yet.
  // Throws: DataError with file, tensor and reason; IoError.
  WeightFiles(const std::filesystem::path& folder, const Architecture& architecture);

  // Reads the tensors of one share on all threads, through small buffers, and checks that every
  // value is finite. The tensors are dealt out in nearly equal bytes, in the same way on every
  // rank. Returns a text with a line for each tensor of the share: its name and its digest. Throws:
  // DataError, IoError. REQUIRES: 0 <= share < num_shares.
  std::string check_contents(int64_t share, int64_t num_shares) const;

  // 32 hexadecimal digits over name, type, shape and stored bytes of every tensor: equal for equal
  // weights however they are split into files and shares. `digests`: what check_contents() gave for
  // each share, in any order.
  // Throws: DataError when they are not the digests of every tensor once.
  std::string fingerprint(const std::vector<std::string>& digests) const;

  const Architecture& architecture() const { return architecture_; }
  // The tensors of the architecture, in the order of the forward pass.
  const std::vector<ExpectedTensor>& expected() const { return expected_; }
  // REQUIRES: the tensor is expected.
  const StoredTensor& at(const std::string& name) const { return tensors_.at(name); }
  // Of all expected tensors.
  int64_t stored_bytes() const;

 private:
  std::vector<std::string> names_of_share(int64_t share, int64_t num_shares) const;
  bool is_tied_head(const std::string& name) const;

  std::filesystem::path folder_;
  Architecture architecture_;
  std::vector<ExpectedTensor> expected_;
  StoredTensors tensors_;  // the expected ones and harmless others
};

}  // namespace molora
