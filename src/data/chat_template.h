// Conversations as token ids, in the format that a family of chat models was trained with, and
// which of the tokens are in the loss.
//
// Every text is encoded by itself with SpecialTokens::kLiteral and the control tokens are put
// between by their ids, so that no text of the data can forge a turn. (In Llama 2 and Mistral v1
// the words [INST] and [/INST] are ordinary text by design; there a text can hold them.)
//
// Formats ("+" joins pieces that are encoded separately, <..> is one control token):
//   chatml   per turn: <|im_start|> + "role\n" + text + <|im_end|> + "\n"
//   llama3   <|begin_of_text|>, per turn: <|start_header_id|> + "role" + <|end_header_id|> +
//            "\n\n" + trimmed text + <|eot_id|>
//   llama2   per exchange: <s> + "[INST] user [/INST]" + "answer " + </s>, texts trimmed; the first
//            user text is preceded by "<<SYS>>\nsystem\n<</SYS>>\n\n"
//   mistral  <s>, then per exchange, by the tokens that the tokenizer has:
//            [INST] and [/INST] are tokens (v3): [INST] + user + [/INST] + answer + </s>, answers
//            without spaces at their end; the system text and an empty line before the last user
//            text, or between [SYSTEM_PROMPT] and [/SYSTEM_PROMPT] where these are tokens too (v7);
//            they are not (v1): "[INST] user [/INST]" + answer + </s>, the system text and an empty
//            line before the first user text
//
// Masks. `answers`: the tokens of each answer and the token that ends it. `ming`: these and the
// format tokens that MING's code leaves in the loss, which are, of every turn, the token that
// begins it and all that follow its text: for chatml <|im_start|>, <|im_end|> and "\n", for llama3
// <|begin_of_text|>, <|start_header_id|> and <|eot_id|>, for llama2 and mistral <s> and those of
// [INST], [/INST], [SYSTEM_PROMPT] and [/SYSTEM_PROMPT] that are tokens.
//
// Sources: MING's train.py, transformers' chat templates of Llama 2 and 3, mistral-common 1.13.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/conversation.h"
#include "run_config.pb.h"
#include "tokenizer/tokenizer.h"

namespace molora {

struct EncodedSample {
  std::vector<TokenId> ids;
  std::vector<uint8_t> supervised;  // 1 where the token is a target; as long as ids
  size_t first_answer = 0;          // the index of the first token of the first answer
};

// Threads: const methods may be called from several threads at once.
class ChatTemplate {
 public:
  // `tokenizer` must outlive this object. `system_prompt` is the system turn of conversations that
  // have none; empty: they get none.
  // Throws: DataError when the tokenizer lacks a control token of the template.
  ChatTemplate(const Tokenizer& tokenizer, DataConfig::Template chat_template,
               std::string system_prompt, DataConfig::LabelMask label_mask);

  // A finished conversation. REQUIRES: turns as Conversation describes them, the last one of the
  // assistant.
  EncodedSample encode(const std::vector<Turn>& turns) const;

  // What the model is given to answer: the beginning of encode() of the conversation that has the
  // answer, up to where its text begins. REQUIRES: turns as Conversation describes them, the last
  // one of the user.
  std::vector<TokenId> encode_prompt(const std::vector<Turn>& turns) const;

  // The tokens that end an answer.
  std::vector<TokenId> stop_ids() const;

  // A digest of everything here but the tokenizer that decides ids and masks.
  std::string fingerprint() const;

  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  class Builder;

  // Ids of the control tokens; -1 where the template or the tokenizer has none of this use.
  struct Control {
    TokenId begin_text = -1;    // <s>, <|begin_of_text|>
    TokenId begin_turn = -1;    // <|im_start|>, <|start_header_id|>, [INST]
    TokenId end_header = -1;    // <|end_header_id|>, [/INST]
    TokenId end_turn = -1;      // <|im_end|>, <|eot_id|>, </s>
    TokenId begin_system = -1;  // [SYSTEM_PROMPT]
    TokenId end_system = -1;    // [/SYSTEM_PROMPT]
    TokenId end_text = -1;      // <|endoftext|>, <|end_of_text|>
  };

  using Turns = std::span<const Turn>;
  using SystemText = std::optional<std::string_view>;

  void find_control_tokens();
  void append(Builder& builder, Turns turns) const;
  void append_turns(Builder& builder, Turns turns, SystemText system) const;
  void append_turn(Builder& builder, Role role, std::string_view text) const;
  void append_header(Builder& builder, Role role) const;
  void append_llama2(Builder& builder, Turns turns, SystemText system) const;
  void append_mistral(Builder& builder, Turns turns, SystemText system) const;

  const Tokenizer* tokenizer_;
  DataConfig::Template template_;
  std::string system_prompt_;
  DataConfig::LabelMask label_mask_;
  Control control_;
};

}  // namespace molora
