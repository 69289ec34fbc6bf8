// What a generated answer to a multiple-choice question says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eval/choice_question.h"

namespace molora {

// The candidates that `answer` names, ascending; empty when it names none.
//
// Option letters, the first of these that is there:
//   "The answer is B." in any case, or the same in Chinese (two wordings): the letters that follow,
//   up to the end of the line or sentence; of several such statements the last counts
//   verdicts in Chinese, as the reference model writes them: the letter of which it is said that it
//   "is wrong, which is the right answer here", else all letters that "are right"
//   the first letter that stands alone ("B. two", "(B)", "BD"), and what is listed with it ("B, D",
//   "B and D")
// Other candidates: the first one that stands in the answer as a word of its own, whatever its
// case; of several at the same place the longest.
std::vector<size_t> named_candidates(const std::string& answer, const ChoiceQuestion& question);

// The letters of the first of these forms alone, "The answer is ..", of a question with so many
// options; empty when the text has no such statement.
std::vector<size_t> stated_letters(std::string_view answer, size_t num_options);

}  // namespace molora
