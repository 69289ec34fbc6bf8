// Digests: SHA-256 to name content, CRC-32C and XXH3 to notice that bytes changed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace molora {

// SHA-256 (FIPS 180-4) over bytes given in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  Sha256(Sha256&&) = delete;
  Sha256& operator=(Sha256&&) = delete;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }
  // 64 hexadecimal digits. REQUIRES: called once, last.
  std::string hex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string sha256_hex(std::string_view text);

// CRC-32C (Castagnoli polynomial, RFC 3720) over bytes given in pieces.
class Crc32c {
 public:
  void update(std::span<const std::byte> bytes);
  // Of all bytes so far.
  uint32_t value() const { return ~state_; }

 private:
  uint32_t state_ = ~uint32_t{0};
};

// XXH3 of 128 bits over bytes given in pieces: fast enough for whole models, not cryptographic.
class Xxh3 {
 public:
  Xxh3();
  ~Xxh3();
  Xxh3(const Xxh3&) = delete;
  Xxh3& operator=(const Xxh3&) = delete;
  Xxh3(Xxh3&&) = delete;
  Xxh3& operator=(Xxh3&&) = delete;

  void update(std::span<const std::byte> bytes);
  // 32 hexadecimal digits over all bytes so far.
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The same over bytes that lie together.
std::string xxh3_hex(std::span<const std::byte> bytes);

}  // namespace molora
