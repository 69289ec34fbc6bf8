// Fuzz target: the header of a safetensors file, out of arbitrary bytes.
//
// Each input is read twice: as the file that it is, and with its header's length set to where its
// last brace stands, so that mutations of the text reach the checks behind the length. Whatever is
// accepted must keep the promises of SafetensorsFile; anything thrown but DataError is a finding.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "io/dtype.h"
#include "io/safetensors.h"

namespace {

constexpr size_t kLengthBytes = 8;

void require(bool promise, const char* what) {
  if (promise) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

void check(const molora::SafetensorsHeader& header, uint64_t file_bytes) {
  std::set<std::string_view> names;
  uint64_t bytes = 0;
  for (const molora::TensorEntry& entry : header.entries) {
    require(names.insert(entry.name).second, "names are unique");
    const auto elements = static_cast<uint64_t>(molora::shape_elements(entry.shape));
    require(entry.bytes == elements * molora::dtype_bytes(entry.dtype), "bytes match the shape");
    const uint64_t begin = header.entries.front().offset + bytes;
    require(entry.offset == begin, "no gap and no overlap");
    bytes += entry.bytes;
  }
  if (!header.entries.empty()) {
    require(header.entries.front().offset + bytes == file_bytes, "the last tensor ends the file");
  }
}

void parse(const std::string& file) {
  try {
    check(molora::parse_safetensors_header(std::as_bytes(std::span(file)), file.size(), "input"),
          file.size());
  } catch (const molora::DataError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string file(reinterpret_cast<const char*>(data), size);
  parse(file);
  const size_t brace = file.rfind('}');
  if (brace == std::string::npos || brace < kLengthBytes) return 0;
  const uint64_t header_bytes = brace + 1 - kLengthBytes;
  std::memcpy(file.data(), &header_bytes, kLengthBytes);
  parse(file);
  return 0;
}
