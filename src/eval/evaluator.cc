#include "eval/evaluator.h"

#include <algorithm>
#include <map>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/mutation.h"
#include "comm/fixed_order_sum.h"
#include "device/compute_device.h"
#include "eval/choice_answer.h"
#include "generate/generator.h"
#include "train/loss.h"
#include "train/micro_batch.h"

namespace molora {

namespace {

constexpr size_t kSumsPerTask = 10;
constexpr double kLetterBias = 100.0;  // of MING's evaluation

TrainSequence scored_sequence(const std::vector<TokenId>& prompt,
                              const std::vector<TokenId>& candidate, int64_t task) {
  TrainSequence sequence;
  sequence.task = task;
  sequence.ids = prompt;
  sequence.ids.insert(sequence.ids.end(), candidate.begin(), candidate.end());
  sequence.supervised.assign(prompt.size(), 0);
  sequence.supervised.resize(sequence.ids.size(), 1);
  return sequence;
}

bool are_single_tokens(const EncodedQuestion& question) {
  return std::all_of(question.candidates.begin(), question.candidates.end(),
                     [](const auto& candidate) { return candidate.size() == 1; });
}

size_t index_of_largest(const std::vector<double>& scores) {
  return static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

// The log-likelihood of each sequence's supervised tokens, one forward pass.
std::vector<double> sequence_scores(const CausalLM& model, const std::vector<TrainRow>& rows) {
  const MicroBatch batch = make_micro_batch(rows);
  const TokenBatch tokens = on_device(batch.tokens, model.device());
  const ForwardContext context{.batch = tokens};
  const Tensor hidden_TD = model.hidden_states(context);
  const TokenLoss loss =
      next_token_loss(model, model.head_states(hidden_TD, batch.predictors_N, context),
                      to_device(batch.targets_N, model.device()));
  const Tensor sums = at::zeros(static_cast<int64_t>(rows.size()), at::kDouble);
  sums.index_add_(0, batch.sequence_N, -to_host(loss.nll_N).to(at::kDouble));
  return {sums.const_data_ptr<double>(), sums.const_data_ptr<double>() + sums.numel()};
}

}  // namespace

// What is summed per task, in the order in which it travels.
struct Evaluator::Sums {
  double samples = 0.0;
  double loss = 0.0;
  double supervised = 0.0;
  double correct_tokens = 0.0;
  double questions = 0.0;
  double correct_questions = 0.0;
  double chance_questions = 0.0;
  double generated = 0.0;
  double correct_generated = 0.0;
  double unnamed_generated = 0.0;

  void count_choice(const ChoiceQuestion& question, size_t chosen) {
    const bool is_one = question.correct.size() == 1;  // of several, one choice is never right
    questions += 1.0;
    correct_questions += is_one && chosen == question.correct.front() ? 1.0 : 0.0;
    chance_questions += is_one ? 1.0 / static_cast<double>(question.candidates.size()) : 0.0;
  }

