// What the user has settled about the launch, by the environment or by --launcher-arg, so that
// molora does not say otherwise.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/plan/environment.h"

namespace molora {

// Looks at both for as long as it lives; they must outlive it.
class UserSettings {
 public:
  UserSettings(const Environment& environment, const std::vector<std::string>& launcher_arguments)
      : environment_(environment), arguments_(launcher_arguments) {}

  // The value of an environment variable, "" too.
  std::optional<std::string> variable(const std::string& name) const;
  // The value of an MCA parameter of Open MPI under any of these names: of --mca among the
  // arguments, or of OMPI_MCA_<name> or PRTE_MCA_<name>.
  std::optional<std::string> mca(std::initializer_list<std::string_view> names) const;
  // Whether one of these options is among the arguments, as --name, -name or --name=...
  bool has_option(std::initializer_list<std::string_view> names) const;

 private:
  const Environment& environment_;
  const std::vector<std::string>& arguments_;
};

}  // namespace molora
