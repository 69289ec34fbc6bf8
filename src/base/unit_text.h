// Numbers as people read them: three digits and a unit.
#pragma once

#include <cstdint>
#include <string>

namespace molora {

std::string bytes_text(double bytes);      // "0", "12.0 B", "1.50 KiB", "330 GiB"
std::string flops_text(double flops);      // "0", "12.0 MFLOP", "1.51 PFLOP"
std::string seconds_text(double seconds);  // "0", "5.88 us", "351 ms", "1.00 s"

// 1234567 -> "1,234,567".
std::string grouped_digits(int64_t number);

}  // namespace molora
