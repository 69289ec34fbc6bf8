#include "serve/completion.h"

#include <algorithm>
#include <random>

#include <fmt/format.h>

namespace molora {

namespace {

std::vector<int32_t> encode(const CompletionRequest& request, const ServedModel& model) {
  return request.kind == CompletionKind::kChat
             ? model.chat_template->encode_prompt(request.turns)
             : model.tokenizer->encode_with_special(request.prompt);
}

// How many tokens the answer may have after a prompt of this length.
int64_t room_for(const CompletionRequest& request, const ServedModel& model, int64_t prompt_tokens,
                 int64_t max_new_tokens) {
  const char* field = request.kind == CompletionKind::kChat ? "messages" : "prompt";
  if (prompt_tokens == 0) throw RequestError(400, "prompt: it has no tokens", {field, ""});
  const int64_t room = model.max_position - prompt_tokens;
  if (room < 1 || room < request.max_tokens.value_or(1)) {
    throw RequestError(
        400,
        fmt::format("{}: the prompt has {} tokens and {} are asked for, but {} has {} positions",
                    field, prompt_tokens, request.max_tokens.value_or(1), model.name,
                    model.max_position),
        {field, "context_length_exceeded"});
  }
  return request.max_tokens.value_or(std::min(room, max_new_tokens));
}

uint64_t new_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

PromptWork work_of(const CompletionRequest& request, const std::vector<ServedModel>& models,
                   int64_t max_new_tokens) {
  PromptWork work;
  work.model = find_model(models, request.model);
  const ServedModel& model = models[work.model];
  work.prompt = encode(request, model);
  work.options.max_new_tokens = room_for(request, model, std::ssize(work.prompt), max_new_tokens);
  work.options.sampling = {request.temperature, request.top_k, request.top_p,
                           request.seed ? *request.seed : new_seed()};
  work.options.stop_ids = model.stop_ids;
  work.num_choices = request.num_choices;
  return work;
}

}  // namespace

size_t find_model(const std::vector<ServedModel>& models, const std::string& name) {
  std::vector<std::string> names;
  for (size_t i = 0; i < models.size(); ++i) {
    if (models[i].name == name) return i;
    names.push_back(models[i].name);
  }
  throw RequestError(
      404, fmt::format("model: there is no '{}' here, but {}", name, fmt::join(names, ", ")),
      {"model", "model_not_found"});
}

Completion::Completion(const CompletionRequest& request, const std::vector<ServedModel>& models,
                       int64_t max_new_tokens, Scheduler& scheduler)
    : num_open_(static_cast<size_t>(request.num_choices)), ticket_(scheduler, [&] {
        PromptWork work = work_of(request, models, max_new_tokens);
        usage_.prompt_tokens = std::ssize(work.prompt);
        for (size_t i = 0; i < num_open_; ++i) {
          choices_.push_back({AnswerText(*models[work.model].tokenizer, request.stop)});
        }
        return work;
      }()) {}

std::vector<CompletionPiece> Completion::next(Scheduler::Clock::time_point until) {
  std::vector<CompletionPiece> pieces;
  for (const WorkEvent& event : ticket_.wait(until)) {
    if (choices_[event.choice].is_open) pieces.push_back(piece_of(event));
  }
  return pieces;
}

CompletionPiece Completion::piece_of(const WorkEvent& event) {
  Choice& choice = choices_[event.choice];
  CompletionPiece piece{event.choice, {}, nullptr};
  if (event.token) {
    ++usage_.completion_tokens;
    piece.text = choice.text.feed(*event.token);
  }
  if (event.end) piece.text += choice.text.finish();
  if (choice.text.is_stopped() || event.end == GenerationEnd::kStopToken) {
    piece.finish_reason = "stop";
  } else if (event.end) {
    piece.finish_reason = "length";
  }
  if (piece.finish_reason == nullptr) return piece;
  choice.is_open = false;
  --num_open_;
  if (!event.end) ticket_.withdraw(event.choice);
  return piece;
}

}  // namespace molora
