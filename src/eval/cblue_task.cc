#include "eval/cblue_task.h"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "data/trim_text.h"

namespace molora {

namespace {

using Texts = std::vector<std::string_view>;

constexpr std::string_view kColon = "\uff1a";
constexpr std::string_view kComma = "\uff0c";
constexpr std::string_view kSemicolon = "\uff1b";
constexpr std::string_view kStop = "\u3002";
constexpr std::string_view kEntity = "\u5b9e\u4f53";
// "head-tail pairs of the relation", and what follows it in a heading: "are as follows:".
constexpr std::string_view kPairsOfRelation = "\u5173\u7cfb\u7684\u5934\u5c3e\u5b9e\u4f53\u5bf9";
constexpr std::string_view kAsFollows = "\u5982\u4e0b\uff1a";
constexpr std::string_view kHas = "\u5177\u6709";
constexpr std::string_view kHeadIs = "\u5934\u5b9e\u4f53\u4e3a";
constexpr std::string_view kTailIs = "\u5c3e\u5b9e\u4f53\u4e3a";
// "no standardised entity corresponds".
constexpr std::string_view kNoTerm = "\u6ca1\u6709\u5bf9\u5e94\u7684\u6807\u51c6\u5316\u5b9e\u4f53";
// "of none of the types above".
constexpr std::string_view kNone = "\u975e\u4e0a\u8ff0\u7c7b\u578b";
constexpr std::string_view kYes = "\u662f\u7684";
constexpr std::string_view kNo = "\u4e0d\u662f";
constexpr std::string_view kSame = "\u76f8\u540c";
constexpr std::string_view kDifferent = "\u4e0d\u540c";
// What the reference takes for an attribute that is no choice: "not labelled", and "from the
// context it cannot be decided whether the patient has the symptom".
constexpr std::string_view kUnlabelled = "\u4e0d\u6807\u6ce8";
constexpr std::string_view kUndecided =
    "\u65e0\u6cd5\u6839\u636e\u4e0a\u4e0b\u6587\u786e\u5b9a\u75c5\u4eba\u662f\u5426\u60a3\u6709"
    "\u8be5\u75c7\u72b6";

// Of an event, in the order of its item: subject, state, and the two with several values,
// descriptions and sites.
constexpr std::array<std::string_view, 4> kEventFields = {
    "\u4e3b\u4f53\u8bcd", "\u53d1\u751f\u72b6\u6001", "\u63cf\u8ff0\u8bcd",
    "\u89e3\u5256\u90e8\u4f4d"};
constexpr size_t kFirstListField = 2;
// Complaint, present illness, examinations, history, diagnosis, advice.
constexpr std::array<std::string_view, 6> kHeadings = {
    "\u4e3b\u8bc9",       "\u73b0\u75c5\u53f2", "\u8f85\u52a9\u68c0\u67e5",
    "\u65e2\u5f80\u53f2", "\u8bca\u65ad",       "\u5efa\u8bae"};

constexpr CblueTask kTasks[] = {
    {"CMeEE-V2", AnswerForm::kEntities, Metric::kMicroF1},
    {"CMeIE", AnswerForm::kTriples, Metric::kMicroF1},
    {"CMeIE-V2", AnswerForm::kTriples, Metric::kMicroF1},
    {"CHIP-CDN", AnswerForm::kTerms, Metric::kMicroF1},
    {"CHIP-CDEE", AnswerForm::kEvents, Metric::kMicroF1},
    {"CHIP-MDCFNPC", AnswerForm::kFindings, Metric::kMicroF1},
    {"IMCS-V2-NER", AnswerForm::kEntities, Metric::kMicroF1},
    {"IMCS-V2-SR", AnswerForm::kFindings, Metric::kMicroF1},
    {"CHIP-STS", AnswerForm::kLabel, Metric::kWeightedF1, kYes},
    {"CHIP-CTC", AnswerForm::kLabel, Metric::kMacroF1, kNone, kNone},
    {"KUAKE-IR", AnswerForm::kLabel, Metric::kWeightedF1, "\u76f8\u5173"},
    {"KUAKE-QIC", AnswerForm::kLabel, Metric::kMacroF1, kNone, kNone},
    {"KUAKE-QQR", AnswerForm::kLabel, Metric::kWeightedF1, "\u5b8c\u5168\u4e00\u81f4"},
    {"KUAKE-QTR", AnswerForm::kLabel, Metric::kWeightedF1,
     "\u5b8c\u5168\u4e0d\u5339\u914d\u6216\u8005\u6ca1\u6709\u53c2\u8003\u4ef7\u503c"},
    {"IMCS-V2-DAC", AnswerForm::kLabel, Metric::kMacroF1, kNone, kNone},
    {"IMCS-V2-MRG", AnswerForm::kReport, Metric::kRougeL},
    {"MedDG", AnswerForm::kText, Metric::kRougeL},
};

// Python's str.split(separator).
Texts split(std::string_view text, std::string_view separator) {
  Texts parts;
  while (true) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + separator.size());
  }
}

