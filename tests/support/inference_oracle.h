// The law of inference: logits, generated tokens and evaluation results of many ranks are those of
// one, also where ranks have different amounts of work.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "eval/evaluator.h"
#include "generate/generator.h"
#include "support/oracle.h"

namespace molora::testing {

constexpr TokenId kInferenceStop = 36;

// Two tasks, one of questions; candidates are single tokens or longer.
inline EvalSet inference_set() {
  EvalSet set;
  set.tasks = {"text", "exam"};
  for (TokenId i = 0; i < 9; ++i) {
    EvalItem item;
    item.task = static_cast<size_t>(i % 2);
    item.sample.ids = {static_cast<TokenId>(1 + i), 4, static_cast<TokenId>(20 - i), 7};
    item.sample.ids.resize(static_cast<size_t>(5 + i), static_cast<TokenId>(30 - i));
    item.sample.ids.push_back(kInferenceStop);
    item.sample.supervised.assign(item.sample.ids.size(), 0);
    item.sample.supervised[3] = item.sample.supervised.back() = 1;
    if (item.task == 1) {
      EncodedQuestion question;
      question.question.candidates = {"one", "two", "three"};
      question.question.correct = {static_cast<size_t>(i) % 3};
      question.prompt.assign(item.sample.ids.begin(), item.sample.ids.begin() + 3);
      question.candidates = {{7}, {8}, {9}};
      if (i % 4 == 1) question.candidates = {{7, kInferenceStop}, {8, 11, kInferenceStop}, {9}};
      item.question = question;
    }
    set.items.push_back(item);
  }
  return set;
}

// The dp rank that works on an item: the first has most, and of many ranks some have nothing.
inline int worker_of(size_t item, int dp) {
  return item % 3 == 0 ? static_cast<int>(item / 3) % dp : 0;
}

class InferenceOracle {
 public:
  InferenceOracle() : set_(inference_set()) {
    write_tiny_model(folder_.path(), model_for(2));
    for (int32_t i = 0; i < 7; ++i) {
      prompts_.push_back({static_cast<int32_t>(3 * i + 1)});
      for (int32_t t = 0; t < 2 * i; ++t) prompts_.back().push_back((7 * t + i) % 36);
    }
    LoadedModel alone(folder_.path(), adapter_, at::kDouble);
    randomize(alone.adapters(), 21, 0.3);
    const at::NoGradGuard no_grad;
    for (const auto& prompt : prompts_) logits_.push_back(logits_of(alone.model(), prompt));
    greedy_ = generate(alone.model(), prompts_, greedy_options());
    sampled_ = generate(alone.model(), prompts_, sampled_options());
    const auto single = make_single_communicator("world");
    results_ = Evaluator(alone.model(), set_, evaluator_options()).run(*single).results;
  }

