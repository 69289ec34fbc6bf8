#include "io/digest.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(Digest, Sha256EqualsThePublishedVectors) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Digest, Sha256InPiecesEqualsTheWhole) {
  Sha256 digest;
  digest.update("a");
  digest.update("bc");
  EXPECT_EQ(digest.hex(), sha256_hex("abc"));
}

TEST(Digest, Xxh3NoticesOneBit) {
  std::string text(1000, 'x');
  const auto bytes = [&text] { return std::as_bytes(std::span(text.data(), text.size())); };
  const std::string before = xxh3_hex(bytes());
  text[500] ^= 1;
  EXPECT_NE(xxh3_hex(bytes()), before);
  EXPECT_EQ(before.size(), 32u);
}

TEST(Digest, Xxh3InPiecesEqualsTheWhole) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i);
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  for (const size_t piece : {size_t{1}, size_t{64}, size_t{1000}, text.size()}) {
    Xxh3 digest;
    for (size_t begin = 0; begin < bytes.size(); begin += piece) {
      digest.update(bytes.subspan(begin, std::min(piece, bytes.size() - begin)));
    }
    EXPECT_EQ(digest.hex(), xxh3_hex(bytes)) << "pieces of " << piece;
  }
  EXPECT_EQ(Xxh3().hex(), xxh3_hex({}));
}

// RFC 3720 B.4, and the check value of the CRC catalogue.
TEST(Digest, Crc32cKnownAnswers) {
  const auto crc = [](std::string_view text) {
    Crc32c digest;
    digest.update(std::as_bytes(std::span(text.data(), text.size())));
    return digest.value();
  };
  EXPECT_EQ(crc(""), 0u);
  EXPECT_EQ(crc("123456789"), 0xe3069283u);
  EXPECT_EQ(crc(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(Digest, Crc32cInPiecesEqualsTheWholeAndSeesEveryBit) {
  std::string text(1000, 'x');
  const auto crc = [&](size_t piece) {
    Crc32c digest;
    const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
    for (size_t begin = 0; begin < bytes.size(); begin += piece) {
      digest.update(bytes.subspan(begin, std::min(piece, bytes.size() - begin)));
    }
    return digest.value();
  };
  const uint32_t whole = crc(text.size());
  EXPECT_EQ(crc(1), whole);
  EXPECT_EQ(crc(333), whole);
  for (size_t bit = 0; bit < 8 * text.size(); bit += 97) {
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(crc(100), whole) << "bit " << bit;
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << (bit % 8)));
  }
}

}  // namespace
}  // namespace molora
