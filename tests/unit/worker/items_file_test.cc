#include "worker/items_file.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "comm/thread_communicator.h"
#include "support/expect_throw.h"
#include "support/item_records.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::answered_item;

ItemRecord record(int64_t index) {
  ItemRecord item = answered_item("t", index, Metric::kMicroF1, {"a", "b"}, {"b", "\u54b3"}, 0.1);
  item.type = "single";
  item.correct_tokens = 1;
  item.answer->text = "text \"quoted\"\n";
  item.answer->way = AnswerWay::kGenerate;
  return item;
}

std::filesystem::path written(const testing::TempFolder& folder, const std::string& text) {
  const auto path = folder.path() / "items.jsonl";
  std::ofstream(path) << text;
  return path;
}

TEST(ItemsFile, GivesBackWhatWasWrittenToTheBit) {
  const testing::TempFolder folder;
  ItemRecord silent = record(4);
  silent.answer.reset();
  silent.loss_sum = 1.0 / 3.0;
  const auto read = read_items_file(written(folder, item_line(record(3)) + item_line(silent)));
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(item_line(read[0]), item_line(record(3)));
  EXPECT_EQ(read[0].answer->text, record(3).answer->text);
  EXPECT_EQ(read[0].answer->given, record(3).answer->given);
  EXPECT_EQ(read[1].loss_sum, 1.0 / 3.0);
  EXPECT_FALSE(read[1].answer.has_value());
}

TEST(ItemsFile, ALineSaysWhatBecameOfTheItem) {
  const auto line = nlohmann::json::parse(item_line(record(3)));
  EXPECT_EQ(line["metric"], "micro-F1");
  EXPECT_EQ(line["answers"], "generate");
  EXPECT_EQ(line["correct"], false);
  EXPECT_EQ(line["score"], 0.5);  // 2 * 1 / (2 + 2)
  EXPECT_EQ(line["loss"], 0.1);
}

TEST(ItemsFile, TextThatIsNotUtf8IsReplaced) {
  ItemRecord item = record(0);
  item.answer->text = "\xff";
  EXPECT_EQ(nlohmann::json::parse(item_line(item))["answer"], "\ufffd");
}

TEST(ItemsFile, WhatIsNoneIsRefusedWithItsLine) {
  const testing::TempFolder folder;
  EXPECT_THROW_WITH(read_items_file(written(folder, item_line(record(0)) + "{\"a\": 1}\n")),
                    DataError, "items.jsonl:2: not a line of molora eval --items");
  auto line = nlohmann::json::parse(item_line(record(0)));
  line["metric"] = "beauty";
  EXPECT_THROW_WITH(read_items_file(written(folder, line.dump())), DataError,
                    "items.jsonl:1:", "\"beauty\"");
  EXPECT_THROW_WITH(read_items_file(written(folder, "[]")), DataError, "expected an object");
  EXPECT_THROW_WITH(read_items_file(written(folder, "")), DataError, "there is no item in it");
  EXPECT_THROW(read_items_file(folder.path() / "none.jsonl"), IoError);
}

TEST(ItemsFile, ItemsOfAllRanksAreInTheOrderOfTheData) {
  for (const int ranks : {1, 2, 3}) {
    run_rank_threads(ranks, [&](Communicator& communicator) {
      std::vector<ItemRecord> mine;
      for (int i = communicator.rank(); i < 7; i += communicator.size()) mine.push_back(record(i));
      const auto all = gather_items(mine, communicator);
      ASSERT_EQ(all.size(), 7u);
      for (int i = 0; i < 7; ++i)
        EXPECT_EQ(item_line(all[static_cast<size_t>(i)]), item_line(record(i)));
    });
  }
}

}  // namespace
}  // namespace molora