  // What is wrong with this layout; "" when nothing is. A run that fails is wrong too.
  std::string fault(const RunShape& shape) const {
    std::vector<std::string> faults(static_cast<size_t>(shape.num_ranks));
    std::string failure;
    try {
      run_rank_threads(
          shape.num_ranks,
          [&](Communicator& world) {
            run_rank(shape, world, faults[static_cast<size_t>(world.rank())]);
          },
          shape.threads);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    for (size_t rank = 0; rank < faults.size(); ++rank) {
      if (!faults[rank].empty()) return fmt::format("rank {}: {}", rank, faults[rank]);
    }
    return failure;
  }

 private:
  static GenerationOptions greedy_options() {
    return {.max_new_tokens = 9, .stop_ids = {kInferenceStop}};
  }
  static GenerationOptions sampled_options() {
    return {.sampling = {.temperature = 1.0, .seed = 3},
            .max_new_tokens = 9,
            .stop_ids = {kInferenceStop}};
  }
  static EvaluatorOptions evaluator_options() {
    EvaluatorOptions options;
    options.tokens_per_pass = 10;
    options.max_new_tokens = 4;
    options.stop_ids = {kInferenceStop};
    options.decode = [](const std::vector<TokenId>& ids) {
      return !ids.empty() && ids.front() % 2 == 0 ? std::string("two") : std::string("hm");
    };
    return options;
  }

  static at::Tensor logits_of(const CausalLM& model, const std::vector<int32_t>& prompt) {
    const TokenBatch batch = make_token_batch({prompt}, {0});
    return model.logits(model.hidden_states({.batch = batch}));
  }

  // Every kind of work in turn; in each a rank that is done helps the others. `fault`: the first
  // one, there also when what comes after it fails.
  void run_rank(const RunShape& shape, Communicator& world, std::string& fault) const {
    const at::NoGradGuard no_grad;
    const int kv_heads = model_for(2).at("num_key_value_heads").get<int>();
    LoadedModel loaded(folder_.path(), adapter_,
                       Mesh(world, mesh_shape(shape.num_ranks, shape.tp, shape.ep,
                                              std::max(1, shape.tp / kv_heads))),
                       shape.layout, at::kDouble);
    randomize(loaded.adapters(), 21, 0.3);
    using Work = std::string (InferenceOracle::*)(const LoadedModel&) const;
    for (const Work work : {&InferenceOracle::logits_fault, &InferenceOracle::greedy_fault,
                            &InferenceOracle::sampled_fault, &InferenceOracle::evaluation_fault}) {
      const std::string found = (this->*work)(loaded);
      if (fault.empty()) fault = found;
    }
  }

  std::vector<size_t> own_prompts(const LoadedModel& loaded) const {
    std::vector<size_t> own;
    for (size_t i = 0; i < prompts_.size(); ++i) {
      if (worker_of(i, loaded.mesh().shape().dp) == loaded.mesh().dp_rank()) own.push_back(i);
    }
    return own;
  }

  std::string logits_fault(const LoadedModel& loaded) const {
    std::string fault;
    for (const size_t i : own_prompts(loaded)) {
      const at::Tensor got = logits_of(loaded.model(), prompts_[i]);
      const double d = (got - logits_[i]).abs().max().item<double>();
      if (fault.empty() && !(d <= kFp64SumTolerance)) {
        fault = fmt::format("logits of prompt {} differ by {}", i, d);
      }
    }
    loaded.model().join_others();
    return fault;
  }

  std::string greedy_fault(const LoadedModel& loaded) const {
    const std::vector<size_t> own = own_prompts(loaded);
    std::vector<std::vector<int32_t>> prompts;
    for (const size_t i : own) prompts.push_back(prompts_[i]);
    const auto got = generate(loaded.model(), prompts, greedy_options());
    loaded.model().join_others();
    for (size_t n = 0; n < own.size(); ++n) {
      if (got[n].ids != greedy_[own[n]].ids || got[n].end != greedy_[own[n]].end) {
        return fmt::format("prompt {} goes on with [{}], not [{}]", own[n],
                           fmt::join(got[n].ids, ","), fmt::join(greedy_[own[n]].ids, ","));
      }
    }
    return {};
  }

  // The first tp group answers, the others help: how the program generates.
  std::string sampled_fault(const LoadedModel& loaded) const {
    std::vector<Generated> got;
    if (loaded.mesh().dp_rank() == 0) got = generate(loaded.model(), prompts_, sampled_options());
    loaded.model().join_others();
    for (size_t i = 0; i < got.size(); ++i) {
      if (got[i].ids != sampled_[i].ids) return fmt::format("prompt {} is sampled differently", i);
    }
    return {};
  }

  std::string evaluation_fault(const LoadedModel& loaded) const {
    EvalSet share;
    share.tasks = set_.tasks;
    for (size_t i = 0; i < set_.items.size(); ++i) {
      if (worker_of(i, loaded.mesh().shape().dp) != loaded.mesh().dp_rank()) continue;
      share.items.push_back(set_.items[i]);
    }
    const auto got = Evaluator(loaded.model(), share, evaluator_options())
                         .run(loaded.mesh().axis(Axis::kData))
                         .results;
    for (size_t task = 0; task < results_.size(); ++task) {
      TaskResult a = got.at(task);
      TaskResult b = results_[task];
      const double d = std::max(std::abs(a.loss_sum() - b.loss_sum()),
                                std::abs(a.chance_questions() - b.chance_questions()));
      for (TaskResult* result : {&a, &b}) {
        result->clear_loss_sum();
        result->clear_chance_questions();
      }
      if (!(d <= kFp64SumTolerance) || a.SerializeAsString() != b.SerializeAsString()) {
        return fmt::format("task {} has the results '{}' and a loss that differs by {}, not '{}'",
                           b.task(), a.ShortDebugString(), d, b.ShortDebugString());
      }
    }
    return {};
  }

  TempFolder folder_;
  AdapterConfig adapter_ = oracle_adapter(8, 2);
  std::vector<std::vector<int32_t>> prompts_;
  EvalSet set_;
  std::vector<at::Tensor> logits_;  // by prompt
  std::vector<Generated> greedy_;
  std::vector<Generated> sampled_;
  std::vector<TaskResult> results_;
};

}  // namespace molora::testing
