// Planted faults, for the proof that the tests of the parallel parts can fail.
//
// Only a test build (MOLORA_MUTATIONS) has them: there, one of the mistakes below can be switched
// on and the comparison of many ranks with one must notice. In the product every MOLORA_MUTANT(...)
// is the constant false. tests/multirank/mutation_test.cc says which test catches which.
#pragma once

namespace molora {

enum class Mutation {
  kNone,
  // Regions of tensor parallelism (parallel/regions.h).
  kCopyWithoutSum,          // input of column-parallel linears: gradients of tp ranks not summed
  kReduceWithoutSum,        // output of row-parallel linears: partial sums not summed
  kGatherBackwardSplits,    // own rows of the gradient taken instead of the sum over ranks
  kScatterForwardSplits,    // own rows of the partial sum taken instead of the sum over ranks
  kScatterBackwardPads,     // other ranks' rows of the gradient left zero instead of gathered
  kColumnsToTokensSwapped,  // slices put together in the reverse order of ranks
  kReplicatedColumnsLast,   // gradients of replicated key-value slices: the last one, not the sum
  // The vocabulary (model/decoder.cc, train/loss.cc).
  kEmbeddingWithoutSum,  // rows of other ranks stay zero
  kVocabularyLocal,      // softmax over this rank's rows alone
  // Tokens to experts (parallel/token_exchange.h).
  kDispatchBackwardDropped,  // gradients of sent rows do not come back
  kCombineLastOnly,          // a token keeps the last rank's result instead of the sum
  kCombineBackwardSwapped,   // gradients of returned rows go back in reverse order
  kGatesBackwardDropped,     // gradients of the gates do not come back
  kSkipEmptyExperts,         // a rank without rows leaves its experts out of the update
  kExpertGradientKept,       // gather: gradients of other ranks' experts are not sent back
  kExpertGatherStale,        // gather: own experts in the place of all others
  // Bottleneck values between tp ranks (model/adapter_rank.cc).
  kBottleneckOwnOnly,  // column: other ranks' bottleneck rows stay zero
  // Routers.
  kRouterLogitsPartial,    // row-parallel: logits of this rank's columns alone
  kRouterGradientPartial,  // row-parallel: gradient of this rank's experts alone
  kAuxiliaryOnEveryRank,   // auxiliary gradient of replicated tokens counted once per tp rank
  kStatisticsOfThisRank,   // balance loss from this rank's counts
  // Gradients and optimizer (parallel/gradient_sync.h, train/train_step.cc).
  kSumAllSkipped,         // gradients of replicated tensors not summed
  kSumDataSkipped,        // of tensors split over tp
  kSumExpertDataSkipped,  // of tensors split over ep
  kSumKvSkipped,          // of replicated key-value slices
  kDivideByEdp,           // expert gradients averaged over edp
  kNormOfThisRank,        // clipping by the norm of this rank's gradients
  kUpdatesNotShared,      // sharded optimizer: updated values stay with their owner
  // Randomness.
  kDropoutMaskReused,  // channels of every tp rank get the mask of the first
  kDropoutMaskOfRow,   // received rows get the mask of their place, not of their token
  // Addition.
  kBiasOnEveryRank,  // bias of row-parallel linears added once per tp rank
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
