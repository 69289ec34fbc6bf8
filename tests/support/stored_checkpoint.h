// Small checkpoints of several ranks, put together by hand: what readers, verify and inspect are
// tested on, independent of the code that writes checkpoints.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "checkpoint/manifest.h"
#include "checkpoint/step_folder.h"
#include "io/digest.h"
#include "io/safetensors.h"
#include "tensor/tensor_bytes.h"

namespace molora::testing {

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Numbers that tell their place, and the step.
inline at::Tensor step_numbers(int64_t step, const Shape& shape, at::ScalarType type = at::kFloat) {
  const at::Tensor numbers = at::arange(shape_elements(shape), at::kDouble).view(shape);
  return (numbers * 0.25 - 3.0 + static_cast<double>(step)).to(type);
}

// A checkpoint of format 2 being put together. The manifest may be changed before it is written.
class StoredCheckpoint {
 public:
  explicit StoredCheckpoint(int64_t step) {
    manifest.set_format_version(2);
    manifest.mutable_progress()->set_step(step);
    manifest.set_base_fingerprint("base");
    manifest.set_data_fingerprint("data");
    manifest.set_reason("interval");
    LayoutRecord& layout = *manifest.mutable_layout();
    layout.set_ranks(2);
    layout.set_data_parallel(1);
    layout.set_tensor_parallel(2);
    layout.set_expert_parallel(2);
    layout.set_exchange("gate_up tokens");
  }

  // The box of `whole` that begins at `offset`, into one file.
  void add(const std::string& file, const std::string& name, const at::Tensor& whole,
           const Shape& offset, const Shape& shape) {
    at::Tensor box = whole;
    for (size_t d = 0; d < shape.size(); ++d) {
      box = box.narrow(static_cast<int64_t>(d), offset[d], shape[d]);
    }
    slices_[file].push_back({name, box.contiguous(), whole.sizes().vec(), offset});
    wholes_[name] = whole;
  }
  // `whole` cut into equal parts along `dim`, part r into the file of rank r.
  void add_parts(const std::string& kind, const std::string& name, const at::Tensor& whole, int dim,
                 int parts) {
    Shape shape = whole.sizes().vec();
    const int64_t length = shape[static_cast<size_t>(dim)] / parts;
    shape[static_cast<size_t>(dim)] = length;
    for (int part = 0; part < parts; ++part) {
      Shape offset(shape.size(), 0);
      offset[static_cast<size_t>(dim)] = part * length;
      add(part_file_name(kind, part), name, whole, offset, shape);
    }
  }
  void add_whole(const std::string& file, const std::string& name, const at::Tensor& whole) {
    add(file, name, whole, Shape(static_cast<size_t>(whole.dim()), 0), whole.sizes().vec());
  }

  // Writes root/step-N and returns it.
  std::filesystem::path write(const std::filesystem::path& root) {
    const std::filesystem::path folder = root / step_folder_name(manifest.progress().step());
    for (const auto& [file, slices] : slices_) write_part(folder, file, slices);
    write_manifest(folder);
    return folder;
  }
  void write_manifest(const std::filesystem::path& folder) const {
    write_bytes(folder / kManifestName, manifest_bytes(manifest));
  }

  const std::map<std::string, at::Tensor>& wholes() const { return wholes_; }

  CheckpointManifest manifest;

 private:
  struct Slice {
    std::string name;
    at::Tensor value;
    Shape global_shape;
    Shape offset;
  };

  void write_part(const std::filesystem::path& folder, const std::string& file,
                  const std::vector<Slice>& slices) {
    std::vector<SafetensorsDeclaration> declarations;
    std::map<std::string, std::string> metadata = {
        {"format", "molora checkpoint 2"}, {"step", fmt::to_string(manifest.progress().step())}};
    for (const Slice& slice : slices) {
      declarations.push_back(
          {slice.name, stored_dtype(slice.value.scalar_type()), slice.value.sizes().vec()});
      metadata["slice:" + slice.name] =
          fmt::format("{}@{}", fmt::join(slice.global_shape, ","), fmt::join(slice.offset, ","));
    }
    std::string content = safetensors_header(declarations, metadata);
    for (const Slice& slice : slices) {
      const std::span<const std::byte> bytes = tensor_bytes(slice.value);
      record(file, slice, content.size());
      content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    write_bytes(folder / file, content);
    FileRecord& written = *manifest.add_files();
    written.set_name(file);
    written.set_bytes(content.size());
    written.set_sha256(sha256_hex(content));
  }

  void record(const std::string& file, const Slice& slice, uint64_t file_offset) {
    TensorRecord& record = *manifest.add_tensors();
    record.set_name(slice.name);
    record.set_dtype(std::string(dtype_name(stored_dtype(slice.value.scalar_type()))));
    for (const int64_t dim : slice.global_shape) record.add_global_shape(dim);
    for (const int64_t dim : slice.offset) record.add_offset(dim);
    for (const int64_t dim : slice.value.sizes()) record.add_shape(dim);
    record.set_file(file);
    Crc32c crc;
    crc.update(tensor_bytes(slice.value));
    record.set_crc32c(crc.value());
    record.set_file_offset(file_offset);
    record.set_bytes(slice.value.nbytes());
  }

  std::map<std::string, std::vector<Slice>> slices_;
  std::map<std::string, at::Tensor> wholes_;
};

// Two ranks: experts cut along their first dimension, columns along their last one, a router that
// rank 0 owns whole and a bias that rank 1 does, with their moments.
inline StoredCheckpoint two_rank_checkpoint(int64_t step, at::ScalarType type = at::kFloat) {
  StoredCheckpoint checkpoint(step);
  for (const std::string kind : {"adapter/", "adamw.first/", "adamw.second/"}) {
    const std::string file = kind == "adapter/" ? "adapter" : "optimizer";
    const std::string up = kind + "layers.0.mlp.up_proj.";
    const double factor = kind == "adapter/" ? 1.0 : kind == "adamw.first/" ? 0.5 : 0.125;
    const auto numbers = [&](const Shape& shape) {
      return (step_numbers(step, shape, type) * factor).contiguous();
    };
    checkpoint.add_parts(file, up + "lora_A", numbers({4, 2, 8}), 0, 2);
    checkpoint.add_parts(file, up + "lora_B", numbers({4, 2, 6}), 2, 2);
    checkpoint.add_whole(part_file_name(file, 0), up + "router.weight", numbers({4, 8}));
    checkpoint.add_whole(part_file_name(file, 1), up + "router.bias", numbers({4}));
    checkpoint.add_whole(part_file_name(file, 0), kind + "layers.1.self_attn.q_proj.lora_A",
                         numbers({1, 3, 8}));
  }
  return checkpoint;
}

}  // namespace molora::testing
