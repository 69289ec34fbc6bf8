#include "tokenizer/word_table.h"

#include <functional>
#include <utility>

#include "base/check.h"

namespace molora {

namespace {

constexpr size_t kFirstSlots = 64;

uint32_t text_hash(std::string_view text) {
  return static_cast<uint32_t>(std::hash<std::string_view>{}(text));
}

}  // namespace

size_t WordTable::slot_of(std::string_view text, uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.id < 0) return i;
    if (slot.hash == hash && slot.length == text.size() &&
        text.compare(0, text.size(), texts_.data() + slot.offset, slot.length) == 0) {
      return i;
    }
  }
}

void WordTable::insert(std::string_view text, TokenId id) {
  MOLORA_CHECK(id >= 0, "id {}", id);
  MOLORA_CHECK(texts_.size() + text.size() <= UINT32_MAX);
  if (size_ * 2 >= slots_.size()) grow();
  const uint32_t hash = text_hash(text);
  Slot& slot = slots_[slot_of(text, hash)];
  if (slot.id < 0) {
    slot = {hash, static_cast<uint32_t>(texts_.size()), static_cast<uint32_t>(text.size()), id};
    texts_ += text;
    ++size_;
  }
  slot.id = id;
}

std::optional<TokenId> WordTable::find(std::string_view text) const {
  if (slots_.empty()) return std::nullopt;
  const Slot& slot = slots_[slot_of(text, text_hash(text))];
  return slot.id < 0 ? std::nullopt : std::optional<TokenId>(slot.id);
}

void WordTable::grow() {
  std::vector<Slot> old(slots_.empty() ? kFirstSlots : 2 * slots_.size());
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.id < 0) continue;
    size_t i = slot.hash & mask;
    while (slots_[i].id >= 0) i = (i + 1) & mask;
    slots_[i] = slot;
  }
}

void MergeTable::insert(TokenId left, TokenId right, Merge merge) {
  if (size_ * 2 >= slots_.size()) grow();
  const uint64_t key = key_of(left, right);
  const size_t mask = slots_.size() - 1;
  size_t i = hash_of(key) & mask;
  while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask;
  if (slots_[i].key == kEmpty) ++size_;
  slots_[i] = {key, merge};
}

void MergeTable::grow() {
  std::vector<Slot> old(slots_.empty() ? kFirstSlots : 2 * slots_.size());
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.key == kEmpty) continue;
    size_t i = hash_of(slot.key) & mask;
    while (slots_[i].key != kEmpty) i = (i + 1) & mask;
    slots_[i] = slot;
  }
}

}  // namespace molora
