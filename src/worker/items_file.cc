#include "worker/items_file.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/file.h"
#include "io/strict_json.h"

namespace molora {

namespace {

using nlohmann::json;

void add_answer(json& line, const ItemAnswer& answer) {
  line["metric"] = metric_name(answer.metric);
  line["answers"] = answer_way_name(answer.way);
  line["answer"] = answer.text;
  line["parsed"] = answer.is_parsed;
  line["given"] = answer.given;
  line["expected"] = answer.expected;
  line["correct"] = is_correct(answer);
  line["score"] = answer_score(answer);
}

ItemAnswer answer_of(const json& line) {
  ItemAnswer answer;
  const auto metric = metric_named(line.at("metric").get<std::string>());
  const auto way = answer_way_named(line.at("answers").get<std::string>());
  if (!metric || *metric == Metric::kLoss || !way) {
    throw DataError(fmt::format("metric {} and answers {} are not known",
                                json_excerpt(line.at("metric").get<std::string>()),
                                json_excerpt(line.at("answers").get<std::string>())));
  }
  answer.metric = *metric;
  answer.way = *way;
  answer.text = line.at("answer").get<std::string>();
  answer.is_parsed = line.at("parsed").get<bool>();
  answer.given = line.at("given").get<std::vector<std::string>>();
  answer.expected = line.at("expected").get<std::vector<std::string>>();
  return answer;
}

ItemRecord record_of(std::string_view text) {
  const json line = parse_strict_json(text);
  if (!line.is_object()) throw DataError("expected an object");
  ItemRecord record;
  record.index = line.at("index").get<int64_t>();
  record.id = line.at("id").get<std::string>();
  record.task = line.at("task").get<std::string>();
  record.type = line.value("type", "");
  record.prompt = line.at("prompt").get<std::string>();
  record.loss_sum = line.at("loss_sum").get<double>();
  record.supervised = line.at("tokens").get<int64_t>();
  record.correct_tokens = line.at("correct_tokens").get<int64_t>();
  if (line.contains("metric")) record.answer = answer_of(line);
  return record;
}

// Throws: DataError with `origin` and the number of the line.
std::vector<ItemRecord> records_of(std::string_view text, const std::string& origin) {
  std::vector<ItemRecord> records;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty()) continue;
    std::string wrong;
    try {
      records.push_back(record_of(line));
    } catch (const DataError& error) {
      wrong = error.what();
    } catch (const json::exception& error) {  // a key that is missing, or of another kind
      wrong = error.what();
    }
    if (!wrong.empty()) {
      throw DataError(
          fmt::format("{}:{}: not a line of molora eval --items: {}", origin, number, wrong));
    }
  }
  return records;
}

}  // namespace

std::string item_line(const ItemRecord& record) {
  json line = {{"index", record.index},
               {"id", record.id},
               {"task", record.task},
               {"prompt", record.prompt},
               {"loss_sum", record.loss_sum},
               {"tokens", record.supervised},
               {"correct_tokens", record.correct_tokens}};
  if (!record.type.empty()) line["type"] = record.type;
  if (record.supervised > 0) {
    line["loss"] = record.loss_sum / static_cast<double>(record.supervised);
  }
  if (record.answer) add_answer(line, *record.answer);
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::vector<ItemRecord> read_items_file(const std::filesystem::path& path) {
  std::vector<ItemRecord> records = records_of(read_file(path), path.string());
  if (records.empty()) throw DataError(path.string() + ": there is no item in it");
  return records;
}

std::vector<ItemRecord> gather_items(const std::vector<ItemRecord>& mine,
                                     Communicator& communicator) {
  std::string lines;
  for (const ItemRecord& record : mine) lines += item_line(record);
  std::vector<ItemRecord> all;
  for (const std::string& part : all_gather_text(communicator, lines)) {
    for (ItemRecord& record : records_of(part, "items of a rank")) all.push_back(std::move(record));
  }
  std::sort(all.begin(), all.end(),
            [](const ItemRecord& a, const ItemRecord& b) { return a.index < b.index; });
  return all;
}

}  // namespace molora
