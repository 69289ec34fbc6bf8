// Item records by hand, for tests of scores and comparisons.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "eval/item_record.h"

namespace molora::testing {

// An answered item: `given` against `expected`, with one token of this loss.
inline ItemRecord answered_item(const std::string& task, int64_t index, Metric metric,
                                std::vector<std::string> expected, std::vector<std::string> given,
                                double loss = 1.0) {
  ItemRecord record;
  record.task = task;
  record.index = index;
  record.id = task + "-" + std::to_string(index);
  record.prompt = "prompt of " + record.id;
  record.loss_sum = loss;
  record.supervised = 1;
  ItemAnswer answer;
  answer.metric = metric;
  answer.is_parsed = !given.empty();
  answer.expected = std::move(expected);
  answer.given = std::move(given);
  record.answer = answer;
  return record;
}

// A multiple-choice item whose right answer is A.
inline ItemRecord exam_item(const std::string& task, int64_t index, bool is_right,
                            double loss = 1.0) {
  return answered_item(task, index, Metric::kAccuracy, {"A"}, {is_right ? "A" : "B"}, loss);
}

inline std::vector<const ItemRecord*> pointers_to(const std::vector<ItemRecord>& records) {
  std::vector<const ItemRecord*> list;
  for (const ItemRecord& record : records) list.push_back(&record);
  return list;
}

}  // namespace molora::testing
