// The steps of decoding in their running form.
#include <algorithm>
#include <charconv>
#include <memory>
#include <string>
#include <string_view>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/decoder.h"
#include "tokenizer/utf8.h"

namespace molora {

namespace {

// A step that passes everything on; the base of those that change something.
class PassingStep : public DecodeStep {
 public:
  explicit PassingStep(DecodeStep& next) : next_(next) {}
  void fragment(std::string_view text) override { next_.fragment(text); }
  void end_token() override { next_.end_token(); }
  void end_stream() override { next_.end_stream(); }

 protected:
  void pass_token(std::string_view text) {
    next_.fragment(text);
    next_.end_token();
  }
  DecodeStep& next_;
};

// A step that needs a token's whole text.
class WholeTokenStep : public PassingStep {
 public:
  using PassingStep::PassingStep;
  void fragment(std::string_view text) final { token_ += text; }
  void end_token() final {
    whole_token(token_);
    token_.clear();
  }

 protected:
  virtual void whole_token(const std::string& token) = 0;

 private:
  std::string token_;
};

class JoinSpacesStep : public PassingStep {
 public:
  using PassingStep::PassingStep;
  void end_token() override { between_ = true; }
  void fragment(std::string_view text) override {
    if (between_) next_.fragment(" ");
    between_ = false;
    next_.fragment(text);
  }
  void end_stream() override {
    next_.end_token();
    next_.end_stream();
  }

 private:
  bool between_ = false;
};

// All tokens become one. Also without tokens there is one, the empty one.
class FuseStep : public PassingStep {
 public:
  using PassingStep::PassingStep;
  void end_token() override {}
  void end_stream() override {
    next_.end_token();
    next_.end_stream();
  }
};

// All tokens become one text of bytes; a character may begin in one token and end in another.
class ByteLevelStep : public WholeTokenStep {
 public:
  using WholeTokenStep::WholeTokenStep;
  void end_stream() override {
    std::string buffer;
    next_.fragment(repaired_utf8(pending_, buffer));
    pass_token("");
    next_.end_stream();
  }

 protected:
  void whole_token(const std::string& token) override {
    std::string bytes;
    pending_ += alphabet_.bytes_of(token, bytes) ? bytes : token;
    const size_t certain = pending_.size() - incomplete_bytes();
    std::string buffer;
    next_.fragment(repaired_utf8(std::string_view(pending_).substr(0, certain), buffer));
    pending_.erase(0, certain);
  }

 private:
  // The length of the unfinished character at the end, if there is one.
  size_t incomplete_bytes() const {
    for (size_t back = 1; back <= std::min<size_t>(3, pending_.size()); ++back) {
      const size_t position = pending_.size() - back;
      if ((static_cast<unsigned char>(pending_[position]) & 0xC0) == 0x80) continue;
      const Utf8Step step = utf8_step(pending_, position);
      return step.kind == Utf8Step::Kind::kIncomplete ? back : 0;
    }
    return 0;
  }

  ByteAlphabet alphabet_;
  std::string pending_;
};

// Tokens "<0x41>" in a row become a text if their bytes form one, else a U+FFFD each.
class ByteFallbackStep : public WholeTokenStep {
 public:
  using WholeTokenStep::WholeTokenStep;
  void end_stream() override {
    flush();
    next_.end_stream();
  }

 protected:
  void whole_token(const std::string& token) override {
    const int byte = byte_of(token);
    if (byte >= 0) {
      bytes_ += static_cast<char>(byte);
      return;
    }
    flush();
    pass_token(token);
  }

 private:
  static int byte_of(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return -1;
    // A sign is no digit, but the reference reads "+A" as 10.
    const char* begin = token.data() + (token[3] == '+' ? 4 : 3);
    int value = -1;
    const auto [end, error] = std::from_chars(begin, token.data() + 5, value, 16);
    return error == std::errc() && end == token.data() + 5 && *begin != '-' ? value : -1;
  }

