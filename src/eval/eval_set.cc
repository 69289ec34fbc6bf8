#include "eval/eval_set.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "io/digest.h"

namespace molora {

namespace {

using Choices = std::vector<std::string>;

bool has_target(const EncodedSample& sample) {
  return std::any_of(sample.supervised.begin() + 1, sample.supervised.end(),
                     [](uint8_t flag) { return flag != 0; });
}

std::vector<Turn> turns_before_answer(const Conversation& conversation) {
  return {conversation.turns.begin(), conversation.turns.end() - 1};
}

std::string prompt_digest(const Conversation& conversation) {
  Sha256 digest;
  for (const Turn& turn : turns_before_answer(conversation)) {
    digest.update(role_name(turn.role));
    digest.update(std::string_view("\0", 1));
    digest.update(turn.text);
    digest.update(std::string_view("\0", 1));
  }
  return digest.hex();
}

// Of a benchmark's tasks those with labels are questions, whatever their wording.
std::optional<ChoiceQuestion> question_of(const Conversation& conversation,
                                          const CblueTask* benchmark) {
  if (benchmark == nullptr) return choice_question(conversation);
  if (benchmark->form != AnswerForm::kLabel) return std::nullopt;
  return question_among(conversation,
                        cblue_labels(*benchmark, conversation.choices.value_or(Choices())));
}

}  // namespace

EvalSetBuilder::EvalSetBuilder(const ChatTemplate& answers_template, const EvalSetOptions& options)
    : template_(answers_template), options_(options) {}

size_t EvalSetBuilder::task_index(const std::string& name) {
  const auto found = std::find(set_.tasks.begin(), set_.tasks.end(), name);
  if (found != set_.tasks.end()) return static_cast<size_t>(found - set_.tasks.begin());
  set_.tasks.push_back(name);
  taken_.push_back(0);
  return set_.tasks.size() - 1;
}

void EvalSetBuilder::add(const Conversation& conversation) {
  const size_t task = task_index(conversation.task.empty() ? "untagged" : conversation.task);
  const bool is_mine = num_taken_ % options_.num_shares == options_.share;
  if (options_.max_samples_per_task > 0 && taken_[task] >= options_.max_samples_per_task) {
    // Counted once over all shares.
    if (options_.share == 0) ++set_.num_over_limit;
    return;
  }
  ++taken_[task];
  const int64_t index = num_taken_++;
  if (!is_mine) return;

  EvalItem item;
  item.task = task;
  item.sample = template_.encode(conversation.turns);
  const auto limit = static_cast<size_t>(options_.max_length);
  if (item.sample.ids.size() > limit) {
    item.sample.ids.resize(limit);
    item.sample.supervised.resize(limit);
    ++(has_target(item.sample) ? set_.num_truncated : set_.num_dropped);
  }
  if (!has_target(item.sample)) return;
  const CblueTask* benchmark = find_cblue_task(conversation.dataset);
  item.question = encode_question(conversation, benchmark);
  if (benchmark != nullptr) {
    item.benchmark = BenchmarkItem{benchmark, conversation.choices.value_or(Choices()),
                                   conversation.turns.back().text,
                                   template_.encode_prompt(turns_before_answer(conversation))};
    if (item.benchmark->prompt.size() > limit) item.benchmark.reset();
  }
  item.index = index;
  item.id = conversation.id;
  item.type = conversation.type;
  item.prompt_sha256 = prompt_digest(conversation);
  set_.items.push_back(std::move(item));
}

std::optional<EncodedQuestion> EvalSetBuilder::encode_question(const Conversation& conversation,
                                                               const CblueTask* benchmark) const {
  auto question = question_of(conversation, benchmark);
  if (!question) return std::nullopt;
  EncodedQuestion encoded;
  std::vector<Turn> turns = turns_before_answer(conversation);
  encoded.prompt = template_.encode_prompt(turns);
  if (encoded.prompt.size() > static_cast<size_t>(options_.max_length)) return std::nullopt;
  for (const std::string& candidate : question->candidates) {
    turns.push_back({Role::kAssistant, candidate});
    // The tokens that the candidate has as an answer, whatever the template puts in front of it.
    const EncodedSample whole = template_.encode(turns);
    turns.pop_back();
    std::vector<TokenId> ids;
    for (size_t i = encoded.prompt.size(); i < whole.ids.size(); ++i) {
      if (whole.supervised[i] != 0) ids.push_back(whole.ids[i]);
    }
    if (question->are_letters && ids.size() > 1) ids.pop_back();  // the end token
    encoded.candidates.push_back(std::move(ids));
  }
  encoded.question = std::move(*question);
  return encoded;
}

EvalSet EvalSetBuilder::finish() {
  if (num_taken_ == 0) {
    throw DataError("there are no held-out samples to evaluate (data.eval)");
  }
  return std::move(set_);
}

}  // namespace molora
