#include "report/task_json.h"

namespace molora {

namespace {

double share(double part, int64_t whole) { return part / static_cast<double>(whole); }

}  // namespace

nlohmann::json task_results_json(const std::vector<TaskResult>& results) {
  nlohmann::json list = nlohmann::json::array();
  for (const TaskResult& result : results) {
    nlohmann::json object = {{"task", result.task()}, {"samples", result.samples()}};
    object["supervised"] = result.supervised();
    if (result.supervised() > 0) {
      object["loss"] = share(result.loss_sum(), result.supervised());
      object["token_accuracy"] =
          share(static_cast<double>(result.correct_tokens()), result.supervised());
    }
    if (result.questions() > 0) {
      object["questions"] = result.questions();
      object["correct"] = result.correct_questions();
      object["accuracy"] =
          share(static_cast<double>(result.correct_questions()), result.questions());
      object["chance"] = share(result.chance_questions(), result.questions());
    }
    if (result.has_generated()) {
      object["generated"] = result.generated();
      object["correct_generated"] = result.correct_generated();
      object["unnamed_generated"] = result.unnamed_generated();
    }
    list.push_back(std::move(object));
  }
  return list;
}

}  // namespace molora
