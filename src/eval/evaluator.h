// Held-out loss per task and exam accuracy, of the model as it is now.
//
// Every number comes from the training forward (model/decoder.h) without dropout. Loss: negative
// log-likelihood of the answer tokens. Questions by likelihood: the candidate with the largest
// log-likelihood given the prompt wins, the first of equals. Questions by generation: the model
// answers greedily, and what it names counts (eval/choice_answer.h); an answer that names no
// candidate is wrong and counted. By biased generation, as MING's evaluation does: one token,
// greedily, with 100 added to the logits of the question's option letters.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "checkpoint.pb.h"
#include "comm/communicator.h"
#include "eval/eval_set.h"
#include "eval/item_answer.h"
#include "model/decoder.h"

namespace molora {

struct EvaluatorOptions {
  int64_t tokens_per_pass = 4096;  // a forward pass takes about this many; memory against speed
  // Also generate answers, to questions and to other items of a benchmark: at most so many tokens
  // each; 0: none are generated.
  int64_t max_new_tokens = 0;
  // Also answer questions with option letters by one token with biased logits.
  bool adds_biased_answers = false;
  std::vector<TokenId> stop_ids;
  std::function<std::string(const std::vector<TokenId>&)> decode;  // needed for answers only
};

struct Evaluation {
  std::vector<TaskResult> results;    // over all ranks
  std::vector<ItemOutcome> outcomes;  // of this rank, by place in its set
};

class Evaluator {
 public:
  // Refers to model and set, which must outlive it. The set holds this rank's share.
  // Throws: ConfigError when the adapter routes by task and does not know one of the set's.
  Evaluator(const CausalLM& model, const EvalSet& set, const EvaluatorOptions& options);

  // Results: one per task of the set, over all members of `communicator`, which hold different
  // shares (the dp axis: the ranks of a tp group work on the same one); equal on every rank.
  // Collective over all ranks: the passes themselves, then one fp64 sum on `communicator`.
  // `on_progress`: called now and then with the items done and the items of this rank.
  using OnProgress = std::function<void(size_t, size_t)>;
  Evaluation run(Communicator& communicator, const OnProgress& on_progress = {}) const;

  // The log-likelihood of each candidate of a question of the set (for tests and reports).
  // `task`: index into the set's tasks.
  std::vector<double> candidate_scores(const EncodedQuestion& question, size_t task = 0) const;

 private:
  struct Sums;
  using Outcomes = std::vector<ItemOutcome>;
  void add_losses(size_t begin, size_t end, Outcomes& outcomes) const;
  void add_choice(const EvalItem& item, const Tensor& logits_V, ItemOutcome& outcome) const;
  void add_generated(size_t begin, size_t end, Outcomes& outcomes) const;
  void add_generated(int64_t task, const std::vector<size_t>& items, Outcomes& outcomes) const;
  std::vector<Sums> task_sums(const Outcomes& outcomes) const;

  const CausalLM& model_;
  const EvalSet& set_;
  EvaluatorOptions options_;
  std::vector<int64_t> task_numbers_;  // by the set's tasks, for routers that ask for them
};

}  // namespace molora
