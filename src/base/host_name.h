// The name of the machine that this process runs on.
#pragma once

#include <string>

namespace molora {

// As the kernel knows it; "unknown" when it cannot be told.
std::string host_name();

}  // namespace molora
