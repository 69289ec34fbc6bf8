// Which samples are multiple-choice questions, and what can be answered.
//
// Exams come as plain conversations; a question is recognised by its form, in this order:
//   explicit    the item brings `choices` and `answer` (a choice, or its letter)
//   letters     the last user turn has lines "A. ...", "B. ...", ... and the answer begins with one
//               of these letters: the candidates are the letters, as in the reference's evaluation
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
  size_t correct = 0;
  bool are_letters = false;  // candidates are the option letters; the answer may go on after one
};

// The question that the last user turn and the assistant turn after it form; nothing when they do
// not form one.
std::optional<ChoiceQuestion> choice_question(const Conversation& conversation);

// Which candidate a generated answer names: the first one that stands in it as a word of its own
// (letters: also as in "(B)", "B.", "B:"); of several at the same place the longest. Nothing when
// there is none.
std::optional<size_t> named_candidate(const std::string& answer, const ChoiceQuestion& question);

}  // namespace molora
