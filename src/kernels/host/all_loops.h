// Every loop of the host kernels.
#pragma once

#include "kernels/host/adamw_loop.h"
#include "kernels/host/attention_loop.h"
#include "kernels/host/cross_entropy_loop.h"
#include "kernels/host/dropout_loop.h"
#include "kernels/host/gate_scale_loop.h"
#include "kernels/host/pair_sum_loop.h"
#include "kernels/host/rms_norm_loop.h"
#include "kernels/host/rotary_loop.h"
#include "kernels/host/router_loop.h"
#include "kernels/host/swiglu_loop.h"

#define MOLORA_ALL_LOOPS(use)  \
  MOLORA_ATTENTION_LOOPS(use)  \
  MOLORA_RMS_NORM_LOOPS(use)   \
  MOLORA_SWIGLU_LOOPS(use)     \
  MOLORA_ROTARY_LOOPS(use)     \
  MOLORA_GATE_SCALE_LOOPS(use) \
  MOLORA_ROUTER_LOOPS(use)     \
  MOLORA_ADAMW_LOOPS(use)      \
  MOLORA_DROPOUT_LOOPS(use) MOLORA_CROSS_ENTROPY_LOOPS(use) MOLORA_PAIR_SUM_LOOPS(use)
