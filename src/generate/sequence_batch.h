// Token sequences that grow together, one token each a step; they may come and go between steps.
#pragma once

#include <cstdint>
#include <vector>

#include "generate/sequence.h"
#include "model/decoder.h"
#include "model/kv_cache.h"

namespace molora {

// The tokens of a sequence depend on its prompt, options and draw; on when it came and what else is
// in the batch only as far as sums are rounded differently in matrix products of another height (in
// fp32, where two logits are within some 1e-6 of each other). No task label is involved,
// unless the adapter was made to route by task: other routers see the tokens alone.
//
// With tensor parallelism every rank of the group makes the same calls and gets the same results.
class SequenceBatch {
 public:
  // `model` must outlive this object.
  explicit SequenceBatch(const CausalLM& model);

  // Takes part from the next step on. REQUIRES: the key is not in the batch; the prompt is not
  // empty and not longer than the model's max_position; max_new_tokens is at least 1.
  void add(NewSequence sequence);
  // Leaves at once, with what is cached of it. REQUIRES: it is in the batch.
  void remove(uint64_t key);

  bool empty() const { return active_.empty(); }
  int64_t size() const { return static_cast<int64_t>(active_.size()); }

  // One forward pass over what is new in each sequence (of one that has just come, its whole
  // prompt), and one new token for each, in the order in which they came. Waits for the device.
  // Without sequences it does nothing. Collective as CausalLM::hidden_states is.
  std::vector<NewToken> step();

 private:
  struct Active {
    NewSequence sequence;
    std::vector<int32_t> next_input;  // tokens that the cache has not seen
    int64_t num_new = 0;
  };

  at::Tensor next_logits();
  NewToken take(Active& active, int32_t token, int64_t length) const;

  const CausalLM& model_;
  KvCache cache_;
  std::vector<Active> active_;  // by place in the cache
};

}  // namespace molora
