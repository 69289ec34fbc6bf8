#include "config/hardware.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "base/nearest_name.h"
#include "config/faults.h"
#include "config/field_places.h"
#include "config/proto_from_yaml.h"
#include "config/schema.h"
#include "config/shorthand.h"
#include "config/text_check.h"
#include "config/yaml_tree.h"
#include "io/file.h"

namespace molora {

namespace {

namespace fs = std::filesystem;

// What the folder of named machines holds, by name.
struct KnownFiles {
  fs::path folder;  // empty: there is none
  std::vector<std::string> gpus;
  std::vector<std::string> links;
};

KnownFiles known_files(const std::vector<fs::path>& folders) {
  KnownFiles known;
  std::error_code error;
  for (const fs::path& folder : folders) {
    if (!fs::is_directory(folder, error)) continue;
    known.folder = folder;
    break;
  }
  if (known.folder.empty()) return known;
  for (const auto& entry : fs::directory_iterator(known.folder, error)) {
    if (entry.path().extension() != ".yaml") continue;
    const std::string name = entry.path().stem().string();
    (read_hardware(entry.path()).has_flops() ? known.gpus : known.links).push_back(name);
  }
  std::sort(known.gpus.begin(), known.gpus.end());
  std::sort(known.links.begin(), known.links.end());
  return known;
}

bool is_path(const std::string& name) {
  return name.find('/') != std::string::npos || name.ends_with(".yaml");
}

std::string near_hint(const std::string& name, const std::vector<std::string>& candidates) {
  const std::string near = nearest_name(name, candidates);
  return near.empty() ? std::string() : fmt::format("; did you mean '{}'?", near);
}

Hardware gpu_of(const std::string& name, const KnownFiles& known) {
  if (is_path(name)) return read_hardware(name);
  if (std::find(known.gpus.begin(), known.gpus.end(), name) != known.gpus.end()) {
    return read_hardware(known.folder / (name + ".yaml"));
  }
  if (known.folder.empty()) {
    throw ConfigError(
        fmt::format("--gpu {}: no folder configs/hardware here or beside the program; start molora "
                    "where it is, "
                    "or give the path of a file (configs/hardware/README.md tells its form)",
                    in_quotes(name)));
  }
  throw ConfigError(fmt::format("--gpu {}: known are {}, and any file by its path{}",
                                in_quotes(name), fmt::join(known.gpus, ", "),
                                near_hint(name, known.gpus)));
}

std::vector<std::string> own_names(const Hardware& gpu) {
  std::vector<std::string> names;
  for (const HardwareLink& link : gpu.links()) names.push_back(link.name());
  return names;
}

// Appends the link or links that `name` stands for.
void add_links(const std::string& name, const Hardware& gpu, const KnownFiles& known,
               Hardware& machine) {
  for (const HardwareLink& own : gpu.links()) {
    if (own.name() != name) continue;
    *machine.add_links() = own;
    return;
  }
  const bool is_named =
      std::find(known.links.begin(), known.links.end(), name) != known.links.end();
  if (!is_named && !is_path(name)) {
    std::vector<std::string> names = own_names(gpu);
    names.insert(names.end(), known.links.begin(), known.links.end());
    throw ConfigError(fmt::format(
        "--link {}: known are {} (of {}){}{}, and any file by its path; several are joined by +, "
        "nearest first{}",
        in_quotes(name), fmt::join(own_names(gpu), ", "), gpu.name(),
        known.links.empty() ? "" : ", ", fmt::join(known.links, ", "), near_hint(name, names)));
  }
  const Hardware file = read_hardware(is_named ? known.folder / (name + ".yaml") : fs::path(name));
  machine.mutable_links()->MergeFrom(file.links());
}

void check_complete(const Hardware& machine, const std::string& gpu) {
  std::vector<std::string> missing;
  if (!machine.has_flops()) missing.emplace_back("flops");
  if (!machine.has_memory_bandwidth()) missing.emplace_back("memory_bandwidth");
  if (!machine.has_memory_bytes()) missing.emplace_back("memory_bytes (or give --gpu-memory)");
  for (const HardwareLink& link : machine.links()) {
    if (!link.has_bandwidth())
      missing.push_back(fmt::format("bandwidth of link '{}'", link.name()));
  }
  if (missing.empty()) return;
  throw ConfigError(
      fmt::format("--gpu {}: its file does not say {}", in_quotes(gpu), fmt::join(missing, ", ")));
}

}  // namespace

Hardware parse_hardware(const std::string& text, const std::string& origin) {
  Faults faults({{origin, true}});
  FieldPlaces places;
  Hardware hardware;
  std::optional<YamlNode> tree = parse_yaml(text, {0, ""}, faults);
  faults.throw_if_any();
  if (tree && !tree->is_null()) {
    spell_out(*tree, *Hardware::descriptor());
    read_message(*tree, hardware, places, faults);
  }
  faults.throw_if_any();
  return hardware;
}

Hardware read_hardware(const std::filesystem::path& file) {
  std::string text;
  try {
    text = read_file(file, kMaxConfigBytes);
  } catch (const IoError& reason) {
    throw ConfigError(fmt::format("the file of a machine cannot be read: {}", reason.what()));
  }
  return parse_hardware(text, file.string());
}

Hardware find_hardware(const HardwareRequest& request) {
  const KnownFiles known = known_files(request.folders);
  const Hardware gpu = gpu_of(request.gpu, known);
  Hardware machine = gpu;
  if (!request.links.empty()) {
    machine.clear_links();
    std::istringstream names(request.links);
    for (std::string name; std::getline(names, name, '+');) add_links(name, gpu, known, machine);
  }
  if (request.memory_bytes > 0) machine.set_memory_bytes(request.memory_bytes);
  check_complete(machine, request.gpu);
  return machine;
}

}  // namespace molora
