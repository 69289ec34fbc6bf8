// One request under way: from what the client asked for to pieces of text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "serve/answer_text.h"
#include "serve/completion_request.h"
#include "serve/scheduler.h"
#include "tokenizer/tokenizer.h"

namespace molora {

// What requests need to know of a model; its number is its place among those that are served. The
// tokenizer and the template must outlive it.
struct ServedModel {
  std::string name;
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;
  std::vector<int32_t> stop_ids;
  int64_t max_position = 0;
};

// The number of the model of this name. Throws: RequestError 404 that lists the names.
size_t find_model(const std::vector<ServedModel>& models, const std::string& name);

// Text that a choice has gained.
struct CompletionPiece {
  size_t choice = 0;
  std::string text;
  const char* finish_reason = nullptr;  // "stop" or "length" with the last one
};

struct CompletionUsage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
};

// Used by the thread that answers the request.
class Completion {
 public:
  // Renders and encodes the prompt, and takes a place. `max_new_tokens`: for requests that give no
  // number of their own.
  // Throws: RequestError 400 when prompt and answer do not fit into the model's positions; those of
  // Scheduler::Ticket.
  Completion(const CompletionRequest& request, const std::vector<ServedModel>& models,
             int64_t max_new_tokens, Scheduler& scheduler);

  // The pieces that have come since the last call; waits for one until `until`. Some may be empty.
  // Throws: RequestError when the request cannot be ended.
  std::vector<CompletionPiece> next(Scheduler::Clock::time_point until);
  bool is_done() const { return num_open_ == 0; }

  // Tokens of the prompt, once; of the choices together, stop tokens left out, and those with which
  // a stop string was completed counted.
  const CompletionUsage& usage() const { return usage_; }

 private:
  struct Choice {
    AnswerText text;
    bool is_open = true;
  };

  CompletionPiece piece_of(const WorkEvent& event);

  CompletionUsage usage_;
  std::vector<Choice> choices_;
  size_t num_open_ = 0;
  Scheduler::Ticket ticket_;
};

}  // namespace molora
