#include "export/export_record.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/file.h"
#include "io/strict_json.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr int kVersion = 1;
constexpr uint64_t kMaxBytes = uint64_t{16} << 20;

std::string text_of(const json& object, const char* field, const std::filesystem::path& path) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_string()) {
    throw DataError(fmt::format("{}: {}: expected a text, got {}", path.string(), field,
                                found == object.end() ? "nothing" : json_excerpt(found->dump())));
  }
  return found->get<std::string>();
}

}  // namespace

bool has_export_record(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / kExportRecordName);
}

void write_export_record(const ExportRecord& record, const std::filesystem::path& folder) {
  const json object = {{"version", kVersion},
                       {"format", export_format_name(record.format)},
                       {"molora", record.molora_version},
                       {"base_fingerprint", record.base_fingerprint},
                       {"architecture", record.architecture},
                       {"run_config", record.run_config},
                       {"tolerance", record.tolerance}};
  write_file_atomic(folder / kExportRecordName, object.dump(1) + "\n");
}

ExportRecord read_export_record(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kExportRecordName;
  const json object = parse_json_object(read_file(path, kMaxBytes), path.string());
  if (object.value("version", json()) != kVersion) {
    throw DataError(
        fmt::format("{}: version: expected {}, got {}; it was written by another molora",
                    path.string(), kVersion, object.value("version", json()).dump()));
  }
  ExportRecord record;
  const std::string format = text_of(object, "format", path);
  const auto known = export_format_from_name(format);
  if (!known) {
    throw DataError(fmt::format("{}: format: expected peft, ming, mixlora, mola or merged, got {}",
                                path.string(), json_excerpt(format)));
  }
  record.format = *known;
  record.molora_version = text_of(object, "molora", path);
  record.base_fingerprint = text_of(object, "base_fingerprint", path);
  record.architecture = text_of(object, "architecture", path);
  record.run_config = text_of(object, "run_config", path);
  const json tolerance = object.value("tolerance", json());
  if (!tolerance.is_number() || !(tolerance.get<double>() > 0.0)) {
    throw DataError(fmt::format("{}: tolerance: expected a number above 0, got {}", path.string(),
                                tolerance.dump()));
  }
  record.tolerance = tolerance.get<double>();
  return record;
}

}  // namespace molora
