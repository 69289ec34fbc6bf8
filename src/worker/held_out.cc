#include "worker/held_out.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "comm/fixed_order_sum.h"
#include "data/sample_reader.h"
#include "worker/items_file.h"
#include "worker/together.h"

namespace molora {

namespace {

EvalSet read_share(const DataConfig& config, const HeldOutOptions& options,
                   const ChatTemplate& answers_template, const Mesh& mesh, uint64_t& num_bad) {
  EvalSetBuilder builder(answers_template, {.max_length = config.max_length(),
                                            .max_samples_per_task = options.max_samples_per_task,
                                            .share = mesh.dp_rank(),
                                            .num_shares = mesh.shape().dp});
  for (const DataSource& source : config.eval()) {
    SampleReader reader(source, {.on_bad_sample = config.on_bad_sample()});
    while (const auto conversation = reader.next()) builder.add(*conversation);
    num_bad += reader.report().num_bad;
    if (mesh.world_rank() != 0) continue;
    for (const BadSample& bad : reader.report().first_bad) {
      spdlog::warn("skipped {}", bad.message());
    }
  }
  return builder.finish();
}

}  // namespace

DataConfig with_held_out_files(const DataConfig& config, const std::vector<std::string>& files) {
  DataConfig data = config;
  if (files.empty()) return data;
  data.clear_eval();
  for (const std::string& file : files) data.add_eval()->set_path(file);
  return data;
}

HeldOut::HeldOut(const DataConfig& config, const HeldOutOptions& options,
                 const ModelSession& session, Communicator& world)
    : options_(options),
      data_axis_(session.mesh().host(Axis::kData)),
      answers_template_(session.tokenizer(), config.chat_template(), config.system_prompt(),
                        DataConfig::answers) {
  uint64_t num_bad = 0;
  together(world,
           [&] { set_ = read_share(config, options, answers_template_, session.mesh(), num_bad); });
  EvaluatorOptions evaluator;
  evaluator.max_new_tokens = options.max_new_tokens;
  evaluator.adds_biased_answers = options.answers == AnswerWay::kBiased;
  evaluator.stop_ids = answers_template_.stop_ids();
  evaluator.decode = [&tokenizer = session.tokenizer()](const std::vector<TokenId>& ids) {
    return tokenizer.decode(ids);
  };
  evaluator_ = std::make_unique<Evaluator>(session.model(), set_, evaluator);

  std::vector<int64_t> counts = {static_cast<int64_t>(set_.items.size()), set_.num_over_limit,
                                 set_.num_truncated, set_.num_dropped};
  fixed_order_sum(data_axis_, std::span(counts));
  if (world.rank() != 0) return;
  std::string left_out;
  const auto add = [&left_out](int64_t count, const std::string& what) {
    if (count > 0) left_out += fmt::format(", {} {}", count, what);
  };
  add(counts[1], "beyond the limit for each task");
  add(counts[2], fmt::format("cut at {} tokens", config.max_length()));
  add(counts[3], "left out because no answer is within them");
  add(static_cast<int64_t>(num_bad), "bad ones skipped");
  spdlog::info("held-out data: {} samples of {} tasks{}", counts[0], set_.tasks.size(), left_out);
}

std::vector<TaskResult> HeldOut::evaluate(const Evaluator::OnProgress& on_progress) const {
  return evaluator_->run(data_axis_, on_progress).results;
}

EvaluatedItems HeldOut::evaluate_items() const {
  Evaluation evaluation = evaluator_->run(data_axis_);
  std::vector<ItemRecord> mine;
  for (size_t i = 0; i < set_.items.size(); ++i) {
    const EvalItem& item = set_.items[i];
    mine.push_back(item_record(item, set_.tasks[item.task], evaluation.outcomes[i],
                               options_.answers, options_.reading));
  }
  return {std::move(evaluation.results), gather_items(mine, data_axis_)};
}

}  // namespace molora
