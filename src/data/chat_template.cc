#include "data/chat_template.h"

#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "data/trim_text.h"
#include "io/digest.h"

namespace molora {

namespace {

constexpr DataConfig::Template kTemplates[] = {DataConfig::chatml, DataConfig::llama2,
                                               DataConfig::llama3, DataConfig::mistral};

// The tokens without which a template cannot be written.
std::vector<const char*> required_tokens(DataConfig::Template chat_template) {
  switch (chat_template) {
    case DataConfig::chatml:
      return {"<|im_start|>", "<|im_end|>"};
    case DataConfig::llama3:
      return {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"};
    case DataConfig::llama2:
    case DataConfig::mistral:
      return {"<s>", "</s>"};
  }
  return {};
}

std::string missing_token(const Tokenizer& tokenizer, DataConfig::Template chat_template) {
  for (const char* token : required_tokens(chat_template)) {
    if (!tokenizer.token_id(token)) return token;
  }
  return {};
}

// What to write into the configuration when a template does not fit the tokenizer.
std::string advice(const Tokenizer& tokenizer) {
  std::vector<std::string> fitting;
  for (const DataConfig::Template other : kTemplates) {
    if (missing_token(tokenizer, other).empty()) {
      fitting.push_back(DataConfig::Template_Name(other));
    }
  }
  if (fitting.empty()) return "set model.tokenizer to the tokenizer of a chat model";
  return fmt::format("set data.chat_template to {}, whose tokens it has",
                     fmt::join(fitting, " or "));
}

bool has_system(std::span<const Turn> turns) {
  return !turns.empty() && turns.front().role == Role::kSystem;
}

// What a token is for.
enum class Part {
  kContext,  // never in the loss
  kFormat,   // in the loss of mask `ming`
  kAnswer,   // in the loss
};

// The structure that SampleReader promises; `last` is the role of the last turn.
void check_structure(std::span<const Turn> turns, Role last) {
  const size_t first = has_system(turns) ? 1 : 0;
  for (size_t i = first; i < turns.size(); ++i) {
    MOLORA_CHECK(turns[i].role == ((i - first) % 2 == 0 ? Role::kUser : Role::kAssistant),
                 "turn {} is of the {}", i + 1, role_name(turns[i].role));
  }
  MOLORA_CHECK(turns.size() > first && turns.back().role == last,
               "{} turns, the last not of the {}", turns.size(), role_name(last));
}

}  // namespace

// Collects tokens and their place in the mask.
class ChatTemplate::Builder {
 public:
  explicit Builder(const ChatTemplate& owner) : owner_(owner) {}

  void token(TokenId id, Part part) {
    const bool is_target =
        part == Part::kAnswer || (part == Part::kFormat && owner_.label_mask_ == DataConfig::ming);
    if (part == Part::kAnswer && sample_.first_answer == 0) {
      sample_.first_answer = sample_.ids.size();
    }
    sample_.ids.push_back(id);
    sample_.supervised.push_back(is_target ? 1 : 0);
  }
  void text(std::string_view content, Part part) {
    for (const TokenId id : owner_.tokenizer_->encode(content, SpecialTokens::kLiteral)) {
      token(id, part);
    }
  }
  EncodedSample take() { return std::move(sample_); }

