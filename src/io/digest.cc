#include "io/digest.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <openssl/evp.h>
#include <xxhash.h>

#include "base/check.h"

namespace molora {

namespace {

std::string digits(XXH128_hash_t hash) {
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

struct Sha256::Context {
  EVP_MD_CTX* value = EVP_MD_CTX_new();
  Context() = default;
  ~Context() { EVP_MD_CTX_free(value); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  Context(Context&&) = delete;
  Context& operator=(Context&&) = delete;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  MOLORA_CHECK(context_->value != nullptr);
  MOLORA_CHECK_EQ(EVP_DigestInit_ex(context_->value, EVP_sha256(), nullptr), 1);
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  MOLORA_CHECK_EQ(EVP_DigestUpdate(context_->value, bytes.data(), bytes.size()), 1);
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  MOLORA_CHECK_EQ(EVP_DigestFinal_ex(context_->value, digest.data(), &length), 1);
  return fmt::format("{:02x}", fmt::join(digest.begin(), digest.begin() + length, ""));
}

std::string sha256_hex(std::string_view text) {
  Sha256 digest;
  digest.update(text);
  return digest.hex();
}

void Crc32c::update(std::span<const std::byte> bytes) {
  // The library takes an int, and only reads through its pointer.
  constexpr size_t kMost = size_t{1} << 30;
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kMost));
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(piece.data()));
    state_ = crc32_iscsi(data, static_cast<int>(piece.size()), state_);
    bytes = bytes.subspan(piece.size());
  }
}

struct Xxh3::State {
  XXH3_state_t* value = XXH3_createState();
  State() = default;
  ~State() { XXH3_freeState(value); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  State(State&&) = delete;
  State& operator=(State&&) = delete;
};

Xxh3::Xxh3() : state_(std::make_unique<State>()) {
  MOLORA_CHECK(state_->value != nullptr);
  MOLORA_CHECK(XXH3_128bits_reset(state_->value) == XXH_OK);
}

Xxh3::~Xxh3() = default;

void Xxh3::update(std::span<const std::byte> bytes) {
  MOLORA_CHECK(XXH3_128bits_update(state_->value, bytes.data(), bytes.size()) == XXH_OK);
}

std::string Xxh3::hex() const { return digits(XXH3_128bits_digest(state_->value)); }

std::string xxh3_hex(std::span<const std::byte> bytes) {
  return digits(XXH3_128bits(bytes.data(), bytes.size()));
}

}  // namespace molora
