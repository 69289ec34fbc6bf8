// Lines of other programs made fit to be shown and kept as text: whatever is not UTF-8, and every
// control character but tabs and colours, becomes visible as \xNN.
#pragma once

#include <string>
#include <string_view>

namespace molora {

// Of one line without its end.
std::string visible_text(std::string_view line);

}  // namespace molora
