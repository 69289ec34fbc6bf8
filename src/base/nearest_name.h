// "Did you mean": the candidate closest to a mistyped name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace molora {

// The candidate with the smallest edit distance to `name` (insertions, deletions, replacements and
// swaps of neighbours cost 1 each; case costs nothing). Empty when nothing is near enough to be
// helpful: more than a third of the longer name, and more than 2, would have to change, or all of
// `name`. Ties go to the earlier candidate.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace molora
