// The header of one safetensors file of a checkpoint, read through a FileSystem.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "io/file_system.h"
#include "io/safetensors.h"

namespace molora {

struct PartHeader {
  SafetensorsHeader content;
  uint64_t bytes = 0;  // of the header, with the length before it: where the tensors begin
};

// Reads the header alone; it is checked against the length that the file has, or should have:
// `file_bytes`. `origin` names the file in messages. Throws: DataError when it is no safetensors
// header that fits, IoError.
PartHeader read_part_header(const ReadableFile& file, uint64_t file_bytes,
                            const std::string& origin);

}  // namespace molora
