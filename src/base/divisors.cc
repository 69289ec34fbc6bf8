#include "base/divisors.h"

#include "base/check.h"

namespace molora {

std::vector<int64_t> divisors(int64_t number) {
  MOLORA_CHECK(number > 0, "divisors of {}", number);
  std::vector<int64_t> small;
  std::vector<int64_t> large;
  for (int64_t divisor = 1; divisor * divisor <= number; ++divisor) {
    if (number % divisor != 0) continue;
    small.push_back(divisor);
    if (divisor * divisor != number) large.push_back(number / divisor);
  }
  small.insert(small.end(), large.rbegin(), large.rend());
  return small;
}

std::string alternatives(const std::vector<int64_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) text += i + 1 == numbers.size() ? " or " : ", ";
    text += std::to_string(numbers[i]);
  }
  return text;
}

}  // namespace molora