  void flush() {
    if (bytes_.empty()) return;
    std::string buffer;
    const bool well_formed = repaired_utf8(bytes_, buffer).data() == bytes_.data();
    if (well_formed) {
      pass_token(bytes_);
    } else {
      for (size_t i = 0; i < bytes_.size(); ++i) pass_token(kReplacementCharacter);
    }
    bytes_.clear();
  }

  std::string bytes_;
};

class ReplaceStep : public WholeTokenStep {
 public:
  ReplaceStep(const Decoder::Replace& replace, DecodeStep& next)
      : WholeTokenStep(next), replace_(replace) {}

 protected:
  void whole_token(const std::string& token) override {
    pass_token(replace_.pattern.replace_all(token, replace_.content));
  }

 private:
  const Decoder::Replace& replace_;
};

// Takes up to `start` characters off the beginning of each token and up to `stop` off its end, if
// they are the given one.
class StripStep : public PassingStep {
 public:
  StripStep(const Decoder::Strip& strip, DecodeStep& next) : PassingStep(next), strip_(strip) {}
  void fragment(std::string_view text) override {
    while (at_start_ && stripped_ < strip_.start && text.starts_with(strip_.content)) {
      text.remove_prefix(strip_.content.size());
      ++stripped_;
    }
    if (text.empty()) return;
    at_start_ = false;
    hold_back(text);
  }
  void end_token() override {
    held_ -= std::min(held_, strip_.stop);
    release(held_);
    at_start_ = true;
    stripped_ = 0;
    next_.end_token();
  }

 private:
  // Passes the text on but for the characters at its end that may have to go.
  void hold_back(std::string_view text) {
    size_t trailing = 0;
    while (text.ends_with(strip_.content)) {
      text.remove_suffix(strip_.content.size());
      ++trailing;
    }
    if (!text.empty()) release(held_);
    next_.fragment(text);
    held_ += trailing;
    release(held_ - std::min(held_, strip_.stop));
  }
  void release(size_t count) {
    for (size_t i = 0; i < count; ++i) next_.fragment(strip_.content);
    held_ -= count;
  }

  const Decoder::Strip& strip_;
  bool at_start_ = true;
  size_t stripped_ = 0;
  size_t held_ = 0;
};

class MetaspaceStep : public PassingStep {
 public:
  MetaspaceStep(const Decoder::Metaspace& metaspace, DecodeStep& next)
      : PassingStep(next), metaspace_(metaspace) {}
  void fragment(std::string_view text) override {
    const std::string_view mark = metaspace_.mark;
    size_t done = 0;
    for (size_t at = text.find(mark); at != std::string_view::npos; at = text.find(mark, done)) {
      next_.fragment(text.substr(done, at - done));
      if (!is_first_ || !metaspace_.drops_first) next_.fragment(" ");
      done = at + mark.size();
    }
    next_.fragment(text.substr(done));
  }
  void end_token() override {
    is_first_ = false;
    next_.end_token();
  }

 private:
  const Decoder::Metaspace& metaspace_;
  bool is_first_ = true;
};

struct StepStarter {
  DecodeStep& next;
  using Started = std::unique_ptr<DecodeStep>;
  Started operator()(const Decoder::JoinSpaces& /*step*/) const {
    return std::make_unique<JoinSpacesStep>(next);
  }
  Started operator()(const Decoder::ByteLevel& /*step*/) const {
    return std::make_unique<ByteLevelStep>(next);
  }
  Started operator()(const Decoder::ByteFallback& /*step*/) const {
    return std::make_unique<ByteFallbackStep>(next);
  }
  Started operator()(const Decoder::Fuse& /*step*/) const {
    return std::make_unique<FuseStep>(next);
  }
  Started operator()(const Decoder::Replace& step) const {
    return std::make_unique<ReplaceStep>(step, next);
  }
  Started operator()(const Decoder::Strip& step) const {
    return std::make_unique<StripStep>(step, next);
  }
  Started operator()(const Decoder::Metaspace& step) const {
    return std::make_unique<MetaspaceStep>(step, next);
  }
};

}  // namespace

std::unique_ptr<DecodeStep> start_step(const Decoder::Step& step, DecodeStep& next) {
  return std::visit(StepStarter{next}, step);
}

}  // namespace molora
