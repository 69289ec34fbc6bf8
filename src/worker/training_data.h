// The training data of a run: tokenized once, dealt out by position.
#pragma once

#include <memory>

#include "checkpoint.pb.h"
#include "comm/communicator.h"
#include "data/token_cache.h"
#include "run_config.pb.h"
#include "train/row_feeder.h"

namespace molora {

// Neither copied nor moved: the row sources made from it refer to it.
class TrainingData {
 public:
  // Finds or builds the token cache in `cache_folder`: rank 0 first, then the others, which find
  // it there unless their machine has a disk of its own. Every rank must end up with the same data.
  // Collective. Throws: DataError, IoError, ConfigError when routers ask for tasks that the data
  // do not have.
  TrainingData(const RunConfig& config, const ChatTemplate& chat_template,
               const std::filesystem::path& cache_folder, Communicator& world);
  ~TrainingData() = default;
  TrainingData(const TrainingData&) = delete;
  TrainingData& operator=(const TrainingData&) = delete;
  TrainingData(TrainingData&&) = delete;
  TrainingData& operator=(TrainingData&&) = delete;

  const TokenCache& cache() const { return *cache_; }
  // The rows of one epoch; a pure function of configuration and data.
  std::vector<std::vector<uint32_t>> plan(int64_t epoch) const;
  // The task of each number that sequences of source() have.
  const std::vector<std::string>& task_names() const {
    return routed_tasks_.empty() ? cache_->tasks() : routed_tasks_;
  }
  // Likewise of what they are written in.
  const std::vector<std::string>& script_names() const { return cache_->scripts(); }
  // Refers to this object, which must outlive the feeder that is made from it.
  RowSource source() const;

 private:
  void number_tasks(const RouterConfig& router);

  DataConfig config_;
  uint64_t seed_;
  std::vector<std::string> routed_tasks_;  // of a router by task, in its order; else empty
  std::vector<int64_t> task_numbers_;      // of the cache's tasks
  std::unique_ptr<TokenCache> cache_;
};

// How many steps a run has that stands at `progress`, and where its data end.
RowFeeder::RunLength run_length(const TrainConfig& config, const Progress& progress,
                                RowFeeder& feeder);

}  // namespace molora
