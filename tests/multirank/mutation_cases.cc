#include "multirank/mutation_cases.h"

namespace molora::testing {

namespace {

#define CASE(name, ...)                    \
  {                                        \
    Mutation::name, #name, { __VA_ARGS__ } \
  }

constexpr ExchangeMode kReplicate = ExchangeMode::kReplicate;
constexpr ExchangeMode kRank = ExchangeMode::kRank;
constexpr ExchangeMode kTokens = ExchangeMode::kTokens;
constexpr ExchangeMode kGather = ExchangeMode::kGather;

// The layouts of the table, by what splits them.
struct Layouts {
  RunShape dp2 = layout(2, {}, kReplicate);
  RunShape tp2 = layout(2, {.tp = 2}, kReplicate);
  RunShape tp4 = layout(4, {.tp = 4}, kReplicate);
  RunShape dp2_tp2 = layout(4, {.tp = 2}, kReplicate);
  RunShape rank_tp2 = layout(2, {.tp = 2}, kRank);
  RunShape slots_tp2 = with_fixed_shapes(rank_tp2);
  RunShape tokens_ep2 = layout(2, {.ep = 2}, kTokens);
  RunShape tokens_tp2 = layout(2, {.tp = 2, .ep = 2}, kTokens);
  RunShape tokens_tp4 = layout(4, {.tp = 4, .ep = 2}, kTokens);
  RunShape tokens_edp2 = layout(4, {.ep = 2}, kTokens);
  RunShape gather_ep2 = layout(2, {.ep = 2}, kGather);
  RunShape gather_tp2 = layout(2, {.tp = 2, .ep = 2}, kGather);
};

std::vector<MutationCase> cases_of_collectives(const Layouts& on) {
  return {
      CASE(kSumMissesLast, {"supervised tokens of step 0", training(on.dp2)}),
      CASE(kSumNotGathered, {"supervised tokens of step 0", training(on.dp2)}),

      CASE(kGatheredRowsReversed, {"step 0: loss", training(on.tp2)}),
      CASE(kReducedRowsMissLast, {"step 0: loss", training(on.tp2)}),
      CASE(kExchangedRowsReversed, {"step 0: loss", training(on.tp2)}),

      CASE(kCopyWithoutSum, {"step 0: gradient norm", training(on.tp2)}),
      CASE(kReduceWithoutSum, {"step 0: loss", training(on.tp2)}),
      CASE(kGatherForwardOwnOnly, {"step 0: loss", training(with_sequence_parallel(on.tp2))}),
      CASE(kGatherBackwardSplits,
           {"step 0: gradient norm", training(with_sequence_parallel(on.tp2))}),
      CASE(kScatterForwardSplits, {"step 0: loss", training(with_sequence_parallel(on.tp2))}),
      CASE(kScatterBackwardPads,
           {"step 0: gradient norm", training(with_sequence_parallel(on.tp2))}),
      CASE(kColumnsToTokensSwapped, {"step 0: loss", training(on.tokens_tp2)},
           {"step 0: loss", training(with_sequence_parallel(on.tokens_tp2))}),
      CASE(kTokensToColumnsSwapped, {"step 0: loss", training(on.tokens_tp2)},
           {"step 0: loss", training(with_sequence_parallel(on.tokens_tp2))}),
      CASE(kReplicatedColumnsLast, {"step 0: gradient norm", training(on.tokens_tp4)}),
  };
}

std::vector<MutationCase> cases_of_base_model(const Layouts& on) {
  return {
      CASE(kBlocksFromTheCut, {"step 0: loss", training_quantized(on.tp2)}),
      CASE(kColumnBorderDropped, {"step 0: gradient norm", training(on.tp2)},
           {"step 0: loss", training(with_sequence_parallel(on.tp2))}),
      CASE(kRowBorderDropped, {"step 0: loss", training(on.tp2)},
           {"step 0: loss", training(with_sequence_parallel(on.tp2))}),
      CASE(kExpertSplitOfThisRank, {"step 0: loss", training(on.gather_tp2)}),

      CASE(kEmbeddingWithoutSum, {"step 0: loss", training(on.tp2)},
           {"step 0: loss", training(with_sequence_parallel(on.tp2))}),
      CASE(kHeadGradientPartial, {"step 0: gradient norm", training(on.tp2)}),
      CASE(kHeadStatesReversed, {"step 0: loss", training(with_sequence_parallel(on.tp2))}),
      CASE(kLogitsOwnOnly, {"logits of prompt 0", inference(on.tp2)}),
      CASE(kVocabularyLocal, {"step 0: loss", training(on.tp2)},
           {"has the results", inference(on.tp2)}),

      CASE(kBiasOnEveryRank, {"step 0: loss", training_with_bias(on.tp2)}),
  };
}

std::vector<MutationCase> cases_of_experts(const Layouts& on) {
  return {
      CASE(kCountsNotExchanged, {"their sizes differ", training(on.tokens_ep2)}),
      CASE(kDispatchReversed, {"step 0: loss", training(on.tokens_ep2)}),
      CASE(kDispatchBackwardDropped, {"step 0: gradient norm", training(on.tokens_ep2)}),
      CASE(kReturnedRowsReversed, {"step 0: loss", training(on.tokens_ep2)}),
      CASE(kCombineLastOnly, {"step 0: loss", training(on.tokens_ep2)}),
      CASE(kCombineBackwardSwapped, {"step 0: gradient norm", training(on.tokens_ep2)}),
      CASE(kGatesReversed, {"step 0: loss", training(on.tokens_ep2)}),
      CASE(kGatesBackwardDropped, {"step 0: gradient norm", training(on.tokens_ep2)}),
      CASE(kSkipEmptyExperts, {"their sizes differ", training_one_expert(on.tokens_ep2)}),

      CASE(kExpertGradientKept, {"step 0: gradient norm", training(on.gather_ep2)}),
      CASE(kExpertGatherStale, {"step 0: loss", training(on.gather_ep2)}),

      CASE(kBottleneckOwnOnly, {"step 0: loss", training(on.rank_tp2)},
           {"step 0: loss", training(with_grouped_experts(on.rank_tp2))}),
      CASE(kBottleneckPartial, {"step 0: loss", training(on.rank_tp2)},
           {"step 0: loss", training(with_grouped_experts(on.rank_tp2))}),
      CASE(kSlotsNotSummed, {"step 0: loss", training(on.slots_tp2)}),
      CASE(kSlotGradientsNotSummed, {"step 0: gradient norm", training(on.slots_tp2)}),
      CASE(kBottleneckOwnTokensOnly, {"step 0: loss", training(with_sequence_parallel(on.tp2))}),
      CASE(kChoicesReversed,
           {"step 0: loss", training(with_grouped_experts(with_sequence_parallel(on.tp2)))}),

      CASE(kBlockInputPartial, {"step 0: gradient norm", training_whole_mlps(on.tp2)}),
      CASE(kBlockTokensReversed,
           {"step 0: loss", training_whole_mlps(with_sequence_parallel(on.tp2))}),
      CASE(kBlockOutputPartial, {"step 0: loss", training_whole_mlps(on.tp2)},
           {"step 0: loss", training_whole_mlps(with_sequence_parallel(on.tp2))}),

      CASE(kDropoutMaskReused, {"step 0: loss", training(on.tp2)}),
      CASE(kDropoutMaskOfRow, {"step 0: loss", training(on.tokens_ep2)}),
  };
}

std::vector<MutationCase> cases_of_routers(const Layouts& on) {
  return {
      CASE(kRouterLogitsPartial, {"step 0: loss", training(on.tp2)},
           {"their sizes differ", training(on.rank_tp2)}),
      CASE(kRouterGradientPartial, {"step 0: gradient norm", training(on.tp2)},
           {"step 0: gradient norm", training(on.rank_tp2)}),
      CASE(kRouterBiasOnEveryRank, {"step 0: loss", training(on.tp2)}),
      CASE(kAuxiliaryOnEveryRank, {"step 0: gradient norm", training(on.tp2)},
           {"step 0: gradient norm", training(on.rank_tp2)}),
      CASE(kStatisticsOnEveryRank, {"step 0: the counts of chosen experts", training(on.tp2)},
           {"step 0: the counts of chosen experts", training(on.rank_tp2)}),
      CASE(kStatisticsOfThisRank, {"step 0: gradient norm", training(on.dp2)}),
      CASE(kImportanceOfThisRank, {"step 0: gradient norm", training_localized(on.dp2)}),
      CASE(kRevivedFromThisRank, {"step 1: loss", training_revived(on.tokens_ep2)},
           {"step 1: loss", training_revived(on.rank_tp2)},
           {"step 1: loss", training_revived(on.gather_ep2)}),
      CASE(kRevivedRowsUnshifted, {"step 1: loss", training_revived(on.tokens_ep2)},
           {"step 1: loss", training_revived(on.rank_tp2)}),
  };
}

std::vector<MutationCase> cases_of_family(const Layouts& on) {
  return {
      CASE(kDrawOfRow,
           {"step 0: loss", training_member("DrawnExperts", with_sequence_parallel(on.tp2))}),
      CASE(kSharedAOfOneOwner, {"step 0: gradient norm", training_member("SharedA", on.tp2)},
           {"step 0: gradient norm", training_member("SharedA", on.tokens_tp2)}),
      CASE(kDoraNormOfOwnColumns, {"step 0: loss", training_member("Dora", on.tp2)}),
      CASE(kMagnitudeOfOneRank, {"step 0: gradient norm", training_member("Dora", on.tp2)}),
      CASE(kHeadsOfOneOwner, {"step 0: gradient norm", training_member("Heads", on.tp2)}),
      CASE(kTaskRouterOfOneRank,
           {"step 0: gradient norm", training_member("RoutedByTask", on.tp2)}),
  };
}

constexpr const char* kNanOnce = "step=1,rank=0,phase=backward,kind=nan";

std::vector<MutationCase> cases_of_steps(const Layouts& on) {
  return {
      CASE(kSumAllSkipped, {"step 0: gradient norm", training(on.dp2)}),
      CASE(kSumDataSkipped, {"step 0: gradient norm", training(on.dp2_tp2)}),
      CASE(kSumExpertDataSkipped, {"step 0: gradient norm", training(on.tokens_edp2)}),
      CASE(kSumKvSkipped, {"step 0: gradient norm", training(on.tp4)}),
      CASE(kDivideByEdp, {"step 0: gradient norm", training(on.tokens_edp2)}),
      CASE(kSumsNotShared, {"step 1: loss", training(with_replicated_optimizer(on.dp2))}),
      CASE(kNormOfThisRank, {"step 0: gradient norm", training(on.dp2)}),
      CASE(kUpdatesNotShared, {"step 1: loss", training(on.dp2)}),
      CASE(kStepSumsOfThisRank, {"supervised tokens of step 0", training(on.dp2)}),
      CASE(kStepRoutersOfThisRank, {"step 0: balance loss", training(on.dp2)}),
      CASE(kLossOfThisRank, {"rank 1 is told other results", training(on.dp2)}),
      CASE(kFrozenRowsUnshifted, {"step 0: gradient norm", training_frozen_experts(on.tokens_ep2)},
           {"step 0: gradient norm", training_frozen_experts(on.rank_tp2)}),
      CASE(kLossOnEveryTpRank, {"supervised tokens of step 0", training(on.tp2)}),
      CASE(kStepCheckAlone, {"their sizes differ", training(with_fault(on.dp2, kNanOnce))}),
  };
}

std::vector<MutationCase> cases_of_other_work(const Layouts& on) {
  return {
      CASE(kRoundsAlone, {"waited in ", inference(on.tokens_ep2)}),
      CASE(kEvaluationLeavesEarly, {"waited in ", inference(on.tokens_ep2)}),
      CASE(kEvaluationOfThisRank, {"has the results", inference(on.dp2)}),

      CASE(kAuditAlone, {"rank 0 is told ''", audited()}),
      CASE(kAuditFindingKept, {"rank 0 is told ''", audited()}),
      CASE(kSlicesOfThisRank, {"elements of adapter/columns over all ranks", saved()}),
      CASE(kOwnersDisagree, {"the parts of the ranks do not fit together", saved()}),
      CASE(kReportsOfThisRank, {"the parts of the ranks do not fit together", saved()}),
      CASE(kOrdersNotTold, {"coordination: rank 0 waited", saved()}),
      CASE(kDamageOfThisRank, {"does not hear of damage", checked()}),
  };
}

}  // namespace

std::vector<MutationCase> mutation_cases() {
  std::vector<MutationCase> all;
  for (const auto& cases :
       {cases_of_collectives, cases_of_base_model, cases_of_experts, cases_of_routers,
        cases_of_family, cases_of_steps, cases_of_other_work}) {
    const std::vector<MutationCase> part = cases(Layouts());
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

#undef CASE

}  // namespace molora::testing
