// Answers in OpenAI's JSON: whole ones, the chunks of streams, and the list of models.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "serve/completion.h"

namespace molora {

// What all messages of one answer have in common.
struct CompletionHead {
  CompletionKind kind = CompletionKind::kChat;
  std::string id;       // new_completion_id()
  int64_t created = 0;  // seconds since 1970
  std::string model;
};

// "chatcmpl-" or "cmpl-" and 24 random hexadecimal digits.
std::string new_completion_id(CompletionKind kind);

struct FinishedChoice {
  std::string text;
  std::string finish_reason;
};
std::string completion_json(const CompletionHead& head, const std::vector<FinishedChoice>& choices,
                            const CompletionUsage& usage);

// Chunks of a stream. `usage` of all but the last is null where that one is promised.
enum class UsageChunk { kNone, kPromised };
// The chunk that begins a choice of a chat: it says whose turn it is.
std::string first_chunk_json(const CompletionHead& head, size_t choice, UsageChunk usage);
std::string piece_chunk_json(const CompletionHead& head, const CompletionPiece& piece,
                             UsageChunk usage);
std::string usage_chunk_json(const CompletionHead& head, const CompletionUsage& usage);

std::string models_json(const std::vector<ServedModel>& models, int64_t created);
std::string model_json(const ServedModel& model, int64_t created);

}  // namespace molora
