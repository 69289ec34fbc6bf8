#include "io/file_lock.h"

#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;

TEST(FileLock, IsHeldByOneAtATimeAndNamesTheHolder) {
  const TempFolder folder;
  std::optional<FileLock> first(std::in_place, folder / "lock");
  EXPECT_THROW_WITH(FileLock(folder / "lock"), IoError, "lock: held by process ",
                    std::to_string(::getpid()));
  first.reset();
  const FileLock second(folder / "lock");
}

TEST(FileLock, EndsWithAProcessThatIsKilled) {
  const TempFolder folder;
  const auto path = folder / "lock";
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const FileLock lock(path);
    [[maybe_unused]] const ssize_t put = ::write(ready[1], "x", 1);
    ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THROW_WITH(FileLock{path}, IoError, fmt::format("held by process {} on ", child));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const FileLock lock(path);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(FileLock, APlaceThatCannotHoldItIsNamed) {
  const TempFolder folder;
  EXPECT_THROW_WITH(FileLock(folder / "no/lock"), IoError, "no/lock: cannot open", "No such file");
}

}  // namespace
}  // namespace molora
