// The tasks of CBLUE as PromptCBLUE asks them: what an answer looks like, and what it is scored by.
//
// Answers are free text with fixed wordings; they are read as PromptCBLUE's post-processing reads
// them (github.com/michael-wzhu/PromptCBLUE, src/evaluation/post_generate_process.py), references
// by the same rules:
//   entities    a line "<type>(entity)(colon)a, b" for each type    CMeEE-V2, IMCS-V2-NER
//   triples     "(has)<relation>(relation's pairs)head .. tail ..", one relation a line      CMeIE
//   terms       the last line, a list of the offered terms                                CHIP-CDN
//   events      after the first line one a line, "field: value; ..", four fields         CHIP-CDEE
//   findings    after the first line one a line, "finding: attribute"     CHIP-MDCFNPC, IMCS-V2-SR
//   label       the text, which has to be one of the choices
//               CHIP-STS, CHIP-CTC, KUAKE-IR, KUAKE-QIC, KUAKE-QQR, KUAKE-QTR, IMCS-V2-DAC
//   report      after the first line a line for each heading                         IMCS-V2-MRG
//   text        all of it                                                                   MedDG
// all with Chinese words and full-width punctuation. CMedCausal and Text2DT are not scored, as in
// the reference.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eval/metric.h"

namespace molora {

enum class AnswerForm { kEntities, kTriples, kTerms, kEvents, kFindings, kLabel, kReport, kText };

struct CblueTask {
  std::string_view name;
  AnswerForm form = AnswerForm::kText;
  Metric metric = Metric::kAccuracy;
  // Labels: the first of the reference's list.
  std::string_view first_label = {};
  // Labels: one that is right for some items and never among their choices; may be empty.
  std::string_view none_label = {};
};

// nullptr for any other name.
const CblueTask* find_cblue_task(std::string_view name);

// What becomes of an answer that does not have the form.
enum class AnswerReading {
  kStrict,  // it is a prediction of nothing
  // As the reference's evaluation has it: an empty answer is the task's first label, another text
  // that is no choice is a label of its own (which takes part in a macro average), and an attribute
  // that is no choice is the task's default one.
  kParity,
};

struct CblueAnswer {
  // Set items as JSON lists of their fields (["aspirin","drug"]), one label, one text, or the texts
  // of a report's six headings in their order ("" where one is missing).
  std::vector<std::string> items;
  bool has_form = false;  // whether there was anything of what the task asks for
};

// choices: of the item (types, relations, terms, attributes or labels).
CblueAnswer read_cblue_answer(const CblueTask& task, const std::vector<std::string>& choices,
                              std::string_view text, AnswerReading reading);

// The labels between which an item of a label task decides: its choices, and the none label.
std::vector<std::string> cblue_labels(const CblueTask& task,
                                      const std::vector<std::string>& choices);

}  // namespace molora
