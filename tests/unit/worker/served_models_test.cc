#include "worker/served_models.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

std::vector<std::string> names(const ServeArguments& arguments) {
  std::vector<std::string> all;
  for (const NamedPath& path : named_paths(arguments)) all.push_back(path.name);
  return all;
}

TEST(NamedPaths, AreNamedByTheirFolders) {
  EXPECT_EQ(names({.paths = {"runs/a", "runs/b/", "runs/c/checkpoints",
                             "runs/d/checkpoints/step-00000200", "/e"},
                   .named_paths = {"f=runs/x=y"}}),
            (std::vector<std::string>{"a", "b", "c", "d-step-00000200", "e", "f"}));
  EXPECT_EQ(named_paths({.named_paths = {"f=runs/x=y"}}).at(0).path, "runs/x=y");
}

TEST(NamedPaths, ConfigurationFilesStandForTheBase) {
  EXPECT_TRUE(names({.paths = {"a.yaml", "b.yml"}}).empty());
  EXPECT_THROW_WITH((void)names({.paths = {"a.yaml", "runs/b"}}), ConfigError, "got both");
  EXPECT_THROW_WITH((void)names({.paths = {"a.yaml"}, .named_paths = {"b=runs/b"}}), ConfigError,
                    "got both");
}

TEST(NamedPaths, NamesThatAreTakenAndNonsenseAreRefused) {
  EXPECT_THROW_WITH((void)names({}), ConfigError, "nothing to serve");
  EXPECT_THROW_WITH((void)names({.paths = {"x/a", "y/a"}}), ConfigError,
                    "y/a: the name 'a' is taken; give another one with --name NAME=y/a");
  EXPECT_THROW_WITH((void)names({.paths = {"x/base"}}), ConfigError, "is taken by the base");
  EXPECT_EQ(names({.paths = {"x/base"}, .base_name = "plain"}).size(), 1u);
  for (const char* text : {"a", "=a", "a="}) {
    EXPECT_THROW_WITH((void)names({.named_paths = {text}}), ConfigError, "expected NAME=PATH");
  }
}

}  // namespace
}  // namespace molora
