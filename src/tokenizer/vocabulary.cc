#include "tokenizer/vocabulary.h"

#include "base/check.h"

namespace molora {

void Vocabulary::insert(TokenId id, std::string_view text) {
  MOLORA_CHECK(id >= 0 && static_cast<uint64_t>(id) <= kMaxTokenId && !contains(id), "id {}", id);
  if (id >= end_id()) entry_of_id_.resize(static_cast<size_t>(id) + 1, -1);
  entry_of_id_[static_cast<size_t>(id)] = static_cast<int32_t>(entries_.size());
  entries_.push_back({std::string(text), std::nullopt, false});
  ids_.insert(text, id);
}

void Vocabulary::mark_special(TokenId id) { entry_at(id).special = true; }

void Vocabulary::set_decoded_text(TokenId id, std::string_view text) {
  entry_at(id).decoded = text;
}

bool Vocabulary::is_special(TokenId id) const {
  const Entry* entry = entry_of(id);
  return entry != nullptr && entry->special;
}

const std::string& Vocabulary::text(TokenId id) const {
  const Entry* entry = entry_of(id);
  MOLORA_CHECK(entry != nullptr, "id {}", id);
  return entry->text;
}

const std::string* Vocabulary::decoded_text(TokenId id) const {
  const Entry* entry = entry_of(id);
  if (entry == nullptr) return nullptr;
  return entry->decoded ? &*entry->decoded : &entry->text;
}

const Vocabulary::Entry* Vocabulary::entry_of(TokenId id) const {
  if (id < 0 || id >= end_id()) return nullptr;
  const int32_t index = entry_of_id_[static_cast<size_t>(id)];
  return index < 0 ? nullptr : &entries_[static_cast<size_t>(index)];
}

Vocabulary::Entry& Vocabulary::entry_at(TokenId id) {
  MOLORA_CHECK(contains(id), "id {}", id);
  return entries_[static_cast<size_t>(entry_of_id_[static_cast<size_t>(id)])];
}

}  // namespace molora
