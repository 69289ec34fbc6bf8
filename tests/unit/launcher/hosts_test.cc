#include "launcher/plan/hosts.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using Hosts = std::vector<Host>;

TEST(HostOption, NamesHostsWithAndWithoutSlots) {
  EXPECT_EQ(parse_hosts("a:4,b:2"), (Hosts{{"a", 4}, {"b", 2}}));
  EXPECT_EQ(parse_hosts("a, b.org"), (Hosts{{"a", kUnknownSlots}, {"b.org", kUnknownSlots}}));
  EXPECT_EQ(parse_hosts("10.0.0.1:8"), (Hosts{{"10.0.0.1", 8}}));
}

TEST(HostOption, ANameThatComesAgainAddsItsSlots) {
  EXPECT_EQ(parse_hosts("a:4,b:1,a:2"), (Hosts{{"a", 6}, {"b", 1}}));
  EXPECT_EQ(parse_hosts("a,a"), (Hosts{{"a", 2}}));
  EXPECT_EQ(parse_hosts("a:4,a"), (Hosts{{"a", 5}}));
}

TEST(HostOption, EveryFaultIsNamed) {
  EXPECT_THROW_WITH((void)parse_hosts("a:x,b,c:0,-oProxy"), ConfigError, "--hosts a:x,b,c:0",
                    "'a:x': expected a number of ranks from 1", "got 'x'", "'c:0'",
                    "'-oProxy': expected a host name");
  EXPECT_THROW_WITH((void)parse_hosts("a,,b"), ConfigError, "'': expected a host name");
  EXPECT_THROW_WITH((void)parse_hosts("a:"), ConfigError, "after the colon, got ''");
  EXPECT_THROW_WITH((void)parse_hosts("a:99999999999999999999"), ConfigError, "from 1 to 100000");
  EXPECT_THROW_WITH((void)parse_hosts("a b:1"), ConfigError, "got 'a b'");
}

TEST(Hostfile, IsThatOfOpenMpi) {
  const Hosts hosts = parse_hostfile(
      "# the cluster\n"
      "n1 slots=4\n"
      "\n"
      "  n2\tslots = 2 max-slots=8  # the small one\r\n"
      "10.0.0.3\n"
      "n4 max_slots=3",
      "hosts");
  EXPECT_EQ(hosts, (Hosts{{"n1", 4}, {"n2", 2}, {"10.0.0.3", kUnknownSlots}, {"n4", 3}}));
}

TEST(Hostfile, ANameThatComesAgainAddsItsSlots) {
  EXPECT_EQ(parse_hostfile("a slots=2\nb\na slots=1\nb\n", "hosts"), (Hosts{{"a", 3}, {"b", 2}}));
}

TEST(Hostfile, EveryFaultIsNamedWithItsLine) {
  const std::string text =
      "a slots=4\n"
      "b slots=many\n"
      "user@c slots=1\n"
      "d ports=1\n"
      "e slots=1 slots=2\n"
      "f slots=5 max-slots=4\n"
      "g slots\n";
  EXPECT_THROW_WITH((void)parse_hostfile(text, "my-hosts"), ConfigError, "hostfile my-hosts",
                    "line 2: expected slots from 1 to 100000, got 'many'",
                    "line 3: expected a host name", "got 'user@c'",
                    "line 4: expected slots=N or max-slots=N, got 'ports=1'",
                    "line 5: expected slots once", "line 6: expected slots up to max-slots, got 5",
                    "line 7: expected slots=N or max-slots=N, got 'slots'");
}

TEST(Hostfile, WithoutAHostIsRefused) {
  EXPECT_THROW_WITH((void)parse_hostfile("# nobody\n", "h"), ConfigError, "h names no host",
                    "name slots=N");
}

TEST(Hostfile, IsReadFromItsFile) {
  const testing::TempFolder folder;
  EXPECT_EQ(read_hostfile(folder.write("hosts", "a slots=2\n")), (Hosts{{"a", 2}}));
  EXPECT_THROW_WITH((void)read_hostfile(folder / "none"), IoError, (folder / "none").string());
}

}  // namespace
}  // namespace molora
