#include "eval/cblue_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Choices = std::vector<std::string>;

CblueAnswer read(const std::string& name, const Choices& choices, const std::string& text,
                 AnswerReading reading = AnswerReading::kStrict) {
  return read_cblue_answer(*find_cblue_task(name), choices, text, reading);
}

// The answers are in the wordings of PromptCBLUE's published examples (dev.json), shortened or with
// a mistake in them.

TEST(CblueTask, EntitiesAreListedByType) {
  {
    const CblueAnswer answer =
        read("CMeEE-V2", {"\u5fae\u751f\u7269\u7c7b", "\u8eab\u4f53\u90e8\u4f4d"},
             "\u4e0a\u8ff0\u53e5\u5b50\u4e2d\u7684\u5b9e\u4f53\u5305\u542b\uff1a\n\u5fae"
             "\u751f\u7269\u7c7b\u5b9e\u4f53\uff1a\n\u8eab\u4f53\u90e8\u4f4d\u5b9e\u4f53"
             "\uff1a\u4f53\u7ec6\u80de\u4e2d\uff0c\u6b63\u5e38\u6838\u578b\u7ec6\u80de\uff0c"
             "21-\u4e09\u4f53\u6838\u578b\u7ec6\u80de");
    EXPECT_THAT(
        answer.items,
        ElementsAre("[\"\u4f53\u7ec6\u80de\u4e2d\",\"\u8eab\u4f53\u90e8\u4f4d\"]",
                    "[\"\u6b63\u5e38\u6838\u578b\u7ec6\u80de\",\"\u8eab\u4f53\u90e8\u4f4d\"]",
                    "[\"21-\u4e09\u4f53\u6838\u578b\u7ec6\u80de\",\"\u8eab\u4f53\u90e8\u4f4d\"]"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer =
        read("IMCS-V2-NER", {"\u75c7\u72b6"},
             "\u4e0a\u8ff0\u5bf9\u8bdd\u4e2d\u7684\u5b9e\u4f53\u5305\u542b\uff1a\n\u75c7"
             "\u72b6\u5b9e\u4f53\uff1a \u54b3\u55fd \uff0c\uff0c\u53d1\u70ed\n\u836f\u7269"
             "\u5b9e\u4f53\uff1a\u5934\u5b62");
    EXPECT_THAT(answer.items, ElementsAre("[\"\u54b3\u55fd\",\"\u75c7\u72b6\"]",
                                          "[\"\u53d1\u70ed\",\"\u75c7\u72b6\"]"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer = read("CMeEE-V2", {"\u5fae\u751f\u7269\u7c7b"}, "\u6ca1\u6709\u3002");
    EXPECT_THAT(answer.items, IsEmpty());
    EXPECT_FALSE(answer.has_form);
  }
  {
    const CblueAnswer answer = read("CMeEE-V2", {"\u5fae\u751f\u7269\u7c7b"},
                                    "\u5fae\u751f\u7269\u7c7b\u5b9e\u4f53\uff1a");
    EXPECT_THAT(answer.items, IsEmpty());
    EXPECT_TRUE(answer.has_form);
  }
}

TEST(CblueTask, TriplesAreObjectRelationAndSubject) {
  {
    const CblueAnswer answer =
        read("CMeIE", {"\u836f\u7269\u6cbb\u7597", "\u76f8\u5173\uff08\u75c7\u72b6\uff09"},
             "\u5177\u6709\u836f\u7269\u6cbb\u7597\u5173\u7cfb\u7684\u5934\u5c3e\u5b9e\u4f53"
             "\u5bf9\u5982\u4e0b\uff1a\u5934\u5b9e\u4f53\u4e3a\u5fc3\u529b\u8870\u7aed\uff0c"
             "\u5c3e\u5b9e\u4f53\u4e3a\u4f0a\u4f10\u5e03\u96f7\u3002\u5934\u5b9e\u4f53\u4e3a"
             "\u7532\uff0c\u5c3e\u5b9e\u4f53\u4e3a\u4e59\u3002\n\u5177\u6709\u76f8\u5173"
             "\uff08\u75c7\u72b6\uff09\u5173\u7cfb\u7684\u5934\u5c3e\u5b9e\u4f53\u5bf9\u5982"
             "\u4e0b\uff1a");
    EXPECT_THAT(
        answer.items,
        ElementsAre("[\"\u4f0a\u4f10\u5e03\u96f7\",\"\u836f\u7269\u6cbb\u7597\",\"\u5fc3\u529b"
                    "\u8870\u7aed\"]",
                    "[\"\u4e59\",\"\u836f\u7269\u6cbb\u7597\",\"\u7532\"]"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer = read("CMeIE-V2", {"\u836f\u7269\u6cbb\u7597"}, "\u4e0d\u77e5\u9053");
    EXPECT_THAT(answer.items, IsEmpty());
    EXPECT_FALSE(answer.has_form);
  }
}

TEST(CblueTask, TermsAreThoseThatWereOffered) {
  {
    const CblueAnswer answer =
        read("CHIP-CDN",
             {"\u5341\u4e8c\u6307\u80a0\u7403\u708e", "\u7ba1\u72b6\u817a\u7624",
              "\u5341\u4e8c\u6307\u80a0\u4ea4\u754c\u6027\u80bf\u7624"},
             "\u9009\uff1a\n\u7ba1\u72b6\u817a\u7624\uff0c\u5341\u4e8c\u6307\u80a0\u4ea4"
             "\u754c\u6027\u80bf\u7624\uff0c\u80ba\u764c");
    EXPECT_THAT(answer.items,
                ElementsAre("[\"\u7ba1\u72b6\u817a\u7624\"]",
                            "[\"\u5341\u4e8c\u6307\u80a0\u4ea4\u754c\u6027\u80bf\u7624\"]"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer = read("CHIP-CDN", {"\u8d32\u95e8\u6e83\u75a1"},
                                    "\u6ca1\u6709\u5bf9\u5e94\u7684\u6807\u51c6\u5316\u5b9e\u4f53");
    EXPECT_THAT(answer.items, IsEmpty());
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer = read("CHIP-CDN", {"\u8d32\u95e8\u6e83\u75a1"}, "\u80ba\u764c");
    EXPECT_THAT(answer.items, IsEmpty());
    EXPECT_FALSE(answer.has_form);
  }
}

TEST(CblueTask, EventsHaveFourFields) {
  {
    const CblueAnswer answer =
        read("CHIP-CDEE", {},
             "\u4e0a\u8ff0\u53e5\u5b50\u4e2d\u7684\u4e34\u5e8a\u53d1\u73b0\u4e8b\u4ef6\u5982"
             "\u4e0b\uff1a\n\u4e3b\u4f53\u8bcd\uff1a\u764c\uff1b\u53d1\u751f\u72b6\u6001"
             "\uff1a\uff1b\u63cf\u8ff0\u8bcd\uff1a\uff1b\u89e3\u5256\u90e8\u4f4d\uff1a\u809d"
             "\u95e8\uff0c\u80c6\u7ba1\n\u4e3b\u4f53\u8bcd\uff1a\u5455\u5410\uff1b\u53d1"
             "\u751f\u72b6\u6001\uff1a\u5426\u5b9a\n");
    EXPECT_THAT(answer.items,
                ElementsAre("[\"\u764c\",\"\",[],[\"\u809d\u95e8\",\"\u80c6\u7ba1\"]]",
                            "[\"\u5455\u5410\",\"\u5426\u5b9a\",[],[]]"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer =
        read("CHIP-CDEE", {}, "\u4e3b\u4f53\u8bcd\uff1a\u764c\uff1b\u53d1\u751f\u72b6\u6001\uff1a");
    EXPECT_THAT(answer.items, IsEmpty());
    EXPECT_FALSE(answer.has_form);
  }
}

TEST(CblueTask, FindingsHaveAnAttribute) {
  {
    const CblueAnswer answer =
        read("IMCS-V2-SR",
             {"\u6ca1\u6709\u60a3\u6709\u8be5\u75c7\u72b6", "\u60a3\u6709\u8be5\u75c7\u72b6"},
             "\u5f53\u524d\u5bf9\u8bdd\u4e2d\u7684\u75c7\u72b6\u53ca\u5176\u9634\u9633\u6027"
             "\u5224\u65ad\u4e3a\uff1a\n\u624b\u811a\u6709\u70b9\u51c9\uff1a\u60a3\u6709"
             "\u8be5\u75c7\u72b6\n\u54b3\u55fd\uff1a\u4e5f\u8bb8");
    EXPECT_THAT(
        answer.items,
        ElementsAre("[\"\u60a3\u6709\u8be5\u75c7\u72b6\",\"\u624b\u811a\u6709\u70b9\u51c9\"]",
                    "[\"\u4e5f\u8bb8\",\"\u54b3\u55fd\"]"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer =
        read("IMCS-V2-SR", {"\u60a3\u6709\u8be5\u75c7\u72b6"},
             "\u5982\u4e0b\uff1a\n\u54b3\u55fd\uff1a\u4e5f\u8bb8", AnswerReading::kParity);
    EXPECT_THAT(
        answer.items,
        ElementsAre("[\"\u65e0\u6cd5\u6839\u636e\u4e0a\u4e0b\u6587\u786e\u5b9a\u75c5\u4eba\u662f"
                    "\u5426\u60a3\u6709\u8be5\u75c7\u72b6\",\"\u54b3\u55fd\"]"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer =
        read("CHIP-MDCFNPC", {"\u672a\u60a3\u6709\u75c7\u72b6\u75be\u75c5"},
             "\u5982\u4e0b\uff1a\n\u8179\u6cfb\uff1a\u4e5f\u8bb8\n\u8179\uff1a\u6cfb\uff1ax",
             AnswerReading::kParity);
    EXPECT_THAT(answer.items, ElementsAre("[\"\u4e0d\u6807\u6ce8\",\"\u8179\u6cfb\"]"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer =
        read("CHIP-MDCFNPC", {"\u672a\u60a3\u6709\u75c7\u72b6\u75be\u75c5"}, "\u6ca1\u6709");
    EXPECT_THAT(answer.items, IsEmpty());
    EXPECT_FALSE(answer.has_form);
  }
}

TEST(CblueTask, ALabelIsOneOfTheChoicesOrTheNoneLabel) {
  {
    const CblueAnswer answer =
        read("KUAKE-QIC", {"\u6cbb\u7597\u65b9\u6848", "\u5c31\u533b\u5efa\u8bae"},
             " \u5c31\u533b\u5efa\u8bae\n");
    EXPECT_THAT(answer.items, ElementsAre("\u5c31\u533b\u5efa\u8bae"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer =
        read("KUAKE-QIC", {"\u6cbb\u7597\u65b9\u6848"}, "\u975e\u4e0a\u8ff0\u7c7b\u578b");
    EXPECT_THAT(answer.items, ElementsAre("\u975e\u4e0a\u8ff0\u7c7b\u578b"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer =
        read("KUAKE-QIC", {"\u6cbb\u7597\u65b9\u6848"}, "\u5c31\u533b\u5efa\u8bae\u5427");
    EXPECT_THAT(answer.items, IsEmpty());
    EXPECT_FALSE(answer.has_form);
  }
  {
    const CblueAnswer answer =
        read("KUAKE-IR", {"\u76f8\u5173", "\u4e0d\u76f8\u5173"}, "\u975e\u4e0a\u8ff0\u7c7b\u578b");
    EXPECT_THAT(answer.items, IsEmpty());
    EXPECT_FALSE(answer.has_form);
  }
  {
    const CblueAnswer answer = read("CHIP-STS", {"\u662f\u7684", "\u4e0d\u662f"}, "\u76f8\u540c");
    EXPECT_THAT(answer.items, ElementsAre("\u662f\u7684"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer = read("CHIP-STS", {"\u662f\u7684", "\u4e0d\u662f"}, "\u4e0d\u540c");
    EXPECT_THAT(answer.items, ElementsAre("\u4e0d\u662f"));
    EXPECT_TRUE(answer.has_form);
  }
}

TEST(CblueTask, ParityGivesUnreadableLabelsAPlace) {
  {
    const CblueAnswer answer =
        read("KUAKE-IR", {"\u76f8\u5173", "\u4e0d\u76f8\u5173"}, "", AnswerReading::kParity);
    EXPECT_THAT(answer.items, ElementsAre("\u76f8\u5173"));
    EXPECT_FALSE(answer.has_form);
  }
  {
    const CblueAnswer answer =
        read("KUAKE-QTR", {"\u5b8c\u5168\u5339\u914d"}, " ", AnswerReading::kParity);
    EXPECT_THAT(
        answer.items,
        ElementsAre(
            "\u5b8c\u5168\u4e0d\u5339\u914d\u6216\u8005\u6ca1\u6709\u53c2\u8003\u4ef7\u503c"));
    EXPECT_FALSE(answer.has_form);
  }
  {
    const CblueAnswer answer = read("KUAKE-IR", {"\u76f8\u5173", "\u4e0d\u76f8\u5173"},
                                    "\u4e5f\u8bb8", AnswerReading::kParity);
    EXPECT_THAT(answer.items, ElementsAre("\u4e5f\u8bb8"));
    EXPECT_FALSE(answer.has_form);
  }
  {
    const CblueAnswer answer = read("KUAKE-IR", {"\u76f8\u5173", "\u4e0d\u76f8\u5173"},
                                    "\u4e0d\u76f8\u5173", AnswerReading::kParity);
    EXPECT_THAT(answer.items, ElementsAre("\u4e0d\u76f8\u5173"));
    EXPECT_TRUE(answer.has_form);
  }
}

TEST(CblueTask, AReportHasSixTexts) {
  {
    const CblueAnswer answer =
        read("IMCS-V2-MRG", {},
             "\u4e0a\u8ff0\u95ee\u8bca\u5bf9\u8bdd\u7684\u8bca\u7597\u62a5\u544a\u5982\u4e0b"
             "\uff1a\n\u4e3b\u8bc9\uff1a\u5927\u4fbf\u6b21\u6570\u591a\u3002\n\u73b0\u75c5"
             "\u53f2\uff1a\u60a3\u513f\u5927\u4fbf\u6b21\u6570\u589e\u591a\u4e24\u5929\u3002"
             "\n\u65e2\u5f80\u53f2\uff1a\u4e0d\u8be6\u3002\n\u8bca\u65ad\uff1a\u6d88\u5316"
             "\u4e0d\u826f\u3002");
    EXPECT_THAT(answer.items,
                ElementsAre("\u5927\u4fbf\u6b21\u6570\u591a\u3002",
                            "\u60a3\u513f\u5927\u4fbf\u6b21\u6570\u589e\u591a\u4e24\u5929\u3002",
                            "", "\u4e0d\u8be6\u3002", "\u6d88\u5316\u4e0d\u826f\u3002", ""));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer = read("IMCS-V2-MRG", {}, "\u6d88\u5316\u4e0d\u826f\u3002");
    EXPECT_THAT(answer.items, ElementsAre("", "", "", "", "", ""));
    EXPECT_FALSE(answer.has_form);
  }
}

TEST(CblueTask, AReplyIsItsText) {
  {
    const CblueAnswer answer = read("MedDG", {}, " \u591a\u559d\u6c34\u3002\n");
    EXPECT_THAT(answer.items, ElementsAre("\u591a\u559d\u6c34\u3002"));
    EXPECT_TRUE(answer.has_form);
  }
  {
    const CblueAnswer answer = read("MedDG", {}, "\n");
    EXPECT_THAT(answer.items, ElementsAre(""));
    EXPECT_FALSE(answer.has_form);
  }
}

TEST(CblueTask, EachHasItsMetric) {
  for (const char* name : {"CMeEE-V2", "CMeIE", "CHIP-CDN", "CHIP-CDEE", "CHIP-MDCFNPC",
                           "IMCS-V2-NER", "IMCS-V2-SR"}) {
    EXPECT_EQ(find_cblue_task(name)->metric, Metric::kMicroF1) << name;
  }
  for (const char* name : {"CHIP-STS", "KUAKE-IR", "KUAKE-QQR", "KUAKE-QTR"}) {
    EXPECT_EQ(find_cblue_task(name)->metric, Metric::kWeightedF1) << name;
  }
  for (const char* name : {"CHIP-CTC", "KUAKE-QIC", "IMCS-V2-DAC"}) {
    EXPECT_EQ(find_cblue_task(name)->metric, Metric::kMacroF1) << name;
  }
  for (const char* name : {"MedDG", "IMCS-V2-MRG"}) {
    EXPECT_EQ(find_cblue_task(name)->metric, Metric::kRougeL) << name;
  }
  EXPECT_EQ(find_cblue_task("medqa"), nullptr);
  EXPECT_EQ(find_cblue_task(""), nullptr);
}

TEST(CblueTask, BytesThatAreNoTextAreReplaced) {
  const CblueAnswer answer = read("CHIP-MDCFNPC", {"x"}, "\n\xe5\xae\uff1ax");
  EXPECT_THAT(answer.items, ElementsAre("[\"x\",\"\ufffd\"]"));
}

}  // namespace
}  // namespace molora
