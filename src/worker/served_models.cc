#include "worker/served_models.h"

#include <set>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

namespace {

std::string name_of(const std::filesystem::path& given) {
  const std::filesystem::path path =
      (given.has_filename() ? given : given.parent_path()).lexically_normal();
  const std::string last = path.filename().string();
  const std::filesystem::path parent = std::filesystem::absolute(path).parent_path();
  if (last == "checkpoints") return parent.filename().string();
  if (!last.starts_with("step-") || parent.filename() != "checkpoints") return last;
  return fmt::format("{}-{}", parent.parent_path().filename().string(), last);
}

NamedPath parse_named(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    throw ConfigError(fmt::format("--name {}: expected NAME=PATH", text));
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

void check_names(const std::vector<NamedPath>& paths, const std::string& base_name) {
  std::set<std::string> names = {base_name};
  for (const NamedPath& path : paths) {
    if (names.insert(path.name).second) continue;
    throw ConfigError(fmt::format(
        "{}: the name '{}' is taken{}; give another one with --name NAME={}", path.path.string(),
        path.name, path.name == base_name ? " by the base (--base-name)" : "", path.path.string()));
  }
}

}  // namespace

std::vector<NamedPath> named_paths(const ServeArguments& arguments) {
  std::vector<NamedPath> paths;
  for (const auto& path : arguments.paths) {
    if (!is_config_file(path)) paths.push_back({name_of(path), path});
  }
  for (const std::string& text : arguments.named_paths) paths.push_back(parse_named(text));
  if (paths.empty() && arguments.paths.empty()) {
    throw ConfigError(
        "there is nothing to serve: give run folders, checkpoints, or configuration files");
  }
  if (!paths.empty() && paths.size() < arguments.paths.size() + arguments.named_paths.size()) {
    throw ConfigError(
        "expected either run folders and checkpoints or configuration files (.yaml), got both; the "
        "base is served beside its adapters anyway");
  }
  check_names(paths, arguments.base_name);
  return paths;
}

ServedModels::ServedModels(const ServeArguments& arguments, Communicator& world) {
  const std::vector<NamedPath> paths = named_paths(arguments);
  const auto resolve = [&](const std::vector<std::filesystem::path>& of) {
    return resolve_model({of, arguments.overrides, false}, world);
  };
  if (paths.empty()) {
    session_ = std::make_unique<AdaptedSession>(without_adapter(resolve(arguments.paths)), world);
    const ModelSession& base = session_->session();
    add(arguments.base_name, base.tokenizer(), base.chat_template(), base.model());
    return;
  }
  const ResolvedModel first = resolve({paths.front().path});
  session_ = std::make_unique<AdaptedSession>(first, world);
  const ModelSession& session = session_->session();
  const auto other = [&](const ResolvedModel& model) -> const OtherAdapter& {
    others_.push_back(std::make_unique<OtherAdapter>(model, session, session_->config(), world));
    return *others_.back();
  };
  const OtherAdapter& base = other(without_adapter(first));
  add(arguments.base_name, base.tokenizer(), base.chat_template(), base.model());
  add(paths.front().name, session.tokenizer(), session.chat_template(), session.model());
  for (size_t i = 1; i < paths.size(); ++i) {
    const OtherAdapter& adapter = other(resolve({paths[i].path}));
    add(paths[i].name, adapter.tokenizer(), adapter.chat_template(), adapter.model());
  }
}

void ServedModels::add(const std::string& name, const Tokenizer& tokenizer,
                       const ChatTemplate& chat_template, const CausalLM& network) {
  // Requests name no task: refused here, not at the first of them.
  (void)network.adapters().task_number({});
  const Architecture& architecture = network.architecture();
  std::vector<int32_t> stop_ids = chat_template.stop_ids();
  stop_ids.insert(stop_ids.end(), architecture.eos_ids.begin(), architecture.eos_ids.end());
  models_.push_back({name, &tokenizer, &chat_template, stop_ids, architecture.max_position});
  networks_.push_back(&network);
}

}  // namespace molora
