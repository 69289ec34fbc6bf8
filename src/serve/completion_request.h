// What a client asks for, out of the JSON of OpenAI's completion endpoints.
//
// A field that would change the answer and that is not served is refused unless it says what is
// done anyway (`logprobs: false`); so are fields that nobody knows, which are mistyped or of a
// newer interface. null is as if the field were not there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/conversation.h"
#include "generate/sampling.h"

namespace molora {

enum class CompletionKind {
  kChat,  // POST /v1/chat/completions
  kText,  // POST /v1/completions
};

struct CompletionRequest {
  CompletionKind kind = CompletionKind::kChat;
  std::string model;
  std::vector<Turn> turns;  // of a chat: as Conversation describes them, the last one of the user
  std::string prompt;       // of a text
  std::optional<int64_t> max_tokens;
  double temperature = 1.0;  // OpenAI's defaults
  double top_p = 1.0;
  int64_t top_k = 0;              // 0: all. Not one of OpenAI's fields; other servers have it
  std::optional<uint64_t> seed;   // none: a new one for each request
  std::vector<std::string> stop;  // the text ends before the first of these; none is empty
  int64_t num_choices = 1;
  bool is_streamed = false;
  bool has_usage_chunk = false;  // stream_options.include_usage
};

struct RequestLimits {
  int64_t max_new_tokens = 0;  // of one answer
  int64_t max_choices = 0;     // `n`
};

// Throws: RequestError 400 that names the field, what was expected and what was found.
CompletionRequest parse_completion_request(CompletionKind kind, std::string_view body,
                                           const RequestLimits& limits);

}  // namespace molora
