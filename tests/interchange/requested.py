"""The Python side of a test: requests and answers, one JSON object a line each."""
import json
import sys
import traceback


def answer_requests(actions):
    """Calls actions[request["do"]] with the rest of each request, until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = actions[request.pop("do")](**request)
        except Exception:  # told to the test, which fails by it
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
