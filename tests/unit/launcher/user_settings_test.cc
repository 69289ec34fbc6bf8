#include "launcher/plan/user_settings.h"

#include <cstdlib>

#include <gtest/gtest.h>

namespace molora {
namespace {

using Words = std::vector<std::string>;

TEST(UserSettings, AreFoundAmongArgumentsAndVariables) {
  const Environment environment = {{"OMPI_MCA_btl", "tcp"}, {"PRTE_MCA_plm_rsh_agent", "rsh"}};
  const Words arguments = {"--mca", "pml",     "ob1",  "-gmca",          "btl",
                           "self",  "-map-by", "slot", "--bind-to=core", "--mca",
                           "last"};
  const UserSettings user(environment, arguments);
  EXPECT_EQ(user.mca({"pml"}), "ob1");
  EXPECT_EQ(user.mca({"btl"}), "self");  // arguments win, as with mpirun
  EXPECT_EQ(user.mca({"nothing", "plm_rsh_agent"}), "rsh");
  EXPECT_EQ(user.mca({"last"}), std::nullopt);
  EXPECT_TRUE(user.has_option({"map-by"}));
  EXPECT_TRUE(user.has_option({"x", "bind-to"}));
  EXPECT_FALSE(user.has_option({"slot", "pml"}));
}

TEST(Environment, KnowsVariablesThatAreEmptyFromThoseThatAreNot) {
  const Environment environment = {{"EMPTY", ""}};
  EXPECT_EQ(variable(environment, "EMPTY"), "");
  EXPECT_EQ(variable(environment, "NONE"), std::nullopt);
  ASSERT_EQ(::setenv("MOLORA_TEST_VARIABLE", "a=b", 1), 0);
  EXPECT_EQ(variable(process_environment(), "MOLORA_TEST_VARIABLE"), "a=b");
  ::unsetenv("MOLORA_TEST_VARIABLE");
}

TEST(Environment, FindsProgramsAsExecvpDoes) {
  EXPECT_EQ(program_on_path({{"PATH", "/nowhere:/bin"}}, "sh"), "/bin/sh");
  EXPECT_EQ(program_on_path({{"PATH", "/nowhere"}}, "sh"), "");
  EXPECT_EQ(program_on_path({{"PATH", "/nowhere"}}, "/bin/sh"), "/bin/sh");
  EXPECT_EQ(program_on_path({}, "sh"), "/bin/sh");
  EXPECT_EQ(program_on_path({}, "/bin/no-such-program"), "");
}

}  // namespace
}  // namespace molora
