#include "data/sample_parser.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using LastTurn = SampleReaderOptions::LastTurn;
using Turns = std::vector<Turn>;

ParsedSample parse(std::string_view text, DataSource::Format format = DataSource::auto_,
                   LastTurn last_turn = LastTurn::kAssistant) {
  return parse_sample(text, format, last_turn);
}

Turns turns_of(std::string_view text) { return parse(text).conversation.turns; }

const Turns kQuestionAndAnswer = {{Role::kUser, "q"}, {Role::kAssistant, "a"}};
const Turns kWithSystem = {{Role::kSystem, "s"}, {Role::kUser, "q"}, {Role::kAssistant, "a"}};

TEST(SampleForms, MingConversations) {
  EXPECT_EQ(turns_of(R"({"conversations": [{"from": "human", "value": "q"},
                                           {"from": "gpt", "value": "a"}]})"),
            kQuestionAndAnswer);
}

TEST(SampleForms, MingConversationsWithRoleKeyAndSystemTurn) {
  EXPECT_EQ(turns_of(R"({"conversations": [{"role": "system", "value": "s"},
                {"role": "human", "value": "q"}, {"role": "gpt", "value": "a"}]})"),
            kWithSystem);
}

TEST(SampleForms, MingConversationsWithTheOtherNamesOfTheSpeakers) {
  EXPECT_EQ(turns_of(R"({"conversations": [{"from": "user", "value": "q"},
                                           {"from": "assistant", "value": "a"}]})"),
            kQuestionAndAnswer);
}

TEST(SampleForms, Messages) {
  EXPECT_EQ(turns_of(R"({"messages": [{"role": "system", "content": "s"},
                {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})"),
            kWithSystem);
}

TEST(SampleForms, MessagesOfTextPartsAreJoined) {
  EXPECT_EQ(turns_of(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"},
                {"type": "text", "text": "?"}]}, {"role": "assistant", "content": "a",
                "tool_calls": null, "weight": 1}]})"),
            (Turns{{Role::kUser, "q?"}, {Role::kAssistant, "a"}}));
}

TEST(SampleForms, Alpaca) {
  EXPECT_EQ(turns_of(R"({"instruction": "q", "input": "", "output": "a"})"), kQuestionAndAnswer);
  EXPECT_EQ(turns_of(R"({"instruction": "q", "output": "a", "system": "", "history": []})"),
            kQuestionAndAnswer);
}

TEST(SampleForms, AlpacaInputFollowsTheInstructionAfterANewline) {
  EXPECT_EQ(turns_of(R"({"instruction": "q", "input": "i", "output": "a"})")[0].text, "q\ni");
  EXPECT_EQ(turns_of(R"({"instruction": "", "input": "i", "output": "a"})")[0].text, "i");
}

TEST(SampleForms, AlpacaSystemAndHistoryComeFirst) {
  EXPECT_EQ(turns_of(R"({"instruction": "q", "output": "a", "system": "s",
                         "history": [["q0", "a0"]]})"),
            (Turns{{Role::kSystem, "s"},
                   {Role::kUser, "q0"},
                   {Role::kAssistant, "a0"},
                   {Role::kUser, "q"},
                   {Role::kAssistant, "a"}}));
}

TEST(SampleForms, AFixedFormatDoesNotMindKeysOfOthers) {
  EXPECT_EQ(parse(R"({"messages": 1, "instruction": "q", "output": "a"})", DataSource::alpaca)
                .conversation.turns,
            kQuestionAndAnswer);
}

TEST(SampleForms, ALeadingAnswerIsLeftOutAndReported) {
  const auto parsed = parse(R"({"conversations": [{"from": "gpt", "value": "Hello"},
                {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]})");
  EXPECT_TRUE(parsed.had_leading_answer);
  EXPECT_EQ(parsed.conversation.turns, kQuestionAndAnswer);
  EXPECT_FALSE(parse(R"({"instruction": "q", "output": "a"})").had_leading_answer);
}

