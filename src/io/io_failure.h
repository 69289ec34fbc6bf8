// The one form in which a failed system call on a file is reported.
#pragma once

#include <filesystem>
#include <string_view>

namespace molora {

// Throws: IoError "PATH: cannot OPERATION: system's reason[; advice]". `code`: an errno.
[[noreturn]] void throw_io(std::string_view operation, const std::filesystem::path& path, int code);

}  // namespace molora
