// Planted faults, for the proof that the tests of the parallel parts can fail.
//
// Only a test build (MOLORA_MUTATIONS) has them: there, one of the mistakes below can be switched
// on and the comparison of many ranks with one must notice. In the product every MOLORA_MUTANT(...)
// is the constant false. tests/multirank/README.md says which test catches which; a mutation
// without such a test fails mutation_test. MOLORA_MUTANT stands in .cc files only: these are
// compiled a second time for the test, and an inline function must not exist in two versions.
#pragma once

namespace molora {

enum class Mutation {
  kNone,
  // Sums in fixed order (comm/fixed_order_sum.cc).
  kSumMissesLast,   // the last rank's summand is left out
  kSumNotGathered,  // every rank keeps its own values
  // Rows of tensors (parallel/tensor_collectives.cc).
  kGatheredRowsReversed,   // all-gather: rows in reverse order
  kReducedRowsMissLast,    // reduce-scatter: the last rank's summand is left out
  kExchangedRowsReversed,  // all-to-all: rows in reverse order
  // Regions of tensor parallelism (parallel/regions.cc).
  kCopyWithoutSum,          // input of column-parallel linears: gradients of tp ranks not summed
  kReduceWithoutSum,        // output of row-parallel linears: partial sums not summed
  kGatherForwardOwnOnly,    // other ranks' rows zero instead of gathered
  kGatherBackwardSplits,    // own rows of the gradient taken instead of the sum over ranks
  kScatterForwardSplits,    // own rows of the partial sum taken instead of the sum over ranks
  kScatterBackwardPads,     // other ranks' rows of the gradient left zero instead of gathered
  kColumnsToTokensSwapped,  // slices put together in the reverse order of ranks
  kTokensToColumnsSwapped,  // tokens put together in the reverse order
  kReplicatedColumnsLast,   // gradients of replicated key-value slices: the last one, not the sum
  // Quantised weights (model/quantized_weight.cc).
  kBlocksFromTheCut,  // a slice of columns is quantised as if it were the whole matrix
  // Linears (model/parallel_linear.cc).
  kColumnBorderDropped,    // input gradients not summed; sequence parallelism: own tokens alone
  kRowBorderDropped,       // partial sums taken for sums
  kExpertSplitOfThisRank,  // gather: experts cut as this rank needs them, not as each other one
  // The vocabulary (model/decoder.cc, train/loss.cc).
  kEmbeddingWithoutSum,  // rows of other ranks stay zero
  kHeadGradientPartial,  // gradient of the final states from this rank's vocabulary alone
  kHeadStatesReversed,   // sequence parallelism: states gathered in reverse order
  kLogitsOwnOnly,        // logits of other ranks' vocabulary stay zero
  kVocabularyLocal,      // softmax over this rank's rows alone
  // Tokens to experts (parallel/token_exchange.cc, model/token_experts.cc).
  kCountsNotExchanged,       // a rank takes the rows it sends for the rows it receives
  kDispatchReversed,         // rows sent in reverse order
  kDispatchBackwardDropped,  // gradients of sent rows do not come back
  kReturnedRowsReversed,     // rows come back in reverse order
  kCombineLastOnly,          // a token keeps the last rank's result instead of the sum
  kCombineBackwardSwapped,   // gradients of returned rows go back in reverse order
  kGatesReversed,            // gates of received rows in reverse order
  kGatesBackwardDropped,     // gradients of the gates do not come back
  kSkipEmptyExperts,         // a rank without rows leaves out the backward pass of its experts
  // Experts to tokens (parallel/expert_gather.cc).
  kExpertGradientKept,  // gradients of other ranks' experts are not sent back
  kExpertGatherStale,   // own experts in the place of all others
  // Members of the family (model/router.cc, model/adapter_placement.cc).
  kDrawOfRow,             // experts drawn by a token's row instead of its place in the data
  kSharedAOfOneOwner,     // gradients of a shared A summed as if one rank held it
  kDoraNormOfOwnColumns,  // norms of rows from this rank's columns alone (model/dora.cc)
  kMagnitudeOfOneRank,    // row-parallel: gradients of the magnitude not summed over tp
  kHeadsOfOneOwner,       // gradients of heads' experts summed as if each rank had its own
  kTaskRouterOfOneRank,   // gradients of the router by task not summed over tp
  // Experts that are whole MLPs (model/block_experts.cc).
  kBlockInputPartial,    // input gradients from this rank's part of the MLP alone
  kBlockTokensReversed,  // sequence parallelism: tokens gathered in reverse order
  kBlockOutputPartial,   // this rank's part of the MLP taken for the whole
  // Bottleneck values between tp ranks (model/rank_experts.cc, model/parallel_linear.cc,
  // model/sequence_experts.cc).
  kBottleneckOwnOnly,        // column: other ranks' bottleneck rows stay zero
  kBottleneckPartial,        // row: bottleneck values from this rank's columns alone
  kSlotsNotSummed,           // fixed shapes: other ranks' choices stay zero
  kSlotGradientsNotSummed,   // fixed shapes: gradients of other ranks' choices are lost
  kBottleneckOwnTokensOnly,  // sequence parallelism: bottleneck of other ranks' tokens stays zero
  kChoicesReversed,          // sequence parallelism, grouped experts: tokens get others' choices
  // Routers (model/router.cc, model/replicated_tokens.cc, train/train_step.cc).
  kRouterLogitsPartial,    // row-parallel: logits of this rank's columns alone
  kRouterGradientPartial,  // row-parallel: gradient of this rank's experts alone
  kRouterBiasOnEveryRank,  // row-parallel: bias added once per tp rank
  kAuxiliaryOnEveryRank,   // auxiliary gradient of replicated tokens counted once per tp rank
  kStatisticsOnEveryRank,  // statistics of replicated tokens counted once per tp rank
  kStatisticsOfThisRank,   // balance loss from this rank's counts
  kImportanceOfThisRank,   // localized balance loss from this rank's samples
  // Experts that begin anew (train/expert_revival.cc).
  kRevivedFromThisRank,   // what other ranks hold of the source expert is lost
  kRevivedRowsUnshifted,  // every rank takes its experts for the first ones
  // Gradients and optimizer (parallel/gradient_sync.cc, train/train_step.cc).
  kSumAllSkipped,          // gradients of replicated tensors not summed
  kSumDataSkipped,         // of tensors split over tp
  kSumExpertDataSkipped,   // of tensors split over ep
  kSumKvSkipped,           // of replicated key-value slices
  kDivideByEdp,            // expert gradients averaged over edp
  kSumsNotShared,          // replicated optimizer: sums stay with their owner
  kNormOfThisRank,         // clipping by the norm of this rank's gradients
  kUpdatesNotShared,       // sharded optimizer: updated values stay with their owner
  kStepSumsOfThisRank,     // loss and counts of the step from this rank alone
  kStepRoutersOfThisRank,  // what routers did in the step from this rank alone
  kLossOfThisRank,         // ranks but the first are told their own part of the loss
  kLossOnEveryTpRank,      // loss and counts of a micro-step taken from every tp rank
  // Steps that are computed again (train/step_check.cc).
  kStepCheckAlone,  // a rank goes by its own bits alone
  // Randomness (model/bottleneck.cc, model/token_experts.cc).
  kDropoutMaskReused,  // channels of every tp rank get the mask of the first
  kDropoutMaskOfRow,   // received rows get the mask of their place, not of their token
  // Frozen experts (model/adapter.cc).
  kFrozenRowsUnshifted,  // every rank takes its experts for the first ones
  // Addition (model/parallel_linear.cc).
  kBiasOnEveryRank,  // bias of row-parallel linears added once per tp rank
  // Ranks with different amounts of work (parallel/rounds.cc, eval/evaluator.cc).
  kRoundsAlone,            // a rank does not ask whether others still have work
  kEvaluationLeavesEarly,  // a rank that is done leaves the others alone
  kEvaluationOfThisRank,   // results of this rank's share alone
  // Replicas and checkpoints (parallel/replica_audit.cc, checkpoint/save_plan.cc).
  kAuditAlone,        // a rank compares its replica with itself
  kAuditFindingKept,  // a rank does not tell what its group has found
  kSlicesOfThisRank,  // every rank is taken to hold the slice that this one holds
  kOwnersDisagree,    // a rank chooses owners by what it writes itself
  // Checkpoints together (checkpoint/checkpoint_saver.cc, check_checkpoint.cc).
  kReportsOfThisRank,  // the coordinator takes its own report for that of every rank
  kOrdersNotTold,      // ranks do not hear the orders
  kDamageOfThisRank,   // a rank does not hear of damage that others found
  kEnd,                // one past the last of mutation_test
  // Collectives of GPUs (comm/nccl_*.cc); of tests/cuda/program/nccl_mutation_test.cc.
  kNcclBeforeWork,    // a collective does not wait for the work that was given before it
  kNcclAfterIgnored,  // later work does not wait for the collective
  kNcclOwnPartLost,   // what a rank keeps of an exchange is not copied
  kNcclPartsSwapped,  // received parts in the order of the next rank
};

#ifdef MOLORA_MUTATIONS
// The mistake that is made now, by all threads.
Mutation active_mutation();
void set_active_mutation(Mutation mutation);
#define MOLORA_MUTANT(name) (::molora::active_mutation() == ::molora::Mutation::name)
#else
#define MOLORA_MUTANT(name) false
#endif

}  // namespace molora
