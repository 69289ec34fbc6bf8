// The law of every parallel part: many ranks equal one rank.
//
// One process without communication is the oracle. Every layout must give its losses, its gradients
// of the first step and its parameters after three steps, from adapters without a zero anywhere
// (with B = 0 a missing sum of A's gradient would not show at once).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "support/training_run.h"

namespace molora::testing {

// Sums of the same numbers in another order.
constexpr double kFp64SumTolerance = 1e-10;
constexpr double kFp32SumTolerance = 1e-5;

// A GQA model whose heads and channels divide by 1, 2, 4, 8 (or 1, 3, 6); from tp 4 (or 6) on,
// several ranks hold the same key-value head. The vocabulary divides by none of them.
inline nlohmann::json model_for(int tp_family) {
  nlohmann::json config = tiny_config();
  const bool by_three = tp_family == 3;
  config["num_attention_heads"] = by_three ? 6 : 8;
  config["num_key_value_heads"] = by_three ? 3 : 2;
  config["head_dim"] = 4;
  config["hidden_size"] = 20;
  config["intermediate_size"] = by_three ? 30 : 40;
  config["vocab_size"] = 37;
  return config;
}

// Experts in all groups, dropout and balance losses on.
inline AdapterConfig oracle_adapter(uint32_t num_experts, uint32_t k) {
  AdapterConfig adapter;
  TargetsConfig& targets = *adapter.mutable_targets();
  targets.set_q_proj(TargetsConfig::experts);
  targets.set_k_proj(TargetsConfig::lora);
  targets.set_v_proj(TargetsConfig::experts);
  targets.set_o_proj(TargetsConfig::experts);
  adapter.set_num_experts(num_experts);
  adapter.set_experts_per_token(k);
  adapter.set_lora_rank(3);
  adapter.set_lora_alpha(6);
  adapter.set_lora_dropout(0.2);
  adapter.set_expert_dropout(0.1);
  adapter.mutable_router()->set_balance_loss_coef(0.02);
  adapter.mutable_router()->set_z_loss_coef(0.01);
  if (k == 1) adapter.mutable_router()->set_gate(RouterConfig::softmax_topk);
  return adapter;
}

inline std::string text_of(const RunShape& shape) {
  std::string modes;
  for (const ExchangeMode mode : shape.layout.modes.by_group) {
    modes += std::string(modes.empty() ? "" : ",") + exchange_mode_name(mode);
  }
  return fmt::format(
      "{} ranks, tp {}, ep {}, {}{}{}{}{}{}", shape.num_ranks, shape.tp, shape.ep, modes,
      shape.layout.has_sequence_parallel ? ", sequence parallel" : "",
      shape.layout.has_fixed_shapes ? ", fixed shapes" : "",
      shape.layout.expert_ways == ExpertWays{} ? "" : ", grouped experts",
      shape.optimizer == OptimizerPlacement::kReplicated ? ", replicated optimizer" : "",
      shape.faults.empty() ? "" : ", with the fault " + shape.faults);
}

// Every layout of `world` ranks: all sizes that divide, with and without sequence parallelism, each
// exchange mode (with ep where the mode uses it).
inline std::vector<RunShape> all_layouts(int world, const std::vector<int>& tps) {
  std::vector<RunShape> shapes;
  for (const int tp : tps) {
    if (world % tp != 0) continue;
    for (const bool sp : {false, true}) {
      if (sp && tp == 1) continue;
      for (const ExchangeMode mode : kExchangeModes) {
        const bool uses_ep = mode == ExchangeMode::kTokens || mode == ExchangeMode::kGather;
        for (int ep = 1; ep <= (uses_ep ? world : 1); ++ep) {
          if (world % ep != 0) continue;
          RunShape shape;
          shape.num_ranks = world;
          shape.tp = tp;
          shape.ep = ep;
          shape.layout.has_sequence_parallel = sp;
          shape.layout.modes = all_groups(mode);
          shapes.push_back(shape);
        }
      }
    }
  }
  return shapes;
}

// Of alarms and of readings.
inline std::string compare_routers(const RunOutcome& got, const RunOutcome& oracle,
                                   double tolerance) {
  const auto numbers_of = [](const RouterReading& reading) {
    std::vector<double> numbers;
    for (const RouterReading::Router& router : reading.routers) {
      numbers.insert(numbers.end(), router.load.begin(), router.load.end());
      numbers.insert(numbers.end(), router.dead.begin(), router.dead.end());
      numbers.push_back(router.entropy);
    }
    for (const auto* loads : {&reading.task_loads, &reading.script_loads}) {
      for (const std::vector<double>& load : *loads) {
        numbers.insert(numbers.end(), load.begin(), load.end());
      }
    }
    return numbers;
  };
  for (size_t i = 0; i < oracle.steps.size(); ++i) {
    const StepResult& a = got.steps.at(i);
    const StepResult& b = oracle.steps[i];
    if (text_of_alarms(a) != text_of_alarms(b)) {
      return fmt::format("step {}: alarms '{}', not '{}'", i, text_of_alarms(a), text_of_alarms(b));
    }
    if (a.routers.has_value() != b.routers.has_value()) {
      return fmt::format("step {}: routers are read or not", i);
    }
    if (!b.routers) continue;
    const std::vector<double> x = numbers_of(*a.routers);
    const std::vector<double> y = numbers_of(*b.routers);
    const auto is_near = [&](double p, double q) { return std::abs(p - q) <= tolerance; };
    if (!std::equal(x.begin(), x.end(), y.begin(), y.end(), is_near)) {
      return fmt::format("step {}: what is read of the routers differs", i);
    }
  }
  return {};
}

// "" when `got` is what the oracle says, else the first thing that is not.
inline std::string compare(const RunOutcome& got, const RunOutcome& oracle, double tolerance) {
  for (size_t i = 0; i < oracle.steps.size(); ++i) {
    const StepResult& a = got.steps.at(i);
    const StepResult& b = oracle.steps[i];
    const auto differs = [&](double x, double y) {
      return !(std::abs(x - y) <= tolerance * std::max(1.0, std::abs(y)));
    };
    if (differs(a.loss, b.loss)) return fmt::format("step {}: loss {}, not {}", i, a.loss, b.loss);
    if (differs(a.grad_norm, b.grad_norm)) {
      return fmt::format("step {}: gradient norm {}, not {}", i, a.grad_norm, b.grad_norm);
    }
    if (differs(a.balance_loss, b.balance_loss) || differs(a.z_loss, b.z_loss)) {
      return fmt::format("step {}: balance loss {} and z-loss {}, not {} and {}", i, a.balance_loss,
                         a.z_loss, b.balance_loss, b.z_loss);
    }
    const auto is_other = [&](const std::optional<double>& x, const std::optional<double>& y) {
      return x.has_value() != y.has_value() || (x && differs(*x, *y));
    };
    if (is_other(a.entropy_loss, b.entropy_loss) ||
        is_other(a.localized_balance_loss, b.localized_balance_loss)) {
      return fmt::format("step {}: entropy {} and localized balance loss {}, not {} and {}", i,
                         a.entropy_loss.value_or(0.0), a.localized_balance_loss.value_or(0.0),
                         b.entropy_loss.value_or(0.0), b.localized_balance_loss.value_or(0.0));
    }
    if (!a.expert_counts_RE.equal(b.expert_counts_RE)) {
      return fmt::format("step {}: the counts of chosen experts differ", i);
    }
  }
  if (const std::string fault = compare_routers(got, oracle, tolerance); !fault.empty()) {
    return fault;
  }
  if (!got.rank_fault.empty()) return got.rank_fault;
  for (const WholeTensors* tensors : {&got.first_gradients, &got.parameters}) {
    if (!tensors->fault().empty()) return tensors->fault();
  }
  const double gradients = difference(got.first_gradients, oracle.first_gradients);
  if (!(gradients <= tolerance)) return fmt::format("gradients differ by {}", gradients);
  const double parameters = difference(got.parameters, oracle.parameters);
  if (!(parameters <= tolerance)) return fmt::format("parameters differ by {}", parameters);
  return {};
}

constexpr int64_t kOracleSteps = 3;

// Runs the oracle and the layouts and compares.
struct OracleCase {
  nlohmann::json model = model_for(2);
  AdapterConfig adapter = oracle_adapter(8, 2);
  at::ScalarType type = at::kDouble;
  uint32_t micro_batch_size = 2;
  TrainConfig::Recompute recompute = TrainConfig::none;
  double weight_decay = 0.01;
  double lora_plus_ratio = 1.0;
  std::optional<BlockFormat> quantization = std::nullopt;
  std::function<void(AdapterSet&)> prepare = [](AdapterSet&) {};
  RowsOfStep rows = [](int64_t step, int32_t vocab) { return random_rows(5, 1000 * step, vocab); };
};

class Oracle {
 public:
  explicit Oracle(const OracleCase& of) : of_(of) {
    write_tiny_model(folder_.path(), of.model);
    single_ = run(RunShape{});
  }

  std::unique_ptr<RunOutcome> run(RunShape shape) const {
    shape.type = of_.type;
    shape.micro_batch_size = of_.micro_batch_size;
    shape.recompute = of_.recompute;
    shape.weight_decay = of_.weight_decay;
    shape.lora_plus_ratio = of_.lora_plus_ratio;
    shape.layout.quantization = of_.quantization;
    shape.prepare = of_.prepare;
    return train_on_threads(folder_.path(), of_.adapter, shape, kOracleSteps, of_.rows);
  }

  // What is wrong with this layout; "" when nothing is. A run that fails is wrong too.
  std::string fault(const RunShape& shape) const {
    const double tolerance = of_.type == at::kDouble ? kFp64SumTolerance : kFp32SumTolerance;
    try {
      return compare(*run(shape), *single_, tolerance);
    } catch (const std::exception& error) {
      return error.what();
    }
  }

  void expect(const std::vector<RunShape>& shapes) const {
    for (const RunShape& shape : shapes) EXPECT_EQ(fault(shape), "") << text_of(shape);
  }

 private:
  OracleCase of_;
  TempFolder folder_;
  std::unique_ptr<RunOutcome> single_;
};

}  // namespace molora::testing
