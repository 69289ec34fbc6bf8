#include "data/token_cache_builder.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"
#include "data/token_cache_file.h"
#include "io/digest.h"
#include "tokenizer/script.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr uint64_t kSamplesPerProgress = 64;

// A file under construction: removed again unless it was moved to its place.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& final_path) : final_path_(final_path) {
    path_ = final_path;
    std::random_device random;
    path_ += fmt::format(".tmp-{:08x}{:08x}", random(), random());
  }
  ~TemporaryFile() {
    std::error_code ignored;  // what cannot be removed only takes up space
    if (!is_placed_) std::filesystem::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  TemporaryFile(TemporaryFile&&) = delete;
  TemporaryFile& operator=(TemporaryFile&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void place() {
    std::error_code code;
    std::filesystem::rename(path_, final_path_, code);
    if (code) {
      throw IoError(fmt::format("{}: cannot rename to {}: {}", path_.string(), final_path_.string(),
                                code.message()));
    }
    is_placed_ = true;
    sync_folder(final_path_.has_parent_path() ? final_path_.parent_path() : ".");
  }

 private:
  std::filesystem::path final_path_;
  std::filesystem::path path_;
  bool is_placed_ = false;
};

// Numbers names in the order in which they are met.
class NameNumbers {
 public:
  uint32_t number_of(const std::string& name) {
    const auto [found, is_new] = numbers_.try_emplace(name, static_cast<uint32_t>(names_.size()));
    if (is_new) names_.push_back(name);
    return found->second;
  }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::map<std::string, uint32_t> numbers_;
  std::vector<std::string> names_;
};

// Of what is asked and answered: instructions of a system turn may be in another language.
std::string script_of(const Conversation& conversation) {
  ScriptCounter counter;
  for (const Turn& turn : conversation.turns) {
    if (turn.role != Role::kSystem) counter.add(turn.text);
  }
  return std::string(counter.most());
}

class Builder {
 public:
  Builder(const TokenCacheRequest& request, const std::filesystem::path& path)
      : request_(request), writer_(path) {
    for (const DataSource& source : request.sources) {
      bytes_total_ += MappedFile(source.path()).bytes().size();
    }
  }

  void add_source(size_t index);
  // Throws: DataError when no sample remains.
  void finish(const std::string& fingerprint);

 private:
  void add(const Conversation& conversation);
  EncodedSample encode(const Conversation& conversation) const;
  void report_reader(const SampleReader& reader, size_t source);
  void show_progress(uint64_t done) const {
    if (request_.progress) request_.progress(done, bytes_total_);
  }
  std::string source_names() const;

  const TokenCacheRequest& request_;
  TokenCacheWriter writer_;
  NameNumbers tasks_;
  NameNumbers scripts_;
  DataReport report_;
  json first_bad_ = json::array();
  uint64_t bytes_total_ = 0;
  uint64_t bytes_before_ = 0;  // of the sources that are done
};

void Builder::add_source(size_t index) {
  SampleReaderOptions options;
  options.on_bad_sample = request_.on_bad_sample;
  SampleReader reader(request_.sources[index], options);
  while (const auto conversation = reader.next()) {
    add(*conversation);
    if (reader.report().num_read % kSamplesPerProgress == 0) {
      show_progress(bytes_before_ + reader.bytes_read());
    }
  }
  bytes_before_ += reader.bytes_total();
  show_progress(bytes_before_);
  report_reader(reader, index);
}

void Builder::add(const Conversation& conversation) {
  EncodedSample sample = encode(conversation);
  const bool is_too_long = sample.ids.size() > request_.max_length;
  if (is_too_long && request_.too_long == DataConfig::drop) {
    ++report_.num_dropped_too_long;
    return;
  }
  if (is_too_long) {
    sample.ids.resize(request_.max_length);
    sample.supervised.resize(request_.max_length);
  }
  // Nothing predicts the first token.
  const auto supervised =
      std::accumulate(sample.supervised.begin() + (sample.supervised.empty() ? 0 : 1),
                      sample.supervised.end(), uint64_t{0});
  if (supervised == 0) {
    ++report_.num_dropped_unsupervised;
    return;
  }
  MOLORA_CHECK(writer_.num_samples() < std::numeric_limits<uint32_t>::max() - 1, "samples");
  writer_.add(sample, tasks_.number_of(conversation.task),
              scripts_.number_of(script_of(conversation)));
  ++report_.num_kept;
  if (is_too_long) ++report_.num_truncated;
  if (sample.first_answer >= sample.ids.size()) ++report_.num_without_answer;
  report_.num_tokens += sample.ids.size();
  report_.num_supervised_tokens += supervised;
}

EncodedSample Builder::encode(const Conversation& conversation) const {
  try {
    return request_.chat_template.encode(conversation.turns);
  } catch (const DataError& error) {  // of the tokenizer, which does not know the sample
    throw DataError(fmt::format("{}: {}", conversation.origin, error.what()));
  }
}

void Builder::report_reader(const SampleReader& reader, size_t source) {
  const ReadReport& read = reader.report();
  report_.num_read += read.num_read;
  report_.num_bad += read.num_bad;
  report_.num_leading_answers += read.num_leading_answers;
  for (const BadSample& bad : read.first_bad) {
    if (first_bad_.size() == ReadReport::kKeptBadSamples) return;
    first_bad_.push_back({{"source", source}, {"line", bad.line}, {"reason", bad.reason}});
    report_.first_bad.push_back(bad);
  }
}

std::string Builder::source_names() const {
  std::vector<std::string> names;
  for (const DataSource& source : request_.sources) names.push_back(source.path());
  return fmt::format("{}", fmt::join(names, ", "));
}

void Builder::finish(const std::string& fingerprint) {
  if (report_.num_kept == 0) {
    const std::string first =
        report_.first_bad.empty() ? "" : "; the first bad one: " + report_.first_bad[0].message();
    throw DataError(fmt::format("{}: no sample remains for training: {} (data.max_length is {}){}",
                                source_names(), report_.summary(), request_.max_length, first));
  }
  json counts;
  for (const auto& [name, field] : kReportCounts) counts[name] = report_.*field;
  counts["first_bad"] = first_bad_;
  const json metadata = {{"fingerprint", fingerprint},
                         {"tasks", tasks_.names()},
                         {"scripts", scripts_.names()},
                         {"report", counts}};
  writer_.finish(metadata.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace

std::string DataReport::summary() const {
  std::string text = fmt::format("{} read", num_read);
  const auto add = [&text](uint64_t count, std::string_view what) {
    if (count > 0) text += fmt::format(", {} {}", count, what);
  };
  add(num_bad, "bad");
  add(num_leading_answers, "without their leading answer");
  add(num_truncated, "truncated");
  if (num_without_answer > 0) {
    text += fmt::format(" ({} of them before the first answer)", num_without_answer);
  }
  add(num_dropped_too_long, "dropped as too long");
  add(num_dropped_unsupervised, "dropped without a supervised token");
  return text + fmt::format(", {} kept", num_kept);
}

std::string token_cache_fingerprint(const TokenCacheRequest& request) {
  Sha256 digest;
  // Lengths keep fields apart whatever they hold.
  const auto field = [&digest](std::string_view name, std::string_view value) {
    digest.update(fmt::format("{} {}\n", name, value.size()));
    digest.update(value);
  };
  field("version", fmt::to_string(kSamplesVersion));
  for (const DataSource& source : request.sources) {
    Sha256 content;
    content.update(MappedFile(source.path()).bytes());
    field("source", content.hex());
    field("extension", std::filesystem::path(source.path()).extension().string());
    field("format", DataSource::Format_Name(source.format()));
    field("task", source.task());
  }
  field("tokenizer", request.chat_template.tokenizer().fingerprint());
  field("template", request.chat_template.fingerprint());
  field("max_length", fmt::to_string(request.max_length));
  field("too_long", DataConfig::TooLong_Name(request.too_long));
  field("on_bad_sample", DataConfig::OnBadSample_Name(request.on_bad_sample));
  return digest.hex();
}

void build_token_cache(const TokenCacheRequest& request, const std::string& fingerprint,
                       const std::filesystem::path& path) {
  if (path.has_parent_path()) make_folders(path.parent_path());
  TemporaryFile temporary(path);
  Builder builder(request, temporary.path());
  for (size_t i = 0; i < request.sources.size(); ++i) builder.add_source(i);
  builder.finish(fingerprint);
  temporary.place();
}

}  // namespace molora
