#include "checkpoint/part_writer.h"

#include <algorithm>
#include <map>
#include <string>

#include <fmt/format.h>

#include "base/error.h"
#include "checkpoint/manifest.h"
#include "io/digest.h"
#include "io/safetensors.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

constexpr size_t kPieceBytes = size_t{4} << 20;

// A file that is digested while it is written.
class DigestedFile {
 public:
  DigestedFile(FileSystem& files, const std::filesystem::path& path,
               const std::atomic<bool>& is_given_up)
      : file_(files.create(path)), is_given_up_(is_given_up) {}

  // Returns the CRC-32C of these bytes alone.
  uint32_t write(std::span<const std::byte> bytes) {
    Crc32c crc;
    while (!bytes.empty()) {
      if (is_given_up_) throw CheckpointError("given up, because another part of it failed");
      const auto piece = bytes.first(std::min(bytes.size(), kPieceBytes));
      sha256_.update(piece);
      crc.update(piece);
      file_->write(piece);
      size_ += piece.size();
      bytes = bytes.subspan(piece.size());
    }
    return crc.value();
  }

  uint64_t size() const { return size_; }

  // On the device and closed.
  FileRecord finish(const std::string& name) {
    file_->sync();
    file_->close();
    FileRecord record;
    record.set_name(name);
    record.set_bytes(size_);
    record.set_sha256(sha256_.hex());
    return record;
  }

 private:
  std::unique_ptr<WritableFile> file_;
  const std::atomic<bool>& is_given_up_;
  Sha256 sha256_;
  uint64_t size_ = 0;
};

// "4,8,96@0,8,0": what a file says of a slice, so that it can be read without the manifest.
std::string slice_text(const TensorRecord& record) {
  return fmt::format("{}@{}", fmt::join(record.global_shape(), ","),
                     fmt::join(record.offset(), ","));
}

std::string header_of(const SnapshotFile& file, int64_t step) {
  std::vector<SafetensorsDeclaration> declarations;
  std::map<std::string, std::string> metadata = {
      {"format", fmt::format("molora checkpoint {}", kCheckpointFormatVersion)},
      {"step", std::to_string(step)}};
  for (const SnapshotTensor& tensor : file.tensors) {
    const TensorRecord& record = tensor.record;
    declarations.push_back({record.name(), stored_dtype(tensor.copy.scalar_type()),
                            Shape(record.shape().begin(), record.shape().end())});
    metadata["slice:" + record.name()] = slice_text(record);
  }
  return safetensors_header(declarations, metadata);
}

}  // namespace

PartRecord write_part(FileSystem& files, const std::filesystem::path& folder,
                      const HostSnapshot& snapshot, int64_t step,
                      const std::atomic<bool>& is_given_up) {
  PartRecord part;
  if (snapshot.files().empty()) return part;
  make_folders(files, folder);
  for (const SnapshotFile& file : snapshot.files()) {
    DigestedFile out(files, folder / file.name, is_given_up);
    const std::string header = header_of(file, step);
    out.write(std::as_bytes(std::span(header.data(), header.size())));
    for (const SnapshotTensor& tensor : file.tensors) {
      TensorRecord& record = *part.add_tensors();
      record = tensor.record;
      const auto bytes = tensor_bytes(tensor.copy);
      record.set_file_offset(out.size());
      record.set_bytes(bytes.size());
      record.set_crc32c(out.write(bytes));
    }
    *part.add_files() = out.finish(file.name);
  }
  return part;
}

}  // namespace molora
