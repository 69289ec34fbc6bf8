#include "io/io_failure.h"

#include <cerrno>
#include <string>
#include <system_error>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

void throw_io(std::string_view operation, const std::filesystem::path& path, int code) {
  std::string advice;
  if (code == ENOSPC || code == EDQUOT) advice = "; free space or choose another folder";
  if (code == EACCES || code == EPERM || code == EROFS) advice = "; check the permissions";
  throw IoError(fmt::format("{}: cannot {}: {}{}", path.string(), operation,
                            std::generic_category().message(code), advice));
}

}  // namespace molora
