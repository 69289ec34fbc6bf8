// EXPECT_THROW_WITH: the statement throws this type, and the message holds these words.
#pragma once

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#define EXPECT_THROW_WITH(statement, type, ...)                                      \
  do {                                                                               \
    bool molora_thrown = false;                                                      \
    try {                                                                            \
      statement;                                                                     \
    } catch (const type& error) {                                                    \
      molora_thrown = true;                                                          \
      const std::string molora_message = error.what();                               \
      for (const std::string& molora_word : std::vector<std::string>{__VA_ARGS__}) { \
        EXPECT_THAT(molora_message, ::testing::HasSubstr(molora_word));              \
      }                                                                              \
    }                                                                                \
    EXPECT_TRUE(molora_thrown) << #statement " did not throw " #type;                \
  } while (false)
