#include "worker/dry_run.h"

#include <unistd.h>

#include <filesystem>
#include <string>

#include <fmt/format.h>

#include "base/unit_text.h"
#include "config/resolved_yaml.h"
#include "data/row_plan.h"
#include "plan/layout.h"
#include "plan/memory_plan.h"
#include "plan/plan_input.h"
#include "worker/console.h"
#include "worker/model_session.h"
#include "worker/together.h"
#include "worker/training_data.h"

namespace molora {

namespace {

// A folder that is gone when the work is done, however it ends.
class ScratchFolder {
 public:
  ScratchFolder()
      : path_(std::filesystem::temp_directory_path() /
              fmt::format("molora-dry-run-{}", ::getpid())) {}
  ~ScratchFolder() {
    std::error_code ignored;  // a leftover in the temporary folder harms nobody
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ScratchFolder(ScratchFolder&&) = delete;
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string mebibytes(double bytes) { return fmt::format("{:.1f} MiB", bytes / (1 << 20)); }

std::string parameter_text(const Architecture& architecture, const RunConfig& config) {
  const int64_t base = count_base_parameters(architecture);
  const AdapterCounts counts = count_adapter_parameters(architecture, config.adapter());
  const auto line = [](const char* name, int64_t count) {
    return fmt::format("  {:<22}{:>18}\n", name, grouped_digits(count));
  };
  std::string text = "parameters\n";
  text += line("total", base + counts.total());
  text += line("base (frozen)", base);
  text += line("trainable", counts.trained());
  text += line("  experts", counts.experts - counts.frozen_experts);
  text += line("  routers", counts.routers);
  text += line("  plain LoRA", counts.lora);
  text += fmt::format("  trainable share       {:>17.3f}%\n",
                      100.0 * static_cast<double>(counts.trained()) / static_cast<double>(base));
  if (counts.frozen_experts > 0) {
    text += fmt::format("  frozen experts: {} of {} keep their values ({} parameters)\n",
                        config.adapter().frozen_experts_size(), config.adapter().num_experts(),
                        grouped_digits(counts.frozen_experts));
  }
  return text;
}

// Of the layout that would run, with the exchange that would be chosen.
std::string memory_text(const Architecture& architecture, const RunConfig& config,
                        const MeshShape& shape) {
  const ExchangeChoice choice = choose_modes(config, architecture, shape);
  const MemoryPlan memory = memory_plan(plan_input(config, architecture, shape), choice.modes);
  std::string text = fmt::format(
      "memory of one rank, without activations\n"
      "  base                  {:>18}\n"
      "  adapter               {:>18}\n"
      "  gradients             {:>18}\n"
      "  AdamW moments         {:>18}\n",
      mebibytes(memory.base), mebibytes(memory.adapter), mebibytes(memory.gradients),
      mebibytes(memory.moments));
  if (memory.gathered_experts > 0) {
    text += fmt::format("  gathered experts      {:>18}\n", mebibytes(memory.gathered_experts));
  }
  text += fmt::format("  copy for checkpoints  {:>18}\n", mebibytes(memory.checkpoint_copy));
  return text;
}

std::string run_text(const RunConfig& config, const TrainingData& data, const MeshShape& shape) {
  const TrainConfig& train = config.train();
  RowFeeder feeder(data.source(), train.global_batch_size());
  const RowFeeder::RunLength length = run_length(train, Progress(), feeder);
  const auto rows = data.plan(0);
  const DataReport& report = data.cache().report();
  const int64_t groups = shape.dp;
  const int64_t rows_per_rank = (train.global_batch_size() + groups - 1) / groups;
  const int64_t micro_steps =
      (rows_per_rank + train.micro_batch_size() - 1) / train.micro_batch_size();
  const double fill = fill_rate(
      {.lengths = data.cache().lengths(), .max_length = config.data().max_length()}, rows);
  return fmt::format(
      "what would run\n"
      "  data                  {}\n"
      "  tokens                {} ({} of them in the loss)\n"
      "  rows in a pass        {} of at most {} tokens, {:.1f}% full\n"
      "  ranks                 {} ({})\n"
      "  step                  {} rows: {} micro-steps of up to {} rows on each dp rank\n"
      "  steps                 {} ({})\n"
      "  output                {}\n",
      report.summary(), grouped_digits(static_cast<int64_t>(report.num_tokens)),
      grouped_digits(static_cast<int64_t>(report.num_supervised_tokens)),
      grouped_digits(std::ssize(rows)), config.data().max_length(), 100.0 * fill, shape.world(),
      mesh_text(shape), train.global_batch_size(), micro_steps, train.micro_batch_size(),
      grouped_digits(length.num_steps),
      train.max_steps() > 0 ? "train.max_steps"
                            : fmt::format("{} passes over the data", train.num_epochs()),
      config.output_dir());
}

std::string describe(const RunConfig& config, int world_size) {
  const ScratchFolder scratch;
  const auto alone = make_single_communicator("dry run");
  const SessionParts parts = read_session_parts(config);
  const MeshShape shape =
      check_layout(config.parallel(), config.adapter(), parts.architecture, world_size);
  const TrainingData data(config, parts.chat_template, scratch.path(), *alone);
  return fmt::format("{}\n{}\n{}\n{}", resolved_yaml(config),
                     parameter_text(parts.architecture, config),
                     memory_text(parts.architecture, config, shape), run_text(config, data, shape));
}

}  // namespace

ExitCode run_dry(const RunConfig& config, Communicator& world) {
  const std::string text = on_rank_zero(world, [&] { return describe(config, world.size()); });
  if (world.rank() == 0) print(text);
  return ExitCode::kDone;
}

}  // namespace molora
