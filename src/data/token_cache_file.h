// The layout of a file of tokenized data, and its writer.
//
//   head      "MOLORATC", u32 version, u32 0
//   records   per sample: i32 ids[length], u8 supervised[length], zeros to a multiple of 4 bytes
//   zeros     to a multiple of 8 bytes
//   index     u64 offsets[samples], u32 lengths[samples], u32 tasks[samples], u32 scripts[samples]
//   metadata  JSON: fingerprint, tasks, scripts, report
//   trailer   TokenCacheTrailer
// Numbers are little-endian. The end comes last because it is known last: the file is written front
// to back in one go.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/chat_template.h"
#include "io/file.h"

namespace molora {

// Part of the fingerprint: a change of how samples are read, cut or counted raises it.
constexpr uint32_t kSamplesVersion = 1;
// Of the layout: a file of another one is built anew.
constexpr uint32_t kTokenCacheVersion = 2;
constexpr std::string_view kTokenCacheMagic = "MOLORATC";
constexpr std::string_view kTokenCacheEnd = "MOLOREND";
constexpr size_t kTokenCacheHeadBytes = 16;
constexpr size_t kDigestDigits = 32;

struct TokenCacheTrailer {
  uint64_t index_offset = 0;
  uint64_t metadata_offset = 0;
  uint64_t num_samples = 0;
  std::array<char, kDigestDigits> digest = {};  // XXH3 of every byte of the file before this field
  std::array<char, 8> end = {};
};
static_assert(sizeof(TokenCacheTrailer) == 64);

class TokenCacheWriter {
 public:
  // Throws: IoError, as all functions here.
  explicit TokenCacheWriter(const std::filesystem::path& path);

  // task, script: by their numbers in the metadata.
  void add(const EncodedSample& sample, uint32_t task, uint32_t script);
  uint64_t num_samples() const { return lengths_.size(); }
  // Writes index, metadata and trailer, syncs and closes. REQUIRES: called once, last.
  void finish(std::string_view metadata);

 private:
  void put(const void* bytes, size_t size);
  void align(size_t multiple);
  void flush();

  std::filesystem::path path_;
  FileWriter writer_;
  std::string buffer_;
  std::vector<uint64_t> offsets_;
  std::vector<uint32_t> lengths_;
  std::vector<uint32_t> tasks_;
  std::vector<uint32_t> scripts_;
};

}  // namespace molora