// The parts that are not blank, trimmed.
std::vector<std::string> listed(std::string_view text, std::string_view separator) {
  std::vector<std::string> items;
  for (const std::string_view part : split(text, separator)) {
    const std::string_view item = trim_unicode(part);
    if (!item.empty()) items.emplace_back(item);
  }
  return items;
}

std::string without(std::string text, std::string_view part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) {
    text.erase(at, part.size());
  }
  return text;
}

bool contains(const std::vector<std::string>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// Bytes that are not UTF-8 (a model may generate any) become U+FFFD.
std::string set_item(const nlohmann::json& fields) {
  return fields.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

CblueAnswer entities(const std::vector<std::string>& types, std::string_view text) {
  CblueAnswer answer;
  for (const std::string& type : types) {
    const std::string begin = type + std::string(kEntity);
    for (const std::string_view line : split(text, "\n")) {
      if (!line.starts_with(begin)) continue;
      answer.has_form = true;
      const std::string rest = without(std::string(line), begin + std::string(kColon));
      for (const std::string& entity : listed(rest, kComma)) {
        answer.items.push_back(set_item(nlohmann::json::array({entity, type})));
      }
    }
  }
  return answer;
}

// Items in the order object, relation, subject.
CblueAnswer triples(std::string_view text) {
  CblueAnswer answer;
  const std::string before_tail = std::string(kComma) + std::string(kTailIs);
  for (const std::string_view line : split(text, "\n")) {
    const std::string_view begin = split(line, kPairsOfRelation).front();
    answer.has_form = answer.has_form || begin.size() < line.size();
    const std::string relation(trim_unicode(begin.substr(std::min(begin.size(), kHas.size()))));
    const std::string heading =
        std::string(kHas) + relation + std::string(kPairsOfRelation) + std::string(kAsFollows);
    const std::string rest = without(std::string(line), heading);
    for (const std::string_view pair : split(rest, kStop)) {
      const Texts sides = split(pair, before_tail);
      if (sides.size() < 2) continue;
      answer.items.push_back(set_item(
          nlohmann::json::array({trim_unicode(without(std::string(sides[1]), kTailIs)), relation,
                                 trim_unicode(without(std::string(sides[0]), kHeadIs))})));
    }
  }
  return answer;
}

CblueAnswer terms(const std::vector<std::string>& offered, std::string_view text) {
  CblueAnswer answer;
  const std::string_view last = split(text, "\n").back();
  for (const std::string& term : listed(last, kComma)) {
    if (contains(offered, term)) answer.items.push_back(set_item(nlohmann::json::array({term})));
  }
  answer.has_form = !answer.items.empty() || last.find(kNoTerm) != std::string_view::npos;
  return answer;
}

CblueAnswer events(std::string_view text) {
  CblueAnswer answer;
  Texts lines = split(text, "\n");
  lines.erase(lines.begin());
  for (const std::string_view line : lines) {
    auto fields = nlohmann::json::array({"", "", nlohmann::json::array(), nlohmann::json::array()});
    if (trim_unicode(line).empty()) continue;
    for (const std::string_view part : split(line, kSemicolon)) {
      for (size_t i = 0; i < kEventFields.size(); ++i) {
        const std::string begin = std::string(kEventFields[i]) + std::string(kColon);
        if (!part.starts_with(begin)) continue;
        answer.has_form = true;
        const std::string value = without(std::string(part), begin);
        if (i < kFirstListField) {
          fields[i] = trim_unicode(value);
        } else {
          fields[i] = listed(value, kComma);
        }
      }
    }
    answer.items.push_back(set_item(fields));
  }
  return answer;
}

// Items in the order attribute, finding.
CblueAnswer findings(const CblueTask& task, const std::vector<std::string>& attributes,
                     std::string_view text, AnswerReading reading) {
  CblueAnswer answer;
  Texts lines = split(text, "\n");
  lines.erase(lines.begin());
  for (const std::string_view line : lines) {
    const Texts parts = split(line, kColon);
    if (parts.size() != 2) continue;
    answer.has_form = true;
    std::string_view attribute = parts[1];
    if (reading == AnswerReading::kParity && !contains(attributes, attribute)) {
      attribute = task.name == "IMCS-V2-SR" ? kUndecided : kUnlabelled;
    }
    answer.items.push_back(set_item(nlohmann::json::array({attribute, trim_unicode(parts[0])})));
  }
  return answer;
}

CblueAnswer label(const CblueTask& task, const std::vector<std::string>& choices,
                  std::string_view text, AnswerReading reading) {
  std::string_view said = trim_unicode(text);
  if (task.name == "CHIP-STS") {
    if (said == kSame) said = kYes;
    if (said == kDifferent) said = kNo;
  }
  if (contains(cblue_labels(task, choices), said)) return {{std::string(said)}, true};
  if (reading == AnswerReading::kStrict) return {};
  return {{std::string(said.empty() ? task.first_label : said)}, false};
}

CblueAnswer report(std::string_view text) {
  CblueAnswer answer;
  answer.items.resize(kHeadings.size());
  Texts lines = split(trim_unicode(text), "\n");
  lines.erase(lines.begin());
  for (size_t i = 0; i < kHeadings.size(); ++i) {
    const std::string begin = std::string(kHeadings[i]) + std::string(kColon);
    for (const std::string_view line : lines) {
      if (!line.starts_with(begin)) continue;
      answer.has_form = true;
      answer.items[i] = trim_unicode(split(trim_unicode(line), begin).back());
    }
  }
  return answer;
}

}  // namespace

const CblueTask* find_cblue_task(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTasks), std::end(kTasks),
                                   [&](const CblueTask& task) { return task.name == name; });
  return found == std::end(kTasks) ? nullptr : found;
}

CblueAnswer read_cblue_answer(const CblueTask& task, const std::vector<std::string>& choices,
                              std::string_view text, AnswerReading reading) {
  switch (task.form) {
    case AnswerForm::kEntities:
      return entities(choices, text);
    case AnswerForm::kTriples:
      return triples(text);
    case AnswerForm::kTerms:
      return terms(choices, text);
    case AnswerForm::kEvents:
      return events(text);
    case AnswerForm::kFindings:
      return findings(task, choices, text, reading);
    case AnswerForm::kLabel:
      return label(task, choices, text, reading);
    case AnswerForm::kReport:
      return report(text);
    case AnswerForm::kText:
      return {{std::string(trim_unicode(text))}, !trim_unicode(text).empty()};
  }
  MOLORA_CHECK(false, "form {}", static_cast<int>(task.form));
  return {};
}

std::vector<std::string> cblue_labels(const CblueTask& task,
                                      const std::vector<std::string>& choices) {
  std::vector<std::string> labels = choices;
  if (task.name == "CHIP-STS" && labels.empty()) labels = {std::string(kYes), std::string(kNo)};
  if (!task.none_label.empty()) labels.emplace_back(task.none_label);
  return labels;
}

}  // namespace molora
