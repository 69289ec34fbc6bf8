// The evaluation command: held-out loss and scores of a run, a checkpoint or the base, or of two of
// them side by side.
#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "eval/comparison.h"
#include "io/file.h"
#include "report/results_table.h"
#include "report/task_json.h"
#include "worker/adapted_session.h"
#include "worker/commands.h"
#include "worker/compute_threads.h"
#include "worker/console.h"
#include "worker/held_out.h"
#include "worker/items_file.h"
#include "worker/score_text.h"
#include "worker/together.h"

namespace molora {

namespace {

// Of an answer where --generate does not say.
constexpr int64_t kMaxNewTokens = 256;
constexpr char kBase[] = "base";

DataConfig eval_data(const RunConfig& config, const std::vector<std::string>& files) {
  DataConfig data = with_held_out_files(config.data(), files);
  if (data.eval_size() == 0) {
    throw ConfigError(
        "there is nothing to evaluate on: the configuration has no data.eval; name files with "
        "--data FILE");
  }
  return data;
}

// What two models are asked alike.
struct Questions {
  DataConfig data;
  HeldOutOptions options;
};

Questions questions_for(const RunConfig& config, const EvalArguments& arguments) {
  HeldOutOptions options;
  options.max_samples_per_task = arguments.max_samples_per_task >= 0
                                     ? arguments.max_samples_per_task
                                     : int64_t{config.eval().max_samples_per_task()};
  options.max_new_tokens = arguments.max_new_tokens;
  if (arguments.answers == AnswerWay::kGenerate && options.max_new_tokens == 0) {
    options.max_new_tokens = kMaxNewTokens;
  }
  options.answers = arguments.answers;
  options.reading = arguments.reading;
  return {eval_data(config, arguments.data), options};
}

EvaluatedItems evaluate(const ResolvedModel& model, const Questions& questions,
                        Communicator& world) {
  AdaptedSession adapted(model, world);
  const HeldOut held_out(questions.data, questions.options, adapted.session(), world);
  return held_out.evaluate_items();
}

// Generated answers have columns of their own where they are asked for beside the likeliest ones;
// where they are the answers they are in the table of scores.
std::vector<TaskResult> shown_results(std::vector<TaskResult> results, AnswerWay answers) {
  if (answers == AnswerWay::kLikelihood) return results;
  for (TaskResult& result : results) {
    result.clear_generated();
    result.clear_correct_generated();
    result.clear_unnamed_generated();
  }
  return results;
}

// Whether the scores say more than the column of choices by likelihood.
bool says_more(const ScoreSheet& sheet) {
  return std::any_of(sheet.tasks.begin(), sheet.tasks.end(), [](const ScoredTask& task) {
    return task.metric != Metric::kAccuracy || task.way != AnswerWay::kLikelihood;
  });
}

nlohmann::json results_json(const std::vector<TaskResult>& results, const ScoreSheet& sheet) {
  nlohmann::json list = task_results_json(results);
  for (nlohmann::json& object : list) {
    for (const ScoredTask& task : sheet.tasks) {
      if (task.task != object["task"]) continue;
      object["score"] = {{"metric", metric_name(task.metric)},
                         {"answers", answer_way_name(task.way)},
                         {"items", task.items},
                         {"not_read", task.unread},
                         {"value", task.score},
                         {"low", task.interval.low},
                         {"high", task.interval.high}};
    }
  }
  return list;
}

void report(const EvaluatedItems& items, const EvalArguments& arguments) {
  const ScoreSheet sheet = score_sheet(items.records, {});
  const std::vector<TaskResult> results = shown_results(items.results, arguments.answers);
  if (!arguments.json_path.empty()) {
    write_file_atomic(arguments.json_path, results_json(results, sheet).dump(1) + "\n");
  }
  if (!arguments.items_path.empty()) {
    std::string lines;
    for (const ItemRecord& record : items.records) lines += item_line(record);
    write_file_atomic(arguments.items_path, lines);
  }
  print(results_table(results));
  if (says_more(sheet)) print("\n" + scores_table(sheet));
}

// One of two that are compared.
struct Side {
  std::string name;
  std::filesystem::path items_file;  // or
  ModelArguments model;
};

Side side_of(const std::string& word, const ModelArguments& options) {
  if (std::filesystem::path(word).extension() == ".jsonl") return {word, word, {}};
  return {word, {}, {{word}, options.overrides, options.use_base}};
}

std::pair<Side, Side> sides_of(const EvalArguments& arguments) {
  Side first;
  if (arguments.model.paths.empty()) {
    first = side_of(arguments.compare.front(), arguments.model);
  } else if (arguments.model.paths.size() == 1) {
    first = side_of(arguments.model.paths.front().string(), arguments.model);
  } else {
    first = {arguments.model.paths.front().string(), {}, arguments.model};
  }
  Side second = side_of(arguments.compare.back(), arguments.model);
  if (arguments.compare.back() == kBase) {
    if (!first.items_file.empty()) {
      throw ConfigError(
          fmt::format("eval: 'base' is the first model without its adapter, but {} is "
                      "a file of items",
                      first.name));
    }
    second = {first.name + " (base)", {}, first.model};
    second.model.use_base = true;
  }
  return {first, second};
}

ExitCode run_comparison(const EvalArguments& arguments, Communicator& world) {
  const std::pair<Side, Side> sides = sides_of(arguments);
  const Side& first = sides.first;
  const Side& second = sides.second;
  std::optional<Questions> questions;  // the first model's
  const auto records_of = [&](const Side& side) {
    std::vector<ItemRecord> records;
    if (!side.items_file.empty()) {
      together(world, [&] {
        if (world.rank() == 0) records = read_items_file(side.items_file);
      });
      return records;
    }
    const ResolvedModel model = resolve_model(side.model, world);
    if (!questions) questions = questions_for(model.config, arguments);
    return evaluate(model, *questions, world).records;
  };
  const std::vector<ItemRecord> a = records_of(first);
  const std::vector<ItemRecord> b = records_of(second);
  together(world, [&] {
    if (world.rank() != 0) return;
    const Comparison comparison = compare(a, b, {});
    if (!arguments.json_path.empty()) {
      write_file_atomic(arguments.json_path,
                        comparison_json(comparison, first.name, second.name).dump(1) + "\n");
    }
    print(comparison_text(comparison, first.name, second.name));
  });
  return ExitCode::kDone;
}

}  // namespace

ExitCode run_eval(const EvalArguments& arguments, Communicator& world) {
  set_compute_threads(world);
  if (!arguments.compare.empty()) return run_comparison(arguments, world);
  const ResolvedModel model = resolve_model(arguments.model, world);
  const EvaluatedItems items = evaluate(model, questions_for(model.config, arguments), world);
  together(world, [&] {
    if (world.rank() == 0) report(items, arguments);
  });
  return ExitCode::kDone;
}

}  // namespace molora
