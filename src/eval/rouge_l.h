// ROUGE-L F1 of Chinese and English text.
//
// C.-Y. Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, as the package
// rouge_chinese 1.0.3 computes it (whose ROUGE-L takes all sentences as one sequence):
//   P = LCS / |answer|, R = LCS / |reference|, F = 2 P R / (P + R + 1e-8)
// with LCS the longest common subsequence of tokens. The 1e-8 is the package's: two equal texts
// have 0.999999995. Without it this is rouge-score's rougeL of the same tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace molora {

// Each Chinese character and each punctuation mark is a token; what else stands between white space
// and these is one, with ASCII letters in lower case: BERT's BasicTokenizer, which PromptCBLUE puts
// before ROUGE, but for accents and other capitals, which stay. REQUIRES: valid UTF-8.
std::vector<std::string> rouge_tokens(std::string_view text);

// A text without tokens stands for "none." in Chinese, two tokens, as in PromptCBLUE.
double rouge_l_f1(std::string_view answer, std::string_view reference);

}  // namespace molora
