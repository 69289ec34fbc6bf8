#include "tokenizer/word_table.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace molora {
namespace {

TEST(TokenizerWordTable, FindsWhatWasInsertedThroughGrowth) {
  WordTable table;
  EXPECT_EQ(table.find("x"), std::nullopt);
  for (int i = 0; i < 5000; ++i) table.insert("word" + std::to_string(i), i);
  EXPECT_EQ(table.size(), 5000u);
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(table.find("word" + std::to_string(i)), i);
  EXPECT_EQ(table.find("word5000"), std::nullopt);
  EXPECT_EQ(table.find(""), std::nullopt);
}

TEST(TokenizerWordTable, TheLaterIdReplacesTheEarlier) {
  WordTable table;
  table.insert("", 1);
  table.insert("", 2);
  EXPECT_EQ(table.find(""), 2);
  EXPECT_EQ(table.size(), 1u);
}

TEST(TokenizerWordTable, RefusesNegativeIds) {
  WordTable table;
  EXPECT_THROW(table.insert("x", -1), InternalError);
}

TEST(TokenizerMergeTable, FindsWhatWasInsertedThroughGrowth) {
  MergeTable table;
  EXPECT_EQ(table.find(1, 2).id, -1);
  for (TokenId i = 0; i < 5000; ++i) table.insert(i, 2 * i, {static_cast<uint32_t>(i), 3 * i});
  for (TokenId i = 0; i < 5000; ++i) {
    ASSERT_EQ(table.find(i, 2 * i).id, 3 * i);
    ASSERT_EQ(table.find(i, 2 * i).rank, static_cast<uint32_t>(i));
  }
  EXPECT_EQ(table.find(2, 1).id, -1);
  EXPECT_EQ(table.find(2, 1).rank, UINT32_MAX);
}

TEST(TokenizerMergeTable, TheLaterMergeReplacesTheEarlier) {
  MergeTable table;
  table.insert(1, 2, {5, 7});
  table.insert(1, 2, {6, 8});
  EXPECT_EQ(table.find(1, 2).id, 8);
}

}  // namespace
}  // namespace molora
