#include "checkpoint/part_header.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace molora {

namespace {

constexpr uint64_t kLengthBytes = 8;
// A header above this is refused by parse_safetensors_header; it need not be read for that.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

}  // namespace

PartHeader read_part_header(const ReadableFile& file, uint64_t file_bytes,
                            const std::string& origin) {
  std::vector<std::byte> head(std::min(file.size(), kLengthBytes));
  file.read_at(0, head);
  uint64_t length = 0;
  for (size_t i = 0; i < head.size(); ++i) {
    length |= uint64_t{std::to_integer<uint8_t>(head[i])} << (8 * i);
  }
  if (head.size() == kLengthBytes && length <= kMaxHeaderBytes &&
      length <= file.size() - kLengthBytes) {
    head.resize(kLengthBytes + length);
    file.read_at(kLengthBytes, std::span(head).subspan(kLengthBytes));
  }
  return {parse_safetensors_header(head, file_bytes, origin), kLengthBytes + length};
}

}  // namespace molora
