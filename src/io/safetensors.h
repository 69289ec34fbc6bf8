// The safetensors format: named tensors in one file, read in place, written front to back.
//
// Layout: 8 bytes little-endian length of the header, the header (JSON: name -> dtype, shape,
// data_offsets; "__metadata__" -> strings), the tensors' bytes without gap or overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/dtype.h"
#include "io/file.h"

namespace molora {

using Shape = std::vector<int64_t>;

// "[2, 3]".
std::string shape_text(const Shape& shape);

// Elements of a shape. REQUIRES: no dimension is negative and the product fits (true of every shape
// that a SafetensorsFile gives).
int64_t shape_elements(const Shape& shape);

struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t offset = 0;  // from the beginning of the file
  uint64_t bytes = 0;
};

// An open and mapped safetensors file whose header has been checked against the file: known types,
// shapes that match the byte ranges, ranges without gap or overlap that end where the file ends.
class SafetensorsFile {
 public:
  // Throws: DataError with file, tensor and reason; IoError.
  explicit SafetensorsFile(const std::filesystem::path& path);

  // In the order of their bytes in the file.
  const std::vector<TensorEntry>& entries() const { return entries_; }
  // nullptr when there is none of this name.
  const TensorEntry* find(std::string_view name) const;
  // find(), or DataError with the nearest name.
  const TensorEntry& at(std::string_view name) const;
  // The bytes of a tensor; valid while this object lives.
  std::span<const std::byte> bytes(const TensorEntry& entry) const;
  // Fills `into` with bytes of a tensor from its byte `offset` on; unlike touched mapped bytes they
  // stay nowhere else in this process. REQUIRES: they end within the tensor. Throws: IoError.
  void read(const TensorEntry& entry, uint64_t offset, std::span<std::byte> into) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return reader_.path(); }

 private:
  FileReader reader_;
  MappedFile file_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

// The header of a safetensors file, checked. `file_bytes` is the length of the whole file that
// `head` begins; `origin` names the file in messages. Entries come in the order of their bytes.
// Throws: DataError.
struct SafetensorsHeader {
  std::vector<TensorEntry> entries;
  std::map<std::string, std::string> metadata;
};
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> head, uint64_t file_bytes,
                                           const std::string& origin);

// A tensor to be written.
struct SafetensorsDeclaration {
  std::string name;
  DType dtype;
  Shape shape;
};

// What comes before the tensors' bytes, which follow in the order of the declarations.
// REQUIRES: names are unique and none is "__metadata__".
std::string safetensors_header(const std::vector<SafetensorsDeclaration>& declarations,
                               const std::map<std::string, std::string>& metadata);

// Writes one file: all entries are declared first, then their bytes follow in the same order.
class SafetensorsWriter {
 public:
  using Declaration = SafetensorsDeclaration;
  // Throws: IoError. REQUIRES: names are unique and none is "__metadata__".
  SafetensorsWriter(const std::filesystem::path& path, std::vector<Declaration> declarations,
                    const std::map<std::string, std::string>& metadata);

  // The bytes of the next declared tensor. REQUIRES: bytes.size() is what its declaration says.
  void write_next(std::span<const std::byte> bytes);
  // Syncs and closes. REQUIRES: every declared tensor was written.
  void finish();

 private:
  FileWriter writer_;
  std::vector<Declaration> declarations_;
  size_t next_ = 0;
};

}  // namespace molora
