// Everything that is wrong with a configuration, collected so that one run of the program shows it
// all.
//
// A fault has a place (a source, that is a file or an override, and a line), a field and a
// sentence. The message lists the faults source by source, line by line.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace molora {

// What a configuration is read from. `name` is what messages call it: a file, or "--set a.b=c".
struct ConfigSource {
  std::string name;
  bool has_lines = true;
};

// A line of a source. `source` indexes the sources of the Faults in use; line 0 is the source as a
// whole.
struct Place {
  size_t source = 0;
  int line = 0;
};

// `text` as one printable line in quotes: control characters as \xNN, cut after 60 bytes.
std::string in_quotes(std::string_view text);

class Faults {
 public:
  explicit Faults(std::vector<ConfigSource> sources) : sources_(std::move(sources)) {}

  // `field` is the dotted name, empty when the fault is about the source as a whole.
  void add(const Place& place, std::string_view field, const std::string& what);

  bool empty() const { return faults_.empty(); }
  // Enough has gone wrong that looking for more is a waste: add() only counts from here on.
  bool is_full() const;
  // Whether something was found in `field` or in a field around it.
  bool covers(std::string_view field) const;
  // "run.yaml:3", "run.yaml" or "--set a.b=c".
  std::string where(const Place& place) const;
  const std::vector<ConfigSource>& sources() const { return sources_; }

  // Throws: ConfigError with every fault, one per line, when there is one.
  void throw_if_any() const;

 private:
  struct Fault {
    Place place;
    std::string text;
  };

  std::vector<ConfigSource> sources_;
  std::vector<Fault> faults_;
  std::set<std::string, std::less<>> fields_;
  size_t not_kept_ = 0;
};

}  // namespace molora
