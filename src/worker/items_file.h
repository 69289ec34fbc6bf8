// Records of items as JSON lines: what `molora eval --items` writes and `--compare` reads.
//
// A line, in the order of the data: index, id, task, type (where the data have one), prompt
// (SHA-256), loss (nats per answer token), loss_sum, tokens, correct_tokens; and of an answered
// item metric, answers (the way it was asked), answer (as given), parsed, given and expected (as
// read), correct and score (of this answer alone).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "eval/item_record.h"

namespace molora {

// With its newline. Bytes of an answer that are not UTF-8 become U+FFFD.
std::string item_line(const ItemRecord& record);

// Throws: DataError "file:line: what is wrong"; IoError.
std::vector<ItemRecord> read_items_file(const std::filesystem::path& path);

// The records of all members in the order of their indices, on every member. Collective.
std::vector<ItemRecord> gather_items(const std::vector<ItemRecord>& mine,
                                     Communicator& communicator);

}  // namespace molora
