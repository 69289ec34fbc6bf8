// Held-out samples, made ready for the model once and evaluated many times.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/conversation.h"
#include "eval/cblue_task.h"
#include "eval/choice_question.h"
#include "tokenizer/tokenizer.h"

namespace molora {

// A question with its candidates as tokens.
struct EncodedQuestion {
  ChoiceQuestion question;
  std::vector<TokenId> prompt;  // up to where the answer begins
  // Per candidate: its tokens; a candidate that is a whole answer ends with the end-of-turn token,
  // so that "yes" and "yes, but" are told apart. Letters end nothing: an answer may go on.
  std::vector<std::vector<TokenId>> candidates;
};

// How the answer to an item of a benchmark is read, also where it is no question.
struct BenchmarkItem {
  const CblueTask* task = nullptr;  // never null
  std::vector<std::string> choices;
  std::string reference;        // the answer's text
  std::vector<TokenId> prompt;  // up to where the answer begins
};

struct EvalItem {
  size_t task = 0;       // index into EvalSet::tasks
  EncodedSample sample;  // supervised: the answers and their end tokens
  std::optional<EncodedQuestion> question;
  std::optional<BenchmarkItem> benchmark;
  // What names the item, as ItemRecord has it.
  int64_t index = 0;
  std::string id;
  std::string type;
  std::string prompt_sha256;
};

struct EvalSet {
  std::vector<std::string> tasks;  // in the order of their first sample
  std::vector<EvalItem> items;
  // What was left out, and why; part of every report.
  int64_t num_over_limit = 0;  // samples beyond max_samples_per_task
  int64_t num_truncated = 0;   // cut at max_length, still with a part of the answer
  int64_t num_dropped = 0;     // without any answer token within max_length
};

struct EvalSetOptions {
  int64_t max_length = 0;            // tokens
  int64_t max_samples_per_task = 0;  // 0: all
  // Only items with index % num_shares == share are encoded (the others keep their place in the
  // count): how ranks divide the work. The item index decides, so any number of ranks sees the same
  // items in total.
  int64_t share = 0;
  int64_t num_shares = 1;
};

// Takes conversations in their order and decides for each whether it counts.
class EvalSetBuilder {
 public:
  // Refers to the template, which must outlive it and have the mask `answers`.
  EvalSetBuilder(const ChatTemplate& answers_template, const EvalSetOptions& options);

  void add(const Conversation& conversation);
  // Throws: DataError when nothing is left to evaluate, with the counts.
  EvalSet finish();

 private:
  size_t task_index(const std::string& name);
  std::optional<EncodedQuestion> encode_question(const Conversation& conversation,
                                                 const CblueTask* benchmark) const;

  const ChatTemplate& template_;
  EvalSetOptions options_;
  EvalSet set_;
  std::vector<int64_t> taken_;  // per task
  int64_t num_taken_ = 0;
};

}  // namespace molora
