"""Evaluating as the field does: scores of tasks, exams in three ways, items, comparisons with significance."""
import json
import unittest

from molora_job import EXIT_CONFIG, Job

DEV = "tests/assets/data/multitask/dev.jsonl"
TASKS = {"medquad", "mmlu_medical", "pubmedqa", "medqa", "medmcqa", "zh_consult", "zh_department"}


def blue(dataset, number, question, target, choices):
    """A line in PromptCBLUE's form."""
    return json.dumps({"input": question, "target": target, "answer_choices": choices, "task_type": "x",
                       "task_dataset": dataset, "sample_id": f"{dataset}-{number}"})


# Entities, labels, a reply, in PromptCBLUE's wordings; and exams in MING's form, one with several right letters.
BENCHMARK = [line for n, word in enumerate(("\u54b3\u55fd", "\u5934\u75db", "\u53d1\u70ed")) for line in (
    blue("CMeEE-V2", n, f"\u627e\u51fa\u5b9e\u4f53\uff1a\n{word}\n\u7b54\uff1a",
         "\u4e0a\u8ff0\u53e5\u5b50\u4e2d\u7684\u5b9e\u4f53\u5305\u542b\uff1a\n"
         f"\u75c7\u72b6\u5b9e\u4f53\uff1a{word}", ["\u75c7\u72b6"]),
    blue("KUAKE-IR", n, f"{word}\n\u9009\u9879\uff1a\u76f8\u5173\uff0c\u4e0d\u76f8\u5173\n\u7b54\uff1a",
         "\u76f8\u5173" if n % 2 else "\u4e0d\u76f8\u5173", ["\u76f8\u5173", "\u4e0d\u76f8\u5173"]),
    blue("MedDG", n, f"\u60a3\u8005\uff1a{word}\n\u7b54\uff1a", "\u591a\u559d\u6c34\u3002", None))]
BENCHMARK += [json.dumps({
    "id": f"ple-{n}", "task": "PLE", "eval": {"answer": answer, "type": "single" if len(answer) == 1 else "multiple"},
    "conversations": [{"from": "human", "value": f"Which {n}?\nA. one\nB. two\nC. three"},
                      {"from": "gpt", "value": f"For a reason.\nThe answer is {answer}."}]})
    for n, answer in enumerate(("A", "BC", "C", "B"))]


