// In how many equal parts a number of things can be shared out, for messages that say what would
// work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace molora {

// Every number that divides `number`, ascending. REQUIRES: number > 0.
std::vector<int64_t> divisors(int64_t number);

// "1", "1 or 2", "1, 2 or 4".
std::string alternatives(const std::vector<int64_t>& numbers);

}  // namespace molora
