// The environment of this process as a value, so that what depends on it can be tried with another.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace molora {

using Environment = std::map<std::string, std::string>;

// A copy of this process's variables.
Environment process_environment();

// nullopt when the variable is not set; "" when it is set to nothing.
std::optional<std::string> variable(const Environment& environment, const std::string& name);

// The path of a program as execvp() would find it by PATH; "" when it does not. A name with a slash
// is looked for where it says.
std::string program_on_path(const Environment& environment, const std::string& name);

}  // namespace molora
