// From what a model did with an item to its record.
#pragma once

#include <optional>
#include <string>

#include "eval/cblue_task.h"
#include "eval/eval_set.h"
#include "eval/item_record.h"

namespace molora {

// What a model did with an item.
struct ItemOutcome {
  double loss_sum = 0.0;                 // nats over the supervised tokens
  int64_t supervised = 0;                // how many
  int64_t correct_tokens = 0;            // of them: had the largest logit
  std::optional<size_t> likeliest;       // candidate of the question
  std::optional<std::string> biased;     // the one token that was generated with biased logits
  std::optional<std::string> generated;  // the text that was generated
};

// The answer of a question by `way`; where the model was not asked so (bias: only option letters of
// one token), by likelihood. Of another benchmark item the generated text. Nothing for an item that
// is neither, or was not asked.
std::optional<ItemAnswer> read_answer(const EvalItem& item, const ItemOutcome& outcome,
                                      AnswerWay way, AnswerReading reading);

// task: the name of the item's.
ItemRecord item_record(const EvalItem& item, const std::string& task, const ItemOutcome& outcome,
                       AnswerWay way, AnswerReading reading);

}  // namespace molora
