#include "gpu/rank_processes.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>
#include <vector>

namespace molora::testing {

namespace {

SharedPage* make_page(int ranks) {
  void* memory =
      mmap(nullptr, sizeof(SharedPage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    std::exit(1);
  }
  auto* page = new (memory) SharedPage;
  pthread_barrierattr_t attributes;
  pthread_barrierattr_init(&attributes);
  pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&page->barrier, &attributes, static_cast<unsigned>(ranks));
  return page;
}

void share_gpu(int rank) {
  setenv("NCCL_HOSTID", ("rank" + std::to_string(rank)).c_str(), 1);
  setenv("NCCL_SOCKET_IFNAME", "lo", 0);
  setenv("NCCL_NVLS_ENABLE", "0", 0);
  // Collectives of all ranks must fit on the GPU together.
  setenv("NCCL_MAX_CTAS", "2", 0);
}

[[noreturn]] void run_child(const RankProcess& process,
                            const std::function<int(const RankProcess&)>& work) {
  if (process.shares_gpu) share_gpu(process.rank);
  int code = 1;
  try {
    code = work(process);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d of %d: %s\n", process.rank, process.size, error.what());
  }
  std::fflush(nullptr);
  _exit(code);
}

}  // namespace

int run_ranks(int ranks, int gpus, int limit_seconds,
              const std::function<int(const RankProcess&)>& work) {
  SharedPage* page = make_page(ranks);
  std::vector<pid_t> running;
  std::fflush(nullptr);
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t child = fork();
    if (child == 0) run_child({rank, ranks, rank % gpus, ranks > gpus, page}, work);
    if (child > 0) running.push_back(child);
  }
  int failed = ranks - static_cast<int>(running.size());
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(limit_seconds);
  while (!running.empty()) {
    int status = 0;
    const pid_t done = waitpid(-1, &status, WNOHANG);
    if (done > 0) {
      std::erase(running, done);
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) ++failed;
    }
    const bool is_late = std::chrono::steady_clock::now() > end;
    if (is_late) std::fprintf(stderr, "not done after %d s\n", limit_seconds);
    if (failed > 0 || is_late) {
      for (const pid_t child : running) kill(child, SIGKILL);
    }
    if (done == 0) std::this_thread::sleep_for(std::chrono::milliseconds(is_late ? 200 : 5));
  }
  munmap(page, sizeof(SharedPage));
  return failed;
}

}  // namespace molora::testing
