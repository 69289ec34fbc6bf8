// The held-out data of a run and the evaluator over them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "eval/evaluator.h"
#include "worker/model_session.h"

namespace molora {

struct HeldOutOptions {
  int64_t max_samples_per_task = 0;  // 0: all
  // Answers are also generated, at most so many tokens each; 0: not.
  int64_t max_new_tokens = 0;
  AnswerWay answers = AnswerWay::kLikelihood;  // what counts as the answer to a question
  AnswerReading reading = AnswerReading::kStrict;
};

struct EvaluatedItems {
  std::vector<TaskResult> results;
  std::vector<ItemRecord> records;  // of all ranks, in the order of the data
};

// The configuration with these files in place of data.eval, if there are any.
DataConfig with_held_out_files(const DataConfig& config, const std::vector<std::string>& files);

// Its parts refer to each other: neither copied nor moved.
class HeldOut {
 public:
  // Reads the sources (`data.eval`, or others in their place); each dp rank keeps its share. Rank 0
  // says what was left out. Collective. Throws: DataError, IoError.
  HeldOut(const DataConfig& config, const HeldOutOptions& options, const ModelSession& session,
          Communicator& world);
  ~HeldOut() = default;
  HeldOut(const HeldOut&) = delete;
  HeldOut& operator=(const HeldOut&) = delete;
  HeldOut(HeldOut&&) = delete;
  HeldOut& operator=(HeldOut&&) = delete;

  // This rank's share.
  const EvalSet& set() const { return set_; }

  // Collective.
  std::vector<TaskResult> evaluate(const Evaluator::OnProgress& on_progress = {}) const;
  // The same with what became of every item, on every rank. Collective.
  EvaluatedItems evaluate_items() const;

 private:
  HeldOutOptions options_;
  Communicator& data_axis_;
  // Held-out loss is over the answers, whatever mask the training uses: format tokens are learned
  // in a few steps and would hide what is worth knowing.
  ChatTemplate answers_template_;
  EvalSet set_;
  std::unique_ptr<Evaluator> evaluator_;
};

}  // namespace molora
