#include "data/token_cache.h"

#include <cstring>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"
#include "data/token_cache_builder.h"
#include "data/token_cache_file.h"
#include "io/digest.h"

namespace molora {

namespace {

using nlohmann::json;

[[noreturn]] void damaged(const std::filesystem::path& path, const std::string& what) {
  throw DataError(fmt::format("{}: {}", path.string(), what));
}

TokenCacheTrailer checked_trailer(const MappedFile& file) {
  const auto bytes = file.bytes();
  TokenCacheTrailer trailer;
  if (bytes.size() < kTokenCacheHeadBytes + sizeof trailer) {
    damaged(file.path(), fmt::format("{} bytes are too few for tokenized data", bytes.size()));
  }
  if (file.text().substr(0, kTokenCacheMagic.size()) != kTokenCacheMagic) {
    damaged(file.path(), "does not begin as tokenized data does");
  }
  std::memcpy(&trailer, bytes.data() + bytes.size() - sizeof trailer, sizeof trailer);
  uint32_t version = 0;
  std::memcpy(&version, bytes.data() + kTokenCacheMagic.size(), sizeof version);
  if (version != kTokenCacheVersion) {
    damaged(file.path(), fmt::format("its layout is version {}, this program's is {}", version,
                                     kTokenCacheVersion));
  }
  if (std::string_view(trailer.end.data(), trailer.end.size()) != kTokenCacheEnd) {
    damaged(file.path(), "does not end as tokenized data does: it is truncated");
  }
  const size_t digested = bytes.size() - sizeof trailer + offsetof(TokenCacheTrailer, digest);
  const std::string digest = xxh3_hex(bytes.first(digested));
  if (std::string_view(trailer.digest.data(), trailer.digest.size()) != digest) {
    damaged(file.path(), "its bytes do not match their digest: it is damaged");
  }
  return trailer;
}

template <typename T>
std::span<const T> part(const MappedFile& file, uint64_t offset, uint64_t count) {
  return {reinterpret_cast<const T*>(file.bytes().data() + offset), count};
}

DataReport report_of(const json& value, const std::vector<DataSource>& sources) {
  DataReport report;
  for (const auto& [name, field] : kReportCounts) report.*field = value.at(name);
  for (const json& bad : value.at("first_bad")) {
    report.first_bad.push_back(
        {sources.at(bad.at("source").get<size_t>()).path(), bad.at("line"), bad.at("reason")});
  }
  return report;
}

}  // namespace

TokenCache::TokenCache(const std::filesystem::path& path, std::string fingerprint,
                       const std::vector<DataSource>& sources)
    : file_(path), fingerprint_(std::move(fingerprint)) {
  const TokenCacheTrailer trailer = checked_trailer(file_);
  const uint64_t end = file_.bytes().size() - sizeof trailer;
  constexpr uint64_t kIndexBytes = sizeof(uint64_t) + 3 * sizeof(uint32_t);
  if (trailer.index_offset > trailer.metadata_offset || trailer.metadata_offset > end ||
      trailer.num_samples > end / kIndexBytes || trailer.index_offset % alignof(uint64_t) != 0 ||
      trailer.metadata_offset - trailer.index_offset != trailer.num_samples * kIndexBytes) {
    damaged(path, "its index does not fit into the file");
  }
  const uint64_t count = trailer.num_samples;
  offsets_ = part<uint64_t>(file_, trailer.index_offset, count);
  lengths_ = part<uint32_t>(file_, trailer.index_offset + 8 * count, count);
  task_of_ = part<uint32_t>(file_, trailer.index_offset + 12 * count, count);
  script_of_ = part<uint32_t>(file_, trailer.index_offset + 16 * count, count);
  read_metadata(file_.text().substr(trailer.metadata_offset, end - trailer.metadata_offset),
                sources);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t bytes = lengths_[i] * (sizeof(TokenId) + sizeof(uint8_t));
    if (offsets_[i] % alignof(TokenId) != 0 || offsets_[i] > trailer.index_offset ||
        bytes > trailer.index_offset - offsets_[i] || task_of_[i] >= tasks_.size() ||
        script_of_[i] >= scripts_.size()) {
      damaged(path, fmt::format("sample {} of its index lies outside of the file", i));
    }
  }
}

void TokenCache::read_metadata(std::string_view text, const std::vector<DataSource>& sources) {
  try {
    const json metadata = json::parse(text);
    if (metadata.at("fingerprint") != fingerprint_) {
      damaged(file_.path(), "holds the data of another fingerprint");
    }
    tasks_ = metadata.at("tasks").get<std::vector<std::string>>();
    scripts_ = metadata.at("scripts").get<std::vector<std::string>>();
    report_ = report_of(metadata.at("report"), sources);
  } catch (const std::logic_error&) {
    damaged(file_.path(), "its metadata are not those of these sources");
  } catch (const json::exception&) {
    damaged(file_.path(), "its metadata are not those of tokenized data");
  }
}

std::span<const TokenId> TokenCache::ids(uint32_t sample) const {
  MOLORA_CHECK(sample < num_samples(), "sample {} of {}", sample, num_samples());
  return part<TokenId>(file_, offsets_[sample], lengths_[sample]);
}

std::span<const uint8_t> TokenCache::supervised(uint32_t sample) const {
  MOLORA_CHECK(sample < num_samples(), "sample {} of {}", sample, num_samples());
  return part<uint8_t>(file_, offsets_[sample] + lengths_[sample] * sizeof(TokenId),
                       lengths_[sample]);
}

uint32_t TokenCache::task(uint32_t sample) const {
  MOLORA_CHECK(sample < num_samples(), "sample {} of {}", sample, num_samples());
  return task_of_[sample];
}

uint32_t TokenCache::script(uint32_t sample) const {
  MOLORA_CHECK(sample < num_samples(), "sample {} of {}", sample, num_samples());
  return script_of_[sample];
}

TokenCache open_or_build(const TokenCacheRequest& request) {
  const std::string fingerprint = token_cache_fingerprint(request);
  const std::filesystem::path path = request.folder / (fingerprint + ".tokens");
  std::string reason = fmt::format("{}: not there yet", path.string());
  std::error_code unreachable;  // told by the attempt to build there
  if (std::filesystem::exists(path, unreachable)) {
    try {
      return TokenCache(path, fingerprint, request.sources);
    } catch (const DataError& error) {
      reason = error.what();
    }
  }
  build_token_cache(request, fingerprint, path);
  TokenCache cache(path, fingerprint, request.sources);
  cache.build_reason_ = std::move(reason);
  return cache;
}

}  // namespace molora
