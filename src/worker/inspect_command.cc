// The inspect command: what is in a checkpoint, or what is different in two.
#include "io/file.h"
#include "worker/commands.h"
#include "worker/console.h"
#include "worker/inspect_report.h"
#include "worker/together.h"

namespace molora {

ExitCode run_inspect(const InspectArguments& arguments, Communicator& world) {
  together(world, [&] {
    if (world.rank() != 0) return;
    FileSystem& files = local_files();
    const std::filesystem::path first = step_to_inspect(files, arguments.path);
    const std::filesystem::path second =
        arguments.other.empty() ? arguments.other : step_to_inspect(files, arguments.other);
    const InspectReport report = make_inspect_report(files, first, second);
    if (!arguments.json_path.empty()) {
      write_file_atomic(arguments.json_path, inspect_json(report).dump(1) + "\n");
    }
    print(inspect_text(report, arguments));
  });
  return ExitCode::kDone;
}

}  // namespace molora
