#include "serve/request_error.h"

#include <nlohmann/json.hpp>

namespace molora {

namespace {

const char* type_of(int status) {
  if (status == 401) return "authentication_error";
  if (status == 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

nlohmann::json text_or_null(const std::string& text) {
  return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
}

}  // namespace

std::string error_json(const RequestError& error) {
  const nlohmann::json body = {{"error",
                                {{"message", error.what()},
                                 {"type", type_of(error.status())},
                                 {"param", text_or_null(error.about().param)},
                                 {"code", text_or_null(error.about().code)}}}};
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace molora
