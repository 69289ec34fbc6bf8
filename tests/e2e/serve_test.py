"""`molora serve` as its users meet it: the real openai client against adapters that were trained a moment ago."""
import concurrent.futures
import http.client
import itertools
import json
import random
import re
import signal
import subprocess
import time
import unittest
import urllib.request

from molora_job import EXIT_CONFIG, EXIT_DONE, ROOT, Job
from openai_client import import_openai

PROMPTS = ["What is asthma?", "\u54b3\u55fd\u600e\u4e48\u529e\uff1f", "Name a drug for high blood pressure.",
           "\u4ec0\u4e48\u662f\u7cd6\u5c3f\u75c5\uff1f", "hi", "How is malaria spread, and how is it prevented?"]
# In fp64 no two logits are near enough for the rounding of another batch to swap them.
PRECISION = "model.precision=fp64"
TOKENS = 20


class Server:
    """A server that has started; `name` -> folder of each adapter."""
    def __init__(self, case, *arguments, token="unused"):
        self.process = subprocess.Popen(case.command("serve", *arguments, "--port", 0), cwd=ROOT, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self.process.stdout.readline()
        found = re.fullmatch(r"serving (.+) on (http://127\.0\.0\.1:(\d+))/v1\n", line)
        if not found:
            raise AssertionError(f"{line}\n{self.process.communicate(timeout=60)}")
        self.names, self.address, self.port = found[1].split(", "), found[2], int(found[3])
        # No second try: a request that is lost is to be seen.
        self.client = case.openai.OpenAI(base_url=self.address + "/v1", api_key=token, max_retries=0, timeout=120)

    def stop(self):
        """Asks the server to stop; returns its exit code and its log."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=120)
        self.client.close()
        return self.process.returncode, log

    def read(self, path):
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            return answer.read().decode()

    def counter(self, name):
        return int(re.search(rf"^molora_{name} (\d+)$", self.read("/metrics"), re.MULTILINE)[1])

    def wait_until(self, is_so, what):
        deadline = time.monotonic() + 60
        while not is_so():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within 60 s: {what}\n{self.read('/metrics')}")
            time.sleep(0.01)

    def ask(self, model, prompt, **options):
        """The greedy answer, whole."""
        answer = self.client.chat.completions.create(
            **{"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0,
               "max_tokens": TOKENS, **options})
        return answer.choices[0].message.content

    def stream(self, model, prompt, **options):
        return self.client.chat.completions.create(
            **{"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0,
               "max_tokens": TOKENS, "stream": True, **options})

    def ask_streamed(self, model, prompt, **options):
        chunks = list(self.stream(model, prompt, **options))
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


class ServeCase(Job):
    """Two runs of one base, trained once for all tests of a class."""
    openai = None  # the package

    @classmethod
    def setUpClass(cls):
        cls.openai = import_openai()
        cls.maker = Job()
        cls.maker.openai = cls.openai
        cls.addClassCleanup(cls.maker.doCleanups)
        cls.maker.setUp()
        for name, rate in (("one", 0.02), ("two", 0.05)):
            cls.maker.train(name, 1, PRECISION, f"train.learning_rate={rate}", "train.max_steps=3")
        cls.runs = [cls.maker.folder / name for name in ("one", "two")]

    @classmethod
    def start_server(cls, *arguments, **options):
        server = Server(cls.maker, *arguments, **options)
        cls.addClassCleanup(lambda: server.process.poll() is None and server.process.kill())
        for stream in (server.process.stdout, server.process.stderr):
            cls.addClassCleanup(stream.close)
        return server

    def generated(self, path, *arguments):
        """The answers of `molora generate` to PROMPTS."""
        prompts = [word for prompt in PROMPTS for word in ("-p", prompt)]
        out, _ = self.run_molora("generate", path, *prompts, "--max-new-tokens", TOKENS, *arguments)
        parts = re.split("|".join(f"(?:^|(?<=\n))### {re.escape(prompt)}\n" for prompt in PROMPTS), out)
        self.assertEqual(len(parts), len(PROMPTS) + 1, out)
        return [part[:-1] for part in parts[1:]]

    def refusal(self, status, action):
        """The error of OpenAI's form with which the server refuses."""
        with self.assertRaises(self.openai.APIStatusError) as raised:
            action()
        self.assertEqual(raised.exception.status_code, status, raised.exception)
        error = raised.exception.response.json()["error"]
        self.assertLessEqual({"message", "type", "param", "code"}, set(error))
        return error


class ServeE2E(ServeCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.start_server(*cls.runs)

    def test_lists_the_base_and_the_adapters(self):
        self.assertEqual([model.id for model in self.server.client.models.list()], ["base", "one", "two"])
        self.assertEqual(self.server.client.models.retrieve("two").id, "two")
        self.assertEqual(json.loads(self.server.read("/health")), {"status": "ok"})

    def test_whole_streamed_and_generated_answers_are_the_same(self):
        answers = {}
        for model, path, arguments in (("one", self.runs[0], []), ("two", self.runs[1], []),
                                       ("base", self.runs[0], ["--base"])):
            answers[model] = [self.server.ask(model, prompt) for prompt in PROMPTS]
            self.assertEqual(answers[model], [self.server.ask_streamed(model, prompt) for prompt in PROMPTS])
            self.assertEqual(answers[model], self.generated(path, *arguments))
        for a, b in itertools.combinations(answers.values(), 2):
            self.assertNotEqual(a, b, "another adapter, the same answers")

    def test_draws_are_those_of_generate_with_the_same_seed(self):
        expected, _ = self.run_molora("generate", self.runs[0], "-p", PROMPTS[0], "--max-new-tokens", TOKENS,
                                      "--temperature", 0.8, "--seed", 3, "--top-p", 0.9)
        options = {"temperature": 0.8, "seed": 3, "top_p": 0.9}
        self.assertEqual(self.server.ask("one", PROMPTS[0], **options), expected[:-1])
        answer = self.server.client.chat.completions.create(
            model="one", messages=[{"role": "user", "content": PROMPTS[0]}], max_tokens=TOKENS, n=4, **options)
        texts = [choice.message.content for choice in answer.choices]
        self.assertEqual(texts[0], expected[:-1])
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2, 3])
        self.assertGreater(len(set(texts)), 1)
        streamed = ["", "", "", ""]
        for chunk in self.server.stream("one", PROMPTS[0], n=4, **options):
            streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        self.assertEqual(streamed, texts)

    def test_a_conversation_and_a_plain_text_are_continued(self):
        messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Hello"},
                    {"role": "user", "content": [{"type": "text", "text": PROMPTS[0]}]}]
        answer = self.server.client.chat.completions.create(model="two", messages=messages, temperature=0,
                                                            max_completion_tokens=TOKENS)
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertNotEqual(answer.choices[0].message.content, self.server.ask("two", PROMPTS[0]))
        text = self.server.client.completions.create(model="one", prompt="Asthma is", temperature=0, max_tokens=TOKENS)
        expected, _ = self.run_molora("generate", self.runs[0], "--raw", "-p", "Asthma is", "--max-new-tokens", TOKENS)
        self.assertEqual(text.choices[0].text, expected[:-1])

    def test_stop_strings_usage_and_reasons(self):
        whole = self.server.ask("one", PROMPTS[0])
        stop = whole[len(whole) // 2:len(whole) // 2 + 3]
        cut = whole[:whole.index(stop)]
        for stops in (stop, ["\u0001never", stop]):
            self.assertEqual(self.server.ask("one", PROMPTS[0], stop=stops), cut)
            self.assertEqual(self.server.ask_streamed("one", PROMPTS[0], stop=stops), cut)
        options = {"model": "one", "messages": [{"role": "user", "content": PROMPTS[0]}], "temperature": 0}
        create = self.server.client.chat.completions.create
        self.assertEqual(create(**options, max_tokens=TOKENS, stop=stop).choices[0].finish_reason, "stop")
        three = create(**options, max_tokens=3)
        self.assertEqual(three.choices[0].finish_reason, "length")
        self.assertEqual(three.usage.completion_tokens, 3)
        self.assertEqual(three.usage.total_tokens, three.usage.prompt_tokens + 3)
        *others, last = list(create(**options, max_tokens=3, stream=True, stream_options={"include_usage": True}))
        self.assertEqual(last.usage, three.usage)
        self.assertEqual([chunk.usage for chunk in others], [None] * len(others))
        self.assertEqual(others[-1].choices[0].finish_reason, "length")

    def test_wrong_requests_are_refused_with_what_is_wrong(self):
        ask = self.server.ask
        tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        for field, options in {"tools": {"tools": tools}, "logprobs": {"logprobs": True},
                               "response_format": {"response_format": {"type": "json_object"}},
                               "logit_bias": {"logit_bias": {"5": 1}}, "n": {"n": 99},
                               "temperature": {"temperature": 3}, "max_tokens": {"max_tokens": 100000},
                               "frequency_penalty": {"frequency_penalty": 1},
                               "guided": {"extra_body": {"guided": "x"}}}.items():
            self.assertEqual(self.refusal(400, lambda: ask("one", "Hi", **options))["param"], field)
        error = self.refusal(400, lambda: ask("one", "long " * 5000))
        self.assertEqual(error["code"], "context_length_exceeded")
        error = self.refusal(404, lambda: ask("three", "Hi"))
        self.assertEqual(error["code"], "model_not_found")
        self.assertIn("base, one, two", error["message"])
        self.refusal(400, lambda: self.server.client.chat.completions.create(model="one", messages=[]))
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        self.addCleanup(connection.close)
        for method, path, body, status in (("GET", "/v1/chat/completions", None, 405), ("GET", "/v2", None, 404),
                                           ("POST", "/v1/chat/completions", "{", 400)):
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            self.assertEqual(answer.status, status)
            self.assertIn("message", json.loads(answer.read())["error"])

    def test_200_requests_at_once_get_their_answers(self):
        wanted = list(itertools.product(self.server.names, PROMPTS))
        alone = {question: self.server.ask(*question) for question in wanted}
        questions = random.Random(5).choices(wanted, k=200)
        ways = [self.server.ask, self.server.ask_streamed]
        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            asked = [pool.submit(ways[i % 2], *question) for i, question in enumerate(questions)]
            answers = [future.result(timeout=120) for future in asked]
        self.assertEqual(answers, [alone[question] for question in questions])
        self.assertEqual(self.server.counter("running_sequences"), 0)

    def test_a_client_that_goes_away_frees_its_place(self):
        before = self.server.counter("abandoned_sequences_total")
        stream = self.server.stream("one", PROMPTS[0], n=8, temperature=2, max_tokens=300)
        next(iter(stream))
        self.server.wait_until(lambda: self.server.counter("running_sequences") > 0, "a place is taken")
        stream.close()
        self.server.wait_until(lambda: self.server.counter("running_sequences") == 0, "the places are free")
        self.assertGreater(self.server.counter("abandoned_sequences_total"), before)


    def test_token_limits_and_the_end(self):
        token = self.folder / "token"
        token.write_text("s3cret\n")
        server = self.start_server("--name", f"mine={self.runs[0]}", "--token-file", token, "--max-batch", 8,
                                   "--max-waiting", 0, "--max-request-bytes", 20000, "--grace", 300, token="s3cret")
        self.assertEqual(server.names, ["base", "mine"])
        self.assertTrue(server.ask("mine", "Hi"))
        other = server.client.with_options(api_key="guess")
        self.refusal(401, other.models.list)
        self.assertEqual(json.loads(server.read("/health")), {"status": "ok"})
        self.refusal(413, lambda: server.ask("mine", "x" * 1_000_000))
        # All places taken by one long answer: the next is refused, and so it is when the server is to stop,
        # which lets the long one come to its end.
        stream = iter(server.stream("mine", PROMPTS[0], n=8, temperature=2, max_tokens=200))
        next(stream)
        self.assertEqual(self.refusal(429, lambda: server.ask("mine", "Hi"))["code"], "queue_full")
        server.process.send_signal(signal.SIGTERM)
        code = "queue_full"
        while code == "queue_full":
            with self.assertRaises(self.openai.APIStatusError) as raised:
                server.ask("mine", "Hi")
            code = raised.exception.response.json()["error"]["code"]
        self.assertEqual((raised.exception.status_code, code), (503, "stopping"))
        ends = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices[0].finish_reason]
        self.assertEqual(len(ends), 8, "each of the answers has come to its end")
        _, log = server.process.communicate(timeout=300)
        self.assertEqual(server.process.returncode, EXIT_DONE, log)
        self.assertIn("asked to stop", log)

    def test_what_cannot_be_served_is_refused_before_anything_is_loaded(self):
        def refused(*arguments):
            return self.run_molora("serve", *arguments, expect=EXIT_CONFIG)[1]
        self.assertIn("give it a token", refused(self.runs[0], "--host", "0.0.0.0"))
        self.assertIn("the name 'one' is taken", refused(self.runs[0], "--name", f"one={self.runs[1]}"))
        self.assertIn("there is nothing to serve", refused())
        self.assertIn("expected NAME=PATH", refused("--name", "x"))

    def test_adapters_of_another_base_are_refused(self):
        self.train("other", 1, "model.path=tests/assets/models/stories260k", "data.chat_template=llama2", PRECISION,
                   "train.max_steps=1")
        _, log = self.run_molora("serve", self.runs[0], self.folder / "other", expect=EXIT_CONFIG)
        self.assertIn("was trained on a base model with fingerprint", log)
        self.train("narrow", 1, "train.max_steps=1")
        _, log = self.run_molora("serve", self.runs[0], self.folder / "narrow", expect=EXIT_CONFIG)
        self.assertIn("has model.precision fp32, the first of the adapters has fp64", log)


