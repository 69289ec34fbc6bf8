#include "io/secret.h"

#include <string>

#include <openssl/crypto.h>

#include "io/digest.h"

namespace molora {

// Digests have one length, so that the comparison says nothing about those of the secrets.
bool equal_secrets(std::string_view a, std::string_view b) {
  const std::string of_a = sha256_hex(a);
  const std::string of_b = sha256_hex(b);
  return CRYPTO_memcmp(of_a.data(), of_b.data(), of_a.size()) == 0;
}

}  // namespace molora
