#include "config/load_config.h"

#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "config/cross_checks.h"
#include "config/faults.h"
#include "config/field_places.h"
#include "config/override.h"
#include "config/path_checks.h"
#include "config/proto_from_yaml.h"
#include "config/schema.h"
#include "config/shorthand.h"
#include "config/text_check.h"
#include "config/yaml_tree.h"
#include "io/file.h"

namespace molora {

namespace {

// What was read, and everything that is wrong with it so far.
struct Reading {
  explicit Reading(std::vector<ConfigSource> sources) : faults(std::move(sources)) {}

  RunConfig config;
  FieldPlaces places;
  Faults faults;
};

std::vector<ConfigSource> sources_of(const std::vector<std::string>& files,
                                     const std::vector<std::string>& overrides) {
  std::vector<ConfigSource> sources;
  sources.reserve(files.size() + overrides.size());
  for (const std::string& file : files) sources.push_back({file, true});
  for (const std::string& text : overrides) sources.push_back({"--set " + in_quotes(text), false});
  return sources;
}

// The merged tree of the texts; text i belongs to source i. Throws: ConfigError when one of them
// cannot be read at all, as everything in it would then be reported as missing.
YamlNode merged_tree(const std::vector<std::string>& texts, Faults& faults) {
  YamlNode tree;
  bool are_read = true;
  for (size_t i = 0; i < texts.size(); ++i) {
    std::optional<YamlNode> over = parse_yaml(texts[i], {i, ""}, faults);
    if (over && !over->is_map() && !over->is_null()) {
      faults.add({i, 0}, "", "expected a mapping of fields, got " + shown(*over));
      over.reset();
    }
    if (over) {
      spell_out(*over, *RunConfig::descriptor());
      merge_yaml(tree, std::move(*over));
    } else {
      are_read = false;
    }
  }
  if (!are_read) faults.throw_if_any();
  return tree;
}

// Checks everything that needs no file. The overrides belong to the sources after the texts.
void read_texts(const std::vector<std::string>& texts, const std::vector<std::string>& overrides,
                ConfigUse use, Reading& reading) {
  YamlNode tree = merged_tree(texts, reading.faults);
  for (size_t i = 0; i < overrides.size(); ++i) {
    apply_override(tree, overrides[i], texts.size() + i, reading.faults);
  }
  reading.config = read_run_config(tree, reading.places, reading.faults);
  check_required(reading.config, use, reading.places, reading.faults);
  check_between_fields(reading.config, reading.places, reading.faults);
}

LoadedConfig finish(Reading& reading) {
  reading.faults.throw_if_any();
  LoadedConfig loaded;
  loaded.config = std::move(reading.config);
  fill_defaults(loaded.config);
  loaded.warnings = config_warnings(loaded.config, reading.places, reading.faults.sources());
  return loaded;
}

// What to write instead of a file that is not there.
std::string instead_of(const std::filesystem::path& path) {
  // A second FIELD=VALUE behind one --set.
  const std::string text = path.string();
  if (text.find('=') != std::string::npos) {
    return fmt::format("; a setting has its own --set: --set '{}'", text);
  }
  return path_hint(path);
}

// The content of a configuration file; empty, with a fault, when it cannot be read.
std::string read_source(const std::filesystem::path& path, size_t source, Faults& faults) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    faults.add({source, 0}, "", "the file does not exist" + instead_of(path));
    return {};
  }
  try {
    return read_file(path, kMaxConfigBytes);
  } catch (const IoError& reason) {
    const std::string said = reason.what();
    const std::string name = path.string() + ": ";
    faults.add({source, 0}, "", said.starts_with(name) ? said.substr(name.size()) : said);
    return {};
  }
}

}  // namespace

LoadedConfig load_config(const ConfigRequest& request) {
  std::vector<std::string> names;
  for (const auto& file : request.files) names.push_back(file.string());
  Reading reading(sources_of(names, request.overrides));
  std::vector<std::string> texts;
  for (size_t i = 0; i < request.files.size(); ++i) {
    texts.push_back(read_source(request.files[i], i, reading.faults));
  }
  reading.faults.throw_if_any();
  read_texts(texts, request.overrides, request.use, reading);
  check_paths(reading.config, request.use, reading.places, reading.faults);
  return finish(reading);
}

LoadedConfig parse_config(const std::vector<ConfigText>& texts,
                          const std::vector<std::string>& overrides, ConfigUse use) {
  std::vector<std::string> names;
  std::vector<std::string> contents;
  for (const ConfigText& text : texts) {
    names.push_back(text.origin);
    contents.push_back(text.text);
  }
  Reading reading(sources_of(names, overrides));
  read_texts(contents, overrides, use, reading);
  return finish(reading);
}

}  // namespace molora