TEST(SampleForms, ALeadingAnswerAfterTheSystemTurnIsLeftOutToo) {
  EXPECT_EQ(turns_of(R"({"messages": [{"role": "system", "content": "s"},
                {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a"}]})"),
            kWithSystem);
}

TEST(SampleForms, APromptNeedsNoAnswer) {
  EXPECT_EQ(parse(R"({"instruction": "q"})", DataSource::auto_, LastTurn::kAny).conversation.turns,
            (Turns{{Role::kUser, "q"}}));
}

TEST(SampleFields, TaskAndId) {
  const auto with = parse(R"({"instruction": "q", "output": "a", "task": "t", "id": "x"})");
  EXPECT_EQ(with.conversation.task, "t");
  EXPECT_EQ(with.conversation.id, "x");
  const auto without = parse(R"({"instruction": "q", "output": "a", "id": 7})");
  EXPECT_EQ(without.conversation.task, "");
  EXPECT_EQ(without.conversation.id, "7");
}

TEST(SampleFields, ChoicesAndAnswer) {
  const auto parsed =
      parse(R"({"instruction": "q", "output": "B. y", "choices": ["x", "y"], "answer": "y"})");
  EXPECT_EQ(parsed.conversation.choices, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(parsed.conversation.answer, "y");
  const auto without = parse(R"({"instruction": "q", "output": "a"})");
  EXPECT_FALSE(without.conversation.choices);
  EXPECT_FALSE(without.conversation.answer);
}

TEST(SampleFields, TheAnswerOfMingsEvalObject) {
  const auto answer = [](const std::string& eval) {
    return parse(R"({"instruction": "q", "output": "a", "eval": )" + eval + "}")
        .conversation.answer;
  };
  EXPECT_EQ(answer(R"({"answer_idx": "AC", "answer": "x"})"), "AC");
  EXPECT_EQ(answer(R"({"answer": "x"})"), "x");
  EXPECT_EQ(answer(R"({"answer": [{"entity": "x"}]})"), std::nullopt);
  EXPECT_EQ(answer("[]"), std::nullopt);
}

TEST(SampleForms, PromptCblue) {
  const auto parsed = parse(R"({"input": "q", "target": "a", "answer_choices": ["x", "y"],
      "task_type": "ner", "task_dataset": "CMeEE-V2", "sample_id": "dev-1"})");
  EXPECT_EQ(parsed.conversation.turns, kQuestionAndAnswer);
  EXPECT_EQ(parsed.conversation.dataset, "CMeEE-V2");
  EXPECT_EQ(parsed.conversation.task, "CMeEE-V2");
  EXPECT_EQ(parsed.conversation.id, "dev-1");
  EXPECT_EQ(parsed.conversation.choices, (std::vector<std::string>{"x", "y"}));
  EXPECT_FALSE(parse(R"({"input": "q", "target": "a", "answer_choices": null})")
                   .conversation.choices.has_value());
}

TEST(SampleFields, MingsEvalObjectNamesTheBenchmarkTask) {
  const auto parsed = parse(R"({"conversations": [{"from": "human", "value": "q"},
      {"from": "gpt", "value": "a"}], "task": "mine", "eval": {"task_dataset": "KUAKE-IR",
      "sample_id": 7, "answer_choices": ["x", "y"], "type": "multiple", "answer": ["z"]}})");
  EXPECT_EQ(parsed.conversation.task, "mine");
  EXPECT_EQ(parsed.conversation.dataset, "KUAKE-IR");
  EXPECT_EQ(parsed.conversation.type, "multiple");
  EXPECT_EQ(parsed.conversation.id, "7");
  EXPECT_EQ(parsed.conversation.choices, (std::vector<std::string>{"x", "y"}));
  EXPECT_FALSE(parsed.conversation.answer);
}

// Everything that is refused, with the words that must name it.
struct Refusal {
  const char* what;
  const char* sample;
  const char* message;
  DataSource::Format format = DataSource::auto_;
};

class SampleRefusal : public ::testing::TestWithParam<Refusal> {};

TEST_P(SampleRefusal, SaysWhatWasExpectedAndGot) {
  try {
    (void)parse(GetParam().sample, GetParam().format);
    FAIL() << "nothing thrown";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(), GetParam().message);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shape, SampleRefusal,
    ::testing::Values(
        Refusal{"array", "[1]",
                "sample: expected an object, got array; a file of one array is named .json"},
        Refusal{"number", "1", "sample: expected an object, got number"},
        Refusal{"no_known_key", R"({"text": 1, "b": 2})",
                "sample: expected one of the keys \"conversations\", \"messages\" and "
                "\"instruction\", or \"input\" with \"target\", got the keys \"b\", \"text\""},
        Refusal{"many_keys", R"({"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0})",
                "sample: expected one of the keys \"conversations\", \"messages\" and "
                "\"instruction\", or \"input\" with \"target\", got the keys \"1\", \"2\", \"3\", "
                "\"4\", \"5\", \"6\", \"7\", "
                "\"8\", .."},
        Refusal{"no_keys", "{}",
                "sample: expected one of the keys \"conversations\", \"messages\" and "
                "\"instruction\", or \"input\" with \"target\", got an object without keys"},
        Refusal{"two_forms", R"({"messages": [], "instruction": ""})",
                "sample: expected one of the keys \"conversations\", \"messages\" and "
                "\"instruction\", got more than one; set the format of the source"},
        Refusal{"other_form", R"({"messages": []})",
                "sample: expected key \"conversations\", got the keys \"messages\"",
                DataSource::ming},
        Refusal{"turns_not_a_list", R"({"messages": {}})",
                "messages: expected a list of turns, got object"},
        Refusal{"no_turns", R"({"conversations": []})",
                "conversations: expected at least one turn, got an empty list"},
        Refusal{"task", R"({"instruction": "q", "output": "a", "task": 1})",
                "sample: task: expected a string, got number"},
        Refusal{"choices", R"({"instruction": "q", "output": "a", "choices": {"A": "x"}})",
                "choices: expected a list of strings, got object"},
        Refusal{"choice", R"({"instruction": "q", "output": "a", "choices": ["x", 2]})",
                "choices: expected a list of strings, got an element number"},
        Refusal{"answer", R"({"instruction": "q", "output": "a", "answer": 2})",
                "sample: answer: expected a string, got number"}),
    [](const auto& refusal) { return refusal.param.what; });

