#include "io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"
#include "base/nearest_name.h"
#include "io/strict_json.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr uint64_t kMaxTensorBytes = uint64_t{1} << 50;
constexpr size_t kMaxDims = 16;

[[noreturn]] void fail(const std::string& origin, std::string_view tensor,
                       const std::string& what) {
  if (tensor.empty()) throw DataError(fmt::format("{}: {}", origin, what));
  throw DataError(fmt::format("{}: tensor {}: {}", origin, tensor, what));
}

uint64_t little_endian_64(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    value |= uint64_t{std::to_integer<uint8_t>(bytes[i])} << (8 * i);
  }
  return value;
}

Shape parse_shape(const json& value, const std::string& origin, const std::string& name) {
  if (!value.is_array()) fail(origin, name, "shape is not a list");
  if (value.size() > kMaxDims) fail(origin, name, fmt::format("{} dimensions", value.size()));
  Shape shape;
  for (const json& dim : value) {
    if (!dim.is_number_unsigned() || dim.get<uint64_t>() > kMaxTensorBytes) {
      fail(origin, name, "shape holds something that is not a size: " + dim.dump());
    }
    shape.push_back(dim.get<int64_t>());
  }
  return shape;
}

// Bytes of shape * dtype, or nothing when that is absurdly large.
std::optional<uint64_t> tensor_bytes(const Shape& shape, DType dtype) {
  uint64_t bytes = dtype_bytes(dtype);
  for (const int64_t dim : shape) {
    if (dim != 0 && bytes > kMaxTensorBytes / static_cast<uint64_t>(dim)) return std::nullopt;
    bytes *= static_cast<uint64_t>(dim);
  }
  return bytes;
}

TensorEntry parse_entry(const std::string& name, const json& value, uint64_t data_begin,
                        const std::string& origin) {
  if (!value.is_object()) fail(origin, name, "its header entry is not an object");
  for (const auto& [key, unused] : value.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      fail(origin, name, fmt::format("unknown header key '{}'", key));
    }
  }
  if (!value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets")) {
    fail(origin, name, "its header entry lacks dtype, shape or data_offsets");
  }
  TensorEntry entry;
  entry.name = name;
  const json& dtype_text = value["dtype"];
  const auto dtype = dtype_text.is_string() ? dtype_from_name(dtype_text.get<std::string>())
                                            : std::optional<DType>{};
  if (!dtype)
    fail(origin, name, fmt::format("element type {} is not supported", dtype_text.dump()));
  entry.dtype = *dtype;
  entry.shape = parse_shape(value["shape"], origin, name);
  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    fail(origin, name, "data_offsets is not [begin, end]");
  }
  const auto begin = offsets[0].get<uint64_t>();
  const auto end = offsets[1].get<uint64_t>();
  const auto expected = tensor_bytes(entry.shape, entry.dtype);
  if (!expected || begin > end || end - begin != *expected) {
    fail(origin, name,
         fmt::format("shape {} of {} needs {} bytes, but data_offsets are [{}, {}]",
                     shape_text(entry.shape), dtype_name(entry.dtype),
                     expected ? fmt::to_string(*expected) : "too many", begin, end));
  }
  entry.offset = data_begin + begin;
  entry.bytes = end - begin;
  return entry;
}

void check_coverage(const std::vector<TensorEntry>& entries, uint64_t data_begin,
                    uint64_t file_bytes, const std::string& origin) {
  uint64_t position = data_begin;
  for (const TensorEntry& entry : entries) {
    if (entry.offset != position) {
      fail(
          origin, entry.name,
          fmt::format("begins at byte {}, but the tensor before it ends at {}: the header is wrong",
                      entry.offset - data_begin, position - data_begin));
    }
    position += entry.bytes;
    if (position > file_bytes) {
      fail(origin, entry.name,
           fmt::format("ends at byte {} of the file, which has only {}: the file is truncated",
                       position, file_bytes));
    }
  }
  if (position != file_bytes) {
    fail(origin, "",
         fmt::format("{} bytes follow the last tensor: the file is damaged or was "
                     "written wrongly",
                     file_bytes - position));
  }
}

}  // namespace

