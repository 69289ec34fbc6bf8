#!/usr/bin/env python3
"""Random cases for the scorers of src/eval with the answers of the packages that the field uses.

usage: scores_golden.py SEED NUMBER > golden_scores.jsonl
       NUMBER of cases of each kind; the stored file is: scores_golden.py 1 300

Needs the packages of scores_golden.txt. The first line names their versions; each other line is one case:
  labels      scikit-learn's macro and weighted precision, recall, F1 and accuracy, of references and answers; null is
              an answer that could not be read: a prediction of something that is no label. `times`: how often each
              item counts (sample_weight). Labels are those that occur; `over_all`: over all of `labels` instead
  sets        micro precision, recall and F1 of sets of items (scikit-learn, one column an item)
  rouge       tokens of both texts by BERT's tokenizer (its normalizer and pre-tokenizer in `tokenizers`), ROUGE-L F1 of
              rouge_chinese over them, and of rouge-score (which does not add 1e-8)
  mcnemar     the exact binomial p value (SciPy)
  percentile  a 95 % interval of values (numpy)
"""
import importlib.metadata
import json
import random
import sys

import numpy
from rouge_chinese import Rouge
from rouge_score import rouge_scorer
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer
from tokenizers import normalizers, pre_tokenizers

PACKAGES = ("scikit-learn", "scipy", "numpy", "rouge-chinese", "rouge-score", "tokenizers")
UNREAD = "\0unread"
NORMALIZER = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=True)
PRE_TOKENIZER = pre_tokenizers.BertPreTokenizer()


def averages(truth, given, weights, labels):
    def average(kind):
        if not labels:
            return [0.0, 0.0, 0.0]
        return [float(x) for x in precision_recall_fscore_support(
            truth, given, labels=labels, average=kind, sample_weight=weights, zero_division=0)[:3]]
    return {"macro": average("macro"), "weighted": average("weighted")}


def labels_case(dice):
    labels = [chr(ord("a") + i) for i in range(dice.randint(1, 7))]
    size = dice.choice((0, 1, 1, 2, 3, 5, 8, 13, 21))
    truth = [dice.choice(labels[:dice.randint(1, len(labels))]) for _ in range(size)]
    given = [t if dice.random() < 0.5 else dice.choice(labels + [None]) for t in truth]
    times = [dice.choice((0, 1, 1, 2, 3)) for _ in truth]
    predicted = [UNREAD if g is None else g for g in given]

    def results(weights):
        seen = {x for t, g, w in zip(truth, predicted, weights) if w for x in (t, g)} - {UNREAD}
        return averages(truth, predicted, weights, sorted(seen)) if seen else averages([], [], [], [])
    ones = [1] * size
    case = {"labels": labels, "truth": truth, "given": given, "times": times, "once": results(ones),
            "weighted": results(times),
            "over_all": averages(truth, predicted, ones, labels) if size else averages([], [], [], [])}
    case["accuracy"] = float(accuracy_score(truth, predicted)) if size else 0.0
    return case


def sets_case(dice):
    items = [chr(ord("a") + i) for i in range(dice.randint(1, 6))]
    truth = [dice.sample(items, dice.randint(0, len(items))) for _ in range(dice.randint(1, 8))]
    given = [[x for x in items if dice.random() < (0.7 if x in t else 0.2)] for t in truth]
    # One column more than there are items: a single one would be taken for a two-class problem.
    columns = MultiLabelBinarizer(classes=items + ["-"])
    micro = precision_recall_fscore_support(columns.fit_transform(truth), columns.transform(given), average="micro",
                                            zero_division=0)[:3]
    # An item that is said twice is one item.
    return {"truth": truth, "given": [g + g[:1] for g in given], "micro": [float(x) for x in micro]}


def tokens_of(text):
    return [token for token, _ in PRE_TOKENIZER.pre_tokenize_str(NORMALIZER.normalize_str(text))]


class Tokenized:
    """For rouge-score: the same tokens."""
    def tokenize(self, text):
        return text.split(" ")


def rouge_case(dice):
    pieces = ["\u809d", "\u75c5", "\u75c5", "\u54b3", "\u55fd", "\uff0c", "\u3002", "\uff1a", "\uff1b", "a", "B12",
              "fever", " ", "  ", "\n", "\u3000", ".", ",", "......", "3.5%", "\u03b2", "\u201c", "\u201d", "\uff08",
              "\uff09", "\u2026\u2026", "\u00d7", "\u2103", "\u3400", "\U00020000", "\u00b7", "\u2014", "\u00e9", "?",
              "\uff1f", "\uff01"]

    def text():
        return "".join(dice.choice(pieces) for _ in range(dice.choice((0, 1, 2, 4, 8, 16, 30))))
    reference = text()
    answer = text() if dice.random() < 0.4 else "".join(c for c in reference if dice.random() < 0.8) + text()[:3]
    if dice.random() < 0.1:
        answer = reference
    parts = [tokens_of(answer), tokens_of(reference)]
    joined = [" ".join(part or ["\u65e0", "\u3002"]) for part in parts]
    case = {"answer": answer, "reference": reference, "answer_tokens": " ".join(parts[0]),
            "reference_tokens": " ".join(parts[1])}
    case["rouge_chinese"] = Rouge().get_scores(joined[0], joined[1])[0]["rouge-l"]["f"]
    scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=Tokenized())
    case["rouge_score"] = scorer.score(joined[1], joined[0])["rougeL"].fmeasure
    return case


def mcnemar_case(dice):
    top = dice.choice((0, 1, 5, 30, 400, 20000))
    pair = [dice.randint(0, top), dice.randint(0, top)]
    return {"pair": pair, "p": float(binomtest(pair[0], sum(pair), 0.5).pvalue) if sum(pair) else 1.0}


def percentile_case(dice):
    values = [round(dice.gauss(0, 1), 3) for _ in range(dice.choice((1, 2, 3, 10, 41)))]
    return {"values": values, "interval": [float(x) for x in numpy.percentile(values, (2.5, 97.5))]}


KINDS = {"labels": labels_case, "sets": sets_case, "rouge": rouge_case, "mcnemar": mcnemar_case,
         "percentile": percentile_case}


def main():
    seed, number = int(sys.argv[1]), int(sys.argv[2])
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    print(json.dumps({"packages": versions, "seed": seed, "cases_of_each_kind": number}))
    dice = random.Random(seed)
    for kind, make in KINDS.items():
        for _ in range(number):
            print(json.dumps({"kind": kind, **make(dice)}, separators=(",", ":")))


main()
