// What became of one held-out item: all that scores, intervals and comparisons are computed from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/label_scores.h"
#include "eval/metric.h"

namespace molora {

// How a model was asked.
enum class AnswerWay {
  kLikelihood,  // the candidate with the largest log-likelihood
  kBiased,      // one token, greedily, after +100 on the logits of the option letters
  kGenerate,    // greedy text, which is then read
};

// "likelihood", "biased", "generate".
std::string_view answer_way_name(AnswerWay way);
std::optional<AnswerWay> answer_way_named(std::string_view name);

// What was asked for, what was said, and how it was read.
struct ItemAnswer {
  Metric metric = Metric::kAccuracy;
  AnswerWay way = AnswerWay::kLikelihood;
  std::string text;        // as the model gave it; a candidate where it chose one
  bool is_parsed = false;  // whether it had the form that was asked for
  // Letters or one other choice, one label, the items of a set, or texts; of the reference, and of
  // the answer. The texts of a report are its fields: given[i] is held against expected[i].
  std::vector<std::string> expected;
  std::vector<std::string> given;
};

struct ItemRecord {
  int64_t index = 0;   // place among the evaluated items of the data, whatever the number of ranks
  std::string id;      // as the data has it; may be empty
  std::string task;    // as in the tables
  std::string type;    // as the data has it ("eval": "type"); may be empty
  std::string prompt;  // SHA-256 of all turns before the answer
  double loss_sum = 0.0;             // nats over the supervised tokens of the reference answer
  int64_t supervised = 0;            // how many
  int64_t correct_tokens = 0;        // of them: had the largest logit
  std::optional<ItemAnswer> answer;  // nothing for free text that is not scored
};

// The score of one answer alone, in [0, 1]: whether it is right (accuracy, labels), F1 of its set
// (1 when both are empty), mean ROUGE-L of its texts.
double answer_score(const ItemAnswer& answer);
// The counts of its set, each item once.
LabelCounts set_counts(const ItemAnswer& answer);
// ROUGE-L F1 of its texts, summed; a text that is missing counts as an empty one.
double rouge_sum(const ItemAnswer& answer);
// Whether it is exactly the reference: the same set; for texts the same text.
bool is_correct(const ItemAnswer& answer);

}  // namespace molora
