#include "generate/sequence_batch.h"

#include <map>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/loaded_model.h"
#include "support/random_adapters.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

using Ids = std::vector<int32_t>;

class SequenceBatchTest : public ::testing::Test {
 protected:
  SequenceBatchTest() {
    testing::write_tiny_model(folder_.path(), testing::tiny_config());
    loaded_ = std::make_unique<testing::LoadedModel>(folder_.path(), AdapterConfig(), at::kDouble);
    testing::randomize(loaded_->adapters(), 5);
  }

  NewSequence sequence(uint64_t key, Ids prompt) const {
    return {key, std::move(prompt), {.max_new_tokens = 8}, 0};
  }

  // Makes steps; the tokens of each key.
  std::map<uint64_t, Ids> run(SequenceBatch& batch, int steps) const {
    std::map<uint64_t, Ids> ids;
    for (int i = 0; i < steps; ++i) {
      for (const NewToken& next : batch.step()) ids[next.key].push_back(next.token.value());
    }
    return ids;
  }

  Ids alone(const Ids& prompt) const {
    SequenceBatch batch(loaded_->model());
    batch.add(sequence(1, prompt));
    return run(batch, 8)[1];
  }

  testing::TempFolder folder_;
  std::unique_ptr<testing::LoadedModel> loaded_;
  const Ids a_ = {1, 2, 3};
  const Ids b_ = {7};
  const Ids c_ = {5, 9, 5, 9, 20};
};

TEST_F(SequenceBatchTest, SequencesMayComeAndGoBetweenSteps) {
  SequenceBatch batch(loaded_->model());
  batch.add(sequence(10, a_));
  std::map<uint64_t, Ids> ids = run(batch, 2);
  batch.add(sequence(20, b_));
  for (const auto& [key, more] : run(batch, 2))
    ids[key].insert(ids[key].end(), more.begin(), more.end());
  batch.remove(10);
  batch.add(sequence(30, c_));
  for (const auto& [key, more] : run(batch, 8))
    ids[key].insert(ids[key].end(), more.begin(), more.end());
  EXPECT_TRUE(batch.empty());
  const Ids whole = alone(a_);
  EXPECT_EQ(ids[10], Ids(whole.begin(), whole.begin() + 4));
  EXPECT_EQ(ids[20], alone(b_));
  EXPECT_EQ(ids[30], alone(c_));
}

TEST_F(SequenceBatchTest, AKeyMayBeUsedAgainAfterItsSequenceHasLeft) {
  SequenceBatch batch(loaded_->model());
  batch.add(sequence(1, c_));
  (void)run(batch, 3);
  batch.remove(1);
  batch.add(sequence(1, a_));
  EXPECT_EQ(run(batch, 8)[1], alone(a_));
}

TEST_F(SequenceBatchTest, MisuseIsAFault) {
  SequenceBatch batch(loaded_->model());
  EXPECT_TRUE(batch.step().empty());
  EXPECT_THROW(batch.remove(1), InternalError);
  batch.add(sequence(1, a_));
  EXPECT_THROW(batch.add(sequence(1, b_)), InternalError);
  EXPECT_THROW(batch.add(sequence(2, {})), InternalError);
  EXPECT_THROW(batch.add(sequence(2, Ids(65, 1))), InternalError) << "64 positions";
  EXPECT_THROW(batch.add({2, b_, {.max_new_tokens = 0}, 0}), InternalError);
  EXPECT_EQ(batch.size(), 1);
}

}  // namespace
}  // namespace molora
