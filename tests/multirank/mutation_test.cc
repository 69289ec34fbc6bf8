// The tests of the parallel parts can fail: each planted fault (base/mutation.h) is noticed by the
// comparison with one rank that mutation_cases.cc names. README.md beside this file has the table.
#include <iostream>
#include <map>

#include <gtest/gtest.h>

#include "io/file.h"
#include "multirank/mutation_cases.h"

namespace molora {
namespace {

using testing::MutationCase;
using testing::Probe;
using testing::Sighting;

// Faults by which ranks come to wait for each other: enough for ranks that share a busy core.
constexpr RankThreadOptions kMutated{.time_limit = std::chrono::seconds(5)};

// A fault that is made for as long as this lives.
class Planted {
 public:
  explicit Planted(Mutation mutation) { set_active_mutation(mutation); }
  ~Planted() { set_active_mutation(Mutation::kNone); }
  Planted(const Planted&) = delete;
  Planted& operator=(const Planted&) = delete;
  Planted(Planted&&) = delete;
  Planted& operator=(Planted&&) = delete;
};

// nullptr when the table does not have it.
const MutationCase* find_case(int mutation) {
  static const std::vector<MutationCase> cases = testing::mutation_cases();
  const MutationCase* found = nullptr;
  for (const MutationCase& entry : cases) {
    if (entry.mutation != static_cast<Mutation>(mutation)) continue;
    MOLORA_CHECK(found == nullptr, "{} is there twice", entry.name);
    found = &entry;
  }
  return found;
}

// The oracle alone: "" unless the program itself is wrong. Each probe is asked once.
std::string fault_without_mutation(const Probe& probe) {
  static std::map<std::string, std::string> known;
  const auto found = known.find(probe.text);
  if (found != known.end()) return found->second;
  return known[probe.text] = probe.fault({});
}

class MutationTest : public ::testing::TestWithParam<int> {};

TEST_P(MutationTest, IsNoticed) {
  const MutationCase* entry = find_case(GetParam());
  ASSERT_NE(entry, nullptr) << "mutation number " << GetParam()
                            << " of base/mutation.h has no case in mutation_cases.cc";
  for (const auto& [words, probe] : entry->sightings) {
    ASSERT_EQ(fault_without_mutation(probe), "") << probe.text;
    std::string fault;
    {
      const Planted planted(entry->mutation);
      fault = probe.fault(kMutated);
    }
    EXPECT_NE(fault, "") << "mutation " << entry->name << " was not noticed by " << probe.text;
    EXPECT_NE(fault.find(words), std::string::npos)
        << entry->name << ", " << probe.text << ": '" << fault << "'";
    std::cout << entry->name << " | " << probe.text << " | " << fault << "\n";
  }
  EXPECT_FALSE(entry->sightings.empty());
}

std::string name_of(const ::testing::TestParamInfo<int>& mutation) {
  const MutationCase* entry = find_case(mutation.param);
  if (entry == nullptr) return fmt::format("Number{}HasNoCase", mutation.param);
  return entry->name;
}
INSTANTIATE_TEST_SUITE_P(All, MutationTest, ::testing::Range(1, static_cast<int>(Mutation::kEnd)),
                         name_of);

TEST(MutationTable, NamesEveryMutation) {
  const std::string table = read_file("tests/multirank/README.md");
  for (int mutation = 1; mutation < static_cast<int>(Mutation::kEnd); ++mutation) {
    const MutationCase* entry = find_case(mutation);
    ASSERT_NE(entry, nullptr) << "mutation number " << mutation;
    EXPECT_NE(table.find(fmt::format("| {} |", entry->name)), std::string::npos) << entry->name;
  }
}

}  // namespace
}  // namespace molora