  void count_generated(const ChoiceQuestion& question, const std::string& text) {
    const std::vector<size_t> named = named_candidates(text, question);
    generated += 1.0;
    unnamed_generated += named.empty() ? 1.0 : 0.0;
    correct_generated += named == question.correct ? 1.0 : 0.0;
  }
};

Evaluator::Evaluator(const CausalLM& model, const EvalSet& set, const EvaluatorOptions& options)
    : model_(model), set_(set), options_(options) {
  for (const std::string& task : set_.tasks) {
    task_numbers_.push_back(model_.adapters().task_number(task));
  }
}

Evaluation Evaluator::run(Communicator& communicator, const OnProgress& on_progress) const {
  const at::NoGradGuard no_grad;
  Evaluation evaluation;
  evaluation.outcomes.resize(set_.items.size());
  for (size_t begin = 0; begin < set_.items.size();) {
    size_t end = begin;
    for (int64_t tokens = 0; end < set_.items.size() && tokens < options_.tokens_per_pass; ++end) {
      tokens += static_cast<int64_t>(set_.items[end].sample.ids.size());
    }
    add_losses(begin, end, evaluation.outcomes);
    if (options_.max_new_tokens > 0) add_generated(begin, end, evaluation.outcomes);
    begin = end;
    if (on_progress) on_progress(begin, set_.items.size());
  }
  if (!MOLORA_MUTANT(kEvaluationLeavesEarly)) model_.join_others();

  std::vector<Sums> sums = task_sums(evaluation.outcomes);
  static_assert(sizeof(Sums) == kSumsPerTask * sizeof(double));
  if (!MOLORA_MUTANT(kEvaluationOfThisRank)) {
    fixed_order_sum(communicator,
                    std::span(reinterpret_cast<double*>(sums.data()), sums.size() * kSumsPerTask));
  }
  evaluation.results.resize(sums.size());
  for (size_t task = 0; task < sums.size(); ++task) {
    const auto count = [](double value) { return static_cast<int64_t>(value); };
    TaskResult& result = evaluation.results[task];
    result.set_task(set_.tasks[task]);
    result.set_samples(count(sums[task].samples));
    result.set_loss_sum(sums[task].loss);
    result.set_supervised(count(sums[task].supervised));
    result.set_correct_tokens(count(sums[task].correct_tokens));
    result.set_questions(count(sums[task].questions));
    result.set_correct_questions(count(sums[task].correct_questions));
    result.set_chance_questions(sums[task].chance_questions);
    if (options_.max_new_tokens == 0) continue;
    result.set_generated(count(sums[task].generated));
    result.set_correct_generated(count(sums[task].correct_generated));
    result.set_unnamed_generated(count(sums[task].unnamed_generated));
  }
  return evaluation;
}

std::vector<Evaluator::Sums> Evaluator::task_sums(const Outcomes& outcomes) const {
  std::vector<Sums> sums(set_.tasks.size());
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const EvalItem& item = set_.items[i];
    const ItemOutcome& outcome = outcomes[i];
    Sums& task = sums[item.task];
    task.samples += 1.0;
    task.loss += outcome.loss_sum;
    task.supervised += static_cast<double>(outcome.supervised);
    task.correct_tokens += static_cast<double>(outcome.correct_tokens);
    if (!item.question) continue;
    if (outcome.likeliest) task.count_choice(item.question->question, *outcome.likeliest);
    if (outcome.generated) task.count_generated(item.question->question, *outcome.generated);
  }
  return sums;
}

// One forward pass over the items gives their losses and, at the end of each prompt, the
// log-likelihoods of single-token candidates.
void Evaluator::add_losses(size_t begin, size_t end, Outcomes& outcomes) const {
  std::vector<TrainRow> rows;
  std::vector<int64_t> prompt_ends;
  std::vector<size_t> scored_here;
  int64_t offset = 0;
  for (size_t i = begin; i < end; ++i) {
    const EvalItem& item = set_.items[i];
    rows.push_back(
        {TrainSequence{item.sample.ids, item.sample.supervised, 0, task_numbers_[item.task]}});
    if (item.question && are_single_tokens(*item.question) &&
        item.question->prompt.size() <= item.sample.ids.size()) {
      prompt_ends.push_back(offset + static_cast<int64_t>(item.question->prompt.size()) - 1);
      scored_here.push_back(i);
    } else if (item.question) {
      outcomes[i].likeliest = index_of_largest(candidate_scores(*item.question, item.task));
    }
    offset += static_cast<int64_t>(item.sample.ids.size());
  }
  const MicroBatch batch = make_micro_batch(rows);
  const TokenBatch tokens = on_device(batch.tokens, model_.device());
  const ForwardContext context{.batch = tokens};
  const Tensor hidden_TD = model_.hidden_states(context);
  const TokenLoss loss =
      next_token_loss(model_, model_.head_states(hidden_TD, batch.predictors_N, context),
                      to_device(batch.targets_N, model_.device()));
  const Tensor nll_N = to_host(loss.nll_N).to(at::kDouble);
  const Tensor is_top_N = to_host(loss.is_top_N);
  for (int64_t n = 0; n < nll_N.size(0); ++n) {
    const auto sequence = static_cast<size_t>(batch.sequence_N.const_data_ptr<int64_t>()[n]);
    ItemOutcome& outcome = outcomes[begin + sequence];
    outcome.loss_sum += nll_N.const_data_ptr<double>()[n];
    ++outcome.supervised;
    outcome.correct_tokens += is_top_N.const_data_ptr<bool>()[n] ? 1 : 0;
  }
  if (scored_here.empty()) return;

  const Tensor ends_N = to_device(at::tensor(prompt_ends, at::kLong), model_.device());
  const Tensor logits_NV = to_host(model_.logits(hidden_TD.index_select(0, ends_N)));
  for (size_t n = 0; n < scored_here.size(); ++n) {
    add_choice(set_.items[scored_here[n]], logits_NV[static_cast<int64_t>(n)],
               outcomes[scored_here[n]]);
  }
}

// logits_V: of the token after the prompt, on the host.
void Evaluator::add_choice(const EvalItem& item, const Tensor& logits_V,
                           ItemOutcome& outcome) const {
  std::vector<double> scores;
  for (const auto& candidate : item.question->candidates) {
    scores.push_back(logits_V[candidate.front()].item<double>());
  }
  outcome.likeliest = index_of_largest(scores);
  if (!options_.adds_biased_answers || !item.question->question.are_letters) return;
  const Tensor biased_V = logits_V.clone();
  for (const auto& candidate : item.question->candidates)
    biased_V[candidate.front()] += kLetterBias;
  const auto token = static_cast<TokenId>(biased_V.argmax().item<int64_t>());
  outcome.biased = options_.decode({token});
}

std::vector<double> Evaluator::candidate_scores(const EncodedQuestion& question,
                                                size_t task) const {
  const at::NoGradGuard no_grad;
  std::vector<double> scores;
  std::vector<TrainRow> rows;
  int64_t tokens = 0;
  for (size_t i = 0; i < question.candidates.size(); ++i) {
    rows.push_back({scored_sequence(question.prompt, question.candidates[i], task_numbers_[task])});
    tokens += static_cast<int64_t>(rows.back().front().ids.size());
    if (tokens < options_.tokens_per_pass && i + 1 < question.candidates.size()) continue;
    const std::vector<double> part = sequence_scores(model_, rows);
    scores.insert(scores.end(), part.begin(), part.end());
    rows.clear();
    tokens = 0;
  }
  return scores;
}

void Evaluator::add_generated(size_t begin, size_t end, Outcomes& outcomes) const {
  std::map<int64_t, std::vector<size_t>> items_of_task;  // one, but where routers ask for the task
  for (size_t i = begin; i < end; ++i) {
    const EvalItem& item = set_.items[i];
    if (item.question || item.benchmark) items_of_task[task_numbers_[item.task]].push_back(i);
  }
  for (const auto& [task, items] : items_of_task) add_generated(task, items, outcomes);
}

void Evaluator::add_generated(int64_t task, const std::vector<size_t>& items,
                              Outcomes& outcomes) const {
  std::vector<std::vector<int32_t>> prompts;
  for (const size_t i : items) {
    const EvalItem& item = set_.items[i];
    prompts.push_back(item.question ? item.question->prompt : item.benchmark->prompt);
  }
  GenerationOptions options;
  options.task = task;
  options.max_new_tokens = options_.max_new_tokens;
  options.stop_ids = options_.stop_ids;
  const std::vector<Generated> answers = generate(model_, prompts, options);
  for (size_t n = 0; n < items.size(); ++n) {
    outcomes[items[n]].generated = options_.decode(answers[n].ids);
  }
}

}  // namespace molora