 private:
  const ChatTemplate& owner_;
  EncodedSample sample_;
};

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer, DataConfig::Template chat_template,
                           std::string system_prompt, DataConfig::LabelMask label_mask)
    : tokenizer_(&tokenizer),
      template_(chat_template),
      system_prompt_(std::move(system_prompt)),
      label_mask_(label_mask) {
  const std::string missing = missing_token(tokenizer, chat_template);
  if (!missing.empty()) {
    throw DataError(fmt::format(
        "data.chat_template {} needs the token {}, which the tokenizer does not have; {}",
        DataConfig::Template_Name(chat_template), missing, advice(tokenizer)));
  }
  find_control_tokens();
}

void ChatTemplate::find_control_tokens() {
  const auto find = [this](const char* token) { return tokenizer_->token_id(token).value_or(-1); };
  switch (template_) {
    case DataConfig::chatml:
      control_.begin_turn = find("<|im_start|>");
      control_.end_turn = find("<|im_end|>");
      control_.end_text = find("<|endoftext|>");
      break;
    case DataConfig::llama3:
      control_.begin_text = find("<|begin_of_text|>");
      control_.begin_turn = find("<|start_header_id|>");
      control_.end_header = find("<|end_header_id|>");
      control_.end_turn = find("<|eot_id|>");
      control_.end_text = find("<|end_of_text|>");
      break;
    case DataConfig::llama2:
      control_.begin_text = find("<s>");
      control_.end_turn = find("</s>");
      break;
    case DataConfig::mistral:
      control_.begin_text = find("<s>");
      control_.end_turn = find("</s>");
      if (tokenizer_->token_id("[INST]") && tokenizer_->token_id("[/INST]")) {
        control_.begin_turn = find("[INST]");
        control_.end_header = find("[/INST]");
      }
      if (tokenizer_->token_id("[SYSTEM_PROMPT]") && tokenizer_->token_id("[/SYSTEM_PROMPT]")) {
        control_.begin_system = find("[SYSTEM_PROMPT]");
        control_.end_system = find("[/SYSTEM_PROMPT]");
      }
      break;
  }
}

EncodedSample ChatTemplate::encode(const std::vector<Turn>& turns) const {
  check_structure(turns, Role::kAssistant);
  Builder builder(*this);
  append(builder, turns);
  return builder.take();
}

std::vector<TokenId> ChatTemplate::encode_prompt(const std::vector<Turn>& turns) const {
  check_structure(turns, Role::kUser);
  Builder builder(*this);
  append(builder, turns);
  if (template_ == DataConfig::chatml || template_ == DataConfig::llama3) {
    append_header(builder, Role::kAssistant);
  }
  return builder.take().ids;
}

std::vector<TokenId> ChatTemplate::stop_ids() const {
  std::vector<TokenId> ids = {control_.end_turn};
  if (control_.end_text >= 0) ids.push_back(control_.end_text);
  return ids;
}

std::string ChatTemplate::fingerprint() const {
  // The number is that of this code's rendering: raise it when any id or mask changes.
  return sha256_hex(fmt::format("rendering 1\n{}\n{}\n{}", DataConfig::Template_Name(template_),
                                DataConfig::LabelMask_Name(label_mask_), system_prompt_));
}

void ChatTemplate::append(Builder& builder, Turns turns) const {
  SystemText system;
  if (has_system(turns)) {
    system = turns.front().text;
    turns = turns.subspan(1);
  } else if (!system_prompt_.empty()) {
    system = system_prompt_;
  }
  switch (template_) {
    case DataConfig::chatml:
    case DataConfig::llama3:
      return append_turns(builder, turns, system);
    case DataConfig::llama2:
      return append_llama2(builder, turns, system);
    case DataConfig::mistral:
      return append_mistral(builder, turns, system);
  }
}

void ChatTemplate::append_turns(Builder& builder, Turns turns, SystemText system) const {
  if (template_ == DataConfig::llama3) builder.token(control_.begin_text, Part::kFormat);
  if (system) append_turn(builder, Role::kSystem, *system);
  for (const Turn& turn : turns) append_turn(builder, turn.role, turn.text);
}

void ChatTemplate::append_turn(Builder& builder, Role role, std::string_view text) const {
  const bool is_answer = role == Role::kAssistant;
  append_header(builder, role);
  builder.text(template_ == DataConfig::llama3 ? trim_unicode(text) : text,
               is_answer ? Part::kAnswer : Part::kContext);
  builder.token(control_.end_turn, is_answer ? Part::kAnswer : Part::kFormat);
  if (template_ == DataConfig::chatml) builder.text("\n", Part::kFormat);
}

void ChatTemplate::append_header(Builder& builder, Role role) const {
  builder.token(control_.begin_turn, Part::kFormat);
  if (template_ == DataConfig::llama3) {
    builder.text(role_name(role), Part::kContext);
    builder.token(control_.end_header, Part::kContext);
    builder.text("\n\n", Part::kContext);
  } else {
    builder.text(fmt::format("{}\n", role_name(role)), Part::kContext);
  }
}

void ChatTemplate::append_llama2(Builder& builder, Turns turns, SystemText system) const {
  for (const Turn& turn : turns) {
    if (turn.role == Role::kAssistant) {
      builder.text(fmt::format("{} ", trim_unicode(turn.text)), Part::kAnswer);
      builder.token(control_.end_turn, Part::kAnswer);
      continue;
    }
    std::string question = turn.text;
    if (system) question = fmt::format("<<SYS>>\n{}\n<</SYS>>\n\n{}", *system, question);
    system.reset();
    builder.token(control_.begin_text, Part::kFormat);
    builder.text(fmt::format("[INST] {} [/INST]", trim_unicode(question)), Part::kContext);
  }
}

void ChatTemplate::append_mistral(Builder& builder, Turns turns, SystemText system) const {
  const bool has_inst_tokens = control_.begin_turn >= 0;
  builder.token(control_.begin_text, Part::kFormat);
  if (system && control_.begin_system >= 0) {
    builder.token(control_.begin_system, Part::kFormat);
    builder.text(*system, Part::kContext);
    builder.token(control_.end_system, Part::kFormat);
    system.reset();
  }
  const size_t last_question = (turns.size() - 1) / 2 * 2;
  const size_t question_with_system = has_inst_tokens ? last_question : 0;
  for (size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].role == Role::kAssistant) {
      builder.text(has_inst_tokens ? trim_trailing_spaces(turns[i].text) : turns[i].text,
                   Part::kAnswer);
      builder.token(control_.end_turn, Part::kAnswer);
      continue;
    }
    std::string question = turns[i].text;
    if (i == question_with_system && system && !system->empty()) {
      question = fmt::format("{}\n\n{}", *system, question);
    }
    if (has_inst_tokens) {
      builder.token(control_.begin_turn, Part::kFormat);
      builder.text(question, Part::kContext);
      builder.token(control_.end_header, Part::kFormat);
    } else {
      builder.text(fmt::format("[INST] {} [/INST]", question), Part::kContext);
    }
  }
}

}  // namespace molora
