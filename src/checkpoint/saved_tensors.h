// The tensors of a checkpoint, whole or any part of them, put together from the slices that its
// files hold: how the ranks that wrote it shared them does not matter to who reads.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "checkpoint.pb.h"
#include "checkpoint/open_files.h"
#include "checkpoint/tensor_index.h"
#include "io/file_system.h"

namespace molora {

using at::Tensor;

// Holds no tensor data; reads when asked to, at most one slice at a time. One thread uses it.
class SavedTensors {
 public:
  // `files` is referred to. Of format 1 the headers of all files are read; of later formats no file
  // is opened before it is needed.
  // Throws: CheckpointError when the manifest's slices do not make up whole tensors, or a format 1
  // file does not hold what the manifest says.
  SavedTensors(FileSystem& files, const std::filesystem::path& step_folder,
               const CheckpointManifest& manifest);

  // Sorted.
  std::vector<std::string> names() const;
  // nullptr when there is none of this name.
  const SavedTensor* find(const std::string& name) const;
  // find(), or CheckpointError with the nearest name.
  const SavedTensor& at(const std::string& name) const;

  // A tensor of its global shape, on the CPU. Throws: CheckpointError as read_into.
  Tensor whole(const std::string& name);

  // Fills `destination` with the box of the global tensor that begins at `offset` and has its
  // shape. Of a stored slice that it needs a part of, the bytes from the first to the last element
  // needed are read; a slice that is read entirely is checked against its CRC-32C (format 2).
  // REQUIRES: destination has the stored type and any strides and device; the box is in the tensor.
  // Throws: CheckpointError with file, tensor and byte range; parts of it may have been filled
  // then.
  void read_into(const std::string& name, const Shape& offset, const Tensor& destination);

 private:
  void find_places();
  void read_bytes(const SavedTensor& tensor, const SavedSlice& bytes, const Tensor& buffer);

  std::filesystem::path step_folder_;
  OpenFiles open_;
  std::map<std::string, SavedTensor> tensors_;
};

}  // namespace molora
