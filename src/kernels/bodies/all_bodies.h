// Every kernel of the program, for what goes through all of them.
#pragma once

#include "kernels/bodies/adamw_body.h"
#include "kernels/bodies/combine_rows_body.h"
#include "kernels/bodies/dropout_body.h"
#include "kernels/bodies/exchange_index_body.h"
#include "kernels/bodies/gate_scale_body.h"
#include "kernels/bodies/gather_rows_body.h"
#include "kernels/bodies/rms_norm_body.h"
#include "kernels/bodies/rotary_body.h"
#include "kernels/bodies/router_body.h"
#include "kernels/bodies/router_statistics_body.h"

#define MOLORA_ALL_BODIES(use)                                                    \
  MOLORA_ROUTER_BODIES(use)                                                       \
  MOLORA_ROUTER_STATISTICS_BODIES(use)                                            \
  MOLORA_GATHER_ROWS_BODIES(use)                                                  \
  MOLORA_EXCHANGE_INDEX_BODIES(use)                                               \
  MOLORA_COMBINE_ROWS_BODIES(use)                                                 \
  MOLORA_GATE_SCALE_BODIES(use)                                                   \
  MOLORA_DROPOUT_BODIES(use) MOLORA_ADAMW_BODIES(use) MOLORA_RMS_NORM_BODIES(use) \
      MOLORA_ROTARY_BODIES(use)
