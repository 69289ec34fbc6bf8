#include "checkpoint/file_check.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "checkpoint/part_header.h"
#include "io/digest.h"

namespace molora {

namespace {

constexpr size_t kPieceBytes = size_t{4} << 20;

std::string place_text(const SavedSlice& slice, const SavedTensor& tensor) {
  return fmt::format("{}@{}", fmt::join(tensor.global_shape, ","), fmt::join(slice.offset, ","));
}

class FileCheck {
 public:
  FileCheck(FileSystem& files, const std::filesystem::path& step_folder,
            const FileExpectation& expected)
      : files_(files), path_(step_folder / expected.name), expected_(expected) {}

  std::vector<Damage> run() {
    try {
      if (!open()) return std::move(damages_);
      read_header();
      check_length();
      read_through();
      if (is_of_another_step()) return std::move(damages_);
      check_header();
      blame_rest();
    } catch (const IoError& error) {
      report({}, reading_at_, expected_.bytes, fmt::format("cannot be read: {}", error.what()));
    }
    return std::move(damages_);
  }

 private:
  using Part = FileExpectation::Part;

  void report(const std::string& tensor, uint64_t begin, uint64_t end, const std::string& what) {
    damages_.push_back({expected_.name, tensor, begin, end, what});
  }

  bool open() {
    if (!files_.exists(path_)) {
      report({}, 0, expected_.bytes, "is missing");
      for (const Part& part : expected_.parts) report_lost(part, 0);
      return false;
    }
    file_ = files_.open(path_);
    return true;
  }

  // What is left of a tensor in a file that ends at byte `end`.
  void report_lost(const Part& part, uint64_t end) {
    const SavedSlice& slice = part.slice;
    if (end > 0 && slice.end <= end) return;
    report(part.tensor->name, std::max(slice.begin, end), slice.end,
           slice.begin >= end ? "is lost" : "its end is lost");
  }

  // The header as it stands, or, of a file of a wrong length, as it was meant.
  void read_header() {
    for (const uint64_t bytes : {file_->size(), expected_.bytes}) {
      try {
        header_ = read_part_header(*file_, bytes, path_.string());
        break;
      } catch (const DataError& error) {
        if (header_fault_.empty()) header_fault_ = error.what();
      }
    }
    if (!header_) return;
    parts_ = expected_.parts;
    for (Part& part : parts_) {  // format 1: places are known from the header alone
      if (part.slice.end > 0) continue;
      for (const TensorEntry& entry : header_->content.entries) {
        if (entry.name != part.tensor->name) continue;
        part.slice.begin = entry.offset;
        part.slice.end = entry.offset + entry.bytes;
      }
    }
  }

  // Another step's file in this place; then nothing else that was found says more. When all else is
  // as it should be, the number itself is what changed.
  bool is_of_another_step() {
    if (!header_) return false;
    const auto step = header_->content.metadata.find("step");
    if (step == header_->content.metadata.end()) return false;
    if (step->second == fmt::to_string(expected_.step)) return false;
    const bool is_all_else_right = damages_.empty() && has_crcs();
    damages_.clear();
    report({}, 0, is_all_else_right ? header_end() : file_->size(),
           fmt::format("{} step {}, the manifest is that of step {}",
                       is_all_else_right ? "its header says" : "is a file of", step->second,
                       expected_.step));
    return true;
  }

  bool has_crcs() const {
    return std::any_of(expected_.parts.begin(), expected_.parts.end(),
                       [](const Part& part) { return part.slice.crc32c.has_value(); });
  }

  void check_length() {
    const uint64_t bytes = file_->size();
    if (bytes > expected_.bytes) {
      report({}, expected_.bytes, bytes,
             fmt::format("has {} bytes, the manifest says {}: these were added", bytes,
                         expected_.bytes));
    } else if (bytes < expected_.bytes) {
      report({}, bytes, expected_.bytes,
             fmt::format("has {} bytes, the manifest says {}: it is truncated", bytes,
                         expected_.bytes));
      for (const Part& part : header_ ? parts_ : expected_.parts) report_lost(part, bytes);
    }
  }

  // Digests of what should be there, without what was added behind it.
  void read_through() {
    const uint64_t end = std::min(file_->size(), expected_.bytes);
    Sha256 sha256;
    std::vector<Crc32c> crcs(expected_.parts.size());
    std::vector<std::byte> buffer(std::min<uint64_t>(kPieceBytes, end));
    for (reading_at_ = 0; reading_at_ < end; reading_at_ += buffer.size()) {
      const auto piece =
          std::span(buffer).first(std::min<uint64_t>(buffer.size(), end - reading_at_));
      file_->read_at(reading_at_, piece);
      sha256.update(piece);
      update_crcs(piece, crcs);
    }
    is_changed_ = end == expected_.bytes && sha256.hex() != expected_.sha256;
    for (size_t i = 0; i < crcs.size(); ++i) {
      const Part& part = expected_.parts[i];
      const SavedSlice& slice = part.slice;
      if (!slice.crc32c || slice.end > end || crcs[i].value() == *slice.crc32c) continue;
      report(part.tensor->name, slice.begin, slice.end,
             fmt::format("CRC-32C is {:08x}, the manifest says {:08x}", crcs[i].value(),
                         *slice.crc32c));
    }
  }

