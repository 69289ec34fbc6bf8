#include "config/path_checks.h"

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "base/nearest_name.h"

namespace molora {

namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNeighbours = 1000;  // looked at for a hint

enum class PathKind { kFile, kFolder };

class PathChecks {
 public:
  PathChecks(const FieldPlaces& places, Faults& faults) : places_(places), faults_(faults) {}

  void check(const std::string& name, const std::string& path, PathKind kind) {
    if (path.empty() || faults_.covers(name)) return;
    const std::string expected = kind == PathKind::kFile ? "a file" : "a folder";
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found) {
      add(name, fmt::format("expected {}, but {} does not exist{}", expected, in_quotes(path),
                            path_hint(path)));
    } else if (error) {
      add(name, fmt::format("expected {}, but {} cannot be looked at: {}", expected,
                            in_quotes(path), error.message()));
    } else if (fs::is_directory(status) != (kind == PathKind::kFolder)) {
      add(name, fmt::format("expected {}, but {} is {}", expected, in_quotes(path),
                            fs::is_directory(status) ? "a folder" : "not a folder"));
    }
  }

  void check_resume(const std::string& resume) {
    const std::string name = "checkpoint.resume";
    if (resume == "auto" || resume == "none" || faults_.covers(name)) return;
    std::error_code error;
    if (!resume.empty() && fs::exists(resume, error)) return;
    const std::string near = nearest_name(resume, {"auto", "none"});
    add(name,
        fmt::format("expected auto, none or the path of a checkpoint, but {} does not exist{}",
                    in_quotes(resume),
                    near.empty() ? path_hint(resume) : fmt::format("; did you mean '{}'?", near)));
  }

 private:
  void add(const std::string& name, const std::string& what) {
    faults_.add(places_.nearest(name, faults_.sources()), name, what);
  }

  const FieldPlaces& places_;
  Faults& faults_;
};

}  // namespace

std::string path_hint(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code error;
  std::vector<std::string> names;
  fs::directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error);
  while (!error && entry != fs::directory_iterator() && names.size() < kMaxNeighbours) {
    names.push_back(entry->path().filename().string());
    entry.increment(error);
  }
  const std::string near = nearest_name(path.filename().string(), names);
  if (near.empty()) return {};
  return fmt::format("; did you mean {}?",
                     in_quotes(path.has_parent_path() ? (folder / near).string() : near));
}

void check_paths(const RunConfig& config, ConfigUse use, const FieldPlaces& places,
                 Faults& faults) {
  PathChecks paths(places, faults);
  paths.check("model.path", config.model().path(), PathKind::kFolder);
  paths.check("model.tokenizer", config.model().tokenizer(), PathKind::kFolder);
  if (use == ConfigUse::kModel) return;
  for (int i = 0; i < config.data().train_size(); ++i) {
    paths.check(fmt::format("data.train[{}].path", i), config.data().train(i).path(),
                PathKind::kFile);
  }
  for (int i = 0; i < config.data().eval_size(); ++i) {
    paths.check(fmt::format("data.eval[{}].path", i), config.data().eval(i).path(),
                PathKind::kFile);
  }
  paths.check("adapter.init_from", config.adapter().init_from(), PathKind::kFolder);
  paths.check_resume(config.checkpoint().resume());
}

}  // namespace molora
