// Building the file of tokenized data of a request.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include "data/token_cache.h"

namespace molora {

// The counts of a report by their names in the file.
constexpr std::pair<const char*, uint64_t DataReport::*> kReportCounts[] = {
    {"num_read", &DataReport::num_read},
    {"num_bad", &DataReport::num_bad},
    {"num_leading_answers", &DataReport::num_leading_answers},
    {"num_truncated", &DataReport::num_truncated},
    {"num_without_answer", &DataReport::num_without_answer},
    {"num_dropped_too_long", &DataReport::num_dropped_too_long},
    {"num_dropped_unsupervised", &DataReport::num_dropped_unsupervised},
    {"num_kept", &DataReport::num_kept},
    {"num_tokens", &DataReport::num_tokens},
    {"num_supervised_tokens", &DataReport::num_supervised_tokens},
};

// SHA-256 of everything that decides the content, as token_cache.h lists it. Reads the sources
// whole. Throws: IoError.
std::string token_cache_fingerprint(const TokenCacheRequest& request);

// Reads, encodes and cuts every sample and leaves the file at `path`, complete or not at all.
// Throws: DataError, IoError, as open_or_build().
void build_token_cache(const TokenCacheRequest& request, const std::string& fingerprint,
                       const std::filesystem::path& path);

}  // namespace molora
