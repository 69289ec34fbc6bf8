#include "worker/training_data.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include "data/row_plan.h"
#include "worker/together.h"

namespace molora {

namespace {

// Says how far a long build has come, at most once in ten per cent.
class BuildProgress {
 public:
  void operator()(uint64_t done, uint64_t total) {
    const uint64_t tenth = total == 0 ? 10 : done * 10 / total;
    if (tenth <= said_ || total < kWorthSaying) return;
    said_ = tenth;
    spdlog::info("tokenizing: {}%", tenth * 10);
  }

 private:
  static constexpr uint64_t kWorthSaying = 32 << 20;
  uint64_t said_ = 0;
};

void check_same_data(const TokenCache& cache, Communicator& world) {
  const std::vector<std::string> all = all_gather_text(world, cache.fingerprint());
  const auto other =
      std::find_if(all.begin(), all.end(), [&](const std::string& f) { return f != all.front(); });
  if (other == all.end()) return;
  throw DataError(
      fmt::format("rank {} reads other training data or another tokenizer than rank 0 (fingerprint "
                  "{} against {}); the files must be the same on every machine",
                  other - all.begin(), *other, all.front()));
}

void report(const TokenCache& cache) {
  const DataReport& counts = cache.report();
  spdlog::info("training data: {}; {} tokens, {} of them in the loss{}", counts.summary(),
               counts.num_tokens, counts.num_supervised_tokens,
               cache.build_reason().empty() ? " (tokenized before)" : "");
  if (counts.num_without_answer > 0) {
    spdlog::warn(
        "{} samples are longer than data.max_length before their first answer begins: only format "
        "tokens of them are learned. Raise data.max_length, set data.too_long: drop, or "
        "data.label_mask: answers",
        counts.num_without_answer);
  }
  for (const BadSample& bad : counts.first_bad) spdlog::warn("skipped {}", bad.message());
  if (counts.num_bad > counts.first_bad.size()) {
    spdlog::warn("... and {} more bad samples were skipped (data.on_bad_sample: skip)",
                 counts.num_bad - counts.first_bad.size());
  }
}

}  // namespace

TrainingData::TrainingData(const RunConfig& config, const ChatTemplate& chat_template,
                           const std::filesystem::path& cache_folder, Communicator& world)
    : config_(config.data()), seed_(config.seed()) {
  const TokenCacheRequest request{.sources = {config_.train().begin(), config_.train().end()},
                                  .chat_template = chat_template,
                                  .max_length = config_.max_length(),
                                  .too_long = config_.too_long(),
                                  .on_bad_sample = config_.on_bad_sample(),
                                  .folder = cache_folder,
                                  .progress = BuildProgress()};
  const auto open = [&] { cache_ = std::make_unique<TokenCache>(open_or_build(request)); };
  together(world, [&] {
    if (world.rank() == 0) open();
  });
  together(world, [&] {
    if (world.rank() != 0) open();
  });
  check_same_data(*cache_, world);
  if (world.rank() == 0) report(*cache_);
  number_tasks(config.adapter().router());
}

void TrainingData::number_tasks(const RouterConfig& router) {
  const bool is_routed = router.input() == RouterConfig::task;
  if (is_routed) routed_tasks_.assign(router.tasks().begin(), router.tasks().end());
  for (const std::string& task : cache_->tasks()) {
    if (!is_routed) {
      task_numbers_.push_back(std::ssize(task_numbers_));
      continue;
    }
    const auto found = std::find(routed_tasks_.begin(), routed_tasks_.end(), task);
    if (found == routed_tasks_.end()) {
      throw ConfigError(fmt::format(
          "adapter.router.tasks: the training data have {}, which is not among them ({}); name all "
          "tasks of the data, found are: {}",
          task.empty() ? "samples without a task" : fmt::format("task '{}'", task),
          fmt::join(routed_tasks_, ", "), fmt::join(cache_->tasks(), ", ")));
    }
    task_numbers_.push_back(found - routed_tasks_.begin());
  }
}

std::vector<std::vector<uint32_t>> TrainingData::plan(int64_t epoch) const {
  return plan_rows({.lengths = cache_->lengths(),
                    .max_length = config_.max_length(),
                    .seed = seed_,
                    .epoch = epoch,
                    .shuffle = config_.shuffle(),
                    .packing = config_.packing()});
}

RowSource TrainingData::source() const {
  RowSource source;
  source.num_samples = cache_->num_samples();
  source.plan = [this](int64_t epoch) { return plan(epoch); };
  source.fetch = [this](uint32_t sample) {
    const auto ids = cache_->ids(sample);
    const auto supervised = cache_->supervised(sample);
    return TrainSequence{{ids.begin(), ids.end()},
                         {supervised.begin(), supervised.end()},
                         0,
                         task_numbers_[cache_->task(sample)],
                         cache_->script(sample)};
  };
  return source;
}

RowFeeder::RunLength run_length(const TrainConfig& config, const Progress& progress,
                                RowFeeder& feeder) {
  if (config.max_steps() > 0) return {static_cast<int64_t>(config.max_steps()), {}};
  return feeder.length_of(config.num_epochs(), {progress.epoch(), progress.next_row()},
                          progress.step());
}

}  // namespace molora
