#include "data/sample_reader.h"

#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "data/json_elements.h"
#include "data/sample_parser.h"
#include "io/file.h"

namespace molora {

namespace {

JsonElements::Layout layout_of(const std::string& path) {
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension == ".jsonl") return JsonElements::Layout::kLines;
  if (extension == ".json") return JsonElements::Layout::kArray;
  throw DataError(fmt::format(
      "{}: expected a name that ends in .jsonl (one sample a line) or .json (one array), got {}",
      path, extension.empty() ? "none" : extension));
}

}  // namespace

std::string BadSample::message() const { return fmt::format("{}:{}: {}", path, line, reason); }

// The file comes before the elements, which are parts of it.
struct SampleReader::Input {
  explicit Input(const std::string& path)
      : file(path), elements(file.text(), layout_of(path), path) {}

  MappedFile file;
  JsonElements elements;
};

SampleReader::SampleReader(const DataSource& source, const SampleReaderOptions& options)
    : source_(source), options_(options), input_(std::make_unique<Input>(source.path())) {}

SampleReader::~SampleReader() = default;

std::optional<Conversation> SampleReader::next() {
  while (const auto element = input_->elements.next()) {
    try {
      ParsedSample parsed = parse_sample(element->text, source_.format(), options_.last_turn);
      Conversation& conversation = parsed.conversation;
      conversation.origin = fmt::format("{}:{}", source_.path(), element->line);
      if (conversation.task.empty()) conversation.task = source_.task();
      ++report_.num_read;
      if (parsed.had_leading_answer) ++report_.num_leading_answers;
      return std::move(conversation);
    } catch (const DataError& error) {
      BadSample bad{source_.path(), element->line, error.what()};
      if (options_.on_bad_sample == DataConfig::stop) throw DataError(bad.message());
      ++report_.num_bad;
      if (report_.first_bad.size() < ReadReport::kKeptBadSamples) {
        report_.first_bad.push_back(std::move(bad));
      }
    }
  }
  return std::nullopt;
}

uint64_t SampleReader::bytes_read() const { return input_->elements.position(); }
uint64_t SampleReader::bytes_total() const { return input_->file.bytes().size(); }

}  // namespace molora
