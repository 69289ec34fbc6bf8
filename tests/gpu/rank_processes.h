// Several processes of one program without MPI: a machine with GPUs may have none.
#pragma once

#include <pthread.h>

#include <functional>

#include <nccl.h>

namespace molora::testing {

// What the processes of a job share.
struct SharedPage {
  static constexpr int kIds = 4;
  pthread_barrier_t barrier;
  ncclUniqueId ids[size_t{kIds}];

  // Returns when all processes have come here.
  void meet() { pthread_barrier_wait(&barrier); }
};

struct RankProcess {
  int rank = 0;
  int size = 1;
  int gpu = 0;
  bool shares_gpu = false;
  SharedPage* page = nullptr;
};

// Runs `work` in `ranks` processes, rank R on GPU R % gpus; ranks that share one get what lets NCCL
// take them for ranks of separate hosts (NCCL_HOSTID). Returns how many did not end with 0; when
// one does not, or the limit is over, the others are killed. REQUIRES: no CUDA call was made
// before.
int run_ranks(int ranks, int gpus, int limit_seconds,
              const std::function<int(const RankProcess&)>& work);

}  // namespace molora::testing
