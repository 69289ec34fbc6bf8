#include "watch/nvtx_range.h"

#ifdef MOLORA_HAS_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

namespace molora {

#ifdef MOLORA_HAS_NVTX

namespace {

// None without a profiler: NVTX then has nobody to ask for one. The first call in the process finds
// out, and the profiler owns it.
nvtxDomainHandle_t domain() {
  static nvtxDomainHandle_t const handle = nvtxDomainCreateA("molora");
  return handle;
}

}  // namespace

bool begin_nvtx_range(const WorkPlace& place) {
  if (domain() == nullptr) return false;
  const std::string text = place_text(place);
  nvtxEventAttributes_t range{};
  range.version = NVTX_VERSION;
  range.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  range.messageType = NVTX_MESSAGE_TYPE_ASCII;
  range.message.ascii = text.c_str();
  nvtxDomainRangePushEx(domain(), &range);
  return true;
}

void end_nvtx_range() { nvtxDomainRangePop(domain()); }

#else

bool begin_nvtx_range(const WorkPlace& /*place*/) { return false; }

void end_nvtx_range() {}

#endif

}  // namespace molora
