#include "eval/item_answer.h"

#include <utility>
#include <vector>

#include "eval/choice_answer.h"

namespace molora {

namespace {

// What a model said, and how it was asked.
struct Said {
  AnswerWay way = AnswerWay::kLikelihood;
  std::string text;
};

std::optional<Said> said_to_question(const ChoiceQuestion& question, const ItemOutcome& outcome,
                                     AnswerWay way) {
  if (way == AnswerWay::kGenerate && outcome.generated) return Said{way, *outcome.generated};
  if (way == AnswerWay::kBiased && outcome.biased) return Said{way, *outcome.biased};
  if (!outcome.likeliest) return std::nullopt;
  return Said{AnswerWay::kLikelihood, question.candidates[*outcome.likeliest]};
}

std::vector<std::string> texts_of(const std::vector<size_t>& indices,
                                  const ChoiceQuestion& question) {
  std::vector<std::string> texts;
  texts.reserve(indices.size());
  for (const size_t index : indices) texts.push_back(question.candidates[index]);
  return texts;
}

ItemAnswer choice_answer(const ChoiceQuestion& question, Said said) {
  ItemAnswer answer{.metric = Metric::kAccuracy, .way = said.way};
  answer.expected = texts_of(question.correct, question);
  answer.given = said.way == AnswerWay::kLikelihood
                     ? std::vector<std::string>{said.text}
                     : texts_of(named_candidates(said.text, question), question);
  answer.is_parsed = !answer.given.empty();
  answer.text = std::move(said.text);
  return answer;
}

ItemAnswer benchmark_answer(const BenchmarkItem& item, Said said, AnswerReading reading) {
  const CblueTask& task = *item.task;
  ItemAnswer answer{.metric = task.metric, .way = said.way};
  // A reference label is what it is, also where it is no choice.
  const AnswerReading of_reference =
      task.form == AnswerForm::kLabel ? AnswerReading::kParity : AnswerReading::kStrict;
  answer.expected = read_cblue_answer(task, item.choices, item.reference, of_reference).items;
  CblueAnswer given = read_cblue_answer(task, item.choices, said.text, reading);
  answer.given = std::move(given.items);
  answer.is_parsed = given.has_form;
  answer.text = std::move(said.text);
  return answer;
}

}  // namespace

std::optional<ItemAnswer> read_answer(const EvalItem& item, const ItemOutcome& outcome,
                                      AnswerWay way, AnswerReading reading) {
  std::optional<Said> said;
  if (item.question) {
    said = said_to_question(item.question->question, outcome, way);
  } else if (outcome.generated) {
    said = Said{AnswerWay::kGenerate, *outcome.generated};
  }
  if (!said) return std::nullopt;
  if (item.benchmark) return benchmark_answer(*item.benchmark, *std::move(said), reading);
  if (item.question) return choice_answer(item.question->question, *std::move(said));
  return std::nullopt;
}

ItemRecord item_record(const EvalItem& item, const std::string& task, const ItemOutcome& outcome,
                       AnswerWay way, AnswerReading reading) {
  ItemRecord record;
  record.index = item.index;
  record.id = item.id;
  record.task = task;
  record.type = item.type;
  record.prompt = item.prompt_sha256;
  record.loss_sum = outcome.loss_sum;
  record.supervised = outcome.supervised;
  record.correct_tokens = outcome.correct_tokens;
  record.answer = read_answer(item, outcome, way, reading);
  return record;
}

}  // namespace molora