INSTANTIATE_TEST_SUITE_P(
    Turns, SampleRefusal,
    ::testing::Values(
        Refusal{"ming_turn", R"({"conversations": ["q"]})",
                "turn 1: expected an object, got string"},
        Refusal{"ming_no_speaker", R"({"conversations": [{"value": "q"}]})",
                "turn 1: expected key \"from\", got the keys \"value\""},
        Refusal{"ming_both_keys", R"({"conversations": [{"from": "human", "role": "gpt"}]})",
                "turn 1: expected key \"from\" or \"role\", got both"},
        Refusal{"ming_speaker", R"({"conversations": [{"from": "bot", "value": "q"}]})",
                "turn 1: from: expected human, gpt or system, got \"bot\""},
        Refusal{"ming_value", R"({"conversations": [{"from": "human", "value": 1}]})",
                "turn 1: value: expected a string, got number"},
        Refusal{"message", R"({"messages": [1]})", "turn 1: expected an object, got number"},
        Refusal{"message_role", R"({"messages": [{"role": "human", "content": "q"}]})",
                "turn 1: role: expected user, assistant or system, got \"human\""},
        Refusal{"message_tool", R"({"messages": [{"role": "tool", "content": "q"}]})",
                "turn 1: role: expected user, assistant or system (tool calls are not supported), "
                "got \"tool\""},
        Refusal{"message_tool_calls",
                R"({"messages": [{"role": "assistant", "content": "", "tool_calls": []}]})",
                "turn 1: expected a message of text (tool calls are not supported), got "
                "tool_calls"},
        Refusal{"message_weight",
                R"({"messages": [{"role": "assistant", "content": "a", "weight": 0}]})",
                "turn 1: weight: expected 1 (every answer is trained on), got \"0\""},
        Refusal{"message_content", R"({"messages": [{"role": "user", "content": null}]})",
                "turn 1: content: expected a string or a list of text parts, got null"},
        Refusal{"message_part", R"({"messages": [{"role": "user", "content": ["q"]}]})",
                "turn 1: content: expected parts that are objects, got string"},
        Refusal{"message_image",
                R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
                "turn 1: content: expected parts of type \"text\" only, got \"image_url\""},
        Refusal{"alpaca_output", R"({"instruction": "q", "output": 5})",
                "sample: output: expected a string, got number"},
        Refusal{"alpaca_no_instruction", R"({"output": "a"})",
                "sample: expected key \"instruction\", got the keys \"output\"",
                DataSource::alpaca},
        Refusal{"alpaca_history", R"({"instruction": "q", "output": "a", "history": "h"})",
                "history: expected a list of [user, assistant] pairs, got string"},
        Refusal{"alpaca_pair", R"({"instruction": "q", "output": "a", "history": [["h"]]})",
                "history: expected pairs [user, assistant] of two strings, got a list of 1"},
        Refusal{"alpaca_pair_kind", R"({"instruction": "q", "output": "a", "history": [3]})",
                "history: expected pairs [user, assistant] of two strings, got number"}),
    [](const auto& refusal) { return refusal.param.what; });

INSTANTIATE_TEST_SUITE_P(
    Order, SampleRefusal,
    ::testing::Values(
        Refusal{"only_system", R"({"messages": [{"role": "system", "content": "s"}]})",
                "sample: expected a user turn, got none"},
        Refusal{"only_leading_answer", R"({"messages": [{"role": "assistant", "content": "s"}]})",
                "sample: expected a user turn, got none"},
        Refusal{"two_users", R"({"messages": [{"role": "user", "content": "q"},
                                              {"role": "user", "content": "q"}]})",
                "turn 2: expected a turn of the assistant, got one of the user"},
        Refusal{"two_leading_answers", R"({"messages": [{"role": "assistant", "content": "a"},
                                                        {"role": "assistant", "content": "a"}]})",
                "turn 2: expected a turn of the user, got one of the assistant"},
        Refusal{"late_system", R"({"messages": [{"role": "user", "content": "q"},
                                                {"role": "system", "content": "s"}]})",
                "turn 2: expected a turn of the assistant, got one of the system"},
        Refusal{"empty_answer", R"({"instruction": "q", "output": " \n"})",
                "turn 2: expected an answer, got an empty text"},
        Refusal{"user_last", R"({"instruction": "q"})",
                "turn 1: expected an answer at the end, got a last turn of the user"}),
    [](const auto& refusal) { return refusal.param.what; });

}  // namespace
}  // namespace molora
