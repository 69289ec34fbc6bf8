// Which test notices which planted fault (base/mutation.h).
//
// A probe runs something on many ranks and returns what is wrong, compared with one rank; the
// comparison is the one that the tests of the same name make.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutation.h"
#include "multirank/family_cases.h"
#include "multirank/oracle_cases.h"
#include "support/audited_replicas.h"
#include "support/captured_log.h"
#include "support/inference_oracle.h"
#include "support/oracle.h"
#include "support/saved_by_ranks.h"

namespace molora::testing {

struct Probe {
  std::string text;
  std::function<std::string(const RankThreadOptions&)> fault;
};

// What a probe says of a planted fault: words of its text.
struct Sighting {
  const char* words;
  Probe probe;
};

struct MutationCase {
  Mutation mutation;
  const char* name;
  std::vector<Sighting> sightings;  // each of the probes must notice
};

struct Split {
  int tp = 1;
  int ep = 1;
};

inline RunShape layout(int ranks, Split split, ExchangeMode mode) {
  RunShape shape;
  shape.num_ranks = ranks;
  shape.tp = split.tp;
  shape.ep = split.ep;
  shape.layout.modes = all_groups(mode);
  return shape;
}

inline RunShape with_sequence_parallel(RunShape shape) {
  shape.layout.has_sequence_parallel = true;
  return shape;
}

inline RunShape with_fixed_shapes(RunShape shape) {
  shape.layout.has_fixed_shapes = true;
  return shape;
}

inline RunShape with_grouped_experts(RunShape shape) {
  shape.layout.expert_ways = all_linears(ExpertWay::kGrouped);
  return shape;
}

inline RunShape with_replicated_optimizer(RunShape shape) {
  shape.optimizer = OptimizerPlacement::kReplicated;
  return shape;
}

// A machine that computes wrong (watch/fault_injection.h); the program makes up for it.
inline RunShape with_fault(RunShape shape, const std::string& fault) {
  shape.faults = fault;
  return shape;
}

template <typename AnyOracle>
Probe probe_of(const std::string& what, const AnyOracle& (*oracle)(), const RunShape& shape) {
  return {what + ", " + text_of(shape), [oracle, shape](const RankThreadOptions& threads) {
            RunShape timed = shape;
            timed.threads = threads;
            return oracle().fault(timed);
          }};
}

inline Probe training(const RunShape& shape) {
  return probe_of<Oracle>(
      "training",
      +[]() -> const Oracle& {
        static const Oracle oracle{OracleCase{}};
        return oracle;
      },
      shape);
}

// Linears with a bias.
inline Probe training_with_bias(const RunShape& shape) {
  return probe_of<Oracle>(
      "training with biases",
      +[]() -> const Oracle& {
        static const Oracle oracle([] {
          OracleCase of;
          of.model["architectures"] = {"LlamaForCausalLM"};
          of.model["model_type"] = "llama";
          of.model["attention_bias"] = true;
          of.model["mlp_bias"] = true;
          return of;
        }());
        return oracle;
      },
      shape);
}

// Experts that are whole MLPs.
inline Probe training_whole_mlps(const RunShape& shape) {
  return probe_of<Oracle>(
      "training of whole MLPs",
      +[]() -> const Oracle& {
        static const Oracle oracle(whole_mlps());
        return oracle;
      },
      shape);
}

// A quantised base whose slices begin within blocks.
inline Probe training_quantized(const RunShape& shape) {
  return probe_of<Oracle>(
      "training with an nf4 base",
      +[]() -> const Oracle& {
        static const Oracle oracle(quantized(BlockFormat::kNf4));
        return oracle;
      },
      shape);
}

// All tokens go to one expert; the ranks of the others receive none.
inline Probe training_one_expert(const RunShape& shape) {
  return probe_of<Oracle>(
      "training, all tokens to one expert",
      +[]() -> const Oracle& {
        static const Oracle oracle([] {
          OracleCase of;
          of.adapter = oracle_adapter(8, 1);
          of.prepare = [](AdapterSet& adapters) {
            const at::NoGradGuard no_grad;
            for (const LinearAdapter& linear : adapters.linears()) {
              if (linear.spec.has_router()) linear.router_bias.detach()[2] = 50.0;
            }
          };
          return of;
        }());
        return oracle;
      },
      shape);
}

inline Probe training_frozen_experts(const RunShape& shape) {
  return probe_of<Oracle>(
      "training with frozen experts",
      +[]() -> const Oracle& {
        static const Oracle oracle([] {
          OracleCase of;
          for (const uint32_t expert : {1u, 5u, 6u, 7u}) of.adapter.add_frozen_experts(expert);
          return of;
        }());
        return oracle;
      },
      shape);
}

// A member of the family (multirank/family_cases.h).
inline Probe training_member(const std::string& name, const RunShape& shape) {
  const auto oracle = [name]() -> const Oracle& {
    static std::map<std::string, std::unique_ptr<Oracle>> oracles;
    std::unique_ptr<Oracle>& of_name = oracles[name];
    for (const SpecialCase& member : family_cases()) {
      if (member.name == name && !of_name) of_name = std::make_unique<Oracle>(member.of);
    }
    return *of_name;
  };
  return {"training of " + name + ", " + text_of(shape),
          [oracle, shape](const RankThreadOptions& threads) {
            RunShape timed = shape;
            timed.threads = threads;
            return oracle().fault(timed);
          }};
}

inline Probe training_localized(const RunShape& shape) {
  return probe_of<Oracle>(
      "training with a localized balance loss",
      +[]() -> const Oracle& {
        static const Oracle oracle([] {
          OracleCase of;
          LocalizedBalanceConfig& loss = *of.adapter.mutable_router()->mutable_localized_balance();
          loss.set_coef(0.05);
          loss.add_tasks("b");
          return of;
        }());
        return oracle;
      },
      shape);
}

// Routers that have collapsed; dead experts begin anew after each step.
inline Probe training_revived(const RunShape& shape) {
  return probe_of<Oracle>(
      "training, dead experts begin anew",
      +[]() -> const Oracle& {
        static const Oracle oracle(collapsed(RouterHealthConfig::revive));
        return oracle;
      },
      shape);
}

inline Probe inference(const RunShape& shape) {
  return probe_of<InferenceOracle>(
      "inference",
      +[]() -> const InferenceOracle& {
        static const InferenceOracle oracle;
        return oracle;
      },
      shape);
}

inline Probe audited() {
  return {"replica audit, 8 ranks", [](const RankThreadOptions&) { return audit_fault(); }};
}

inline Probe saved() {
  return {"saved state, 4 ranks, tp 2, ep 4", [](const RankThreadOptions& threads) -> std::string {
            const CapturedLog log;
            return saved_by_ranks_fault(mesh_shape(4, 2, 4), threads);
          }};
}

// "" when every rank of four hears of damage in any file; else who does not.
inline Probe checked() {
  return {"damage in one file, 4 ranks, tp 2, ep 4", [](const RankThreadOptions&) -> std::string {
            const CapturedLog log;
            return unheard_damage(mesh_shape(4, 2, 4));
          }};
}

std::vector<MutationCase> mutation_cases();

}  // namespace molora::testing
