#include "config/hardware.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using ::testing::ElementsAre;

constexpr char kSmall[] = R"(name: small
flops: {bf16: 1.0e+12}
memory_bandwidth: 1.0e+11
memory_bytes: 8.0e+9
links:
  - {name: near, ranks_per_domain: 4, bandwidth: 1.0e+10, latency: 1.0e-5}
  - {name: other, bandwidth: 1.0e+9}
)";

// A folder of two machines and a link.
class FoundHardware : public ::testing::Test {
 protected:
  FoundHardware() {
    folder_.write("small.yaml", kSmall);
    folder_.write("large.yaml", "name: large\nflops: {bf16: 1.0e+13}\n");
    folder_.write("far.yaml", "links:\n  - {name: far, bandwidth: 2.0e+9}\n");
    folder_.write("README.md", "not a machine");
  }
  Hardware find(HardwareRequest request) const {
    request.folders = {folder_ / "not here", folder_.path()};
    return find_hardware(request);
  }
  static std::vector<std::string> links_of(const Hardware& hardware) {
    std::vector<std::string> names;
    for (const HardwareLink& link : hardware.links()) names.push_back(link.name());
    return names;
  }
  testing::TempFolder folder_;
};

TEST_F(FoundHardware, IsTheFileOfItsName) {
  const Hardware small = find({.gpu = "small"});
  EXPECT_EQ(small.name(), "small");
  EXPECT_EQ(small.flops().bf16(), 1e12);
  EXPECT_THAT(links_of(small), ElementsAre("near", "other"));
}

TEST_F(FoundHardware, IsAnyFileByItsPath) {
  testing::TempFolder other;
  const auto file = other.write("mine.yaml", kSmall);
  EXPECT_EQ(find({.gpu = file.string()}).name(), "small");
  EXPECT_EQ(find_hardware({.gpu = file.string()}).name(), "small") << "needs no folder";
}

TEST_F(FoundHardware, HasTheLinksAskedForInTheirOrder) {
  EXPECT_THAT(links_of(find({.gpu = "small", .links = "near+far"})), ElementsAre("near", "far"));
  EXPECT_THAT(links_of(find({.gpu = "small", .links = "other"})), ElementsAre("other"));
  EXPECT_THAT(links_of(find({.gpu = "small", .links = (folder_ / "far.yaml").string()})),
              ElementsAre("far"));
}

TEST_F(FoundHardware, TakesAnotherAmountOfMemory) {
  EXPECT_EQ(find({.gpu = "small"}).memory_bytes(), 8e9);
  EXPECT_EQ(find({.gpu = "small", .memory_bytes = 5e9}).memory_bytes(), 5e9);
}

TEST_F(FoundHardware, RefusesUnknownNamesWithThoseThatAreKnown) {
  EXPECT_THROW_WITH(find({.gpu = "smal"}), ConfigError,
                    "--gpu 'smal': known are large, small, and any file by its path; did you mean "
                    "'small'?");
  EXPECT_THROW_WITH(find({.gpu = "far"}), ConfigError, "--gpu 'far': known are large, small");
  EXPECT_THROW_WITH(find({.gpu = "small", .links = "near+faar"}), ConfigError,
                    "--link 'faar': known are near, other (of small), far, and any file by its "
                    "path; several are joined by +, nearest first; did you mean 'far'?");
}

TEST_F(FoundHardware, SaysWhatAFileLacks) {
  EXPECT_THROW_WITH(find({.gpu = "large"}), ConfigError,
                    "--gpu 'large': its file does not say memory_bandwidth, memory_bytes (or give "
                    "--gpu-memory)");
  const auto file = folder_.write("slow.yaml", "links: [{name: slow}]\n");
  EXPECT_THROW_WITH(find({.gpu = "small", .links = file.string()}), ConfigError,
                    "bandwidth of link 'slow'");
}

TEST(HardwareFile, IsCheckedAsAConfigurationIs) {
  EXPECT_THROW_WITH(parse_hardware("nam: x\nmemory_bytes: -1\n", "x.yaml"), ConfigError,
                    "\n  x.yaml:1: nam: no such field; did you mean 'name'?");
  EXPECT_THROW_WITH(parse_hardware("memory_bytes: -1\n", "x.yaml"), ConfigError,
                    "x.yaml:1: memory_bytes: expected a number above 0, got '-1'");
  EXPECT_THROW_WITH(read_hardware("/no/such.yaml"), ConfigError,
                    "the file of a machine cannot be read: /no/such.yaml");
  EXPECT_THROW_WITH(find_hardware({.gpu = "h100", .folders = {"/no/folder"}}), ConfigError,
                    "--gpu 'h100': no folder configs/hardware here or beside the program");
}

TEST(HardwareFile, IsCompleteForEveryNamedMachine) {
  for (const char* gpu : {"a100-80g", "b200", "cpu", "h100", "h200", "l40s"}) {
    const Hardware machine = find_hardware({.gpu = gpu, .folders = {"configs/hardware"}});
    EXPECT_GT(machine.flops().bf16(), 0) << gpu;
    EXPECT_GT(machine.operator_latency(), 0) << gpu;
    EXPECT_GE(machine.links_size(), 1) << gpu;
    for (const GemmEfficiency& point : machine.gemm_efficiency()) EXPECT_GT(point.share(), 0);
  }
  for (const char* link : {"nvlink", "pcie", "ib400", "ib200", "eth100"}) {
    EXPECT_EQ(
        find_hardware({.gpu = "h100", .links = link, .folders = {"configs/hardware"}}).links_size(),
        1);
  }
}

}  // namespace
}  // namespace molora