  void update_crcs(std::span<const std::byte> piece, std::vector<Crc32c>& crcs) const {
    const uint64_t piece_end = reading_at_ + piece.size();
    for (size_t i = 0; i < crcs.size(); ++i) {
      const SavedSlice& slice = expected_.parts[i].slice;
      if (slice.begin >= piece_end) break;
      const uint64_t begin = std::max(slice.begin, reading_at_);
      const uint64_t end = std::min(slice.end, piece_end);
      if (begin < end) crcs[i].update(piece.subspan(begin - reading_at_, end - begin));
    }
  }

  // Where the tensors begin, as far as the manifest tells or the header itself.
  uint64_t header_end() const {
    if (!expected_.parts.empty() && expected_.parts.front().slice.end > 0) {
      return expected_.parts.front().slice.begin;
    }
    return header_ ? header_->bytes : std::min(file_->size(), expected_.bytes);
  }

  // Whether the header names the tensors that the manifest does, each with its type, shape, bytes
  // and place in the global tensor.
  void check_header() {
    if (!header_) {
      const std::string_view fault = header_fault_;
      const std::string prefix = path_.string() + ": ";
      const bool has_path = fault.starts_with(prefix);
      report({}, 0, std::min(header_end(), file_->size()),
             fmt::format("its header: {}", has_path ? fault.substr(prefix.size()) : fault));
      return;
    }
    std::map<std::string, const TensorEntry*> entries;
    for (const TensorEntry& entry : header_->content.entries) entries[entry.name] = &entry;
    for (const Part& part : parts_) {
      const auto found = entries.find(part.tensor->name);
      const std::string fault = found == entries.end() ? "its header does not name the tensor"
                                                       : entry_fault(part, *found->second);
      if (!fault.empty()) report(part.tensor->name, 0, header_end(), fault);
      if (found != entries.end()) entries.erase(found);
    }
    for (const auto& [name, entry] : entries) {
      report(name, 0, header_end(), "its header names a tensor that the manifest does not");
    }
  }

  std::string entry_fault(const Part& part, const TensorEntry& entry) const {
    const auto [tensor, slice] = part;
    if (entry.dtype != tensor->dtype || entry.shape != slice.shape || entry.offset != slice.begin) {
      return fmt::format("its header says {} {} at byte {}, the manifest {} {} at byte {}",
                         dtype_name(entry.dtype), shape_text(entry.shape), entry.offset,
                         dtype_name(tensor->dtype), shape_text(slice.shape), slice.begin);
    }
    const auto place = header_->content.metadata.find("slice:" + tensor->name);
    if (place == header_->content.metadata.end() || place->second == place_text(slice, *tensor)) {
      return {};
    }
    return fmt::format("its header says slice {}, the manifest {}", place->second,
                       place_text(slice, *tensor));
  }

  // The SHA-256 tells of a change that nothing else explains: it is in bytes that no CRC-32C
  // covers.
  void blame_rest() {
    if (!is_changed_ || !damages_.empty()) return;
    const std::string what = "its SHA-256 is not the one in the manifest";
    uint64_t covered = 0;
    for (const Part& part : expected_.parts) {
      const SavedSlice& slice = part.slice;
      if (!slice.crc32c) continue;
      if (slice.begin > covered) {
        report({}, covered, slice.begin, what + ", the change is outside of all tensors");
      }
      covered = std::max(covered, slice.end);
    }
    if (covered < expected_.bytes || damages_.empty()) {
      report({}, covered < expected_.bytes ? covered : 0, expected_.bytes, what);
    }
  }

  FileSystem& files_;
  std::filesystem::path path_;
  const FileExpectation& expected_;
  std::unique_ptr<ReadableFile> file_;
  std::optional<PartHeader> header_;
  std::string header_fault_;
  std::vector<Part> parts_;  // of expected_, all with places; only with header_
  uint64_t reading_at_ = 0;
  bool is_changed_ = false;  // by the SHA-256
  std::vector<Damage> damages_;
};

}  // namespace

std::vector<FileExpectation> file_expectations(const CheckpointManifest& manifest,
                                               const TensorIndex& index) {
  std::map<std::string, std::vector<FileExpectation::Part>> parts;  // by file
  for (const auto& [name, tensor] : index.tensors) {
    for (const SavedSlice& slice : tensor.slices) parts[slice.file].push_back({&tensor, slice});
  }
  std::vector<FileExpectation> expectations;
  for (const FileRecord& file : manifest.files()) {
    auto& in_file = parts[file.name()];
    std::stable_sort(in_file.begin(), in_file.end(),
                     [](const auto& a, const auto& b) { return a.slice.begin < b.slice.begin; });
    expectations.push_back(
        {file.name(), file.bytes(), file.sha256(), manifest.progress().step(), in_file});
  }
  return expectations;
}

std::vector<Damage> check_file(FileSystem& files, const std::filesystem::path& step_folder,
                               const FileExpectation& expected) {
  return FileCheck(files, step_folder, expected).run();
}

}  // namespace molora