class EvaluateE2E(Job):
    def setUp(self):
        super().setUp()
        self.benchmark = self.folder / "benchmark.jsonl"
        self.benchmark.write_text("\n".join(BENCHMARK) + "\n")

    def evaluate(self, *arguments, data=DEV, name="items"):
        """Of the base model: (standard output, lines of the items, results)."""
        items, results = self.folder / f"{name}.jsonl", self.folder / f"{name}.json"
        out, _ = self.run_molora("eval", self.config, "--data", data, "--set", "data.max_length=512",
                                 "--items", items, "--json", results, *arguments)
        return out, [json.loads(line) for line in items.read_text().splitlines()], json.loads(results.read_text())

    def test_items_and_scores_are_the_same_on_any_number_of_ranks(self):
        arguments = ("--max-samples-per-task", 3, "--generate", 4)
        out, one, results = self.evaluate(*arguments)
        # A few are longer than the model's 512 positions and left out; the others keep their places.
        self.assertEqual(len(one), sum(result["samples"] for result in results))
        self.assertGreater(len(one), 15)
        self.assertEqual([item["index"] for item in one], sorted({item["index"] for item in one}))
        self.assertLessEqual(one[-1]["index"], 20)
        self.assertNotIn("not read", out)  # nothing that the columns of choices do not say
        for ranks in (2, 3):
            out_there, there, _ = self.evaluate(*arguments, "--ranks", ranks, name=f"ranks-{ranks}")
            self.assertEqual(out_there.split("\n\n")[0].splitlines()[1:3], out.splitlines()[1:3])
            for a, b in zip(one, there, strict=True):
                for key in ("loss", "loss_sum"):
                    self.assertAlmostEqual(a[key], b[key], delta=1e-4 * a[key])
                self.assertEqual({k: v for k, v in a.items() if "loss" not in k},
                                 {k: v for k, v in b.items() if "loss" not in k})
        # The totals are those of the items.
        for result in results:
            mine = [item for item in one if item["task"] == result["task"]]
            self.assertEqual(sum(item.get("correct", False) for item in mine), result.get("correct", 0))
            self.assertAlmostEqual(sum(item["loss_sum"] for item in mine) / sum(item["tokens"] for item in mine),
                                   result["loss"], places=6)

    def test_benchmark_tasks_are_read_and_scored(self):
        out, items, results = self.evaluate("--answers", "generate", "--generate", 12, data=self.benchmark)
        metrics = {result["task"]: result["score"]["metric"] for result in results}
        self.assertEqual(metrics, {"CMeEE-V2": "micro-F1", "KUAKE-IR": "weighted-F1", "MedDG": "ROUGE-L",
                                   "PLE": "accuracy"})
        self.assertEqual(len(items), 13)
        ner = [item for item in items if item["task"] == "CMeEE-V2"]
        self.assertEqual([item["expected"] for item in ner],
                         [[f'["{word}","\u75c7\u72b6"]'] for word in ("\u54b3\u55fd", "\u5934\u75db", "\u53d1\u70ed")])
        self.assertEqual(ner[0]["id"], "CMeEE-V2-0")
        exam = [item for item in items if item["task"] == "PLE"]
        self.assertEqual([item["expected"] for item in exam], [["A"], ["B", "C"], ["C"], ["B"]])
        self.assertEqual([item["type"] for item in exam], ["single", "multiple", "single", "single"])
        for item in exam:
            self.assertEqual(item["correct"], item["given"] == item["expected"])
        # What was not read is counted, in the table and for each task.
        for result in results:
            unread = sum(not item["parsed"] for item in items if item["task"] == result["task"])
            self.assertEqual(result["score"]["not_read"], unread)
        line = next(line for line in out.splitlines() if line.startswith("overall"))
        self.assertEqual(int(line.split()[-1]), sum(not item["parsed"] for item in items))
        mean = sum(result["score"]["value"] for result in results) / len(results)
        self.assertAlmostEqual(float(line.split()[3].rstrip("%")), 100 * mean, delta=0.051)
        # By likelihood, labels and exams have answers, free text has none.
        _, items, _ = self.evaluate(data=self.benchmark)
        self.assertEqual({item["task"] for item in items if "answer" in item}, {"KUAKE-IR", "PLE"})

    def test_parity_takes_unreadable_labels_as_the_reference_does(self):
        arguments = ("--answers", "generate", "--generate", 3)
        _, strict, _ = self.evaluate(*arguments, data=self.benchmark)
        _, parity, _ = self.evaluate(*arguments, "--parity", data=self.benchmark)
        unread = 0
        for a, b in zip(strict, parity, strict=True):
            self.assertEqual((a["answer"], a["parsed"]), (b["answer"], b["parsed"]))
            if a["task"] != "KUAKE-IR" or a["parsed"]:
                self.assertEqual(a["given"], b["given"])
                continue
            unread += 1
            self.assertEqual((a["given"], b["given"]), ([], [b["answer"].strip() or "\u76f8\u5173"]))
        self.assertGreater(unread, 0)

    def test_exams_are_answered_in_three_ways(self):
        ways = {}
        for way in ("likelihood", "biased", "generate"):
            out, items, _ = self.evaluate("--answers", way, "--generate", 1, "--max-samples-per-task", 4)
            ways[way] = [item for item in items if item["task"] in ("medqa", "medmcqa", "mmlu_medical")]
            self.assertEqual({item["answers"] for item in ways[way]}, {way})
            self.assertEqual(len(ways[way]), 12)
            self.assertEqual("not read" in out, way != "likelihood")
        # With 100 on their logits the letters are all that is likely: the same choice among them.
        self.assertEqual([item["given"] for item in ways["biased"]], [item["given"] for item in ways["likelihood"]])
        # Without, a model that has not learned exams says something else.
        self.assertLess(sum(item["parsed"] for item in ways["generate"]), 12)

    def test_a_comparison_says_what_is_more_than_chance(self):
        # Trained on what it is asked: its loss is lower, beyond doubt.
        self.train("run", 1, f"data.eval=[{DEV}]", "eval.max_samples_per_task=5", "data.max_length=512")
        path = self.folder / "comparison.json"
        out, _ = self.run_molora("eval", self.folder / "run", "--compare", "base", "--json", path, "--ranks", 2)
        compared = json.loads(path.read_text())
        self.assertEqual({row["task"] for row in compared["losses"]} | {"pubmedqa"}, TASKS | {"overall"})
        overall = compared["losses"][-1]
        self.assertEqual(overall["task"], "overall")
        self.assertGreater(overall["difference"], 0)  # the base has more
        self.assertGreater(overall["low"], 0)
        self.assertTrue(overall["significant"])
        self.assertIn("A is better", out)
        self.assertIn("not significant", out)
        self.assertIn(f"B: {self.folder / 'run'} (base)", out)
        # The same from files, without a model, and the other way round.
        for name, more in (("run", []), ("base", ["--base"])):
            self.run_molora("eval", self.folder / "run", "--items", self.folder / f"{name}.jsonl", *more)
        self.run_molora("eval", "--compare", self.folder / "base.jsonl", self.folder / "run.jsonl", "--json", path)
        for a, b in zip(compared["losses"], json.loads(path.read_text())["losses"], strict=True):
            self.assertAlmostEqual(a["difference"], -b["difference"], places=5)
            self.assertAlmostEqual(a["p"], b["p"], delta=0.01)
        # Nothing differs from itself.
        out, _ = self.run_molora("eval", "--compare", self.folder / "run.jsonl", self.folder / "run.jsonl")
        self.assertIn("Loss: in no task do A and B differ by more than chance explains.", out)

    def test_what_cannot_be_compared_is_refused(self):
        self.evaluate("--max-samples-per-task", 2, name="two")
        self.evaluate("--max-samples-per-task", 3, name="three")
        two, three = self.folder / "two.jsonl", self.folder / "three.jsonl"
        _, err = self.run_molora("eval", "--compare", two, three, expect=EXIT_CONFIG)
        self.assertIn("not of the same items", err)
        self.assertRegex(err, r"in the second only \([1-7] in all\)")
        _, err = self.run_molora("eval", "--compare", two, expect=EXIT_CONFIG)
        self.assertIn("two things after --compare", err)
        _, err = self.run_molora("eval", two, "--compare", two, three, expect=EXIT_CONFIG)
        self.assertIn("make three", err)
        _, err = self.run_molora("eval", "--compare", two, "base", expect=EXIT_CONFIG)
        self.assertIn("is a file of items", err)
        three.write_text("{}\n")
        _, err = self.run_molora("eval", "--compare", two, three, expect=EXIT_CONFIG)
        self.assertIn("three.jsonl:1: not a line of molora eval --items", err)


if __name__ == "__main__":
    unittest.main()
