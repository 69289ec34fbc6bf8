// Text from files on its way into an HTML page: nothing of it is ever read as markup.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace molora {

// `text` for an element's content or a quoted attribute: & < > " ' are escaped, bytes that are no
// UTF-8 become U+FFFD, control characters but tab and line feed too.
std::string html_escaped(std::string_view text);

// JSON for the content of a <script> element: without '<', which could end it.
std::string json_in_script(const nlohmann::json& value);

// The beginning of a text, at most so many characters of UTF-8, with "..." when it was longer.
std::string shortened(std::string_view text, size_t most);

}  // namespace molora
