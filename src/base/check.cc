#include "base/check.h"

#include <string_view>

namespace molora::internal {

namespace {

// The path as written from the repository root, so that messages do not carry the build machine's
// folders.
std::string_view short_path(std::string_view path) {
  for (const std::string_view root : {"/src/", "/launcher/", "/tests/"}) {
    const size_t at = path.rfind(root);
    if (at != std::string_view::npos) return path.substr(at + 1);
  }
  return path;
}

}  // namespace

void check_failed(const char* file, int line, const char* expression, const std::string& detail) {
  throw InternalError(
      fmt::format("{}:{}: check failed: {}{}{}{}\n  This is a fault of molora, not "
                  "of your input; please report it with this line.",
                  short_path(file), line, expression, detail.empty() ? "" : " (", detail,
                  detail.empty() ? "" : ")"));
}

}  // namespace molora::internal
