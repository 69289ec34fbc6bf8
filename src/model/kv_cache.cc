#include "model/kv_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace molora {

namespace {

constexpr int64_t kFirstCapacity = 64;

// `storage` with room for `rows` rows, its first `filled` rows kept.
Tensor with_room(const Tensor& storage, const Tensor& like, int64_t filled, int64_t rows) {
  const int64_t capacity = storage.defined() ? storage.size(0) : 0;
  if (rows <= capacity) return storage;
  const int64_t new_capacity = std::max({rows, 2 * capacity, kFirstCapacity});
  Tensor grown = at::empty({new_capacity, like.size(1), like.size(2)}, like.options());
  if (filled > 0) grown.slice(0, 0, filled).copy_(storage.slice(0, 0, filled));
  return grown;
}

}  // namespace

KvCache::KvCache(int64_t num_layers, int64_t num_sequences)
    : num_layers_(num_layers),
      num_sequences_(num_sequences),
      slots_(static_cast<size_t>(num_layers * num_sequences)) {}

KvCache::Slot& KvCache::slot(int64_t layer, int64_t sequence) {
  MOLORA_CHECK(layer < num_layers_ && sequence < num_sequences_, "layer {} sequence {}", layer,
               sequence);
  return slots_[static_cast<size_t>(sequence * num_layers_ + layer)];
}

KvCache::KeysValues KvCache::append(int64_t layer, int64_t sequence, const Tensor& new_keys_SHA,
                                    const Tensor& new_values_SHA) {
  Slot& s = slot(layer, sequence);
  const int64_t length = s.length + new_keys_SHA.size(0);
  s.keys = with_room(s.keys, new_keys_SHA, s.length, length);
  s.values = with_room(s.values, new_values_SHA, s.length, length);
  s.keys.slice(0, s.length, length).copy_(new_keys_SHA);
  s.values.slice(0, s.length, length).copy_(new_values_SHA);
  s.length = length;
  return {s.keys.slice(0, 0, length), s.values.slice(0, 0, length)};
}

int64_t KvCache::length(int64_t sequence) const {
  return slots_.at(static_cast<size_t>(sequence * num_layers_)).length;
}

void KvCache::add_sequence() {
  ++num_sequences_;
  slots_.resize(static_cast<size_t>(num_layers_ * num_sequences_));
}

void KvCache::keep(const std::vector<int64_t>& sequences) {
  std::vector<Slot> kept;
  for (const int64_t sequence : sequences) {
    for (int64_t layer = 0; layer < num_layers_; ++layer) {
      kept.push_back(std::move(slot(layer, sequence)));
    }
  }
  slots_ = std::move(kept);
  num_sequences_ = static_cast<int64_t>(sequences.size());
}

}  // namespace molora