class ServeRanksE2E(ServeCase):
    def test_ranks_give_the_answers_of_one(self):
        one = self.start_server(*self.runs)
        expected = [one.ask(model, prompt) for model in one.names for prompt in PROMPTS]
        self.assertEqual(one.stop()[0], EXIT_DONE)
        for layout in (["parallel.tensor_parallel=2"], ["parallel.expert_parallel=2", "parallel.exchange=tokens"]):
            sets = [word for field in layout for word in ("--set", field)]
            server = self.start_server(*self.runs, "--ranks", 2, *sets)
            with concurrent.futures.ThreadPoolExecutor(18) as pool:
                asked = [pool.submit(server.ask, model, prompt) for model in server.names for prompt in PROMPTS]
                self.assertEqual([future.result(timeout=120) for future in asked], expected, layout)
            code, log = server.stop()
            self.assertEqual(code, EXIT_DONE, log)


class ServeLoadE2E(ServeCase):
    def test_many_clients_of_which_some_go_away(self):
        server = self.start_server(*self.runs, "--max-batch", 7)
        wanted = list(itertools.product(server.names, PROMPTS))
        alone = {question: server.ask(*question) for question in wanted}

        def ask(number):
            question = wanted[number % len(wanted)]
            if number % 3 == 0:
                stream = server.stream(*question, max_tokens=200, temperature=2)
                next(iter(stream))
                stream.close()
                return True
            way = server.ask if number % 3 == 1 else server.ask_streamed
            return way(*question) == alone[question]

        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            self.assertEqual(list(pool.map(ask, range(2000))), [True] * 2000)
        server.wait_until(lambda: server.counter("running_sequences") + server.counter("waiting_sequences") == 0,
                          "nothing is left")
        self.assertEqual(server.stop()[0], EXIT_DONE)


if __name__ == "__main__":
    unittest.main()
