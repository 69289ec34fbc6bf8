// Arbitrary bytes as a file of samples: the first byte chooses array or lines, the form, and
// whether bad samples stop the reading.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "data/sample_reader.h"
#include "io/file.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

// What SampleReader promises of every conversation, whatever the file holds.
void check_conversation(const Conversation& conversation, SampleReaderOptions::LastTurn last) {
  const auto& turns = conversation.turns;
  const size_t first = !turns.empty() && turns[0].role == Role::kSystem ? 1 : 0;
  MOLORA_CHECK(turns.size() > first);
  for (size_t i = first; i < turns.size(); ++i) {
    MOLORA_CHECK(turns[i].role == ((i - first) % 2 == 0 ? Role::kUser : Role::kAssistant));
  }
  MOLORA_CHECK(last == SampleReaderOptions::LastTurn::kAny ||
               turns.back().role == Role::kAssistant);
}

// Reads all; a file that is refused is fine, a broken promise is not.
void read_all(const DataSource& source, const SampleReaderOptions& options) {
  try {
    SampleReader reader(source, options);
    uint64_t count = 0;
    while (const auto conversation = reader.next()) {
      check_conversation(*conversation, options.last_turn);
      ++count;
    }
    MOLORA_CHECK_EQ(count, reader.report().num_read);
    MOLORA_CHECK_EQ(reader.bytes_read(), reader.bytes_total());
    MOLORA_CHECK(options.on_bad_sample == DataConfig::skip || reader.report().num_bad == 0);
  } catch (const DataError&) {
  }
}

}  // namespace
}  // namespace molora

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const molora::testing::TempFolder folder;
  if (size == 0) return 0;
  const uint8_t choice = data[0];
  molora::DataSource source;
  source.set_path((folder / ((choice & 1) != 0 ? "fuzz.json" : "fuzz.jsonl")).string());
  source.set_format(static_cast<molora::DataSource::Format>((choice >> 1) & 3));
  molora::SampleReaderOptions options;
  if ((choice & 8) != 0) options.on_bad_sample = molora::DataConfig::skip;
  if ((choice & 16) != 0) options.last_turn = molora::SampleReaderOptions::LastTurn::kAny;
  folder.write(std::filesystem::path(source.path()).filename().string(),
               {reinterpret_cast<const char*>(data) + 1, size - 1});
  molora::read_all(source, options);
  return 0;
}
