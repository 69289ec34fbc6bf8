#include "tokenizer/decoder.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tokenizer/normalizer.h"
#include "tokenizer/utf8.h"

namespace molora {

namespace {

constexpr int kMaxDepth = 16;
constexpr size_t kMaxSteps = 64;
constexpr std::string_view kWordMark = "\xE2\x96\x81";  // U+2581

// The end of the line: collects what the steps made.
class Collector : public DecodeStep {
 public:
  void fragment(std::string_view text) override { text_ += text; }
  void end_token() override {}
  void end_stream() override {}
  std::string take() { return std::exchange(text_, {}); }

 private:
  std::string text_;
};

class RunningDecoder : public StreamDecoder {
 public:
  RunningDecoder(const std::vector<Decoder::Step>& steps, const Vocabulary& vocabulary,
                 const Tokenizer::DecodeOptions& options)
      : vocabulary_(vocabulary), options_(options) {
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
      running_.push_back(start_step(*step, first()));
    }
  }

  void push(TokenId id) {
    const std::string* text = vocabulary_.decoded_text(id);
    if (text == nullptr || (options_.skip_special && vocabulary_.is_special(id))) return;
    first().fragment(*text);
    first().end_token();
  }
  std::string feed(TokenId id) override {
    push(id);
    return collector_.take();
  }
  std::string finish() override {
    first().end_stream();
    return collector_.take();
  }

 private:
  DecodeStep& first() { return running_.empty() ? collector_ : *running_.back(); }

  const Vocabulary& vocabulary_;
  Tokenizer::DecodeOptions options_;
  Collector collector_;
  std::vector<std::unique_ptr<DecodeStep>> running_;  // from the last step to the first
};

std::string one_character(const JsonAt& json) {
  const std::string& text = json.text();
  if (text.empty() || code_point_at(text, 0).bytes != text.size())
    json.fail("is not one character");
  return text;
}

}  // namespace

Decoder::Decoder() { steps_.emplace_back(JoinSpaces{}); }

Decoder::Decoder(const JsonAt& json) {
  parse(json, 0);
  check_growth(json);
}

Decoder Decoder::sentencepiece(FirstSpace first_space) {
  Decoder decoder;
  decoder.steps_.clear();
  decoder.steps_.emplace_back(Replace{TextPattern(std::string(kWordMark)), " "});
  decoder.steps_.emplace_back(ByteFallback{});
  decoder.steps_.emplace_back(Fuse{});
  if (first_space == FirstSpace::kStripped) decoder.steps_.emplace_back(Strip{" ", 1, 0});
  return decoder;
}

void Decoder::parse(const JsonAt& json, int depth) {
  const std::string& type = json.field("type").text();
  if (depth > kMaxDepth || steps_.size() > kMaxSteps) json.fail("is nested too deeply");
  if (type == "Sequence") {
    for (const JsonAt& item : json.field("decoders").items()) parse(item, depth + 1);
  } else if (type == "ByteLevel") {
    steps_.emplace_back(ByteLevel{});
  } else if (type == "ByteFallback") {
    steps_.emplace_back(ByteFallback{});
  } else if (type == "Fuse") {
    steps_.emplace_back(Fuse{});
  } else if (type == "Replace") {
    steps_.emplace_back(Replace{TextPattern(json.field("pattern")), json.field("content").text()});
  } else if (type == "Strip") {
    steps_.emplace_back(Strip{one_character(json.field("content")), json.field("start").count(),
                              json.field("stop").count()});
  } else if (type == "Metaspace") {
    const bool never = json.text_or("prepend_scheme", "always") == "never" ||
                       !json.flag_or("add_prefix_space", true);
    steps_.emplace_back(Metaspace{one_character(json.field("replacement")), !never});
  } else {
    json.fail(
        fmt::format("decoder {} is not supported (ByteFallback, ByteLevel, Fuse, Metaspace, "
                    "Replace, Strip, Sequence are)",
                    type));
  }
}

void Decoder::check_growth(const JsonAt& json) const {
  size_t growth = 1;
  for (const Step& step : steps_) {
    const auto* replace = std::get_if<Replace>(&step);
    if (replace == nullptr) continue;
    growth *= std::max<size_t>(1, replacement_growth(replace->pattern, replace->content));
    if (growth > kMaxGrowth) {
      json.fail(fmt::format("may make a text more than {} times as long", kMaxGrowth));
    }
  }
}

std::unique_ptr<StreamDecoder> Decoder::start(const Vocabulary& vocabulary,
                                              const Tokenizer::DecodeOptions& options) const {
  return std::make_unique<RunningDecoder>(steps_, vocabulary, options);
}

std::string Decoder::decode(const std::vector<TokenId>& ids, const Vocabulary& vocabulary,
                            const Tokenizer::DecodeOptions& options) const {
  RunningDecoder running(steps_, vocabulary, options);
  for (const TokenId id : ids) running.push(id);
  return running.finish();
}

}  // namespace molora
