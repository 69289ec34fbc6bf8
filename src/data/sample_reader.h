// The conversations of one data source, one after the other.
//
// Files: .jsonl (one object a line) and .json (one array of objects). The file is mapped and each
// element is parsed alone, so that memory is bounded by the largest element, not by the file. A
// UTF-8 byte order mark, CR LF, empty lines and a missing last newline are all accepted.
//
// Forms of an object, chosen by its keys when the source's format is `auto`:
//   ming      "conversations": [{"from" or "role": "human"|"gpt"|"system", "value": text}, ..]
//   messages  "messages": [{"role": "user"|"assistant"|"system", "content": text or
//             [{"type": "text", "text": text}, ..]}, ..]
//   alpaca    "instruction", "input" (appended after a newline), "output", and optionally "system"
//             and "history" ([[user, assistant], ..])
// and, where the format is `auto` only,
//   PromptCBLUE  "input", "target"
// Beside them are read: "task", "id", "choices", "answer"; the keys of PromptCBLUE's files
// ("task_dataset", "answer_choices", "sample_id"); and MING's "eval", an object with these keys,
// "answer_idx", "answer" and "type". Other keys are not looked at.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/conversation.h"
#include "run_config.pb.h"

namespace molora {

// A sample that was skipped.
struct BadSample {
  std::string path;
  uint64_t line = 0;  // where its element begins, from 1
  std::string reason;

  // "path:line: reason".
  std::string message() const;
};

struct ReadReport {
  uint64_t num_read = 0;             // conversations given
  uint64_t num_bad = 0;              // skipped
  uint64_t num_leading_answers = 0;  // conversations whose leading assistant turn was left out
  std::vector<BadSample> first_bad;  // the first kKeptBadSamples of the skipped ones

  static constexpr size_t kKeptBadSamples = 5;
};

struct SampleReaderOptions {
  // What the last turn must be.
  enum class LastTurn { kAssistant, kAny };

  LastTurn last_turn = LastTurn::kAssistant;
  DataConfig::OnBadSample on_bad_sample = DataConfig::stop;
};

class SampleReader {
 public:
  // Throws: DataError when the name ends in neither .jsonl nor .json; IoError.
  explicit SampleReader(const DataSource& source, const SampleReaderOptions& options = {});
  ~SampleReader();
  SampleReader(const SampleReader&) = delete;
  SampleReader& operator=(const SampleReader&) = delete;
  SampleReader(SampleReader&&) = delete;
  SampleReader& operator=(SampleReader&&) = delete;

  // The next conversation, or nothing at the end of the file.
  // Throws: DataError "file:line: what, expected, got" for a sample that cannot be used when
  // on_bad_sample is stop, and in every case for a .json file that is not one array.
  std::optional<Conversation> next();

  const ReadReport& report() const { return report_; }
  // How far the reading has come, for progress.
  uint64_t bytes_read() const;
  uint64_t bytes_total() const;

 private:
  struct Input;

  DataSource source_;
  SampleReaderOptions options_;
  std::unique_ptr<Input> input_;
  ReadReport report_;
};

}  // namespace molora
