#include "serve/completion_json.h"

#include <random>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace molora {

namespace {

using nlohmann::json;

// Texts of a tokenizer are UTF-8; should one not be, the client gets U+FFFD instead of nothing.
std::string written(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool is_chat(const CompletionHead& head) { return head.kind == CompletionKind::kChat; }

json envelope(const CompletionHead& head, const char* object) {
  return {{"id", head.id}, {"object", object}, {"created", head.created}, {"model", head.model}};
}

json chunk(const CompletionHead& head, json choices, UsageChunk usage) {
  json document = envelope(head, is_chat(head) ? "chat.completion.chunk" : "text_completion");
  document["choices"] = std::move(choices);
  if (usage == UsageChunk::kPromised) document["usage"] = nullptr;
  return document;
}

json usage_of(const CompletionUsage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

json model_of(const ServedModel& model, int64_t created) {
  return {{"id", model.name}, {"object", "model"}, {"created", created}, {"owned_by", "molora"}};
}

}  // namespace

std::string new_completion_id(CompletionKind kind) {
  std::random_device device;
  return fmt::format("{}-{:08x}{:08x}{:08x}", kind == CompletionKind::kChat ? "chatcmpl" : "cmpl",
                     device(), device(), device());
}

std::string completion_json(const CompletionHead& head, const std::vector<FinishedChoice>& choices,
                            const CompletionUsage& usage) {
  json document = envelope(head, is_chat(head) ? "chat.completion" : "text_completion");
  json list = json::array();
  for (size_t i = 0; i < choices.size(); ++i) {
    json choice = {
        {"index", i}, {"finish_reason", choices[i].finish_reason}, {"logprobs", nullptr}};
    if (is_chat(head)) {
      choice["message"] = {
          {"role", "assistant"}, {"content", choices[i].text}, {"refusal", nullptr}};
    } else {
      choice["text"] = choices[i].text;
    }
    list.push_back(std::move(choice));
  }
  document["choices"] = std::move(list);
  document["usage"] = usage_of(usage);
  return written(document);
}

std::string first_chunk_json(const CompletionHead& head, size_t choice, UsageChunk usage) {
  const json delta = {{"role", "assistant"}, {"content", ""}};
  return written(
      chunk(head, {{{"index", choice}, {"delta", delta}, {"finish_reason", nullptr}}}, usage));
}

std::string piece_chunk_json(const CompletionHead& head, const CompletionPiece& piece,
                             UsageChunk usage) {
  json choice = {{"index", piece.choice}, {"finish_reason", nullptr}};
  if (piece.finish_reason != nullptr) choice["finish_reason"] = piece.finish_reason;
  if (is_chat(head)) {
    choice["delta"] = piece.text.empty() ? json::object() : json{{"content", piece.text}};
  } else {
    choice["text"] = piece.text;
  }
  return written(chunk(head, json::array({std::move(choice)}), usage));
}

std::string usage_chunk_json(const CompletionHead& head, const CompletionUsage& usage) {
  json document = chunk(head, json::array(), UsageChunk::kNone);
  document["usage"] = usage_of(usage);
  return written(document);
}

std::string models_json(const std::vector<ServedModel>& models, int64_t created) {
  json list = json::array();
  for (const ServedModel& model : models) list.push_back(model_of(model, created));
  return written({{"object", "list"}, {"data", std::move(list)}});
}

std::string model_json(const ServedModel& model, int64_t created) {
  return written(model_of(model, created));
}

}  // namespace molora
