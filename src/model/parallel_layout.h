// How one model is spread over ranks, and what that means for the tokens of one forward pass.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "comm/mesh.h"
#include "model/expert_way.h"
#include "model/forward_context.h"
#include "parallel/shard.h"

namespace molora {

struct ParallelLayout {
  const Mesh& mesh;
  // Between linears each tp rank keeps its part of the tokens instead of all of them. In training
  // only: evaluation and generation go without, on the same weights.
  bool has_sequence_parallel = false;
  // `rank` exchange sends as many rows whatever the routing is, so that the host need not know it:
  // on GPUs, where asking would make it wait. Twice the bytes of sending only what is there.
  bool has_fixed_shapes = false;
  ExpertWays expert_ways = {};

  Communicator& tp() const { return mesh.axis(Axis::kTensor); }
  Communicator& ep() const { return mesh.axis(Axis::kExpert); }
};

// One forward pass on this rank: the same tokens on all ranks of a tp group. Refers to layout and
// context, which must live until the backward pass is over.
class ForwardPass {
 public:
  ForwardPass(const ParallelLayout& layout, const ForwardContext& context)
      : layout_(layout),
        context_(context),
        token_rows_(balanced_lengths(context.batch.num_tokens(), layout.tp().size())),
        own_tokens_(
            balanced_slice(context.batch.num_tokens(), layout.tp().size(), layout.tp().rank())),
        is_sequence_split_(layout.has_sequence_parallel && layout.tp().size() > 1 &&
                           context.mode == ForwardMode::kTrain) {}

  const ForwardContext& context() const { return context_; }
  const Mesh& mesh() const { return layout_.mesh; }
  Communicator& tp() const { return layout_.tp(); }
  Communicator& ep() const { return layout_.ep(); }
  int64_t num_tokens() const { return context_.batch.num_tokens(); }

  // The parts of the tokens over the tp ranks, and this rank's.
  const std::vector<int64_t>& token_rows() const { return token_rows_; }
  const Slice& own_tokens() const { return own_tokens_; }
  // Whether states between linears are [own tokens, hidden] (else [tokens, hidden] on every rank).
  bool is_sequence_split() const { return is_sequence_split_; }
  bool has_fixed_shapes() const { return layout_.has_fixed_shapes; }
  ExpertWay expert_way(LinearKind kind) const { return layout_.expert_ways.of(kind); }

 private:
  const ParallelLayout& layout_;
  const ForwardContext& context_;
  std::vector<int64_t> token_rows_;
  Slice own_tokens_;
  bool is_sequence_split_;
};

}  // namespace molora
