#include "data/chat_template.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/fake_tokenizer.h"

namespace molora {
namespace {

using testing::chatml_tokenizer;
using testing::FakeTokenizer;

FakeTokenizer llama3_tokenizer() {
  return FakeTokenizer({"<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                        "<|end_header_id|>", "<|eot_id|>"});
}
FakeTokenizer sentence_tokenizer() { return FakeTokenizer({"<s>", "</s>"}); }
FakeTokenizer mistral_v3_tokenizer() { return FakeTokenizer({"<s>", "</s>", "[INST]", "[/INST]"}); }
FakeTokenizer mistral_v7_tokenizer() {
  return FakeTokenizer({"<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"});
}

const std::vector<Turn> kTwoExchanges = {{Role::kUser, "Hello"},
                                         {Role::kAssistant, "Hi, how can I help?"},
                                         {Role::kUser, "  two  spaces\nand a line "},
                                         {Role::kAssistant, " Leading and trailing  "}};
const std::vector<Turn> kOneExchange = {{Role::kUser, "q"}, {Role::kAssistant, "a"}};

std::string rendered(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  return tokenizer.decode(ids, {.skip_special = false});
}

// The rendering with {} around each run of supervised tokens.
std::string marked(const Tokenizer& tokenizer, const EncodedSample& sample) {
  std::string text;
  bool was_supervised = false;
  EXPECT_EQ(sample.ids.size(), sample.supervised.size());
  for (size_t i = 0; i < sample.ids.size(); ++i) {
    const bool is_supervised = sample.supervised[i] != 0;
    if (is_supervised != was_supervised) text += is_supervised ? "{" : "}";
    was_supervised = is_supervised;
    text += rendered(tokenizer, {sample.ids[i]});
  }
  return text + (was_supervised ? "}" : "");
}

std::string marked(const Tokenizer& tokenizer, DataConfig::Template chat_template,
                   const std::string& system, DataConfig::LabelMask mask,
                   const std::vector<Turn>& turns) {
  const ChatTemplate chat(tokenizer, chat_template, system, mask);
  return marked(tokenizer, chat.encode(turns));
}

TEST(ChatMl, MingMaskLeavesTheFormatTokensOfEveryTurnInTheLoss) {
  EXPECT_EQ(marked(chatml_tokenizer(), DataConfig::chatml, "s", DataConfig::ming, kOneExchange),
            "{<|im_start|>}system\ns{<|im_end|>\n<|im_start|>}user\nq{<|im_end|>\n<|im_start|>}"
            "assistant\n{a<|im_end|>\n}");
}

TEST(ChatMl, AnswersMaskLeavesTheAnswersAndTheirEnd) {
  EXPECT_EQ(
      marked(chatml_tokenizer(), DataConfig::chatml, "", DataConfig::answers, kTwoExchanges),
      "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n{Hi, how can I help?<|im_end|>}\n"
      "<|im_start|>user\n  two  spaces\nand a line <|im_end|>\n<|im_start|>assistant\n"
      "{ Leading and trailing  <|im_end|>}\n");
}

TEST(ChatMl, TheSystemTurnOfTheConversationReplacesThePrompt) {
  const auto tokenizer = chatml_tokenizer();
  const ChatTemplate chat(tokenizer, DataConfig::chatml, "default", DataConfig::answers);
  EXPECT_EQ(rendered(tokenizer, chat.encode_prompt({{Role::kSystem, "own"}, {Role::kUser, "q"}})),
            "<|im_start|>system\nown<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(rendered(tokenizer, chat.encode_prompt({{Role::kUser, "q"}})),
            "<|im_start|>system\ndefault<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
            "<|im_start|>assistant\n");
}

// Rendered by transformers' apply_chat_template with the template of Llama 3.
TEST(Llama3, RendersAsTheReference) {
  EXPECT_EQ(
      marked(llama3_tokenizer(), DataConfig::llama3, "You are a helpful assistant.",
             DataConfig::answers,
             {{Role::kUser, "What is (are) Microcephaly ?"}, {Role::kAssistant, "A small head."}}),
      "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful "
      "assistant.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhat is (are) "
      "Microcephaly ?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
      "{A small head.<|eot_id|>}");
  EXPECT_EQ(marked(llama3_tokenizer(), DataConfig::llama3, "", DataConfig::answers, kTwoExchanges),
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n{Hi, how can I help?<|eot_id|>}"
            "<|start_header_id|>user<|end_header_id|>\n\ntwo  spaces\nand a line<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n{Leading and trailing<|eot_id|>}");
}

TEST(Llama3, MingMaskLeavesTheFormatTokensInTheLoss) {
  EXPECT_EQ(marked(llama3_tokenizer(), DataConfig::llama3, "", DataConfig::ming, kOneExchange),
            "{<|begin_of_text|><|start_header_id|>}user<|end_header_id|>\n\nq"
            "{<|eot_id|><|start_header_id|>}assistant<|end_header_id|>\n\n{a<|eot_id|>}");
}

// Rendered by transformers' apply_chat_template with the template of Llama 2.
TEST(Llama2, RendersAsTheReference) {
  EXPECT_EQ(marked(sentence_tokenizer(), DataConfig::llama2, "Answer in Chinese.\nBe brief.",
                   DataConfig::answers,
                   {{Role::kUser, "q0"},
                    {Role::kAssistant, "a0\n"},
                    {Role::kUser, "q1"},
                    {Role::kAssistant, "a1"}}),
            "<s>[INST] <<SYS>>\nAnswer in Chinese.\nBe brief.\n<</SYS>>\n\nq0 [/INST]{a0 </s>}"
            "<s>[INST] q1 [/INST]{a1 </s>}");
  EXPECT_EQ(
      marked(sentence_tokenizer(), DataConfig::llama2, "", DataConfig::answers, kTwoExchanges),
      "<s>[INST] Hello [/INST]{Hi, how can I help? </s>}"
      "<s>[INST] two  spaces\nand a line [/INST]{Leading and trailing </s>}");
}

TEST(Llama2, MingMaskLeavesTheBeginTokensInTheLoss) {
  EXPECT_EQ(marked(sentence_tokenizer(), DataConfig::llama2, "", DataConfig::ming, kOneExchange),
            "{<s>}[INST] q [/INST]{a </s>}");
}

TEST(Mistral, WithoutInstTokensTheSystemTextComesFirst) {
  EXPECT_EQ(marked(sentence_tokenizer(), DataConfig::mistral, "s", DataConfig::ming, kTwoExchanges),
            "{<s>}[INST] s\n\nHello [/INST]{Hi, how can I help?</s>}"
            "[INST]   two  spaces\nand a line  [/INST]{ Leading and trailing  </s>}");
}

TEST(Mistral, WithInstTokensTheSystemTextComesLast) {
  EXPECT_EQ(
      marked(mistral_v3_tokenizer(), DataConfig::mistral, "s", DataConfig::answers, kTwoExchanges),
      "<s>[INST]Hello[/INST]{Hi, how can I help?</s>}"
      "[INST]s\n\n  two  spaces\nand a line [/INST]{ Leading and trailing</s>}");
}

TEST(Mistral, WithSystemTokensTheSystemTextIsATurn) {
  EXPECT_EQ(
      marked(mistral_v7_tokenizer(), DataConfig::mistral, "s", DataConfig::answers, kOneExchange),
      "<s>[SYSTEM_PROMPT]s[/SYSTEM_PROMPT][INST]q[/INST]{a</s>}");
}

TEST(Mistral, MingMaskLeavesTheFormatTokensInTheLoss) {
  EXPECT_EQ(
      marked(mistral_v7_tokenizer(), DataConfig::mistral, "s", DataConfig::ming, kOneExchange),
      "{<s>[SYSTEM_PROMPT]}s{[/SYSTEM_PROMPT][INST]}q{[/INST]a</s>}");
}

TEST(Mistral, AnEmptySystemTurnAddsNothing) {
  EXPECT_EQ(marked(mistral_v3_tokenizer(), DataConfig::mistral, "default", DataConfig::answers,
                   {{Role::kSystem, ""}, {Role::kUser, "q"}, {Role::kAssistant, "a"}}),
            "<s>[INST]q[/INST]{a</s>}");
}

struct Family {
  const char* what;
  DataConfig::Template chat_template;
  FakeTokenizer tokenizer;
};

std::vector<Family> families() {
  return {{"chatml", DataConfig::chatml, chatml_tokenizer()},
          {"llama2", DataConfig::llama2, sentence_tokenizer()},
          {"llama3", DataConfig::llama3, llama3_tokenizer()},
          {"mistral_v1", DataConfig::mistral, sentence_tokenizer()},
          {"mistral_v3", DataConfig::mistral, mistral_v3_tokenizer()},
          {"mistral_v7", DataConfig::mistral, mistral_v7_tokenizer()}};
}

class EveryTemplate : public ::testing::TestWithParam<Family> {};

TEST_P(EveryTemplate, APromptIsTheBeginningOfTheFinishedConversation) {
  const Family& family = GetParam();
  const ChatTemplate chat(family.tokenizer, family.chat_template, "system", DataConfig::answers);
  std::vector<Turn> turns;
  for (const Turn& turn : kTwoExchanges) {
    turns.push_back(turn);
    if (turn.role == Role::kUser) continue;
    const EncodedSample finished = chat.encode(turns);
    const auto prompt = chat.encode_prompt({turns.begin(), turns.end() - 1});
    ASSERT_LT(prompt.size(), finished.ids.size());
    EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), finished.ids.begin()));
    // What follows is the answer: all of it is in the loss, and none of the last question is.
    EXPECT_EQ(finished.supervised[prompt.size() - 1], 0);
    EXPECT_EQ(finished.supervised[prompt.size()], 1);
  }
}

TEST_P(EveryTemplate, TheAnswerEndsWithAStopToken) {
  const Family& family = GetParam();
  const ChatTemplate chat(family.tokenizer, family.chat_template, "", DataConfig::answers);
  const EncodedSample sample = chat.encode(kOneExchange);
  size_t last = sample.ids.size() - 1;
  while (sample.supervised[last] == 0) --last;
  EXPECT_EQ(sample.ids[last], chat.stop_ids().front());
}

TEST_P(EveryTemplate, NoTextOfTheDataBecomesAControlToken) {
  const Family& family = GetParam();
  const ChatTemplate chat(family.tokenizer, family.chat_template, "s", DataConfig::answers);
  std::string forged;
  for (TokenId id = 256; id < family.tokenizer.vocab_size(); ++id) {
    forged += rendered(family.tokenizer, {id});
  }
  const auto count_special = [&](const std::string& text) {
    const EncodedSample sample =
        chat.encode({{Role::kSystem, text}, {Role::kUser, text}, {Role::kAssistant, text}});
    return std::count_if(sample.ids.begin(), sample.ids.end(),
                         [&](TokenId id) { return family.tokenizer.is_special(id); });
  };
  EXPECT_EQ(count_special(forged), count_special("harmless"));
}

INSTANTIATE_TEST_SUITE_P(All, EveryTemplate, ::testing::ValuesIn(families()),
                         [](const auto& family) { return family.param.what; });

TEST(ChatTemplate, StopIdsHoldTheEndOfTextWhereThereIsOne) {
  const auto chatml = chatml_tokenizer();
  EXPECT_EQ(
      ChatTemplate(chatml, DataConfig::chatml, "", DataConfig::ming).stop_ids(),
      (std::vector<TokenId>{*chatml.token_id("<|im_end|>"), *chatml.token_id("<|endoftext|>")}));
  const auto llama3 = llama3_tokenizer();
  EXPECT_EQ(
      ChatTemplate(llama3, DataConfig::llama3, "", DataConfig::ming).stop_ids(),
      (std::vector<TokenId>{*llama3.token_id("<|eot_id|>"), *llama3.token_id("<|end_of_text|>")}));
  const auto sentence = sentence_tokenizer();
  EXPECT_EQ(ChatTemplate(sentence, DataConfig::llama2, "", DataConfig::ming).stop_ids(),
            (std::vector<TokenId>{*sentence.token_id("</s>")}));
}

TEST(ChatTemplate, FingerprintsDifferByTemplateMaskAndSystemPrompt) {
  const FakeTokenizer tokenizer({"<s>", "</s>", "<|im_start|>", "<|im_end|>"});
  const auto fingerprint = [&](DataConfig::Template chat_template, const std::string& system,
                               DataConfig::LabelMask mask) {
    return ChatTemplate(tokenizer, chat_template, system, mask).fingerprint();
  };
  const std::string first = fingerprint(DataConfig::chatml, "s", DataConfig::ming);
  EXPECT_EQ(first, fingerprint(DataConfig::chatml, "s", DataConfig::ming));
  EXPECT_NE(first, fingerprint(DataConfig::llama2, "s", DataConfig::ming));
  EXPECT_NE(first, fingerprint(DataConfig::chatml, "t", DataConfig::ming));
  EXPECT_NE(first, fingerprint(DataConfig::chatml, "s", DataConfig::answers));
}

TEST(ChatTemplate, ATokenizerWithoutTheControlTokensIsRefusedWithWhatFits) {
  EXPECT_THROW_WITH(
      ChatTemplate(sentence_tokenizer(), DataConfig::chatml, "", DataConfig::ming), DataError,
      "data.chat_template chatml needs the token <|im_start|>, which the tokenizer does not have; "
      "set data.chat_template to llama2 or mistral, whose tokens it has");
  EXPECT_THROW_WITH(
      ChatTemplate(FakeTokenizer({"<|begin_of_text|>"}), DataConfig::llama3, "", DataConfig::ming),
      DataError,
      "data.chat_template llama3 needs the token <|start_header_id|>, which the "
      "tokenizer does not have; set model.tokenizer to the tokenizer of a chat model");
  EXPECT_THROW_WITH(ChatTemplate(chatml_tokenizer(), DataConfig::mistral, "", DataConfig::ming),
                    DataError, "mistral needs the token <s>", "set data.chat_template to chatml,");
  EXPECT_THROW_WITH(ChatTemplate(chatml_tokenizer(), DataConfig::llama2, "", DataConfig::ming),
                    DataError, "llama2 needs the token <s>");
}

TEST(ChatTemplate, TurnsOutOfOrderAreOurFault) {
  const auto tokenizer = chatml_tokenizer();
  const ChatTemplate chat(tokenizer, DataConfig::chatml, "", DataConfig::ming);
  EXPECT_THROW_WITH((void)chat.encode({{Role::kUser, "q"}}), InternalError,
                    "the last not of the assistant");
  EXPECT_THROW_WITH((void)chat.encode_prompt(kOneExchange), InternalError,
                    "the last not of the user");
  EXPECT_THROW_WITH((void)chat.encode({}), InternalError, "0 turns");
  EXPECT_THROW_WITH((void)chat.encode_prompt({{Role::kUser, "q"}, {Role::kUser, "q"}}),
                    InternalError, "turn 2 is of the user");
}

}  // namespace
}  // namespace molora
