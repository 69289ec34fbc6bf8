// How a report page looks, and what it does under the pointer.
#pragma once

#include <string>

namespace molora {

// The style sheet: light, dark (by the system's wish or the page's own choice), narrow, printed.
std::string page_style();

// Shows the values of the line charts at the pointer, or at the arrow keys. Nothing else needs it.
std::string page_script();

}  // namespace molora
