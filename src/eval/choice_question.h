// Which samples are multiple-choice questions, and what can be answered.
//
// Exams come as plain conversations; a question is recognised by its form, in this order:
//   explicit    the item brings `choices` and `answer` (a choice, or letters), or `answer` as
//               letters of option lines as below
//   letters     the last user turn has lines "A. ...", "B. ...", ... and the answer is letters of
//               these ("C", "ACD", "A, C"), begins with one ("B. text"), or says at its end "The
//               answer is B." in English or Chinese: the candidates are the letters, as in the
//               reference's evaluation
//   named       the last user turn ends with "Answer yes, no or maybe." (any list of that form) and
//               the answer is one of the list: the candidates are the list
//   options     a line "<options>: a, b, c" in English or Chinese (with full-width punctuation),
//   and
//               the answer is one of the list
// Everything else is free text and has only a loss.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/conversation.h"

namespace molora {

struct ChoiceQuestion {
  std::vector<std::string> candidates;  // at least two, in the order of the question
  // The right one; in some exams several, ascending, and the answer is right only with all of them.
  std::vector<size_t> correct;
  bool are_letters = false;  // candidates are the option letters; the answer may go on after one
};

// The question that the last user turn and the assistant turn after it form; nothing when they do
// not form one.
std::optional<ChoiceQuestion> choice_question(const Conversation& conversation);

// The question whose candidates are these, without repetitions, and whose answer is the last turn's
// text, whatever its form; nothing when it is none of them, or there are fewer than two.
std::optional<ChoiceQuestion> question_among(const Conversation& conversation,
                                             const std::vector<std::string>& candidates);

}  // namespace molora
