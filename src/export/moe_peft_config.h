// adapter_config.json as MoE-PEFT (PyPI moe_peft) and MixLoRA (PyPI mixlora) write and read it, of
// two members of the family:
//   MIXLORA  experts on the MLP, which are whole MLPs with one router (adapter.router.scope block),
//            plain LoRA on the attention; read by both packages, with the gate top_p by moe_peft
//   MOLA     experts with a router each on any linear; read by moe_peft
// Their tensors lie beside it in adapter_model.bin (export/published_names.h).
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "export/config_fields.h"
#include "run_config.pb.h"

namespace molora {

// Whether peft_type is one of these.
bool is_moe_peft_config(const ConfigFields& fields);

// Throws: DataError with file, field, what was expected and what was found; what would change the
// result and is not known here is refused with its name.
AdapterConfig read_moe_peft_config(const ConfigFields& fields);

// REQUIRES: check_export() of the form (export/export_format.h).
nlohmann::json moe_peft_config(const AdapterConfig& adapter, const std::string& base_model);

}  // namespace molora
