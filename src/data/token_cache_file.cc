#include "data/token_cache_file.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "io/digest.h"

namespace molora {

namespace {

static_assert(std::endian::native == std::endian::little, "the file is a memory image");

constexpr size_t kBufferBytes = size_t{1} << 20;

}  // namespace

TokenCacheWriter::TokenCacheWriter(const std::filesystem::path& path) : path_(path), writer_(path) {
  buffer_.reserve(kBufferBytes);
  put(kTokenCacheMagic.data(), kTokenCacheMagic.size());
  put(&kTokenCacheVersion, sizeof kTokenCacheVersion);
  align(kTokenCacheHeadBytes);
}

void TokenCacheWriter::add(const EncodedSample& sample, uint32_t task, uint32_t script) {
  offsets_.push_back(writer_.size() + buffer_.size());
  lengths_.push_back(static_cast<uint32_t>(sample.ids.size()));
  tasks_.push_back(task);
  scripts_.push_back(script);
  put(sample.ids.data(), sample.ids.size() * sizeof(TokenId));
  put(sample.supervised.data(), sample.supervised.size());
  align(alignof(TokenId));
}

void TokenCacheWriter::finish(std::string_view metadata) {
  align(alignof(uint64_t));
  TokenCacheTrailer trailer;
  trailer.num_samples = num_samples();
  trailer.index_offset = writer_.size() + buffer_.size();
  put(offsets_.data(), offsets_.size() * sizeof(uint64_t));
  put(lengths_.data(), lengths_.size() * sizeof(uint32_t));
  put(tasks_.data(), tasks_.size() * sizeof(uint32_t));
  put(scripts_.data(), scripts_.size() * sizeof(uint32_t));
  trailer.metadata_offset = writer_.size() + buffer_.size();
  put(metadata.data(), metadata.size());
  put(&trailer, offsetof(TokenCacheTrailer, digest));
  flush();
  const std::string digest = xxh3_hex(MappedFile(path_).bytes());
  std::copy(digest.begin(), digest.end(), trailer.digest.begin());
  std::copy(kTokenCacheEnd.begin(), kTokenCacheEnd.end(), trailer.end.begin());
  put(trailer.digest.data(), trailer.digest.size());
  put(trailer.end.data(), trailer.end.size());
  flush();
  writer_.finish();
}

void TokenCacheWriter::put(const void* bytes, size_t size) {
  if (buffer_.size() + size > kBufferBytes) flush();
  if (size > kBufferBytes) {
    writer_.write({static_cast<const std::byte*>(bytes), size});
  } else if (size > 0) {
    buffer_.append(static_cast<const char*>(bytes), size);
  }
}

void TokenCacheWriter::align(size_t multiple) {
  const uint64_t size = writer_.size() + buffer_.size();
  buffer_.append((multiple - size % multiple) % multiple, '\0');
}

void TokenCacheWriter::flush() {
  writer_.write(buffer_);
  buffer_.clear();
}

}  // namespace molora
