// molora_export.json: what an exported folder is, for those who load it here again.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "export/export_format.h"

namespace molora {

constexpr std::string_view kExportRecordName = "molora_export.json";

struct ExportRecord {
  ExportFormat format = ExportFormat::kPeft;
  std::string molora_version;
  // Of the base model that the adapter was trained on; of a merged folder, of that before.
  std::string base_fingerprint;
  std::string architecture;  // model/architecture_text.h
  std::string run_config;    // the resolved configuration as YAML, with this adapter
  // Within which the logits of a fresh process have to be (export/logits_check.h).
  double tolerance = 0.0;
};

bool has_export_record(const std::filesystem::path& folder);
// Throws: IoError.
void write_export_record(const ExportRecord& record, const std::filesystem::path& folder);
// Throws: DataError with file and field; IoError.
ExportRecord read_export_record(const std::filesystem::path& folder);

}  // namespace molora