std::string shape_text(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

int64_t shape_elements(const Shape& shape) {
  int64_t elements = 1;
  for (const int64_t dim : shape) elements *= dim;
  return elements;
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> head, uint64_t file_bytes,
                                           const std::string& origin) {
  if (head.size() < kLengthBytes) {
    fail(origin, "", fmt::format("{} bytes are too few for a safetensors file", file_bytes));
  }
  const uint64_t header_bytes = little_endian_64(head);
  if (header_bytes > kMaxHeaderBytes || header_bytes > file_bytes - kLengthBytes ||
      header_bytes > head.size() - kLengthBytes) {
    fail(origin, "",
         fmt::format("claims a header of {} bytes, the file has {}: not a safetensors "
                     "file, or truncated",
                     header_bytes, file_bytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(head.data()) + kLengthBytes,
                              header_bytes);
  const json header = parse_json_object(text, origin + ": header");

  SafetensorsHeader result;
  const uint64_t data_begin = kLengthBytes + header_bytes;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) fail(origin, "", "__metadata__ is not an object");
      for (const auto& [key, metadata] : value.items()) {
        if (!metadata.is_string()) fail(origin, "", "__metadata__ holds more than strings");
        result.metadata[key] = metadata.get<std::string>();
      }
      continue;
    }
    result.entries.push_back(parse_entry(name, value, data_begin, origin));
  }
  std::stable_sort(result.entries.begin(), result.entries.end(),
                   [](const TensorEntry& a, const TensorEntry& b) {
                     return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
                   });
  check_coverage(result.entries, data_begin, file_bytes, origin);
  return result;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : reader_(path), file_(reader_) {
  SafetensorsHeader header =
      parse_safetensors_header(file_.bytes(), file_.bytes().size(), path.string());
  entries_ = std::move(header.entries);
  metadata_ = std::move(header.metadata);
  for (size_t i = 0; i < entries_.size(); ++i) index_[entries_[i].name] = i;
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

const TensorEntry& SafetensorsFile::at(std::string_view name) const {
  if (const TensorEntry* entry = find(name)) return *entry;
  std::vector<std::string> names;
  for (const TensorEntry& entry : entries_) names.push_back(entry.name);
  const std::string nearest = nearest_name(name, names);
  fail(path().string(), name,
       nearest.empty() ? "is not in the file"
                       : fmt::format("is not in the file; nearest: {}", nearest));
}

std::span<const std::byte> SafetensorsFile::bytes(const TensorEntry& entry) const {
  return file_.bytes().subspan(entry.offset, entry.bytes);
}

void SafetensorsFile::read(const TensorEntry& entry, uint64_t offset,
                           std::span<std::byte> into) const {
  MOLORA_CHECK(offset <= entry.bytes && into.size() <= entry.bytes - offset, "{}: {} + {} of {}",
               entry.name, offset, into.size(), entry.bytes);
  reader_.read_at(entry.offset + offset, into);
}

std::string safetensors_header(const std::vector<SafetensorsDeclaration>& declarations,
                               const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const SafetensorsDeclaration& tensor : declarations) {
    MOLORA_CHECK(tensor.name != "__metadata__" && !header.contains(tensor.name), "{}", tensor.name);
    const auto bytes = tensor_bytes(tensor.shape, tensor.dtype);
    MOLORA_CHECK(bytes.has_value(), "{} {}", tensor.name, shape_text(tensor.shape));
    header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + *bytes}}};
    offset += *bytes;
  }
  std::string text = header.is_null() ? "{}" : header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begin at a multiple of 8 bytes
  std::string length(kLengthBytes, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i) length[i] = static_cast<char>(text.size() >> (8 * i));
  return length + text;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<Declaration> declarations,
                                     const std::map<std::string, std::string>& metadata)
    : writer_(path), declarations_(std::move(declarations)) {
  writer_.write(safetensors_header(declarations_, metadata));
}

void SafetensorsWriter::write_next(std::span<const std::byte> bytes) {
  MOLORA_CHECK(next_ < declarations_.size());
  const Declaration& tensor = declarations_[next_++];
  MOLORA_CHECK_EQ(bytes.size(), *tensor_bytes(tensor.shape, tensor.dtype), "bytes of {}",
                  tensor.name);
  writer_.write(bytes);
}

void SafetensorsWriter::finish() {
  MOLORA_CHECK_EQ(next_, declarations_.size(), "tensors written");
  writer_.finish();
}

}  // namespace molora
