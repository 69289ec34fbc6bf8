// One JSON object of the data as a conversation.
#pragma once

#include <string_view>

#include "data/conversation.h"
#include "data/sample_reader.h"
#include "run_config.pb.h"

namespace molora {

struct ParsedSample {
  Conversation conversation;  // origin is left empty, task too when the sample names none
  bool had_leading_answer = false;
};

// The object `text` in one of the forms that sample_reader.h describes.
// Throws: DataError with the reason ("turn 2: expected .., got .."), without file and line.
ParsedSample parse_sample(std::string_view text, DataSource::Format format,
                          SampleReaderOptions::LastTurn last_turn);

}  // namespace molora
