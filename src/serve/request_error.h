// What a client is told when its request cannot be served, in OpenAI's form of an error.
#pragma once

#include <stdexcept>
#include <string>

namespace molora {

// An answer with an HTTP status from 400 on. The message says what is wrong, what was expected and
// what was found; `param` names the field of the request, and `code` is for programs; "" is null.
class RequestError : public std::runtime_error {
 public:
  struct About {
    std::string param;
    std::string code;
  };
  RequestError(int status, const std::string& message, About about = {})
      : std::runtime_error(message), status_(status), about_(std::move(about)) {}

  int status() const { return status_; }
  const About& about() const { return about_; }

 private:
  int status_;
  About about_;
};

// {"error": {"message": .., "type": .., "param": .., "code": ..}}
std::string error_json(const RequestError& error);

}  // namespace molora
