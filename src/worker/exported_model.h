// A folder that `molora export` or the Python world wrote, as a model to use.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "export/export_record.h"
#include "worker/resolved_config.h"

namespace molora {

// Whether the folder is an export of ours, or has an adapter_config.json.
bool is_exported_folder(const std::filesystem::path& folder);

// Its configuration: our own folders bring theirs, of others it is made of what adapter_config.json
// says, with defaults for the rest. What the two say of the adapter must agree.
// Throws: DataError, ConfigError, IoError.
ResolvedModel exported_model(const std::filesystem::path& folder,
                             const std::vector<std::string>& overrides);

}  // namespace molora
