#include "tokenizer/bpe_model.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "base/check.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/utf8.h"

namespace molora {

namespace {

// Up to this many symbols a search for the best pair is faster than a heap of pairs.
constexpr size_t kShortWord = 40;
constexpr std::string_view kWordMark = "\xE2\x96\x81";  // U+2581, SentencePiece's space

// Unknown characters on their way to become unknown tokens.
class UnknownRun {
 public:
  explicit UnknownRun(const BpeOptions& options) : options_(options) {}
  void add(std::vector<TokenId>& ids) {
    if (pending_ && !options_.fuse_unk) flush(ids);
    pending_ = options_.unk.has_value();
  }
  void flush(std::vector<TokenId>& ids) {
    if (pending_) ids.push_back(*options_.unk);
    pending_ = false;
  }

 private:
  const BpeOptions& options_;
  bool pending_ = false;
};

}  // namespace

BpeModel::BpeModel(const Vocab& vocab, const BpeOptions& options) : options_(options) {
  for (const auto& [text, id] : vocab) vocab_.insert(text, id);
  const ByteAlphabet alphabet;
  for (size_t byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = vocab_.find(alphabet.text_of(static_cast<unsigned char>(byte))).value_or(-1);
    fallback_ids_[byte] = vocab_.find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
  cut_at_word_marks_ = !options.byte_level && vocab_.find(kWordMark).has_value();
}

BpeModel::Added BpeModel::add_merge(std::string_view left, std::string_view right) {
  const auto left_id = vocab_.find(left);
  if (!left_id) return Added::kLeftUnknown;
  const auto right_id = vocab_.find(right);
  if (!right_id) return Added::kRightUnknown;
  const auto merged_id = vocab_.find(std::string(left).append(right));
  if (!merged_id) return Added::kResultUnknown;
  merges_.insert(*left_id, *right_id, {num_merges_++, *merged_id});
  // A merge over the beginning of a marked word: then words of one text are not independent.
  if (right.starts_with(kWordMark) && !left.ends_with(kWordMark)) cut_at_word_marks_ = false;
  return Added::kYes;
}

void BpeModel::finish(const Vocab& vocab, const std::vector<TokenId>& special) {
  for (const TokenId id : special) {
    special_.resize(std::max(special_.size(), static_cast<size_t>(id) + 1));
    special_[static_cast<size_t>(id)] = true;
  }
  const ByteAlphabet alphabet;
  Scratch scratch;
  WordTable whole_words;
  std::vector<TokenId> ids;
  for (const auto& [text, id] : vocab) {
    std::string word = text;
    if (options_.byte_level && !alphabet.bytes_of(text, word)) continue;  // no word reads so
    ids.clear();
    if (!options_.ignore_merges) encode_word(word, SpecialTokens::kParse, scratch, ids);
    if (options_.ignore_merges || ids == std::vector<TokenId>{id}) whole_words.insert(word, id);
  }
  whole_words_ = std::move(whole_words);
}

void BpeModel::encode_word(std::string_view word, SpecialTokens special, Scratch& scratch,
                           std::vector<TokenId>& out) const {
  if (options_.ignore_merges || !cut_at_word_marks_) {
    return encode_segment(word, special, scratch, out);
  }
  // No merge crosses the beginning of a marked word, so each is encoded alone.
  size_t begin = 0;
  size_t mark = word.find(kWordMark);
  while (mark != std::string_view::npos) {
    const bool after_mark = word.substr(begin, mark - begin).ends_with(kWordMark);
    if (mark > begin && !after_mark) {
      encode_segment(word.substr(begin, mark - begin), special, scratch, out);
      begin = mark;
    }
    mark = word.find(kWordMark, mark + kWordMark.size());
  }
  if (begin < word.size()) encode_segment(word.substr(begin), special, scratch, out);
}

void BpeModel::encode_segment(std::string_view word, SpecialTokens special, Scratch& scratch,
                              std::vector<TokenId>& out) const {
  const auto whole = whole_words_.find(word);
  if (whole && (special == SpecialTokens::kParse || !is_special(*whole))) {
    out.push_back(*whole);
    return;
  }
  scratch.ids.clear();
  read_symbols(word, scratch.ids);
  if (scratch.ids.size() <= kShortWord) {
    merge_short(special, scratch);
  } else {
    merge_long(special, scratch);
  }
  out.insert(out.end(), scratch.ids.begin(), scratch.ids.end());
}

void BpeModel::read_symbols(std::string_view word, std::vector<TokenId>& ids) const {
  if (options_.byte_level) {
    read_byte_symbols(word, ids);
  } else {
    read_character_symbols(word, ids);
  }
}

void BpeModel::read_byte_symbols(std::string_view word, std::vector<TokenId>& ids) const {
  UnknownRun unknown(options_);
  for (const char c : word) {
    const TokenId id = byte_ids_[static_cast<unsigned char>(c)];
    if (id < 0) {
      unknown.add(ids);
    } else {
      unknown.flush(ids);
      ids.push_back(id);
    }
  }
  unknown.flush(ids);
}

void BpeModel::read_character_symbols(std::string_view word, std::vector<TokenId>& ids) const {
  UnknownRun unknown(options_);
  for (size_t position = 0; position < word.size();) {
    const std::string_view character = word.substr(position, code_point_at(word, position).bytes);
    position += character.size();
    if (const auto id = vocab_.find(character)) {
      unknown.flush(ids);
      ids.push_back(*id);
    } else if (!add_fallback_bytes(character, ids)) {
      // Fallback bytes do not end a run of unknown characters: the unknown token comes after them.
      unknown.add(ids);
    }
  }
  unknown.flush(ids);
}

// All bytes of the character as tokens, or none when one of them has no token.
bool BpeModel::add_fallback_bytes(std::string_view character, std::vector<TokenId>& ids) const {
  if (!options_.byte_fallback) return false;
  const auto id_of = [&](char c) { return fallback_ids_[static_cast<unsigned char>(c)]; };
  for (const char c : character) {
    if (id_of(c) < 0) return false;
  }
  for (const char c : character) ids.push_back(id_of(c));
  return true;
}

Merge BpeModel::merge_of(TokenId left, TokenId right, SpecialTokens special) const {
  const Merge merge = merges_.find(left, right);
  if (special == SpecialTokens::kLiteral && merge.id >= 0 && is_special(merge.id)) return {};
  return merge;
}

void BpeModel::merge_short(SpecialTokens special, Scratch& scratch) const {
  std::vector<TokenId>& ids = scratch.ids;
  std::vector<Merge>& merges = scratch.merges;  // merges[i]: of ids[i] and ids[i + 1]
  merges.clear();
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    merges.push_back(merge_of(ids[i], ids[i + 1], special));
  }
  while (!merges.empty()) {
    const auto best =
        std::min_element(merges.begin(), merges.end(),
                         [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (best->id < 0) break;
    const auto i = static_cast<size_t>(best - merges.begin());
    ids[i] = best->id;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(i) + 1);
    merges.erase(best);
    if (i > 0) merges[i - 1] = merge_of(ids[i - 1], ids[i], special);
    if (i < merges.size()) merges[i] = merge_of(ids[i], ids[i + 1], special);
  }
}

void BpeModel::merge_long(SpecialTokens special, Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto later = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto candidate_at = [&](int32_t position) -> Scratch::Candidate {
    const auto& symbol = symbols[static_cast<size_t>(position)];
    const Merge merge = merge_of(symbol.id, symbols[static_cast<size_t>(symbol.after)].id, special);
    return {merge.rank, position, merge.id};
  };

  MOLORA_CHECK(scratch.ids.size() <= size_t{std::numeric_limits<int32_t>::max()});
  const auto count = static_cast<int32_t>(scratch.ids.size());
  symbols.resize(scratch.ids.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[static_cast<size_t>(i)] = {scratch.ids[static_cast<size_t>(i)], i - 1,
                                       i + 1 < count ? i + 1 : -1};
  }
  heap.clear();
  for (int32_t i = 0; i + 1 < count; ++i) {
    if (const auto candidate = candidate_at(i); candidate.id >= 0) heap.push_back(candidate);
  }
  std::make_heap(heap.begin(), heap.end(), later);

  const auto push_at = [&](int32_t position) {
    if (const auto candidate = candidate_at(position); candidate.id >= 0) {
      heap.push_back(candidate);
      std::push_heap(heap.begin(), heap.end(), later);
    }
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Scratch::Candidate best = heap.back();
    heap.pop_back();
    auto& left = symbols[static_cast<size_t>(best.position)];
    // The pair may have changed or gone since it was pushed.
    if (left.id < 0 || left.after < 0 || candidate_at(best.position).id != best.id) continue;
    auto& right = symbols[static_cast<size_t>(left.after)];
    left.id = best.id;
    left.after = right.after;
    right.id = -1;
    if (left.after >= 0) symbols[static_cast<size_t>(left.after)].before = best.position;
    if (left.before >= 0) push_at(left.before);
    if (left.after >= 0) push_at(best.position);
  }
  scratch.ids.clear();
  for (const auto& symbol : symbols) {
    if (symbol.id >= 0) scratch.ids.push_back(symbol.id);
  }
}

}  // namespace molora
