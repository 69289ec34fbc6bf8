#include "io/secret.h"

#include <string>

#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(Secret, OnlyTheSameBytesAreEqual) {
  EXPECT_TRUE(equal_secrets("token", "token"));
  EXPECT_TRUE(equal_secrets("", ""));
  for (const char* other : {"", "toke", "token2", "Token", "tokem"}) {
    EXPECT_FALSE(equal_secrets("token", other)) << other;
  }
  EXPECT_FALSE(equal_secrets("a", std::string("a\0b", 3)));
}

}  // namespace
}  // namespace molora
