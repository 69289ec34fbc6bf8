// Which hosts a job may run on, as people write it down: --hosts and hostfiles.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace molora {

struct Host {
  std::string name;  // never ""; a name or an IP address
  int slots = 0;     // ranks that fit or are placed there

  bool operator==(const Host&) const = default;
};

constexpr int kUnknownSlots = 0;

// "a:4,b:4" or "a,b". A name that comes again adds its slots; each time that it comes without a
// number counts for one then, as with Open MPI. No IPv6 addresses: mpirun takes the colons for
// slots.
// Throws: ConfigError that names every faulty part and what was expected.
std::vector<Host> parse_hosts(std::string_view text);

// A hostfile of Open MPI: a line "name slots=4 max-slots=8" for each host, `#` comments. A name
// that comes again adds its slots; of slots and max-slots the first counts, if it is there. Throws:
// ConfigError with every faulty line, its number and what was expected; IoError.
std::vector<Host> read_hostfile(const std::filesystem::path& path);
// The same of a text; `origin` names it in messages.
std::vector<Host> parse_hostfile(std::string_view text, const std::string& origin);

}  // namespace molora
