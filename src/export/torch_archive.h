// Files of PyTorch's torch.save(): dictionaries of tensors, read without running their pickle.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "export/published_names.h"

namespace molora {

using at::Tensor;

// The tensors of a dictionary, as they are stored, each with memory of its own. The checksums of
// the archive's records are not looked at, as torch.load() does not. Throws: DataError with the
// file and the reason: not an archive of torch.save() (of torch 1.6 or later), damaged, of another
// byte order, or anything else in it than a dictionary of tensors (io/torch_pickle.h). IoError when
// the file cannot be opened.
std::map<std::string, Tensor> read_torch_archive(const std::filesystem::path& path);

// Writes a dictionary as torch.load() reads it, also with weights_only=True, and syncs it.
// Throws: IoError.
void write_torch_archive(const std::filesystem::path& path,
                         const std::vector<PublishedTensor>& tensors);

}  // namespace molora
