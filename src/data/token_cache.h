// Tokenized data: one memory-mapped file for a list of sources, built once and found again by what
// it was built from.
//
// The name is the SHA-256 of everything that decides the content: the bytes, format and default
// task of each source, the fingerprints of tokenizer and chat template, max_length, too_long,
// on_bad_sample and how samples are read. Change any of them and another file is built; the paths
// of the sources do not matter.
//
// A file is built under a name of its own and renamed when it is complete, so that several
// processes may build the same one at once: each makes the same bytes and the last rename stays.
// Building holds one sample and 20 bytes for each sample before it in memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/sample_reader.h"
#include "io/file.h"
#include "run_config.pb.h"

namespace molora {

// What became of every sample of the sources. Kept in the cache: a second run reports the same.
struct DataReport {
  uint64_t num_read = 0;                  // conversations that could be read
  uint64_t num_bad = 0;                   // skipped (on_bad_sample: skip)
  uint64_t num_leading_answers = 0;       // read without their leading assistant turn
  uint64_t num_truncated = 0;             // kept, cut at max_length
  uint64_t num_without_answer = 0;        // of these, with nothing of an answer left (mask `ming`)
  uint64_t num_dropped_too_long = 0;      // too_long: drop
  uint64_t num_dropped_unsupervised = 0;  // no supervised token within max_length
  uint64_t num_kept = 0;
  uint64_t num_tokens = 0;             // of the kept samples
  uint64_t num_supervised_tokens = 0;  // of the kept samples; first tokens do not count
  std::vector<BadSample> first_bad;

  // "4650 read, 25 truncated, 4335 kept": the counts that are not 0, for logs and messages.
  std::string summary() const;
};

struct TokenCacheRequest {
  std::vector<DataSource> sources;    // read in this order
  const ChatTemplate& chat_template;  // used during open_or_build() only
  uint32_t max_length = 0;
  DataConfig::TooLong too_long = DataConfig::truncate;
  DataConfig::OnBadSample on_bad_sample = DataConfig::stop;
  std::filesystem::path folder;  // made when it does not exist

  // Called now and then while a file is built, with bytes of the sources.
  std::function<void(uint64_t done, uint64_t total)> progress = {};
};

// Samples are numbered in the order of the sources, those dropped left out.
// The spans are valid while the object lives. Threads: const methods may be called from several
// threads at once.
class TokenCache {
 public:
  uint32_t num_samples() const { return static_cast<uint32_t>(lengths_.size()); }
  // ids(i) and supervised(i) are equally long: lengths()[i], at least 2, at most max_length.
  // REQUIRES: sample < num_samples().
  std::span<const TokenId> ids(uint32_t sample) const;
  std::span<const uint8_t> supervised(uint32_t sample) const;
  // Index into tasks().
  uint32_t task(uint32_t sample) const;
  // The names of the tasks in the order of their first sample; "" where nothing names one.
  const std::vector<std::string>& tasks() const { return tasks_; }
  // Index into scripts().
  uint32_t script(uint32_t sample) const;
  // What questions and answers are written in, by the names of tokenizer/script.h.
  const std::vector<std::string>& scripts() const { return scripts_; }
  std::span<const uint32_t> lengths() const { return lengths_; }

  const DataReport& report() const { return report_; }
  // 64 hexadecimal digits: the name of the file, equal for equal data.
  const std::string& fingerprint() const { return fingerprint_; }
  const std::filesystem::path& path() const { return file_.path(); }
  // Why open_or_build() built the file; empty when it found it.
  const std::string& build_reason() const { return build_reason_; }

 private:
  friend TokenCache open_or_build(const TokenCacheRequest& request);
  // Throws: DataError when the file is not what a builder writes for this fingerprint.
  TokenCache(const std::filesystem::path& path, std::string fingerprint,
             const std::vector<DataSource>& sources);
  void read_metadata(std::string_view text, const std::vector<DataSource>& sources);

  MappedFile file_;
  std::string fingerprint_;
  std::string build_reason_;
  std::span<const uint64_t> offsets_;
  std::span<const uint32_t> lengths_;
  std::span<const uint32_t> task_of_;
  std::span<const uint32_t> script_of_;
  std::vector<std::string> tasks_;
  std::vector<std::string> scripts_;
  DataReport report_;
};

// The tokenized data of the request: found in its folder and checked against its digest, or built.
// A file that is there but damaged is built again, and build_reason() says so.
// Throws: DataError for bad samples (on_bad_sample: stop) and when no sample remains, with the
// counts; IoError.
TokenCache open_or_build(const TokenCacheRequest& request);

}  // namespace molora
